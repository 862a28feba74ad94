from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.merchants.service import IssuedCredential
from ecross_server.web.body_limit import LARGEST_BODY, announced_length

JSON = ("content-type", "application/json")
MIB = 1024 * 1024
TOKEN_LIMIT = 64 * 1024


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def echo(idle_application: Application) -> Application:
    """The application with two routes that read their body: one whole, one as JSON."""

    async def count_bytes(request: Request) -> int:
        return len(await request.body())

    async def count_members(content: dict[str, Any]) -> int:
        return len(content)

    idle_application.api.add_api_route("/bytes", count_bytes, methods=["POST"])
    idle_application.api.add_api_route("/members", count_members, methods=["POST"])
    return idle_application


class TestOtherRoutes:
    def test_the_limit_is_four_mebibytes(self) -> None:
        assert LARGEST_BODY == 4 * MIB

    def test_a_streamed_body_of_exactly_the_limit_is_read(
        self, echo: Application, exchange: Callable[..., Any]
    ) -> None:
        answer = exchange(echo, "/bytes", [bytes(MIB)] * 4)
        assert (answer.status, answer.json()) == (200, 4 * MIB)

    def test_an_announced_body_of_exactly_the_limit_is_read(
        self, echo: Application, exchange: Callable[..., Any]
    ) -> None:
        answer = exchange(echo, "/bytes", [bytes(4 * MIB)], headers=[("content-length", str(4 * MIB))])
        assert (answer.status, answer.json()) == (200, 4 * MIB)

    @pytest.mark.parametrize("path", ["/bytes", "/members"])
    def test_a_streamed_body_beyond_it_is_refused_as_soon_as_that_is_known(
        self, echo: Application, exchange: Callable[..., Any], path: str
    ) -> None:
        answer = exchange(echo, path, [bytes(MIB)] * 4 + [b"x"] + [bytes(MIB)] * 100, headers=[JSON])
        assert answer.status == 413
        assert answer.json() == {"message": "The body is too large.", "code": "body_too_large"}
        assert answer.header("connection") == "close"
        assert answer.header("x-request-id")
        assert answer.chunks_read == 5

    @pytest.mark.parametrize(
        "length", [str(4 * MIB + 1), "9" * 19, "9" * 20, "9" * 21, "9" * 5000, "-1", "1e3", "0x10", "", "1, 2"]
    )
    def test_an_announced_body_beyond_it_or_of_no_length_is_refused_unread(
        self, echo: Application, exchange: Callable[..., Any], length: str
    ) -> None:
        for path in ("/bytes", "/nowhere", "/health/live"):
            answer = exchange(echo, path, [b"x"], headers=[("content-length", length)])
            assert answer.status == 413
            assert answer.json()["code"] == "body_too_large"
            assert answer.header("connection") == "close"
            assert answer.chunks_read == 0

    def test_strangers_get_no_further_than_the_gate_with_any_body(
        self, echo: Application, exchange: Callable[..., Any]
    ) -> None:
        answer = exchange(echo, "/ext/x", [b"x"], headers=[("content-length", str(100 * MIB))])
        assert (answer.status, answer.chunks_read) == (401, 0)

    def test_a_body_that_announces_less_than_it_sends_is_counted_all_the_same(
        self, echo: Application, exchange: Callable[..., Any]
    ) -> None:
        answer = exchange(echo, "/bytes", [bytes(MIB)] * 5, headers=[("content-length", "5")])
        assert answer.status == 413


class TestTokenEndpoint:
    def test_a_streamed_body_of_exactly_the_limit_is_read(
        self, idle_application: Application, exchange: Callable[..., Any], credential: IssuedCredential
    ) -> None:
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        content = json.dumps(body).encode().ljust(TOKEN_LIMIT)
        chunks = [content[place : place + 1000] for place in range(0, TOKEN_LIMIT, 1000)]
        answer = exchange(idle_application, "/token", chunks, headers=[JSON])
        assert answer.status == 200
        assert answer.chunks_read == len(chunks) == 66

    def test_one_byte_more_is_refused_as_soon_as_it_comes(
        self, idle_application: Application, exchange: Callable[..., Any]
    ) -> None:
        answer = exchange(idle_application, "/token", [b" " * TOKEN_LIMIT, b" ", b" " * MIB], headers=[JSON])
        assert answer.status == 413
        assert answer.json() == {"message": "The body is too large: at most 65536 bytes."}
        assert answer.header("connection") == "close"
        assert answer.header("cache-control") == "no-store"
        assert answer.chunks_read == 2

    @pytest.mark.parametrize("length", [str(TOKEN_LIMIT + 1), "9" * 5000, "-5", "x"])
    def test_an_announced_body_that_is_too_large_is_refused_unread(
        self, idle_application: Application, exchange: Callable[..., Any], length: str
    ) -> None:
        answer = exchange(idle_application, "/token", [b"{}"], headers=[JSON, ("content-length", length)])
        assert answer.status == 413
        assert answer.header("connection") == "close"
        assert answer.chunks_read == 0

    def test_no_body_is_read_for_another_content_type_or_method(
        self, idle_application: Application, exchange: Callable[..., Any]
    ) -> None:
        assert exchange(idle_application, "/token", [b"{}"]).chunks_read == 0
        assert exchange(idle_application, "/token", [b"{}"], method="PUT", headers=[JSON]).chunks_read == 0

    def test_a_request_that_is_cut_off_is_no_failure_of_ours(
        self, idle_application: Application, exchange: Callable[..., Any], log: Any
    ) -> None:
        answer = exchange(idle_application, "/token", [b'{"clientId": "'], headers=[JSON], is_cut_off=True)
        assert answer.status == 400
        (line,) = log.lines
        assert line["outcome"] == "disconnected"

    def test_an_announced_body_over_real_http_is_refused_too(self, client: TestClient) -> None:
        for content in (b" " * (TOKEN_LIMIT + 1), iter([b" " * TOKEN_LIMIT, b" "])):
            answer = client.post("/token", content=content, headers={"Content-Type": "application/json"})
            assert answer.status_code == 413
            assert answer.headers["connection"] == "close"
            assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        ([], 0),
        ([(b"content-length", b"0")], 0),
        ([(b"content-length", b"17")], 17),
        ([(b"host", b"x"), (b"content-length", b"00000017")], 17),
        ([(b"content-length", b"9" * 21)], float("inf")),
        ([(b"content-length", b"+1")], float("inf")),
        ([(b"content-length", b"\xb2")], float("inf")),
    ],
)
def test_a_length_is_read_strictly(headers: list[tuple[bytes, bytes]], length: float) -> None:
    assert announced_length(headers) == length
