"""Bringing a source to the server, as a state machine that sends nothing itself: threads and asyncio run the same one.

First the source is read whole, as a product's SKUs may stand anywhere in it. Then the server tells what changed there
since the last run, and what it has exactly so already is left out. The rest is sent, so many at once.
"""

from collections import deque
from collections.abc import AsyncIterable, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final, TypeVar

from ecross._auth.steps import Pause
from ecross._bulk.entries import Entry, Fault, Seen, digest_of
from ecross._bulk.places import Place, Source
from ecross._bulk.sources import read_entries, read_item
from ecross._bulk.spool import Group, Spool
from ecross._bulk.state import State
from ecross._bulk.subjects import MOST_BYTES, SUBJECTS
from ecross._bulk.tally import Tally, told
from ecross._bulk.workplace import opened
from ecross._catalog_rules import MOST_SKUS
from ecross._operations import Operation
from ecross.errors import (
    EcrossError,
    RateLimitedError,
    ServerError,
    TransportError,
    ValidationError,
)
from ecross.types import Page
from ecross.types.syncs import SyncFault, SyncProgress, SyncReport

T = TypeVar("T")

CHUNK: Final = 500
"""So many lines are read at a time, and so many products are saved together."""
LONGEST_PAUSE_SECONDS: Final = 300.0
LONGEST_SLICE_SECONDS: Final = 1.0
MOST_PAUSES: Final = 5
MOST_FAILURES_IN_A_ROW: Final = 10
STOPPED: Final = "It was stopped."
_TICK: Final = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Perform:
    """Perform a call and give its result; what it raises is raised here."""

    operation: Operation[Page[Seen]]


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to perform a call beside the others."""

    number: int
    operation: Operation[list[Seen]] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Await:
    """Give the number of a call that has ended, and its result or the error that it raised."""


@dataclass(frozen=True, slots=True)
class Pull:
    """Give the next items of a source that only asyncio can read; none at its end."""

    at_most: int


@dataclass(frozen=True, slots=True)
class Tell:
    """Say how far it is."""

    progress: SyncProgress


Step = Perform | Start | Await | Pull | Tell | Pause
Steps = Generator[Step, Any, T]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be brought, and how. `subject` is `catalog` or `stock`."""

    subject: str
    source: Source | AsyncIterable[object]
    place: Place
    at_once: int
    is_dry_run: bool = False
    is_full: bool = False
    should_stop: Callable[[], bool] = lambda: False


@dataclass(slots=True)
class _Job:
    """A group on its way."""

    key: str
    digest: bytes
    ids: list[str]
    lines: list[int]
    removed: int
    operation: Operation[list[Seen]]
    pauses: int = 0


def synchronize(order: Order) -> Steps[SyncReport]:
    """Bring the source to the server. Raises `EcrossError` where nothing, or nothing more, can be sent."""
    try:
        with opened(order.place, order.subject) as (state, spool):
            run = _Run(order, state, spool)
            return (yield from run.steps())
    except _BrokenSourceError as broken:
        error = broken.error
    raise error


class _BrokenSourceError(Exception):
    """Carries what the caller's own source raised past those who take it for theirs: it may be a database's, too."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


class _Run:
    def __init__(self, order: Order, state: State, spool: Spool) -> None:
        self._order = order
        self._subject = SUBJECTS[order.subject]
        self._state = state
        self._spool = spool
        self._tally = Tally(is_dry_run=order.is_dry_run)
        self._total = 0
        self._unsaved = 0
        self._failures_in_a_row = 0
        self._put_off: dict[str, None] = {}

    def steps(self) -> Steps[SyncReport]:
        yield from self._read()
        if not self._is_stopped():
            self._spool.finish("skuId")
            yield from self._compare()
        if not self._is_stopped():
            self._total = self._spool.count_groups()
            self._refuse_faulty()
            self._total += self._tally.refused
            yield from self._send()
            self._tally.absent = sum(not self._spool.has(key) for key in self._state.list_keys())
        return self._tally.report(left_over=max(0, self._total - self._tally.done))

    def _is_stopped(self) -> bool:
        if self._tally.stopped_by is None and self._order.should_stop():
            self._tally.stopped_by = STOPPED
        return self._tally.stopped_by is not None

    def _read(self) -> Steps[None]:
        """Lay the source out."""
        lines = 0
        if isinstance(self._order.source, AsyncIterable):
            while not self._is_stopped() and (items := (yield Pull(CHUNK))):
                for place, item in enumerate(items, lines + 1):
                    self._spool.add(read_item(place, item, self._subject))
                lines += len(items)
                yield Tell(SyncProgress("reading", lines, None))
            return
        entries = read_entries(self._order.source, self._subject)
        while not self._is_stopped() and (chunk := _next_chunk(entries)):
            self._spool.add(chunk)
            lines = chunk[-1].line
            yield Tell(SyncProgress("reading", lines, None))

    def _compare(self) -> Steps[None]:
        """Bring what is known of the server up to date."""
        self._state.begin()
        if self._order.is_full:
            self._state.forget_digests()
        since = None if self._order.is_full else self._state.seen_until
        if since is None or not (yield from self._list(since)):
            self._state.begin_all()
            yield from self._list(None)
        self._state.save()

    def _list(self, since: datetime | None) -> Steps[bool]:
        """Note what the server shows. False: it does not know the time of the last list any more.

        What had the newest date then has it still, or was changed later: a list from just before cannot be empty,
        unless the server has been set back to an older state.
        """
        newest, page_token, entries = since, None, 0
        told_since = None if since is None else (since - _TICK).astimezone(UTC).isoformat().replace("+00:00", "Z")
        while not self._is_stopped():
            page = yield from self._ask(self._subject.list(told_since, page_token))
            for seen in page.items:
                self._state.note(seen)
            dates = [seen.date for seen in page.items if seen.date is not None]
            newest = max([*dates, *([newest] if newest else [])], default=None)
            entries += len(page.items)
            if since is not None and entries == 0:
                return False
            yield Tell(SyncProgress("comparing", entries, None))
            page_token = page.next_page_token
            if page_token is None:
                self._state.finish_list(newest, is_all=since is None)
                break
        return True

    def _ask(self, operation: Operation[Page[Seen]]) -> Steps[Page[Seen]]:
        """A page, once the server's limits allow it."""
        pauses = 0
        while True:
            try:
                page: Page[Seen] = yield Perform(operation)
            except RateLimitedError as error:
                wait = _allowed_pause(error, pauses)
                if wait is None:
                    raise
            else:
                return page
            pauses += 1
            yield from self._wait(wait)

    def _wait(self, seconds: float) -> Steps[None]:
        """Wait, in slices between which it can be stopped."""
        while seconds > 0 and not self._is_stopped():
            yield Pause(min(seconds, LONGEST_SLICE_SECONDS))
            seconds -= LONGEST_SLICE_SECONDS

    def _refuse_faulty(self) -> None:
        for faults in self._spool.orphans():
            self._tally.refuse(None, told(faults))
        for key in self._spool.faulty_groups():
            self._tally.refuse(key, told(self._spool.faults(key)))

    def _send(self) -> Steps[None]:
        """Send what differs. What loses entries to others comes after them: so those are moved, and not deleted."""
        self._state.begin()
        try:
            yield from self._send_all(self._spool.groups())
            yield from self._send_all(self._spool.group(key) for key in self._put_off)
        finally:
            self._state.save()

    def _send_all(self, groups: Iterator[Group]) -> Steps[None]:
        """Send what differs of these, so many at once, and note what came of it."""
        running: dict[int, _Job] = {}
        again: deque[_Job] = deque()
        number = 0
        while True:
            while len(running) < self._order.at_once and not self._is_stopped():
                job = again.popleft() if again else (yield from self._next_job(groups))
                if job is None:
                    break
                number += 1
                running[number] = job
                yield Start(number, job.operation)
            if not running:
                return
            ended, outcome = yield Await()
            job = running.pop(ended)
            pause = self._settle(job, outcome)
            if pause is not None:
                again.append(job)
                yield from self._pause(pause, running, again)
            yield self._tell_sending()

    def _tell_sending(self) -> Tell:
        return Tell(SyncProgress("sending", self._tally.done, self._total, self._tally.refused))

    def _next_job(self, groups: Iterator[Group]) -> Steps[_Job | None]:
        """The next group that is to be sent; the others are counted on the way."""
        passed = 0
        while not self._is_stopped() and (group := next(groups, None)) is not None:
            if group.entries > MOST_SKUS or group.bytes > MOST_BYTES:
                self._refuse(group.key, f"has more than {MOST_SKUS} SKUs, or {MOST_BYTES} bytes")
                continue
            job = self._make_job(group.key, self._spool.entries(group.key))
            if job is not None:
                return job
            passed += 1
            if passed % CHUNK == 0:
                yield self._tell_sending()
        return None

    def _make_job(self, key: str, entries: list[Entry]) -> _Job | None:
        """`None` if the group is not to be sent, or not yet."""
        bodies = [entry.body for entry in entries]
        # Their order means nothing to a product that is there, and an export may give them in any.
        digest = digest_of(sorted(bodies))
        if self._state.has_digest(key, digest):
            self._tally.keep(len(entries))
            return None
        lost = self._state.lost(key, [entry.id for entry in entries])
        moving = [other for id_ in lost if (other := self._spool.key_of(id_)) is not None]
        if self._order.is_dry_run:
            self._judge(key, entries, len(lost) - len(moving))
        elif lost and self._spool.has_orphans():
            self._refuse(
                key, f"was not sent: it would lose {len(lost)} SKUs, and lines that could not be read may hold them"
            )
        elif moving and key not in self._put_off:
            self._put_off[key] = None
        elif any(other not in self._put_off for other in moving):
            self._refuse(key, "was not sent: SKUs of it are to move to another product, which was not taken over")
        else:
            ids, lines = [entry.id for entry in entries], [entry.line for entry in entries]
            return _Job(key, digest, ids, lines, len(lost) - len(moving), self._subject.send(bodies))
        return None

    def _judge(self, key: str, entries: list[Entry], removed: int) -> None:
        faults = self._subject.check([entry.body for entry in entries])
        if faults:
            self._refuse_fields(key, [entry.line for entry in entries], faults)
        else:
            self._tally.send(len(entries), removed)

    def _settle(self, job: _Job, outcome: list[Seen] | EcrossError) -> float | None:
        """Count what became of a job. How long to wait before it is sent again, if it is to be."""
        if not isinstance(outcome, EcrossError):
            self._failures_in_a_row = 0
            self._accept(job, outcome)
            return None
        if isinstance(outcome, ValidationError):
            self._failures_in_a_row = 0
            errors = [(error.path, error.message) for error in outcome.errors] or [("", outcome.message)]
            self._refuse_fields(job.key, job.lines, errors)
            return None
        if isinstance(outcome, RateLimitedError):
            wait = _allowed_pause(outcome, job.pauses)
            if wait is not None:
                job.pauses += 1
                return wait
        elif not isinstance(outcome, (TransportError, ServerError)):
            # Wrong credentials, or a server without such a path: it would be said of all the others as well.
            raise outcome
        self._tally.fail(job.key, job.lines, str(outcome))
        self._failures_in_a_row += 1
        if self._failures_in_a_row >= MOST_FAILURES_IN_A_ROW and self._tally.stopped_by is None:
            self._tally.stopped_by = str(outcome)
        return None

    def _accept(self, job: _Job, answer: list[Seen]) -> None:
        self._tally.send(len(job.ids), job.removed)
        self._state.accept(job.key, job.digest, answer)
        self._unsaved += 1
        if self._unsaved >= CHUNK // 10:
            self._unsaved = 0
            self._state.save()
            self._state.begin()

    def _pause(self, seconds: float, running: dict[int, _Job], again: deque[_Job]) -> Steps[None]:
        """Let those that run end, then wait."""
        while running:
            ended, outcome = yield Await()
            job = running.pop(ended)
            wait = self._settle(job, outcome)
            if wait is not None:
                again.append(job)
                seconds = max(seconds, wait)
        yield from self._wait(seconds)

    def _refuse(self, key: str, message: str) -> None:
        self._tally.refuse(key, [SyncFault(None, "", message)])

    def _refuse_fields(self, key: str, lines: list[int], errors: Sequence[tuple[str, str]]) -> None:
        faults = []
        for path, message in errors:
            place, rest = self._subject.locate(path)
            faults.append(SyncFault(lines[place] if 0 <= place < len(lines) else None, rest, message))
        self._tally.refuse(key, faults)


def _next_chunk(entries: Iterator[Entry | Fault]) -> list[Entry | Fault]:
    try:
        return list(islice(entries, CHUNK))
    except Exception as error:  # noqa: BLE001 - the caller's own, raised to the caller
        broken = _BrokenSourceError(error)
    raise broken


def _allowed_pause(error: RateLimitedError, pauses: int) -> float | None:
    """How long to wait for a limit; `None` if it is not known, too long, or was waited for too often."""
    wait = error.retry_after_seconds
    return None if wait is None or wait > LONGEST_PAUSE_SECONDS or pauses >= MOST_PAUSES else wait
