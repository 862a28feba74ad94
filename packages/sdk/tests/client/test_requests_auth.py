"""`ecross.requests.EcrossAuth` for those who send with the `requests` library."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from ecross import AsyncClient, Client, MemoryCache
from ecross.errors import ConfigurationError, TransportError
from ecross.requests import EcrossAuth

SECRET = "s3cret-of-the-merchant"


@pytest.fixture
def session(server: Any, clock: Any) -> Iterator[requests.Session]:
    """A session that authenticates."""
    told = {"client_id": "acme-1", "client_secret": SECRET, "base_url": server.url + "/api"}
    with (
        Client(**told, token_cache=MemoryCache(), clock=clock, max_retries=0) as client,
        requests.Session() as opened,
    ):
        opened.auth = EcrossAuth(client)
        yield opened


def sent_with(server: Any, path: str = "/api/a") -> list[str | None]:
    return [request.headers.get("Authorization") for request in server.requests_to(path)]


def test_the_token_is_added(server: Any, session: requests.Session) -> None:
    assert session.post(f"{server.url}/api/a", json={}, headers={"Authorization": "Bearer mine"}).status_code == 200
    assert sent_with(server) == ["Bearer tok-1"]


@pytest.mark.parametrize("body", [{}, {"json": {"a": 1}}, {"data": {"a": "b"}}, {"data": b"a"}, {"data": "a"}])
@pytest.mark.parametrize("is_streamed", [False, True])
def test_after_a_401_the_request_is_sent_once_more(
    body: Any,
    is_streamed: bool,  # noqa: FBT001 - an option
    server: Any,
    session: requests.Session,
    answer: Any,
) -> None:
    server.script("/api/a", answer(401, {"message": "No."}))
    response = session.post(f"{server.url}/api/a", **body, stream=is_streamed)

    assert (response.status_code, [earlier.status_code for earlier in response.history]) == (200, [401])
    assert response.json() == {}
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-2"]
    assert len({request.body for request in server.requests_to("/api/a")}) == 1
    assert len({request.peer for request in server.requests_to("/api/a")}) == 1


def test_a_second_401_is_given_to_the_caller_and_stops_the_asking(
    server: Any, session: requests.Session, clock: Any, answer: Any
) -> None:
    server.script("/api/a", *[answer(401, {"message": "No."})] * 9)
    seen = []
    for seconds in (0.0, 9.0, 1.5):
        clock.now += seconds
        response = session.get(f"{server.url}/api/a")
        assert (response.status_code, response.json()) == (401, {"message": "No."})
        seen.append((len(sent_with(server)), len(server.requests_to("/api/token"))))

    assert seen == [(2, 2), (3, 2), (5, 3)]


@pytest.mark.parametrize("make", [lambda: iter([b"a", b"b"]), lambda: io.BytesIO(b"ab")])
def test_a_stream_is_sent_once_and_the_next_request_has_another_token(
    make: Any, server: Any, session: requests.Session, answer: Any
) -> None:
    server.script("/api/a", answer(401))

    assert session.post(f"{server.url}/api/a", data=make()).status_code == 401
    assert session.post(f"{server.url}/api/a", data=make()).status_code == 200
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-2"]
    assert [request.body for request in server.requests_to("/api/a")] == [b"ab", b"ab"]


def test_a_request_elsewhere_is_not_sent(server: Any, other_server: Any, session: requests.Session) -> None:
    port, other = server.url.rpartition(":")[2], other_server.url.removeprefix("http://")
    for url in (
        f"{other_server.url}/api/a",
        f"http://127.0.0.1:{port}@{other}/api/a",
        f"http://{other}\\@127.0.0.1:{port}/api/a",
        f"http://127.0.0.1:{port}\\@{other}/api/a",
        f"http://{other}#@127.0.0.1:{port}/api/a",
        f"http://{other}?@127.0.0.1:{port}/api/a",
        f"{server.url}/a",
        f"{server.url}/apix",
        f"{server.url}/api/../a",
        f"{server.url}/api/%2e%2e/a",
        f"{server.url}/api%2Fa",
    ):
        with pytest.raises((ConfigurationError, requests.exceptions.InvalidURL)):
            session.get(url)
    assert (server.requests, other_server.requests) == ([], [])


def test_a_redirect_to_a_stranger_carries_no_token_and_its_401_says_nothing(
    server: Any, other_server: Any, session: requests.Session, answer: Any
) -> None:
    server.script("/api/a", *[answer(302, headers={"Location": f"{other_server.url}/api/a"})] * 2)
    other_server.script("/api/a", answer(401), answer(401))

    for _ in range(2):
        assert session.get(f"{server.url}/api/a").status_code == 401
    assert sent_with(other_server) == [None, None]
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-1"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("location", ["/outside", "/api/b", "//127.0.0.1:{port}/outside"])
def test_a_redirect_within_the_host_carries_no_token_either(
    location: str, status: int, server: Any, session: requests.Session, answer: Any
) -> None:
    location = location.format(port=server.url.rpartition(":")[2])
    server.script("/api/a", answer(status, headers={"Location": location}))

    assert session.get(f"{server.url}/api/a").status_code == 200
    assert server.requests[-1].path != "/api/a"
    assert "Authorization" not in server.requests[-1].headers


def test_a_redirect_after_a_401_carries_no_token(
    server: Any, other_server: Any, session: requests.Session, answer: Any
) -> None:
    to_b, away = {"Location": "/api/b"}, {"Location": f"{other_server.url}/c"}
    server.script("/api/a", answer(401), answer(302, headers=to_b))
    server.script("/api/b", answer(302, headers=away))

    assert session.get(f"{server.url}/api/a").status_code == 200
    assert sent_with(server) == ["Bearer tok-1", "Bearer tok-2"]
    assert sent_with(server, "/api/b") == [None]
    assert sent_with(other_server, "/c") == [None]


def test_a_prepared_request_can_be_sent_again(server: Any, session: requests.Session, answer: Any) -> None:
    server.script("/api/a", answer(302, headers={"Location": "/api/b"}))
    prepared = session.prepare_request(requests.Request("GET", f"{server.url}/api/a"))

    assert session.send(prepared).status_code == 200
    assert session.send(prepared).status_code == 200


def test_threads_share_one_session(server: Any, session: requests.Session) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: session.get(f"{server.url}/api/a").status_code, range(24)))

    assert answers == [200] * 24
    assert len(server.requests_to("/api/token")) == 1


def test_no_token_in_time_is_the_clients_error(session: requests.Session, server: Any, answer: Any) -> None:
    server.script("/api/token", answer(breaks_off=True))
    with pytest.raises(TransportError):
        session.get(f"{server.url}/api/a")


def test_an_async_client_is_refused() -> None:
    tasked = AsyncClient(
        client_id="acme-1", client_secret=SECRET, base_url="http://127.0.0.1:9", token_cache=MemoryCache()
    )
    with pytest.raises(ConfigurationError, match="give a Client, not an AsyncClient"):
        EcrossAuth(tasked)  # type: ignore[arg-type]
