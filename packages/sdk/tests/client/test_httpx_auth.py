"""`EcrossAuth` for those who send with `httpx2` themselves, from threads and from tasks."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx2
import pytest

from ecross import AsyncClient, Client, EcrossAuth, MemoryCache
from ecross.errors import ConfigurationError

SECRET = "s3cret-of-the-merchant"
Send = Callable[..., httpx2.Response]


@pytest.fixture(params=["threads", "tasks"])
def send(request: pytest.FixtureRequest, server: Any, clock: Any) -> Iterator[Send]:
    """Sends a request with `EcrossAuth`; `stream` is a body that can be sent once."""
    settings: dict[str, Any] = {"client_id": "acme-1", "client_secret": SECRET, "base_url": server.url + "/api"}
    settings |= {"token_cache": MemoryCache(), "clock": clock, "max_retries": 0}

    async def chunks(stream: list[bytes]) -> AsyncIterator[bytes]:
        for chunk in stream:
            yield chunk

    if request.param == "threads":
        with Client(**settings) as client, httpx2.Client(auth=EcrossAuth(client)) as sender:

            def from_a_thread(method: str, url: str, *, stream: list[bytes] | None = None, **options: Any) -> Any:
                return sender.request(method, url, **(options if stream is None else {"content": iter(stream)}))

            yield from_a_thread
        return
    with asyncio.Runner() as runner:
        tasked = AsyncClient(**settings)
        tasks_sender = httpx2.AsyncClient(auth=EcrossAuth(tasked))

        def from_a_task(method: str, url: str, *, stream: list[bytes] | None = None, **options: Any) -> Any:
            told = options if stream is None else {"content": chunks(stream)}
            return runner.run(tasks_sender.request(method, url, **told))

        yield from_a_task
        runner.run(tasks_sender.aclose())
        runner.run(tasked.aclose())


def sent_with(server: Any, path: str = "/api/a") -> list[str | None]:
    return [request.headers.get("Authorization") for request in server.requests_to(path)]


def test_the_token_is_added(server: Any, send: Send) -> None:
    assert send("POST", f"{server.url}/api/a", json={}, headers={"Authorization": "Bearer mine"}).status_code == 200
    assert sent_with(server) == ["Bearer tok-1"]
    assert [request.path for request in server.requests] == ["/api/token", "/api/a"]


@pytest.mark.parametrize("body", [{}, {"json": {"a": 1}}, {"data": {"a": "b"}}, {"content": b"a"}])
def test_after_a_401_the_request_is_sent_once_more(body: Any, server: Any, send: Send, answer: Any) -> None:
    server.script("/api/a", answer(401, {"message": "No."}))

    assert send("POST", f"{server.url}/api/a", **body).status_code == 200
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-2"]
    assert len({request.body for request in server.requests_to("/api/a")}) == 1
    assert len({request.peer for request in server.requests_to("/api/a")}) == 1


def test_a_second_401_is_given_to_the_caller_and_stops_the_asking(
    server: Any, send: Send, clock: Any, answer: Any
) -> None:
    server.script("/api/a", *[answer(401, {"message": "No."})] * 9)
    seen = []
    for seconds in (0.0, 9.0, 1.5):
        clock.now += seconds
        response = send("GET", f"{server.url}/api/a")
        assert (response.status_code, response.json()) == (401, {"message": "No."})
        seen.append((len(sent_with(server)), len(server.requests_to("/api/token"))))

    assert seen == [(2, 2), (3, 2), (5, 3)]


def test_a_stream_is_sent_once_and_the_next_request_has_another_token(server: Any, send: Send, answer: Any) -> None:
    server.script("/api/a", answer(401))

    assert send("POST", f"{server.url}/api/a", stream=[b"a", b"b"]).status_code == 401
    assert send("POST", f"{server.url}/api/a", stream=[b"a", b"b"]).status_code == 200
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-2"]
    assert [request.body for request in server.requests_to("/api/a")] == [b"ab", b"ab"]


def test_an_answer_that_is_read_piece_by_piece_is_so_after_a_401_too(
    server: Any, make_client: Any, answer: Any
) -> None:
    server.script("/a", answer(401), answer(body=b"x" * 100_000))
    with (
        httpx2.Client(auth=EcrossAuth(make_client())) as sender,
        sender.stream("GET", f"{server.url}/a") as response,
    ):
        assert not response.is_closed
        assert sum(map(len, response.iter_bytes())) == 100_000


def test_a_request_elsewhere_is_not_sent(server: Any, other_server: Any, send: Send) -> None:
    for url in (f"{other_server.url}/api/a", f"{server.url}/a", f"{server.url}/apix", f"{server.url}/api/../a"):
        with pytest.raises(ConfigurationError, match="goes elsewhere"):
            send("GET", url)
    assert (server.requests, other_server.requests) == ([], [])


def test_a_redirect_to_a_stranger_carries_no_token_and_its_401_says_nothing(
    server: Any, other_server: Any, send: Send, answer: Any
) -> None:
    server.script("/api/a", *[answer(302, headers={"Location": f"{other_server.url}/api/a"})] * 2)
    other_server.script("/api/a", answer(401), answer(401))

    for _ in range(2):
        assert send("GET", f"{server.url}/api/a", follow_redirects=True).status_code == 401
    assert sent_with(other_server) == [None, None]
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-1"]


def test_a_redirect_is_not_followed_unasked(server: Any, other_server: Any, send: Send, answer: Any) -> None:
    server.script("/api/a", answer(302, headers={"Location": f"{other_server.url}/api/a"}))

    assert send("GET", f"{server.url}/api/a").status_code == 302
    assert other_server.requests == []


def test_the_kinds_of_clients_are_not_mixed(server: Any, make_client: Any, make_async_client: Any) -> None:
    async def main() -> None:
        async with make_async_client() as tasked, httpx2.AsyncClient(auth=EcrossAuth(make_client())) as wrong:
            with pytest.raises(ConfigurationError, match="give an AsyncClient here"):
                await wrong.get(server.url)
            with (
                httpx2.Client(auth=EcrossAuth(tasked)) as other,
                pytest.raises(ConfigurationError, match="give a Client here"),
            ):
                other.get(server.url)

    asyncio.run(main())
    assert server.requests == []
