"""Pure rules of jobs: what one may hold, how long it may take, and what follows when it fails."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final

from ecross_server.jobs.errors import PayloadError
from ecross_server.kit.errors import DomainError

Payload = Mapping[str, str | int | bool | None]
"""Small and flat: ids and revisions, never a secret."""

MOST_PAYLOAD_BYTES: Final = 4096
LONGEST_KIND: Final = 60
LONGEST_KEY: Final = 260
LONGEST_ERROR: Final = 120
KIND: Final = re.compile(r"[a-z_]+\.[a-z_]+")

UNKEPT: Final = frozenset(map(chr, [0, *range(0xD800, 0xE000)]))
"""No database keeps these characters."""

BEGUN_BEFORE: Final = "-"
"""The claim of a job that was begun before and is nobody's now. It is no fresh one: a newer job of its key may wait."""

PROCESS_ENDED: Final = "process_ended"
"""The error of a job whose process was killed, or ended over its limit."""

LEASE_LIMITS: Final = 2.0
"""A claim holds for so many limits of its kind: who is over the limit is ended long before another one takes over."""

MOST_DOUBLINGS: Final = 60
"""More are beyond any longest delay."""


class Urgency(IntEnum):
    """What comes first of the jobs that are due; of one urgency, what is due for the longest time."""

    URGENT = 0
    """Few and short: what shoppers would notice, and one job for any number of changes."""
    SOON = 1
    """Somebody is watching."""
    USUAL = 2


TURNS: Final = (Urgency.URGENT, Urgency.SOON, Urgency.URGENT, Urgency.SOON, Urgency.USUAL)
"""What is looked for first, run by run. Where all urgencies wait, each one has its share: none can stop another."""


def looked_for(first: Urgency) -> tuple[Urgency, ...]:
    """In which order jobs are looked for in such a turn."""
    return first, *(urgency for urgency in Urgency if urgency != first)


@dataclass(frozen=True, slots=True)
class Policy:
    """How often a job is tried, how long a run may take, and the time between runs, which doubles.

    `most_along` is among how many that come next a job finds others to be done with it, see `Finish.take_along`. While
    at least `rush` jobs of the kind and urgency are to come within a second, those that are due wait for a lull, and
    for `patience_seconds` at most; 0 waits for nothing.
    """

    most_attempts: int = 8
    limit_seconds: float = 30.0
    most_along: int = 0
    rush: int = 0
    patience_seconds: float = 10.0
    first_delay_seconds: float = 1.0
    longest_delay_seconds: float = 3600.0

    @property
    def lease(self) -> timedelta:
        """How long a claim holds."""
        return timedelta(seconds=LEASE_LIMITS * self.limit_seconds)

    def may_wait(self, due_at: datetime, now: datetime) -> bool:
        """Whether a job that is due since then may wait for a lull."""
        return bool(self.rush) and (now - due_at).total_seconds() < self.patience_seconds

    def delay_seconds(self, attempts: int, random: Callable[[], float]) -> float:
        """The time until the next attempt; a random half of it keeps jobs that failed together from coming together."""
        whole = self.first_delay_seconds * 2.0 ** min(attempts - 1, MOST_DOUBLINGS)
        whole = min(whole, self.longest_delay_seconds)
        return whole / 2 + whole / 2 * random()


@dataclass(frozen=True, slots=True)
class Job:
    """A job that is being run: this is its attempt number `attempts`."""

    id: int
    kind: str
    key: str | None
    payload: Payload
    attempts: int
    claim: str
    next_alike: Sequence[tuple[int, str]] = ()
    """The numbers and keys of those of its kind that came next when it was claimed; they are nobody's yet."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to be queued, its payload as JSON."""

    kind: str
    key: str | None
    payload: str
    created_at: datetime
    due_at: datetime
    urgency: Urgency

    def merged_with(self, newer: NewJob) -> NewJob:
        """One job for both: the newer's payload, at the earlier of both times, as the more urgent of both."""
        due_at, urgency = min(self.due_at, newer.due_at), min(self.urgency, newer.urgency)
        return NewJob(self.kind, self.key, newer.payload, self.created_at, due_at, urgency)


def check_name(kind: str, key: str | None) -> None:
    """Refuse what cannot name a job.

    Raises:
        PayloadError: saying which of both.
    """
    if len(kind) > LONGEST_KIND or not KIND.fullmatch(kind):
        raise PayloadError("kind", f"must look like domain.act, of at most {LONGEST_KIND} characters")
    if key is not None and not (1 <= len(key) <= LONGEST_KEY and UNKEPT.isdisjoint(key)):
        raise PayloadError("key", f"must have 1 to {LONGEST_KEY} characters that a database keeps")


def encode_payload(payload: Payload) -> str:
    """The payload as JSON.

    Raises:
        PayloadError: naming the field that is no text, whole number, truth or nothing; or if all are too long.
    """
    given: Mapping[str, object] = payload
    for name, value in given.items():
        if value is not None and not isinstance(value, (str, int)):
            raise PayloadError(f"payload.{name}", "must be a text, a whole number, true, false or null")
    text = json.dumps(dict(payload), separators=(",", ":"))
    if len(text) > MOST_PAYLOAD_BYTES:  # all of it is ASCII
        raise PayloadError("payload", f"must not be longer than {MOST_PAYLOAD_BYTES} bytes of JSON")
    return text


def error_name(error: Exception) -> str:
    """What is kept of an error: its class and code. Its text may hold what nobody should read."""
    code = f" {error.code}" if isinstance(error, DomainError) else ""
    return f"{type(error).__name__}{code}"[:LONGEST_ERROR]
