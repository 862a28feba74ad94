"""No secret and no token is told by an error or shown by an object."""

import copy
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from ecross import EcrossAuth
from ecross._transport.senders import ApiRequest
from ecross.errors import ApiError, EcrossError, TransportError
from ecross.requests import EcrossAuth as RequestsAuth

SECRET = "s3cret-of-the-merchant"
SHOWN = [SECRET, "tok-1", "tok-2", "tok-3"]


def assert_hidden(text: str) -> None:
    assert [secret for secret in SHOWN if secret in text] == []


def echo(request: httpx2.Request) -> bytes:
    """All that a careless server may repeat."""
    told = request.headers.get("Authorization", "") + " " + request.content.decode(errors="replace")
    return json.dumps({
        "message": f"{told} {SECRET}",
        "code": SECRET,
        "errors": [{"path": told, "message": f"{SECRET} {told}"}],
        "token": told,
    }).encode()  # fmt: skip


class Careless:
    """A server that repeats what it was sent; `fails` says how, for the token endpoint and for the rest."""

    def __init__(self, *, token: Any = None, api: Any = None) -> None:
        self.token = token
        self.api = api
        self.tokens = 0

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        told = self.token if request.url.path == "/token" else self.api
        if isinstance(told, type):
            raise told(f"{request.headers.raw} {request.content!r} {SECRET}")
        if told is not None:
            headers = {"X-Request-Id": SECRET, "Retry-After": "600", "Location": f"http://127.0.0.1/{SECRET}"}
            return httpx2.Response(told, content=echo(request), headers=headers)
        self.tokens += 1
        return httpx2.Response(200, json={"token": f"tok-{self.tokens}", "tokenType": "Bearer", "expiresIn": 28800})


STATUSES = [200, 302, 400, 401, 403, 404, 409, 418, 422, 429, 500, 503]
FAILURES = [
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.ReadTimeout,
    httpx2.ReadError,
    httpx2.RemoteProtocolError,
]


@pytest.mark.parametrize("told", [*STATUSES, *FAILURES])
def test_no_error_of_an_api_call_tells_them(told: Any, make_caller: Any, shown_by: Callable[..., str]) -> None:
    caller = make_caller(transport=httpx2.MockTransport(Careless(api=told)), max_retries=1)
    with pytest.raises(EcrossError) as caught:
        caller.skus()

    assert_hidden(shown_by(caught.value))
    assert isinstance(caught.value, TransportError if isinstance(told, type) else ApiError)


@pytest.mark.parametrize("told", [*STATUSES, *FAILURES])
def test_no_error_of_the_token_endpoint_tells_them(
    told: Any, make_caller: Any, shown_by: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caller = make_caller(transport=httpx2.MockTransport(Careless(token=told)), max_retries=0)
    with pytest.raises(EcrossError) as caught:
        caller.access_token()

    assert_hidden(shown_by(caught.value))
    assert_hidden(caplog.text)


@pytest.mark.parametrize(
    "options", [{"path": "x"}, {"json": {1}}, {"params": {"a": "\ud800"}}, {"headers": {"a": "\n"}}]
)
def test_no_error_of_a_wrong_call_tells_them(
    options: dict[str, Any], caller: Any, shown_by: Callable[..., str]
) -> None:
    caller.access_token()
    with pytest.raises(EcrossError) as caught:
        caller.request(**({"method": "GET", "path": "/a"} | options))

    assert_hidden(shown_by(caught.value))


def test_no_object_shows_them_or_goes_into_a_pickle(make_caller: Any, make_client: Any) -> None:
    caller = make_caller()
    token = caller.access_token()
    client = caller.client
    objects = [
        client, client._setup, client._setup.credentials, client._setup.hidden, client._setup.life, client._sender,
        client._source, token, EcrossAuth(client), RequestsAuth(make_client()),
    ]  # fmt: skip
    for one in objects:
        assert_hidden(f"{one!r} {one} {[one]}")
    for one in (client._sender, client._source, client._setup.life):
        with pytest.raises((TypeError, AttributeError, NotImplementedError)):
            pickle.dumps(one)
    for one in [
        client,
        client._setup,
        client._setup.credentials,
        token,
        EcrossAuth(client),
        RequestsAuth(make_client()),
    ]:
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            pickle.dumps(one)
        with pytest.raises(TypeError, match="neither copied nor pickled"):
            copy.deepcopy(one)


def test_a_client_shows_whose_it_is(caller: Any, server: Any) -> None:
    name = caller.kind.__name__
    assert repr(caller.client) == f"{name}(client_id='acme-1', auth_url={server.url!r})"
    assert repr(EcrossAuth(caller.client)) == f"EcrossAuth({caller.client!r})"


def test_an_answer_can_be_logged_and_pickled(caller: Any) -> None:
    answer = caller.request("POST", "/a", json={"a": 1})

    assert_hidden(f"{answer!r} {answer.request!r} {answer.request.headers.raw} {pickle.dumps(answer)!r}")


def test_a_request_shows_no_more_than_where_it_goes() -> None:
    request = ApiRequest("POST", "http://127.0.0.1/a", b"tok-1", {"X-Token": "tok-1"})

    assert_hidden(repr(request))


def test_the_log_of_the_http_library_shows_no_more_than_addresses(
    caller: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    caller.request("GET", "/a")

    assert "/a" in caplog.text
    assert_hidden(caplog.text)
