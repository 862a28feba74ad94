"""The state machine: which steps lead from what is known to a token that is good. It performs none of them."""

import logging
import os
from collections.abc import Callable, Generator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar

from ecross._auth.account import Account, Held
from ecross._auth.answers import Grant, TokenAnswer, read_grant, read_skew
from ecross._auth.entry import (
    MAX_REFUSAL_SECONDS,
    CachedToken,
    Entry,
    Refusal,
    SecretEnd,
    decode,
    digest_secret,
    encode,
)
from ecross._auth.steps import AskForToken, Pause, ReadEntry, Step, TryLock, Unlock, WriteEntry
from ecross.errors import (
    ApiError,
    CacheError,
    EcrossError,
    InvalidCredentialsError,
    RateLimitedError,
    ServerError,
    TransportError,
)
from ecross.types import AccessToken

T = TypeVar("T")
Flow = Generator[Step, Any, T]

CREDENTIALS_REFUSED_SECONDS = 60.0

_EARLIEST_REFRESH, _LATEST_REFRESH = 0.75, 0.9
# Set aside at the end of a life for the way of a request to the server.
_MOST_MARGIN_SECONDS, _MARGIN_SHARE = 5.0, 0.01
# An entry from further ahead was written before the clock was set back, so its age is not known.
_CLOCK_TOLERANCE_SECONDS = 60.0
_UNTOLD_RETRY_AFTER_SECONDS = 5.0
_SMALLEST_POLL_SECONDS, _LARGEST_POLL_SECONDS = 0.02, 0.08
_FIRST_RENEWAL_BACKOFF_SECONDS, _LONGEST_RENEWAL_BACKOFF_SECONDS = 5.0, 300.0

_SMALLEST_JITTER_SECONDS, _JITTER_SHARE = 0.1, 0.1
_SERVER_ERRORS = 500
_EPOCH = datetime.fromtimestamp(0, UTC)

_log = logging.getLogger("ecross")


@dataclass(frozen=True, slots=True)
class Clocks:
    """Time and chance, as arguments: seconds since the epoch, seconds that only go forward, a number from 0 to 1."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    random: Callable[[], float]


def backoff_seconds(failures: int, random: float, *, first: float = 0.5, longest: float = 8.0) -> float:
    """How long to wait after so many failures (from 1): exponential, with full jitter."""
    return random * min(longest, first * 2.0 ** min(failures - 1, 30))


@dataclass(frozen=True)
class TokenLife:
    """The state machine for one client's credentials. Its flows change the account that they are given."""

    client_secret: str = field(repr=False)
    clocks: Clocks = field(repr=False)
    patience_seconds: float
    max_retries: int
    _digests: dict[bytes, bytes] = field(default_factory=dict, init=False, repr=False)

    def obtain(self, account: Account, *, rejected: str | None, is_forced: bool = False) -> Flow[Held | None]:
        """A token that is good and not the rejected one; `None` if others held the lock for longer than the patience.

        `is_forced`: another one than the cache holds at the beginning, too, which stays there until there is one.

        Raises `InvalidCredentialsError`, `RateLimitedError`, another `ApiError`, or `TransportError`.
        """
        return _Obtaining(self, account, rejected, is_forced=is_forced).run()

    def renew(self, account: Account) -> Flow[None]:
        """Take a newer token than the one held, from the cache or the server. Failing only puts off the next try."""
        if not (yield from self.try_lock()):
            self._put_off(account, 1.0 + 2.0 * self.clocks.random())
            return
        entry = yield from self.read()
        rejected = account.rejected
        held = self.adopt(account, entry, rejected=None if rejected is None else rejected.value)
        wall, monotonic = self.clocks.wall(), self.clocks.monotonic()
        if held is not None and not held.is_due(wall, monotonic):
            yield Unlock()
            return
        refusal = self.refusal_of(entry)
        outcome: Grant | EcrossError
        if refusal is not None:
            self._put_off(account, self.remaining(entry, refusal))
        else:
            entry, outcome = yield from self.ask(entry)
            if isinstance(outcome, Grant):
                self.hold_granted(account, entry)
            else:
                entry = self._after_failed_renewal(account, entry)
            yield from self.write(entry)
        yield Unlock()

    def _after_failed_renewal(self, account: Account, entry: Entry) -> Entry:
        failures = min(entry.failures + 1, 100)
        pause = backoff_seconds(
            failures,
            0.5 + self.clocks.random() / 2,
            first=_FIRST_RENEWAL_BACKOFF_SECONDS,
            longest=_LONGEST_RENEWAL_BACKOFF_SECONDS,
        )
        if entry.refusal is not None:
            pause = max(pause, self.remaining(entry, entry.refusal))
        self._put_off(account, pause)
        token = entry.token
        if token is not None:
            again_at = max(token.obtained_at, self.server_time(entry) + pause)
            token = replace(token, refresh_at=min(again_at, token.expires_at))
        return replace(entry, failures=failures, token=token)

    def _put_off(self, account: Account, seconds: float) -> None:
        account.renew_not_before = self.clocks.monotonic() + seconds

    def adopt(self, account: Account, entry: Entry, *, rejected: str | None) -> Held | None:
        """Hold the entry's token in memory, if it is good and not the rejected one."""
        token = entry.token
        if token is None or token.value == rejected:
            return None
        wall, monotonic = self.clocks.wall(), self.clocks.monotonic()
        if wall + entry.skew_seconds < token.obtained_at - _CLOCK_TOLERANCE_SECONDS:
            return None
        held = self._measure(token, entry, wall, monotonic)
        before = account.held
        if before is not None and before.token.value == token.value:
            # A clock that was set back does not make the same token younger.
            held = replace(held, expiry_monotonic=min(held.expiry_monotonic, before.expiry_monotonic))
        if held.is_over(wall, monotonic):
            return None
        account.held = held
        return held

    def hold_granted(self, account: Account, entry: Entry) -> Held | None:
        """Hold a token that has just been issued, whatever it is: asking again at once would not give a better one."""
        if entry.token is None:
            return None
        account.held = self._measure(entry.token, entry, self.clocks.wall(), self.clocks.monotonic())
        return account.held

    def server_time(self, entry: Entry) -> float:
        """Now, by the server's clock."""
        return self.clocks.wall() + entry.skew_seconds

    def refusal_of(self, entry: Entry) -> Refusal | None:
        """The refusal of this very secret that still counts."""
        refusal = entry.refusal
        if refusal is None:
            return None
        now = self.server_time(entry)
        # Told in the future: the clock was set back since, and would keep the refusal for as long.
        if not refusal.told_at - _CLOCK_TOLERANCE_SECONDS <= now < refusal.until:
            return None
        return refusal if self._digest(refusal.salt) == refusal.secret_digest else None

    def remaining(self, entry: Entry, refusal: Refusal) -> float:
        """How long the refusal still counts, in seconds."""
        return max(0.0, refusal.until - self.server_time(entry))

    def ask(self, entry: Entry) -> Flow[tuple[Entry, Grant | EcrossError]]:
        """Ask for a token once: the entry to keep from now on, and what came of it."""
        sent_at = self.clocks.wall()
        answer: TokenAnswer | None = None
        failure: EcrossError | None = None
        try:
            answer = yield AskForToken()
        except TransportError as error:
            failure = error
        if answer is None:
            return entry, failure or TransportError("The token endpoint gave no answer.")
        received_at = self.clocks.wall()
        skew = read_skew(answer, sent_at=sent_at, received_at=received_at)
        entry = entry if skew is None else replace(entry, skew_seconds=skew)
        now = received_at + entry.skew_seconds
        outcome = read_grant(answer, hidden=(self.client_secret,), now=now)
        if isinstance(outcome, Grant):
            return self._granted(entry, outcome, sent_at + entry.skew_seconds), outcome
        return self._refused(entry, outcome, now), outcome

    def _granted(self, entry: Entry, grant: Grant, obtained_at: float) -> Entry:
        share = _EARLIEST_REFRESH + (_LATEST_REFRESH - _EARLIEST_REFRESH) * self.clocks.random()
        lifetime = grant.lifetime_seconds
        token = CachedToken(grant.token, obtained_at, obtained_at + lifetime * share, obtained_at + lifetime)
        end = None
        if grant.secret_ends_at is not None:
            salt = os.urandom(16)
            end = SecretEnd(grant.secret_ends_at, salt, self._digest(salt))
        return Entry(token=token, skew_seconds=entry.skew_seconds, secret_end=end)

    def _refused(self, entry: Entry, error: ApiError, now: float) -> Entry:
        kind: Literal["credentials", "rate"]
        if isinstance(error, InvalidCredentialsError):
            kind, seconds = "credentials", CREDENTIALS_REFUSED_SECONDS
        elif isinstance(error, RateLimitedError):
            told = error.retry_after_seconds
            seconds = _UNTOLD_RETRY_AFTER_SECONDS if told is None else min(told, MAX_REFUSAL_SECONDS)
            kind = "rate"
        else:
            return entry
        salt = os.urandom(16)
        refusal = Refusal(
            kind, now, now + seconds, error.status, error.message,
            error.code, error.request_id, salt, self._digest(salt),
        )  # fmt: skip
        return replace(entry, refusal=refusal)

    def _measure(self, token: CachedToken, entry: Entry, wall: float, monotonic: float) -> Held:
        lifetime = token.expires_at - token.obtained_at
        margin = min(_MOST_MARGIN_SECONDS, lifetime * _MARGIN_SHARE)
        now = wall + entry.skew_seconds
        left = min(token.expires_at - now, lifetime) - margin
        until_refresh = min(token.refresh_at - now, lifetime)
        end = entry.secret_end
        ends_at = end.at if end is not None and self._digest(end.salt) == end.secret_digest else None
        return Held(
            AccessToken(
                token.value,
                "Bearer",
                _local(token.expires_at, entry.skew_seconds),
                None if ends_at is None else _local(ends_at, entry.skew_seconds),
            ),
            refresh_wall=wall + until_refresh,
            refresh_monotonic=monotonic + until_refresh,
            expiry_wall=wall + left,
            expiry_monotonic=monotonic + left,
            secret_ends_at=ends_at,
        )

    def _digest(self, salt: bytes) -> bytes:
        digest = self._digests.get(salt)
        if digest is None:
            digest = digest_secret(self.client_secret, salt)
            if len(self._digests) > 8:  # noqa: PLR2004 - a few refusals at most count at a time
                self._digests.clear()
            self._digests[salt] = digest
        return digest

    def read(self) -> Flow[Entry]:
        """What the cache holds; an empty entry where it cannot be used."""
        data: bytes | None = None
        try:
            data = yield ReadEntry()
        except CacheError as error:
            _warn(error)
        return decode(data)

    def write(self, entry: Entry) -> Flow[None]:
        """Keep the entry; where the cache cannot, this process remembers it."""
        try:
            yield WriteEntry(encode(entry))
        except CacheError as error:
            _warn(error)

    def try_lock(self) -> Flow[bool]:
        """Whether the cache's lock was got, or there can be none."""
        try:
            is_locked: bool = yield TryLock()
        except CacheError as error:
            _warn(error)
            return True  # there is none to be had: the threads of this process are in order without it
        return is_locked


def _local(server_seconds: float, skew_seconds: float) -> datetime:
    return _EPOCH + timedelta(seconds=server_seconds - skew_seconds)


class _Obtaining:
    """One flow of `TokenLife.obtain`, and what it remembers on its way."""

    def __init__(self, life: TokenLife, account: Account, rejected: str | None, *, is_forced: bool) -> None:
        self._life = life
        self._account = account
        self._rejected = rejected
        self._is_forced = is_forced
        self._deadline = life.clocks.monotonic() + life.patience_seconds
        self._failures = 0
        self._waited_for: Refusal | None = None
        self._is_locked = False

    def run(self) -> Flow[Held | None]:
        life = self._life
        entry = yield from life.read()
        if self._is_forced and entry.token is not None:
            self._rejected = entry.token.value
        while True:
            held = life.adopt(self._account, entry, rejected=self._rejected)
            if held is not None:
                yield from self._unlock()
                return held
            refusal = life.refusal_of(entry)
            if refusal is not None and refusal != self._waited_for:
                yield from self._unlock()
                yield from self._wait_for_the_end_of(entry, refusal)
            elif self._is_locked:
                held = yield from self._ask(entry)
                if held is not None:
                    return held
            elif not (yield from self._lock()):
                return None
            entry = yield from life.read()

    def _lock(self) -> Flow[bool]:
        self._is_locked = yield from self._life.try_lock()
        if self._is_locked:
            return True
        if self._life.clocks.monotonic() >= self._deadline:
            return False
        span = _LARGEST_POLL_SECONDS - _SMALLEST_POLL_SECONDS
        yield Pause(_SMALLEST_POLL_SECONDS + span * self._life.clocks.random())
        return True

    def _unlock(self) -> Flow[None]:
        if self._is_locked:
            self._is_locked = False
            yield Unlock()

    def _wait_for_the_end_of(self, entry: Entry, refusal: Refusal) -> Flow[None]:
        life = self._life
        if refusal.kind == "credentials":
            raise InvalidCredentialsError(refusal.status, refusal.message, refusal.code, refusal.request_id)
        seconds = life.remaining(entry, refusal)
        if not life.max_retries or life.clocks.monotonic() + seconds > self._deadline:
            raise RateLimitedError(refusal.status, refusal.message, refusal.code, refusal.request_id, seconds)
        self._waited_for = refusal
        yield Pause(seconds + life.clocks.random() * max(_SMALLEST_JITTER_SECONDS, seconds * _JITTER_SHARE))

    def _ask(self, stored: Entry) -> Flow[Held | None]:
        life = self._life
        # The server refused the rejected token, unless it is only asked to give a newer one.
        entry, outcome = yield from life.ask(stored if self._is_forced else stored.without(self._rejected))
        if isinstance(outcome, Grant):
            yield from life.write(entry)
            yield from self._unlock()
            return life.hold_granted(self._account, entry)
        self._failures += 1
        may_retry = _is_passing(outcome) and self._failures <= life.max_retries
        if entry.refusal != stored.refusal or not may_retry:
            if entry != stored:
                yield from life.write(entry)
            yield from self._unlock()
        if not may_retry:
            raise outcome
        if life.refusal_of(entry) is None:  # a Retry-After of 0 is none to wait for
            yield Pause(backoff_seconds(self._failures, life.clocks.random()))
        return None


def _is_passing(error: EcrossError) -> bool:
    if isinstance(error, ServerError):
        return error.status >= _SERVER_ERRORS
    return isinstance(error, (TransportError, RateLimitedError))


def _warn(error: CacheError) -> None:
    _log.warning("The token cache cannot be used, tokens stay in memory: %s", error)
