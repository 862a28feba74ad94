"""Jobs that are done together with one that was claimed: in its transaction, or not at all."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ecross_server.jobs.service import Urgency
from ecross_server.jobs.tasks import Finish, Handler, Job, Kind, Payload, Policy, Runner
from ecross_server.kit.database import Database
from ecross_server.kit.errors import ConflictError
from ecross_server.kit.logs import configure_logs

if TYPE_CHECKING:
    from packages.server.tests.jobs.conftest import VirtualClock

MakeRunner = Callable[..., Runner]
Runs = list[tuple[str, list[str]]]
"""What was done: the key of the job that was claimed, and what the others hold."""


class UselessError(ConflictError):
    code = "useless"


@pytest.fixture
def done() -> Runs:
    return []


@pytest.fixture
def together(done: Runs) -> Handler:
    """Does a job with all others whose keys begin with the same letter."""
    return taking(done, len)


def taking(
    done: Runs, how_many: Callable[[Sequence[Payload]], int], fault: Callable[[list[str]], None] = lambda _: None
) -> Handler:
    def handle(job: Job, finish: Finish) -> None:
        with finish() as session:
            others = [str(payload["is"]) for payload in finish.take_along(session, str(job.key)[:2], how_many)]
            fault([str(job.key), *others])
            done.append((str(job.key), others))

    return handle


@pytest.fixture
def wait(queue: Any) -> Callable[..., None]:
    """Queues jobs of such keys, in this order."""

    def queue_all(*keys: str, **options: Any) -> None:
        for key in keys:
            queue(payload={"is": key}, key=key, **options)

    return queue_all


class TestTogether:
    def test_those_that_come_next_and_belong_together_are_done_in_one_run(
        self, make_runner: MakeRunner, together: Handler, wait: Any, done: Runs, rows: Any
    ) -> None:
        stream = io.StringIO()
        configure_logs("json", "info", stream)
        wait("a/1", "b/1", "a/2", "a_3", "a/3", "b/2")
        runner = make_runner(together, most_along=10)
        assert runner.run_due() == 3
        assert done == [("a/1", ["a/2", "a/3"]), ("b/1", ["b/2"]), ("a_3", [])]
        assert rows() == []
        assert runner.runs == {("test.note", "done"): 3}
        assert [json.loads(line).get("along") for line in stream.getvalue().splitlines()] == [2, 1, None]

    def test_the_handler_says_how_many_the_first_ones_in_their_order(
        self, make_runner: MakeRunner, wait: Any, done: Runs
    ) -> None:
        shown: list[int] = []

        def two(waiting: Sequence[Payload]) -> int:
            shown.append(len(waiting))
            return min(2, len(waiting) - 1)

        wait(*(f"a/{number}" for number in range(5)))
        make_runner(taking(done, two), most_along=10).run_due()
        assert done == [("a/0", ["a/1", "a/2"]), ("a/3", []), ("a/4", [])]
        assert shown == [4, 1]  # who has none to show does not ask

    def test_no_more_are_looked_at_than_the_policy_says(
        self, make_runner: MakeRunner, together: Handler, wait: Any, done: Runs
    ) -> None:
        wait("a/1", "b/1", "b/2", "a/2")
        make_runner(together, most_along=2).run_due()
        assert done == [("a/1", []), ("b/1", ["b/2"]), ("a/2", [])]

    def test_a_kind_that_does_not_say_so_has_none(
        self, make_runner: MakeRunner, together: Handler, wait: Any, done: Runs
    ) -> None:
        wait("a/1", "a/2")
        make_runner(together).run_due()
        assert done == [("a/1", []), ("a/2", [])]

    def test_others_are_left_that_are_to_come_or_more_urgent_or_of_another_kind_or_without_a_key(  # noqa: PLR0917 - fixtures
        self, make_runner: MakeRunner, together: Handler, wait: Any, queue: Any, rows: Any, clock: VirtualClock
    ) -> None:
        wait("a/1")
        wait("a/2", run_at=clock.now + timedelta(seconds=1))
        wait("a/3", kind="other.kind")
        queue(payload={"is": "nothing"})
        wait("a/4", urgency=Urgency.SOON)
        clock.advance(0.5)
        runner = make_runner(together, most_along=10)
        assert runner.run_due() == 3
        assert [row.key for row in rows()] == ["a/2", "a/3"]


class TestFaults:
    def test_a_fault_leaves_the_others_as_they_were_and_the_next_attempt_is_made_alone(
        self, make_runner: MakeRunner, wait: Any, done: Runs, rows: Any, clock: VirtualClock
    ) -> None:
        failed: list[list[str]] = []

        def fail_once(keys: list[str]) -> None:
            if not failed:
                failed.append(keys)
                raise UselessError("no")

        wait("a/1", "a/2")
        runner = make_runner(taking(done, len, fail_once), most_along=10, first_delay_seconds=10)
        before = rows()[1]
        runner.run_until(lambda _: bool(failed))
        assert failed == [["a/1", "a/2"]]
        first, second = rows()
        assert (first.attempts, first.claim) == (1, "-")
        assert second == before
        clock.advance(10)
        wait("a/3")
        make_runner(taking(done, len), most_along=10).run_due()
        assert sorted(done) == [("a/1", []), ("a/2", ["a/3"])]

    @pytest.mark.parametrize("end", [UselessError, SystemExit])
    def test_one_that_always_fails_costs_others_one_attempt_and_dies_alone(  # noqa: PLR0917 - fixtures
        self, make_runner: MakeRunner, wait: Any, done: Runs, rows: Any, clock: VirtualClock, end: type[BaseException]
    ) -> None:
        attempts: list[list[str]] = []

        def fail(keys: list[str]) -> None:
            attempts.append(keys)
            if "a/poison" in keys:
                raise end("no")

        wait("a/1", "a/poison", "a/3", "a/4")
        for _ in range(8):
            runner = make_runner(taking(done, len, fail), most_along=10, most_attempts=3)
            try:
                runner.release()
                runner.run_due()
            except SystemExit:
                pass
            clock.advance(1000)
        assert sorted(done) == [("a/1", []), ("a/3", ["a/4"])]
        assert attempts.count(["a/1", "a/poison", "a/3", "a/4"]) == 1
        [row] = rows()
        assert (row.key, row.attempts) == ("a/poison", 3)
        assert row.dead_at is not None

    def test_one_that_is_tried_again_is_not_taken_along(
        self, make_runner: MakeRunner, together: Handler, wait: Any, done: Runs, database: Database
    ) -> None:
        wait("a/1", "a/2", "a/3")
        with database.write() as session:
            session.execute(text("UPDATE jobs SET attempts = 1, claim = '-' WHERE key = 'a/2'"))
        make_runner(together, most_along=10).run_due()
        assert sorted(done) == [("a/1", ["a/3"]), ("a/2", [])]

    def test_one_that_another_process_has_by_then_is_left_to_it(
        self, make_runner: MakeRunner, together: Handler, wait: Any, done: Runs, database: Database
    ) -> None:
        def slowly(job: Job, finish: Finish) -> None:
            if job.key == "a/1":
                with database.write() as session:
                    session.execute(text("UPDATE jobs SET attempts = 1, claim = 'w9.1' WHERE key = 'a/2'"))
                    session.execute(text("DELETE FROM jobs WHERE key = 'a/3'"))
            together(job, finish)

        wait("a/1", "a/2", "a/3", "a/4")
        make_runner(slowly, most_along=10).run_due()
        assert done[0] == ("a/1", ["a/4"])
        assert ("a/3", []) not in done

    def test_nor_is_one_that_another_process_has_locked_waited_for(  # noqa: PLR0917 - fixtures
        self, make_runner: MakeRunner, together: Handler, wait: Any, done: Runs, database: Database, backend: str
    ) -> None:
        if backend == "sqlite":
            pytest.skip("a writer is alone from its beginning")
        wait("a/1", "a/2", "a/3")

        def beside(job: Job, finish: Finish) -> None:
            with database.write() as session:
                session.execute(text("SELECT id FROM jobs WHERE key = 'a/2' FOR UPDATE"))
                together(job, finish)

        make_runner(beside, most_along=10).run_until(lambda _: bool(done))
        assert done == [("a/1", ["a/3"])]


class TestRush:
    """While many like them are still being queued, those that are due wait."""

    @pytest.fixture
    def runner(self, make_runner: MakeRunner, together: Handler) -> Runner:
        return make_runner(together, most_along=100, rush=3, patience_seconds=10)

    def test_those_that_are_due_wait_for_a_lull(
        self, runner: Runner, wait: Any, done: Runs, clock: VirtualClock
    ) -> None:
        for number in range(5):
            wait(*(f"a/{number}{letter}" for letter in "xyz"), run_at=clock.now + timedelta(seconds=1))
            assert runner.run_due() == 0
            clock.advance(0.5)
        clock.advance(0.5)
        assert runner.run_due() == 1
        assert len(done[0][1]) == 14

    def test_but_not_longer_than_they_have_patience(
        self, runner: Runner, wait: Any, done: Runs, clock: VirtualClock
    ) -> None:
        wait("a/first")
        runs = []
        for number in range(22):
            wait(*(f"c/{number}{letter}" for letter in "xyz"), run_at=clock.now + timedelta(seconds=1))
            runs.append(runner.run_due())
            clock.advance(0.5)
        assert done == [("a/first", [])]
        assert (runs.index(1), sum(runs)) == (20, 1)

    def test_few_that_are_to_come_are_no_rush_nor_are_those_that_come_later_or_are_of_another_kind(
        self, runner: Runner, wait: Any, done: Runs, clock: VirtualClock
    ) -> None:
        wait("a/1")
        wait("a/2", "a/3", run_at=clock.now + timedelta(seconds=1))
        wait("a/4", "a/5", run_at=clock.now + timedelta(seconds=1.5))
        wait("a/6", "a/7", run_at=clock.now + timedelta(seconds=1), kind="other.kind")
        assert runner.run_due() == 1
        assert done == [("a/1", [])]

    def test_other_kinds_do_not_wait(  # noqa: PLR0917 - fixtures
        self, database: Database, together: Handler, wait: Any, run: list[Job], note: Handler, clock: VirtualClock
    ) -> None:
        kinds = {"test.rushed": Kind(together, Policy(rush=1)), "test.note": Kind(note)}
        wait("a/1", kind="test.rushed")
        wait("a/2", kind="test.rushed", run_at=clock.now + timedelta(seconds=1))
        wait("b/1", "b/2")
        assert Runner(database, kinds, worker="w", clock=clock).run_due() == 2
        assert [job.key for job in run] == ["b/1", "b/2"]
