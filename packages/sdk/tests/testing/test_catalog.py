"""What the fake server does with products and stock by itself, and what a test can have it do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from ecross import Client
from ecross.errors import NotFoundError, ValidationError
from ecross.testing import FakeServer, Merchant
from ecross.types import SkuDraft

APPROVED = ("SALES_CHANNEL_APPROVED", "Integration successful")
INACTIVE = ("SALES_CHANNEL_REMOVED", "Not active")
PRODUCT = [SkuDraft("1", "P", "Mug", is_main=True), SkuDraft("2", "P", "Cup")]


@pytest.fixture
def client(server: FakeServer) -> Iterator[Client]:
    """A client of ACME."""
    with Client(**server.client_options()) as made:
        yield made


@pytest.fixture
def merchant(server: FakeServer) -> Merchant:
    """ACME as its representative sees it."""
    return server.merchant()


def statuses(client: Client) -> list[str | None]:
    return [sku.localization_status for sku in client.products.get("P")]


def channels(client: Client) -> list[tuple[str, str] | None]:
    """What the channel of each SKU says."""
    told = [sku.sales_channel_status.get("ECOM") for sku in client.products.get("P")]
    return [None if it is None else (it.status or "", it.message or "") for it in told]


def mug(*, active: bool | None = None, **others: Any) -> dict[str, Any]:
    return {"skuId": "1", "productId": "P", "name": "Mug", "globalSaleChannelData": {"active": active}, **others}


class TestTheWayToTheChannels:
    def test_skus_are_on_their_channel_three_seconds_later(self, server: FakeServer, client: Client) -> None:
        sent = client.skus.upsert(PRODUCT)
        server.advance(2.9)
        assert statuses(client) == ["PENDING_LOCALIZATION"] * 2

        server.advance(0.1)
        skus = client.products.get("P")
        assert [sku.localization_status for sku in skus] == ["READY_FOR_SALES_CHANNEL"] * 2
        status = skus[0].sales_channel_status["ECOM"]
        assert (status.status, status.message) == ("SALES_CHANNEL_APPROVED", "Integration successful")
        assert status.at == skus[0].last_update_date
        dates = [sku.last_update_date for sku in (*sent, *skus) if sku.last_update_date is not None]
        assert dates[0] == dates[1] < dates[2] < dates[3]

    def test_who_asks_for_changes_sees_each_move_once(self, server: FakeServer, client: Client) -> None:
        last = client.skus.upsert(PRODUCT)[0].last_update_date
        assert list(client.skus.list(last_update_date_from=last)) == []
        server.advance(60)
        moved = list(client.skus.list(last_update_date_from=last))
        assert len(moved) == 2
        assert list(client.skus.list(last_update_date_from=moved[-1].last_update_date)) == []

    def test_a_change_in_between_does_not_begin_it_anew(self, server: FakeServer, client: Client) -> None:
        client.skus.upsert(PRODUCT)
        server.advance(2)
        client.skus.upsert([*PRODUCT[:1], SkuDraft("2", "P", "Bowl")])
        server.advance(1)
        assert statuses(client) == ["READY_FOR_SALES_CHANNEL"] * 2

    def test_a_sku_that_comes_back_begins_anew(self, server: FakeServer, client: Client) -> None:
        client.skus.upsert(PRODUCT)
        server.advance(2)
        client.skus.upsert(PRODUCT[:1])
        server.advance(0.5)
        client.skus.upsert(PRODUCT)
        server.advance(1)
        assert statuses(client) == ["READY_FOR_SALES_CHANNEL", "PENDING_LOCALIZATION"]
        server.advance(2)
        assert statuses(client) == ["READY_FOR_SALES_CHANNEL"] * 2

    def test_another_content_is_looked_at_while_its_channel_goes_on(self, server: FakeServer, client: Client) -> None:
        client.skus.upsert([mug()])
        server.advance(3)
        (before,) = client.products.get("P")
        client.skus.upsert([mug(name="Cup")])
        (changed,) = client.products.get("P")
        assert changed.localization_status == "PENDING_LOCALIZATION"
        assert changed.sales_channel_status == before.sales_channel_status
        server.advance(3)
        (after,) = client.products.get("P")
        assert after.localization_status == "READY_FOR_SALES_CHANNEL"
        told = after.sales_channel_status["ECOM"]
        assert (told.status, told.at) == ("SALES_CHANNEL_APPROVED", after.last_update_date)

    def test_another_price_is_no_other_content(self, server: FakeServer, client: Client) -> None:
        client.skus.upsert([mug()])
        server.advance(3)
        (priced,) = client.skus.upsert([mug(localizedListPriceWithTaxes=5)])
        assert priced.localization_status == "READY_FOR_SALES_CHANNEL"
        server.advance(3)
        assert client.products.get("P") == [priced]

    def test_what_is_not_active_leaves_its_channel_and_comes_back(self, server: FakeServer, client: Client) -> None:
        found = []
        for active in (False, None, False, True):
            client.skus.upsert([mug(active=active)])
            found += [*statuses(client), *channels(client)]
            server.advance(3)
            found += channels(client)
        ready, pending = "READY_FOR_SALES_CHANNEL", "PENDING_LOCALIZATION"
        assert found[:3] == [pending, None, None]
        assert found[3:] == [ready, None, APPROVED, ready, APPROVED, INACTIVE, ready, INACTIVE, APPROVED]

    def test_a_denied_one_is_told_why(self, server: FakeServer, merchant: Merchant, client: Client) -> None:
        merchant.deny_sku("1", reason="name: is a placeholder")
        client.skus.upsert(PRODUCT)
        merchant.deny_sku("2", status="DENIED_REGULATORY")
        assert statuses(client) == ["PENDING_LOCALIZATION"] * 2
        server.advance(3)
        assert statuses(client) == ["REVIEW_DENIED", "DENIED_REGULATORY"]
        denied = "SALES_CHANNEL_DENIED"
        assert channels(client) == [(denied, "name: is a placeholder"), (denied, "Denied")]

    def test_one_that_is_through_is_denied_at_once(
        self, merchant: Merchant, server: FakeServer, client: Client
    ) -> None:
        client.skus.upsert(PRODUCT)
        server.advance(3)
        merchant.deny_sku("1")
        assert statuses(client) == ["REVIEW_DENIED", "READY_FOR_SALES_CHANNEL"]
        assert channels(client) == [("SALES_CHANNEL_DENIED", "Denied"), APPROVED]

    def test_a_denied_one_stays_so_until_it_is_mended(
        self, merchant: Merchant, server: FakeServer, client: Client
    ) -> None:
        client.skus.upsert([mug()])
        server.advance(3)
        client.skus.upsert([mug(active=False)])
        merchant.deny_sku("1")
        server.advance(3)
        client.skus.upsert([mug(localizedListPriceWithTaxes=5)])
        server.advance(3)
        assert (statuses(client), channels(client)) == (["REVIEW_DENIED"], [("SALES_CHANNEL_DENIED", "Denied")])
        client.skus.upsert([mug(name="Cup")])
        assert (statuses(client), channels(client)) == (["PENDING_LOCALIZATION"], [("SALES_CHANNEL_DENIED", "Denied")])
        server.advance(3)
        assert (statuses(client), channels(client)) == (["READY_FOR_SALES_CHANNEL"], [APPROVED])

    def test_nothing_else_is_a_denial(self, merchant: Merchant) -> None:
        with pytest.raises(ValueError, match="REVIEW_DENIED or DENIED_REGULATORY"):
            merchant.deny_sku("1", status="DELETED")

    def test_a_denial_counts_once(self, merchant: Merchant, server: FakeServer, client: Client) -> None:
        merchant.deny_sku("1")
        client.skus.upsert(PRODUCT)
        server.advance(3)
        assert statuses(client) == ["REVIEW_DENIED", "READY_FOR_SALES_CHANNEL"]
        client.skus.upsert([SkuDraft("3", "P", "Other")])
        client.skus.upsert(PRODUCT)
        server.advance(3)
        assert statuses(client) == ["READY_FOR_SALES_CHANNEL"] * 2

    def test_a_status_that_was_given_stays(self, merchant: Merchant, server: FakeServer) -> None:
        merchant.put_sku({"skuId": "1"})
        merchant.put_sku({"skuId": "2", "localizationStatus": "PENDING_LOCALIZATION"})
        merchant.put_sku({"skuId": "3"})
        merchant.put_sku({"skuId": "3", "name": "again", "localizationStatus": "LOCALIZATION_SKIPPED"})
        server.advance(10)
        found = [sku["localizationStatus"] for sku in merchant.skus]
        assert found == ["READY_FOR_SALES_CHANNEL", "PENDING_LOCALIZATION", "LOCALIZATION_SKIPPED"]

    def test_a_status_that_was_given_ends_with_its_content(
        self, merchant: Merchant, server: FakeServer, client: Client
    ) -> None:
        merchant.put_sku(mug(localizationStatus="LOCALIZED"))
        client.skus.upsert([mug(active=False)])
        server.advance(3)
        assert (statuses(client), channels(client)) == (["LOCALIZED"], [None])
        client.skus.upsert([mug(localizedListPriceWithTaxes=5)])
        server.advance(3)
        assert (statuses(client), channels(client)) == (["LOCALIZED"], [None])
        client.skus.upsert([mug(name="Cup")])
        server.advance(3)
        assert (statuses(client), channels(client)) == (["READY_FOR_SALES_CHANNEL"], [APPROVED])

    def test_channels_that_were_given_stay_beside_its_own(
        self, merchant: Merchant, server: FakeServer, client: Client
    ) -> None:
        given = {"ECOM": {"status": "SALES_CHANNEL_APPROVED"}, "LOJA": {"status": "SALES_CHANNEL_APPROVED"}}
        merchant.put_sku(mug(localizationStatus="READY_FOR_SALES_CHANNEL", salesChannelStatus=given))
        merchant.put_inventory("1", 3)
        client.skus.upsert([mug(active=False)])
        assert merchant.skus[0]["salesChannelStatus"] == given
        server.advance(3)
        assert channels(client) == [INACTIVE]
        assert merchant.skus[0]["salesChannelStatus"]["LOJA"] == given["LOJA"]

    def test_one_that_is_put_again_meanwhile_goes_on(self, merchant: Merchant, server: FakeServer) -> None:
        merchant.put_sku({"skuId": "1"})
        server.advance(2)
        merchant.put_sku({"skuId": "1", "name": "again"})
        server.advance(1)
        assert merchant.skus[0]["localizationStatus"] == "READY_FOR_SALES_CHANNEL"

    def test_a_deleted_sku_that_is_put_again_is_new(self, merchant: Merchant, client: Client) -> None:
        client.skus.upsert(PRODUCT)
        client.skus.upsert(PRODUCT[:1])
        assert [sku["skuId"] for sku in merchant.skus] == ["1"]
        merchant.put_sku({"skuId": "2", "productId": "P"})
        assert statuses(client) == ["PENDING_LOCALIZATION"] * 2


class TestUpserts:
    def test_all_faults_are_told_and_nothing_is_changed(self, client: Client, merchant: Merchant) -> None:
        with pytest.raises(ValidationError) as caught:
            client.skus.upsert([SkuDraft("1", "P", "", ean="1"), {"skuId": "2"}])

        assert caught.value.code == "invalid_input"
        assert [fault.path for fault in caught.value.errors] == ["0.name", "0.ean", "1.productId", "1.name"]
        assert merchant.skus == []

    def test_a_deleted_sku_is_told_by_date_alone(self, client: Client) -> None:
        last = client.skus.upsert(PRODUCT)[0].last_update_date
        client.skus.upsert(PRODUCT[1:])
        assert [sku.sku_id for sku in client.skus.list()] == ["2"]
        changed = {sku.sku_id: sku.localization_status for sku in client.skus.list(last_update_date_from=last)}
        assert changed == {"1": "DELETED", "2": "PENDING_LOCALIZATION"}

    def test_a_key_is_remembered_for_a_day(self, server: FakeServer, client: Client) -> None:
        client.inventory.set("1", 1, idempotency_key="mine")
        with pytest.raises(ValidationError) as caught:
            client.inventory.set("1", 2, idempotency_key="mine")
        assert (caught.value.status, caught.value.code) == (409, "idempotency_key_reused")
        server.advance(24 * 3600)
        assert client.inventory.set("1", 2, idempotency_key="mine").quantity == 2

    def test_a_large_catalog_is_taken_in_moments(self, client: Client, merchant: Merchant) -> None:
        for number in range(300):
            client.skus.upsert([SkuDraft(f"{number}-{each}", str(number), "n") for each in range(5)])
        assert len(merchant.skus) == 1500


class TestStock:
    def test_what_came_back_counts_in_its_country(self, client: Client, merchant: Merchant) -> None:
        merchant.add_warehouse(1000, name="Returns partner BR", country="BR", type="RETURNS")
        client.inventory.set("1", 9)
        shown = merchant.put_inventory("1", 1, warehouse_id=1000)
        assert (shown["id"], shown["warehouseName"]) == ("ACME-1-1000-AVAILABLE", "Returns partner BR")

        assert client.inventory.get_sellable("1", "BR").quantity == 10
        assert client.inventory.get_sellable("1", "MX").quantity == 9
        with pytest.raises(ValidationError, match="returns warehouse") as caught:
            client.inventory.set("1", 5, warehouse_id=1000)
        assert caught.value.errors[0].path == "warehouseId"

    def test_an_unknown_sku_is_not_found(self, client: Client) -> None:
        with pytest.raises(NotFoundError):
            client.inventory.get_sellable("1", "BR")

    def test_it_is_integrated_when_the_channel_has_it(
        self, server: FakeServer, client: Client, merchant: Merchant
    ) -> None:
        merchant.add_warehouse(1000, name="Returns partner BR", country="BR", type="RETURNS")
        merchant.add_warehouse(1001, name="Returns partner MX", country="MX", type="RETURNS")
        for warehouse_id in (1, 1000, 1001):
            merchant.put_inventory("1", 3, warehouse_id=warehouse_id)
        client.inventory.set("1", 1, inventory_type="DAMAGED")
        server.advance(60)
        assert [it for it in merchant.inventories if "lastIntegrationDate" in it] == []

        client.skus.upsert([mug()])
        server.advance(60)
        integrated = [it["warehouseId"] for it in merchant.inventories if "lastIntegrationDate" in it]
        assert integrated == [1, 1000]
        assert merchant.inventories[0]["lastIntegrationDate"] == merchant.skus[0]["lastUpdateDate"]

    def test_another_quantity_is_integrated_in_its_turn(
        self, server: FakeServer, client: Client, merchant: Merchant
    ) -> None:
        client.skus.upsert([mug()])
        client.inventory.set("1", 3)
        server.advance(3)
        (first,) = client.inventory.list()
        client.inventory.set("1", 2)
        server.advance(2)
        (changed,) = client.inventory.list()
        assert changed.last_integration_date == first.last_integration_date is not None
        client.inventory.set("1", 1)
        server.advance(2)
        (changed,) = client.inventory.list()
        assert changed.last_integration_date == first.last_integration_date
        server.advance(60)
        (last,) = client.inventory.list()
        assert last.last_update_date is not None
        assert last.last_integration_date == last.last_update_date + timedelta(seconds=3)
        (sellable,) = client.inventory.get_sellable("1", "BR").records
        assert sellable.last_integration_date == last.last_integration_date

        client.skus.upsert([mug(active=False)])
        server.advance(3)
        client.inventory.set("1", 9)
        server.advance(3)
        assert merchant.inventories[0]["lastIntegrationDate"] == last.raw["lastIntegrationDate"]

    def test_its_records_are_listed(self, client: Client, merchant: Merchant) -> None:
        merchant.put_sku({"skuId": "1", "name": "Mug"})
        at = "2026-01-02T00:00:00.000Z"
        merchant.put_inventory("1", 3, inventory_type="DAMAGED", last_update_date=at)
        (record,) = client.inventory.list()
        assert record.raw == merchant.inventories[0]
        assert (record.sku_name, record.raw["lastUpdateDate"]) == ("Mug", at)

    @pytest.mark.parametrize(
        "options", [{"warehouse_id": 2}, {"inventory_type": "SOLD"}, {"last_update_date": "yesterday"}]
    )
    def test_what_is_no_stock_is_refused(self, options: dict[str, Any], merchant: Merchant) -> None:
        with pytest.raises(ValueError, match=r"no such warehouse|is no ISO 8601"):
            merchant.put_inventory("1", 1, **options)

    def test_what_is_no_warehouse_is_refused(self, merchant: Merchant) -> None:
        with pytest.raises(ValueError, match="MERCHANT or RETURNS"):
            merchant.add_warehouse(2, name="x", type="LOST")
