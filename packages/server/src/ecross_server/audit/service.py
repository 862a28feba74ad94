"""What is done with the audit trail: record, read, check, and let go of what is too old.

Records are appended in batches, each a link of one chain. All processes and machines append to the same one: they take
turns, and whoever appends takes that lock as the last of its transaction.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from sqlalchemy import event
from sqlalchemy.orm import Session

from ecross_server.audit import repository, rules
from ecross_server.audit.errors import TrailTamperedError
from ecross_server.audit.repository import RecordFilter
from ecross_server.audit.rules import Actor, AuditKeys, Batch, Draft, Mark, Row
from ecross_server.kit.clock import parse_instant, utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import DomainError, UnavailableError
from ecross_server.kit.private_files import UnsafeFileError, read_private_json, remove_leftovers, write_private_file

__all__ = ["Actor", "AuditKeys", "RecordFilter"]  # what callers pass

log = structlog.get_logger("ecross_server.audit")

ACTS: Final = "ecross_server.audit"
ACTS_AT_ONCE: Final = 1000
TURN_ATTEMPTS: Final = 100
TURN_SECONDS: Final = 0.02
PRUNED_BATCHES: Final = 1000
PRUNED_RECORDS: Final = 5000
ACTION: Final = 1 + Draft._fields.index("action")


class Record(NamedTuple):
    """A record with its number and its hash, which follows from the batch's."""

    seq: int
    draft: Draft
    hash: str | None


class Source(NamedTuple):
    """An address that so many records' requests came from, the first and the last of them."""

    address: str
    records: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class Witness:
    """How far the chain went when this machine last looked."""

    number: int
    hash: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check of the whole chain found. `first_bad` is the first record that is not as it was written."""

    count: int
    first_bad: int | None
    reason: str | None
    pruned_through: int
    unchecked: int
    missing_keys: tuple[str, ...]
    has_witness: bool

    @property
    def is_ok(self) -> bool:
        """Whether all is as it was written."""
        return self.first_bad is None


def record_act(
    session: Session,
    *,
    actor: Actor,
    action: str,
    merchant_id: str | None = None,
    client_id: str | None = None,
    secret_id: str | None = None,
    outcome: str = "done",
    now: datetime | None = None,
    **details: object,
) -> None:
    """Record an act in the caller's transaction, at its end: without the act there is no record, nor the reverse.

    Raises:
        RuntimeError: inside a savepoint, which could be undone without the record.
    """
    if session.in_nested_transaction():
        raise RuntimeError("an act is recorded outside of savepoints")
    draft = Draft(
        microseconds(now or utc_now()), actor.name, action, merchant_id, client_id, outcome,
        actor.address, actor.request_id, None, secret_id, rules.details_of(details),
    )  # fmt: skip
    if ACTS not in session.info:
        session.info[ACTS] = []
        # At the end, because the chain's lock is the last one that a transaction takes.
        event.listen(session, "before_commit", _append_acts)
        event.listen(session, "after_rollback", _forget_acts)
    session.info[ACTS].append((draft, actor.keys))


def append_act(session: Session, *, actor: Actor, action: str, **details: object) -> None:
    """Record an act at once, where the transaction is committed by other means than the session's."""
    at = microseconds(utc_now())
    draft = Draft(
        at, actor.name, action, None, None, "done", actor.address, actor.request_id, None, None,
        rules.details_of(details),
    )  # fmt: skip
    append(session, [draft], actor.keys, now=at)


def append(session: Session, drafts: Sequence[Draft], keys: AuditKeys, *, now: int) -> None:
    """Append a link to the chain. `now` is in microseconds."""
    repository.begin_appending(session)
    head = repository.find_mark(session, rules.HEAD)
    if head is None or rules.is_genuine(keys, head) is False:
        # Nobody is kept from acting, but to sign what follows would make a cut end whole again: the trail itself tells
        # of it, for as long as it lasts.
        head = repository.find_end(session)
        details = rules.details_of({"after": head.seq})
        broken = Draft(now, rules.RECORDER, rules.BREAK, None, None, "tampered", None, None, None, None, details)
        drafts = [broken, *drafts]
    rows, rows_json = rules.rows_of(drafts, head.seq + 1)
    at = max(now, *(draft.at for draft in drafts))
    batch = Batch(head.number + 1, head.seq + 1, len(rows), at, keys.current, head.hash, b"")
    made = rules.batch_hash(keys, batch, head.batch_key_id, rows_json)
    batch = batch._replace(hash=made or b"")
    repository.add_batch(session, batch, rows, rows_json)
    repository.set_mark(session, rules.signed_mark(keys, rules.HEAD, batch))
    if head.key_id != keys.current:
        _renew_anchor(session, keys, repository.find_mark(session, rules.ANCHOR))


def log_unrecorded(error: DomainError, action: str) -> None:
    """Tell the log that an act is done which the trail has as begun."""
    log.error("act_recorded_as_begun_only", action=action, reason=error.message)


@contextlib.contextmanager
def recording_file_change(
    database: Database,
    actor: Actor,
    action: str,
    on_unrecorded: Callable[[DomainError, str], None] = log_unrecorded,
) -> Iterator[Callable[..., None]]:
    """Gives what must be called, with the details, just before a file is changed.

    No transaction holds a file and the audit trail together. So the trail has such an act as begun before it happens,
    then as done or failed: whatever is killed, no act is without a record. Where the act is done and the trail cannot
    be told, `on_unrecorded` is.

    Raises:
        DatabaseAwayError: from what is called, if the database does not answer; the file must not be changed then.
    """
    begun: dict[str, Any] = {}

    def record(outcome: str, details: dict[str, Any]) -> None:
        with database.write() as session:
            record_act(session, actor=actor, action=action, outcome=outcome, **details)

    def begin(**details: object) -> None:
        record("begun", details)
        begun.update(details)

    try:
        yield begin
    except DomainError:
        if begun:
            with contextlib.suppress(DomainError):
                record("failed", begun)
        raise
    try:
        record("done", begun)
    except DomainError as error:
        on_unrecorded(error, action)


def list_records(session: Session, chosen: RecordFilter, limit: int | None = None) -> Iterator[Record]:
    """The chosen records in their order, the newest last; with a limit, no more than the newest of them."""
    with repository.any_text(session):
        for row, batch_hash in repository.stream_records(session, chosen, limit):
            yield Record(row[0], Draft._make(row[1:]), rules.record_hash(batch_hash, row))


def list_sources(session: Session, chosen: RecordFilter) -> list[Source]:
    """From where the chosen records' requests came; what does not say where is left out."""
    with repository.any_text(session):
        return [
            Source(address, count, _instant(first), _instant(last))
            for address, count, first, last in repository.count_addresses(session, chosen)
            if address
        ]


def verify(session: Session, keys: AuditKeys, witness: Witness | None = None) -> Verdict:
    """Check every record and every link, both ends, and that the chain goes as far as the witness has seen it."""
    with (
        repository.any_text(session),
        contextlib.closing(repository.stream_batches(session)) as batches,
        contextlib.closing(repository.stream_rows(session)) as rows,
    ):
        return _Check(session, keys, witness, batches, rows).run()


def prune(session: Session, keys: AuditKeys, *, before: int) -> int:
    """Remove the oldest batches whose time is before the instant, a few at a time; how many records went.

    What is removed is checked first: signing that it was rightly removed would hide what was done to it.

    Raises:
        TrailTamperedError: if the chain's beginning is not as it was written; nothing is removed then.
    """
    repository.begin_appending(session)
    anchor = repository.get_mark(session, rules.ANCHOR)
    _renew_anchor(session, keys, anchor)
    batches = repository.list_batches(session, anchor.number, PRUNED_BATCHES)
    if not batches or batches[0].at >= before:
        return 0
    if not rules.is_genuine(keys, anchor):
        raise TrailTamperedError
    last: Batch | Mark = anchor
    removed = 0
    vouched_before = 0
    for batch in batches:
        if batch.at >= before or removed >= PRUNED_RECORDS:
            break
        if not _follows(batch, last):
            raise TrailTamperedError
        if batch.key_id in keys.chain:
            _require_as_written(session, keys, batch, last)
        elif batch.number >= vouched_before:
            vouched_before = _find_voucher(session, keys, batch, before)
            if not vouched_before:
                break
        removed += batch.size
        last = batch
    if isinstance(last, Batch):
        repository.remove_through(session, last)
        repository.set_mark(session, rules.signed_mark(keys, rules.ANCHOR, last))
    return removed


def keep_witness(database: Database, path: Path) -> None:
    """Bring this machine's witness of the chain's end up to date; it never goes back.

    Raises:
        TrailTamperedError: if the chain is not what the witness has seen: it stays as it was, to prove it.
        UnavailableError: if file or database cannot be read or written.
    """
    with _one_at_a_time(path.parent):
        known = read_witness(path)
        with database.read() as session:
            head = repository.get_mark(session, rules.HEAD)
            if known is not None and not _agrees(session, known, head):
                raise TrailTamperedError
        if head.number > (known.number if known else 0):
            remove_leftovers(path)
            content = {"number": head.number, "seq": head.seq, "hash": head.hash.hex()}
            write_private_file(path, json.dumps(content) + "\n")


def read_witness(path: Path) -> Witness | None:
    """This machine's witness; `None` if there is none yet.

    Raises:
        UnavailableError, UnsafeFileError: if the file cannot be used.
    """
    if not os.path.lexists(path):
        return None
    content = read_private_json(path)
    number, value = content.get("number"), content.get("hash")
    if not isinstance(number, int) or not isinstance(value, str):
        raise UnsafeFileError(f"The file {path} does not hold the audit trail's end. Restore it from a backup.")
    return Witness(number, value)


def read_since(text: str | None) -> int | None:
    """What a filter takes as `since`, from what somebody has typed; `None` for all there is.

    Raises:
        InvalidInputError: if it is no instant.
    """
    return None if text is None else microseconds(parse_instant(text, "since"))


def microseconds(instant: datetime) -> int:
    """An instant as records hold it."""
    return int(instant.timestamp()) * 1_000_000 + instant.microsecond


def _instant(at: int) -> datetime:
    """The same the other way round, to the millisecond."""
    return datetime.fromtimestamp(at // 1000 / 1000, UTC)


def _append_acts(session: Session) -> None:
    acts = session.info[ACTS]
    if session.in_nested_transaction():
        return
    for start in range(0, len(acts), ACTS_AT_ONCE):
        some = acts[start : start + ACTS_AT_ONCE]
        append(session, [draft for draft, _ in some], some[-1][1], now=some[-1][0].at)
    acts.clear()


def _forget_acts(session: Session) -> None:
    session.info[ACTS].clear()


def _renew_anchor(session: Session, keys: AuditKeys, anchor: Mark | None) -> None:
    """Sign the anchor under the current key: the one that it was signed under may be removed some day."""
    if anchor is not None and anchor.key_id not in {"", keys.current} and rules.is_genuine(keys, anchor):
        repository.set_mark(session, rules.signed_again(keys, anchor))


def _follows(batch: Batch, last: Batch | Mark) -> bool:
    """Whether the batch is the next one, and of a size that can be read."""
    return (
        batch.number == last.number + 1
        and batch.first_seq == _last_seq(last) + 1
        and 1 <= batch.size <= rules.MOST_RECORDS
        and batch.previous_hash == last.hash
    )


def _require_as_written(session: Session, keys: AuditKeys, batch: Batch, last: Batch | Mark) -> None:
    rows = repository.list_rows(session, batch, rules.MOST_RECORDS)
    if rules.batch_hash(keys, batch, _batch_key_id(last), rules.rows_json(rows)) != batch.hash:
        raise TrailTamperedError


def _find_voucher(session: Session, keys: AuditKeys, batch: Batch, before: int) -> int:
    """The number of a later batch that can be checked and is old as well, for one whose key is gone; 0 without any.

    It vouches for the name of the key before it, so nobody can pass a batch off as one that cannot be checked.
    """
    later = repository.find_first_batch_of(session, keys.chain, batch.number)
    if later is None or later.at >= before:
        return 0
    between = repository.find_batch(session, later.number - 1)
    if between is None or not _follows(later, between):
        raise TrailTamperedError
    _require_as_written(session, keys, later, between)
    return later.number


def _batch_key_id(last: Batch | Mark) -> str:
    return last.key_id if isinstance(last, Batch) else last.batch_key_id


def _agrees(session: Session, known: Witness, head: Mark) -> bool:
    if known.number > head.number:
        return False
    batch = repository.find_batch(session, known.number)
    if batch is not None:
        return batch.hash.hex() == known.hash
    return known.number <= repository.get_mark(session, rules.ANCHOR).number


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Two processes that looked at once could put the older state in the place of the newer one."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise UnavailableError(f"The folder {folder} cannot be read: {error.strerror}.") from None
    try:
        for _ in range(TURN_ATTEMPTS):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(TURN_SECONDS)
        else:
            raise UnavailableError(f"Another process keeps the folder {folder} locked.")
        yield
    finally:
        os.close(descriptor)


class _BadError(Exception):
    def __init__(self, seq: int, reason: str) -> None:
        super().__init__(reason)
        self.seq = seq


class _Check:
    """One walk along the chain, in memory that does not grow with it."""

    def __init__(
        self,
        session: Session,
        keys: AuditKeys,
        witness: Witness | None,
        batches: Iterator[Batch],
        rows: Iterator[Row],
    ) -> None:
        self._session = session
        self._keys = keys
        self._witness = witness
        self._batches = batches
        self._rows = rows
        self._ahead = next(rows, None)
        self._count = 0
        self._unchecked = 0
        self._missing: set[str] = set()

    def run(self) -> Verdict:
        first_bad, reason, pruned_through = None, None, 0
        try:
            anchor = repository.get_mark(self._session, rules.ANCHOR)
            head = repository.get_mark(self._session, rules.HEAD)
            pruned_through = anchor.seq
            self._walk(anchor, head)
        except TrailTamperedError:
            first_bad, reason = 1, "the mark of an end of the chain is missing"
        except _BadError as error:
            first_bad, reason = error.seq, str(error)
        return Verdict(
            self._count, first_bad, reason, pruned_through, self._unchecked, tuple(sorted(self._missing)),
            self._witness is not None,
        )  # fmt: skip

    def _walk(self, anchor: Mark, head: Mark) -> None:
        is_genuine = rules.is_genuine(self._keys, anchor)
        if is_genuine is False:
            raise _BadError(1, "the mark of the chain's beginning is not as it was written")
        if is_genuine is None:
            raise _BadError(1, "the key of the chain's beginning is missing: nobody can tell what was removed there")
        self._compare_witness(anchor.number, anchor.hash, anchor.seq)
        last: Batch | Mark = anchor
        for batch in self._batches:
            try:
                self._check_batch(batch, last)
            except (TypeError, AttributeError):  # somebody has put in a column what is of another kind
                raise _BadError(_last_seq(last) + 1, "a batch is not as it was written") from None
            self._compare_witness(batch.number, batch.hash, batch.first_seq)
            last = batch
        if self._ahead is not None:
            raise _BadError(self._ahead[0], "a record was added, or its batch is missing")
        self._check_head(head, last)

    def _check_batch(self, batch: Batch, last: Batch | Mark) -> None:
        if not _follows(batch, last):
            raise _BadError(_last_seq(last) + 1, "a batch is missing, added or not in its place")
        rows: list[Row] = []
        for seq in range(batch.first_seq, batch.last_seq + 1):
            if self._ahead is None or self._ahead[0] != seq:
                raise _BadError(seq, "a record is missing, added or not in its place")
            rows.append(self._ahead)
            if self._ahead[ACTION] == rules.BREAK:
                raise _BadError(seq, "what came before was cut or changed when this record was written")
            self._ahead = next(self._rows, None)
        made = rules.batch_hash(self._keys, batch, _batch_key_id(last), rules.rows_json(rows))
        if made is None:
            self._unchecked += batch.size
            self._missing.add(batch.key_id)
        elif made != batch.hash:
            raise _BadError(batch.first_seq, f"one of the {batch.size} records from here is not as it was written")
        self._count += batch.size

    def _check_head(self, head: Mark, last: Batch | Mark) -> None:
        end = _last_seq(last)
        is_genuine = rules.is_genuine(self._keys, head)
        if is_genuine is None:
            raise _BadError(end, "the key of the chain's end is missing: nobody can tell whether it was cut")
        if not is_genuine:
            raise _BadError(end + 1, "the mark of the chain's end is not as it was written")
        if head[1:5] != (last.number, end, last.hash, _batch_key_id(last)):
            raise _BadError(end + 1, "the chain's end was cut")
        if self._witness is not None and self._witness.number > head.number:
            raise _BadError(end + 1, "the database is behind the witness: it is an older one, or its end was cut")

    def _compare_witness(self, number: int, value: bytes, seq: int) -> None:
        if self._witness is not None and self._witness.number == number and self._witness.hash != value.hex():
            raise _BadError(seq, "the database is not the one that the witness has seen")


def _last_seq(last: Batch | Mark) -> int:
    return last.last_seq if isinstance(last, Batch) else last.seq
