"""The fake server's own HTTP, as far as a client may meet it. `tests/contract` compares what it answers."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Callable, Iterator
from urllib.request import Request, urlopen

import pytest

from ecross.testing import FakeServer, slow
from ecross.testing._serving import Connection, SocketServer

WaitFor = Callable[[Callable[[], object]], None]


@pytest.fixture
def connection(server: FakeServer) -> Iterator[socket.socket]:
    """A connection to the server."""
    with socket.create_connection(("127.0.0.1", port(server)), timeout=10) as opened:
        yield opened


def port(server: FakeServer) -> int:
    return int(server.url.rpartition(":")[2])


def test_the_standard_library_gets_a_token(server: FakeServer) -> None:
    body = json.dumps(server.merchant().credentials).encode()
    request = Request(f"{server.url}/token", body, {"Content-Type": "application/json"})  # noqa: S310 - it is http
    with urlopen(request) as answer:  # noqa: S310 - it is http
        assert json.load(answer)["tokenType"] == "Bearer"


def test_one_connection_serves_many_requests(server: FakeServer) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port(server))
    client.connect()
    opened = client.sock
    for _ in range(3):
        client.request("HEAD", "/health/live")
        answer = client.getresponse()
        assert (answer.read(), answer.headers["Content-Length"]) == (b"", "27")
    assert client.sock is opened
    client.close()


def test_many_connections_are_served_at_the_same_time(server: FakeServer, wait_for: WaitFor) -> None:
    server.script("/x", *[slow(30)] * 20)
    opened = [socket.create_connection(("127.0.0.1", port(server))) for _ in range(20)]
    for each in opened:
        each.sendall(b"GET /x HTTP/1.1\r\n\r\n")

    wait_for(lambda: server.count("/x") == 20)

    server.close()
    for each in opened:
        assert each.recv(1) == b""
        each.close()


def test_a_body_in_chunks_is_read_until_it_is_too_large(server: FakeServer, connection: socket.socket) -> None:
    connection.sendall(b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    for _ in range(5):
        connection.sendall(chunk)

    assert connection.recv(65536).startswith(b"HTTP/1.1 404 Not Found")
    assert len(server.requests[0].content) == 5 * 0x100000


def test_a_large_body_is_refused_and_the_refusal_arrives(server: FakeServer, connection: socket.socket) -> None:
    sent = threading.Thread(
        target=connection.sendall, args=(b"POST /x HTTP/1.1\r\nContent-Length: 9000000\r\n\r\n" + b" " * 9_000_000,)
    )
    sent.start()

    answer = connection.recv(65536)
    sent.join()

    assert answer.startswith(b"HTTP/1.1 413")
    assert connection.recv(1) == b""
    assert server.requests[0].content == b""


def test_a_client_that_goes_in_the_middle_of_its_body_has_made_no_request(
    server: FakeServer, connection: socket.socket
) -> None:
    connection.sendall(b"POST /token HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
    connection.shutdown(socket.SHUT_WR)

    assert connection.recv(1) == b""
    assert server.requests == []


def test_what_comes_after_a_refusal_is_thrown_away(server: FakeServer, connection: socket.socket) -> None:
    connection.sendall(b"no request\r\n\r\nGET /x HTTP/1.1\r\n\r\n")

    answer = connection.recv(65536)

    assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close" in answer
    assert connection.recv(1) == b""
    assert server.requests == []


def test_a_method_of_any_name_is_answered(server: FakeServer, connection: socket.socket) -> None:
    connection.sendall(b"M-SEARCH /health/live HTTP/1.1\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 405")
    assert server.count("M-SEARCH /health/live") == 1


def test_closing_ends_idle_connections(server: FakeServer, connection: socket.socket) -> None:
    connection.sendall(b"GET /health/live HTTP/1.1\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200 OK")

    server.close()

    assert connection.recv(1) == b""


def test_a_connection_that_comes_while_the_server_closes_is_ended(server: FakeServer) -> None:
    listener = SocketServer(server._receive, server._api.unreadable)
    listener.close()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        listener.admit(theirs)
        assert ours.recv(1) == b""
        ours.close()
        listener.admit(theirs)  # gone already: nothing to end


def test_a_handler_answers_methods_and_claims_nothing_else() -> None:
    handler = Connection.__new__(Connection)
    assert hasattr(handler, "do_ANYTHING")
    assert not hasattr(handler, "anything")


def test_closing_leaves_no_thread_of_the_listener() -> None:
    before = set(threading.enumerate())
    with FakeServer() as server:
        assert server.url
        begun = set(threading.enumerate()) - before
        assert [thread.name for thread in begun] == ["ecross-fake-server"]
    assert not any(thread.is_alive() for thread in begun)
