"""From an upsert to the channels and off them again, on both databases, with all domains' jobs and a virtual clock."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.inventory import service as inventory
from ecross_server.inventory.models import InventoryRecord
from ecross_server.inventory.rules import StockLevel, WarehouseType
from ecross_server.jobs.tasks import Runner
from ecross_server.localization import service as localization
from ecross_server.localization.errors import NotJudgedError

World = Any
"""What the fixture `world` gives."""

APPROVED = ("SALES_CHANNEL_APPROVED", "Integration successful")
READY = ("READY_FOR_SALES_CHANNEL", {"ECOM": APPROVED})

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))


class TestPublication:
    def test_a_new_sku_is_ready_and_approved_within_seconds(self, world: World) -> None:
        world.upsert(world.sku())
        assert world.status() == ("PENDING_LOCALIZATION", {})
        world.pass_time(3)
        assert world.status() == READY
        assert world.waiting() == 0

    def test_the_feed_tells_of_its_channel_and_shows_the_sku(self, world: World) -> None:
        world.upsert(world.sku(weight=0.1, height=4, length=19.25, main=True))
        world.pass_time()
        first, line, last = world.lines()
        assert first == {
            "form": 1, "channelId": "ECOM", "name": "E-commerce", "country": "BR", "currency": "BRL",
            "createdAt": "2026-11-25T00:00:00.000Z",
        }  # fmt: skip
        assert last == {"revision": 1}
        assert line == {
            "revision": 1, "id": "ACME-1", "merchantId": "ACME", "skuId": "1", "productId": "P", "main": True,
            "name": "USB charger type C", "description": "Charges fast.\nHas two ports.", "hscode": "850440",
            "images": ["https://img.test/1.jpeg"], "weight": 0.1, "height": 4, "length": 19.25,
            "globalSaleChannelData": {"brand": "ChargerW", "size": "2 meters", "color": "silver"},
            "available": False, "quantity": 0,
        }  # fmt: skip

    def test_the_merchant_is_told_only_what_the_channel_has_taken_over(self, world: World) -> None:
        world.upsert(world.sku())
        world.now += timedelta(seconds=1)
        world.runner().run_due()
        assert world.status() == ("READY_FOR_SALES_CHANNEL", {})
        world.pass_time(2)
        assert world.status() == READY

    def test_each_step_is_a_change_that_a_list_by_date_shows(self, world: World) -> None:
        world.upsert(world.sku())
        dates = [world.shown()["lastUpdateDate"]]
        world.now += timedelta(seconds=1)
        world.runner().run_due()
        dates.append(world.shown()["lastUpdateDate"])
        world.pass_time(2)
        shown = world.shown()
        dates.append(shown["lastUpdateDate"])
        assert dates == sorted(set(dates))
        assert shown["salesChannelStatus"]["ECOM"]["statusDate"] == dates[-1]

    def test_what_is_sent_again_as_it_is_queues_nothing(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        before, lines = world.shown(), world.lines()
        world.upsert(world.sku())
        assert world.waiting() == 0
        world.pass_time()
        assert (world.shown(), world.lines()) == (before, lines)

    def test_a_changed_sku_stays_on_sale_as_it_was_until_it_is_looked_at(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.upsert(world.sku(name="Another charger"))
        assert world.status() == ("PENDING_LOCALIZATION", {"ECOM": APPROVED})
        assert world.feed()["ACME-1"]["name"] == "USB charger type C"
        world.pass_time()
        assert world.status() == READY
        assert world.feed()["ACME-1"]["name"] == "Another charger"

    def test_a_changed_sku_that_is_denied_is_taken_off_with_the_reason(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.upsert(world.sku(description="lorem ipsum"))
        world.pass_time()
        denied = ("SALES_CHANNEL_DENIED", "description: is a placeholder")
        assert world.status() == ("REVIEW_DENIED", {"ECOM": denied})
        assert world.feed() == {}
        assert world.lines()[-1] == {"revision": 2, "id": "ACME-1", "removed": True}

    def test_a_mended_sku_comes_back(self, world: World) -> None:
        world.upsert(world.sku(images=[]))
        world.pass_time()
        status, told = world.status()
        assert (status, told["ECOM"]) == ("REVIEW_DENIED", ("SALES_CHANNEL_DENIED", "images: at least one is needed"))
        world.upsert(world.sku())
        assert world.status()[0] == "PENDING_LOCALIZATION"
        world.pass_time()
        assert world.status() == READY
        assert list(world.feed()) == ["ACME-1"]

    def test_what_shoppers_do_not_see_is_not_looked_at_again(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        lines = world.lines()
        world.upsert(world.sku(localizedListPriceWithTaxes=5))
        assert world.status() == READY
        world.pass_time()
        assert world.lines() == lines

    def test_a_sku_that_is_not_active_goes_off_sale_at_once_and_comes_back(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.upsert(world.sku(data={"active": False}))
        world.pass_time()
        inactive = ("SALES_CHANNEL_REMOVED", "Not active")
        assert world.status() == ("READY_FOR_SALES_CHANNEL", {"ECOM": inactive})
        assert world.feed() == {}
        world.upsert(world.sku())
        world.pass_time()
        assert world.status() == READY
        assert list(world.feed()) == ["ACME-1"]

    def test_one_that_never_was_active_is_judged_and_shown_nowhere(self, world: World) -> None:
        world.upsert(world.sku(data={"active": False}))
        world.pass_time()
        assert world.status() == ("READY_FOR_SALES_CHANNEL", {})


class TestDeletion:
    def test_a_deleted_sku_leaves_its_channels(self, world: World) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        assert list(world.feed()) == ["ACME-1", "ACME-2"]
        world.upsert(world.sku("2"))
        world.pass_time()
        assert world.status("1") == ("DELETED", {})
        assert list(world.feed()) == ["ACME-2"]

    def test_one_that_comes_back_before_anybody_looked_is_shown_and_told_again(self, world: World) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        world.upsert(world.sku("2"))
        world.upsert(world.sku("1"), world.sku("2"))
        assert world.status("1") == ("PENDING_LOCALIZATION", {})
        world.pass_time()
        assert world.status("1") == READY
        assert sorted(world.feed()) == ["ACME-1", "ACME-2"]

    def test_one_that_comes_back_later_is_shown_again(self, world: World) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        world.upsert(world.sku("2"))
        world.pass_time()
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        assert world.status("1") == READY
        assert sorted(world.feed()) == ["ACME-1", "ACME-2"]

    @pytest.mark.parametrize("is_told", [False, True])
    def test_one_that_was_off_is_forgotten(self, world: World, *, is_told: bool) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        world.upsert(world.sku("1", data={"active": False}), world.sku("2"))
        if is_told:
            world.pass_time()
        else:
            world.now += timedelta(seconds=1)
            world.runner().run_due()
        world.upsert(world.sku("2"))
        if not is_told:  # the channel has yet to hear that it is off when it is gone
            world.now += timedelta(seconds=1)
            Runner(world.database, world.checking, worker="w", clock=lambda: world.now).run_due()
        world.pass_time()
        assert world.status("1") == ("DELETED", {})
        assert list(world.feed()) == ["ACME-2"]
        world.upsert(world.sku("1", data={"active": False}), world.sku("2"))
        world.pass_time()
        assert world.status("1") == ("READY_FOR_SALES_CHANNEL", {})

    def test_a_sku_that_moves_to_another_product_stays_on_sale(self, world: World) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.pass_time()
        world.upsert(world.sku("1", "Q"))
        world.pass_time()
        assert world.status("1") == READY
        assert world.feed()["ACME-1"]["productId"] == "Q"

    def test_a_product_whose_last_sku_has_left_is_nobodys(self, world: World) -> None:
        world.upsert(world.sku("1"))
        world.pass_time()
        world.upsert(world.sku("1", "Q"))
        world.pass_time()
        assert world.status("1") == READY
        assert [it["productId"] for it in world.feed().values()] == ["Q"]

    def test_a_channel_that_hears_of_a_sku_after_its_deletion_tells_nobody(self, world: World) -> None:
        world.upsert(world.sku("1"), world.sku("2"))
        world.now += timedelta(seconds=1)
        world.runner().run_due()
        world.upsert(world.sku("2"))
        world.now += timedelta(seconds=1)
        assert Runner(world.database, world.publishing, worker="w", clock=lambda: world.now).run_due() == 1
        assert (world.status("1"), sorted(world.feed())) == (("DELETED", {}), ["ACME-1", "ACME-2"])
        world.pass_time()
        assert (world.status("1"), list(world.feed())) == (("DELETED", {}), ["ACME-2"])

    def test_a_product_of_any_id_goes_the_same_way(self, world: World) -> None:
        for number, product_id in enumerate(("\u200b", "\U0001f47d" * 128, "<%'\"\\")):
            world.upsert(world.sku(str(number), product_id))
        world.pass_time()
        assert [world.status(str(number)) for number in range(3)] == [READY] * 3


class TestStock:
    def test_stock_makes_it_available_and_is_told_as_integrated(self, world: World) -> None:
        world.upsert(world.sku())
        world.stock("1", 3)
        world.pass_time()
        assert (world.feed()["ACME-1"]["available"], world.feed()["ACME-1"]["quantity"]) == (True, 3)
        assert world.is_integrated("1")

    def test_none_takes_it_off_sale_and_some_brings_it_back(self, world: World) -> None:
        world.upsert(world.sku())
        world.stock("1", 3)
        world.pass_time()
        before = world.shown()
        for quantity in (0, 7):
            world.stock("1", quantity)
            world.pass_time()
            line = world.feed()["ACME-1"]
            assert (line["available"], line["quantity"]) == (quantity > 0, quantity)
        assert world.shown() == before, "stock is no change of the SKU"

    def test_a_quantity_that_a_channel_has_yet_to_take_over_is_not_integrated(self, world: World) -> None:
        world.upsert(world.sku())
        world.stock("1", 3)
        world.pass_time()
        world.stock("1", 2)
        assert not world.is_integrated("1")

    def test_stock_of_a_sku_that_nobody_shows_is_never_integrated(self, world: World) -> None:
        world.stock("1", 3)
        world.pass_time()
        assert world.waiting() == 0
        assert world.is_integrated("1") is None

    def test_stock_that_came_first_counts(self, world: World) -> None:
        world.stock("1", 3)
        world.pass_time()
        world.upsert(world.sku())
        world.pass_time()
        assert world.feed()["ACME-1"]["quantity"] == 3

    def test_what_was_counted_to_the_same_number_again_is_integrated_too(self, world: World) -> None:
        world.upsert(world.sku())
        world.stock("1", 3)
        world.pass_time()
        world.stock("1", 2)
        world.stock("1", 3)
        world.pass_time()
        assert world.is_integrated("1")

    def test_only_what_can_be_sold_to_the_channels_country_counts(self, world: World) -> None:
        counted_at = world.now
        with world.acting() as session:
            for number, country in ((1000, "BR"), (1001, "MX")):
                inventory.add_warehouse(
                    session, "ACME", number, name="Returns", country=country, type_=WarehouseType.RETURNS, by=BY
                )
            for number, quantity in ((1, 1), (1000, 10), (1001, 100)):
                session.add(
                    InventoryRecord(
                        merchant_id="ACME", sku_id="1", warehouse_id=number, inventory_type="AVAILABLE",
                        quantity=quantity, last_updated_at=world.now,
                    )
                )  # fmt: skip
        world.upsert(world.sku())
        world.pass_time()
        assert world.feed()["ACME-1"]["quantity"] == 11
        with world.acting() as session:
            levels = inventory.stock_levels(session, "ACME", ["1", "2"], "MX")
        assert levels == {"1": StockLevel(101, counted_at)}

    def test_many_changes_are_taken_in_parts(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ecross_server.publication.service.ROWS_AT_ONCE", 2)
        skus = [world.sku(str(number)) for number in range(5)]
        world.upsert(*skus)
        for number in range(5):
            world.stock(str(number), number)
        world.pass_time(6)
        assert {line["skuId"]: line["quantity"] for line in world.feed().values()} == {str(n): n for n in range(5)}
        assert {world.status(str(number))[1]["ECOM"] for number in range(5)} == {APPROVED}
        assert world.waiting() == 0


class TestUrgency:
    def test_what_is_sold_out_leaves_the_shop_while_thousands_of_products_wait(self, world: World) -> None:
        world.upsert(world.sku())
        world.stock("1", 5)
        world.pass_time()
        world.queue_checks(2000)
        world.now += timedelta(seconds=1)
        world.stock("1", 0)
        assert world.feed()["ACME-1"]["available"]
        world.run(3)
        world.now += timedelta(seconds=1)
        world.run(3)
        assert not world.feed()["ACME-1"]["available"]
        assert world.waiting() > 1000

    def test_a_merchant_of_the_sandbox_waits_for_nobodys_catalog(self, world: World) -> None:
        world.register("SB_ACME")
        world.queue_checks(2000)
        world.now += timedelta(seconds=1)
        world.upsert(world.sku(), merchant_id="SB_ACME")
        world.run(3)
        world.now += timedelta(seconds=1)
        world.run(3)
        assert world.status(merchant_id="SB_ACME") == READY
        assert world.waiting() > 1000

    def test_nobodys_stock_waits_for_the_catalog_of_a_merchant_of_the_sandbox(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.register("SB_ACME")
        world.queue_checks(2000, "SB_ACME")
        world.now += timedelta(seconds=1)
        world.stock("1", 5)
        world.run(3)
        world.now += timedelta(seconds=1)
        world.run(3)
        assert world.feed()["ACME-1"]["available"]
        assert world.waiting() > 1000


class TestChannels:
    def test_a_channel_that_is_connected_later_shows_what_is_ready(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ecross_server.localization.service.SKUS_AT_ONCE", 2)
        world.upsert(*(world.sku(str(number)) for number in range(5)))
        world.pass_time()
        world.add_channel("LOJA", "MX", "MXN")
        world.connect("LOJA")
        world.pass_time(6)
        assert len(world.feed("LOJA")) == 5
        assert world.status("4") == ("READY_FOR_SALES_CHANNEL", {"ECOM": APPROVED, "LOJA": APPROVED})

    def test_a_disconnected_channel_shows_nothing_any_more(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.disconnect("ECOM")
        world.pass_time()
        off = ("SALES_CHANNEL_REMOVED", "Not connected to this sales channel")
        assert world.status() == ("LOCALIZATION_SKIPPED", {"ECOM": off})
        assert world.feed() == {}
        world.connect("ECOM")
        world.pass_time()
        assert world.status() == READY

    def test_who_sells_on_no_channel_is_not_looked_at(self, world: World) -> None:
        world.disconnect("ECOM")
        world.upsert(world.sku())
        world.pass_time()
        assert world.status() == ("LOCALIZATION_SKIPPED", {})

    def test_merchants_are_never_mixed(self, world: World) -> None:
        for merchant_id in ("ACME", "OTHER"):
            world.upsert(world.sku(name=f"Charger of {merchant_id}"), merchant_id=merchant_id)
        world.stock("1", 3, "ACME")
        world.pass_time()
        shown = {it: (line["merchantId"], line["name"], line["quantity"]) for it, line in world.feed().items()}
        assert shown == {"ACME-1": ("ACME", "Charger of ACME", 3), "OTHER-1": ("OTHER", "Charger of OTHER", 0)}
        world.disconnect("ECOM", "OTHER")
        world.upsert(world.sku("2"), merchant_id="OTHER")
        world.pass_time()
        assert list(world.feed()) == ["ACME-1"]
        assert world.status(merchant_id="ACME") == READY

    def test_what_one_country_forbids_is_shown_in_another(self, world: World) -> None:
        world.add_channel("LOJA", "CA", "CAD")
        world.connect("LOJA")
        world.upsert(world.sku(name="Vape pen"))
        world.pass_time()
        status, told = world.status()
        assert status == "READY_FOR_SALES_CHANNEL"
        assert told["LOJA"] == APPROVED
        assert told["ECOM"][0] == "SALES_CHANNEL_DENIED"
        assert "electronic cigarettes may not be sold" in told["ECOM"][1]
        assert (list(world.feed("LOJA")), world.feed()) == (["ACME-1"], {})

    def test_what_no_channels_country_allows_is_denied(self, world: World) -> None:
        world.upsert(world.sku(name="Vape pen"))
        world.pass_time()
        status, told = world.status()
        assert (status, told["ECOM"][0]) == ("DENIED_REGULATORY", "SALES_CHANNEL_DENIED")
        assert world.feed() == {}


def test_the_operator_reads_why(world: World) -> None:
    world.upsert(world.sku(description="", images=[]))
    world.pass_time()
    with world.acting() as session:
        judgement, reviews = localization.show_judgement(session, "ACME", "1")
        with pytest.raises(NotJudgedError):
            localization.show_judgement(session, "OTHER", "1")
    assert (judgement.sku_id, judgement.rules_version, reviews) == ("1", "2026-11-25", [])
    assert [(reason["field"], reason["code"]) for reason in judgement.reasons] == [
        ("description", "missing"), ("images", "missing"),
    ]  # fmt: skip
