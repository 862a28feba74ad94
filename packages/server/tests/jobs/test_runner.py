"""The runner: what it runs when, what follows a failure, and what nobody gets to read."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ecross_server.jobs.errors import LostClaimError
from ecross_server.jobs.rules import Policy
from ecross_server.jobs.service import Urgency, queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Runner
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.kit.errors import ConflictError
from ecross_server.kit.logs import configure_logs

if TYPE_CHECKING:
    from packages.server.tests.jobs.conftest import VirtualClock

MakeRunner = Callable[..., Runner]
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)
ADD_ONE = text("UPDATE registry_revision SET value = value + 1")


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    return stream


def lines(log: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def counted(database: Database) -> int:
    """How often a handler's write was committed."""
    with database.read() as session:
        value: int = session.execute(text("SELECT value FROM registry_revision")).scalar_one()
        return value - 1


def write(_job: Job, finish: Finish) -> None:
    with finish() as session:
        session.execute(ADD_ONE)


class UselessError(ConflictError):
    code = "useless"


class TestOrder:
    def test_what_is_due_first_runs_first_and_what_is_not_due_waits(
        self, queue: Any, make_runner: MakeRunner, run: list[Job], clock: VirtualClock
    ) -> None:
        for seconds in (5, 0, 3):
            queue(payload={"n": seconds}, run_at=NOON + timedelta(seconds=seconds))
        runner = make_runner()
        assert runner.run_due() == 1
        clock.advance(4.999)
        assert runner.run_due() == 1
        clock.advance(0.001)
        assert runner.run_due() == 1
        assert [job.payload["n"] for job in run] == [0, 3, 5]

    def test_what_is_more_urgent_runs_first_though_it_came_later(
        self, queue: Any, make_runner: MakeRunner, run: list[Job], clock: VirtualClock
    ) -> None:
        for urgency in (Urgency.USUAL, Urgency.SOON, Urgency.URGENT):
            queue(key=urgency.name, urgency=urgency)
            queue(key=f"later {urgency.name}", urgency=urgency, run_at=NOON + timedelta(seconds=1))
            clock.advance(0.1)
        make_runner().run_due()
        assert [job.key for job in run] == ["URGENT", "SOON", "USUAL"]

    @pytest.mark.parametrize("other", [Urgency.SOON, Urgency.USUAL])
    def test_one_that_is_urgent_waits_for_two_others_at_most(
        self, queue: Any, make_runner: MakeRunner, run: list[Job], other: Urgency
    ) -> None:
        def handle(job: Job, _finish: Finish) -> None:
            run.append(job)
            if job.key is None and len(run) % 5 == since:
                queue(key="urgent", urgency=Urgency.URGENT)

        for since in range(5):
            run.clear()
            for _ in range(10):
                queue(urgency=other)
            queue(urgency=Urgency.USUAL)
            make_runner(handle).run_due()
            asked = next(number for number, _ in enumerate(run, 1) if number % 5 == since)
            assert "urgent" in [job.key for job in run[asked : asked + 3]]

    def test_no_urgency_stops_another_however_often_it_is_queued_again(
        self, queue: Any, make_runner: MakeRunner, run: list[Job]
    ) -> None:
        def handle(job: Job, _finish: Finish) -> None:
            run.append(job)
            if job.key and len(run) < 50:
                queue(key=job.key, urgency=Urgency[job.key])  # a merchant that sets stock in a loop, say

        for urgency in (Urgency.URGENT, Urgency.SOON):
            queue(key=urgency.name, urgency=urgency)
        for _ in range(10):
            queue()
        make_runner(handle).run_due()
        assert [job.key for job in run[:6]] == ["URGENT", "SOON", "URGENT", "SOON", None, "URGENT"]
        usual = [number for number, job in enumerate(run, 1) if job.key is None]
        assert usual == list(range(5, 51, 5))

    def test_what_a_job_queues_runs_in_the_same_round(
        self, queue: Any, make_runner: MakeRunner, run: list[Job]
    ) -> None:
        def handle(job: Job, finish: Finish) -> None:
            run.append(job)
            with finish() as session:
                if (n := job.payload["n"]) != 3:
                    queue_job(session, "test.note", {"n": int(n or 0) + 1}, now=finish.clock())

        queue(payload={"n": 1})
        assert make_runner(handle).run_due() == 3
        assert [job.payload["n"] for job in run] == [1, 2, 3]

    def test_one_of_an_unknown_kind_waits_untouched_for_a_server_that_knows_it(
        self, queue: Any, make_runner: MakeRunner, rows: Any, database: Database, clock: VirtualClock
    ) -> None:
        queue(kind="other.kind")
        before = rows()
        queue()
        assert make_runner().run_due() == 1
        assert Runner(database, {}, worker="w", clock=clock).run_due() == 0
        assert rows() == before


class TestEffects:
    def test_what_is_written_in_the_last_transaction_happens_with_the_end_of_the_job(
        self, queue: Any, make_runner: MakeRunner, rows: Any, database: Database
    ) -> None:
        for _ in range(3):
            queue()
        assert make_runner(write).run_due() == 3
        assert counted(database) == 3
        assert rows() == []

    def test_a_handler_reads_before_it(self, queue: Any, make_runner: MakeRunner) -> None:
        seen = []

        def handle(_job: Job, finish: Finish) -> None:
            with finish.read() as session:
                seen.append(session.execute(text("SELECT count(*) FROM jobs")).scalar_one())

        queue()
        make_runner(handle).run_due()
        assert seen == [1]

    def test_an_error_in_it_undoes_it_and_the_job_is_tried_again(
        self, queue: Any, make_runner: MakeRunner, database: Database, rows: Any
    ) -> None:
        def handle(job: Job, finish: Finish) -> None:
            write(job, finish) if job.payload["n"] else fail(finish)

        def fail(finish: Finish) -> None:
            with finish() as session:
                session.execute(ADD_ONE)
                raise UselessError("no")

        queue(payload={"n": 0})
        queue(payload={"n": 1})
        runner = make_runner(handle)
        assert runner.run_due() == 2  # others go on
        assert counted(database) == 1
        [row] = rows()
        assert (row.attempts, row.claim, row.last_error) == (1, "-", "UselessError useless")
        assert runner.runs == {("test.note", "retried"): 1, ("test.note", "done"): 1}

    def test_an_error_after_it_changes_nothing(
        self, queue: Any, make_runner: MakeRunner, database: Database, rows: Any, log: io.StringIO
    ) -> None:
        def handle(job: Job, finish: Finish) -> None:
            write(job, finish)
            raise UselessError("no")

        queue()
        queue()
        assert make_runner(handle).run_due() == 2
        assert counted(database) == 2
        assert rows() == []
        assert [(line["outcome"], line["error"], line["level"]) for line in lines(log)] == [
            ("done", "UselessError useless", "warning")
        ] * 2

    def test_a_second_last_transaction_is_refused(
        self, queue: Any, make_runner: MakeRunner, database: Database
    ) -> None:
        def handle(job: Job, finish: Finish) -> None:
            write(job, finish)
            with pytest.raises(LostClaimError):
                write(job, finish)

        queue()
        make_runner(handle).run_due()
        assert counted(database) == 1


class TestFailures:
    def test_the_time_between_attempts_doubles_until_the_job_is_dead(
        self, queue: Any, make_runner: MakeRunner, rows: Any, clock: VirtualClock, log: io.StringIO
    ) -> None:
        def fail(_job: Job, _finish: Finish) -> None:
            raise UselessError("no")

        queue(key="k")
        runner = make_runner(fail, most_attempts=5, first_delay_seconds=10, longest_delay_seconds=30)
        for delay in (10, 20, 30, 30):
            assert runner.run_due() == 1
            clock.advance(delay - 0.001)
            assert runner.run_due() == 0
            clock.advance(0.001)
        assert runner.run_due() == 1
        [row] = rows()
        assert row.dead_at is not None
        assert row.attempts == 5
        clock.advance(1e6)
        assert runner.run_due() == 0
        assert runner.runs == {("test.note", "retried"): 4, ("test.note", "dead"): 1}
        told = lines(log)
        assert [(line["outcome"], line["level"], line["attempts"]) for line in told] == [
            *(("retried", "warning", attempt) for attempt in range(1, 5)), ("dead", "error", 5),
        ]  # fmt: skip
        assert {line["place"].split(":")[0] for line in told} == {"test_runner.py"}

    @pytest.mark.parametrize("attempts", [1, 2, 5, 70, 10**9])
    def test_a_random_half_keeps_them_apart(self, attempts: int) -> None:
        policy = Policy(first_delay_seconds=2, longest_delay_seconds=100)
        whole = min(2.0 ** min(attempts, 60), 100)
        assert policy.delay_seconds(attempts, lambda: 0.0) == whole / 2
        assert policy.delay_seconds(attempts, lambda: 0.5) == whole * 0.75

    def test_an_error_keeps_no_text(
        self, queue: Any, make_runner: MakeRunner, rows: Any, log: io.StringIO, clock: VirtualClock
    ) -> None:
        def fail(job: Job, _finish: Finish) -> None:
            raise ValueError(f"secret-value of {job.key}")

        queue(payload={"x": "in-the-payload"}, key="the-key")
        runner = make_runner(fail, most_attempts=2)
        for _ in range(2):
            assert runner.run_due() == 1
            clock.advance(100)
        [row] = rows()
        assert row.last_error == "ValueError"
        assert "secret-value" not in repr(row)
        for word in ("secret-value", "in-the-payload", "the-key"):
            assert word not in log.getvalue()

    def test_a_long_name_of_an_error_is_cut(self, queue: Any, make_runner: MakeRunner, rows: Any) -> None:
        def fail(_job: Job, _finish: Finish) -> None:
            raise type("Very" * 40 + "Error", (Exception,), {})

        queue()
        make_runner(fail).run_due()
        assert rows()[0].last_error == ("Very" * 40)[:120]


class TestClaims:
    """Whoever dies in the midst of a job leaves its claim."""

    @staticmethod
    def die(_job: Job, _finish: Finish) -> None:
        raise SystemExit

    def test_whoever_replaces_it_frees_the_claim(
        self, queue: Any, make_runner: MakeRunner, clock: VirtualClock, log: io.StringIO, run: list[Job]
    ) -> None:
        queue()
        with pytest.raises(SystemExit):
            make_runner(self.die).run_due()
        assert make_runner(worker="w1").release() == 0
        assert make_runner(worker="w1").run_due() == 0
        successor = make_runner(first_delay_seconds=1)
        assert successor.release() == 1
        assert successor.release() == 0
        assert successor.run_due() == 0
        clock.advance(1)
        assert successor.run_due() == 1
        assert run[0].attempts == 2
        assert successor.runs == {("test.note", "interrupted"): 1, ("test.note", "done"): 1}
        assert [(line["outcome"], line.get("error")) for line in lines(log)] == [
            ("interrupted", "process_ended"), ("done", None),
        ]  # fmt: skip

    def test_where_nobody_does_it_ends_with_time(
        self, queue: Any, make_runner: MakeRunner, clock: VirtualClock, run: list[Job]
    ) -> None:
        queue()
        with pytest.raises(SystemExit):
            make_runner(self.die, limit_seconds=10).run_due()
        other = make_runner(worker="w1")
        clock.advance(19.999)
        assert other.run_due() == 0
        clock.advance(0.001)
        assert other.run_due() == 1
        assert run[0].attempts == 2

    @pytest.mark.parametrize("is_released", [True, False])
    def test_a_job_that_kills_its_worker_becomes_a_dead_letter(
        self, queue: Any, make_runner: MakeRunner, clock: VirtualClock, rows: Any, *, is_released: bool
    ) -> None:
        begun: list[tuple[str | None, int]] = []

        def die_of_one(job: Job, _finish: Finish) -> None:
            begun.append((job.key, job.attempts))
            if job.key == "poison":
                raise SystemExit

        for key in ("poison", "another", "a third"):
            queue(key=key)
        for number in range(6):
            runner = make_runner(die_of_one, worker="w" if is_released else f"w{number}", most_attempts=3)
            if is_released:
                runner.release()
            with contextlib.suppress(SystemExit):
                runner.run_due()
            clock.advance(1000)
        assert begun == [("poison", 1), ("another", 1), ("a third", 1), ("poison", 2), ("poison", 3)]
        [row] = rows()
        assert row.dead_at is not None
        assert (row.key, row.attempts, row.last_error) == ("poison", 3, "process_ended")

    def test_one_that_was_claimed_by_a_kind_that_is_gone_is_freed(
        self, queue: Any, make_runner: MakeRunner, database: Database, clock: VirtualClock, rows: Any
    ) -> None:
        queue()
        with pytest.raises(SystemExit):
            make_runner(self.die).run_due()
        assert Runner(database, {}, worker="w", clock=clock).release() == 1
        assert rows()[0].claim == "-"

    def test_a_lost_claim_undoes_its_transaction(
        self, queue: Any, make_runner: MakeRunner, clock: VirtualClock, database: Database, rows: Any
    ) -> None:
        def stall(job: Job, finish: Finish) -> None:
            clock.advance(100)  # beyond its claim
            assert make_runner(write, worker="thief").run_due() == 1
            write(job, finish)

        queue()
        runner = make_runner(stall)
        assert runner.run_due() == 1
        assert counted(database) == 1
        assert rows() == []
        assert runner.runs == {("test.note", "lost"): 1}

    def test_so_does_one_that_another_process_has_begun_meanwhile(
        self, queue: Any, make_runner: MakeRunner, clock: VirtualClock, database: Database
    ) -> None:
        def stall(job: Job, finish: Finish) -> None:
            clock.advance(100)
            with pytest.raises(SystemExit):
                make_runner(self.die, worker="thief").run_due()
            write(job, finish)

        queue()
        runner = make_runner(stall)
        assert runner.run_due() == 1
        assert counted(database) == 0
        assert runner.runs == {("test.note", "lost"): 1}


class TestEnd:
    def test_it_runs_until_it_is_told_to_end(
        self, queue: Any, make_runner: MakeRunner, run: list[Job], rows: Any
    ) -> None:
        for number in range(3):
            queue(payload={"n": number})
        asked: list[float] = []

        def is_over(seconds: float) -> bool:
            asked.append(seconds)
            return len(run) == 2

        make_runner().run_until(is_over)
        assert [job.payload["n"] for job in run] == [0, 1]
        assert [row.claim for row in rows()] == [None], "the third was not begun"
        assert asked[0] == 0

    def test_between_rounds_it_waits(self, make_runner: MakeRunner) -> None:
        asked: list[float] = []

        def is_over(seconds: float) -> bool:
            asked.append(seconds)
            return len(asked) > 3

        make_runner(options={"poll_seconds": 0.25}).run_until(is_over)
        assert asked == [0, 0.25, 0.25, 0.25]

    def test_an_event_can_tell_it(self, make_runner: MakeRunner, queue: Any) -> None:
        ended = threading.Event()
        queue()
        make_runner(lambda _job, _finish: ended.set()).run_until(ended.wait)

    def test_it_is_armed_while_a_job_is_run(self, make_runner: MakeRunner, queue: Any) -> None:
        armed: list[float] = []

        def handle(_job: Job, _finish: Finish) -> None:
            assert armed[-1] == 7
            raise UselessError("no")

        queue()
        make_runner(handle, limit_seconds=7, options={"arm": armed.append}).run_due()
        assert armed == [7, 0]


class TestAway:
    def test_a_database_that_is_away_is_waited_for_and_what_was_being_run_is_tried_again(
        self, queue: Any, database: Database, clock: VirtualClock, log: io.StringIO
    ) -> None:
        attempts: list[int] = []

        def handle(job: Job, _finish: Finish) -> None:
            attempts.append(job.attempts)
            if len(attempts) < 3:
                raise DatabaseAwayError

        queue()
        runner = Runner(database, {"test.note": Kind(handle)}, worker="w", clock=clock)

        def is_over(seconds: float) -> bool:
            clock.advance(10 * seconds)
            return len(attempts) == 3

        runner.run_until(is_over)
        assert attempts == [1, 2, 3]
        events = [line["event"] for line in lines(log)]
        assert events == ["jobs_wait", "job", "jobs_go_on", "jobs_wait", "job", "jobs_go_on", "job"]

    def test_it_is_told_once_however_long_it_takes(
        self, tmp_path: Path, request: pytest.FixtureRequest, log: io.StringIO
    ) -> None:
        path = tmp_path / "later.db"
        asked = 0

        def is_over(_seconds: float) -> bool:
            nonlocal asked
            asked += 1
            if asked == 4:
                shutil.copyfile(request.getfixturevalue("_migrated_sqlite"), path)
            return asked == 5

        with contextlib.closing(Database(f"sqlite:///{path}", may_create=False)) as database:
            Runner(database, {}, worker="w").run_until(is_over)
        assert [line["event"] for line in lines(log)] == ["jobs_wait", "jobs_go_on"]

    def test_who_runs_what_is_due_is_told(self, queue: Any, make_runner: MakeRunner) -> None:
        def handle(_job: Job, _finish: Finish) -> None:
            raise DatabaseAwayError

        queue()
        with pytest.raises(DatabaseAwayError):
            make_runner(handle).run_due()
