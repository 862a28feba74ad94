"""Dead jobs: found by number, run again or removed; and how all jobs stand."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.jobs import service
from ecross_server.jobs.errors import JobNotFoundError
from ecross_server.jobs.service import DeadJob, JobCounts
from ecross_server.jobs.tasks import Finish, Job, Runner
from ecross_server.kit.database import Database

if TYPE_CHECKING:
    from packages.server.tests.jobs.conftest import VirtualClock

MakeRunner = Callable[..., Runner]
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def fail(_job: Job, _finish: Finish) -> None:
    raise ArithmeticError


@pytest.fixture
def dead(queue: Any, make_runner: MakeRunner, database: Database) -> list[DeadJob]:
    """Three of them."""
    for number in range(3):
        queue(payload={"n": number}, key=f"k{number}")
    make_runner(fail, most_attempts=1).run_due()
    with database.read() as session:
        return service.list_dead_jobs(session)


def test_they_are_listed_by_number(dead: list[DeadJob], database: Database) -> None:
    first = dead[0]
    assert dead == [
        DeadJob(first.id + number, "test.note", f"k{number}", 1, NOON, NOON, "ArithmeticError") for number in range(3)
    ]
    with database.read() as session:
        assert service.list_dead_jobs(session, kind="test.note", after=first.id, limit=1) == [dead[1]]
        assert service.list_dead_jobs(session, kind="test.other") == []


def test_one_is_run_again_with_all_its_attempts(
    *, dead: list[DeadJob], database: Database, make_runner: MakeRunner, clock: VirtualClock, run: list[Job], queue: Any
) -> None:
    queue(payload={"n": "newer"}, key="k0")  # does not stand in its way
    with database.write() as session:
        assert service.replay_job(session, dead[0].id, now=clock()) == dead[0]
    with database.read() as session:
        assert service.list_dead_jobs(session) == dead[1:]
    assert make_runner(most_attempts=1).run_due() == 2
    assert [(job.payload, job.attempts) for job in run] == [({"n": 0}, 1), ({"n": "newer"}, 1)]


def test_one_is_removed_for_good(dead: list[DeadJob], database: Database, make_runner: MakeRunner) -> None:
    with database.write() as session:
        assert service.discard_job(session, dead[1].id) == dead[1]
    with database.read() as session:
        assert service.list_dead_jobs(session) == [dead[0], dead[2]]
    assert make_runner().run_due() == 0


@pytest.mark.parametrize(
    "act", [lambda session, job_id: service.replay_job(session, job_id, now=NOON), service.discard_job]
)
def test_what_is_not_dead_is_not_found(act: Callable[..., object], queue: Any, rows: Any, database: Database) -> None:
    queue()
    before = rows()
    for job_id in (before[0].id, before[0].id + 1, 2**63 - 1):
        with database.write() as session, pytest.raises(JobNotFoundError):
            act(session, job_id)
    assert rows() == before


def test_how_they_stand(dead: list[DeadJob], queue: Any, database: Database, clock: VirtualClock) -> None:
    def counts() -> JobCounts:
        with database.read() as session:
            return service.count_jobs(session, now=clock())

    assert len(dead) == 3
    assert counts() == JobCounts(due=0, to_come=0, dead=3, oldest_seconds=0.0)
    for seconds in (0, 2, 9):
        queue(kind=f"test.after_{'a' * seconds}", run_at=NOON + timedelta(seconds=seconds))
    clock.advance(2.5)
    assert counts() == JobCounts(due=2, to_come=1, dead=3, oldest_seconds=2.5)
    with database.read() as session:
        assert service.list_due_kinds(session, now=clock()) == ["test.after_", "test.after_aa"]


def test_in_a_restored_backup_what_was_begun_is_due_and_its_attempt_does_not_count(
    *, dead: list[DeadJob], queue: Any, database: Database, make_runner: MakeRunner, clock: VirtualClock, rows: Any
) -> None:
    def die(_job: Job, _finish: Finish) -> None:
        raise SystemExit

    queue()
    queue(key="fresh", run_at=NOON + timedelta(hours=1))
    with pytest.raises(SystemExit):
        make_runner(die).run_due()
    clock.advance(1)
    with database.write() as session:
        service.free_all_jobs(session, now=clock())
    begun, fresh = rows()[3:]
    assert (begun.claim, begun.attempts, fresh.claim, fresh.attempts) == ("-", 0, None, 0)
    assert all(row.dead_at is not None for row in rows()[:3])
    assert len(dead) == 3
    assert make_runner().run_due() == 1
