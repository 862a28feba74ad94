"""The HTTP calls that are measured, and a small client for where no figure depends on the client's speed."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from benchmarks.processes import ProcessFailedError, Running
from ecross_server.merchants.rules import new_client_id, new_client_secret

TIMEOUT_SECONDS: Final = 10.0
JSON: Final = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """A client id and its secret."""

    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A request, and the status that its answer must have.

    In path and body, `{n}` stands for another number in each request, `{k}` for one below 100.
    """

    name: str
    method: str
    path: str
    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)


LIVE: Final = Call("GET /health/live", "GET", "/health/live", 200)
NULL: Final = Call("do-nothing route", "GET", "/null", 200)


def token_call(credentials: Credentials) -> Call:
    """`POST /token` with credentials that are good."""
    return _token_call("POST /token, good", 200, credentials.client_id, credentials.client_secret)


def calls_to_compare(credentials: Credentials, token: str) -> list[Call]:
    """Every call that is put beside the do-nothing route."""
    bearer = {"Authorization": f"Bearer {token}"}
    return [
        token_call(credentials),
        _token_call("POST /token, wrong secret", 401, credentials.client_id, new_client_secret()),
        _token_call("POST /token, unknown id", 401, new_client_id("NOBODY"), new_client_secret()),
        Call("POST /token, junk body", "POST", "/token", 400, JSON, b'{"clientId": "demo", "clientSecret'),
        Call("GET /ext/none (404, checked)", "GET", "/ext/none", 404, bearer),
        Call("GET /ext/merchant/skus, 12", "GET", "/ext/merchant/skus", 200, bearer),
    ]


def filled(call: Call, number: int) -> Call:
    """The call with this number in it."""

    def fill(text: str) -> str:
        return text.replace("{n}", str(number)).replace("{k}", str(number % 100))

    return dataclasses.replace(call, path=fill(call.path), body=fill(call.body.decode()).encode())


def answer(server: Running, call: Call) -> bytes:
    """The body of the answer to one call on a connection of its own.

    Raises:
        ProcessFailedError: if its status is another than the call's.
    """
    connection = http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.request(call.method, call.path, call.body or None, dict(call.headers))
        response = connection.getresponse()
        body = response.read()
    if response.status != call.status:
        raise ProcessFailedError(f"{call.name}: status {response.status} instead of {call.status}")
    return body


def get_token(server: Running, credentials: Credentials) -> str:
    """An access token."""
    return str(json.loads(answer(server, token_call(credentials)))["token"])


def send_many(server: Running, call: Call, count: int, connections: int) -> None:
    """Make a call so many times, spread over so many connections that stay open.

    Raises:
        ProcessFailedError: if any answer has another status than the call's.
    """
    lines = [f"{call.method} {call.path} HTTP/1.1", f"Host: {server.host}", f"Content-Length: {len(call.body)}"]
    lines += [f"{name}: {value}" for name, value in call.headers.items()]
    request = "\r\n".join([*lines, "", ""]).encode() + call.body
    with contextlib.ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection((server.host, server.port), TIMEOUT_SECONDS))
            for _ in range(connections)
        ]
        left = count
        while left:
            # All requests of a turn are on their way before the first answer is read.
            turn = opened[:left]
            for connection in turn:
                connection.sendall(request)
            for connection in turn:
                _read_answer(connection, call)
            left -= len(turn)


def _read_answer(connection: socket.socket, call: Call) -> None:
    received = b""
    while True:
        part = connection.recv(65536)
        received += part
        head, end, body = received.partition(b"\r\n\r\n")
        if not part or (end and f"HTTP/1.1 {call.status} ".encode() != head[:13]):
            raise ProcessFailedError(f"{call.name}: {head[:40]!r} instead of status {call.status}")
        if end and len(body) >= int(head.lower().partition(b"content-length:")[2].split(maxsplit=1)[0]):
            return


def _token_call(name: str, status: int, client_id: str, client_secret: str) -> Call:
    body = json.dumps({"clientId": client_id, "clientSecret": client_secret}).encode()
    return Call(name, "POST", "/token", status, JSON, body)
