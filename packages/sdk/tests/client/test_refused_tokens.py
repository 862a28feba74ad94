"""A 401 on an API call: one other token, one more try, never a loop."""

import time
from typing import Any

import pytest

from ecross.errors import ForbiddenError, RateLimitedError, ServerError, UnauthorizedError


def sent_with(server: Any, path: str) -> list[str]:
    return [request.headers["Authorization"].removeprefix("Bearer ") for request in server.requests_to(path)]


@pytest.mark.parametrize(
    "refusal",
    [
        {"body": {"message": "The access token is invalid.", "code": "invalid_token"}},
        {"body": b""},
        {"body": b"<html>401</html>", "headers": {"Content-Type": "text/html"}},
        {"body": {"message": "Unauthorized"}},
        {"headers": {"WWW-Authenticate": 'Basic realm="a proxy"'}},
    ],
)
def test_any_401_is_answered_with_another_token(refusal: dict[str, Any], server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(401, **refusal))

    assert caller.request("POST", "/a", json={"n": 1}).status_code == 200
    assert sent_with(server, "/a") == ["tok-1", "tok-2"]
    assert {request.body for request in server.requests_to("/a")} == {b'{"n":1}'}


def test_the_new_token_serves_the_next_calls(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(401))
    caller.request("GET", "/a")
    caller.request("GET", "/b")

    assert sent_with(server, "/b") == ["tok-2"]
    assert server.tokens_asked == 2


def test_a_second_401_stops_the_asking_for_ten_seconds(server: Any, make_caller: Any, clock: Any, answer: Any) -> None:
    server.script("/a", *[answer(401)] * 9)
    caller = make_caller(clock=clock)
    seen = []
    for seconds in (0.0, 0.0, 9.0, 1.5):
        clock.now += seconds
        with pytest.raises(UnauthorizedError):
            caller.request("GET", "/a")
        seen.append((len(server.requests_to("/a")), server.tokens_asked))

    assert seen == [(2, 2), (3, 2), (4, 2), (6, 3)]


def test_calls_that_succeed_meanwhile_do_not_start_the_asking_again(
    server: Any, make_caller: Any, clock: Any, answer: Any
) -> None:
    server.script("/forbidden", *[answer(401)] * 9)
    caller = make_caller(clock=clock)
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            caller.request("GET", "/forbidden")
        caller.request("GET", "/a")

    assert server.tokens_asked == 2


def test_a_403_brings_no_other_token(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(403, {"message": "Not yours.", "code": "insufficient_scope"}))
    with pytest.raises(ForbiddenError, match="Not yours"):
        caller.request("GET", "/a")

    assert (server.tokens_asked, len(server.requests_to("/a"))) == (1, 1)


def test_a_token_that_another_client_has_replaced_is_not_replaced_again(
    server: Any, make_caller: Any, answer: Any
) -> None:
    first = make_caller()
    cache = first.client._source._cache
    second = make_caller(token_cache=cache)
    first.request("GET", "/a")
    second.request("GET", "/a")
    server.script("/a", answer(401))
    first.request("GET", "/a")
    second.request("GET", "/a")

    assert sent_with(server, "/a") == ["tok-1", "tok-1", "tok-1", "tok-2", "tok-2"]


def test_a_token_endpoint_that_fails_after_a_401_is_the_error(server: Any, make_caller: Any, answer: Any) -> None:
    caller = make_caller(max_retries=0)
    caller.request("GET", "/a")
    server.script("/a", answer(401))
    server.script("/token", answer(500))
    with pytest.raises(ServerError):
        caller.request("GET", "/a")


def test_a_short_rate_limit_is_waited_for(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(429, headers={"Retry-After": "0.05"}))
    began = time.monotonic()

    assert caller.request("POST", "/a").status_code == 200
    assert time.monotonic() - began >= 0.05


def test_a_long_rate_limit_is_told(server: Any, caller: Any, answer: Any) -> None:
    server.script("/a", answer(429, {"message": "Slower."}, headers={"Retry-After": "600"}))
    with pytest.raises(RateLimitedError, match="Slower") as caught:
        caller.request("GET", "/a")

    assert caught.value.retry_after_seconds == 600.0
    assert len(server.requests_to("/a")) == 1
