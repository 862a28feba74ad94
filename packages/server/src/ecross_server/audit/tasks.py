"""The recorder: takes what the token path has to tell, and writes it in small batches in a thread of its own."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy.orm import Session

from ecross_server.audit import rules, service
from ecross_server.audit.errors import TrailTamperedError
from ecross_server.audit.rules import AuditKeys, Draft, TokenEvent
from ecross_server.kit.database import Database
from ecross_server.kit.errors import DomainError, UnavailableError

__all__ = ["AuditRecorder", "TokenEvent"]

Subscriber = Callable[[Session, Sequence[TokenEvent]], None]

LONGEST_WAIT_SECONDS: Final = 0.5
"""What waits longer could be lost in a crash."""

LOOK_SECONDS: Final = 0.05
FULL_BATCH: Final = 1000
"""So many are written at once before their time: more cost as much each, and hold others up for longer."""

MOST_WAITING: Final = 200_000
MOST_SUMS: Final = 200
"""So many kinds of failure a minute have records of their own; the others are told together."""

STOP_SECONDS: Final = 5.0
SETTLE_SECONDS: Final = 1.0
"""An attempt that was begun in time may end after it: what it could not write is counted then, not before."""

PRUNE_SECONDS: Final = 60.0
WITNESS_SECONDS: Final = 1.0
MICROSECONDS: Final = 1_000_000
MICROSECONDS_A_DAY: Final = 86_400 * MICROSECONDS
MALFORMED: Final = "malformed"

log = structlog.get_logger("ecross_server.audit")

Kind = tuple[str | None, str | None, str]
"""Client, address and outcome of failures; without the first two, of all those for which there was no more room."""


class FailureSums:
    """Tells the first failure of each kind in a minute at once, the others as one record when the minute is over."""

    def __init__(self) -> None:
        self._minute = 0
        self._sums: dict[Kind, tuple[int, float]] = {}

    def add(self, event: TokenEvent, keys: AuditKeys) -> list[Draft]:
        """The records that the failure gives rise to now."""
        minute = int(event.at // 60)
        first = _failure(event, keys)
        drafts = []
        # One that is a little late still counts to the present minute; a clock that was set back begins another one.
        if not self._minute - 1 <= minute <= self._minute:
            drafts = self.end()
            self._minute = minute
        kind: Kind = (event.client_id, event.address, event.outcome)
        known = self._sums.get(kind)
        if known is None and len(self._sums) >= MOST_SUMS:
            kind = (None, None, event.outcome)
            known = self._sums.get(kind, (0, 0.0))
        if known is None:
            self._sums[kind] = (0, event.at)
            drafts.append(first)
        else:
            self._sums[kind] = (known[0] + 1, event.at)
        return drafts

    def end_if_over(self, now: float) -> list[Draft]:
        """What is left to tell of a minute that is over."""
        return [] if int(now // 60) == self._minute else self.end()

    def end(self) -> list[Draft]:
        """All that is left to tell."""
        drafts = [_sum(kind, count, at) for kind, (count, at) in list(self._sums.items()) if count]
        self._sums.clear()
        return drafts


class AuditRecorder:
    """Writes what the token path tells it. `record` may be called from any thread at any time.

    `written` and `lost` count events, `lost_by_outcome` tells what they were. `keys` may be replaced at any time.
    `after_writing` is called in its thread each time that something is written.
    """

    def __init__(
        self,
        database: Database,
        *,
        keys: AuditKeys,
        witness_file: Path | None = None,
        retention_days: int = 0,
        subscribers: Sequence[Subscriber] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.keys = keys
        self.after_writing: Callable[[], None] = lambda: None
        self.written = 0
        self.lost_by_outcome: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._telling: Counter[str] = Counter()
        self._lost_elsewhere: deque[Mapping[str, int]] = deque()
        self._database = database
        self._witness_file = witness_file
        self._retention_days = retention_days
        self._subscribers = subscribers
        self._clock = clock
        self._waiting: deque[TokenEvent] = deque()
        self._sums = FailureSums()
        # What is being written: kept until it is.
        self._drafts: list[Draft] = []
        self._issued: list[TokenEvent] = []
        self._taken = 0
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._deadline = 0.0
        self._witness_at = 0.0
        self._prune_at = 0.0
        self._failing: set[str] = set()

    @property
    def backlog(self) -> int:
        """How many events are still to be written."""
        return len(self._waiting) + self._taken

    @property
    def lost(self) -> int:
        """How many events were never written."""
        return self.lost_by_outcome.total()

    @property
    def untold(self) -> Counter[str]:
        """The losses, also those elsewhere, that are still to be recorded."""
        untold = Counter(dict(self.lost_by_outcome)) - Counter(dict(self._told)) + self._telling
        for outcomes in list(self._lost_elsewhere):
            untold.update(outcomes)
        return untold

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def record(self, event: TokenEvent) -> None:
        """Take the event. Costs next to nothing, never waits, never fails."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(event)
        else:
            self.lost_by_outcome[event.outcome] += 1

    def tell_loss(self, outcomes: Mapping[str, int]) -> None:
        """Record that so many events were lost on their way here. They are not counted: whoever lost them does that."""
        self._lost_elsewhere.append(outcomes)

    def start(self) -> None:
        """Begin to write."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Write all that is left, for so long at most; what cannot be written is counted and logged as lost."""
        if self._thread is None:
            return
        self._deadline = time.monotonic() + seconds
        self._stopping.set()
        self._thread.join(seconds + SETTLE_SECONDS)
        self._thread = None
        left = Counter(event.outcome for event in list(self._waiting))
        for draft in [*self._drafts, *self._sums.end()]:
            if draft.action == rules.ISSUE_TOKEN:
                left[draft.outcome] += json.loads(draft.details or "{}").get("count", 1)
        if left:
            self.lost_by_outcome.update(left)
            log.error("audit_events_lost", count=left.total(), outcomes=dict(left))

    def _run(self) -> None:
        written_at = time.monotonic()
        while not self._stopping.wait(LOOK_SECONDS):
            now = time.monotonic()
            is_full = len(self._waiting) >= FULL_BATCH and "write" not in self._failing
            if is_full or now - written_at >= LONGEST_WAIT_SECONDS:
                written_at = now
                self._guarded("write", self._write_waiting)
            if now >= self._witness_at:  # also for what others have recorded: acts over HTTP
                self._witness_at = now + WITNESS_SECONDS
                self._guarded("witness", self._look_after_witness)
            if self._retention_days and now >= self._prune_at:
                self._prune_at = now + PRUNE_SECONDS
                self._guarded("prune", self._prune)
        while not self._guarded("write", self._write_all) and time.monotonic() < self._deadline:
            time.sleep(LOOK_SECONDS)
        self._guarded("witness", self._look_after_witness)

    def _guarded(self, what: str, act: Callable[[], None]) -> bool:
        """Whether the act succeeded. A thread that ended would leave a service that looks healthy."""
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt may succeed
            self._tell_failure(what, error)
            return False
        if what in self._failing:
            self._failing.discard(what)
            with suppress(Exception):
                log.info("audit_recovered", part=what, lost=self.lost)
        return True

    def _tell_failure(self, what: str, error: Exception) -> None:
        if what not in self._failing:
            self._failing.add(what)
            known = isinstance(error, DomainError)
            with suppress(Exception):  # a log that cannot be written ends nothing either
                reason = str(error) if known else None
                log.error("audit_failed", part=what, reason=reason, exc_info=None if known else error)

    def _write_all(self) -> None:
        """Everything, sums included."""
        self._write_waiting()
        self._drafts += self._sums.end()
        self._write()

    def _write_waiting(self) -> None:
        """All that was waiting at the beginning."""
        for _ in range(len(self._waiting) // FULL_BATCH + 1):
            self._write()  # what an earlier attempt could not
            self._take()
            self._write()

    def _take(self) -> None:
        lost = Counter(dict(self.lost_by_outcome)) - self._told
        self._told += lost
        while self._lost_elsewhere:
            lost.update(self._lost_elsewhere.popleft())
        self._telling = lost
        if lost:
            self._drafts.append(_loss(_microseconds(self._clock()), lost))
        for _ in range(min(FULL_BATCH, len(self._waiting))):
            event = self._waiting.popleft()
            try:
                if event.outcome == rules.ISSUED:
                    self._drafts.append(_issue(event))
                    self._issued.append(event)
                else:
                    self._drafts += self._sums.add(event, self.keys)
                self._taken += 1
            except (TypeError, ValueError, AttributeError, OverflowError):  # one that is none must not stop the others
                self.lost_by_outcome[MALFORMED] += 1
        self._drafts += self._sums.end_if_over(self._clock())

    def _write(self) -> None:
        if self._drafts:
            try:
                self._write_in_one(self._subscribers)
            except (UnavailableError, TrailTamperedError):
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, it must not stop all records for good
                self._tell_failure("batch", error)
                self._write_what_is_sound()
            else:
                self._failing.discard("batch")
        self.written += self._taken
        self._taken = 0
        self._telling = Counter()
        self._drafts.clear()
        self._issued.clear()
        self.after_writing()

    def _write_what_is_sound(self) -> None:
        """A subscriber's fault costs what it would have done, and what is no record is left out and counted."""
        sound = [draft for draft in self._drafts if rules.is_sound(draft)]
        if len(sound) < len(self._drafts):
            self.lost_by_outcome[MALFORMED] += len(self._drafts) - len(sound)
        self._drafts = sound
        if sound:
            self._write_in_one(())

    def _write_in_one(self, subscribers: Sequence[Subscriber]) -> None:
        with self._database.write() as session:
            if self._issued:
                for tell in subscribers:
                    tell(session, self._issued)
            service.append(session, self._drafts, self.keys, now=_microseconds(self._clock()))

    def _prune(self) -> None:
        before = _microseconds(self._clock()) - self._retention_days * MICROSECONDS_A_DAY
        with self._database.write() as session:
            if service.prune(session, self.keys, before=before):
                self._prune_at = 0.0  # there may be more

    def _look_after_witness(self) -> None:
        if self._witness_file is not None:
            service.keep_witness(self._database, self._witness_file)


def _microseconds(seconds: float) -> int:
    return int(seconds * MICROSECONDS)


def _issue(event: TokenEvent) -> Draft:
    at, _, client_id, merchant_id, address, request_id, secret_id, token_id, _ = event
    fields = (
        int(at * MICROSECONDS), client_id or rules.ANONYMOUS, rules.ISSUE_TOKEN, merchant_id, client_id, rules.ISSUED,
        address, request_id, token_id, secret_id, None,
    )  # fmt: skip
    return tuple.__new__(Draft, fields)  # as `Draft(...)` in a third of the time, for what there is most of


def _failure(event: TokenEvent, keys: AuditKeys) -> Draft:
    told = {} if event.evidence is None else {"secretFingerprint": rules.fingerprint(keys, event.evidence)}
    return Draft(
        _microseconds(event.at), event.client_id or rules.ANONYMOUS, rules.ISSUE_TOKEN, event.merchant_id,
        event.client_id, event.outcome, event.address, event.request_id, None, event.secret_id, rules.details_of(told),
    )  # fmt: skip


def _sum(kind: Kind, count: int, at: float) -> Draft:
    client_id, address, outcome = kind
    values = {"count": count} | ({"of": "other clients and addresses"} if address is None else {})
    return Draft(
        _microseconds(at), client_id or rules.ANONYMOUS, rules.ISSUE_TOKEN, None, client_id, outcome, address,
        None, None, None, rules.details_of(values),
    )  # fmt: skip


def _loss(now: int, lost: Counter[str]) -> Draft:
    return Draft(now, rules.RECORDER, rules.LOSE, None, None, "lost", None, None, None, None, rules.details_of(lost))
