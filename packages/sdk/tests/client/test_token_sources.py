"""The token of a living client: renewed beside the calls, replaced once it was refused, for threads and for tasks."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from ecross import Client, FileCache, MemoryCache
from ecross._auth.account import Account, find_account
from ecross._auth.sources import _waker
from ecross._auth.steps import ReadEntry, TryLock
from ecross.errors import (
    ForbiddenError,
    InvalidCredentialsError,
    RateLimitedError,
    ServerError,
    TransportError,
    UnauthorizedError,
)

if TYPE_CHECKING:
    from pathlib import Path

LIFE = 28800.0


class FaultyCache(MemoryCache):
    """Breaks as nobody foresaw, when it is told to."""

    is_broken = False

    def read(self, auth_url: str, client_id: str) -> bytes | None:
        if self.is_broken:
            raise ZeroDivisionError
        return super().read(auth_url, client_id)


class SlowCache(MemoryCache):
    """Gives its lock only when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may_give = threading.Event(), threading.Event()
        self.reads = 0

    def read(self, auth_url: str, client_id: str) -> bytes | None:
        self.reads += 1
        return super().read(auth_url, client_id)

    def try_lock(self, auth_url: str, client_id: str) -> Any:
        may_give = self.may_give
        self.is_asked.set()
        may_give.wait(5)
        return super().try_lock(auth_url, client_id)


class TestRenewal:
    def test_the_old_token_serves_while_one_thread_fetches_the_new_one(
        self, server: Any, make_client: Any, clock: Any, wait_for: Any
    ) -> None:
        client = make_client(clock=clock)
        assert client.access_token().value == "tok-1"
        may_answer = threading.Event()
        server.token_delay = lambda: may_answer.wait(5)
        clock.now += LIFE * 0.91

        with ThreadPoolExecutor(10) as pool:
            values = {token.value for token in pool.map(lambda _: client.access_token(), range(50))}

        assert values == {"tok-1"}
        may_answer.set()
        wait_for(lambda: client.access_token().value == "tok-2")
        assert server.tokens_asked == 2

    def test_tasks_as_well(self, server: Any, make_async_client: Any, clock: Any) -> None:
        async def main() -> list[str]:
            async with make_async_client(clock=clock) as client:
                seen = [(await client.access_token()).value]
                clock.now += LIFE * 0.91
                while seen[-1] != "tok-2":
                    seen += [token.value for token in await asyncio.gather(*(client.access_token() for _ in range(20)))]
                return seen

        assert set(asyncio.run(main())) == {"tok-1", "tok-2"}
        assert server.tokens_asked == 2

    def test_one_that_fails_fails_no_call_and_is_not_tried_again_at_once(
        self, server: Any, make_client: Any, clock: Any, answer: Any, wait_for: Any
    ) -> None:
        client = make_client(clock=clock)
        client.access_token()
        server.script("/token", answer(500), answer(500))
        clock.now += LIFE * 0.91
        client.request("GET", "/a")
        wait_for(lambda: server.tokens_asked == 2 and not client._source._renewals)

        assert {client.access_token().value for _ in range(20)} == {"tok-1"}
        assert server.tokens_asked == 2

    def test_closing_waits_for_one_that_is_under_way_so_that_the_next_run_has_its_token(
        self, server: Any, make_client: Any, clock: Any, wait_for: Any
    ) -> None:
        cache = MemoryCache()
        client = make_client(clock=clock, token_cache=cache)
        client.access_token()
        may_answer = threading.Event()
        server.token_delay = lambda: may_answer.wait(5)
        clock.now += LIFE * 0.91
        client.access_token()
        wait_for(lambda: server.tokens_asked == 2)
        threading.Timer(0.05, may_answer.set).start()
        client.close()

        assert make_client(clock=clock, token_cache=cache).access_token().value == "tok-2"
        assert server.tokens_asked == 2

    def test_closing_in_a_loop_waits_as_well(self, server: Any, make_async_client: Any, clock: Any) -> None:
        cache = MemoryCache()

        async def main() -> str:
            async with make_async_client(clock=clock, token_cache=cache) as client:
                await client.access_token()
                server.token_delay = lambda: time.sleep(0.05)
                clock.now += LIFE * 0.91
                await client.access_token()
            async with make_async_client(clock=clock, token_cache=cache) as client:
                value: str = (await client.access_token()).value
                return value

        assert asyncio.run(main()) == "tok-2"
        assert server.tokens_asked == 2

    def test_but_not_for_long(
        self, server: Any, make_async_client: Any, clock: Any, wait_for: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ecross._auth.sources._LONGEST_CLOSING_SECONDS", 0.02)
        may_answer = threading.Event()
        cache = MemoryCache()

        async def main() -> None:
            async with make_async_client(clock=clock, token_cache=cache) as client:
                await client.access_token()
                server.token_delay = lambda: may_answer.wait(5)
                clock.now += LIFE * 0.91
                await client.access_token()
                await asyncio.to_thread(wait_for, lambda: server.tokens_asked == 2)

        asyncio.run(main())
        may_answer.set()
        lock = cache.try_lock(server.url, "acme-1")
        assert lock is not None
        lock.release()

    def test_one_that_breaks_is_told_of_and_the_token_serves_on(
        self, server: Any, make_client: Any, clock: Any, wait_for: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = FaultyCache()
        client = make_client(clock=clock, token_cache=cache)
        client.access_token()
        cache.is_broken = True
        clock.now += LIFE * 0.91
        with caplog.at_level(logging.WARNING, "ecross"):
            assert client.access_token().value == "tok-1"
            wait_for(lambda: "ZeroDivisionError" in caplog.text)
        assert client.access_token().value == "tok-1"
        client.close()
        assert caplog.text.count("could not be renewed") == 1
        assert server.tokens_asked == 1

    def test_in_a_loop_as_well(
        self, make_async_client: Any, clock: Any, wait_for: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        cache = FaultyCache()

        async def main() -> str:
            async with make_async_client(clock=clock, token_cache=cache) as client:
                await client.access_token()
                cache.is_broken = True
                clock.now += LIFE * 0.91
                await client.access_token()
                await asyncio.to_thread(wait_for, lambda: "ZeroDivisionError" in caplog.text)
                value: str = (await client.access_token()).value
                return value

        with caplog.at_level(logging.WARNING, "ecross"):
            assert asyncio.run(main()) == "tok-1"

    def test_where_no_thread_can_be_started_the_token_serves_on(
        self, server: Any, make_client: Any, clock: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = make_client(clock=clock)
        client.access_token()
        clock.now += LIFE * 0.91
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", _cannot_start)
            assert client.access_token().value == "tok-1"
        assert client.access_token().value == "tok-1"
        assert server.tokens_asked == 1

    def test_while_closing_none_begins(self, server: Any, make_client: Any, clock: Any) -> None:
        client = make_client(clock=clock)
        client.access_token()
        client._source.close()
        clock.now += LIFE * 0.91
        assert client.access_token().value == "tok-1"
        assert server.tokens_asked == 1

    def test_while_closing_in_a_loop_none_begins(self, server: Any, make_async_client: Any, clock: Any) -> None:
        async def main() -> str:
            async with make_async_client(clock=clock) as client:
                await client.access_token()
                await client._source.aclose()
                clock.now += LIFE * 0.91
                value: str = (await client.access_token()).value
                return value

        assert asyncio.run(main()) == "tok-1"
        assert server.tokens_asked == 1


def _cannot_start(_: threading.Thread) -> None:
    raise RuntimeError("can't start new thread")


class TestRefusedTokens:
    def test_one_retry_with_a_new_token(self, server: Any, make_client: Any, answer: Any) -> None:
        server.script("/a", answer(401))
        make_client().request("GET", "/a")
        sent = [request.headers["Authorization"] for request in server.requests_to("/a")]
        assert sent == ["Bearer tok-1", "Bearer tok-2"]

    def test_a_new_one_that_is_refused_too_is_the_last_for_ten_seconds(
        self, server: Any, make_client: Any, answer: Any, clock: Any
    ) -> None:
        client = make_client(clock=clock)
        server.script("/a", *[answer(401)] * 6)
        for _ in range(4):
            with pytest.raises(UnauthorizedError):
                client.request("GET", "/a")
        assert server.tokens_asked == 2
        clock.now += 11
        client.request("GET", "/a")
        assert server.tokens_asked == 3

    def test_one_that_another_process_has_replaced_costs_no_request(
        self, server: Any, make_client: Any, answer: Any, tmp_path: Path
    ) -> None:
        first, second = (make_client(token_cache=FileCache(tmp_path / "cache")) for _ in range(2))
        first.access_token()
        second.access_token()
        server.script("/a", answer(401))
        server.script("/b", answer(401))
        first.request("GET", "/a")
        second.request("GET", "/b")
        assert server.tokens_asked == 2
        assert [request.headers["Authorization"] for request in server.requests_to("/b")][-1] == "Bearer tok-2"

    def test_a_clock_that_is_set_back_does_not_make_ten_seconds_a_day(
        self, server: Any, make_client: Any, clock: Any, answer: Any
    ) -> None:
        client = make_client(clock=clock)
        server.script("/a", *[answer(401)] * 3)
        with pytest.raises(UnauthorizedError):
            client.request("GET", "/a")
        clock.now -= 86400
        assert client.request("GET", "/a").status_code == 200

    def test_forbidden_is_no_reason_for_another(self, server: Any, make_client: Any, answer: Any) -> None:
        server.script("/a", answer(403))
        with pytest.raises(ForbiddenError):
            make_client().request("GET", "/a")
        assert server.tokens_asked == 1

    def test_a_body_that_is_gone_is_not_sent_again_and_the_next_call_has_a_new_token(
        self, server: Any, make_client: Any, answer: Any
    ) -> None:
        client = make_client()
        server.script("/a", answer(401))
        with pytest.raises(UnauthorizedError):
            client.request("POST", "/a", content=iter([b"once"]))
        client.request("GET", "/b")
        assert server.requests_to("/b")[0].headers["Authorization"] == "Bearer tok-2"
        assert len(server.requests_to("/a")) == 1

    def test_in_a_loop_as_well(self, server: Any, make_async_client: Any, answer: Any) -> None:
        async def main() -> None:
            async with make_async_client() as client:
                server.script("/a", answer(401))
                await client.request("GET", "/a")
                await client.access_token(force_refresh=True)
                server.script("/a", answer(401), answer(401))
                with pytest.raises(UnauthorizedError):
                    await client.request("GET", "/a")

        asyncio.run(main())
        assert server.tokens_asked == 4

    def test_nor_is_a_stream_of_a_task_and_its_token_is_taken_from_no_cache_again(
        self, server: Any, make_async_client: Any, answer: Any
    ) -> None:
        async def stream() -> Any:
            yield b"{}"

        async def main() -> None:
            async with make_async_client() as client:
                server.script("/a", answer(401))
                with pytest.raises(UnauthorizedError):
                    await client.request("POST", "/a", content=stream())
                await client.request("GET", "/a")

        asyncio.run(main())
        sent = [request.headers["Authorization"] for request in server.requests_to("/a")]
        assert sent == ["Bearer tok-1", "Bearer tok-2"]


class TestLostFolders:
    @pytest.mark.parametrize("loss", ["removed", "a file", "open to all"])
    def test_a_folder_that_is_lost_under_a_client_costs_no_call(
        self, server: Any, make_client: Any, tmp_path: Path, loss: str
    ) -> None:
        client = make_client(token_cache=FileCache(tmp_path / "cache"))
        client.access_token()
        if loss == "open to all":
            (tmp_path / "cache").chmod(0o777)
        else:
            shutil.rmtree(tmp_path / "cache")
        if loss == "a file":
            (tmp_path / "cache").touch()

        assert client.access_token(force_refresh=True).value == "tok-2"
        assert {client.access_token().value for _ in range(5)} == {"tok-2"}
        assert server.tokens_asked == 2


class TestAbsence:
    def test_a_server_that_is_away_is_a_transport_error(self, make_client: Any) -> None:
        with pytest.raises(TransportError, match=r"127\.0\.0\.1"):
            make_client(base_url="http://127.0.0.1:9", max_retries=0).access_token()

    def test_in_a_loop_as_well(self, make_async_client: Any) -> None:
        async def main() -> None:
            async with make_async_client(base_url="http://127.0.0.1:9", max_retries=0) as client:
                await client.access_token()

        with pytest.raises(TransportError, match=r"127\.0\.0\.1"):
            asyncio.run(main())


class TestForcedRefresh:
    def test_it_is_new_for_this_client_and_for_the_next(self, server: Any, make_client: Any) -> None:
        cache = MemoryCache()
        client = make_client(token_cache=cache)
        client.access_token()
        assert client.access_token(force_refresh=True).value == "tok-2"
        assert make_client(token_cache=cache).access_token().value == "tok-2"
        assert server.tokens_asked == 2

    def test_until_it_is_there_the_good_one_serves_others(self, server: Any, make_client: Any, wait_for: Any) -> None:
        client = make_client()
        client.access_token()
        may_answer = threading.Event()
        server.token_delay = lambda: may_answer.wait(5)
        with ThreadPoolExecutor(1) as pool:
            forced = pool.submit(client.access_token, force_refresh=True)
            wait_for(lambda: server.tokens_asked == 2)
            assert client.access_token().value == "tok-1"
            assert not may_answer.is_set()
            assert not forced.done()
            may_answer.set()
            assert forced.result(5).value == "tok-2"

    def test_one_that_fails_leaves_the_good_token_to_all(
        self, server: Any, make_client: Any, answer: Any, shown_by: Any
    ) -> None:
        cache = MemoryCache()
        client = make_client(token_cache=cache, max_retries=0)
        client.access_token()
        server.script("/token", answer(500), answer(401))
        for kind in (ServerError, InvalidCredentialsError):
            with pytest.raises(kind) as caught:
                client.access_token(force_refresh=True)
            assert "tok-1" not in shown_by(caught.value)
        assert client.access_token().value == "tok-1"
        assert make_client(token_cache=cache).access_token().value == "tok-1"

    def test_in_a_loop_as_well(self, server: Any, make_async_client: Any, answer: Any) -> None:
        async def main() -> str:
            async with make_async_client(max_retries=0) as client:
                await client.access_token()
                server.script("/token", answer(500))
                with pytest.raises(ServerError):
                    await client.access_token(force_refresh=True)
                value: str = (await client.access_token()).value
                return value

        assert asyncio.run(main()) == "tok-1"
        assert server.tokens_asked == 2


class TestOfOtherProcesses:
    """Two `FileCache` objects of one folder know of each other as two processes do: by its files."""

    def test_a_rate_limit_is_kept(self, server: Any, make_client: Any, answer: Any, tmp_path: Path) -> None:
        server.script("/token", answer(429, headers={"Retry-After": "100"}))
        waits = []
        for _ in range(3):
            client = make_client(token_cache=FileCache(tmp_path / "cache"))
            with pytest.raises(RateLimitedError) as caught:
                client.access_token()
            waits.append(caught.value.retry_after_seconds)
        assert server.tokens_asked == 1
        assert all(90 < wait <= 100.1 for wait in waits if wait is not None)

    def test_wrong_credentials_are_not_sent_again(
        self, server: Any, make_client: Any, answer: Any, tmp_path: Path
    ) -> None:
        server.script("/token", answer(401, {"message": "Incorrect username or password."}))
        for _ in range(3):
            with pytest.raises(InvalidCredentialsError):
                make_client(token_cache=FileCache(tmp_path / "cache")).access_token()
        assert server.tokens_asked == 1
        right = make_client(token_cache=FileCache(tmp_path / "cache"), client_secret="another")
        assert right.access_token().value == "tok-2"

    def test_who_holds_the_lock_for_too_long_is_told_of(self, server: Any, make_client: Any) -> None:
        cache = MemoryCache()
        lock = cache.try_lock(server.url, "acme-1")
        assert lock is not None
        with pytest.raises(TransportError, match="in time") as caught:
            make_client(token_cache=cache, timeout_seconds=0.05).access_token()
        assert caught.value.is_timeout
        lock.release()
        assert make_client(token_cache=cache).access_token().value == "tok-1"

    def test_in_a_loop_as_well(self, server: Any, make_async_client: Any) -> None:
        cache = MemoryCache()
        lock = cache.try_lock(server.url, "acme-1")

        async def main() -> None:
            async with make_async_client(token_cache=cache, timeout_seconds=0.05) as client:
                await client.access_token()

        with pytest.raises(TransportError, match="in time"):
            asyncio.run(main())
        assert lock is not None
        lock.release()


class TestFlights:
    def test_one_whose_lease_is_over_is_taken_over_by_a_thread(self, server: Any, make_client: Any) -> None:
        cache = MemoryCache()
        client = make_client(token_cache=cache)
        lead_and_vanish(find_account(cache, server.url, "acme-1"))
        assert client.access_token().value == "tok-1"

    def test_and_by_a_task(self, server: Any, make_async_client: Any) -> None:
        cache = MemoryCache()

        async def main() -> str:
            async with make_async_client(token_cache=cache) as client:
                lead_and_vanish(find_account(cache, server.url, "acme-1"))
                value: str = (await client.access_token()).value
                return value

        assert asyncio.run(main()) == "tok-1"

    def test_what_its_leader_does_after_it_was_given_up_changes_nothing(self, server: Any) -> None:
        cache = MemoryCache()
        account = Account(cache, server.url, "acme-1")
        flight, _ = account.enter(lambda: None, mark=b"", now=0.0, lease_seconds=1.0)
        flight.abandon()
        assert flight.work(TryLock()) is None
        assert flight.work(ReadEntry()) is None
        lock = cache.try_lock(server.url, "acme-1")
        assert lock is not None

    def test_one_whose_lease_is_over_holds_up_no_renewal(self, server: Any) -> None:
        account = Account(MemoryCache(), server.url, "acme-1")
        woken: list[str] = []
        first, _ = account.enter(lambda: None, mark=b"", now=0.0, lease_seconds=1.0)
        account.enter(lambda: woken.append("a"), mark=b"", now=0.5, lease_seconds=1.0)
        assert account.enter_if_free(mark=b"", now=0.9, lease_seconds=1.0) is None
        second = account.enter_if_free(mark=b"", now=1.1, lease_seconds=1.0)
        assert second is not None
        assert woken == ["a"]
        account.leave(first)
        assert account.enter_if_free(mark=b"", now=1.2, lease_seconds=1.0) is None

    def test_a_lock_that_its_leader_got_too_late_counts_as_not_got(self, server: Any) -> None:
        cache = SlowCache()
        account = Account(cache, server.url, "acme-1")
        flight, _ = account.enter(lambda: None, mark=b"", now=0.0, lease_seconds=1.0)
        with ThreadPoolExecutor(1) as pool:
            got = pool.submit(flight.work, TryLock())
            assert cache.is_asked.wait(5)
            flight.abandon()
            cache.may_give.set()
            assert not got.result(5)
        assert cache.try_lock(server.url, "acme-1") is not None

    def test_a_leader_who_was_given_up_takes_what_the_next_one_got_and_asks_for_nothing(
        self, server: Any, make_client: Any, wait_for: Any
    ) -> None:
        cache = SlowCache()
        may_answer = threading.Event()
        server.token_delay = lambda: may_answer.wait(5)
        account = find_account(cache, server.url, "acme-1")
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(make_client(token_cache=cache).access_token)
            assert cache.is_asked.wait(5)
            assert account._flight is not None
            account._flight.lease_until = 0.0
            may_give_to_first, cache.may_give = cache.may_give, threading.Event()
            cache.may_give.set()
            second = pool.submit(make_client(token_cache=cache).access_token)
            wait_for(lambda: server.tokens_asked)
            may_give_to_first.set()
            # It looks in the beginning, after the lock and after its first pause; the second one looks twice.
            wait_for(lambda: cache.reads >= 5 or server.tokens_asked > 1)
            may_answer.set()
            assert first.result(5).value == second.result(5).value == "tok-1"
        assert server.tokens_asked == 1

    @pytest.mark.parametrize(
        "efforts",
        [({"max_retries": 0}, {}), ({"max_retries": 0, "timeout_seconds": 29.0}, {"max_retries": 0})],
    )
    def test_who_tries_longer_or_more_often_than_the_leader_does_not_share_its_failure(
        self, efforts: tuple[dict[str, Any], ...], server: Any, make_client: Any, answer: Any, wait_for: Any
    ) -> None:
        cache = MemoryCache()
        may_answer = threading.Event()
        server.script("/token", answer(500, before=lambda: may_answer.wait(5)))
        hasty, patient = (make_client(token_cache=cache, **effort) for effort in efforts)
        account = find_account(cache, server.url, "acme-1")
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(hasty.access_token)
            wait_for(lambda: server.tokens_asked)
            second = pool.submit(patient.access_token)
            wait_for(lambda: account._flight is not None and account._flight.wakers)
            may_answer.set()
            with pytest.raises(ServerError):
                first.result(5)
            assert second.result(5).value == "tok-2"

    def test_a_lock_that_comes_after_its_task_was_cancelled_is_given_back(
        self, server: Any, make_client: Any, make_async_client: Any
    ) -> None:
        cache = SlowCache()

        async def main() -> None:
            async with make_async_client(token_cache=cache) as client:
                task = asyncio.create_task(client.access_token())
                await asyncio.to_thread(cache.is_asked.wait, 5)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                cache.may_give.set()

        asyncio.run(main())
        assert make_client(token_cache=cache).access_token().value == "tok-1"
        assert server.tokens_asked == 1

    def test_who_waits_in_a_loop_that_is_closed_holds_nobody_up(self) -> None:
        loop = asyncio.new_event_loop()
        wake = _waker(loop, asyncio.Event())
        loop.close()
        wake()

    def test_a_good_token_that_came_meanwhile_is_taken(self, server: Any, make_client: Any, wait_for: Any) -> None:
        may_answer = threading.Event()
        server.token_delay = lambda: may_answer.wait(5)
        cache = MemoryCache()
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(make_client(token_cache=cache).access_token)
            wait_for(lambda: server.tokens_asked)
            second = pool.submit(make_client(token_cache=cache).access_token)
            may_answer.set()
            assert first.result(5).value == second.result(5).value == "tok-1"


def lead_and_vanish(account: Account) -> None:
    account.enter(lambda: None, mark=b"", now=time.monotonic(), lease_seconds=0.05)


class TestForks:
    def test_a_child_uses_the_token_of_its_parent_and_its_files(self, server: Any, tmp_path: Path) -> None:
        told = {"client_id": "acme-1", "client_secret": "s", "base_url": server.url}
        with Client(**told, token_cache=FileCache(tmp_path / "cache")) as client:
            client.access_token()
            read_end, write_end = os.pipe()
            child = os.fork()
            if child == 0:  # pragma: no cover - the child's lines are not counted
                try:
                    own = client.access_token().value
                    forced = client.access_token(force_refresh=True).value
                    os.write(write_end, f"{own} {forced}".encode())
                finally:
                    os._exit(0)
            os.close(write_end)
            os.waitpid(child, 0)
            with os.fdopen(read_end) as pipe:
                assert pipe.read() == "tok-1 tok-2"
            assert client.access_token().value == "tok-1"
            assert server.tokens_asked == 2
