"""Several at once: changes under way, workers that share what there is, and states that nobody would think of."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import Select, bindparam, event, text
from sqlalchemy.orm import Session

from ecross_server.jobs import repository
from ecross_server.jobs.repository import IS_ANY_DUE, NEXT_DUE
from ecross_server.jobs.service import Urgency, queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Runner
from ecross_server.kit.database import Database, UtcDateTime

if TYPE_CHECKING:
    from packages.server.tests.jobs.conftest import VirtualClock

CHANGE: Final = text("UPDATE registry_revision SET value = 2")

MakeRunner = Callable[..., Runner]


class TestChangesUnderWay:
    """A job waits; what it is about is changed, but that is not committed yet, when a worker comes along."""

    @pytest.fixture
    def seen(self) -> list[int]:
        return []

    @pytest.fixture
    def look(self, make_runner: MakeRunner, queue: Any, seen: list[int]) -> Runner:
        def handle(_job: Job, finish: Finish) -> None:
            with finish.read() as session:
                seen.append(session.execute(text("SELECT value FROM registry_revision")).scalar_one())

        queue(key="k")
        return make_runner(handle)

    def test_a_change_under_way_is_not_missed(
        self, database: Database, look: Runner, seen: list[int], clock: VirtualClock, backend: str
    ) -> None:
        with ThreadPoolExecutor() as pool:

            def work(_session: object) -> None:
                working.append(pool.submit(look.run_due))
                if backend == "postgresql":
                    assert working[0].result(20) == 0, "the waiting job is locked"
                else:
                    with pytest.raises(TimeoutError):
                        working[0].result(0.1)  # it waits for the writer

            working: list[Future[int]] = []
            with database.write() as session:
                session.execute(CHANGE)
                queue_job(session, "test.note", {}, key="k", now=clock.now)
                event.listen(session, "before_commit", work)  # the job is written by then
            working[0].result(20)
        look.run_due()
        assert seen == [2]

    def test_nor_is_one_that_has_not_come_as_far(
        self, database: Database, look: Runner, seen: list[int], clock: VirtualClock, backend: str
    ) -> None:
        if backend == "sqlite":
            pytest.skip("a writer is alone from its beginning")
        with database.write() as session:
            session.execute(CHANGE)
            queue_job(session, "test.note", {}, key="k", now=clock.now)
            with ThreadPoolExecutor() as pool:
                assert pool.submit(look.run_due).result(20) == 1
        assert look.run_due() == 1
        assert seen == [1, 2]


def test_two_workers_share_the_work(database: Database, database_url: str, clock: VirtualClock) -> None:
    """Each is held up in its first job until the other one has one as well."""
    both = threading.Barrier(2, timeout=20)
    done: Counter[str] = Counter()
    keys: list[str | None] = []

    def work(worker: str) -> None:
        def handle(job: Job, _finish: Finish) -> None:
            if not done[worker]:
                both.wait()
            done[worker] += 1
            keys.append(job.key)

        with closing(Database(database_url)) as own:
            Runner(own, {"test.note": Kind(handle)}, worker=worker, clock=clock).run_due()

    with database.write() as session:
        for number in range(40):
            queue_job(session, "test.note", {}, key=f"{number}", now=clock.now)
    with ThreadPoolExecutor() as pool:
        list(pool.map(work, ["one", "two"]))
    assert min(done["one"], done["two"]) > 0
    assert sorted(keys, key=lambda key: int(key or 0)) == [str(number) for number in range(40)]


def test_whoever_queues_does_not_wait_for_a_job_that_is_being_run(
    queue: Any, make_runner: MakeRunner, rows: Any
) -> None:
    def handle(job: Job, _finish: Finish) -> None:
        if job.payload["n"] == 1:
            queue(payload={"n": 2}, key="k")
            assert [row.claim for row in rows()] == [job.claim, None]

    queue(payload={"n": 1}, key="k")
    assert make_runner(handle).run_due() == 2


@pytest.mark.parametrize("keys", [("a", "b"), ("b", "a")])
def test_two_that_queue_the_same_keys_in_other_orders_do_not_wait_for_each_other(
    database: Database, database_url: str, clock: VirtualClock, keys: tuple[str, str], rows: Any
) -> None:
    both = threading.Barrier(2, timeout=20)

    def change(order: tuple[str, ...]) -> None:
        with closing(Database(database_url)) as own:
            for _ in range(20):
                with own.write() as session:
                    for key in order:
                        queue_job(session, "test.note", {}, key=key, now=clock.now)

    def begin(order: tuple[str, ...]) -> None:
        both.wait()
        change(order)

    del database
    with ThreadPoolExecutor() as pool:
        list(pool.map(begin, [keys, keys[::-1]]))
    assert [row.key for row in rows()] == ["a", "b"]


MANY: Final = text(
    "INSERT INTO jobs (kind, key, payload, created_at, due_at, urgency, attempts) "
    "WITH RECURSIVE numbers (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50000) "
    "SELECT 'test.note', CAST(:urgency AS VARCHAR) || '.' || n, '{}', :now, :now, :urgency, 0 FROM numbers"
).bindparams(bindparam("now", type_=UtcDateTime))


def test_a_claim_does_not_look_at_all_that_waits(database: Database, clock: VirtualClock) -> None:
    """Many jobs come at once, faster than a database counts them; and none of a higher urgency, or many to come."""
    with database.write() as session:
        session.execute(MANY, {"now": clock.now, "urgency": int(Urgency.USUAL)})
        session.execute(MANY, {"now": clock.now + timedelta(hours=1), "urgency": int(Urgency.SOON)})
        found = repository.find_next_due(session, ["test.note"], tuple(Urgency), clock.now)
        assert found is not None
        assert found.key == "2.0"
        for urgency in Urgency:
            plan = planned(session, NEXT_DUE.params(urgency=int(urgency), kinds=["test.note"], now=clock.now))
            assert is_by_index(plan), plan
        plan = planned(session, IS_ANY_DUE.params(kinds=["test.note"], now=clock.now))
        assert plan.count("ix_jobs_due") == len(Urgency)
        assert is_by_index(plan), plan


def planned(session: Session, query: Select[Any]) -> str:
    """How the database goes about it."""
    dialect = session.get_bind().dialect
    how = "EXPLAIN QUERY PLAN" if dialect.name == "sqlite" else "EXPLAIN"
    compiled = query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
    return str(session.connection().exec_driver_sql(f"{how} {compiled}").all()).lower()


def is_by_index(plan: str) -> bool:
    """Whether each part looks up urgency and time in the index, and takes what it finds as it comes."""
    looked_up = re.findall(r"urgency ?= ?[?0-9]\)? and \(?due_at ?<", plan)
    return len(looked_up) == plan.count("ix_jobs_due") > 0 and not re.search(r"sort|b-tree|seq scan|scan jobs", plan)
