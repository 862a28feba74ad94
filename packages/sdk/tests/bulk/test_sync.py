"""What is sent and what is not, decided by the state machine, against a server in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ecross._bulk import Place
from ecross._bulk.drivers import run_in_threads
from ecross._bulk.flow import Order, synchronize
from ecross.errors import (
    FieldError,
    ValidationError,
)
from ecross.types import SyncFault, SyncRefusal, SyncReport

Bring = Callable[..., SyncReport]
World = Any
"""See conftest.py."""


def skus(*ids: str, **fields: Any) -> list[dict[str, Any]]:
    """SKUs by their ids, `P/1` being SKU `P1` of the product `P`."""
    return [{"skuId": id_.replace("/", ""), "productId": id_.split("/")[0], "name": "n", **fields} for id_ in ids]


def stock(*records: tuple[str, int]) -> list[dict[str, Any]]:
    return [{"skuId": sku_id, "quantity": quantity} for sku_id, quantity in records]


def sent_products(world: World) -> list[str]:
    """The products that were sent since this was asked."""
    products = sorted(body[0]["productId"] for body in world.sent)
    world.sent.clear()
    return products


class TestWhatIsSent:
    def test_a_new_catalog_is_sent_product_by_product_however_it_is_scattered(self, world: World, bring: Bring) -> None:
        source = skus("A/1", "B/1", "A/2", "C/1", "B/2", "A/3")

        report = bring(source)

        assert sorted([sku["skuId"] for sku in body] for body in world.sent) == [
            ["A1", "A2", "A3"],
            ["B1", "B2"],
            ["C1"],
        ]
        assert (report.sent, report.skus_sent, report.unchanged, report.refused) == (3, 6, 0, 0)
        assert report.is_whole
        assert world.living() == {sku["skuId"]: sku for sku in source}

    def test_only_what_differs_is_sent_again(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "B/1", "C/1", "C/2"))
        sent_products(world)

        report = bring([*skus("A/1", "C/1"), *skus("B/1", name="changed"), *skus("D/1")])

        assert sent_products(world) == ["B", "C", "D"]
        assert (report.sent, report.unchanged, report.skus_unchanged, report.skus_removed) == (3, 1, 1, 1)
        assert sorted(world.living()) == ["A1", "B1", "C1", "D1"]
        assert bring([*skus("A/1", "C/1"), *skus("B/1", name="changed"), *skus("D/1")]).unchanged == 4
        assert not world.sent

    def test_the_order_of_a_products_skus_makes_no_difference(self, bring: Bring) -> None:
        bring(skus("A/1", "A/2", "B/1"))

        assert bring(skus("B/1", "A/2", "A/1")).unchanged == 2

    def test_what_the_source_does_not_tell_is_left_alone_and_counted(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "B/1"))

        report = bring(skus("B/1"))

        assert (report.absent, report.unchanged) == (1, 1)
        assert report.is_whole
        assert sorted(world.living()) == ["A1", "B1"]

    def test_the_first_run_on_another_machine_learns_what_is_there(self, world: World, bring: Bring) -> None:
        world.upsert(skus("A/1", "A/2"))
        world.upsert(skus("B/1"))

        report = bring(skus("A/1"))

        assert (report.sent, report.skus_removed, report.absent) == (1, 1, 1)

    def test_a_list_is_read_from_the_newest_date_that_was_seen(self, world: World, bring: Bring) -> None:
        for _ in range(3):
            bring(skus("A/1", "B/1", "C/1", "D/1"), workers=1)

        assert world.listed == [None, None, "2026-01-01T00:00:03.999000Z"]

    @pytest.mark.parametrize("change", ["name", "localizedListPriceWithTaxes"])
    def test_what_another_writer_changed_is_set_right_also_where_the_list_does_not_show_it(
        self, world: World, bring: Bring, change: str
    ) -> None:
        source = [*skus("A/1", "B/1", localizedListPriceWithTaxes=1)]
        bring(source)
        world.upsert([skus("A/1", localizedListPriceWithTaxes=1)[0] | {change: 2}])
        sent_products(world)

        bring(source)

        assert sent_products(world) == ["A"]
        assert world.living() == {sku["skuId"]: sku for sku in source}

    def test_a_sku_that_another_writer_deleted_added_or_moved_is_set_right(self, world: World, bring: Bring) -> None:
        source = skus("A/1", "A/2", "B/1", "C/1", "D/1")
        bring(source)
        world.upsert(skus("A/1"))
        world.upsert(skus("B/1", "B/9"))
        world.upsert([*skus("X/1"), *skus("C/1", productId="X")])
        sent_products(world)

        report = bring(source)

        assert sent_products(world) == ["A", "B", "C"]
        assert report.skus_removed == 1
        assert report.absent == 1
        assert world.living() == {sku["skuId"]: sku for sku in [*source, *skus("X/1")]}

    def test_a_sku_that_moves_within_the_source_makes_both_products_differ(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "A/2", "B/1"))
        moved = [*skus("A/1", "B/1"), *skus("A/2", productId="B")]

        bring(moved, workers=1)

        assert world.living() == {sku["skuId"]: sku for sku in moved}
        sent_products(world)
        assert bring(moved).unchanged == 2
        assert bring(skus("A/1", "A/2", "B/1")).sent == 2

    def test_a_sku_that_moves_is_not_deleted_on_the_way(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "A/2", "B/1", "C/1"))
        world.move_on("A2")
        sent: list[str] = []
        world.before = lambda: sent.append(world.rows["A2"]["localizationStatus"])

        report = bring([*skus("A/1"), *skus("A/2", productId="B"), *skus("B/1", "C/1")])

        assert (report.sent, report.unchanged, report.skus_removed) == (2, 1, 0)
        assert [body[0]["productId"] for body in world.sent[-2:]] == ["B", "A"]
        assert "DELETED" not in sent

    def test_skus_that_change_places_end_where_the_source_says(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "A/2", "B/1", "B/2"))
        swapped = [*skus("A/1"), *skus("B/2", productId="A"), *skus("B/1"), *skus("A/2", productId="B")]

        report = bring(swapped, workers=1)

        assert (report.sent, report.is_whole) == (2, True)
        assert world.living() == {sku["skuId"]: sku for sku in swapped}

    def test_a_sku_that_is_to_move_to_a_refused_product_stays_where_it_is(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "A/2", "B/1"))
        world.errors["A2"] = [ValidationError(400, "No.")]

        report = bring([*skus("A/1"), *skus("A/2", productId="B"), *skus("B/1")])

        assert [refusal.key for refusal in report.refusals] == ["B", "A"]
        assert "another product" in report.refusals[1].faults[0].message
        assert world.living()["A2"]["productId"] == "A"

    def test_what_the_server_itself_moved_on_is_sent_once_more_and_then_trusted(
        self, world: World, bring: Bring
    ) -> None:
        bring(skus("A/1", "B/1"))
        world.move_on("A1")

        assert [bring(skus("A/1", "B/1")).sent for _ in range(3)] == [1, 0, 0]

    def test_all_is_sent_where_it_is_asked_for(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "B/1"))
        sent_products(world)

        report = bring(skus("A/1", "B/1"), is_full=True)

        assert (report.sent, report.unchanged) == (2, 0)
        assert sent_products(world) == ["A", "B"]

    def test_a_server_that_was_set_back_is_read_whole(self, world: World, bring: Bring) -> None:
        bring(skus("A/1"))
        older = dict(world.rows)
        bring(skus("A/1", "B/1"))
        bring(skus("A/1", "B/1"))
        world.rows = older
        sent_products(world)

        report = bring(skus("A/1", "B/1"))

        assert (report.sent, report.unchanged) == (1, 1)
        assert sorted(world.living()) == ["A1", "B1"]

    def test_answers_without_dates_are_never_trusted(self, world: World, bring: Bring) -> None:
        world.shows_dates = False

        assert [bring(skus("A/1")).sent for _ in range(3)] == [1, 1, 1]

    def test_two_merchants_and_two_servers_have_nothing_in_common(self, world: World, bring: Bring) -> None:
        bring(skus("A/1"))
        world.rows.clear()

        assert bring(skus("A/1"), client_id="other").sent == 1

    def test_without_a_place_for_it_everything_is_sent_each_time(
        self, bring: Bring, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

        assert [bring(skus("A/1"), directory=None).sent for _ in range(2)] == [1, 1]
        assert not list(tmp_path.iterdir())

    @settings(
        max_examples=8,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
    @given(data=st.data())
    def test_whatever_happens_in_between_a_run_leaves_what_the_source_says(
        self, data: st.DataObject, world: World, tmp_path: Path
    ) -> None:
        world.rows.clear()
        catalogs = st.dictionaries(st.sampled_from("1234"), st.tuples(st.sampled_from("AB"), st.integers(0, 1)))
        place = Place(Path(tempfile.mkdtemp(dir=tmp_path)), "https://api.test", "acme")
        for _ in range(4):
            for sku_id, (product, price) in data.draw(catalogs).items():
                world.upsert([{"skuId": sku_id, "productId": product, "localizedListPriceWithTaxes": price}])
            wanted = [
                {"skuId": sku_id, "productId": product, "localizedListPriceWithTaxes": price}
                for sku_id, (product, price) in data.draw(catalogs).items()
            ]
            report = run_in_threads(
                synchronize(Order("catalog", wanted, place, at_once=1)),
                world.perform, workers=1, sleep=_never, on_progress=None,
            )  # fmt: skip
            told = {sku["productId"] for sku in wanted}
            living = world.living()
            assert {key: sku for key, sku in living.items() if sku["productId"] in told} == {
                sku["skuId"]: sku for sku in wanted
            }
            assert report.absent == len({sku["productId"] for sku in living.values()} - told)


class TestDryRun:
    def test_nothing_is_sent_and_all_is_told(self, world: World, bring: Bring) -> None:
        bring(skus("A/1", "B/1", "B/2"))
        sent_products(world)
        source = [*skus("A/1", "B/1"), *skus("C/1", ean="1"), *skus("D/1")]

        report = bring(source, is_dry_run=True)

        assert not world.sent
        assert (report.is_dry_run, report.is_whole) == (True, False)
        assert (report.sent, report.skus_sent, report.unchanged, report.skus_removed) == (2, 2, 1, 1)
        ((refusal),) = report.refusals
        assert (refusal.key, refusal.faults[0].line, refusal.faults[0].path) == ("C", 3, "ean")

    @pytest.mark.parametrize(
        ("record", "path"),
        [
            ({"skuId": "a b", "quantity": 1}, "skuId"),
            ({"skuId": "A", "quantity": -1}, "quantity"),
            ({"skuId": "A", "quantity": 1.5}, "quantity"),
            ({"skuId": "A", "quantity": True}, "quantity"),
            ({"skuId": "A", "quantity": 1, "warehouseId": 0}, "warehouseId"),
            ({"skuId": "A", "quantity": 1, "inventoryType": "BROKEN"}, "inventoryType"),
        ],
    )
    def test_stock_is_looked_at_too(self, bring: Bring, record: dict[str, Any], path: str) -> None:
        report = bring([record, {"skuId": "B", "quantity": 1}], subject="stock", is_dry_run=True)

        assert report.sent == 1
        assert [[fault.path for fault in each.faults] for each in report.refusals] == [[path]]


class TestStock:
    def test_only_what_differs_is_sent_and_what_others_set_is_known(self, world: World, bring: Bring) -> None:
        bring(stock(("A", 1), ("B", 2)), subject="stock")
        assert len(world.sent) == 2

        assert bring(stock(("A", 1), ("B", 3)), subject="stock").sent == 1
        world.rows["A/1/AVAILABLE"] |= {"quantity": 9, "lastUpdateDate": "2027-01-01T00:00:00.000Z"}
        assert bring(stock(("A", 9), ("B", 3)), subject="stock").unchanged == 2
        assert bring(stock(("A", 1), ("B", 3)), subject="stock").sent == 1

    def test_what_the_server_has_already_is_not_sent_by_the_first_run(self, bring: Bring) -> None:
        bring(stock(("A", 1)), subject="stock")

        report = bring(stock(("A", 1), ("B", 1)), subject="stock", client_id="of another machine")

        assert (report.unchanged, report.sent) == (1, 1)

    def test_a_refusal_is_told_by_the_records_line(self, world: World, bring: Bring) -> None:
        world.errors["B"] = [ValidationError(400, "Faults.", errors=[FieldError("warehouseId", "is unknown")])]

        report = bring(stock(("A", 1), ("B", 1)), subject="stock")

        assert report.refusals == (SyncRefusal("B/1/AVAILABLE", (SyncFault(2, "warehouseId", "is unknown"),)),)

    def test_a_record_that_is_there_twice_contradicts_itself(self, bring: Bring) -> None:
        report = bring(stock(("A", 1), ("A", 2)), subject="stock")

        assert [fault.line for fault in report.refusals[0].faults] == [1, 2]
        assert report.refused == 1

    def test_an_answer_that_is_none_is_a_failure_of_its_own(self, world: World, bring: Bring) -> None:
        world.answer = {"skuId": "A1"}

        report = bring(skus("A/1"))

        assert "not a list" in report.failures[0].message

    def test_what_no_digest_stands_for_is_sent(self, world: World, bring: Bring) -> None:
        world.rows["A/1/AVAILABLE"] = {
            "skuId": "A", "warehouseId": 1, "inventoryType": "AVAILABLE", "quantity": 1e308,
            "lastUpdateDate": "2026-01-01T00:00:00.000Z",
        }  # fmt: skip

        assert bring(stock(("A", 1)), subject="stock").sent == 1


def _never(_: float) -> None:
    raise AssertionError
