"""What the tests of running servers share: a look at their processes, and clients that take their time."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecross_server.auth.tokens import new_signing_keys
from ecross_server.cli.demo import ensure_demo_merchant
from ecross_server.kit.clock import utc_now
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants.rules import new_peppers
from ecross_server.settings import Settings, load_settings
from forking import ForkedProcess


class SlowClient:
    """A connection that sends a request and reads its answer bit by bit."""

    def __init__(self, url: str, *, receive_buffer: int | None = None) -> None:
        host, port = url.removeprefix("http://").rsplit(":", 1)
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect((host, int(port)))

    def begin_token_request(self, credentials: dict[str, str]) -> bytes:
        """Send a token request but for its last bytes, which are given back."""
        body = json.dumps({name: credentials[name] for name in ("clientId", "clientSecret")}).encode()
        head = (
            f"POST /token HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self.socket.sendall(head.encode() + body[:-10])
        return body[-10:]

    def read_answer(self) -> tuple[int, dict[str, str], bytes]:
        """The status, headers and body of one answer."""
        with self.socket.makefile("rb") as stream:
            status = int(stream.readline().split()[1])
            lines = iter(stream.readline, b"\r\n")
            headers = dict(line.decode().strip().lower().split(": ", 1) for line in lines)
            return status, headers, stream.read(int(headers["content-length"]))


@pytest.fixture
def slow_client() -> Iterator[Callable[..., SlowClient]]:
    """Connects a slow client."""
    connected: list[SlowClient] = []

    def connect(url: str, **options: Any) -> SlowClient:
        connected.append(SlowClient(url, **options))
        return connected[-1]

    yield connect
    for client in connected:
        client.socket.close()


@pytest.fixture
def workers_of() -> Callable[[int], list[int]]:
    """The process ids of a process's children, apart from the first, which writes the audit trail."""

    def children(pid: int) -> list[int]:
        try:
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except FileNotFoundError:
            return []
        return sorted(map(int, text.split()))[1:]

    return children


@pytest.fixture
def is_alive() -> Callable[[int], bool]:
    """Whether a process runs; one that waits to be reaped does not."""

    def look(pid: int) -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
        except FileNotFoundError:
            return False

    return look


SUPERVISE = """
import errno, os, sys
failing = int(os.environ.pop("FAILING_FORKS", "0"))
fork = os.fork
def fork_at_times():
    global failing
    if failing:
        failing -= 1
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return fork()
os.fork = fork_at_times  # the kernel's own refusal cannot be had by a superuser
from ecross_server.app.supervisor import Supervisor
from ecross_server.kit.logs import configure_logs
from ecross_server.settings import load_settings
configure_logs("json", "info")
Supervisor(load_settings(), lambda started: print(started.port, flush=True), load_settings).run()
print("ended", flush=True)
"""


@pytest.fixture
def supervise(command_environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Runs the supervisor alone, without all that the command looks after beforehand."""
    started: list[subprocess.Popen[bytes]] = []

    def start(**variables: str) -> subprocess.Popen[bytes]:
        process = ForkedProcess(
            [sys.executable, "-c", SUPERVISE],
            env=command_environment | {"ECROSS_SERVER_PORT": "0"} | variables,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def sockets_of() -> Callable[[int], list[str]]:
    """The sockets that a process holds, as the kernel names them."""

    def list_sockets(pid: int) -> list[str]:
        held = []
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a file that it has closed since they were listed
                held.append(str(entry.readlink()))
        return [each for each in held if each.startswith("socket:")]

    return list_sockets


@pytest.fixture
def open_sockets(sockets_of: Callable[[int], list[str]]) -> Callable[[int], int]:
    """How many sockets a process holds."""
    return lambda pid: len(sockets_of(pid))


@pytest.fixture
def few_descriptors() -> Callable[[int], contextlib.AbstractContextManager[None]]:
    """Lets this process open only so many more descriptors for a while; after it, none of them may be open still."""

    @contextlib.contextmanager
    def limited(more: int) -> Iterator[None]:
        folder = Path("/proc/self/fd")
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(entry.name) for entry in folder.iterdir())
        held = [os.open("/dev/null", os.O_RDONLY) for _ in range(highest)]  # no gap stays below the limit
        opened = sorted(entry.name for entry in folder.iterdir())
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(*held, highest) + 1 + more, before[1]))
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
            assert sorted(entry.name for entry in folder.iterdir()) == opened
            for descriptor in held:
                os.close(descriptor)

    return limited


@pytest.fixture
def demo_folder(tmp_path: Path, _migrated_sqlite: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The data folder of `start_server`, with all that its first start with `--demo` would make."""
    settings = Settings.model_validate({"data_dir": tmp_path / "served"})
    settings.data_dir.mkdir(mode=0o700)
    shutil.copyfile(_migrated_sqlite, settings.data_dir / "ecross.db")
    write_private_file(settings.signing_keys_file, new_signing_keys(utc_now()))
    write_private_file(settings.peppers_file, new_peppers(utc_now()))
    monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", str(settings.data_dir))
    umask = os.umask(0o077)
    assert ensure_demo_merchant(load_settings())
    os.umask(umask)
    return settings.data_dir
