"""What domains do with jobs: queue them; and what operators do with dead ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, event
from sqlalchemy.orm import Session, SessionTransaction

from ecross_server.jobs import repository, rules
from ecross_server.jobs.errors import JobNotFoundError, PayloadError
from ecross_server.jobs.rules import NewJob, Payload, Urgency
from ecross_server.kit.clock import utc_now

__all__ = ["Payload", "Urgency"]  # what callers pass

QUEUED: Final = "ecross_server.jobs"


@dataclass(frozen=True, slots=True)
class DeadJob:
    """A job that was given up. What it was to do is its domain's: the payload is not shown."""

    id: int
    kind: str
    key: str | None
    attempts: int
    created_at: datetime
    dead_at: datetime
    last_error: str | None


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs are due, to come (delayed, or being run) and dead, and how long the first of the due ones waits."""

    due: int
    to_come: int
    dead: int
    oldest_seconds: float


def queue_job(
    session: Session,
    kind: str,
    payload: Payload,
    *,
    key: str | None = None,
    run_at: datetime | None = None,
    urgency: Urgency = Urgency.USUAL,
    now: datetime | None = None,
) -> None:
    """Let the job be run once the caller's transaction is committed, at once or from an instant on.

    Jobs of one kind and key that nobody has begun are one job: it has the newest payload, the earliest time and
    the highest urgency.

    Raises:
        PayloadError: naming what is wrong with kind, key, payload or time.
        RuntimeError: inside a savepoint, which could be undone without the job.
    """
    if session.in_nested_transaction():
        raise RuntimeError("a job is queued outside of savepoints")
    rules.check_name(kind, key)
    if run_at is not None and run_at.tzinfo is None:
        raise PayloadError("run_at", "needs a time zone")
    now = now or utc_now()
    job = NewJob(kind, key, rules.encode_payload(payload), now, run_at or now, urgency)
    if QUEUED not in session.info:
        session.info[QUEUED] = []
        # At the end, so that rows of jobs are locked for a moment only, but before all others that come last: the lock
        # of the audit trail is the very last one.
        event.listen(session, "before_commit", _add_queued, insert=True)
        event.listen(session, "after_soft_rollback", _forget_queued)
    session.info[QUEUED].append(job)


def is_queued(session: Session, kind: str, key: str) -> bool:
    """Whether such a job waits or is being run."""
    return repository.has_living(session, kind, key)


def list_dead_jobs(
    session: Session, *, kind: str | None = None, after: int | None = None, limit: int = 100
) -> list[DeadJob]:
    """The dead jobs in the order of their numbers, after one of them."""
    return [_dead(row) for row in repository.list_dead(session, kind, after or 0, limit)]


def replay_job(session: Session, job_id: int, *, now: datetime) -> DeadJob:
    """Let a dead job be run again, with all its attempts; as it was.

    Raises:
        JobNotFoundError: if no dead job has the number.
    """
    job = _get_dead(session, job_id)
    repository.revive_job(session, job_id, now)
    return job


def discard_job(session: Session, job_id: int) -> DeadJob:
    """Remove a dead job for good; as it was.

    Raises:
        JobNotFoundError: if no dead job has the number.
    """
    job = _get_dead(session, job_id)
    repository.remove_job(session, job_id)
    return job


def count_jobs(session: Session, *, now: datetime) -> JobCounts:
    """How jobs stand."""
    due, to_come, dead, since = repository.count_jobs(session, now)
    return JobCounts(due, to_come, dead, 0.0 if since is None else (now - since).total_seconds())


def list_due_kinds(session: Session, *, now: datetime) -> Sequence[str]:
    """The kinds of the jobs that are due."""
    return repository.list_due_kinds(session, now)


def free_all_jobs(session: Session, *, now: datetime) -> None:
    """Free what others had begun: in a restored backup nobody is at it any more."""
    repository.free_all(session, now)


def _get_dead(session: Session, job_id: int) -> DeadJob:
    row = repository.find_dead(session, job_id)
    if row is None:
        raise JobNotFoundError(job_id)
    return _dead(row)


def _dead(row: Row[Any]) -> DeadJob:
    return DeadJob(row.id, row.kind, row.key, row.attempts, row.created_at, row.dead_at, row.last_error)


def _add_queued(session: Session) -> None:
    queued: list[NewJob] = session.info[QUEUED]
    if session.in_nested_transaction() or not queued:
        return
    session.flush()  # what the domain locks comes before
    merged: dict[tuple[str, str | int], NewJob] = {}
    for number, job in enumerate(queued):
        place = (job.kind, number if job.key is None else job.key)
        merged[place] = merged[place].merged_with(job) if place in merged else job
    # All transactions lock them in one order, or two could wait for each other.
    repository.add_jobs(session, sorted(merged.values(), key=lambda job: (job.kind, job.key or "")))
    queued.clear()


def _forget_queued(session: Session, ended: SessionTransaction) -> None:
    if not ended.nested:  # a savepoint holds none of them
        session.info[QUEUED].clear()
