"""Stock: absolute, by server order, before its SKU, and never in another's warehouse."""

from __future__ import annotations

import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.catalog import service as catalog
from ecross_server.catalog.schemas import read_product
from ecross_server.inventory import service
from ecross_server.inventory.errors import SkuNotFoundError, UnknownWarehouseError, WarehouseNotWritableError
from ecross_server.inventory.models import InventoryRecord
from ecross_server.inventory.rules import Count, InventoryType, WarehouseType
from ecross_server.inventory.schemas import InventoryPageOut
from ecross_server.inventory.service import Stock
from ecross_server.kit.change_lists import PageRequest
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.database import Database
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants import service as merchants

pytestmark = pytest.mark.measured

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)
TOKENS = PageTokens([b"k" * 32])
SHORT, LONG = 0.2, 20.0
RETURNS = 1000


@pytest.fixture(autouse=True)
def _merchants(database: Database) -> None:
    with database.write() as session:
        for merchant_id in ("ACME", "OTHER"):
            merchants.register_merchant(session, merchant_id, merchant_id, now=NOW, by=BY)
        service.add_warehouse(session, "ACME", 2, name="Second", country="ES", type_=WarehouseType.MERCHANT, by=BY)
        service.add_warehouse(
            session, "ACME", RETURNS, name="Returns partner BR", country="BR", type_=WarehouseType.RETURNS, by=BY
        )


def put(
    database: Database, quantity: int, sku_id: str = "1", *, warehouse_id: int = 1, merchant_id: str = "ACME",
    type_: str = "AVAILABLE", now: datetime = NOW,
) -> Stock:  # fmt: skip
    with database.write() as session:
        count = Count(sku_id, warehouse_id, InventoryType(type_), quantity)
        return service.set_inventory(session, merchant_id, count, now=now)


def come_back(database: Database, quantity: int, *, type_: str = "AVAILABLE") -> None:
    """What whoever runs the returns warehouse counts."""
    with database.write() as session:
        service.count_inventory(session, "ACME", Count("1", RETURNS, InventoryType(type_), quantity), now=NOW, by=BY)


def register(database: Database, sku_id: str, name: str = "T-Shirt", merchant_id: str = "ACME") -> None:
    drafts = read_product(json.dumps([{"skuId": sku_id, "productId": sku_id, "name": name}]).encode())
    with database.write() as session:
        catalog.upsert_skus(session, merchant_id, drafts, now=NOW)


def listed(
    database: Database, after: datetime | None = None, token: str | None = None, *, size: int = 100,
    merchant_id: str = "ACME",
) -> Any:  # fmt: skip
    with database.read() as session:
        request = PageRequest(None if after is None else rfc3339(after), token, size, TOKENS)
        page = service.list_inventory(session, merchant_id, request)
    return InventoryPageOut.of(page).model_dump(by_alias=True, exclude_none=True)


def sellable(database: Database, sku_id: str = "1", country: str = "BR") -> tuple[int, list[int]]:
    with database.read() as session:
        found = service.sellable_stock(session, "ACME", sku_id, country)
    return found.quantity, [stock.warehouse.id for stock in found.stocks]


class TestSet:
    def test_a_quantity_is_set_not_added(self, database: Database) -> None:
        first = put(database, 9)
        second = put(database, 4, now=NOW + SECOND)
        assert (second.record.number, second.record.quantity) == (first.record.number, 4)
        assert [record["quantity"] for record in listed(database)["inventories"]] == [4]

    def test_only_a_changed_quantity_changes_the_date(self, database: Database) -> None:
        dates = [
            put(database, quantity, now=now).record.last_updated_at - NOW
            for quantity, now in ((3, NOW), (3, NOW + SECOND), (0, NOW + SECOND), (3, NOW), (3, NOW + 5 * SECOND))
        ]
        assert dates == [0 * SECOND, 0 * SECOND, SECOND, SECOND + TICK, SECOND + TICK]

    def test_each_warehouse_and_type_has_a_number_of_its_own(self, database: Database) -> None:
        put(database, 1)
        put(database, 2, type_="DAMAGED")
        put(database, 3, warehouse_id=2)
        put(database, 4, "2")
        assert [(record["id"], record["quantity"]) for record in listed(database)["inventories"]] == [
            ("ACME-1-1-AVAILABLE", 1), ("ACME-1-1-DAMAGED", 2), ("ACME-1-2-AVAILABLE", 3), ("ACME-2-1-AVAILABLE", 4),
        ]  # fmt: skip

    def test_stock_may_come_before_its_sku_and_gets_its_name_later(self, database: Database) -> None:
        assert put(database, 1).sku_name is None
        register(database, "1", merchant_id="OTHER")
        assert "skuName" not in listed(database)["inventories"][0]
        register(database, "1")
        assert put(database, 2).sku_name == "T-Shirt"
        assert listed(database)["inventories"][0]["skuName"] == "T-Shirt"

    def test_the_default_warehouse_is_there_before_anything_is_told_of_it(self, database: Database) -> None:
        stock = put(database, 1, merchant_id="OTHER")
        assert (stock.warehouse.name, stock.warehouse.country, stock.warehouse.type) == ("Default", None, "MERCHANT")
        with database.write() as session:
            service.change_warehouse(session, "OTHER", 1, name="Madrid", country="ES", by=BY)
        stock = put(database, 1, merchant_id="OTHER")
        assert (stock.warehouse.name, stock.warehouse.country) == ("Madrid", "ES")

    def test_a_returns_warehouse_cannot_be_written(self, database: Database) -> None:
        with pytest.raises(WarehouseNotWritableError) as caught:
            put(database, 1, warehouse_id=RETURNS)
        assert caught.value.faults[0].path == "warehouseId"
        assert listed(database) == {"inventories": []}

    @pytest.mark.parametrize(("merchant_id", "warehouse_id"), [("ACME", 3), ("OTHER", 2), ("OTHER", RETURNS)])
    def test_another_warehouse_is_none(self, database: Database, merchant_id: str, warehouse_id: int) -> None:
        with pytest.raises(UnknownWarehouseError) as caught:
            put(database, 1, warehouse_id=warehouse_id, merchant_id=merchant_id)
        assert caught.value.faults[0].path == "warehouseId"

    def test_writers_take_turns_and_the_last_one_wins(self, database: Database) -> None:
        with ThreadPoolExecutor(1) as pool:
            with database.write() as session:
                count = Count("1", 1, InventoryType.AVAILABLE, 5)
                service.set_inventory(session, "ACME", count, now=NOW + SECOND)
                late = pool.submit(put, database, 6, now=NOW)
                with pytest.raises(NotYetError):
                    late.result(SHORT)
            assert late.result(LONG).record.last_updated_at == NOW + SECOND + TICK
        assert [record["quantity"] for record in listed(database)["inventories"]] == [6]

    def test_several_processes_that_count_at_once_leave_one_record_of_one_of_them(self, database: Database) -> None:
        database.close()
        url = database.engine.url.render_as_string(hide_password=False)
        context = multiprocessing.get_context("fork")
        barrier = context.Barrier(3)
        processes = [
            context.Process(target=put_in_a_process, args=(url, barrier, 10 + n), daemon=True) for n in range(3)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(LONG)
        assert [process.exitcode for process in processes] == [0] * 3
        records = listed(database)["inventories"]
        assert len(records) == 5
        assert {record["quantity"] for record in records} <= {10, 11, 12}


def put_in_a_process(url: str, barrier: Any, quantity: int) -> None:
    database = Database(url)
    for number in range(5):
        barrier.wait()
        put(database, quantity, str(number))
    database.close()


class TestSellable:
    def test_origin_warehouses_and_the_countrys_returns_count(self, database: Database) -> None:
        put(database, 5)
        put(database, 4, warehouse_id=2)
        come_back(database, 1)
        assert sellable(database) == (10, [1, 2, RETURNS])
        assert sellable(database, country="MX") == (9, [1, 2])

    def test_damaged_pieces_and_other_skus_do_not(self, database: Database) -> None:
        put(database, 5)
        put(database, 7, type_="DAMAGED")
        put(database, 8, "2")
        put(database, 9, merchant_id="OTHER")
        come_back(database, 2, type_="DAMAGED")
        assert sellable(database) == (5, [1])

    def test_nothing_is_left_to_sell_once_the_quantity_is_0(self, database: Database) -> None:
        put(database, 5)
        put(database, 0)
        assert sellable(database) == (0, [1])

    def test_a_registered_sku_without_stock_has_none(self, database: Database) -> None:
        register(database, "1")
        assert sellable(database) == (0, [])

    def test_a_sku_that_is_in_a_warehouse_is_known_though_all_of_it_is_damaged(self, database: Database) -> None:
        put(database, 3, type_="DAMAGED")
        assert sellable(database) == (0, [])

    @pytest.mark.parametrize("sku_id", ["1", "", "1\0", "%"])
    def test_a_sku_that_nobody_knows_is_not_found(self, database: Database, sku_id: str) -> None:
        register(database, "1", merchant_id="OTHER")
        put(database, 1, "1", merchant_id="OTHER")
        with pytest.raises(SkuNotFoundError):
            sellable(database, sku_id)


class TestList:
    def test_a_follower_by_date_ends_with_all_numbers(self, database: Database) -> None:
        writes = st.lists(st.tuples(st.integers(0, 6).map(str), st.integers(0, 3)), min_size=1, max_size=12)

        @examples(max_examples=20, deadline=None)
        @given(writes, st.integers(1, 3))
        def check(writes: list[tuple[str, int]], size: int) -> None:
            put(database, 1, "anchor")
            copy: dict[str, Any] = {}
            greatest: datetime | None = None
            token: str | None = None
            shown: list[Any] = []

            def turn_a_page() -> bool:
                nonlocal greatest, token, shown
                page = listed(database, greatest, token, size=size)
                shown += page["inventories"]
                copy.update({record["id"]: record for record in page["inventories"]})
                token = page.get("nextPageToken")
                if token is None:
                    assert len({record["id"] for record in shown}) == len(shown)
                    if shown:
                        greatest = datetime.fromisoformat(max(record["lastUpdateDate"] for record in shown))
                    shown = []
                return token is not None

            for sku_id, quantity in writes:
                turn_a_page()
                put(database, quantity, sku_id)
            for _ in range(2):
                while turn_a_page():
                    pass
            assert copy == {record["id"]: record for record in listed(database)["inventories"]}

        check()

    def test_pages_hold_every_record_once(self, database: Database) -> None:
        for number in range(5):
            put(database, number, str(number))
        ids: list[str] = []
        token: str | None = ""
        while token is not None:
            page = listed(database, token=token, size=2)
            ids += [record["skuId"] for record in page["inventories"]]
            token = page.get("nextPageToken")
        assert ids == ["0", "1", "2", "3", "4"]

    def test_when_a_channel_took_the_number_over_is_shown(self, database: Database) -> None:
        put(database, 1)
        with database.write() as session:
            session.query(InventoryRecord).update({"last_integrated_at": NOW + SECOND})
        assert listed(database)["inventories"][0]["lastIntegrationDate"] == rfc3339(NOW + SECOND)
