"""`request(...)`: what callers may tell, and what comes of it."""

import re
from typing import Any

import httpx2
import pytest

from ecross._transport.senders import ApiRequest
from ecross.errors import ConfigurationError, UnauthorizedError


def test_json_is_sent_as_json(server: Any, caller: Any) -> None:
    caller.request("post", "/a", json={"name": "Café"})

    (received,) = server.requests_to("/a")
    assert (received.method, received.body) == ("POST", b'{"name":"Caf\\u00e9"}')
    assert received.headers["Content-Type"] == "application/json"
    assert received.headers["Authorization"] == "Bearer tok-1"


@pytest.mark.parametrize("value", [[], {}, 0, False, ""])
def test_json_that_is_empty_is_a_body_too(value: object, server: Any, caller: Any) -> None:
    caller.request("POST", "/a", json=value)
    (received,) = server.requests_to("/a")
    assert received.body in {b"[]", b"{}", b"0", b"false", b'""'}


@pytest.mark.parametrize(
    ("content", "body"),
    [(b"bytes", b"bytes"), ("Café", "Café".encode()), (bytearray(b"a"), b"a"), (memoryview(b"b"), b"b")],
)
def test_content_is_sent_as_it_is(content: Any, body: bytes, server: Any, caller: Any) -> None:
    caller.request("PUT", "/a", content=content, headers={"content-type": "text/csv"})

    (received,) = server.requests_to("/a")
    assert received.body == body
    assert received.headers["content-type"] == "text/csv"


def test_the_callers_content_type_comes_first(server: Any, caller: Any) -> None:
    caller.request("POST", "/a", json=1, headers={"content-type": "application/merge-patch+json"})

    (received,) = server.requests_to("/a")
    types = [value for name, value in received.headers.items() if name.lower() == "content-type"]
    assert types == ["application/merge-patch+json"]


def test_a_stream_is_sent_piece_by_piece(server: Any, caller: Any) -> None:
    caller.request("POST", "/a", stream=[b"one,", b"two"])

    (received,) = server.requests_to("/a")
    assert received.body == b"one,two"
    assert received.headers["Transfer-Encoding"] == "chunked"


@pytest.mark.parametrize("failure", [{"status": 503}, {"status": 429}, {"breaks_off": True}])
def test_a_stream_is_sent_once(failure: Any, server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(**failure))
    with pytest.raises(Exception, match=r"503|429|127\.0\.0\.1"):
        caller.request("PUT", "/a", stream=[b"one"])

    assert len(server.requests_to("/a")) == 1


def test_after_a_refused_stream_the_next_call_has_another_token(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(401))
    with pytest.raises(UnauthorizedError):
        caller.request("PUT", "/a", stream=[b"one"])
    caller.request("PUT", "/a", stream=[b"one"])

    assert [one.headers["Authorization"] for one in server.requests_to("/a")] == ["Bearer tok-1", "Bearer tok-2"]


def test_params_make_the_query(server: Any, caller: Any) -> None:
    params = {"status": ["READY_TO_SHIP", "PACKED"], "from": "2023-08-07T19:48:04+00:00", "n": 1, "b": True, "e": None}
    caller.request("GET", "/a", params=params)
    caller.request("GET", "/a", params={})

    first, second = server.requests_to("/a")
    assert httpx2.QueryParams(first.path.partition("?")[2]).multi_items() == [
        ("status", "READY_TO_SHIP"), ("status", "PACKED"), ("from", "2023-08-07T19:48:04+00:00"),
        ("n", "1"), ("b", "true"), ("e", ""),
    ]  # fmt: skip
    assert second.path == "/a"


@pytest.mark.parametrize("value", ["../../x?y#z", "a&b=c", "é\n\x00", "//evil.example"])
def test_no_parameter_leaves_the_query(value: str, server: Any, caller: Any) -> None:
    caller.request("GET", "/a", params={"q": value})

    (received,) = server.requests_to("/a")
    assert httpx2.QueryParams(received.path.partition("?")[2])["q"] == value


def test_each_service_has_its_own_address(server: Any, other_server: Any, make_caller: Any) -> None:
    caller = make_caller(base_url=None, base_urls={"auth": server.url, "order": other_server.url + "/orders/"})
    caller.request("GET", "/ext/orders", service="order")

    (received,) = other_server.requests
    assert (received.path, received.headers["Authorization"]) == ("/orders/ext/orders", "Bearer tok-1")
    with pytest.raises(ConfigurationError, match="ECROSS_PRODUCT_URL"):
        caller.request("GET", "/ext/merchant/skus")


@pytest.mark.parametrize("name", ["Authorization", "authorization", "AUTHORIZATION"])
def test_a_callers_authorization_does_not_win(name: str, server: Any, caller: Any) -> None:
    caller.request("GET", "/a", headers={name: "Bearer mine"})

    (received,) = server.requests_to("/a")
    told = [value for header, value in received.headers.items() if header.lower() == "authorization"]
    assert told == ["Bearer tok-1"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": ""}, "method must"),
        ({"method": "GET /x HTTP/1.1\r\nHost: evil.example\r\n\r\nGET"}, "method must"),
        ({"method": "GÉT"}, "method must"),
        ({"path": "a"}, "path must"),
        ({"path": "/../a"}, "path must"),
        ({"path": "https://evil.example/"}, "path must"),
        ({"service": "catalog"}, "service must"),
        ({"json": 1, "content": b"1"}, "json and content"),
        ({"json": {1}}, "json must"),
        ({"content": 7}, "content must"),
        ({"content": "hush\ud800"}, "content must"),
        ({"content": {"a": "b"}}, "content must"),
        ({"params": {"a": "\ud800"}}, "params must"),
        ({"params": {"a": "x" * 70_000}}, "params must"),
        ({"headers": {"X-Secret": "hush\r\nX-More: x"}}, "header X-Secret must"),
        ({"headers": {"X-Secret": "hush\u00e9"}}, "header X-Secret must"),
        ({"headers": {"X-Secret": " hush"}}, "header X-Secret must"),
        ({"headers": {"X-Secret": 7}}, "header X-Secret must"),
        ({"headers": {"X Secret": "hush"}}, "header's name"),
        ({"headers": {"": "hush"}}, "header's name"),
        ({"headers": {"hOST": "evil.example"}}, "header Host"),
    ],
)
def test_what_cannot_be_sent_is_refused_before_anything_is(
    options: dict[str, Any], words: str, server: Any, caller: Any
) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        caller.request(**({"method": "GET", "path": "/a"} | options))

    assert "hush" not in str(caught.value)
    assert caught.value.__context__ is None
    assert server.requests == []


def test_a_stream_of_the_other_kind_is_refused(server: Any, make_client: Any, make_caller: Any) -> None:
    async def chunks() -> Any:
        yield b"one"

    with pytest.raises(ConfigurationError, match="an iterable of bytes"):
        make_client().request("POST", "/a", content=chunks())
    caller = make_caller()
    if caller.kind.__name__ == "AsyncClient":
        with pytest.raises(ConfigurationError, match="an asynchronous iterable of bytes"):
            caller.request("POST", "/a", content=[b"one"])
    assert server.requests == []


def test_an_error_of_the_callers_own_stream_is_the_callers(server: Any, make_client: Any) -> None:
    def chunks() -> Any:
        yield b"one"
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        make_client().request("POST", "/a", content=chunks())
    assert server.tokens_asked == 1


def test_an_answer_tells_no_token(caller: Any) -> None:
    answer = caller.request("GET", "/a")

    assert answer.json() == {}
    assert "authorization" not in answer.request.headers


def test_a_request_shows_neither_body_nor_headers() -> None:
    request = ApiRequest("POST", "http://127.0.0.1/a", b"hush", {"X-Secret": "hush"})

    assert "hush" not in repr(request)
    assert re.fullmatch(r"[0-9a-f]{32}", request.request_id)
