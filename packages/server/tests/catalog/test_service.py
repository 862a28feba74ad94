from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.catalog import service
from ecross_server.catalog.rules import SkuDraft
from ecross_server.catalog.schemas import read_sku
from ecross_server.catalog.service import Sku
from ecross_server.kit.clock import rfc3339, utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import InvalidInputError
from ecross_server.kit.page_tokens import InvalidPageTokenError, PageTokens
from ecross_server.merchants import service as merchants

pytestmark = pytest.mark.measured

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
TOKENS = PageTokens([b"k" * 32])
SHORT, LONG = 0.2, 20.0

Save = Callable[..., None]


@pytest.fixture(autouse=True)
def _merchants(database: Database) -> None:
    with database.write() as session:
        for merchant_id in ("ACME", "OTHER"):
            merchants.register_merchant(session, merchant_id, merchant_id, now=NOW, by=BY)


def page(
    database: Database,
    merchant_id: str = "ACME",
    *,
    size: int = 100,
    token: str | None = None,
    after: str | None = None,
) -> service.SkuPage:
    with database.read() as session:
        return service.list_skus(
            session, merchant_id, updated_after=after, page_token=token, page_size=size, page_tokens=TOKENS
        )


def pages(database: Database, merchant_id: str = "ACME", *, size: int, after: str | None = None) -> Iterator[list[Sku]]:
    token = None
    while True:
        got = page(database, merchant_id, size=size, token=token, after=after)
        yield list(got.skus)
        token = got.next_page_token
        if token is None:
            return


def ids(database: Database, merchant_id: str = "ACME", **options: Any) -> list[str]:
    return [sku.sku_id for sku in page(database, merchant_id, **options).skus]


def one(database: Database, merchant_id: str = "ACME") -> Sku:
    (sku,) = page(database, merchant_id).skus
    return sku


def draft(sku_id: str, **others: Any) -> SkuDraft:
    return dataclasses.replace(
        read_sku(json.dumps({"skuId": sku_id, "productId": "p", "name": "n"}).encode()), **others
    )


def save_drafts(database: Database, drafts: list[SkuDraft], merchant_id: str = "ACME") -> None:
    with database.write() as session:
        service.save_skus(session, merchant_id, drafts, now=utc_now())


class TestSave:
    def test_a_new_sku_is_kept_whole_and_waits_for_localization(
        self, database: Database, example: dict[str, Any], save: Save
    ) -> None:
        save("ACME", example, now=NOW)
        sku = one(database)
        expected = read_sku(json.dumps(example).encode())
        for field in dataclasses.fields(expected):
            value = getattr(expected, field.name)
            assert getattr(sku, field.name) == (list(value) if isinstance(value, tuple) else value)
        assert sku.merchant_id == "ACME"
        assert sku.localization_status == "PENDING_LOCALIZATION"
        assert sku.sales_channel_status == {}
        assert sku.last_updated_at == NOW

    def test_an_equal_sku_is_left_untouched(self, database: Database, example: dict[str, Any], save: Save) -> None:
        save("ACME", example, now=NOW)
        before = one(database)
        save("ACME", example | {"weight": 0.10, "height": 4.0}, now=NOW + timedelta(days=1))
        assert one(database).last_updated_at == NOW
        assert one(database).number == before.number

    @pytest.mark.parametrize(
        "change",
        [
            {"productId": "other"}, {"name": "other"}, {"description": "other"}, {"description": None},
            {"weight": 0.2}, {"weight": None}, {"height": 5}, {"width": 5}, {"length": 5}, {"ean": None},
            {"hscode": "85044095"}, {"localizedListPriceWithTaxes": 1}, {"localizedSalePriceWithTaxes": None},
            {"globalSaleChannelData": {"active": False}}, {"globalSaleChannelData": None}, {"images": []},
            {"images": ["https://img.test/2.jpeg", "https://img.test/1.jpeg"]},
        ],
    )  # fmt: skip
    def test_a_different_sku_is_updated_in_its_place(
        self, database: Database, example: dict[str, Any], save: Save, change: dict[str, Any]
    ) -> None:
        save("ACME", example, now=NOW)
        before = one(database)
        save("ACME", example | change, now=NOW + timedelta(days=1))
        after = one(database)
        assert after.number == before.number
        assert after.last_updated_at == NOW + timedelta(days=1)
        expected = read_sku(json.dumps(example | change).encode())
        for field in dataclasses.fields(expected):
            value = getattr(expected, field.name)
            assert getattr(after, field.name) == (list(value) if isinstance(value, tuple) else value)

    def test_of_two_with_one_id_the_later_counts(self, database: Database, save: Save) -> None:
        save("ACME", {"skuId": "1", "name": "first"}, {"skuId": "2"}, {"skuId": "1", "name": "second"})
        assert {sku.sku_id: sku.name for sku in page(database).skus} == {"1": "second", "2": "n"}
        save("ACME", {"skuId": "1", "name": "third"}, {"skuId": "1", "name": "fourth"})
        assert {sku.sku_id: sku.name for sku in page(database).skus} == {"1": "fourth", "2": "n"}

    def test_nothing_saved_changes_nothing(self, database: Database, save: Save) -> None:
        save("ACME")
        assert ids(database) == []

    def test_skus_not_named_are_kept(self, database: Database, save: Save) -> None:
        save("ACME", {"skuId": "1"})
        save("ACME", {"skuId": "2"})
        assert ids(database) == ["1", "2"]

    def test_merchants_may_use_the_same_ids(self, database: Database, save: Save) -> None:
        save("ACME", {"skuId": "1", "name": "acme's"})
        save("OTHER", {"skuId": "1", "name": "other's"})
        save("ACME", {"skuId": "1", "name": "changed"})
        assert one(database, "ACME").name == "changed"
        assert one(database, "OTHER").name == "other's"

    def test_a_large_batch_is_saved_and_saved_again(self, database: Database) -> None:
        drafts = [draft(str(number)) for number in range(600)]
        save_drafts(database, drafts)
        save_drafts(database, [dataclasses.replace(made, name="changed") for made in drafts])
        assert [sku.name for sku in page(database, size=1_000).skus] == ["changed"] * 600

    @pytest.mark.parametrize("text", ["Ärmel 北京 🧥", "'; DROP TABLE skus; --", "%_\\", "\u0001\u007f\u2028"])
    def test_any_text_comes_back(self, database: Database, save: Save, text: str) -> None:
        save("ACME", {"name": text, "description": text, "globalSaleChannelData": {"brand": text}})
        sku = one(database)
        assert (sku.name, sku.description, sku.sale_channel_data) == (text, text, {"brand": text})

    def test_exact_numbers_come_back(self, database: Database, save: Save) -> None:
        save("ACME", {"weight": 0.1, "height": 999999999.123456, "localizedSalePriceWithTaxes": 0})
        sku = one(database)
        assert (sku.weight_kg, sku.height_cm, sku.origin_sale_price) == (
            Decimal("0.1"),
            Decimal("999999999.123456"),
            Decimal(0),
        )

    def test_writers_of_one_catalog_take_turns(self, database: Database) -> None:
        with ThreadPoolExecutor(1) as pool:
            with database.write() as session:
                service.save_skus(session, "ACME", [draft("1", name="early")], now=NOW)
                late = pool.submit(save_drafts, database, [draft("1", name="late")])
                with pytest.raises(NotYetError):
                    late.result(SHORT)
            late.result(LONG)
        assert one(database).name == "late"

    def test_writers_of_two_catalogs_do_not_wait_on_postgresql(self, database: Database) -> None:
        if database.is_sqlite:
            pytest.skip("SQLite has one writer")
        with ThreadPoolExecutor(1) as pool, database.write() as session:
            service.save_skus(session, "ACME", [draft("1")], now=NOW)
            pool.submit(save_drafts, database, [draft("1")], "OTHER").result(LONG)

    def test_importing_the_same_new_skus_at_once_keeps_each_once(self, database: Database) -> None:
        writers = 4
        for number in range(5):
            barrier = threading.Barrier(writers)
            batch = [draft(f"{number}-{place}") for place in range(20)]

            def import_(name: str, batch: list[SkuDraft] = batch, barrier: threading.Barrier = barrier) -> None:
                # Each in another order: writers that locked rows one by one would wait in a circle.
                shuffled = sorted(batch, key=lambda made: hash((name, made.sku_id)))
                barrier.wait()
                save_drafts(database, [dataclasses.replace(made, name=name) for made in shuffled])

            with ThreadPoolExecutor(writers) as pool:
                for done in [pool.submit(import_, f"writer {writer}") for writer in range(writers)]:
                    done.result(LONG)
            saved = [sku for sku in page(database, size=1_000).skus if sku.sku_id.startswith(f"{number}-")]
            assert sorted(sku.sku_id for sku in saved) == sorted(made.sku_id for made in batch)
            assert len({sku.name for sku in saved}) == 1  # the last writer's


class TestList:
    def test_a_merchant_without_skus_gets_one_empty_page(self, database: Database) -> None:
        assert page(database) == service.SkuPage([], None, None)

    @pytest.mark.parametrize("total", [1, 2, 3, 4, 6, 7])
    def test_pages_hold_every_sku_once_and_the_last_has_no_token(
        self, database: Database, save: Save, total: int
    ) -> None:
        save("ACME", *({"skuId": str(number)} for number in range(total)))
        got = list(pages(database, size=3))
        assert [len(skus) for skus in got] == [3] * (total // 3) + [total % 3] * (total % 3 > 0)
        assert [sku.sku_id for skus in got for sku in skus] == [str(number) for number in range(total)]

    def test_the_order_is_that_of_registration_whatever_is_written_later(self, database: Database, save: Save) -> None:
        for sku_id in ("b", "c", "a"):
            save("ACME", {"skuId": sku_id})
        save("ACME", {"skuId": "b", "name": "z"}, now=utc_now() + timedelta(days=1))
        assert ids(database) == ["b", "c", "a"]

    def test_only_skus_updated_strictly_after_are_shown(self, database: Database, save: Save) -> None:
        for milliseconds in (-1, 0, 1):
            save("ACME", {"skuId": str(milliseconds)}, now=NOW + timedelta(milliseconds=milliseconds))
        assert ids(database, after=rfc3339(NOW)) == ["1"]
        assert ids(database, after=rfc3339(NOW - timedelta(milliseconds=1))) == ["0", "1"]
        assert ids(database, after=rfc3339(NOW + timedelta(milliseconds=1))) == []
        assert ids(database, after="0001-01-01T00:00:00Z") == ["-1", "0", "1"]
        assert ids(database, after="9999-12-31T23:59:59Z") == []
        assert ids(database, after="") == ["-1", "0", "1"]

    @pytest.mark.parametrize(
        "text", ["2026-01-02T05:04:05.678+02:00", "2026-01-02T05:04:05.678 02:00", "2026-01-02T00:04:05.678-03:00"]
    )
    def test_the_instant_may_stand_in_any_zone(self, database: Database, save: Save, text: str) -> None:
        for milliseconds in (0, 1):
            save("ACME", {"skuId": str(milliseconds)}, now=NOW + timedelta(milliseconds=milliseconds))
        assert ids(database, after=text) == ["1"]

    def test_an_updated_sku_is_shown_again(self, database: Database, save: Save) -> None:
        save("ACME", {"skuId": "1"}, {"skuId": "2"}, now=NOW)
        save("ACME", {"skuId": "1", "name": "new"}, {"skuId": "2"}, now=NOW + timedelta(seconds=1))
        assert ids(database, after=rfc3339(NOW)) == ["1"]

    @pytest.mark.parametrize("text", ["yesterday", "2026-01-02", "2026-01-02T03:04:05", " ", "31337"])
    def test_a_bad_instant_is_refused_with_the_fields_name(self, database: Database, text: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            page(database, after=text)
        (fault,) = caught.value.faults
        assert fault.path == "lastUpdateDateFrom"
        assert fault.message.startswith("must be an ISO 8601 date and time with a time zone")
        assert caught.value.message == f"lastUpdateDateFrom {fault.message}"
        assert caught.value.__context__ is None

    def test_a_page_token_carries_the_instant_along(self, database: Database, save: Save) -> None:
        save("ACME", {"skuId": "old"}, now=NOW)
        save("ACME", *({"skuId": str(number)} for number in range(3)), now=NOW + timedelta(seconds=1))
        first = page(database, size=2, after=rfc3339(NOW))
        assert [sku.sku_id for sku in first.skus] == ["0", "1"]
        save("OTHER", {"skuId": "another's"}, now=NOW + timedelta(seconds=1))
        for after in (None, "", rfc3339(NOW), "2026-01-02T05:04:05.678+02:00", "2026-01-02T03:04:05.678999Z"):
            assert ids(database, token=first.next_page_token, after=after) == ["2"]

    def test_with_another_instant_a_page_token_is_refused(self, database: Database, save: Save) -> None:
        save("ACME", *({"skuId": str(number)} for number in range(3)))
        filtered = page(database, size=2, after=rfc3339(NOW)).next_page_token
        unfiltered = page(database, size=2).next_page_token
        for token, after in ((filtered, NOW + timedelta(milliseconds=1)), (unfiltered, NOW)):
            with pytest.raises(InvalidPageTokenError):
                page(database, token=token, after=rfc3339(after))

    def test_a_bad_instant_is_told_before_a_bad_token(self, database: Database) -> None:
        with pytest.raises(InvalidInputError, match="lastUpdateDateFrom"):
            page(database, token="nonsense", after="nonsense")

    def test_an_empty_token_means_page_one(self, database: Database, save: Save) -> None:
        save("ACME", {"skuId": "1"})
        assert ids(database, token="") == ["1"]

    def test_another_merchants_token_is_refused(self, database: Database, save: Save) -> None:
        for merchant_id in ("ACME", "OTHER"):
            save(merchant_id, *({"skuId": str(number)} for number in range(3)))
        token = page(database, "OTHER", size=2).next_page_token
        assert ids(database, "OTHER", token=token) == ["2"]
        with pytest.raises(InvalidPageTokenError):
            page(database, "ACME", token=token)

    @pytest.mark.parametrize("position", ["0 ", "2 2026-01-02T03:04:05.678Z"])
    def test_another_lists_token_is_refused(self, database: Database, position: str) -> None:
        token = TOKENS.make(merchant_id="ACME", list_name="inventories", position=position)
        with pytest.raises(InvalidPageTokenError):
            page(database, token=token)

    def test_the_page_size_may_change_between_pages(self, database: Database, save: Save) -> None:
        save("ACME", *({"skuId": str(number)} for number in range(6)))
        first = page(database, size=1)
        second = page(database, size=2, token=first.next_page_token)
        assert ids(database, size=10, token=second.next_page_token) == ["3", "4", "5"]

    def test_two_merchants_never_see_each_others_skus(self, database: Database) -> None:
        kept: dict[str, dict[str, str]] = {"ACME": {}, "OTHER": {}}

        @examples(max_examples=20, deadline=None)
        @given(
            st.lists(st.tuples(st.sampled_from(["ACME", "OTHER"]), st.integers(0, 30).map(str)), max_size=12),
            st.integers(1, 5),
        )
        def check(writes: list[tuple[str, str]], size: int) -> None:
            for merchant_id, expected in kept.items():
                written = {sku_id: f"{merchant_id}'s {sku_id}" for owner, sku_id in writes if owner == merchant_id}
                save_drafts(database, [draft(sku_id, name=name) for sku_id, name in written.items()], merchant_id)
                expected.update(written)
            for merchant_id, expected in kept.items():
                got = [sku for skus in pages(database, merchant_id, size=size) for sku in skus]
                assert len(got) == len(expected)
                assert {sku.sku_id: sku.name for sku in got} == expected
                assert {sku.merchant_id for sku in got} <= {merchant_id}

        check()


class TestPagingWhileOthersWrite:
    @pytest.mark.parametrize("is_filtered", [False, True])
    def test_every_sku_that_was_there_is_shown_once_and_none_twice(
        self, database: Database, *, is_filtered: bool
    ) -> None:
        there = [f"there-{number}" for number in range(40)]
        save_drafts(database, [draft(sku_id) for sku_id in there])
        save_drafts(database, [draft(sku_id) for sku_id in there], "OTHER")
        done = threading.Event()
        written = threading.Semaphore(0)

        def keep_writing(writer: int) -> int:
            number = 0
            while not done.is_set():
                number += 1
                changed = there[(number * 7 + writer) % len(there)]
                save_drafts(
                    database,
                    [draft(f"new-{writer}-{number}"), draft(changed, name=f"{writer} {number}")],
                    "OTHER" if number % 4 == 0 else "ACME",
                )
                written.release()
            return number

        with ThreadPoolExecutor(2) as pool:
            writers = [pool.submit(keep_writing, writer) for writer in range(2)]
            try:
                for _ in range(3):
                    shown: list[str] = []
                    for skus in pages(database, size=3, after=rfc3339(NOW) if is_filtered else None):
                        assert written.acquire(timeout=LONG)  # somebody has written between two pages
                        assert {sku.merchant_id for sku in skus} == {"ACME"}
                        shown += [sku.sku_id for sku in skus]
                        if len(shown) > 400:  # the writers may well outrun the reader
                            break
                    assert len(shown) == len(set(shown))
                    assert [sku_id for sku_id in shown if sku_id.startswith("there-")] == there
            finally:
                done.set()
            assert sum(writer.result(LONG) for writer in writers) > 15

    def test_a_sku_added_before_the_last_page_is_shown_there(self, database: Database, save: Save) -> None:
        save("ACME", *({"skuId": str(number)} for number in range(3)))
        first = page(database, size=2)
        save("ACME", {"skuId": "new"}, {"skuId": "0", "name": "changed"})
        assert ids(database, token=first.next_page_token) == ["2", "new"]

    def test_new_skus_become_visible_in_the_order_of_their_numbers(self, database: Database) -> None:
        # A number drawn first and committed last would be skipped by whoever has read past it.
        writers, rounds = 3, 10
        done = threading.Event()

        def keep_adding(writer: int) -> None:
            for number in range(rounds):
                save_drafts(database, [draft(f"{writer}-{number}")])

        def follow() -> list[int]:
            seen: list[int] = []
            token: str | None = None
            while True:
                is_last = done.is_set()
                got = page(database, size=1, token=token)
                while got.skus and got.next_page_token:
                    seen.append(got.skus[0].number)
                    token = got.next_page_token
                    got = page(database, size=1, token=token)
                if is_last:
                    return seen + [sku.number for sku in got.skus]

        with ThreadPoolExecutor(writers + 1) as pool:
            followed = pool.submit(follow)
            for added in [pool.submit(keep_adding, writer) for writer in range(writers)]:
                added.result(LONG)
            done.set()
            seen = followed.result(LONG)
        assert seen == [sku.number for sku in page(database, size=100).skus]
        assert len(seen) == writers * rounds
