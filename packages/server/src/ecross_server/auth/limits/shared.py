"""Budgets shared by several processes and machines through Redis or Valkey, without a network trip for most requests.

Redis keeps each key's debt. A process spends a small share of a budget on trust and tells Redis about it afterwards,
many keys at once. Once Redis says that a key has used up a good part of its budget, the process spends only what it
has leased, which Redis has debited already. See docs/decisions/0022.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import secrets
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final

import structlog

from ecross_server.auth.limits.local import BudgetTable
from ecross_server.auth.limits.policies import Policy

if TYPE_CHECKING:
    from redis.asyncio import Redis
    from redis.commands.core import AsyncScript

DEADLINE_SECONDS: Final = 0.05
"""A request near its limit waits no longer for Redis."""

REPORT_SECONDS: Final = 1.0
"""What was spent on trust is reported after so long, or earlier if it is much."""

ALIVE_SECONDS: Final = 5
"""A process that has not been heard of for so long does not count."""

NEAR: Final = 0.25
"""Past this part of its budget a key is near its limit: nothing is spent on trust any more."""

KEPT: Final = 0.25
"""The last part of a budget is leased request by request, so that none of it lies unused in another process."""

FEW_PROCESSES: Final = (2, 0.15)
MANY_PROCESSES: Final = (16, 0.40)
"""How many processes there are, and the part of a budget that all of them together may spend too much on trust."""

MOST_LATE: Final = 3
"""So many late answers in a row, and nobody waits for Redis until it has answered in time."""

MOST_KEYS: Final = 100_000
"""Keys beyond these are counted on this machine alone."""

MOST_KEYS_IN_A_SECOND: Final = 10_000
MOST_KEYS_IN_A_CALL: Final = 250
SHORTEST_WAIT: Final = 0.001
MICRO: Final = 1_000_000
CONNECTIONS: Final = 32
"""So many calls are on their way at once; where there are more, Redis is slow."""

NAMESPACE: Final = "{ecross}"
"""The braces keep all keys in one slot of a cluster, as a script needs."""

PROCESSES: Final = f"{NAMESPACE}:processes"

# Takes NEAR and KEPT; then for each key the interval and the whole budget in microseconds, what was spent on trust, the
# requests that wait, how many more are wanted if it is near its limit, the debt that this machine knows of, and by how
# many to divide what is left. Gives for each key the debt, the requests granted, and those spent beyond the budget.
EXCHANGE: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local near, kept = tonumber(ARGV[1]), tonumber(ARGV[2])
local answers = {}
for number, key in ipairs(KEYS) do
  local at = (number - 1) * 7 + 2
  local interval, window = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  local spent, waiting, more = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local known, parts = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7])
  local whole_at = math.max(tonumber(redis.call('GET', key) or '0'), now) + spent * interval
  whole_at = math.max(whole_at, now + known)
  local room = now + window - whole_at
  local over = 0
  if room < 0 then over = math.min(spent, math.ceil(-room / interval - 0.001)) end
  local granted = math.max(0, math.min(waiting, math.floor(room / interval + 0.001)))
  local rest = room - granted * interval - window * kept
  local is_near = whole_at + granted * interval - now > window * near
  if is_near and granted == waiting and more > 0 and rest >= interval then
    granted = granted + math.min(more, math.max(1, math.floor(rest / interval / parts)))
  end
  whole_at = whole_at + granted * interval
  if whole_at > now then
    redis.call('SET', key, string.format('%.17g', whole_at), 'PX', math.ceil((whole_at - now) / 1000) + 1000)
  end
  answers[#answers + 1] = math.ceil(whole_at - now)
  answers[#answers + 1] = granted
  answers[#answers + 1] = over
end
return answers
"""

# Tells that the process is alive; gives the number of those that are, and whether this one was not known.
HEARTBEAT: Final = """
local now = redis.call('TIME')[1] + 0
local is_new = redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. now - ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[2] * 2)
return {redis.call('ZCARD', KEYS[1]), is_new}
"""

Answer = asyncio.Future[float | None]
"""What is left, minus the seconds to wait, or nothing where Redis did not say."""

log = structlog.get_logger("ecross_server.limits")


class Account:
    """What this process knows of one key under one policy."""

    __slots__ = (
        "blocked_until", "hashed", "is_near", "key", "leased", "leased_until", "policy", "reporting", "spent",
        "unreported", "waiting", "whole_at",
    )  # fmt: skip

    def __init__(self, policy: Policy, key: str, hashed: int) -> None:
        self.policy = policy
        self.key = key
        self.hashed = hashed
        self.whole_at = 0.0
        self.is_near = False
        self.unreported = 0
        self.reporting = 0
        self.leased = 0
        self.leased_until = 0.0
        self.spent = 0
        self.blocked_until = 0.0
        self.waiting: list[Answer] = []

    def is_idle(self, now: float) -> bool:
        """Whether nothing is known that a new account would not know."""
        return not (self.is_near or self.unreported or self.reporting or self.waiting or self.whole_at > now)


class SharedBudgets:
    """Budgets that several processes share. All methods are for the event loop's thread alone.

    While Redis is away, the table of this machine decides; it knows what was spent here before. While Redis is slow,
    each process gives out no more than a fair part of what all may spend.
    """

    def __init__(self, redis: Redis, table: BudgetTable, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._redis = redis
        self._exchange: AsyncScript = redis.register_script(EXCHANGE)
        self._heartbeat: AsyncScript = redis.register_script(HEARTBEAT)
        self._table = table
        self._monotonic = monotonic
        self._process = secrets.token_hex(8)
        self._accounts: dict[int, Account] = {}
        self._dirty: dict[int, Account] = {}
        self._near: dict[int, Account] = {}
        self._asking: dict[int, Account] = {}
        self._tasks: set[asyncio.Future[Any]] = set()
        self._calls = 0
        self._late = 0
        self._was_told_away = False
        self._found_at = -math.inf
        self.is_up = False
        self.processes = MANY_PROCESSES[0]
        self.overshoot = 0

    @classmethod
    def at(cls, url: str, table: BudgetTable) -> SharedBudgets:
        """Budgets kept by the server at the address; it need not answer yet."""
        from redis.asyncio import ConnectionPool, Redis  # noqa: PLC0415 - memory, where there is no such server
        from redis.asyncio.retry import Retry  # noqa: PLC0415 - likewise
        from redis.backoff import NoBackoff  # noqa: PLC0415 - likewise

        pool = ConnectionPool.from_url(
            url, retry=Retry(NoBackoff(), 0),
            socket_timeout=REPORT_SECONDS, socket_connect_timeout=REPORT_SECONDS,
        )  # fmt: skip
        return cls(Redis.from_pool(pool), table)

    def start(self) -> None:
        """Keep in touch with Redis in a task of the running loop. Until it has answered, it counts as away."""
        self._run(self._keep_in_touch())

    async def stop(self) -> None:
        """Report what was spent, and let go. Takes no longer than it must where Redis does not answer."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:  # none where the start of the service failed before this one's
            await asyncio.wait(self._tasks, timeout=REPORT_SECONDS)
        await self._report()
        with contextlib.suppress(Exception):
            if self.is_up:
                await self._in_time(self._redis.zrem(PROCESSES, self._process), REPORT_SECONDS)
            await self._in_time(self._redis.aclose(), REPORT_SECONDS)

    def spend(self, policy: Policy, key: str, hashed: int, now: float) -> float | None:
        """Charge a request: what is left, or minus the seconds to wait; `None` if Redis must be asked."""
        interval = policy.interval_seconds
        account = self._accounts.get(hashed)
        if account is None:
            account = Account(policy, key, hashed)
            if len(self._accounts) < MOST_KEYS:
                self._accounts[hashed] = account
        if not self.is_up or hashed not in self._accounts:
            return self._table.spend(hashed, interval, policy.period_seconds, now)
        account.policy = policy
        if account.blocked_until > now:
            return now - account.blocked_until
        if account.leased and now < account.leased_until:
            account.leased -= 1
        elif not account.is_near and account.unreported + account.reporting < (trust := self._trust(policy)):
            account.unreported += 1
            account.whole_at = max(account.whole_at, now) + interval
            if account.unreported * 2 >= trust and not account.reporting:
                self._ask_soon(account)
        elif self.is_slow:
            return self._spend_fair_part(account, now)
        else:
            return None
        account.spent += 1
        self._dirty[hashed] = account
        self._table.charge(hashed, interval, now)
        return max(0.0, (now + policy.period_seconds - account.whole_at) / interval + account.leased)

    async def ask(self, policy: Policy, hashed: int) -> float:
        """Charge a request that Redis must be asked about, as `spend`: one trip, or a decision of this machine's."""
        account = self._accounts[hashed]
        answer: Answer = asyncio.get_running_loop().create_future()
        account.waiting.append(answer)
        account.spent += 1
        self._ask_soon(account)
        left = await answer
        now = self._monotonic()
        if left is None:
            if self.is_up:
                return self._spend_fair_part(account, now)
            return self._table.spend(hashed, policy.interval_seconds, policy.period_seconds, now)
        if left >= 0:
            self._table.charge(hashed, policy.interval_seconds, now)
        return left

    @property
    def is_slow(self) -> bool:
        """Whether Redis answers, but too late."""
        return self._late >= MOST_LATE

    def _spend_fair_part(self, account: Account, now: float) -> float:
        policy = account.policy
        left = self._table.spend(account.hashed, policy.interval_seconds * self.processes, policy.period_seconds, now)
        if left >= 0:
            account.unreported += 1
            self._dirty[account.hashed] = account
        return left

    def _trust(self, policy: Policy) -> int:
        """How much this process may spend before it hears from Redis: its part of the overshoot."""
        (few, low), (many, high) = FEW_PROCESSES, MANY_PROCESSES
        part = low + (high - low) * (min(max(self.processes, few), many) - few) / (many - few)
        return max(1, int(policy.budget * part / (max(self.processes, few) - 1)))

    def _ask_soon(self, account: Account) -> None:
        if not self._asking:
            # All that this turn of the loop has to ask travels together.
            asyncio.get_running_loop().call_soon(self._ask)
        self._asking[account.hashed] = account

    def _ask(self) -> None:
        accounts = list(self._asking.values())
        self._asking.clear()
        for start in range(0, len(accounts), MOST_KEYS_IN_A_CALL):
            self._run(self._trade(accounts[start : start + MOST_KEYS_IN_A_CALL]))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)  # the loop itself keeps no hold of it
        task.add_done_callback(self._forget_task)

    async def _trade(self, accounts: Sequence[Account]) -> None:
        """Report, ask for the requests that wait and for leases, and take over what Redis knows."""
        now = self._monotonic()
        names: list[str] = []
        values: list[float] = [NEAR, KEPT]
        for account in accounts:
            policy = account.policy
            # As a rule Redis knows of more than this machine; not where it has lost its memory.
            has_known = now - self._found_at < policy.period_seconds
            known = self._table.debt(account.hashed, now) if has_known else 0.0
            names.append(_name_of(policy, account.key))
            values += (
                policy.interval_seconds * MICRO, policy.period_seconds * MICRO, account.unreported,
                len(account.waiting), account.spent, known * MICRO, 2 * self.processes,
            )  # fmt: skip
        trades = [(account, account.waiting, account.unreported) for account in accounts]
        for account, _, unreported in trades:
            account.reporting += unreported
            account.unreported = account.spent = 0
            account.waiting = []
            self._dirty.pop(account.hashed, None)
        answers = None
        try:
            deadline = DEADLINE_SECONDS if any(waiting for _, waiting, _ in trades) else REPORT_SECONDS
            answers = await self._call(names, values, deadline)
        finally:
            now = self._monotonic()
            for number, (account, waiting, unreported) in enumerate(trades):
                account.reporting -= unreported
                if answers is None:
                    account.unreported += unreported
                    self._dirty[account.hashed] = account
                    _resolve(waiting, [None] * len(waiting))
                else:
                    debt, granted, over = answers[number * 3 : number * 3 + 3]
                    self.overshoot += over
                    self._take_over(account, waiting, debt / MICRO, granted, now)

    def _take_over(self, account: Account, waiting: Sequence[Answer], debt: float, granted: int, now: float) -> None:
        policy = account.policy
        interval, window = policy.interval_seconds, policy.period_seconds
        account.whole_at = now + debt + account.unreported * interval
        account.is_near = debt > window * NEAR
        if account.is_near:
            self._near[account.hashed] = account
        else:
            self._near.pop(account.hashed, None)
        served = min(granted, len(waiting))
        if lease := granted - served:
            account.leased = lease + (account.leased if now < account.leased_until else 0)
            # By then the budget has regained what the lease took: kept longer, it would be a second budget.
            account.leased_until = now + account.leased * interval
        left = max(0.0, (window - debt) / interval)
        wait = max(debt + interval - window, SHORTEST_WAIT)
        if served < len(waiting):
            account.blocked_until = now + wait
        _resolve(waiting, [left] * served + [-wait] * (len(waiting) - served))

    async def _call(self, names: Sequence[str], values: Sequence[float], deadline: float) -> list[int] | None:
        if not self.is_up or self._calls >= CONNECTIONS:
            return None
        self._calls += 1
        try:
            answers: list[int] = await self._in_time(self._exchange(keys=names, args=values), deadline)
        except TimeoutError:
            self._late += 1
            return None
        except Exception as error:  # noqa: BLE001 - whatever is wrong with Redis, requests are answered
            self._lose(type(error).__name__)
            return None
        finally:
            self._calls -= 1
        self._late = 0
        return answers

    async def _in_time(self, work: Awaitable[Any], seconds: float) -> Any:  # noqa: ANN401 - Redis answers anything
        """What Redis answers. A late call is given up without waiting for its end, which may take its time as well.

        Raises:
            TimeoutError: if it takes longer.
        """
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget_task)
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            task.cancel()
            raise TimeoutError
        return task.result()

    def _forget_task(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # looked at: a late failure is no news

    def _lose(self, reason: str) -> None:
        self.is_up = False
        if not self._was_told_away:
            self._was_told_away = True
            # The error's own text may show the address, and a password in it.
            log.error("limits_store_away", reason=reason, consequence="each machine counts by itself")

    async def _beat(self) -> None:
        try:
            beat = self._heartbeat(keys=[PROCESSES], args=[self._process, ALIVE_SECONDS])
            count, is_new = await self._in_time(beat, REPORT_SECONDS)
        except Exception as error:  # noqa: BLE001 - as in `_call`
            self._lose(type(error).__name__)
            return
        self.processes = max(1, count)
        self._late = 0
        if is_new:
            self._found_at = self._monotonic()
        if not self.is_up:
            self.is_up, self._was_told_away = True, False
            self._found_at = self._monotonic()
            log.info("limits_store_found", processes=self.processes)

    async def _keep_in_touch(self) -> None:
        while True:
            try:
                await self._beat()
                await self._report()
                self._forget()
            except Exception:  # a task that ended would leave a service that looks healthy
                log.exception("limits_report_failed")
            await asyncio.sleep(REPORT_SECONDS)

    async def _report(self) -> None:
        """Tell what was spent on trust, and hear what others have spent of the keys that are near their limit."""
        accounts = list(({**self._near, **self._dirty}).values())[:MOST_KEYS_IN_A_SECOND]
        for start in range(0, len(accounts), MOST_KEYS_IN_A_CALL):
            await self._trade(accounts[start : start + MOST_KEYS_IN_A_CALL])
        # Those that were not reached come first the next time.
        for account in accounts:
            if self._near.pop(account.hashed, None) is not None:
                self._near[account.hashed] = account

    def _forget(self) -> None:
        now = self._monotonic()
        for account in [account for account in self._accounts.values() if account.is_idle(now)]:
            del self._accounts[account.hashed]


def _resolve(waiting: Sequence[Answer], answers: Sequence[float | None]) -> None:
    for future, answer in zip(waiting, answers, strict=True):
        if not future.done():  # who waited may have gone
            future.set_result(answer)


def _name_of(policy: Policy, key: str) -> str:
    # A digest: the key of a failure holds what a stranger sent, which may be a secret in the wrong place.
    digest = hashlib.blake2b(f"{policy.name}\0{key}".encode(errors="surrogatepass"), digest_size=16)
    return f"{NAMESPACE}:{digest.hexdigest()}"
