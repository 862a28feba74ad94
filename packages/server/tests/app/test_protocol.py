"""The protocol beside a recording transport: what it writes, when it closes, what it holds back."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import json
from collections.abc import Iterator
from typing import Any
from unittest.mock import ANY

import pytest
import uvicorn
import uvloop
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

from ecross_server.app.protocol import (
    BODY_SECONDS,
    HEAD_SECONDS,
    IDLE_SECONDS,
    LARGEST_HEAD,
    LINGER_SECONDS,
    LONGEST_TARGET,
    MOST_HEADERS,
    SLICE,
    SLOWEST_BODY,
    STUCK_SECONDS,
    Connections,
    HttpProtocol,
)
from ecross_server.web.counts import RequestCounts

GET = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"


class Recorder(asyncio.Transport):
    """A transport whose other end is the test."""

    def __init__(self, *, is_tls: bool = False) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.unsent = 0
        self.is_paused = self.is_closed = self.is_aborted = self.has_ended = False
        self._is_tls = is_tls
        self.protocol: Any = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"sockname": ("127.0.0.1", 1), "peername": ("127.0.0.1", 2)}.get(name, default)

    def write(self, data: Any) -> None:
        assert not self.is_aborted
        self.writes.append(bytes(data))

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_aborted = True
        asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def can_write_eof(self) -> bool:
        return not self._is_tls

    def write_eof(self) -> None:
        self.has_ended = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


QUICK_PATHS: list[Any] = [""]


@pytest.fixture(autouse=True, params=["", ANY], ids=["in tasks", "at once"])
def _begun(request: pytest.FixtureRequest) -> Iterator[None]:
    """Every test for requests that are begun in a task of their own, and for those that are begun at once."""
    QUICK_PATHS.append(request.param)
    yield
    QUICK_PATHS.pop()


class House:
    """An application that shows what it was given, and all connections to it."""

    def __init__(self, protocol: type[HttpToolsProtocol] = HttpProtocol, most: int = 100) -> None:
        self.seen: list[str] = []
        self.go_on = asyncio.Event()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"today")]
        self.counts = RequestCounts()
        self.connections = Connections(self.state.connections, self.counts, most)
        self.config = uvicorn.Config(
            self.answer, http=protocol, ws="none", interface="asgi3", proxy_headers=False, log_config=None,
            access_log=False,
        )  # fmt: skip
        self._protocol = protocol
        self.response: list[dict[str, Any]] | None = None
        self.disconnected = 0

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        self.seen.append(scope["path"])
        body = b""
        while scope["path"] != "/early" and self.response is None:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected += 1
                return
            body += message["body"]
            if not message["more_body"]:
                break
        if scope["path"] == "/wait":
            await self.go_on.wait()
        if scope["path"] == "/twice":
            assert (await receive())["type"] == "http.disconnect"
            self.disconnected += 1
            return
        content = json.dumps({"path": scope["path"], "headers": len(scope["headers"]), "body": len(body)}).encode()
        default: list[dict[str, Any]] = [
            {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(content))]},
            {"type": "http.response.body", "body": content},
        ]
        for message in self.response or default:
            await send(message)
            if message.get("more_body") and scope["path"] == "/parts":
                await self.go_on.wait()

    def connect(self, **options: Any) -> tuple[HttpToolsProtocol, Recorder]:
        transport = Recorder(**options)
        arguments: Any = (self.config, self.state, {}, asyncio.get_running_loop())
        made = (
            HttpProtocol(self.connections, *arguments, quick_path=QUICK_PATHS[-1])
            if self._protocol is HttpProtocol
            else self._protocol(*arguments)
        )
        transport.protocol = made
        made.connection_made(transport)
        return made, transport


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(60):
        await asyncio.sleep(0)


def answers(transport: Recorder) -> list[tuple[int, dict[str, str], bytes]]:
    """What was written, taken apart."""
    rest = b"".join(transport.writes)
    found = []
    while rest:
        head, _, rest = rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers.get("content-length", "0"))
        found.append((int(first.split()[1]), headers, rest[:length]))
        rest = rest[length:]
    return found


def paths(transport: Recorder) -> list[str]:
    return [json.loads(body)["path"] for _, _, body in answers(transport)]


class TestAnswers:
    @staticmethod
    def written(
        protocol: type[HttpToolsProtocol], request: bytes, *response: dict[str, Any]
    ) -> tuple[bytes, int, bool]:
        async def exchange() -> tuple[bytes, int, bool]:
            house = House(protocol)
            house.response = [dict(message) for message in response] or None
            connection, transport = house.connect()
            connection.data_received(request)
            await settle()
            return b"".join(transport.writes), len(transport.writes), transport.is_closed

        return uvloop.run(exchange())

    def test_one_that_is_known_whole_is_written_at_once(self) -> None:
        text, writes, is_closed = self.written(HttpProtocol, GET % b"/a")
        assert (writes, is_closed) == (1, False)
        assert text.startswith(b"HTTP/1.1 200 OK\r\ndate: today\r\ncontent-length: ")

    @pytest.mark.parametrize("value", [b"a\r\nx-injected: 1", b"\x00", b"a\nb"])
    def test_no_header_can_split_it(self, value: bytes) -> None:
        head = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2"), (b"x-bad", value)]}
        text, _, _ = self.written(HttpProtocol, GET % b"/a", head, {"type": "http.response.body", "body": b"ok"})
        assert b"x-injected" not in text
        assert b"x-bad" not in text

    @examples(max_examples=300, deadline=None)
    @given(
        method=st.sampled_from(["GET", "HEAD", "POST"]),
        version=st.sampled_from(["1.0", "1.1"]),
        asked=st.sampled_from(["", "Connection: close\r\n", "Connection: keep-alive\r\n"]),
        status=st.sampled_from([200, 204, 304, 404, 500]),
        bodies=st.lists(st.binary(max_size=20), min_size=1, max_size=3),
        length=st.sampled_from(["right", "none", "short", "long"]),
        more=st.lists(
            st.sampled_from([
                (b"x-a", b"1"), (b"x-b", b"tab\there"), (b"connection", b"close"), (b"connection", b"keep-alive"),
                (b"transfer-encoding", b"chunked"), (b"x-c", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()),
                (b"x-bad", b"a\r\nx-injected: 1"), (b"x-bad", b"\x00"),
            ]),
            max_size=3,
        ),
    )  # fmt: skip
    def test_they_are_what_uvicorn_alone_would_write(
        self, *, method: str, version: str, asked: str, status: int, bodies: list[bytes], length: str,
        more: list[tuple[bytes, bytes]],
    ) -> None:  # fmt: skip
        total = len(b"".join(bodies))
        announced = {"right": total, "none": None, "short": max(0, total - 1), "long": total + 1}[length]
        headers = [*more] if announced is None else [*more, (b"content-length", b"%d" % announced)]
        request = f"{method} / HTTP/{version}\r\nHost: x\r\n{asked}\r\n".encode()
        response = [
            {"type": "http.response.start", "status": status, "headers": headers},
            *(
                {"type": "http.response.body", "body": body, "more_body": number < len(bodies)}
                for number, body in enumerate(bodies, 1)
            ),
        ]
        ours, theirs = (self.written(each, request, *response) for each in (HttpProtocol, HttpToolsProtocol))
        assert (ours[0], ours[2]) == (theirs[0], theirs[2])

    def test_messages_in_a_wrong_order_are_the_applications_fault(self) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": []}
        body = {"type": "http.response.body", "body": b""}
        for response in ([body], [start, start], [start, body, body]):
            ours, theirs = (self.written(each, GET % b"/", *response) for each in (HttpProtocol, HttpToolsProtocol))
            assert ours[0].split(b"\r\n")[0] in {theirs[0].split(b"\r\n")[0], b"HTTP/1.1 500 Internal Server Error"}

    def test_while_the_client_does_not_read_nothing_is_written(self) -> None:
        async def scenario() -> None:
            connection, transport = House().connect()
            connection.pause_writing()
            connection.data_received(GET % b"/a")
            await settle()
            assert transport.writes == []
            connection.resume_writing()
            await settle()
            assert paths(transport) == ["/a"]

        uvloop.run(scenario())

    def test_a_client_that_has_gone_gets_nothing(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(GET % b"/wait")
            await settle()
            connection.connection_lost(None)
            house.go_on.set()
            await settle()
            assert transport.writes == []
            assert not house.connections.opened
            assert not house.connections.waiting

        uvloop.run(scenario())

    def test_after_the_body_comes_the_clients_end(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, _ = house.connect()
            connection.data_received(GET % b"/twice")
            await settle()
            assert house.disconnected == 0
            connection.connection_lost(None)
            await settle()
            assert house.disconnected == 1

        uvloop.run(scenario())

    def test_a_body_is_waited_for_and_asked_for(self) -> None:
        async def scenario() -> None:
            connection, transport = House().connect()
            connection.data_received(
                b"POST /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
            )
            await settle()
            assert transport.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]
            transport.writes.clear()
            connection.data_received(b"ab")
            await settle()
            connection.data_received(b"cd")
            await settle()
            assert json.loads(answers(transport)[0][2])["body"] == 4

        uvloop.run(scenario())

    def test_a_large_body_is_read_no_faster_than_it_is_taken(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
            connection.data_received(b"x" * 200_000)
            paused = [transport.is_paused]
            await settle()
            paused.append(transport.is_paused)
            assert paused == [True, False]
            connection.data_received(b"x" * 100_000)
            await settle()
            assert json.loads(answers(transport)[0][2])["body"] == 300_000

        uvloop.run(scenario())

    def test_a_path_is_decoded_once(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, _ = house.connect()
            connection.data_received(GET % b"/a%2520b?c=%20d")
            await settle()
            assert house.seen == ["/a%20b"]

        uvloop.run(scenario())


class TestRefusals:
    @staticmethod
    def refused(*parts: bytes, is_tls: bool = False) -> tuple[House, Recorder]:
        async def scenario() -> tuple[House, Recorder]:
            house = House()
            connection, transport = house.connect(is_tls=is_tls)
            for part in parts:
                connection.data_received(part)
            await settle()
            return house, transport

        return uvloop.run(scenario())

    @pytest.mark.parametrize(
        ("parts", "status", "code"),
        [
            ([b"GARBAGE\r\n\r\n"], 400, "invalid_request"),
            ([b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"], 400, "invalid_request"),
            ([b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"], 400, "invalid_request"),
            ([b"GET / HTTP/1.1\r\nHost x\r\n\r\n"], 400, "invalid_request"),
            ([b"GET \xff HTTP/1.1\r\nHost: x\r\n\r\n"], 400, "invalid_request"),
            ([b"CONNECT a b HTTP/1.1\r\nHost: x\r\n\r\n"], 400, "invalid_request"),
            ([GET % (b"/" + b"a" * LONGEST_TARGET)], 414, "target_too_long"),
            ([b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (MOST_HEADERS + 1) + b"\r\n"], 431, "headers_too_large"),
            ([b"GET / HTTP/1.1\r\na: " + b"b" * (LARGEST_HEAD + SLICE) + b"\r\n\r\n"], 431, "headers_too_large"),
            ([b"GET /", *[b"a" * 1000] * (LARGEST_HEAD // 1000 + 1)], 431, "headers_too_large"),
            ([b"GET / HTTP/1.1\r\n", *[b"a: b\r\n"] * (LARGEST_HEAD // 6 + 1)], 431, "headers_too_large"),
        ],
    )  # fmt: skip
    def test_what_is_no_request_gets_our_form_of_errors(self, parts: list[bytes], status: int, code: str) -> None:
        house, transport = self.refused(*parts)
        [(got, headers, body)] = answers(transport)
        assert (got, json.loads(body)["code"]) == (status, code)
        assert json.loads(body)["message"]
        assert len(headers["x-request-id"]) == 32
        assert (headers["connection"], headers["content-type"]) == ("close", "application/json")
        assert house.seen == []
        assert [row[:4] for row in house.counts.rows()] == [[None, "", status, code]]

    def test_its_id_and_form_are_what_the_request_asked_for(self) -> None:
        head = b"GET / HTTP/1.1\r\nX-Request-Id: mine-1\r\nAccept: application/problem+json\r\nA: b\r\nHost x\r\n\r\n"
        [(_, headers, body)] = answers(self.refused(head)[1])
        assert headers["x-request-id"] == "mine-1"
        assert json.loads(body)["status"] == 400

    def test_many_headers_are_allowed(self) -> None:
        head = b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * MOST_HEADERS + b"\r\n"
        assert json.loads(answers(self.refused(head)[1])[0][2])["headers"] == MOST_HEADERS

    def test_requests_before_it_are_answered_first(self) -> None:
        _, transport = self.refused(GET % b"/a" + GET % b"/b" + b"GARBAGE\r\n\r\n" + GET % b"/c")
        assert [status for status, _, _ in answers(transport)] == [200, 200, 400]

    def test_a_body_that_breaks_off_in_nonsense_is_refused_in_its_place(self) -> None:
        broken = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
        house, transport = self.refused(GET % b"/a", broken)
        assert [status for status, _, _ in answers(transport)] == [200, 400]
        house, transport = self.refused(GET % b"/a" + broken)
        assert [status for status, _, _ in answers(transport)] == [200, 400]
        assert house.seen == ["/a"]

    def test_its_application_is_told_that_the_client_is_gone(self) -> None:
        head = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(head)
            await settle()
            assert house.seen == ["/b"]
            connection.data_received(b"nonsense\r\n")
            await settle()
            assert house.disconnected == 1
            assert [status for status, _, _ in answers(transport)] == [400]

        uvloop.run(scenario())

    def test_an_answer_that_has_begun_cannot_become_another(self) -> None:
        async def scenario() -> None:
            house = House()
            house.response = [
                {"type": "http.response.start", "status": 200, "headers": []},
                {"type": "http.response.body", "body": b"a", "more_body": True},
                {"type": "http.response.body", "body": b"b"},
            ]
            connection, transport = house.connect()
            connection.data_received(b"POST /parts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            await settle()
            connection.data_received(b"nonsense\r\n")
            await settle()
            assert transport.is_aborted
            assert house.connections.cut == {"unreadable": 1}
            house.go_on.set()
            await settle()

        uvloop.run(scenario())

    def test_trailers_and_chunk_extensions_cannot_grow(self) -> None:
        head = b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
        house, transport = self.refused(head, *[b"a: " + b"b" * 1000 + b"\r\n"] * 70)
        assert [status for status, _, _ in answers(transport)] == [431]
        assert house.disconnected == 1
        _, transport = self.refused(head[:-3], b"1;", *[b"x" * 1000] * 70)
        assert [status for status, _, _ in answers(transport)] == [431]

    def test_trailers_do_not_become_headers(self) -> None:
        head = (
            b"POST /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: x\r\n\r\n"
        )
        [(status, _, body)] = answers(self.refused(head)[1])
        assert (status, json.loads(body)) == (200, {"path": "/b", "headers": 2, "body": 1})

    @pytest.mark.parametrize("wanted", ["h2c", "websocket"])
    def test_another_protocol_is_not_spoken_and_the_request_answered(self, wanted: str) -> None:
        head = f"GET /a HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {wanted}\r\n\r\nrest".encode()
        _, transport = self.refused(head, b"more")
        [(status, headers, _)] = answers(transport)
        assert (status, headers["connection"]) == (200, "close")

    def test_what_is_still_sent_is_read_for_a_while_so_that_the_answer_arrives(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(b"GARBAGE\r\n\r\n")
            await settle()
            assert (transport.has_ended, transport.is_closed, transport.is_paused) == (True, False, False)
            connection.data_received(b"and more")
            now = house.connections.now
            connection.check(now + LINGER_SECONDS)  # type: ignore[attr-defined]
            assert not transport.is_closed
            connection.check(now + LINGER_SECONDS + 1)  # type: ignore[attr-defined]
            assert transport.is_aborted
            assert len(answers(transport)) == 1

        uvloop.run(scenario())

    def test_under_tls_it_is_closed_at_once(self) -> None:
        assert self.refused(b"GARBAGE\r\n\r\n", is_tls=True)[1].is_closed


class TestPipelines:
    def test_requests_are_answered_in_their_order_one_at_a_time(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(GET % b"/wait" + GET % b"/b" + GET % b"/c")
            await settle()
            assert (house.seen, transport.is_paused) == (["/wait"], True)
            house.go_on.set()
            await settle()
            assert paths(transport) == ["/wait", "/b", "/c"]
            assert not transport.is_paused
            connection.data_received(GET % b"/d")
            await settle()
            assert paths(transport)[3:] == ["/d"]

        uvloop.run(scenario())

    def test_only_so_many_are_taken_apart_before_the_first_is_answered(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            many = [b"/%d" % number for number in range(5000)]
            connection.data_received(b"".join(GET % path for path in [b"/wait", *many]))
            connection.data_received(GET % b"/last")
            await settle()
            assert len(connection.pipeline) < SLICE / 20
            house.go_on.set()
            while len(transport.writes) < 5002:
                before = len(transport.writes)
                await settle()
                assert len(connection.pipeline) < SLICE / 20
                assert len(transport.writes) > before
            assert paths(transport) == [path.decode() for path in [b"/wait", *many, b"/last"]]

        uvloop.run(scenario())

    def test_those_of_a_client_that_has_gone_are_forgotten(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, _ = house.connect()
            connection.data_received(b"".join(GET % path for path in [b"/wait", *[b"/a"] * 2000]))
            await settle()
            connection.transport.close()
            house.go_on.set()
            await settle()
            assert len(house.seen) == 1
            connection._parse_held()  # type: ignore[attr-defined]
            connection.connection_lost(None)
            await settle()
            assert len(house.seen) == 1

        uvloop.run(scenario())

    def test_what_follows_a_refused_request_in_one_piece_is_thrown_away(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(b"GARBAGE\r\n\r\n" + (GET % b"/a") * 2000)
            await settle()
            assert [status for status, _, _ in answers(transport)] == [400]
            assert house.seen == []

        uvloop.run(scenario())

    def test_a_body_behind_another_request_is_waited_for(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(GET % b"/wait" + b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\na")
            await settle()
            house.go_on.set()
            await settle()
            assert paths(transport) == ["/wait"]
            assert connection in house.connections.waiting
            connection.data_received(b"b")
            await settle()
            assert paths(transport) == ["/wait", "/b"]

        uvloop.run(scenario())

    def test_nothing_more_is_read_meanwhile_whoever_asks(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(GET % b"/twice" + GET % b"/b")
            await settle()
            assert transport.is_paused  # though the first asks for what comes after its body
            connection.connection_lost(None)
            await settle()
            assert house.disconnected == 1

        uvloop.run(scenario())

    def test_the_rest_of_a_body_that_nobody_wanted_is_passed_over(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nab")
            await settle()
            assert paths(transport) == ["/early"]
            connection.data_received(b"cdef" + GET % b"/b")
            await settle()
            assert paths(transport) == ["/early", "/b"]
            assert connection in house.connections.waiting

        uvloop.run(scenario())


class TestLimits:
    def test_a_new_connection_takes_the_place_of_the_one_that_has_waited_longest(self) -> None:
        async def scenario() -> None:
            house = House(most=3)
            made = [house.connect() for _ in range(3)]
            made[0][0].data_received(GET % b"/wait")  # is served: it does not wait for its client
            made[1][0].data_received(GET % b"/b")  # was served after the third had come
            await settle()
            fourth = house.connect()
            await settle()
            assert [transport.is_aborted for _, transport in [*made, fourth]] == [False, False, True, False]
            assert house.connections.cut == {"displaced": 1}
            house.go_on.set()
            await settle()
            assert paths(made[0][1]) == ["/wait"]

        uvloop.run(scenario())

    def test_one_too_many_is_refused_when_all_are_served(self) -> None:
        async def scenario() -> None:
            house = House(most=2)
            for _ in range(2):
                house.connect()[0].data_received(GET % b"/wait")
            await settle()
            _, transport = house.connect()
            assert transport.is_aborted
            assert house.connections.cut == {"refused": 1}
            house.go_on.set()
            await settle()

        uvloop.run(scenario())

    @pytest.mark.parametrize(
        ("sent", "seconds", "outcome"),
        [
            (b"", IDLE_SECONDS, "closed"),
            (GET % b"/a", IDLE_SECONDS, "closed"),
            (b"GET / HT", HEAD_SECONDS, 408),
            (GET % b"/a" + b"GET / HT", HEAD_SECONDS, 408),
            (b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", BODY_SECONDS, "slow_body"),
            (b"POST /early HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", BODY_SECONDS, "slow_body"),
            (
                b"POST /a HTTP/1.1\r\nContent-Length: 999999\r\n\r\n" + b"x" * SLOWEST_BODY * 7,
                BODY_SECONDS + 7, "slow_body",
            ),
        ],
    )  # fmt: skip
    def test_clients_have_so_long_and_no_longer(self, sent: bytes, seconds: float, outcome: str | int) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(sent)
            await settle()
            now = house.connections.now
            connection.check(now + seconds - 0.5)  # type: ignore[attr-defined]
            await settle()
            assert not transport.is_closed
            assert not transport.has_ended
            connection.check(now + seconds + 0.5)  # type: ignore[attr-defined]
            await settle()
            if outcome == "closed":
                assert (transport.is_closed, transport.is_aborted) == (True, False)
            elif outcome == 408:
                assert answers(transport)[-1][0] == 408
                assert house.connections.cut == {"slow_head": 1}
            else:
                assert transport.is_aborted
                assert house.connections.cut == {outcome: 1}

        uvloop.run(scenario())

    def test_our_own_slowness_is_not_the_clients(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(GET % b"/wait" + GET % b"/b" + b"GET /c HT")
            await settle()
            for hour in range(3):
                connection.check(house.connections.now + 3600 * hour)  # type: ignore[attr-defined]
            house.go_on.set()
            await settle()
            connection.data_received(b"TP/1.1\r\nHost: x\r\n\r\n")
            await settle()
            assert paths(transport) == ["/wait", "/b", "/c"]
            connection, transport = house.connect()
            house.go_on.clear()
            connection.data_received(GET % b"/wait")
            await settle()
            connection.check(house.connections.now + 3600)  # type: ignore[attr-defined]
            assert not transport.is_closed
            house.go_on.set()
            await settle()

        uvloop.run(scenario())

    def test_a_client_that_reads_nothing_is_cut_off(self) -> None:
        async def scenario() -> None:
            house = House()
            connection, transport = house.connect()
            now = house.connections.now
            for unsent in (1000, 900, 800):
                transport.unsent = unsent
                now += STUCK_SECONDS
                connection.check(now)  # type: ignore[attr-defined]
            assert not transport.is_closed  # slow, but it reads
            connection.check(now + STUCK_SECONDS + 1)  # type: ignore[attr-defined]
            assert transport.is_aborted
            assert house.connections.cut == {"stuck": 1}

        uvloop.run(scenario())

    def test_all_connections_are_looked_at(self) -> None:
        async def scenario() -> None:
            house = House()
            made = [house.connect() for _ in range(3)]
            house.connections.sweep()
            assert not any(transport.is_closed for _, transport in made)
            for connection, _ in made:
                connection._since -= IDLE_SECONDS + 1  # type: ignore[attr-defined]
            house.connections.sweep()
            assert all(transport.is_closed for _, transport in made)

        uvloop.run(scenario())


PARTS_OF_UVICORN = {
    HttpToolsProtocol: "18fdf324b11bf160",
    RequestResponseCycle: "e67d470d435dcc1c",
    FlowControl: "126debcdaa894c83",
    Server: "06e799f7c58f8be6",
}


@pytest.mark.parametrize("part", PARTS_OF_UVICORN, ids=lambda part: part.__name__)
def test_the_parts_of_uvicorn_that_this_hangs_on_are_as_they_were(part: type) -> None:
    """If this fails, read what has changed in uvicorn beside `protocol` and `worker`, then put in the new sum."""
    assert hashlib.sha256(inspect.getsource(part).encode()).hexdigest()[:16] == PARTS_OF_UVICORN[part]


class TestWaiting:
    def test_one_that_has_to_wait_several_times_is_answered_all_the_same(self) -> None:
        async def exchange() -> None:
            house = House()

            async def answer(scope: Any, receive: Any, send: Any) -> None:
                for _ in range(3):
                    await asyncio.sleep(0)
                    await house.go_on.wait()
                await house.answer(scope, receive, send)

            connection, transport = house.connect()
            connection.app = answer
            connection.data_received(GET % b"/a")
            await settle()
            assert not transport.writes
            house.go_on.set()
            await settle()
            assert paths(transport) == ["/a"]
            assert not house.state.tasks

        uvloop.run(exchange())

    def test_one_that_is_cancelled_while_it_waits_learns_of_it(self) -> None:
        async def exchange() -> None:
            house = House()
            learned = []

            async def answer(_scope: Any, _receive: Any, _send: Any) -> None:
                try:
                    await house.go_on.wait()
                except asyncio.CancelledError:
                    learned.append("cancelled")
                    raise

            connection, transport = house.connect()
            connection.app = answer
            connection.data_received(GET % b"/a")
            await settle()
            for task in list(house.state.tasks):
                task.cancel()
            await settle()
            assert learned == ["cancelled"]
            assert [status for status, _, _ in answers(transport)] == [500]

        uvloop.run(exchange())

    def test_one_without_its_body_yet_waits_for_it(self) -> None:
        async def exchange() -> None:
            house = House()
            connection, transport = house.connect()
            connection.data_received(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
            await settle()
            assert not transport.writes
            connection.data_received(b"cd")
            await settle()
            assert json.loads(answers(transport)[0][2])["body"] == 4

        uvloop.run(exchange())
