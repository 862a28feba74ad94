"""The two drivers: they perform the state machine's steps, for threads and for asyncio's tasks."""

import asyncio
import contextlib
import copy
import hmac
import logging
import os
import threading
import time
from collections.abc import Awaitable, Callable

from ecross._auth.account import Account, Flight, Held, find_account
from ecross._auth.answers import TokenAnswer
from ecross._auth.life import Flow, TokenLife
from ecross._auth.secret_end import warn_of_end
from ecross._auth.steps import AskForToken, Pause, Step
from ecross._token_cache import TokenCache
from ecross.errors import EcrossError, TransportError
from ecross.types import AccessToken

_LEASE_SECONDS = 10.0
"""Longer than any step takes but sending and pausing, which add their own time."""
# A request has up to four waits of the timeout's length: for a place in the pool, to connect, to write, to read.
_WAITS_OF_A_REQUEST = 4
_LONGEST_CLOSING_SECONDS = 2.0
_RENEWAL_AFTER_A_BUG_SECONDS = 60.0
_REFUSED_AGAIN_SECONDS = 10.0

# Tells apart the secrets that clients of this process have, without keeping them.
_MARK_KEY = os.urandom(32)

_log = logging.getLogger("ecross")


class _Source:
    """What both drivers have in common: the token in memory, which costs no lock, no file and no parsing."""

    def __init__(
        self, *, cache: TokenCache, auth_url: str, client_id: str, client_secret: str, life: TokenLife
    ) -> None:
        self._cache = cache
        self._auth_url = auth_url
        self._client_id = client_id
        self._life = life
        self._wall = life.clocks.wall
        self._monotonic = life.clocks.monotonic
        self._mark = hmac.digest(_MARK_KEY, client_secret.encode("utf-8", "surrogatepass"), "sha256")
        self._effort = (life.patience_seconds, life.max_retries)
        self._own = find_account(cache, auth_url, client_id)
        self._is_closed = False

    def account(self) -> Account:
        """This process's account, also after a fork."""
        if self._own.process_id != os.getpid():
            inherited = self._own.held
            self._own = find_account(self._cache, self._auth_url, self._client_id)
            self._own.held = self._own.held or inherited
        return self._own

    def may_replace_rejected(self) -> bool:
        """Whether a 401 is a reason to ask for another token: not if the one asked for because of a 401 got one too."""
        seconds = self._own.refused_again_until - self._wall()
        # More than can be left: the clock was set back since.
        return not 0 < seconds <= _REFUSED_AGAIN_SECONDS + 1

    def note_rejection(self, token: AccessToken, *, is_second: bool) -> None:
        """The server refused the token, and the request cannot be sent again.

        `is_second`: the token was asked for because of a 401, so another one would not help: none is for a while.
        """
        account = self.account()
        if is_second:
            account.refused_again_until = self._wall() + _REFUSED_AGAIN_SECONDS
        else:
            account.rejected = token
            self._drop(account, token)

    def _good(self, rejected: AccessToken | None) -> Held | None:
        held = self._own.held
        if held is None or held.is_over(self._wall(), self._monotonic()) or _is_same(held, rejected):
            return None
        return held

    def _is_time_to_renew(self, held: Held) -> bool:
        monotonic = self._monotonic()
        return held.is_due(self._wall(), monotonic) and monotonic >= self.account().renew_not_before

    def _reject(self, account: Account, rejected: AccessToken | None, *, is_forced: bool) -> AccessToken | None:
        """The token that must not be given now. One that only has to be newer serves others until there is one."""
        if is_forced:
            return account.rejected if account.held is None else account.held.token
        rejected = rejected or account.rejected
        self._drop(account, rejected)
        return rejected

    def _drop(self, account: Account, rejected: AccessToken | None) -> None:
        held = account.held
        if held is not None and _is_same(held, rejected):
            account.held = None

    def _obtaining(self, account: Account, rejected: AccessToken | None, *, is_forced: bool) -> Flow[Held | None]:
        value = None if rejected is None else rejected.value
        return self._life.obtain(account, rejected=value, is_forced=is_forced)

    def _enter(self, account: Account, waker: Callable[[], None]) -> tuple[Flight, bool]:
        return account.enter(waker, mark=self._mark, now=time.monotonic(), lease_seconds=_LEASE_SECONDS)

    def _enter_if_free(self, account: Account) -> Flight | None:
        if self._is_closed:
            return None
        return account.enter_if_free(mark=self._mark, now=time.monotonic(), lease_seconds=_LEASE_SECONDS)

    def _extend_lease(self, flight: Flight, step: Step) -> None:
        match step:
            case AskForToken():
                seconds = _WAITS_OF_A_REQUEST * self._life.patience_seconds
            case Pause(pause):
                seconds = pause
            case _:
                seconds = 0.0
        flight.lease_until = time.monotonic() + seconds + _LEASE_SECONDS

    def _raise_shared(self, flight: Flight) -> None:
        error = flight.error
        if error is None:
            return
        # Wrong credentials of one client say nothing about another's; an absent server is absent for all.
        is_of_all = flight.mark == self._mark or isinstance(error, TransportError)
        patience_seconds, max_retries = flight.effort
        has_tried_enough = patience_seconds >= self._life.patience_seconds and max_retries >= self._life.max_retries
        if is_of_all and has_tried_enough:
            raise copy.copy(error)

    def _note_bug(self, account: Account, error: Exception) -> None:
        account.renew_not_before = self._monotonic() + _RENEWAL_AFTER_A_BUG_SECONDS
        _log.warning("The access token could not be renewed: %s", type(error).__name__)


def _is_same(held: Held, token: AccessToken | None) -> bool:
    # Tokens go by themselves and not as text, which would stand among the local variables of a traceback.
    return token is not None and held.token.value == token.value


def _out_of_patience() -> TransportError:
    message = "No access token in time: another thread or process was asking for one for all of the timeout."
    return TransportError(message, is_timeout=True)


class TokenSource(_Source):
    """Good access tokens for threads. `ask` sends `POST /token` once."""

    def __init__(
        self,
        *,
        cache: TokenCache,
        auth_url: str,
        client_id: str,
        client_secret: str,
        life: TokenLife,
        ask: Callable[[], TokenAnswer],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(cache=cache, auth_url=auth_url, client_id=client_id, client_secret=client_secret, life=life)
        self._ask = ask
        self._sleep = sleep
        self._renewals: set[threading.Thread] = set()

    def token(self, *, rejected: AccessToken | None = None, is_forced: bool = False) -> AccessToken:
        """A token that is good, and neither the rejected one nor, if forced, any that was there before the call."""
        held = None if is_forced else self._good(rejected)
        if held is None:
            held = self._obtain(rejected, is_forced=is_forced)
        if self._is_time_to_renew(held):
            self._begin_renewal()
        if held.secret_ends_at is not None:
            warn_of_end(self._auth_url, self._client_id, held.secret_ends_at, self._wall())
        return held.token

    def close(self) -> None:
        """Give a renewal that is under way a moment to end, so that short runs renew their token, too."""
        self._is_closed = True
        deadline = time.monotonic() + _LONGEST_CLOSING_SECONDS
        for thread in tuple(self._renewals):
            thread.join(max(0.0, deadline - time.monotonic()))

    def _obtain(self, rejected: AccessToken | None, *, is_forced: bool) -> Held:
        account = self.account()
        rejected = self._reject(account, rejected, is_forced=is_forced)
        deadline = time.monotonic() + self._life.patience_seconds
        while True:
            held = self._good(rejected)
            if held is not None:
                return held
            landed = threading.Event()
            flight, is_leader = self._enter(account, landed.set)
            if is_leader:
                return self._lead(account, flight, rejected, is_forced=is_forced)
            until = min(deadline, flight.lease_until)
            if landed.wait(max(0.0, until - time.monotonic())):
                self._raise_shared(flight)
            elif time.monotonic() >= deadline:
                raise _out_of_patience()

    def _lead(self, account: Account, flight: Flight, rejected: AccessToken | None, *, is_forced: bool) -> Held:
        flight.effort = self._effort
        failure: EcrossError | None = None
        try:
            held = self._good(rejected) or self._run(self._obtaining(account, rejected, is_forced=is_forced), flight)
        except EcrossError as error:
            failure = error
            raise
        finally:
            account.leave(flight, failure)
        if held is None:
            raise _out_of_patience()
        return held

    def _begin_renewal(self) -> None:
        account = self.account()
        flight = self._enter_if_free(account)
        if flight is None:
            return
        thread = threading.Thread(target=self._renew, args=(account, flight), name="ecross-token-renewal", daemon=True)
        self._renewals.add(thread)
        try:
            thread.start()
        except RuntimeError as error:  # no more threads, or the interpreter is about to end
            self._renewals.discard(thread)
            account.leave(flight)
            self._note_bug(account, error)

    def _renew(self, account: Account, flight: Flight) -> None:
        try:
            self._run(self._life.renew(account), flight)
        except Exception as error:  # noqa: BLE001 - whatever fails here, the token is still good
            self._note_bug(account, error)
        finally:
            account.leave(flight)
            self._renewals.discard(threading.current_thread())

    def _run(self, flow: Flow[Held | None] | Flow[None], flight: Flight) -> Held | None:
        result: object = None
        failure: EcrossError | None = None
        while True:
            try:
                step = flow.send(result) if failure is None else flow.throw(failure)
            except StopIteration as stop:
                held: Held | None = stop.value
                return held
            self._extend_lease(flight, step)
            result = failure = None
            try:
                result = self._perform(step, flight)
            except EcrossError as error:
                failure = error

    def _perform(self, step: Step, flight: Flight) -> object:
        match step:
            case AskForToken():
                return self._ask()
            case Pause(seconds):
                self._sleep(seconds)
                return None
            case _:
                return flight.work(step)


class AsyncTokenSource(_Source):
    """Good access tokens for asyncio's tasks. `ask` sends `POST /token` once; files are read in a thread."""

    def __init__(
        self,
        *,
        cache: TokenCache,
        auth_url: str,
        client_id: str,
        client_secret: str,
        life: TokenLife,
        ask: Callable[[], Awaitable[TokenAnswer]],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        super().__init__(cache=cache, auth_url=auth_url, client_id=client_id, client_secret=client_secret, life=life)
        self._ask = ask
        self._sleep = sleep
        self._renewals: set[asyncio.Task[None]] = set()

    async def token(self, *, rejected: AccessToken | None = None, is_forced: bool = False) -> AccessToken:
        """A token that is good, and neither the rejected one nor, if forced, any that was there before the call."""
        held = None if is_forced else self._good(rejected)
        if held is None:
            held = await self._obtain(rejected, is_forced=is_forced)
        if self._is_time_to_renew(held):
            self._begin_renewal()
        if held.secret_ends_at is not None:
            warn_of_end(self._auth_url, self._client_id, held.secret_ends_at, self._wall())
        return held.token

    async def aclose(self) -> None:
        """Give a renewal that is under way a moment to end, as for threads, then cancel it."""
        self._is_closed = True
        loop = asyncio.get_running_loop()
        tasks = [task for task in self._renewals if task.get_loop() is loop]
        if tasks:
            await asyncio.wait(tasks, timeout=_LONGEST_CLOSING_SECONDS)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _obtain(self, rejected: AccessToken | None, *, is_forced: bool) -> Held:
        account = self.account()
        rejected = self._reject(account, rejected, is_forced=is_forced)
        loop = asyncio.get_running_loop()
        deadline = time.monotonic() + self._life.patience_seconds
        while True:
            held = self._good(rejected)
            if held is not None:
                return held
            landed = asyncio.Event()
            flight, is_leader = self._enter(account, _waker(loop, landed))
            if is_leader:
                return await self._lead(account, flight, rejected, is_forced=is_forced)
            until = min(deadline, flight.lease_until)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await landed.wait()
            if landed.is_set():
                self._raise_shared(flight)
            elif time.monotonic() >= deadline:
                raise _out_of_patience()

    async def _lead(self, account: Account, flight: Flight, rejected: AccessToken | None, *, is_forced: bool) -> Held:
        flight.effort = self._effort
        failure: EcrossError | None = None
        try:
            held = self._good(rejected) or await self._run(
                self._obtaining(account, rejected, is_forced=is_forced), flight
            )
        except EcrossError as error:
            failure = error
            raise
        finally:
            account.leave(flight, failure)
        if held is None:
            raise _out_of_patience()
        return held

    def _begin_renewal(self) -> None:
        account = self.account()
        flight = self._enter_if_free(account)
        if flight is None:
            return
        task = asyncio.get_running_loop().create_task(self._renew(account, flight), name="ecross-token-renewal")
        self._renewals.add(task)
        # Here and not in the task: one that is cancelled before it began runs none of its own code.
        task.add_done_callback(lambda ended: self._end_renewal(account, flight, ended))

    def _end_renewal(self, account: Account, flight: Flight, task: asyncio.Task[None]) -> None:
        account.leave(flight)
        self._renewals.discard(task)

    async def _renew(self, account: Account, flight: Flight) -> None:
        try:
            await self._run(self._life.renew(account), flight)
        except Exception as error:  # noqa: BLE001 - whatever fails here, the token is still good
            self._note_bug(account, error)

    async def _run(self, flow: Flow[Held | None] | Flow[None], flight: Flight) -> Held | None:
        result: object = None
        failure: EcrossError | None = None
        while True:
            try:
                step = flow.send(result) if failure is None else flow.throw(failure)
            except StopIteration as stop:
                held: Held | None = stop.value
                return held
            self._extend_lease(flight, step)
            result = failure = None
            try:
                result = await self._perform(step, flight)
            except EcrossError as error:
                failure = error

    async def _perform(self, step: Step, flight: Flight) -> object:
        match step:
            case AskForToken():
                return await self._ask()
            case Pause(seconds):
                await self._sleep(seconds)
                return None
            case _:
                return await asyncio.to_thread(flight.work, step)


def _waker(loop: asyncio.AbstractEventLoop, event: asyncio.Event) -> Callable[[], None]:
    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits there any more
            loop.call_soon_threadsafe(event.set)

    return wake
