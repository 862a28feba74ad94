"""What is on the wire, and what becomes of a server that does not answer as it should."""

import asyncio
import gc
import os
import sys
import threading
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx2
import pytest

from ecross import AsyncClient, Client
from ecross._transport.senders import encode_json
from ecross.errors import ApiError, ConfigurationError, EcrossError, ServerError, TransportError

SECRET = "s3cret-of-the-merchant"
NOT_HTTP = "127.0.0.1 did not speak HTTP as it should"


def test_every_request_says_who_calls_and_has_an_id_of_its_own(server: Any, caller: Any) -> None:
    caller.request("GET", "/a")
    caller.request("GET", "/b")

    agent = f"ecross-python/{version('ecross')} python/{sys.version_info.major}.{sys.version_info.minor}"
    assert {request.headers["User-Agent"] for request in server.requests} == {agent}
    assert {request.headers["Accept"] for request in server.requests} == {"application/json"}
    assert len({request.headers["X-Request-Id"] for request in server.requests}) == 3


def test_a_token_request_holds_the_credentials_and_asks_for_no_compression(server: Any, caller: Any) -> None:
    caller.access_token()

    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/token")
    assert request.body == b'{"clientId":"acme-1","clientSecret":"%s"}' % SECRET.encode()
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in request.headers


def test_many_calls_go_through_one_connection(server: Any, caller: Any) -> None:
    for _ in range(5):
        caller.request("GET", "/a")

    assert len({request.peer for request in server.requests}) == 1


def test_an_error_leaves_the_connection_usable(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(404, {"message": "There is none."}))
    with pytest.raises(EcrossError, match="There is none"):
        caller.request("GET", "/a")
    caller.request("GET", "/b")

    assert len({request.peer for request in server.requests}) == 1


def test_cookies_are_not_kept(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(headers={"Set-Cookie": "a=b; Path=/"}))
    caller.request("GET", "/a")
    caller.request("GET", "/a")

    assert all("Cookie" not in request.headers for request in server.requests)


def test_the_id_of_a_request_is_told_by_its_error(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(400))
    server.script("/b", answer(400, headers={"X-Request-Id": "srv-1"}))
    errors = []
    for path in ("/a", "/b"):
        with pytest.raises(ApiError) as caught:
            caller.request("GET", path)
        errors.append(caught.value)

    (sent,) = server.requests_to("/a")
    assert errors[0].request_id == sent.headers["X-Request-Id"]
    assert errors[1].request_id == "srv-1"


def test_a_redirect_is_not_followed(server: Any, other_server: Any, caller: Any, answer: Any) -> None:
    for status in (301, 302, 303, 307, 308):
        server.script("/a", answer(status, headers={"Location": f"{other_server.url}/steal"}))
        with pytest.raises(ApiError) as caught:
            caller.request("GET", "/a")
        assert caught.value.status == status
    server.script("/token", answer(307, headers={"Location": f"{other_server.url}/steal"}))
    with pytest.raises(EcrossError):
        caller.access_token(force_refresh=True)

    assert other_server.requests == []


@pytest.mark.parametrize(
    "location", ["http://[::1", "http://a:99999/", "//", "\x7f", "http://\xff/", "x:" + "y" * 70000]
)
def test_a_redirect_to_nowhere_is_no_more_than_an_error(location: str, make_caller: Any) -> None:
    transport = httpx2.MockTransport(
        lambda request: (
            httpx2.Response(302, headers={b"Location": location.encode("latin-1")})
            if request.url.path == "/a"
            else httpx2.Response(200, json={"token": "tok-1", "tokenType": "Bearer", "expiresIn": 28800})
        )
    )
    with pytest.raises(EcrossError):
        make_caller(transport=transport).request("GET", "/a")


def test_a_server_that_says_nothing_in_time(server: Any, make_caller: Any, answer: Any) -> None:
    may_answer = threading.Event()
    server.script("/a", answer(before=lambda: may_answer.wait(10)))
    caller = make_caller(timeout_seconds=0.05, max_retries=0)
    try:
        with pytest.raises(TransportError, match=r"^127\.0\.0\.1 did not answer in time\.$") as caught:
            caller.request("GET", "/a")
    finally:
        may_answer.set()

    assert caught.value.is_timeout
    assert caught.value.__context__ is None


def test_a_token_endpoint_that_says_nothing_in_time(server: Any, make_caller: Any) -> None:
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(10)
    caller = make_caller(timeout_seconds=0.05, max_retries=0)
    try:
        with pytest.raises(TransportError, match="in time") as caught:
            caller.access_token()
    finally:
        may_answer.set()

    assert caught.value.is_timeout


def test_a_server_that_is_not_there(make_caller: Any, closed_port: int) -> None:
    caller = make_caller(base_url=f"http://127.0.0.1:{closed_port}", max_retries=0)
    with pytest.raises(TransportError, match=r"^127\.0\.0\.1 could not be reached: ") as caught:
        caller.access_token()

    assert not caught.value.is_timeout
    assert caught.value.__context__ is None


def test_the_host_that_failed_is_the_one_that_is_named(server: Any, make_caller: Any, closed_port: int) -> None:
    urls = {"auth": server.url, "product": f"http://localhost:{closed_port}"}
    caller = make_caller(base_url=None, base_urls=urls, max_retries=0)
    with pytest.raises(TransportError, match=r"^localhost could not be reached"):
        caller.request("GET", "/a")


def test_a_server_that_breaks_off_is_asked_again(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(breaks_off=True), answer(breaks_off=True))
    assert caller.request("GET", "/a").status_code == 200
    assert len(server.requests_to("/a")) == 3


def test_a_server_that_breaks_off_is_not_asked_again_to_do_what_it_may_have_done(
    server: Any, caller: Any, answer: Any
) -> None:
    server.script("/a", answer(breaks_off=True))
    with pytest.raises(TransportError) as caught:
        caller.request("POST", "/a", json={})

    assert not caught.value.is_timeout
    assert len(server.requests_to("/a")) == 1


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x50",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
    ],
    ids=["ssh", "tls", "length", "cut", "gzip", "header"],
)
def test_a_server_that_does_not_speak_http(said: bytes, raw_server: Any, make_caller: Any) -> None:
    caller = make_caller(base_url=raw_server(said), max_retries=0)
    with pytest.raises(
        TransportError, match=r"^(127\.0\.0\.1 did not speak HTTP|The connection to 127\.0\.0\.1)"
    ) as caught:
        caller.access_token()
    assert caught.value.__context__ is None


def test_a_token_that_came_with_a_broken_answer_is_in_no_traceback(
    raw_server: Any, make_caller: Any, shown_by: Any
) -> None:
    said = b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"token": "the-secret-token", "tokenType": "Bearer"'
    with pytest.raises(TransportError) as caught:
        make_caller(base_url=raw_server(said), max_retries=0).access_token()
    assert "the-secret-token" not in shown_by(caught.value)


@pytest.mark.parametrize("size", [64 * 1024, 10**7])
def test_an_endless_answer_of_the_token_endpoint_is_not_read(
    size: int, server: Any, make_caller: Any, answer: Any
) -> None:
    server.script("/token", answer(body=b"x" * (size + 1)))
    with pytest.raises(TransportError, match="too long: does the base URL lead to an e-CROSS server"):
        make_caller(max_retries=0).access_token()


def test_an_answer_of_the_token_endpoint_as_long_as_may_be_is_read(server: Any, make_caller: Any, answer: Any) -> None:
    server.script("/token", answer(body=b"x" * 64 * 1024))
    with pytest.raises(ServerError, match="not a token"):
        make_caller(max_retries=0).access_token()


def test_a_proxy_that_refuses(monkeypatch: pytest.MonkeyPatch, closed_port: int, make_caller: Any) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://someone:pa55word@127.0.0.1:{closed_port}")
    caller = make_caller(base_url="http://localhost:1", max_retries=0)
    with pytest.raises(TransportError) as caught:
        caller.access_token()

    assert not caught.value.is_timeout
    assert "pa55word" not in repr(caught.value) + str(caught.value)


def test_a_server_that_cannot_prove_who_it_is_gets_no_secret(tls_server: Any, make_caller: Any) -> None:
    with pytest.raises(TransportError, match="certificate verify failed"):
        make_caller(base_url=tls_server.url, max_retries=0).access_token()

    assert tls_server.requests == []


def test_a_certificate_that_the_environment_names_is_trusted(
    tls_server: Any, make_caller: Any, tls_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_caller()
    monkeypatch.setenv("SSL_CERT_FILE", str(tls_files[0]))
    caller = make_caller(base_url=tls_server.url)

    assert caller.request("GET", "/a").status_code == 200
    assert len({request.peer for request in tls_server.requests}) == 1


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "ftp://someone:pa55word@127.0.0.1:1"),
        ("HTTPS_PROXY", "http://someone:pa55word@127.0.0.1:x"),
        ("SSL_CERT_FILE", "/nowhere/pa55word"),
        ("SSL_CERT_FILE", __file__),
    ],
)
def test_an_environment_that_allows_no_connection_is_named(
    variable: str, value: str, make_caller: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigurationError, match=variable) as caught:
        make_caller()

    assert "pa55word" not in str(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    ("error", "text", "is_timeout", "sent"),
    [
        (httpx2.ConnectTimeout("x"), "127.0.0.1 could not be reached in time.", True, 3),
        (httpx2.PoolTimeout("x"), "No connection was free in time.", True, 3),
        (httpx2.ReadTimeout("x"), "127.0.0.1 did not answer in time.", True, 1),
        (httpx2.WriteTimeout("x"), "127.0.0.1 did not answer in time.", True, 1),
        (httpx2.ConnectError("refused"), "127.0.0.1 could not be reached: refused", False, 3),
        (httpx2.ConnectError(""), "127.0.0.1 could not be reached: ConnectError", False, 3),
        (httpx2.ConnectError(f"{SECRET} tok-1"), "127.0.0.1 could not be reached: [hidden] [hidden]", False, 3),
        (httpx2.ProxyError("407"), "127.0.0.1 could not be reached: 407", False, 3),
        (httpx2.ReadError("tok-1"), "The connection to 127.0.0.1 broke off.", False, 1),
        (httpx2.WriteError("tok-1"), "The connection to 127.0.0.1 broke off.", False, 1),
        (httpx2.RemoteProtocolError("tok-1"), f"{NOT_HTTP} (RemoteProtocolError).", False, 1),
        (httpx2.DecodingError("tok-1"), f"{NOT_HTTP} (DecodingError).", False, 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_each_way_to_fail_has_its_words_and_a_post_is_repeated_only_if_it_was_not_sent(
    error: Exception,
    text: str,
    is_timeout: bool,  # noqa: FBT001 - a column of the table
    sent: int,
    make_caller: Any,
) -> None:
    seen: list[str] = []

    def fail(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/token":
            return httpx2.Response(200, json={"token": "tok-1", "tokenType": "Bearer", "expiresIn": 28800})
        seen.append(request.method)
        raise error

    with pytest.raises(TransportError) as caught:
        make_caller(transport=httpx2.MockTransport(fail)).request("POST", "/a")

    assert (str(caught.value), caught.value.is_timeout) == (text, is_timeout)
    assert caught.value.__context__ is None
    assert len(seen) == sent


def test_a_closed_client_says_so(server: Any, make_client: Any, make_async_client: Any) -> None:
    client = make_client()
    token = client.access_token()
    client.close()
    client.close()
    for call in (
        client.access_token,
        lambda: client.request("GET", "/a"),
        lambda: client.token_for(server.url),
        lambda: client.token_after(token),
    ):
        with pytest.raises(EcrossError, match="client is closed"):
            call()

    async def main() -> None:
        async with make_async_client() as tasked:
            await tasked.access_token()
            await tasked.aclose()
            for coroutine in (
                tasked.access_token(), tasked.request("GET", "/a"), tasked.token_for(server.url),
                tasked.token_after(token),
            ):  # fmt: skip
                with pytest.raises(EcrossError, match="client is closed"):
                    await coroutine

    asyncio.run(main())
    assert server.requests_to("/a") == []


def test_a_client_that_is_closed_during_a_call_sends_no_more(server: Any, make_caller: Any, answer: Any) -> None:
    caller = make_caller()
    caller.access_token()
    sender = caller.client._sender
    server.script("/a", answer(503, before=lambda: setattr(sender, "_is_closed", True)))
    with pytest.raises(EcrossError, match="client is closed"):
        caller.request("GET", "/a")

    assert len(server.requests_to("/a")) == 1
    sender._is_closed = False


def test_closing_closes_the_connections(server: Any, make_client: Any) -> None:
    closed: list[str] = []

    class _Transport(httpx2.HTTPTransport):
        def close(self) -> None:
            closed.append("closed")
            super().close()

    with Client(
        client_id="a", client_secret=SECRET, base_url=server.url, token_cache=None, transport=_Transport()
    ) as client:
        client.request("GET", "/a")
        assert closed == []
    assert closed == ["closed"]
    del make_client


@pytest.mark.parametrize("kind", ["threads", "tasks"])
def test_a_forked_child_opens_connections_of_its_own_and_leaves_its_parents(
    kind: str, server: Any, make_client: Any
) -> None:
    if kind == "threads":
        client = make_client()
        call, end = client.request, client.close
        runner = None
    else:
        runner = asyncio.Runner()
        tasked = AsyncClient(client_id="acme-1", client_secret=SECRET, base_url=server.url)

        def call(method: str, path: str) -> Any:
            assert runner is not None
            return runner.run(tasked.request(method, path))

        def end() -> None:
            assert runner is not None
            runner.run(tasked.aclose())

    call("GET", "/parent")
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's lines are not counted
        try:
            if runner is not None:
                runner = asyncio.Runner()
            call("GET", "/child")
            call("GET", "/child")
            end()
            gc.collect()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    call("GET", "/parent")
    end()
    if runner is not None:
        runner.close()

    parents = {request.peer for request in server.requests_to("/parent")}
    children = {request.peer for request in server.requests_to("/child")}
    assert (len(parents), len(children), parents & children) == (1, 1, set())
    assert len(server.requests_to("/child")) == 2


def test_a_child_that_closes_what_it_has_not_used_ends_nothing_of_its_parents(server: Any, make_client: Any) -> None:
    client = make_client()
    client.request("GET", "/parent")
    child = os.fork()
    if child == 0:  # pragma: no cover - the child's lines are not counted
        try:
            client.close()
            gc.collect()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    client.request("GET", "/parent")

    assert len({request.peer for request in server.requests_to("/parent")}) == 1


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        ({"a": [1, "é", None, True]}, b'{"a":[1,"\\u00e9",null,true]}'),
        (Decimal("9.99"), b"9.99"),
        (Decimal("8.00"), b"8"),
        (Decimal("-0.1"), b"-0.1"),
        (Decimal("1E+3"), b"1000"),
        (Decimal("1E+23"), b"1" + b"0" * 23),
        (Decimal(12345678901234567890), b"12345678901234567890"),
        (0.1, b"0.1"),
        (10**30, b"1" + b"0" * 30),
    ],
)
def test_json_is_written_as_it_is(value: object, encoded: bytes) -> None:
    assert encode_json(value) == encoded


class _Endless(list[Any]):
    def __init__(self) -> None:
        super().__init__([self])


def _deep() -> Any:
    value: Any = []
    for _ in range(5_000):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("Infinity"), Decimal("1E+400"),
        Decimal("0.12345678901234567890123"), {1, 2}, b"bytes", object(), {("a", "b"): 1}, [10**5000],
    ],
)  # fmt: skip
def test_what_json_cannot_hold_exactly_is_refused(value: object) -> None:
    with pytest.raises(ConfigurationError, match="json must be made of") as caught:
        encode_json(value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize("make", [_Endless, _deep])
def test_json_without_an_end_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="json must be made of"):
        encode_json(make())
