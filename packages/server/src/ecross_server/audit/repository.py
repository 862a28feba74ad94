"""Every query of the audit trail."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, select, text, type_coerce, update
from sqlalchemy.orm import Session
from sqlalchemy.types import NullType

from ecross_server.audit.errors import TrailTamperedError
from ecross_server.audit.models import AuditBatch, AuditMark, AuditRecord
from ecross_server.audit.rules import HEAD, ISSUE_TOKEN, ISSUED, Batch, Mark, Row
from ecross_server.kit.database import Base, take_turns

NUMBERS: Final = frozenset({"seq", "at"})


def _raw(model: type[Base]) -> tuple[ColumnElement[Any], ...]:
    # As the driver gives them: what somebody put in the place of a hash must not be turned into one.
    return tuple(type_coerce(column, NullType()).label(column.name) for column in model.__table__.columns)


RECORD_COLUMNS: Final = _raw(AuditRecord)
BATCH_COLUMNS: Final = _raw(AuditBatch)
MARK_COLUMNS: Final = _raw(AuditMark)

NAMES: Final = tuple(AuditRecord.__table__.columns.keys())
INSERT: Final = f"INSERT INTO audit_records ({', '.join(NAMES)})"
PLACES: Final = f"({', '.join('?' * len(NAMES))})"
ROWS_AT_ONCE: Final = (256, 32, 4, 1)
"""SQLite's driver lets go of the interpreter for each statement, and gets it back only when a busy event loop lets it,
every 5 ms: a row a statement, as `executemany` does it, took 880 µs a row, and many rows a statement take 15."""
# The rows are JSON already, to be hashed: the database takes them apart, which costs this process nothing.
INSERT_ON_POSTGRESQL: Final = text(
    f"{INSERT} SELECT "  # noqa: S608 - made of our own names
    + ", ".join(
        f"CAST(r->>{place} AS bigint)" if name in NUMBERS else f"r->>{place}" for place, name in enumerate(NAMES)
    )
    + " FROM jsonb_array_elements(CAST(:rows AS jsonb)) AS r"
)

# Made once: these are executed for every batch.
ADD_BATCH: Final = insert(AuditBatch)
GET_MARK: Final = select(*MARK_COLUMNS).where(AuditMark.name == bindparam("mark"))
SET_MARK: Final = update(AuditMark).where(AuditMark.name == bindparam("mark"))


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records are asked for; `None` does not choose. `since` is in microseconds, `before` a record's number."""

    since: int | None = None
    merchant_id: str | None = None
    client_id: str | None = None
    action: str | None = None
    outcome: str | None = None
    request_id: str | None = None
    before: int | None = None
    but_issued: bool = False
    """Leaves out the tokens that were issued, which nearly all records are."""
    acts_only: bool = False
    """Leaves out all that came of requests for tokens."""


def begin_appending(session: Session) -> None:
    """Wait for whoever else appends. Taken last of all locks of a transaction, or two could wait for each other."""
    session.flush()
    take_turns(session, "audit trail")


def find_mark(session: Session, name: str) -> Mark | None:
    row = session.connection().execute(GET_MARK, {"mark": name}).one_or_none()
    return None if row is None else Mark._make(row)


def get_mark(session: Session, name: str) -> Mark:
    mark = find_mark(session, name)
    if mark is None:
        raise TrailTamperedError
    return mark


def set_mark(session: Session, mark: Mark) -> None:
    connection = session.connection()
    if not connection.execute(SET_MARK, {"mark": mark.name, **mark._asdict()}).rowcount:
        connection.execute(insert(AuditMark), mark._asdict())  # somebody has removed it


def find_end(session: Session) -> Mark:
    """Where the chain ends by what is there, whatever its mark says; not signed."""
    query = select(*BATCH_COLUMNS).order_by(AuditBatch.number.desc()).limit(1)
    last = session.execute(query).one_or_none() or Batch(0, 0, 0, 0, "", b"", b"")
    numbers = session.scalar(select(func.max(AuditRecord.seq))), session.scalar(select(func.max(AuditBatch.first_seq)))
    seq = max((number for number in numbers if isinstance(number, int)), default=0)
    value = last.hash if isinstance(last.hash, bytes) else b""
    return Mark(HEAD, last.number, seq, value, str(last.key_id), "", b"")


def add_batch(session: Session, batch: Batch, rows: Sequence[Row], rows_json: str) -> None:
    """Add a link with its records, which are given twice: as rows and as JSON."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(INSERT_ON_POSTGRESQL, {"rows": rows_json})
    else:
        _insert_on_sqlite(session, rows)
    session.connection().execute(ADD_BATCH, batch._asdict())


def _insert_on_sqlite(session: Session, rows: Sequence[Row]) -> None:
    connection = session.connection()
    done = 0
    for size in ROWS_AT_ONCE:
        while len(rows) - done >= size:
            values = tuple(itertools.chain.from_iterable(rows[done : done + size]))
            connection.exec_driver_sql(f"{INSERT} VALUES {', '.join([PLACES] * size)}", values)
            done += size


def find_batch(session: Session, number: int) -> Batch | None:
    row = session.execute(select(*BATCH_COLUMNS).where(AuditBatch.number == number)).one_or_none()
    return None if row is None else Batch._make(row)


def find_first_batch_of(session: Session, key_ids: Collection[str], after: int) -> Batch | None:
    """The first batch after a number that was hashed under one of the keys."""
    query = (
        select(*BATCH_COLUMNS)
        .where(AuditBatch.number > after, AuditBatch.key_id.in_(key_ids))
        .order_by(AuditBatch.number)
        .limit(1)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else Batch._make(row)


def list_batches(session: Session, after: int, limit: int) -> list[Batch]:
    query = select(*BATCH_COLUMNS).where(AuditBatch.number > after).order_by(AuditBatch.number).limit(limit)
    return [Batch._make(row) for row in session.execute(query)]


def list_rows(session: Session, batch: Batch, limit: int) -> list[Row]:
    """The records of a batch, at most so many."""
    query = (
        select(*RECORD_COLUMNS)
        .where(AuditRecord.seq >= batch.first_seq, AuditRecord.seq <= batch.last_seq)
        .order_by(AuditRecord.seq)
        .limit(limit)
    )
    return [tuple(row) for row in session.execute(query)]


def stream_batches(session: Session) -> Generator[Batch]:
    query = select(*BATCH_COLUMNS).order_by(AuditBatch.number).execution_options(yield_per=500)
    with session.execute(query) as batches:
        yield from map(Batch._make, batches)


def stream_rows(session: Session) -> Generator[Row]:
    query = select(*RECORD_COLUMNS).order_by(AuditRecord.seq).execution_options(yield_per=500)
    with session.execute(query) as rows:
        yield from map(tuple, rows)


def stream_records(session: Session, chosen: RecordFilter, limit: int | None) -> Generator[tuple[Row, object]]:
    """The chosen records in their order, the last ones if they are more than the limit, each with its batch's hash."""
    query = _filtered(select(AuditRecord.seq), chosen)
    if limit is not None:
        first = session.scalar(query.order_by(AuditRecord.seq.desc()).offset(limit - 1).limit(1))
        query = query if first is None else query.where(AuditRecord.seq >= first)
    batch_hash = (
        select(type_coerce(AuditBatch.hash, NullType()))
        .where(AuditBatch.first_seq <= AuditRecord.seq)
        .order_by(AuditBatch.first_seq.desc())
        .limit(1)
        .scalar_subquery()
    )
    whole = query.with_only_columns(*RECORD_COLUMNS, batch_hash).order_by(AuditRecord.seq)
    with session.execute(whole.execution_options(yield_per=500)) as rows:
        for row in rows:
            yield tuple(row[:-1]), row[-1]


def count_addresses(session: Session, chosen: RecordFilter) -> list[tuple[str | None, int, int, int]]:
    """The addresses of the chosen records: how many each has, and when the first and the last was."""
    query = _filtered(select(AuditRecord.address), chosen).group_by(AuditRecord.address).order_by(AuditRecord.address)
    sums = func.count(), func.min(AuditRecord.at), func.max(AuditRecord.at)
    return [(*row,) for row in session.execute(query.add_columns(*sums))]


def remove_through(session: Session, last: Batch) -> None:
    """Remove all batches and records from the front through this one."""
    session.execute(delete(AuditRecord).where(AuditRecord.seq <= last.last_seq))
    session.execute(delete(AuditBatch).where(AuditBatch.number <= last.number))


@contextlib.contextmanager
def any_text(session: Session) -> Iterator[None]:
    """Read texts that are none: on SQLite a column can be made to hold anything, and who checks must not stumble."""
    if session.get_bind().dialect.name != "sqlite":
        yield
        return
    driver: Any = session.connection().connection.driver_connection
    before = driver.text_factory
    driver.text_factory = lambda content: content.decode(errors="surrogateescape")
    try:
        yield
    finally:
        driver.text_factory = before


def _filtered(query: Select[Any], chosen: RecordFilter) -> Select[Any]:
    if chosen.since is not None:
        # A batch is no older than any of its records.
        start = select(func.min(AuditBatch.first_seq)).where(AuditBatch.at >= chosen.since).scalar_subquery()
        query = query.where(AuditRecord.seq >= start, AuditRecord.at >= chosen.since)
    conditions: list[ColumnElement[bool]] = [
        column == value
        for column, value in (
            (AuditRecord.merchant_id, chosen.merchant_id),
            (AuditRecord.client_id, chosen.client_id),
            (AuditRecord.action, chosen.action),
            (AuditRecord.outcome, chosen.outcome),
            (AuditRecord.request_id, chosen.request_id),
        )
        if value is not None
    ]
    if chosen.before is not None:
        conditions.append(AuditRecord.seq < chosen.before)
    if chosen.acts_only:
        conditions.append(AuditRecord.action != ISSUE_TOKEN)
    if (
        chosen.acts_only
        or chosen.but_issued
        or chosen.action not in {None, ISSUE_TOKEN}
        or chosen.outcome not in {None, ISSUED}
    ):
        # Says nothing new, but tells the database that the index of all but issued tokens will do.
        conditions.append(text("outcome <> 'issued'"))  # type: ignore[arg-type] # a condition like others
    return query.where(*conditions)
