"""One `POST /token` for all who need one at the same time, whatever becomes of the one who asks."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ecross import MemoryCache
from ecross.errors import InvalidCredentialsError, ServerError, TransportError


def test_fifty_threads_with_a_client_each_ask_once(server: Any, make_client: Any) -> None:
    cache = MemoryCache()
    clients = [make_client(token_cache=cache) for _ in range(50)]
    begin = threading.Barrier(50)

    def ask(client: Any) -> str:
        begin.wait()
        value: str = client.access_token().value
        return value

    with ThreadPoolExecutor(50) as pool:
        values = set(pool.map(ask, clients))

    assert values == {"tok-1"}
    assert server.tokens_asked == 1


def test_a_thousand_tasks_ask_once(server: Any, make_async_client: Any) -> None:
    async def main() -> set[str]:
        async with make_async_client() as client:
            tokens = await asyncio.gather(*(client.access_token() for _ in range(1000)))
            return {token.value for token in tokens}

    assert asyncio.run(main()) == {"tok-1"}
    assert server.tokens_asked == 1


def test_threads_and_tasks_that_share_a_cache_ask_once(
    server: Any, make_client: Any, make_async_client: Any, wait_for: Any
) -> None:
    cache = MemoryCache()
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(5)

    async def main() -> set[str]:
        async with make_async_client(token_cache=cache) as client:
            tokens = await asyncio.gather(*(client.access_token() for _ in range(20)))
            return {token.value for token in tokens}

    with ThreadPoolExecutor(22) as pool:
        loops = [pool.submit(asyncio.run, main()) for _ in range(2)]
        threads = [pool.submit(lambda c: c.access_token().value, make_client(token_cache=cache)) for _ in range(20)]
        wait_for(lambda: server.tokens_asked)
        may_answer.set()
        values = {value for loop in loops for value in loop.result()} | {thread.result() for thread in threads}

    assert values == {"tok-1"}
    assert server.tokens_asked == 1


def test_a_cancelled_leader_leaves_nobody_waiting(server: Any, make_async_client: Any, wait_for: Any) -> None:
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(5)

    async def main() -> str:
        async with make_async_client() as client:
            leader = asyncio.create_task(client.access_token())
            await asyncio.to_thread(wait_for, lambda: server.tokens_asked)
            followers = [asyncio.create_task(client.access_token()) for _ in range(10)]
            await asyncio.sleep(0)
            leader.cancel()
            may_answer.set()
            values = {token.value for token in await asyncio.gather(*followers)}
            assert leader.cancelled()
            assert len(values) == 1
            value: str = values.pop()
            return value

    assert asyncio.run(main()) == "tok-2"
    assert server.tokens_asked == 2


def test_a_leader_that_breaks_off_leaves_nobody_waiting(make_client: Any) -> None:
    class _BrokenOnce(MemoryCache):
        is_broken = True
        reading = threading.Event()
        may_break = threading.Event()

        def read(self, auth_url: str, client_id: str) -> bytes | None:
            if self.is_broken:
                self.is_broken = False
                self.reading.set()
                self.may_break.wait(5)
                raise KeyboardInterrupt
            return super().read(auth_url, client_id)

    cache = _BrokenOnce()
    client = make_client(token_cache=cache)

    def lead() -> str:
        try:
            client.access_token()
        except KeyboardInterrupt:
            return "broken"
        return "not broken"

    with ThreadPoolExecutor(2) as pool:
        leader = pool.submit(lead)
        assert cache.reading.wait(5)
        follower = pool.submit(client.access_token)
        cache.may_break.set()

        assert leader.result(5) == "broken"
        assert follower.result(5).value == "tok-1"


def test_followers_share_what_the_leader_was_refused(server: Any, make_client: Any, answer: Any, wait_for: Any) -> None:
    may_answer = threading.Event()
    refusal = answer(401, {"message": "Incorrect username or password."}, before=lambda: may_answer.wait(5))
    server.script("/token", refusal)
    client = make_client()

    def ask() -> BaseException | None:
        with pytest.raises(InvalidCredentialsError) as caught:
            client.access_token()
        return caught.value.__context__

    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(ask) for _ in range(10)]
        wait_for(lambda: server.tokens_asked)
        may_answer.set()

        assert {one.result(5) for one in asked} == {None}
    assert server.tokens_asked == 1


def test_a_follower_with_another_secret_asks_for_itself(
    server: Any, make_client: Any, answer: Any, wait_for: Any
) -> None:
    may_answer = threading.Event()
    refusal = answer(401, {"message": "Incorrect username or password."}, before=lambda: may_answer.wait(5))
    server.script("/token", refusal)
    cache = MemoryCache()
    wrong, right = make_client(token_cache=cache, client_secret="old"), make_client(token_cache=cache)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(wrong.access_token)
        wait_for(lambda: server.tokens_asked)
        second = pool.submit(right.access_token)
        may_answer.set()

        assert second.result(5).value == "tok-2"
        with pytest.raises(InvalidCredentialsError):
            first.result(5)


def test_a_follower_gives_up_after_its_own_timeout(server: Any, make_client: Any, wait_for: Any) -> None:
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(5)
    cache = MemoryCache()

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(make_client(token_cache=cache).access_token)
        wait_for(lambda: server.tokens_asked)
        with pytest.raises(TransportError) as caught:
            make_client(token_cache=cache, timeout_seconds=0.05).access_token()
        may_answer.set()

        assert caught.value.is_timeout
        assert leader.result(5).value == "tok-1"


def test_a_task_that_follows_gives_up_after_its_own_timeout(
    server: Any, make_client: Any, make_async_client: Any, wait_for: Any
) -> None:
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(5)
    cache = MemoryCache()

    async def follow() -> None:
        async with make_async_client(token_cache=cache, timeout_seconds=0.05) as client:
            await client.access_token()

    with ThreadPoolExecutor(1) as pool:
        leader = pool.submit(make_client(token_cache=cache).access_token)
        wait_for(lambda: server.tokens_asked)
        with pytest.raises(TransportError, match="in time"):
            asyncio.run(follow())
        may_answer.set()
        assert leader.result(5).value == "tok-1"


def test_tasks_share_what_their_leader_was_refused(server: Any, make_async_client: Any, answer: Any) -> None:
    server.script("/token", *[answer(500)] * 1)

    async def main() -> list[object]:
        async with make_async_client(max_retries=0) as client:
            outcomes: list[object] = await asyncio.gather(
                *(client.access_token() for _ in range(5)), return_exceptions=True
            )
            return outcomes

    assert [type(outcome) for outcome in asyncio.run(main())] == [ServerError] * 5
    assert server.tokens_asked == 1


def test_a_forked_child_waits_for_no_flight_of_its_parent_and_uses_no_socket_of_it(
    server: Any, make_client: Any, wait_for: Any
) -> None:
    may_answer = threading.Event()
    client = make_client()
    client.request("GET", "/warm")
    server.token_delay = lambda: may_answer.wait(10)

    with ThreadPoolExecutor(1) as pool:
        flight = pool.submit(client.access_token, force_refresh=True)
        wait_for(lambda: server.tokens_asked == 2)
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's lines are not counted
            may_answer.set()
            try:
                client.request("GET", "/child")
                os.write(write_end, client.access_token().value.encode())
            finally:
                os._exit(0)
        os.close(write_end)
        os.waitpid(child, 0)
        with os.fdopen(read_end) as pipe:
            told = pipe.read()
        may_answer.set()

        assert flight.result(5).value == "tok-2"
    assert told == "tok-1"
    (warm,), (of_child,) = server.requests_to("/warm"), server.requests_to("/child")
    assert warm.peer != of_child.peer


def test_a_flight_whose_loop_is_gone_is_taken_over(server: Any) -> None:
    from ecross._auth.account import Account  # noqa: PLC0415 - a part, looked at alone

    account = Account(MemoryCache(), server.url, "acme-1")
    woken: list[str] = []
    first, is_leader = account.enter(lambda: None, mark=b"", now=0.0, lease_seconds=1.0)
    followed, is_second_leader = account.enter(lambda: woken.append("a"), mark=b"", now=0.5, lease_seconds=1.0)
    assert (is_leader, is_second_leader, followed is first) == (True, False, True)

    second, is_third_leader = account.enter(lambda: None, mark=b"", now=1.5, lease_seconds=1.0)
    account.leave(first)

    assert is_third_leader
    assert woken == ["a"]
    assert account.enter_if_free(mark=b"", now=1.6, lease_seconds=1.0) is None
    account.leave(second)
    assert account.enter_if_free(mark=b"", now=1.6, lease_seconds=1.0) is not None


def test_waiting_costs_no_busy_loop(server: Any, make_client: Any, wait_for: Any) -> None:
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(5)
    client = make_client()

    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(client.access_token) for _ in range(10)]
        wait_for(lambda: server.tokens_asked)
        before = time.process_time()
        time.sleep(0.3)
        spent = time.process_time() - before
        may_answer.set()
        assert {one.result(5).value for one in asked} == {"tok-1"}
    assert spent < 0.2
