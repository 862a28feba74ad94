from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import redis
from structlog.testing import capture_logs

from ecross_server.auth.limits.limiter import Limiter, Rates
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.auth.limits.policies import Policy
from ecross_server.auth.limits.shared import (
    DEADLINE_SECONDS,
    MOST_KEYS,
    REPORT_SECONDS,
    SharedBudgets,
)

CLIENT = Policy("client", 60, 60)

LineTo = Callable[[str], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def started(url: str, *, up: bool = True) -> AsyncIterator[SharedBudgets]:
    budgets = SharedBudgets.at(url, BudgetTable(1024))
    budgets.start()
    try:
        await until(lambda: budgets.is_up or not up)
        yield budgets
    finally:
        await budgets.stop()


async def until(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        await asyncio.sleep(0.01)


async def send(budgets: SharedBudgets, key: str, policy: Policy = CLIENT) -> float:
    hashed = hash((policy.name, key))
    left = budgets.spend(policy, key, hashed, time.monotonic())
    return await budgets.ask(policy, hashed) if left is None else left


async def admitted(budgets: SharedBudgets, key: str, count: int, policy: Policy = CLIENT) -> int:
    return sum([await send(budgets, key, policy) >= 0 for _ in range(count)])


def new_key() -> str:
    return secrets.token_hex(8)


@pytest.mark.usefixtures("patience")
def test_a_process_alone_admits_the_whole_budget_and_no_more(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as budgets:
            key = new_key()
            assert await admitted(budgets, key, 200) in {60, 61}
            left = await send(budgets, key)
            assert -1.0 <= left < 0

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_two_processes_share_one_budget(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as one, started(redis_url) as other:
            await until(lambda: one.processes == other.processes == 2)
            key = new_key()
            first = await admitted(one, key, 40)
            assert first == 40
            # Spent on trust: what the other could not know of yet.
            assert 20 <= await admitted(other, key, 100) <= 20 + 9 + 1

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_what_is_left_is_told_the_same_by_all_soon(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as one, started(redis_url) as other:
            key = new_key()
            assert await admitted(one, key, 30) == 30
            assert await admitted(other, key, 2) == 2
            await asyncio.sleep(1.5 * REPORT_SECONDS)
            assert await send(other, key) < 35

    asyncio.run(main())


def test_a_client_far_from_its_limit_never_waits_for_the_network(redis_url: str, line_to: LineTo) -> None:
    async def main() -> None:
        async with line_to(redis_url) as (line, url), started(url) as budgets:
            line.delay_seconds = 0.04
            key = new_key()
            hashed = hash((CLIENT.name, key))
            for _ in range(6):
                left = budgets.spend(CLIENT, key, hashed, time.monotonic())
                assert left is not None
                assert left > 45
                await asyncio.sleep(0.2)

    asyncio.run(main())


def test_a_client_near_its_limit_waits_for_one_trip_and_no_longer_than_the_deadline(
    redis_url: str, line_to: LineTo
) -> None:
    async def main() -> None:
        async with line_to(redis_url) as (line, url), started(url) as budgets:
            key = new_key()
            await admitted(budgets, key, 55)
            line.delay_seconds = 0.02
            longest = 0.0
            for _ in range(8):
                began = time.monotonic()
                await send(budgets, key)
                longest = max(longest, time.monotonic() - began)
            assert 0.02 <= longest < 0.04 + DEADLINE_SECONDS
            line.delay_seconds = 5.0
            began = time.monotonic()
            await asyncio.gather(*(send(budgets, new_key(), Policy("client", 1, 60)) for _ in range(1)))
            await send(budgets, key)
            assert time.monotonic() - began < 4 * DEADLINE_SECONDS

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_requests_that_wait_together_travel_together(redis_url: str, line_to: LineTo) -> None:
    async def main() -> None:
        async with line_to(redis_url) as (line, url), started(url) as budgets:
            key = new_key()
            await admitted(budgets, key, 20)
            await asyncio.sleep(0.1)
            line.delay_seconds = 0.02
            before = line.trips
            lefts = await asyncio.gather(*(send(budgets, key) for _ in range(60)))
            assert sum(left >= 0 for left in lefts) in {40, 41}
            assert line.trips - before <= 3

    asyncio.run(main())


def test_a_slow_answer_admits_no_more_than_a_fair_part(redis_url: str, line_to: LineTo) -> None:
    async def main() -> None:
        async with line_to(redis_url) as (line, url), started(url) as one, started(redis_url) as other:
            await until(lambda: one.processes == other.processes == 2)
            key = new_key()
            await admitted(one, key, 10)
            await asyncio.sleep(0.05)
            line.delay_seconds = 0.3
            lefts = await asyncio.gather(*(send(one, key) for _ in range(50)))
            # The half of the budget that is this process's, less what it had before.
            assert sum(left >= 0 for left in lefts) <= 30
            assert one.is_up

    asyncio.run(main())


def test_stopping_what_was_never_started_raises_nothing() -> None:
    asyncio.run(SharedBudgets.at("redis://127.0.0.1:1/0", BudgetTable(1024)).stop())


def test_without_redis_each_machine_counts_by_itself_and_nobody_waits() -> None:
    async def main() -> None:
        with capture_logs() as lines:
            async with started("redis://127.0.0.1:1/0", up=False) as budgets:
                await until(lambda: bool(lines))
                key = new_key()
                began = time.monotonic()
                assert await admitted(budgets, key, 100) == 60
                assert time.monotonic() - began < 0.5
                assert not budgets.is_up
                await asyncio.sleep(2.2 * REPORT_SECONDS)
        assert [line["event"] for line in lines] == ["limits_store_away"]

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_redis_that_goes_and_comes_back_is_noticed_and_what_was_spent_meanwhile_counts(
    redis_url: str, line_to: LineTo
) -> None:
    async def main() -> None:
        with capture_logs() as lines:
            async with line_to(redis_url) as (line, url), started(url) as budgets, started(redis_url) as other:
                key = new_key()
                assert await admitted(budgets, key, 30) == 30
                await line.cut()
                assert await admitted(budgets, key, 100) in {30, 31}
                assert not budgets.is_up
                await line.connect()
                await until(lambda: budgets.is_up)
                await asyncio.sleep(0.2)
                assert await admitted(budgets, key, 100) <= 4
                await asyncio.sleep(0.2)
                assert await admitted(other, key, 100) <= 14
        events = [line["event"] for line in lines]
        assert events.count("limits_store_away") == 1
        assert "limits_store_found" in events

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_a_redis_that_lost_its_memory_is_told_what_is_known(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as one, started(redis_url) as other:
            key = new_key()
            assert await admitted(one, key, 100) in {60, 61}
            with redis.Redis.from_url(redis_url) as client:
                client.flushdb()
            # The next sign of life shows that this process is not known any more.
            await asyncio.sleep(2.5 * REPORT_SECONDS)
            assert await admitted(one, key, 100) <= 6
            assert await admitted(other, key, 100) <= 20

    asyncio.run(main())


def test_after_three_late_answers_in_a_row_nobody_waits(redis_url: str, line_to: LineTo) -> None:
    async def main() -> None:
        with capture_logs() as lines:
            async with line_to(redis_url) as (line, url), started(url) as budgets, started(redis_url) as other:
                await until(lambda: budgets.processes == other.processes == 2)
                key = new_key()
                await admitted(budgets, key, 20)
                await asyncio.sleep(0.1)
                line.is_dead = True
                for _ in range(50):  # what was leased before comes first
                    if not budgets.is_slow:
                        await send(budgets, key)
                assert budgets.is_slow
                assert budgets.is_up
                began = time.monotonic()
                # The half that is this process's, less what it had before.
                assert await admitted(budgets, key, 100) <= 20
                assert time.monotonic() - began < 0.5
                # It does not even answer the sign of life.
                await until(lambda: not budgets.is_up)
                began = time.monotonic()
                assert await admitted(budgets, new_key(), 100) == 60
                assert time.monotonic() - began < 0.5
                line.is_dead = False
                await until(lambda: budgets.is_up)
                assert [budgets.is_slow, other.is_slow] == [False, False]
        reasons = [line.get("reason") for line in lines if line["event"] == "limits_store_away"]
        assert reasons == ["TimeoutError"]

    asyncio.run(main())


def test_an_error_of_redis_is_no_error_of_ours(redis_url: str) -> None:
    async def main() -> None:
        with capture_logs() as lines:
            async with started(redis_url) as budgets:
                key = new_key()
                await admitted(budgets, key, 55)
                with redis.Redis.from_url(redis_url) as client:
                    for name in list(client.scan_iter("{ecross}:*")):
                        client.delete(name)
                        client.lpush(name, "of another type")
                        client.expire(name, 5)
                assert await admitted(budgets, key, 100) <= 60
                assert not budgets.is_up
                with redis.Redis.from_url(redis_url) as client:
                    client.delete(*client.scan_iter("{ecross}:*"))
        assert "limits_store_away" in [line["event"] for line in lines]

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_what_was_spent_on_trust_is_reported_at_the_latest_when_the_process_ends(redis_url: str) -> None:
    async def main() -> None:
        key = new_key()
        async with started(redis_url) as budgets:
            assert await admitted(budgets, key, 3) == 3
        async with started(redis_url) as budgets:
            await admitted(budgets, key, 6)
            await asyncio.sleep(0.1)
            assert await send(budgets, key) == pytest.approx(60 - 3 - 6 - 1, abs=2)

    asyncio.run(main())


def test_a_key_that_nobody_uses_any_more_is_forgotten(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as budgets:
            quick = Policy("client", 60, 1)
            for _ in range(50):
                await send(budgets, new_key(), quick)
            assert len(budgets._accounts) == 50
            await until(lambda: not budgets._accounts)
            assert not budgets._dirty
            assert not budgets._near

    asyncio.run(main())


def test_more_keys_than_it_can_keep_are_counted_on_this_machine(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as budgets:
            for number in range(MOST_KEYS):
                budgets._accounts[-number - 2**63] = budgets  # type: ignore[assignment] # never looked at
            key = new_key()
            assert await admitted(budgets, key, 100) == 60
            assert len(budgets._accounts) == MOST_KEYS
            budgets._accounts.clear()

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_a_caller_that_leaves_while_redis_is_asked_disturbs_nobody(redis_url: str, line_to: LineTo) -> None:
    async def main() -> None:
        async with line_to(redis_url) as (line, url), started(url) as budgets:
            key = new_key()
            await admitted(budgets, key, 30)
            await asyncio.sleep(0.1)
            line.delay_seconds = 0.02
            waiting = [asyncio.ensure_future(send(budgets, key)) for _ in range(10)]
            await asyncio.sleep(0.005)
            for task in waiting[:5]:
                task.cancel()
            results = await asyncio.gather(*waiting, return_exceptions=True)
            assert sum(isinstance(result, float) and result >= 0 for result in results) >= 5

    asyncio.run(main())


def test_requests_in_flight_at_the_end_are_decided_here(redis_url: str, line_to: LineTo) -> None:
    async def main() -> None:
        async with line_to(redis_url) as (line, url):
            budgets = SharedBudgets.at(url, BudgetTable(1024))
            budgets.start()
            await until(lambda: budgets.is_up)
            key = new_key()
            await admitted(budgets, key, 30)
            line.delay_seconds = 0.04
            waiting = asyncio.ensure_future(send(budgets, key))
            await asyncio.sleep(0.01)
            line.delay_seconds = 0.0
            await budgets.stop()
            assert isinstance(await waiting, float)

    asyncio.run(main())


def test_a_task_that_fails_goes_on(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with started(redis_url) as budgets:
            real, failures = budgets._forget, [RuntimeError("made up")]

            def forget() -> None:
                if failures:
                    raise failures.pop()
                real()

            monkeypatch.setattr(budgets, "_forget", forget)
            with capture_logs() as lines:
                await send(budgets, new_key(), Policy("client", 60, 1))
                await until(lambda: not budgets._accounts)
            assert [line["event"] for line in lines] == ["limits_report_failed"]

    asyncio.run(main())


def test_what_stands_in_redis_tells_neither_clients_nor_addresses(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as budgets:
            await admitted(budgets, "acme-secret 192.0.2.77", 20)
            await asyncio.sleep(0.1)
            with redis.Redis.from_url(redis_url) as client:
                names = [name.decode() for name in client.scan_iter("*")]
            assert names
            assert not any("acme" in name or "192" in name for name in names if len(name) < 30)
            assert all(name.startswith("{ecross}:") for name in names)

    asyncio.run(main())


@pytest.mark.usefixtures("patience")
def test_the_other_side_of_the_limiter_is_the_same(redis_url: str) -> None:
    async def main() -> None:
        async with started(redis_url) as budgets:
            rates = Rates(address="off", client="60/minute", failure="off", total="off", mode="enforce")
            limiter = Limiter(rates, BudgetTable(64), budgets)
            assert limiter.client is not None
            key = new_key()
            count = 0
            for _ in range(100):
                left = limiter.spend(limiter.client, key)
                if left is None:
                    left = await limiter.ask(limiter.client, key)
                count += left >= 0
            assert count in {60, 61}

    asyncio.run(main())


async def attack(url: str, key: str, begin: float, seconds: float) -> None:
    async with started(url) as budgets:
        await asyncio.sleep(max(0.0, begin - time.time()))
        count = 0
        while time.time() < begin + seconds:
            count += await send(budgets, key) >= 0
            await asyncio.sleep(0)
    sys.stdout.write(f"admitted {count}\n")


@pytest.mark.parametrize(("processes", "overshoot", "start_seconds"), [(2, 0.2, 4.0), (16, 0.5, 12.0)])
def test_an_unthrottled_client_of_several_processes_gets_little_more_than_its_budget(
    redis_url: str, processes: int, overshoot: float, start_seconds: float
) -> None:
    seconds = 3.0
    arguments = [redis_url, new_key(), str(time.time() + start_seconds), str(seconds)]
    running = [
        subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=60)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    total = sum(int(output.rsplit("admitted ", 1)[1]) for output in outputs)
    allowed = 60 + seconds
    assert 0.8 * allowed <= total <= (1 + overshoot) * allowed


if __name__ == "__main__":
    redis_address, hit, at, lasting = sys.argv[1:]
    asyncio.run(attack(redis_address, hit, float(at), float(lasting)))
