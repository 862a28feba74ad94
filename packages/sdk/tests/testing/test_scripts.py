"""Scripted answers, in process and on a socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx2
import pytest

from ecross import AsyncClient, Client
from ecross.errors import ForbiddenError, InvalidCredentialsError, ServerError, TransportError, UnauthorizedError
from ecross.testing import (
    PASS,
    Answer,
    FakeServer,
    Scripted,
    forbidden,
    garbage,
    lost_connection,
    rate_limited,
    server_error,
    slow,
    timeout,
    truncated,
    unauthorized,
)

SKUS = "/ext/merchant/skus"


class TestTheQueue:
    def test_answers_are_given_in_order_and_then_the_usual_ones(
        self, server: FakeServer, either_http: httpx2.Client
    ) -> None:
        server.script("/health/live", Answer(201), PASS)
        server.script("/health/live", Answer(202))

        assert [either_http.get("/health/live?x=1").status_code for _ in range(4)] == [201, 200, 202, 200]

    def test_those_of_a_method_come_first(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/token", Answer(202))
        server.script("POST /token", Answer(201))

        assert [http.put("/token").status_code, http.post("/token").status_code] == [202, 201]
        assert http.put("/token").status_code == 405

    def test_each_is_given_once_whoever_asks_at_the_same_time(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/token", *[Answer(418)] * 7)
        with ThreadPoolExecutor(20) as pool:
            statuses = list(pool.map(lambda _: http.post("/token", json={}).status_code, range(20)))
        assert sorted(statuses) == [400] * 13 + [418] * 7
        assert server.count("/token") == 20

    def test_what_is_left_is_told_and_can_be_dropped(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/token", Answer(), Answer())
        server.script("GET /x", Answer())
        server.script("/y", Answer())
        http.get("/y")

        assert server.unused_answers == {"/token": 2, "GET /x": 1}
        server.clear_scripts()
        assert server.unused_answers == {}
        assert http.get("/x").status_code == 404

    @pytest.mark.parametrize("path", ["token", "/token?x", "post /token", "GET", "GET token", ""])
    def test_what_is_no_path_is_refused(self, path: str, server: FakeServer) -> None:
        with pytest.raises(ValueError, match="a path is scripted as"):
            server.script(path, PASS)

    @pytest.mark.parametrize("answers", [[], [500], [unauthorized], [PASS, None]])
    def test_what_is_no_answer_is_refused(self, answers: list[Any], server: FakeServer) -> None:
        with pytest.raises(TypeError, match="takes one or more answers"):
            server.script("/token", *answers)
        assert server.unused_answers == {}

    def test_a_request_that_gets_no_answer_counts(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/token", timeout(), lost_connection())
        for _ in range(2):
            with pytest.raises(httpx2.TransportError):
                http.post("/token")
        assert server.count("/token") == 2


class TestAnswers:
    def give(self, server: FakeServer, http: httpx2.Client, scripted: Scripted, path: str = "/x") -> httpx2.Response:
        server.script(path, scripted)
        return http.post(path, headers={"X-Request-Id": "mine"})

    def test_json_is_answered_as_such(self, server: FakeServer, either_http: httpx2.Client) -> None:
        answer = self.give(server, either_http, Answer(409, {"é": [1.5, None]}))

        assert (answer.status_code, answer.content) == (409, '{"é":[1.5,null]}'.encode())
        assert answer.headers["Content-Type"] == "application/json"
        assert answer.headers["X-Request-Id"] == "mine"
        assert "Date" in answer.headers

    def test_headers_that_are_given_replace_the_servers(self, server: FakeServer, either_http: httpx2.Client) -> None:
        headers = {"Date": "yesterday", "CONTENT-TYPE": "application/problem+json", "X-More": "ü"}
        answer = self.give(server, either_http, Answer(200, {}, headers))

        shown = [(name.lower(), value) for name, value in answer.headers.multi_items()]
        assert ("date", "yesterday") in shown
        assert len([name for name, _ in shown if name == "date"]) == 1
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert (b"x-more", "ü".encode("latin-1")) in answer.headers.raw

    def test_any_bytes_and_any_status(self, server: FakeServer, either_http: httpx2.Client) -> None:
        answer = self.give(server, either_http, Answer(599, content=b"\x00<html>"))
        assert (answer.status_code, answer.content) == (599, b"\x00<html>")
        assert "Content-Type" not in answer.headers

    def test_nothing_at_all(self, server: FakeServer, either_http: httpx2.Client) -> None:
        assert self.give(server, either_http, Answer(204)).content == b""
        assert self.give(server, either_http, Answer(204, {"never": "sent"})).content == b""
        assert self.give(server, either_http, Answer(200)).headers["Content-Length"] == "0"

    def test_garbage_says_it_is_json(self, server: FakeServer, either_http: httpx2.Client) -> None:
        answer = self.give(server, either_http, garbage(201))
        assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/json")
        with pytest.raises(ValueError, match="decode"):
            answer.json()

    @pytest.mark.parametrize(
        ("retry_after", "told"),
        [
            (0, "0"),
            (120, "120"),
            (datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC), "Wed, 02 Jan 2030 03:04:05 GMT"),
            (datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2))), "Wed, 02 Jan 2030 01:04:05 GMT"),
            (None, None),
        ],
    )
    def test_retry_after_in_both_its_forms_or_not_at_all(
        self, retry_after: Any, told: str | None, server: FakeServer, http: httpx2.Client
    ) -> None:
        limited = self.give(server, http, rate_limited(retry_after))
        assert (limited.status_code, limited.headers.get("Retry-After")) == (429, told)
        broken = self.give(server, http, server_error(503, retry_after=retry_after))
        assert (broken.status_code, broken.headers.get("Retry-After")) == (503, told)

    def test_a_date_without_a_time_zone_is_refused(self) -> None:
        with pytest.raises(ValueError, match="aware"):
            rate_limited(datetime(2030, 1, 2))  # noqa: DTZ001 - the point of the test

    @pytest.mark.parametrize(("status", "message"), [(502, "Bad Gateway"), (599, "Unknown Status")])
    def test_other_server_errors_say_their_names(
        self, status: int, message: str, server: FakeServer, http: httpx2.Client
    ) -> None:
        answer = self.give(server, http, server_error(status))
        assert (answer.status_code, answer.json()) == (status, {"message": message, "code": "error"})

    @pytest.mark.parametrize("status", [200, 429, 499, 600])
    def test_what_is_no_server_error_is_refused(self, status: int) -> None:
        with pytest.raises(ValueError, match="500 to 599"):
            server_error(status)

    def test_an_unknown_server_error_has_a_problem_too(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/x", server_error(599))
        answer = http.get("/x", headers={"Accept": "application/problem+json"})
        assert (answer.json()["title"], answer.json()["status"]) == ("Unknown Status", 599)


class TestBrokenConnections:
    def test_a_lost_connection_is_one_that_broke_after_the_request(
        self, server: FakeServer, either_http: httpx2.Client
    ) -> None:
        server.script("/health/live", lost_connection())
        with pytest.raises(httpx2.ReadError):
            either_http.get("/health/live")
        assert either_http.get("/health/live").status_code == 200

    def test_a_truncated_answer_breaks_off_in_its_body(self, server: FakeServer, either_http: httpx2.Client) -> None:
        server.script("/health/live", truncated(), truncated(Answer(500)))
        with either_http.stream("GET", "/health/live") as answer:
            assert answer.status_code == 200
            assert int(answer.headers["Content-Length"]) == 55
            chunks = answer.iter_bytes()
            assert next(chunks) == b'{"status":"ok","checks":[]}'
            with pytest.raises(httpx2.RemoteProtocolError):
                next(chunks)
        with pytest.raises(httpx2.RemoteProtocolError):
            either_http.get("/health/live")

    def test_a_truncated_answer_breaks_off_for_tasks_too(self, server: FakeServer) -> None:
        server.script("/health/live", truncated())

        async def main() -> None:
            async with httpx2.AsyncClient(transport=server.transport) as client:
                with pytest.raises(httpx2.RemoteProtocolError):
                    await client.get(f"{server.base_url}/health/live")

        asyncio.run(main())

    def test_no_answer_cannot_be_truncated_further(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/x", truncated(timeout()), truncated(lost_connection()))
        with pytest.raises(httpx2.ReadTimeout):
            http.get("/x")
        with pytest.raises(httpx2.ReadError):
            http.get("/x")


class TestTimeInProcess:
    def test_a_slow_answer_moves_the_clock_and_takes_no_time(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/health/live", slow(4), slow(1, slow(2, Answer(201))))
        began, clock_began = time.monotonic(), server.clock()

        assert [http.get("/health/live").status_code for _ in range(2)] == [200, 201]

        assert server.clock() - clock_began == 7
        assert time.monotonic() - began < 2

    def test_an_answer_slower_than_the_read_timeout_is_not_waited_for(
        self, server: FakeServer, http: httpx2.Client
    ) -> None:
        server.script("/health/live", slow(60), slow(60))
        now = server.clock()
        with pytest.raises(httpx2.ReadTimeout):
            http.get("/health/live", timeout=20)
        assert server.clock() == now + 20
        assert http.get("/health/live", timeout=None).status_code == 200
        assert server.clock() == now + 80

    def test_silence_lasts_as_long_as_the_read_timeout(self, server: FakeServer, http: httpx2.Client) -> None:
        server.script("/health/live", timeout(), timeout(), slow(3, timeout()))
        now = server.clock()
        for seconds in (20, None, 5):
            with pytest.raises(httpx2.ReadTimeout):
                http.get("/health/live", timeout=seconds)
        assert server.clock() == now + 20 + 3 + 5

    def test_no_answer_comes_before_its_request(self) -> None:
        with pytest.raises(ValueError, match="before"):
            slow(-1)


class TestTimeOnASocket:
    def test_a_slow_answer_takes_its_time(self, server: FakeServer, http_at_url: httpx2.Client) -> None:
        server.script("/health/live", slow(0.1))
        began, now = time.monotonic(), server.clock()
        assert http_at_url.get("/health/live").status_code == 200
        assert time.monotonic() - began >= 0.1
        assert server.clock() == now

    @pytest.mark.parametrize("scripted", [timeout(), slow(60)])
    def test_who_does_not_wait_gets_a_timeout(
        self, scripted: Scripted, server: FakeServer, http_at_url: httpx2.Client
    ) -> None:
        server.script("/health/live", scripted)
        with pytest.raises(httpx2.ReadTimeout):
            http_at_url.get("/health/live", timeout=0.05)
        assert http_at_url.get("/health/live").status_code == 200

    @pytest.mark.parametrize("scripted", [timeout(), slow(60)])
    def test_closing_the_server_ends_the_waiting(
        self, scripted: Scripted, server: FakeServer, wait_for: Callable[[Callable[[], object]], None]
    ) -> None:
        server.script("/x", scripted)
        host, port = server.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n")
            wait_for(lambda: server.count("/x"))
            server.close()
            assert connection.recv(1) == b""
        assert server.count("/y") == 0


class TestWhatTheClientMakesOfThem:
    @pytest.mark.parametrize(
        ("path", "scripted", "error", "tokens"),
        [
            ("/token", [unauthorized()], InvalidCredentialsError, 1),
            ("/token", [garbage()], ServerError, 1),
            ("/token", [truncated()] * 3, TransportError, 3),
            ("/token", [timeout()] * 3, TransportError, 3),
            ("/token", [lost_connection()] * 3, TransportError, 3),
            (SKUS, [unauthorized()] * 2, UnauthorizedError, 2),
            (SKUS, [forbidden()], ForbiddenError, 1),
            (SKUS, [server_error()], ServerError, 1),
            (SKUS, [garbage()], ServerError, 1),
        ],
    )
    def test_both_clients_raise_the_same(
        self, path: str, scripted: list[Scripted], error: type[Exception], tokens: int
    ) -> None:
        async def list_skus(server: FakeServer) -> None:
            async with AsyncClient(**server.client_options()) as client:
                async for _ in client.skus.list():
                    pass

        with FakeServer() as server, Client(**server.client_options()) as client:
            server.script(path, *scripted)
            with pytest.raises(error):
                list(client.skus.list())
            assert (server.unused_answers, server.count("/token")) == ({}, tokens)
        with FakeServer() as server:
            server.script(path, *scripted)
            with pytest.raises(error):
                asyncio.run(list_skus(server))
            assert (server.unused_answers, server.count("/token")) == ({}, tokens)
