"""What is refused, what fails, what stops, and what lies on disk meanwhile, against a server in memory."""

from __future__ import annotations

import io
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecross._bulk.flow import MOST_FAILURES_IN_A_ROW, STOPPED
from ecross.errors import (
    CacheError,
    EcrossError,
    FieldError,
    InvalidCredentialsError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    SyncRunningError,
    TransportError,
    ValidationError,
)
from ecross.types import SyncFailure, SyncFault, SyncProgress, SyncRefusal, SyncReport

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


class TestRefusals:
    def test_a_refused_product_stops_no_other_and_is_told_by_its_lines(self, world: World, bring: Bring) -> None:
        faults = [FieldError("1.ean", "is wrong"), FieldError("", "too many"), FieldError("x", "odd")]
        world.errors["B1"] = [ValidationError(400, "The request has faults.", errors=faults)]

        report = bring(skus("A/1", "B/1", "A/2", "B/2", "C/1"))

        assert report.refusals == (
            SyncRefusal(
                "B", (SyncFault(4, "ean", "is wrong"), SyncFault(None, "", "too many"), SyncFault(None, "x", "odd"))
            ),
        )
        assert (report.sent, report.refused) == (2, 1)
        assert not report.is_whole
        assert bring(skus("A/1", "B/1", "A/2", "B/2", "C/1")).sent == 1

    def test_a_refusal_without_fields_is_told_by_its_sentence(self, world: World, bring: Bring) -> None:
        world.errors["A1"] = [ValidationError(409, "A conflict.")]

        assert bring(skus("A/1")).refusals == (SyncRefusal("A", (SyncFault(None, "", "A conflict."),)),)

    def test_of_a_product_with_a_faulty_line_nothing_is_sent(self, world: World, bring: Bring) -> None:
        world.upsert(skus("B/1", "B/2"))
        source = [*skus("A/1", "B/1"), {"productId": "B"}, *skus("C/1")]

        report = bring(source)

        assert sent_products(world) == ["A", "C"]
        assert report.refusals == (SyncRefusal("B", (SyncFault(3, "skuId", "is missing"),)),)
        assert sorted(world.living()) == ["A1", "B1", "B2", "C1"]

    def test_while_a_line_belongs_to_nobody_nothing_is_deleted(self, world: World, bring: Bring) -> None:
        world.upsert(skus("A/1", "A/2"))
        source = io.BytesIO(b'{"skuId":"A1","productId":"A"}\n{"skuId":"B1","productId":"B"}\n{"skuId":"A2","prod\n')

        report = bring(source)

        assert sent_products(world) == ["B"]
        assert [(each.key, [fault.line for fault in each.faults]) for each in report.refusals] == [
            (None, [3]),
            ("A", [None]),
        ]
        assert (report.refused, report.sent) == (2, 1)
        assert "would lose 1 SKU" in report.refusals[1].faults[0].message
        assert "A2" in world.living()

    def test_all_faults_of_a_line_that_belongs_to_nobody_are_one_refusal(self, bring: Bring) -> None:
        report = bring([{"skuId": 1}, {}, *skus("A/1")])

        assert [[fault.line for fault in each.faults] for each in report.refusals] == [[1, 1], [2, 2]]

    def test_a_sku_that_is_there_twice_is_a_fault_of_all_its_products(self, world: World, bring: Bring) -> None:
        report = bring([*skus("A/1", "B/1", "C/1"), *skus("A/1", productId="B"), *skus("A/1")])

        assert sent_products(world) == ["C"]
        assert report.refusals == (
            SyncRefusal(
                "A", (SyncFault(1, "skuId", "is that of line 4, too"), SyncFault(5, "skuId", "is that of line 1, too"))
            ),
            SyncRefusal("B", (SyncFault(4, "skuId", "is that of line 1, too"),)),
        )

    def test_a_product_larger_than_a_request_is_not_even_held(self, world: World, bring: Bring) -> None:
        many = ({"skuId": str(number), "productId": "A"} for number in range(2001))
        large = ({"skuId": f"x{number}", "productId": "B", "description": "x" * 50_000} for number in range(100))

        report = bring([*many, *large])

        assert (report.refused, report.sent, world.sent) == (2, 0, [])

    def test_so_many_refusals_are_listed_and_all_are_counted(
        self, world: World, bring: Bring, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ecross._bulk.tally.MOST_LISTED", 2)
        for number in range(3):
            world.errors[f"P{number}1"] = [ServerError(500, "Failed.")]

        report = bring([*({"skuId": str(number)} for number in range(5)), *skus("P0/1", "P1/1", "P2/1")])

        assert (report.refused, len(report.refusals)) == (5, 2)
        assert (report.failed, len(report.failures)) == (3, 2)


class TestTrouble:
    def test_what_got_no_answer_is_told_and_sent_by_the_next_run(self, world: World, bring: Bring) -> None:
        world.errors["B1"] = [TransportError("It broke off.")]

        report = bring(skus("A/1", "B/1", "B/2"))

        assert report.failures == (SyncFailure("B", (2, 3), "It broke off."),)
        assert (report.sent, report.failed, report.is_whole) == (1, 1, False)
        assert bring(skus("A/1", "B/1", "B/2")).sent == 1

    def test_a_server_that_is_away_ends_it(self, world: World, bring: Bring) -> None:
        ids = [f"P{number:02d}/1" for number in range(30)]
        for id_ in ids:
            world.errors[id_.replace("/", "")] = [ServerError(503, "Away.")]

        report = bring(skus(*ids), workers=1)

        assert (report.failed, report.left_over) == (MOST_FAILURES_IN_A_ROW, 30 - MOST_FAILURES_IN_A_ROW)
        assert report.stopped_by == "Away. (503)"
        assert bring(skus(*ids), workers=1).failed == MOST_FAILURES_IN_A_ROW

    @pytest.mark.parametrize("error", [InvalidCredentialsError(401, "No."), NotFoundError(404, "Nothing.")])
    def test_what_would_be_said_of_all_ends_it_and_what_was_taken_is_remembered(
        self, world: World, bring: Bring, error: EcrossError
    ) -> None:
        world.errors["C1"] = [error]

        with pytest.raises(type(error)):
            bring(skus("A/1", "B/1", "C/1", "D/1"), workers=1)

        sent_products(world)
        assert bring(skus("A/1", "B/1", "C/1", "D/1")).unchanged == 2

    def test_a_list_that_is_refused_ends_it_before_anything_is_sent(self, world: World, bring: Bring) -> None:
        def refuse() -> None:
            raise InvalidCredentialsError(401, "No.")

        world.before = refuse

        with pytest.raises(InvalidCredentialsError):
            bring(skus("A/1"))

        assert not world.sent

    def test_a_limit_is_waited_for_by_all(self, world: World, bring: Bring) -> None:
        waited: list[float] = []
        limit = RateLimitedError(429, "Too many.", retry_after_seconds=7)
        world.errors["A1"] = [limit, limit]
        world.errors["B1"] = [RateLimitedError(429, "Too many.", retry_after_seconds=9)]

        report = bring(skus("A/1", "B/1", "C/1"), sleep=waited.append)

        assert report.sent == 3
        assert sum(waited) >= 14
        assert max(waited) <= 1

    def test_a_limit_on_the_list_is_waited_for_too(self, world: World, bring: Bring) -> None:
        waited: list[float] = []
        limits: list[float | None] = [2, 3]

        def limit() -> None:
            if limits:
                raise RateLimitedError(429, "Too many.", retry_after_seconds=limits.pop(0))

        world.before = limit

        assert bring(skus("A/1"), sleep=waited.append).sent == 1
        assert waited == [1, 1, 1, 1, 1]
        limits[:] = [None]
        with pytest.raises(RateLimitedError):
            bring(skus("A/1"))

    def test_a_pause_ends_when_it_is_told_to_stop(self, world: World, bring: Bring) -> None:
        stop = threading.Event()
        world.errors["A1"] = [RateLimitedError(429, "Too many.", retry_after_seconds=200)]

        report = bring(skus("A/1", "B/1"), sleep=lambda _: stop.set(), should_stop=stop.is_set, workers=1)

        assert (report.sent, report.left_over, report.stopped_by) == (0, 2, STOPPED)

    @pytest.mark.parametrize("seconds", [None, 301, 1])
    def test_a_limit_that_does_not_end_is_a_failure(self, world: World, bring: Bring, seconds: float | None) -> None:
        world.errors["A1"] = [RateLimitedError(429, "Too many.", retry_after_seconds=seconds)] * 9

        report = bring(skus("A/1"))

        assert report.failures == (SyncFailure("A", (1,), "Too many. (429)"),)
        assert len(world.sent) == (6 if seconds == 1 else 1)

    def test_a_bug_in_a_call_is_raised_and_not_counted(self, world: World, bring: Bring) -> None:
        world.errors["A1"] = [ZeroDivisionError()]

        with pytest.raises(ZeroDivisionError):
            bring(skus("A/1"))

    @pytest.mark.parametrize(
        "error", [OSError("the disk"), sqlite3.OperationalError("the disk"), EcrossError("the disk")]
    )
    def test_a_source_that_breaks_off_sends_nothing(self, world: World, bring: Bring, error: Exception) -> None:
        def source() -> Iterator[dict[str, Any]]:
            yield from skus("A/1")
            raise error

        with pytest.raises(type(error), match="the disk"):
            bring(source())

        assert not world.sent

    def test_an_asynchronous_source_needs_the_other_client(self, bring: Bring) -> None:
        async def source() -> Any:
            yield {}

        with pytest.raises(EcrossError, match="needs an AsyncClient"):
            bring(source())


class TestStopping:
    @pytest.mark.parametrize("stage", ["reading", "comparing", "sending"])
    def test_it_ends_where_it_is_told_to_and_goes_on_from_there(self, world: World, bring: Bring, stage: str) -> None:
        world.upsert(skus("Z/1", "Z/2", "Z/3", "Z/4"))
        stop = threading.Event()

        def on_progress(progress: SyncProgress) -> None:
            if progress.stage == stage:
                stop.set()

        ids = [f"P{number}/1" for number in range(8)]
        report = bring(skus(*ids), workers=1, should_stop=stop.is_set, on_progress=on_progress)

        assert report.stopped_by == STOPPED
        assert not report.is_whole
        assert (report.sent, report.left_over) == ((1, 7) if stage == "sending" else (0, 0))
        sent_products(world)
        assert bring(skus(*ids)).unchanged == report.sent

    def test_ctrl_c_ends_it_at_once_and_what_was_taken_is_remembered(self, bring: Bring) -> None:
        def on_progress(progress: SyncProgress) -> None:
            if (progress.stage, progress.done) == ("sending", 3):
                raise KeyboardInterrupt

        ids = [f"P{number}/1" for number in range(8)]
        with pytest.raises(KeyboardInterrupt):
            bring(skus(*ids), workers=1, on_progress=on_progress)

        assert bring(skus(*ids)).unchanged == 3

    def test_it_tells_how_far_it_is_where_nothing_is_sent(self, bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ecross._bulk.flow.CHUNK", 2)
        source = skus("A/1", "B/1", "C/1", "D/1", "E/1")
        bring(source)
        told: list[SyncProgress] = []

        bring(source, on_progress=told.append)

        assert [progress.done for progress in told if progress.stage == "sending"] == [2, 4]

    def test_it_tells_how_far_it_is(self, world: World, bring: Bring) -> None:
        world.upsert(skus("Z/1"))
        told: list[SyncProgress] = []

        bring([*skus("A/1", "B/1"), {}], workers=1, on_progress=told.append)

        assert told == [
            SyncProgress("reading", 3, None),
            SyncProgress("comparing", 1, None),
            SyncProgress("sending", 2, 3, 1),
            SyncProgress("sending", 3, 3, 1),
        ]


class TestFiles:
    def test_they_are_the_users_alone_and_only_the_state_stays(self, bring: Bring, tmp_path: Path) -> None:
        modes: dict[str, int] = {}

        def look(_: SyncProgress) -> None:
            modes.update({path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "cache").iterdir()})

        bring(skus("A/1"), on_progress=look)

        assert set(modes.values()) == {0o600}
        assert {name.rpartition("-catalog")[2] for name in modes} >= {".spool", ".sync", ".sync.lock"}
        left = {path.name.rpartition("-catalog")[2] for path in (tmp_path / "cache").iterdir()}
        assert left == {".sync", ".sync.lock"}

    def test_while_one_runs_no_other_begins(self, bring: Bring) -> None:
        def begin_another(_: SyncProgress) -> None:
            bring(stock(("A", 1)), subject="stock")
            bring(skus("A/1"))

        with pytest.raises(SyncRunningError):
            bring(skus("A/1"), on_progress=begin_another)

    @pytest.mark.parametrize("content", [b"", b"no database at all, but long enough to be looked at" * 20])
    def test_a_damaged_state_is_found_out_anew(
        self, world: World, bring: Bring, tmp_path: Path, content: bytes
    ) -> None:
        bring(skus("A/1"))
        (state,) = (tmp_path / "cache").glob("*.sync")
        state.write_bytes(content)
        sent_products(world)

        report = bring(skus("A/1"))

        assert (report.sent, report.is_whole) == (1, True)

    def test_a_state_of_another_version_is_found_out_anew(self, bring: Bring, tmp_path: Path) -> None:
        bring(skus("A/1"))
        (state,) = (tmp_path / "cache").glob("*.sync")
        with sqlite3.connect(state) as database:
            database.execute("PRAGMA user_version = 99")
        database.close()

        assert bring(skus("A/1")).sent == 1
        assert bring(skus("A/1")).unchanged == 1

    def test_a_state_that_is_damaged_meanwhile_is_told_and_then_found_out_anew(
        self, bring: Bring, tmp_path: Path
    ) -> None:
        def damage(progress: SyncProgress) -> None:
            if progress.stage == "reading":
                (state,) = (tmp_path / "cache").glob("*.sync")
                database = sqlite3.connect(state)
                database.execute("DROP TABLE entries")
                database.close()

        with pytest.raises(CacheError, match="cannot be kept"):
            bring(skus("A/1"), on_progress=damage)

        assert bring(skus("A/1")).is_whole

    def test_what_a_killed_run_left_is_removed(self, bring: Bring, tmp_path: Path) -> None:
        bring(skus("A/1"))
        (state,) = (tmp_path / "cache").glob("*.sync")
        spool = state.with_suffix(".spool")
        spool.touch(0o600)
        spool.write_bytes(b"half a spool")

        assert bring(skus("A/1")).unchanged == 1
        assert not spool.exists()

    def test_a_state_that_others_could_read_is_refused(self, bring: Bring, tmp_path: Path) -> None:
        bring(skus("A/1"))
        (state,) = (tmp_path / "cache").glob("*.sync")
        state.chmod(0o644)

        with pytest.raises(CacheError, match="chmod 600"):
            bring(skus("A/1"))

    def test_a_state_that_cannot_be_written_is_told(self, bring: Bring, tmp_path: Path) -> None:
        bring(skus("A/1"))
        (state,) = (tmp_path / "cache").glob("*.sync")
        other = sqlite3.connect(state, timeout=0)
        other.execute("BEGIN EXCLUSIVE")
        try:
            with pytest.raises(CacheError, match="cannot be kept"):
                bring(skus("A/1"))
        finally:
            other.close()

    def test_a_folder_that_takes_no_file_is_told(self, bring: Bring, monkeypatch: pytest.MonkeyPatch) -> None:
        is_open, full = os.open, OSError(28, "No space left on device")

        def refuse_spools(path: Any, *arguments: Any) -> int:
            if str(path).endswith(".spool"):
                raise full
            return is_open(path, *arguments)

        def refuse(**_: object) -> str:
            raise full

        with monkeypatch.context() as patched:
            patched.setattr("os.open", refuse_spools)
            with pytest.raises(CacheError, match="No space left on device"):
                bring(skus("A/1"))
        with monkeypatch.context() as patched:
            patched.setattr("tempfile.mkdtemp", refuse)
            with pytest.raises(CacheError, match="No space left on device"):
                bring(skus("A/1"), directory=None)
        assert bring(skus("A/1")).is_whole
