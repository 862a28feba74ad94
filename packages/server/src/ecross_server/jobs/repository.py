"""Every query about jobs. They are the server's own: which merchant one is about, its domain knows."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, bindparam, delete, exists, func, or_, select, text, update
from sqlalchemy.orm import Session

from ecross_server.jobs.models import IS_DEAD, IS_FRESH, IS_LIVING, JobRow
from ecross_server.jobs.rules import BEGUN_BEFORE, Job, NewJob, Urgency
from ecross_server.kit.database import among, keep_to_index_order

JOBS_AT_ONCE: Final = 500

INSERT: Final = "INSERT INTO jobs (kind, key, payload, created_at, due_at, urgency, attempts)"
# A waiting job of the same key is not left alone, but locked: nobody begins it before this change is committed.
MERGE: Final = (
    f"ON CONFLICT (kind, key) WHERE {IS_FRESH} "
    "DO UPDATE SET payload = excluded.payload, due_at = {least}(jobs.due_at, excluded.due_at), "
    "urgency = {least}(jobs.urgency, excluded.urgency)"
)
# One statement for any number of rows, so that it is prepared once; in their order, which is that of all transactions.
ADD_ON_POSTGRESQL: Final = text(
    f"{INSERT} "  # noqa: S608 - made of our own names
    "SELECT r->>0, r->>1, r->>2, CAST((r->>3) || 'Z' AS timestamptz), CAST((r->>4) || 'Z' AS timestamptz), "
    "CAST(r->>5 AS integer), 0 "
    "FROM jsonb_array_elements(CAST(:rows AS jsonb)) WITH ORDINALITY AS given(r, place) ORDER BY place "
    + MERGE.format(least="LEAST")
)
ADD_ON_SQLITE: Final = text(
    f"{INSERT} SELECT "  # noqa: S608 - made of our own names
    + ", ".join(f"json_extract(value, '$[{place}]')" for place in range(6))
    + ", 0 FROM json_each(:rows) WHERE true ORDER BY json_each.key "
    + MERGE.format(least="min")
)

COLUMNS: Final = JobRow.__table__.columns
DUE: Final[tuple[Any, ...]] = (
    IS_LIVING, JobRow.due_at <= bindparam("now"), JobRow.kind.in_(bindparam("kinds", expanding=True))
)  # fmt: skip
# By urgency, too, where its order does not matter: the index begins with it.
IS_ANY_DUE: Final = select(or_(*(exists().where(JobRow.urgency == int(urgency), *DUE) for urgency in Urgency)))
NEXT_DUE: Final = (
    select(*COLUMNS)
    .where(JobRow.urgency == bindparam("urgency"), *DUE)
    .order_by(JobRow.due_at, JobRow.id)
    .limit(1)
    .with_for_update(skip_locked=True)
)
# Whatever they are, so that no more are looked at, and none gets past more than these.
NEXT_OF_ALL: Final = (
    select(JobRow.id, JobRow.kind, JobRow.key)
    .where(JobRow.urgency == bindparam("urgency"), IS_LIVING, JobRow.due_at <= bindparam("now"))
    .order_by(JobRow.due_at, JobRow.id)
    .limit(bindparam("limit"))
)

TO_COME: Final = select(func.count()).select_from(
    select(JobRow.id)
    .where(
        JobRow.urgency == bindparam("urgency"), IS_LIVING, JobRow.kind == bindparam("kind"),
        JobRow.due_at > bindparam("now"), JobRow.due_at <= bindparam("until"),
    )
    .limit(bindparam("limit"))
    .subquery()
)  # fmt: skip


def add_jobs(session: Session, jobs: Sequence[NewJob]) -> None:
    """Add them in this order; a waiting job of the same key becomes one with the new one."""
    connection = session.connection()
    statement = ADD_ON_SQLITE if connection.dialect.name == "sqlite" else ADD_ON_POSTGRESQL
    for start in range(0, len(jobs), JOBS_AT_ONCE):
        rows = [
            (job.kind, job.key, job.payload, _utc(job.created_at), _utc(job.due_at), job.urgency)
            for job in jobs[start : start + JOBS_AT_ONCE]
        ]
        connection.execute(statement, {"rows": json.dumps(rows)})


def is_any_due(session: Session, kinds: Collection[str], now: datetime) -> bool:
    return bool(session.scalar(IS_ANY_DUE, {"kinds": list(kinds), "now": now}))


def find_next_due(
    session: Session, kinds: Collection[str], urgencies: Sequence[Urgency], now: datetime
) -> Row[Any] | None:
    """The job that is due for the longest time, of the first urgency that has one, locked. Others' are left out."""
    keep_to_index_order(session)
    for urgency in urgencies:
        values = {"urgency": int(urgency), "kinds": list(kinds), "now": now}
        if (row := session.connection().execute(NEXT_DUE, values).one_or_none()) is not None:
            return row
    return None


def claim_job(session: Session, job_id: int, claim: str, until: datetime) -> None:
    """Count the attempt, and let it be nobody else's until then."""
    values = {"claim": claim, "due_at": until, "attempts": JobRow.attempts + 1}
    session.connection().execute(update(JobRow).where(JobRow.id == job_id).values(values))


def remove_claimed(session: Session, job: Job) -> bool:
    """Whether the claim was still the job's own."""
    return bool(session.connection().execute(delete(JobRow).where(*_claimed(job))).rowcount)


def list_next_alike(session: Session, row: Row[Any], limit: int, now: datetime) -> list[tuple[int, str]]:
    """Numbers and keys: of so many jobs that come after it, those of its kind. Where one is claimed, this is too."""
    values = {"urgency": row.urgency, "now": now, "limit": limit}
    following = session.connection().execute(NEXT_OF_ALL, values)
    return [(it.id, it.key) for it in following if it.kind == row.kind and it.key is not None]


def count_to_come(session: Session, row: Row[Any], now: datetime, until: datetime, limit: int) -> int:
    """How many like it come due by then; no more than so many are counted."""
    values = {"urgency": row.urgency, "kind": row.kind, "now": now, "until": until, "limit": limit}
    return int(session.connection().execute(TO_COME, values).scalar_one())


def lock_fresh(session: Session, job_ids: Collection[int]) -> Sequence[Row[Any]]:
    """Those that nobody has begun; others' are left out."""
    query = select(*COLUMNS).where(among(session, JobRow.id, job_ids), IS_FRESH)
    return session.connection().execute(query.with_for_update(skip_locked=True)).all()


def remove_jobs(session: Session, job_ids: Collection[int]) -> None:
    session.connection().execute(delete(JobRow).where(among(session, JobRow.id, job_ids)))


def free_job(session: Session, job_id: int, claim: str, due_at: datetime, error: str | None) -> bool:
    """Let it be run again then; whether the claim was still its own."""
    values = {"claim": BEGUN_BEFORE, "due_at": due_at, "last_error": error}
    return _change(session, job_id, claim, values)


def bury_job(session: Session, job_id: int, claim: str | None, now: datetime, error: str | None) -> bool:
    """Let it be dead; whether the claim was still its own."""
    return _change(session, job_id, claim, {"claim": BEGUN_BEFORE, "dead_at": now, "last_error": error})


def list_claimed_by(session: Session, worker: str) -> Sequence[Row[Any]]:
    query = select(*COLUMNS).where(JobRow.claim.startswith(f"{worker}.", autoescape=True), IS_LIVING)
    return session.execute(query.order_by(JobRow.id).with_for_update()).all()


def free_all(session: Session, now: datetime) -> None:
    """Let everything that was begun be due, as if it had not been begun."""
    session.execute(
        update(JobRow)
        .where(JobRow.claim != BEGUN_BEFORE, IS_LIVING)
        .values(claim=BEGUN_BEFORE, due_at=now, attempts=JobRow.attempts - 1)
    )


def list_dead(session: Session, kind: str | None, after: int, limit: int) -> Sequence[Row[Any]]:
    query = select(*COLUMNS).where(IS_DEAD, JobRow.id > after).order_by(JobRow.id).limit(limit)
    if kind is not None:
        query = query.where(JobRow.kind == kind)
    return session.execute(query).all()


def find_dead(session: Session, job_id: int) -> Row[Any] | None:
    return session.execute(select(*COLUMNS).where(IS_DEAD, JobRow.id == job_id).with_for_update()).one_or_none()


def revive_job(session: Session, job_id: int, now: datetime) -> None:
    values = {"dead_at": None, "due_at": now, "attempts": 0}
    session.execute(update(JobRow).where(JobRow.id == job_id).values(values))


def remove_job(session: Session, job_id: int) -> None:
    session.execute(delete(JobRow).where(JobRow.id == job_id))


def count_jobs(session: Session, now: datetime) -> tuple[int, int, int, datetime | None]:
    """How many are due, delayed or running, and dead; and since when the first of the due ones is."""
    is_due = (IS_LIVING, JobRow.due_at <= now)
    parts = (
        select(func.count()).select_from(JobRow).where(*is_due),
        select(func.count()).select_from(JobRow).where(IS_LIVING, JobRow.due_at > now),
        select(func.count()).select_from(JobRow).where(IS_DEAD),
        select(func.min(JobRow.due_at)).where(*is_due),
    )
    due, to_come, dead, since = session.execute(select(*(part.scalar_subquery() for part in parts))).one()
    return due, to_come, dead, since


def list_due_kinds(session: Session, now: datetime) -> Sequence[str]:
    query = select(JobRow.kind).where(IS_LIVING, JobRow.due_at <= now).distinct().order_by(JobRow.kind)
    return session.scalars(query).all()


def has_living(session: Session, kind: str, key: str) -> bool:
    return bool(session.scalar(select(exists().where(JobRow.kind == kind, JobRow.key == key, IS_LIVING))))


def _claimed(job: Job) -> tuple[ColumnElement[bool], ...]:
    return JobRow.id == job.id, JobRow.claim == job.claim


def _change(session: Session, job_id: int, claim: str | None, values: dict[str, Any]) -> bool:
    same = JobRow.claim.is_not_distinct_from(claim)
    statement = update(JobRow).where(JobRow.id == job_id, same, JobRow.dead_at.is_(None)).values(values)
    return bool(session.connection().execute(statement).rowcount)


def _utc(instant: datetime) -> str:
    """As SQLite keeps it."""
    return instant.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
