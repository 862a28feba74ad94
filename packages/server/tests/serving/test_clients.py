"""Slow, greedy and broken clients: they are cut off or refused, and everybody else is served meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from forking import ForkedProcess

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

WaitFor = Callable[..., None]
WorkersOf = Callable[[int], list[int]]
Connect = Callable[..., socket.socket]


@pytest.fixture
def server(demo_folder: Path, start_server: StartServer) -> ServerProcess:
    del demo_folder
    return start_server(ECROSS_SERVER_METRICS_PORT="auto")


@pytest.fixture
def connect(server: ServerProcess) -> Iterator[Connect]:
    """Opens connections to the server, as many as are asked for."""
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    with contextlib.ExitStack() as opened:

        def one(*, receive_buffer: int | None = None) -> socket.socket:
            made = opened.enter_context(socket.socket())
            if receive_buffer is not None:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            made.settimeout(30)
            made.connect((host, int(port)))
            return made

        yield one


def memory_mb(pid: int) -> float:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) / 1024


def ask(server: ServerProcess) -> float:
    """Get a token; the time that it took."""
    credentials = json.loads((server.data_dir / "demo-credentials.json").read_bytes())
    began = time.monotonic()
    assert server.token(credentials).status_code == 200
    return time.monotonic() - began


def read_all(connection: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def test_one_byte_a_second_is_cut_off_and_nobody_waits_for_it(
    server: ServerProcess, connect: Connect, wait_for: WaitFor
) -> None:
    slow = [connect() for _ in range(100)]
    for connection in slow:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Slow: ")
    began = time.monotonic()
    answered = None
    while answered is None and time.monotonic() - began < 25:
        slow[0].settimeout(1)
        with contextlib.suppress(TimeoutError):
            answered = slow[0].recv(4096)
        if answered is None:
            slow[0].sendall(b"x")
            assert ask(server) < 5
    assert answered is not None
    assert answered.startswith(b"HTTP/1.1 408 ")
    assert 9 < time.monotonic() - began < 20
    for connection in slow[1:]:
        assert read_all(connection).startswith(b"HTTP/1.1 408 ")
    name = 'ecross_http_requests_total{method="other",route="unmatched",status="408"}'
    wait_for(lambda: server.metrics().get(name) == 100)
    assert {line["path"] for line in server.log_lines() if line["event"] == "request"} == {"/token"}


def test_two_thousand_idle_connections_do_not_stop_others(
    server: ServerProcess, connect: Connect, workers_of: WorkersOf
) -> None:
    worker = workers_of(server.process.pid)[0]
    ask(server)
    before = memory_mb(worker)
    idle = [connect() for _ in range(2000)]
    for connection in idle[::2]:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert all(connection.recv(4096).startswith(b"HTTP/1.1 200") for connection in idle[::2])
    assert max(ask(server) for _ in range(5)) < 5
    assert memory_mb(worker) - before < 60
    idle[0].sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle[0].recv(4096).startswith(b"HTTP/1.1 200")
    assert server.stop() == 0


def test_beyond_the_limit_the_longest_idle_make_room(server: ServerProcess, connect: Connect) -> None:
    first = connect()
    idle = [connect() for _ in range(4200)]
    assert max(ask(server) for _ in range(5)) < 5
    assert read_all(first) == b""  # closed
    idle[-1].sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
    assert idle[-1].recv(4096).startswith(b"HTTP/1.1 200")


def test_pipelined_requests_are_answered_in_order_and_others_meanwhile(server: ServerProcess, connect: Connect) -> None:
    greedy = connect()
    number = 5000
    requests = b"".join(
        b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-Request-Id: n-%d\r\n\r\n" % each for each in range(number)
    )
    greedy.setblocking(False)  # noqa: FBT003 - socket's own
    received = b""
    longest = 0.0
    deadline = time.monotonic() + 90
    while received.count(b"x-request-id: ") < number and time.monotonic() < deadline:
        with contextlib.suppress(BlockingIOError):
            requests = requests[greedy.send(requests) :] if requests else b""
        longest = max(longest, ask(server))
        with contextlib.suppress(BlockingIOError):
            while part := greedy.recv(1 << 20):
                received += part
    found = [line.removeprefix(b"x-request-id: n-") for line in received.split(b"\r\n") if line[:8] == b"x-reques"]
    assert list(map(int, found)) == list(range(number))
    assert longest < 5


def test_a_client_that_never_reads_does_not_grow_the_memory(
    server: ServerProcess, connect: Connect, workers_of: WorkersOf
) -> None:
    worker = workers_of(server.process.pid)[0]
    assert server.get("/docs/swagger-ui-bundle.js").status_code == 200
    before = memory_mb(worker)
    deaf = [connect(receive_buffer=4096) for _ in range(20)]
    for connection in deaf:
        connection.setblocking(False)  # noqa: FBT003 - socket's own
        with contextlib.suppress(BlockingIOError):
            for _ in range(300):
                connection.send(b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
    for _ in range(5):
        assert ask(server) < 5
        time.sleep(0.2)
    assert memory_mb(worker) - before < 60  # what was asked for is a hundred times as much


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GARBAGE\r\n\r\n", 400, "invalid_request"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: " + b"b" * 100_000 + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-A: b\r\n" * 5000 + b"\r\n", 431, "headers_too_large"),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "target_too_long"),
        (b"GET /" + b"a" * 200_000, 431, "headers_too_large"),
    ],
    ids=["garbage", "long", "many", "path", "endless path"],
)
def test_what_cannot_be_a_request_is_refused_in_our_form_and_not_logged(
    server: ServerProcess, connect: Connect, sent: bytes, status: int, code: str
) -> None:
    connection = connect()
    connection.sendall(sent)
    head, _, body = read_all(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nx-request-id: " in head
    assert json.loads(body)["code"] == code
    ask(server)
    assert server.stop() == 0
    assert sorted(line["event"] for line in server.log_lines()) == ["request", "stopping"]


def test_a_body_that_is_cut_off_leaves_one_line_and_no_traceback(
    server: ServerProcess, connect: Connect, wait_for: WaitFor
) -> None:
    credentials = json.loads((server.data_dir / "demo-credentials.json").read_bytes())
    bearer = server.token(credentials).json()["token"]
    for path in ("/token", "/ext/merchant/skus", "/none"):
        connection = connect()
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {bearer}\r\nContent-Type: application/json\r\n"
        )
        connection.sendall(head.encode() + b"Content-Length: 100\r\n\r\n{")
        time.sleep(0.1)
        connection.close()
    wait_for(lambda: len([line for line in server.log_lines() if line["event"] == "request"]) == 4)
    assert {line["event"] for line in server.log_lines()} == {"request"}


def test_a_body_that_is_too_large_is_refused_and_its_sender_sees_the_answer(connect: Connect) -> None:
    for head in (b"Content-Length: 9000000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n900000\r\n"):
        connection = connect()
        connection.sendall(b"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" + head)
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"x" * 65536)
                time.sleep(0.001)
        assert connection.recv(4096).startswith(b"HTTP/1.1 413 ")


class TestUnwritableLog:
    def test_a_full_disk_breaks_no_request_and_is_counted(
        self, demo_folder: Path, wait_for: WaitFor, command_environment: dict[str, str]
    ) -> None:
        with Path("/dev/full").open("wb") as full:
            process = ForkedProcess(
                [Path(sys.executable).with_name("ecross-server"), "serve", "--port", "0", "--json"],
                env=command_environment | {"ECROSS_SERVER_METRICS_PORT": "auto"},
                stdout=subprocess.PIPE, stderr=full,
            )  # fmt: skip
        assert process.stdout is not None
        facts = json.loads(b"".join(iter(process.stdout.readline, b"}\n")) + b"}")
        credentials = json.loads((demo_folder / "demo-credentials.json").read_bytes())
        for _ in range(5):
            assert httpx2.post(f"{facts['url']}/token", json=credentials).status_code == 200
        wait_for(lambda: "ecross_log_lines_lost_total 5.0" in httpx2.get(facts["metricsUrl"]).text)
        process.terminate()
        assert process.wait(20) == 0
        process.stdout.close()

    def test_a_closed_pipe_breaks_no_request(self, demo_folder: Path, command_environment: dict[str, str]) -> None:
        reading, writing = os.pipe()
        process = ForkedProcess(
            [Path(sys.executable).with_name("ecross-server"), "serve", "--port", "0", "--json"],
            env=command_environment, stdout=subprocess.PIPE, stderr=writing,
        )  # fmt: skip
        os.close(writing)
        assert process.stdout is not None
        facts: dict[str, Any] = json.loads(b"".join(iter(process.stdout.readline, b"}\n")) + b"}")
        os.close(reading)
        credentials = json.loads((demo_folder / "demo-credentials.json").read_bytes())
        for _ in range(5):
            assert httpx2.post(f"{facts['url']}/token", json=credentials).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        process.stdout.close()
