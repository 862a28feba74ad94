"""`catalog.sync` and `inventory.sync` of both clients, against the fake server."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecross import AsyncClient, Client, FileCache, MemoryCache
from ecross.errors import ConfigurationError, InvalidCredentialsError, SyncRunningError
from ecross.testing import FakeServer, Merchant, lost_connection, rate_limited, server_error
from ecross.types import SkuDraft, SyncProgress, SyncReport

SKUS = "/ext/merchant/skus"
STOCK = "/ext/inventories/"
CATALOG = [SkuDraft(f"P{number % 5}-{number}", f"P{number % 5}", "Mug ☕") for number in range(20)]
Run = Callable[..., SyncReport]


@pytest.fixture
def merchant(ecross_server: FakeServer) -> Merchant:
    """The merchant ACME."""
    return ecross_server.add_merchant("ACME")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where all runs of a test keep what they know."""
    return tmp_path / "cache"


@pytest.fixture(params=["threads", "tasks"])
def run(request: pytest.FixtureRequest, ecross_server: FakeServer, directory: Path) -> Run:
    """Runs `catalog.sync` of either client, or another method."""

    def in_threads(source: Any, *, subject: str = "catalog", **options: Any) -> SyncReport:
        made = ecross_server.client_options() | {"token_cache": FileCache(directory)}
        with Client(**made) as client:
            report: SyncReport = getattr(client, subject).sync(source, **options)
        return report

    async def as_task(source: Any, subject: str, options: dict[str, Any]) -> SyncReport:
        made = ecross_server.client_options() | {
            "token_cache": FileCache(directory), "transport": ecross_server.transport,
        }  # fmt: skip
        async with AsyncClient(**made) as client:
            report: SyncReport = await getattr(client, subject).sync(source, **options)
        return report

    def in_loop(source: Any, *, subject: str = "catalog", **options: Any) -> SyncReport:
        return asyncio.run(as_task(source, subject, options))

    return in_threads if request.param == "threads" else in_loop


def test_a_catalog_is_brought_and_then_only_what_differs(
    run: Run, ecross_server: FakeServer, merchant: Merchant
) -> None:
    told: list[SyncProgress] = []

    report = run(CATALOG, on_progress=told.append)

    assert (report.sent, report.skus_sent, report.is_whole) == (5, 20, True)
    assert report.skus_per_second > 0
    assert [sku["skuId"] for sku in merchant.skus if sku["productId"] == "P1"] == ["P1-1", "P1-6", "P1-11", "P1-16"]
    assert {progress.stage for progress in told} == {"reading", "comparing", "sending"}
    before = len([each for each in ecross_server.requests_to(SKUS) if each.method == "POST"])
    assert run(CATALOG).unchanged == 5
    assert len([each for each in ecross_server.requests_to(SKUS) if each.method == "POST"]) == before


def test_stock_is_brought_and_then_only_what_differs(run: Run, merchant: Merchant) -> None:
    source = [{"skuId": f"S{number}", "quantity": number} for number in range(4)]

    assert run(source, subject="inventory").sent == 4
    source[1]["quantity"] = 9
    report = run(source, subject="inventory")

    assert (report.sent, report.unchanged) == (1, 3)
    assert {record["skuId"]: record["quantity"] for record in merchant.inventories} == {
        "S0": 0, "S1": 9, "S2": 2, "S3": 3
    }  # fmt: skip


def test_what_the_server_refuses_is_told_by_line(run: Run, merchant: Merchant) -> None:
    source = [{"skuId": "1", "productId": "A", "name": "n"}, {"skuId": "2", "productId": "B", "name": "n", "ean": "1"}]

    report = run(source)

    assert [(each.key, each.faults[0].line, each.faults[0].path) for each in report.refusals] == [("B", 2, "ean")]
    assert [sku["skuId"] for sku in merchant.skus] == ["1"]
    assert run(source, dry_run=True).refusals == report.refusals


def test_lost_answers_and_limits_are_got_over(run: Run, ecross_server: FakeServer, merchant: Merchant) -> None:
    ecross_server.script(SKUS, server_error(503, retry_after=2), rate_limited(60), lost_connection())

    report = run(CATALOG)

    assert report.is_whole
    assert len(merchant.skus) == 20


def test_a_list_that_is_refused_ends_it(run: Run, ecross_server: FakeServer, merchant: Merchant) -> None:
    merchant.disable()

    with pytest.raises(InvalidCredentialsError):
        run(CATALOG)

    assert not [each for each in ecross_server.requests_to(SKUS) if each.method == "POST"]


def test_a_bug_of_the_callers_own_is_raised(run: Run) -> None:
    def source() -> Iterator[object]:
        yield CATALOG[0]
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(source())


@pytest.mark.parametrize("workers", [0, 65, "4"])
def test_workers_are_few(run: Run, workers: Any) -> None:
    with pytest.raises(ConfigurationError, match="workers must be"):
        run(CATALOG, workers=workers)


def test_what_is_known_lies_where_it_is_told_to(run: Run, tmp_path: Path) -> None:
    run(CATALOG, state_directory=os.fspath(tmp_path / "elsewhere"))

    assert [path.suffix for path in (tmp_path / "elsewhere").iterdir()].count(".sync") == 1
    assert run(CATALOG).sent == 5
    assert run(CATALOG, state_directory=tmp_path / "elsewhere").unchanged == 5


def test_it_stops_where_it_is_told_to(run: Run) -> None:
    assert run(CATALOG, should_stop=lambda: True).stopped_by == "It was stopped."


@pytest.mark.usefixtures("merchant")
def test_without_files_nothing_is_remembered(ecross_server: FakeServer) -> None:
    options = ecross_server.client_options() | {"token_cache": MemoryCache()}
    with Client(**options) as client:
        assert [client.catalog.sync(CATALOG).sent for _ in range(2)] == [5, 5]


class TestTasks:
    """What only asyncio has."""

    @pytest.fixture
    def made(self, ecross_server: FakeServer, merchant: Merchant, directory: Path) -> dict[str, Any]:
        """Arguments of an AsyncClient."""
        del merchant  # it is registered
        return ecross_server.client_options() | {
            "token_cache": FileCache(directory), "transport": ecross_server.transport,
        }  # fmt: skip

    def test_a_source_may_be_asynchronous(self, made: dict[str, Any], merchant: Merchant) -> None:
        async def source() -> AsyncIterator[object]:
            for number, draft in enumerate(CATALOG * 40):
                await asyncio.sleep(0)
                yield draft if number < 20 else {"skuId": f"more-{number}", "productId": f"{number // 9}", "name": "n"}

        async def bring() -> SyncReport:
            async with AsyncClient(**made) as client:
                return await client.catalog.sync(source())

        assert asyncio.run(bring()).is_whole
        assert len(merchant.skus) == 800

    def test_a_cancelled_one_leaves_nothing_running_and_is_gone_on_with(self, made: dict[str, Any]) -> None:
        async def bring() -> SyncReport:
            async with AsyncClient(**made) as client:
                reached = asyncio.Event()

                def on_progress(progress: SyncProgress) -> None:
                    if progress.stage == "sending":
                        reached.set()

                running = asyncio.create_task(client.catalog.sync(CATALOG, workers=1, on_progress=on_progress))
                await reached.wait()
                running.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await running
                assert asyncio.all_tasks() == {asyncio.current_task()}
                return await client.catalog.sync(CATALOG)

        report = asyncio.run(bring())

        assert 0 < report.unchanged < 5
        assert report.is_whole

    def test_two_at_once_exclude_each_other(self, made: dict[str, Any]) -> None:
        async def bring() -> tuple[SyncReport | BaseException, ...]:
            async with AsyncClient(**made) as client:
                return await asyncio.gather(
                    client.catalog.sync(CATALOG), client.catalog.sync(CATALOG), return_exceptions=True
                )

        kinds = {type(result) for result in asyncio.run(bring())}

        assert kinds == {SyncReport, SyncRunningError}

    def test_a_bug_in_a_call_is_raised(self, made: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ecross._bulk.subjects._read_product", lambda _: 1 / 0)

        async def bring() -> None:
            async with AsyncClient(**made) as client:
                await client.catalog.sync(CATALOG)

        with pytest.raises(ZeroDivisionError):
            asyncio.run(bring())
