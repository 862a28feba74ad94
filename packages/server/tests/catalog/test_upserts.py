"""`upsert_skus`: one product as a whole, its deleted SKUs, and dates that no reader misses."""

from __future__ import annotations

import json
import multiprocessing
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.catalog import service
from ecross_server.catalog.errors import ProductNotFoundError
from ecross_server.catalog.schemas import SkuPageOut, read_product, read_sku
from ecross_server.catalog.service import Sku
from ecross_server.kit.change_lists import next_date
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.database import Database
from ecross_server.kit.errors import NotFoundError
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants import service as merchants

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
SECOND = timedelta(seconds=1)
TICK = timedelta(milliseconds=1)
TOKENS = PageTokens([b"k" * 32])
SHORT, LONG = 0.2, 20.0

Save = Callable[..., None]


@pytest.fixture(autouse=True)
def _merchants(database: Database) -> None:
    with database.write() as session:
        for merchant_id in ("ACME", "OTHER"):
            merchants.register_merchant(session, merchant_id, merchant_id, now=NOW, by=BY)


def sku(sku_id: str, product_id: str = "p", **others: Any) -> dict[str, Any]:
    return {"skuId": sku_id, "productId": product_id, "name": "n"} | others


def upsert(database: Database, *skus: dict[str, Any], merchant_id: str = "ACME", now: datetime = NOW) -> list[Sku]:
    drafts = read_product(json.dumps(skus).encode())
    with database.write() as session:
        return service.upsert_skus(session, merchant_id, drafts, now=now)


def product(database: Database, product_id: str = "p", merchant_id: str = "ACME") -> dict[str, Sku]:
    with database.read() as session:
        return {sku.sku_id: sku for sku in service.list_product_skus(session, merchant_id, product_id)}


def listed(database: Database, after: datetime | None = None, token: str | None = None, size: int = 100) -> Any:
    with database.read() as session:
        page = service.list_skus(
            session, "ACME", updated_after=None if after is None else rfc3339(after), page_token=token, page_size=size,
            page_tokens=TOKENS,
        )  # fmt: skip
    return json.loads(SkuPageOut.of(page).to_json())


def mains(database: Database, product_id: str = "p") -> list[str]:
    return [sku_id for sku_id, kept in product(database, product_id).items() if kept.is_main]


class TestUpsert:
    def test_a_product_consists_of_what_was_sent_in_that_order(self, database: Database) -> None:
        given_back = upsert(database, sku("b"), sku("a", main=True), sku("c"))
        assert [kept.sku_id for kept in given_back] == ["b", "a", "c"]
        assert {kept.localization_status for kept in given_back} == {"PENDING_LOCALIZATION"}
        assert list(product(database)) == ["b", "a", "c"]

    def test_a_sku_left_out_is_deleted_from_the_product_and_the_list(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"), sku("3"))
        upsert(database, sku("3"), sku("1"), now=NOW + SECOND)
        assert list(product(database)) == ["1", "3"]
        assert [each["skuId"] for each in listed(database)["skus"]] == ["1", "3"]

    def test_a_list_by_date_tells_what_was_deleted(self, database: Database) -> None:
        upsert(database, sku("1", main=True), sku("2"))
        upsert(database, sku("2"), now=NOW + SECOND)
        (gone, stayed) = listed(database, NOW)["skus"]
        assert (gone["skuId"], gone["localizationStatus"], gone["main"]) == ("1", "DELETED", False)
        assert gone["salesChannelStatus"] == {}
        assert gone["lastUpdateDate"] == rfc3339(NOW + SECOND)
        assert (stayed["skuId"], stayed["main"]) == ("2", True)  # which is a change, too
        assert listed(database, NOW + SECOND) == {"skus": []}

    def test_a_deleted_sku_that_is_sent_again_begins_anew_at_its_place(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"))
        first = product(database)["1"]
        upsert(database, sku("2"), now=NOW + SECOND)
        (again,) = upsert(database, sku("1", "q"), now=NOW + 2 * SECOND)
        assert (again.number, again.localization_status, again.product_id) == (
            first.number,
            "PENDING_LOCALIZATION",
            "q",
        )
        assert again.last_updated_at == NOW + 2 * SECOND
        assert list(product(database)) == ["2"]

    def test_an_import_brings_a_deleted_sku_back_too(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"))
        upsert(database, sku("2"))
        with database.write() as session:
            service.save_skus(session, "ACME", [read_sku(json.dumps(sku("1")).encode())], now=NOW)
        assert list(product(database)) == ["1", "2"]

    def test_a_product_sent_again_as_it_is_keeps_its_dates(self, database: Database, example: dict[str, Any]) -> None:
        whole = [example, example | {"skuId": "2", "main": False}, sku("3", example["productId"])]
        upsert(database, *whole)
        for again in (
            whole,
            whole[::-1],
            [each | {"main": False} for each in whole],
            [each | {"x": 1} for each in whole],
        ):
            upsert(database, *again, now=NOW + SECOND)
            assert {kept.last_updated_at for kept in product(database, example["productId"]).values()} == {NOW}

    def test_only_the_skus_that_differ_get_a_new_date(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"), sku("3"))
        upsert(database, sku("1"), sku("2", name="new"), sku("3"), sku("4"), now=NOW + SECOND)
        dates = {sku_id: kept.last_updated_at - NOW for sku_id, kept in product(database).items()}
        assert dates == {"1": timedelta(0), "2": SECOND, "3": timedelta(0), "4": SECOND}

    def test_another_product_and_another_merchant_stay_as_they_are(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"))
        upsert(database, sku("1"), sku("2"), merchant_id="OTHER")
        upsert(database, sku("3", "q"), now=NOW + SECOND)
        upsert(database, sku("1"), now=NOW + SECOND)
        assert list(product(database, "q")) == ["3"]
        assert list(product(database, merchant_id="OTHER")) == ["1", "2"]

    def test_a_sku_of_another_product_leaves_that_one(self, database: Database) -> None:
        upsert(database, sku("1", main=True), sku("2"), sku("3"))
        upsert(database, sku("1", "q"), now=NOW + SECOND)
        assert list(product(database, "q")) == ["1"]
        assert list(product(database)) == ["2", "3"]
        assert mains(database) == ["2"]
        assert listed(database, NOW)["skus"][0]["localizationStatus"] == "PENDING_LOCALIZATION"

    def test_a_product_whose_skus_have_all_left_is_no_more(self, database: Database) -> None:
        upsert(database, sku("1"))
        upsert(database, sku("1", "q"))
        with pytest.raises(ProductNotFoundError) as caught:
            product(database)
        assert isinstance(caught.value, NotFoundError)

    @pytest.mark.parametrize("product_id", ["", "P", "p ", "q", "p\0", "%"])
    def test_a_product_that_is_not_there_is_not_found(self, database: Database, product_id: str) -> None:
        upsert(database, sku("1"))
        upsert(database, sku("1", "q"), merchant_id="OTHER")
        with pytest.raises(ProductNotFoundError):
            product(database, product_id)

    def test_a_product_always_has_one_main_sku(self, database: Database) -> None:
        upsert(database, sku("0"))

        @examples(max_examples=25, deadline=None)
        @given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, unique_by=lambda it: it[0]))
        def check(request: list[tuple[int, bool]]) -> None:
            before = mains(database)
            asked = [str(number) for number, is_main in request if is_main][:1]
            members = [str(number) for number, _ in request]
            upsert(database, *(sku(sku_id, main=[sku_id] == asked) for sku_id in members))
            (main,) = mains(database)
            stayed = before if before[0] in members else []
            assert [main] == (asked or stayed or [main])

        check()

    def test_the_first_is_the_main_one_where_none_is_said_to_be(self, database: Database) -> None:
        upsert(database, sku("b"), sku("a"))
        assert mains(database) == ["b"]

    def test_an_import_that_names_two_gives_the_product_the_later_one(self, database: Database) -> None:
        upsert(database, sku("0", main=True))
        lines = [sku("2", main=True), sku("1", main=True), sku("3", "q")]
        with database.write() as session:
            service.save_skus(session, "ACME", [read_sku(json.dumps(line).encode()) for line in lines], now=NOW)
        assert (mains(database), mains(database, "q")) == (["1"], ["3"])

    def test_nothing_is_changed_where_something_fails(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"))

        def change_and_fail() -> None:
            drafts = read_product(json.dumps([sku("1", name="new"), sku("3")]).encode())
            with database.write() as session:
                service.upsert_skus(session, "ACME", drafts, now=NOW + SECOND)
                raise RuntimeError

        with pytest.raises(RuntimeError):
            change_and_fail()
        assert {sku_id: kept.name for sku_id, kept in product(database).items()} == {"1": "n", "2": "n"}


def upsert_in_a_process(url: str, barrier: Any, name: str, count: int) -> None:
    database = Database(url)
    for round_ in range(4):
        body = [sku(f"{round_}-{number}", f"p{round_}", name=name, main=number == count - 1) for number in range(count)]
        barrier.wait()
        upsert(database, *body)
    database.close()


def test_upserts_of_one_product_by_several_processes_at_once_end_as_one_of_them(database: Database) -> None:
    database.close()
    url = database.engine.url.render_as_string(hide_password=False)
    context = multiprocessing.get_context("fork")
    sizes = {"three": 3, "five": 5, "nine": 9}
    barrier = context.Barrier(len(sizes))
    processes = [
        context.Process(target=upsert_in_a_process, args=(url, barrier, name, count), daemon=True)
        for name, count in sizes.items()
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
    assert [process.exitcode for process in processes] == [0] * len(sizes)
    for round_ in range(4):
        kept = product(database, f"p{round_}")
        (name,) = {each.name for each in kept.values()}
        assert list(kept) == [f"{round_}-{number}" for number in range(sizes[name])]
        assert mains(database, f"p{round_}") == [f"{round_}-{sizes[name] - 1}"]


class TestDates:
    def test_a_later_change_has_a_later_date_whatever_the_clocks_say(self, database: Database) -> None:
        dates = [
            upsert(database, sku("1", name=str(place)), now=now)[0].last_updated_at
            for place, now in enumerate([NOW, NOW, NOW - SECOND, NOW + SECOND])
        ]
        assert dates == [NOW, NOW + TICK, NOW + 2 * TICK, NOW + SECOND]
        assert next_date(NOW, None) == NOW

    def test_a_deletion_counts_as_a_change(self, database: Database) -> None:
        upsert(database, sku("1"), sku("2"))
        upsert(database, sku("2"), now=NOW + SECOND)
        assert upsert(database, sku("3", "q"), now=NOW)[0].last_updated_at == NOW + SECOND + TICK

    def test_merchants_have_dates_of_their_own(self, database: Database) -> None:
        upsert(database, sku("1"), now=NOW + SECOND)
        assert upsert(database, sku("1"), merchant_id="OTHER")[0].last_updated_at == NOW

    def test_a_reader_of_dates_does_not_miss_the_row_of_a_slower_transaction(self, database: Database) -> None:
        """One begins first and commits last: its date must not lie before what a reader saw meanwhile."""
        upsert(database, sku("0", "0"))
        holds, may_end = threading.Event(), threading.Event()

        def slow() -> None:
            drafts = read_product(json.dumps([sku("slow", "s")]).encode())
            with database.write() as session:
                service.upsert_skus(session, "ACME", drafts, now=NOW + SECOND)
                holds.set()
                assert may_end.wait(LONG)

        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(slow)
            assert holds.wait(LONG)
            second = pool.submit(upsert, database, sku("fast", "f"), now=NOW + 2 * SECOND)
            with pytest.raises(NotYetError):
                second.result(SHORT)  # it would be seen before the slow one otherwise
            seen = listed(database)["skus"]
            assert [each["skuId"] for each in seen] == ["0"]
            may_end.set()
            first.result(LONG)
            second.result(LONG)
        greatest = datetime.fromisoformat(max(each["lastUpdateDate"] for each in seen))
        assert [each["skuId"] for each in listed(database, greatest)["skus"]] == ["slow", "fast"]

    def test_a_writer_that_waited_is_dated_after_the_one_it_waited_for(self, database: Database) -> None:
        with ThreadPoolExecutor(1) as pool:
            with database.write() as session:
                drafts = read_product(json.dumps([sku("1")]).encode())
                service.upsert_skus(session, "ACME", drafts, now=NOW + SECOND)
                late = pool.submit(upsert, database, sku("2", "q"), now=NOW)
                with pytest.raises(NotYetError):
                    late.result(SHORT)
            (kept,) = late.result(LONG)
        assert kept.last_updated_at == NOW + SECOND + TICK

    def test_what_changed_while_pages_were_turned_comes_with_the_next_list_by_date(self, database: Database) -> None:
        for number in range(4):
            upsert(database, sku(str(number), str(number)))
        first = listed(database, size=2)
        upsert(database, sku("0", "0", name="behind"), now=NOW + SECOND)
        upsert(database, sku("3", "3", name="ahead"), now=NOW + 2 * SECOND)
        second = listed(database, token=first["nextPageToken"], size=2)
        seen = first["skus"] + second["skus"]
        assert [(each["skuId"], each["name"]) for each in seen] == [("0", "n"), ("1", "n"), ("2", "n"), ("3", "ahead")]
        greatest = datetime.fromisoformat(max(each["lastUpdateDate"] for each in seen))
        assert [each["skuId"] for each in listed(database, greatest)["skus"]] == ["0", "3"]

    def test_a_page_token_of_an_older_server_leads_on(self, database: Database) -> None:
        for number in range(3):
            upsert(database, sku(str(number), str(number)))
        numbers = [kept.number for number in range(3) for kept in product(database, str(number)).values()]
        for began, expected in (("", ["1", "2"]), (rfc3339(NOW + TICK), ["2"])):
            token = TOKENS.make(merchant_id="ACME", list_name="skus", position=f"{numbers[0]} {began}")
            assert [each["skuId"] for each in listed(database, token=token)["skus"]] == expected

    def test_a_follower_by_date_ends_with_the_whole_catalog(self, database: Database) -> None:
        """Pages are turned between any two writes: no list shows a SKU twice, and in the end nothing is missed."""
        members = st.sets(st.integers(0, 7), min_size=1, max_size=5)
        writes = st.lists(st.tuples(st.integers(0, 3), members, st.sampled_from("ab")), min_size=1, max_size=10)

        @examples(max_examples=20, deadline=None)
        @given(writes, st.integers(1, 3))
        def check(writes: list[tuple[int, set[int], str]], size: int) -> None:
            upsert(database, sku("anchor", "anchor"))
            follower = Follower(database, size)
            for product_id, members, name in writes:
                follower.turn_a_page()
                upsert(database, *(sku(str(member), str(product_id), name=name) for member in sorted(members)))
            follower.finish()
            assert follower.living == {each["skuId"]: each for each in listed(database)["skus"]}

        check()


class Follower:
    """Keeps a copy of a catalog: lists what changed after the greatest date that it saw, page by page."""

    def __init__(self, database: Database, size: int) -> None:
        self.database, self.size = database, size
        self.copy: dict[str, Any] = {}
        self.greatest: datetime | None = None
        self.token: str | None = None
        self.shown: list[Any] = []

    @property
    def living(self) -> dict[str, Any]:
        return {sku_id: each for sku_id, each in self.copy.items() if each["localizationStatus"] != "DELETED"}

    def turn_a_page(self) -> None:
        page = listed(self.database, self.greatest, self.token, self.size)
        self.shown += page["skus"]
        self.copy |= {each["skuId"]: each for each in page["skus"]}
        self.token = page.get("nextPageToken")
        if self.token is None:
            assert len({each["skuId"] for each in self.shown}) == len(self.shown)
            if self.shown:
                self.greatest = datetime.fromisoformat(max(each["lastUpdateDate"] for each in self.shown))
            self.shown = []

    def finish(self) -> None:
        """Read the list that was begun to its end, and one more."""
        for _ in range(2):
            self.turn_a_page()
            while self.token is not None:
                self.turn_a_page()
