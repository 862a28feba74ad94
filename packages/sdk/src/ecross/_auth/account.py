"""What one process knows of one client id at one token endpoint, shared by all clients that share its cache.

One flight at a time: its leader performs the steps of the state machine, the others wait for it to land.
"""

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from weakref import WeakValueDictionary

from ecross._auth.steps import CacheStep, ReadEntry, TryLock, WriteEntry
from ecross._token_cache import Lock, TokenCache
from ecross.errors import EcrossError
from ecross.types import AccessToken


@dataclass(frozen=True, slots=True)
class Held:
    """A token in memory, with its life measured on both of this machine's clocks: a token is over by the first."""

    token: AccessToken
    refresh_wall: float
    refresh_monotonic: float
    expiry_wall: float
    expiry_monotonic: float
    secret_ends_at: float | None = None
    """By the server's clock: when the secret that this process has opens nothing any more."""

    def is_due(self, wall: float, monotonic: float) -> bool:
        """Whether it is time to look for a newer one."""
        return wall >= self.refresh_wall or monotonic >= self.refresh_monotonic

    def is_over(self, wall: float, monotonic: float) -> bool:
        """Whether it must not be used any more."""
        return wall >= self.expiry_wall or monotonic >= self.expiry_monotonic


class Flight:
    """The work of one leader. Others wait for its end, but not beyond `lease_until`: its event loop may be gone."""

    __slots__ = (
        "_account",
        "_is_abandoned",
        "_is_working",
        "_lock",
        "_mutex",
        "effort",
        "error",
        "lease_until",
        "mark",
        "wakers",
    )

    def __init__(self, account: "Account", mark: bytes, lease_until: float) -> None:
        self._account = account
        self._mutex = threading.Lock()
        self._lock: Lock | None = None
        self._is_working = False
        self._is_abandoned = False
        self.mark = mark
        """Tells whether two clients have the same secret."""
        self.lease_until = lease_until
        self.wakers: list[Callable[[], None]] = []
        self.effort = (0.0, 0)
        """How long and how often the leader tries."""
        self.error: EcrossError | None = None

    def work(self, step: CacheStep) -> object:
        """Perform a step on the cache; may take the time of a file access.

        One who was given up can only read: then it finds what the next leader wrote.
        """
        with self._mutex:
            if self._is_abandoned and not isinstance(step, ReadEntry):
                return None
            self._is_working = True
        try:
            result = self._perform(step)
        finally:
            is_abandoned = self._end_work()
        return None if is_abandoned and isinstance(step, TryLock) else result

    def _end_work(self) -> bool:
        with self._mutex:
            self._is_working = False
            is_abandoned = self._is_abandoned
        if is_abandoned:
            self._release()
        return is_abandoned

    def abandon(self) -> None:
        """Let go of the cache's lock, at once or when the step that is under way has ended; never waits for it."""
        with self._mutex:
            self._is_abandoned = True
            is_working = self._is_working
        if not is_working:
            self._release()

    def _perform(self, step: CacheStep) -> object:
        account = self._account
        match step:
            case ReadEntry():
                # What could not be written counts until something can be: else each call would ask for a token.
                return account.unwritten or account.cache.read(account.auth_url, account.client_id)
            case WriteEntry(entry):
                account.unwritten = entry
                account.cache.write(account.auth_url, account.client_id, entry)
                account.unwritten = None
                return None
            case TryLock():
                self._lock = account.cache.try_lock(account.auth_url, account.client_id)
                return self._lock is not None
            case _:
                self._release()
                return None

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        # A child that was forked meanwhile holds a copy; the lock is its parent's.
        if lock is not None and os.getpid() == self._account.process_id:
            lock.release()


class Account:
    """A client id at a token endpoint, in this process. Found by `find_account`."""

    __slots__ = (
        "__weakref__", "_flight", "_mutex", "auth_url", "cache", "client_id", "held", "process_id",
        "refused_again_until", "rejected", "renew_not_before", "unwritten",
    )  # fmt: skip

    def __init__(self, cache: TokenCache, auth_url: str, client_id: str) -> None:
        self.cache = cache
        self.auth_url = auth_url
        self.client_id = client_id
        self.process_id = os.getpid()
        self.held: Held | None = None
        self.rejected: AccessToken | None = None
        """A token that the server refused and nobody has replaced yet."""
        self.unwritten: bytes | None = None
        self.renew_not_before = float("-inf")
        """By the monotonic clock: when a renewal may be tried again after one that failed or was another's."""
        self.refused_again_until = float("-inf")
        """By the wall clock: until then no token is asked for because of a 401, as the last one was refused too."""
        self._mutex = threading.Lock()
        self._flight: Flight | None = None

    def enter(self, waker: Callable[[], None], *, mark: bytes, now: float, lease_seconds: float) -> tuple[Flight, bool]:
        """The flight, and whether the caller leads it; else `waker` is called when it has landed."""
        with self._mutex:
            current = self._flight
            if current is not None and now < current.lease_until:
                current.wakers.append(waker)
                return current, False
            flight = self._flight = Flight(self, mark, now + lease_seconds)
        if current is not None:
            self._land(current)
        return flight, True

    def enter_if_free(self, *, mark: bytes, now: float, lease_seconds: float) -> Flight | None:
        """A flight for the caller to lead; `None` if there is one already whose lease is not over."""
        with self._mutex:
            current = self._flight
            if current is not None and now < current.lease_until:
                return None
            flight = self._flight = Flight(self, mark, now + lease_seconds)
        if current is not None:
            self._land(current)
        return flight

    def leave(self, flight: Flight, error: EcrossError | None = None) -> None:
        """End the flight. Those who wait raise `error` as well, or look again where there is none."""
        with self._mutex:
            if self._flight is flight:
                self._flight = None
            flight.error = error
        self._land(flight)

    def _land(self, flight: Flight) -> None:
        flight.abandon()
        with self._mutex:
            wakers, flight.wakers = flight.wakers, []
        for wake in wakers:
            wake()


_accounts: WeakValueDictionary[tuple[int, int, str, str], Account] = WeakValueDictionary()
_mutexes: dict[int, threading.Lock] = {}


def find_account(cache: TokenCache, auth_url: str, client_id: str) -> Account:
    """The one account of this process for this cache, token endpoint and client id.

    A forked child gets accounts of its own: no thread of its parent is there to end a flight.
    """
    process_id = os.getpid()
    # The account holds its cache, so no other cache can have the same id while it is found under it.
    key = (process_id, id(cache), auth_url, client_id)
    # A mutex for each process: a fork may copy its parent's while another thread holds it.
    with _mutexes.setdefault(process_id, threading.Lock()):
        account = _accounts.get(key)
        if account is None:
            account = _accounts[key] = Account(cache, auth_url, client_id)
        return account
