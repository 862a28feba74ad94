"""What the tests of faults share: a server with a merchant, commands to be killed, and a line that can fail."""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import httpx2
import pytest
from sqlalchemy import make_url

from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings
from forking import ForkedProcess

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

LOOK_SECONDS = 0.02


class Line:
    """A line to a TCP server that can be cut, fall silent, and come back at the same port."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._open: set[socket.socket] = set()
        self._silences = 0
        self._ended = threading.Event()
        self._speaks = threading.Event()
        self._speaks.set()
        self._listening: socket.socket | None = None
        self.port = 0
        self.mend()

    def cut(self) -> None:
        """Break all connections; new ones are refused."""
        assert self._listening is not None
        self._listening.close()
        self._listening = None
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Let new connections through again."""
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def fall_silent(self) -> None:
        """Take connections and all that is sent, and carry nothing any more, nor ever over these connections."""
        self._silences += 1
        self._speaks.clear()

    def speak(self) -> None:
        """Carry what is sent over new connections."""
        self._silences += 1
        self._speaks.set()

    def close(self) -> None:
        """End all that is left."""
        self._ended.set()
        self._speaks.set()
        if self._listening is not None:
            self.cut()

    def _accept(self, listening: socket.socket) -> None:
        # Asked now and then: closed while another thread waits in it, a socket would go on listening.
        while listening.fileno() >= 0:
            with contextlib.suppress(OSError, ValueError):
                if select.select([listening], [], [], LOOK_SECONDS)[0]:
                    near = listening.accept()[0]
                    threading.Thread(target=self._carry, args=(near,), daemon=True).start()

    def _carry(self, near: socket.socket) -> None:
        silences = self._silences
        with near, socket.create_connection(self._target) as far:
            self._open |= {near, far}
            other = {near: far, far: near}
            with contextlib.suppress(OSError, ValueError):
                while not self._ended.is_set():
                    if silences != self._silences or not self._speaks.is_set():
                        self._ended.wait(LOOK_SECONDS)
                        continue
                    for source in select.select([near, far], [], [], LOOK_SECONDS)[0]:
                        if not (data := source.recv(65536)):
                            return
                        other[source].sendall(data)
            self._open -= {near, far}


class Ended(NamedTuple):
    """How a command ended, and the one object that it said: its result or its error; `None` if it was killed before."""

    code: int
    seconds: float
    said: Any


Run = Callable[..., Ended]


@pytest.fixture
def run(settings: Settings, database_url: str) -> Run:
    """Runs a command on the prepared data folder, and kills it after so many seconds."""
    environment = os.environ | {
        "ECROSS_SERVER_DATA_DIR": str(settings.data_dir),
        "ECROSS_SERVER_DATABASE_URL": database_url,
    }
    command = str(Path(sys.executable).with_name("ecross-server"))

    def run_and_kill(*arguments: str, seconds: float = 30.0) -> Ended:
        with tempfile.TemporaryFile() as output:
            process = ForkedProcess(
                [command, *arguments, "--json"], env=environment, stdout=output, stderr=subprocess.STDOUT
            )
            began = time.monotonic()
            ended = os.pidfd_open(process.pid)  # `wait` with a time would look now and then, and kill late
            select.select([ended], [], [], seconds)
            process.kill()
            code = process.wait()
            took = time.monotonic() - began
            os.close(ended)
            output.seek(0)
            said = output.read()
        return Ended(code, took, json.loads(said) if said.endswith(b"}\n") else None)

    return run_and_kill


@pytest.fixture
def line(_migrated_postgresql: str) -> Iterator[Line]:
    """The line to PostgreSQL."""
    url = make_url(_migrated_postgresql)
    made = Line(url.host or "127.0.0.1", url.port or 5432)
    yield made
    made.close()


@dataclass
class Served:
    """A server, the credentials of its merchant ACME, and how to ask it."""

    server: ServerProcess
    credentials: dict[str, str]

    def ask(self) -> httpx2.Response:
        """Ask for a token."""
        return self.server.token(self.credentials)

    @staticmethod
    def token_id(answer: httpx2.Response) -> str:
        """The id of the token in the answer."""
        claims = answer.json()["token"].split(".")[1]
        token_id: str = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["jti"]
        return token_id

    def ready(self) -> int:
        """The status of readiness."""
        return self.server.get("/health/ready").status_code

    def metric(self, name: str) -> float | None:
        """One of its figures, if it is told yet."""
        return self.server.metrics().get(name)

    def backlog(self) -> float | None:
        """The audit records that wait to be written."""
        return self.metric("ecross_audit_backlog_records")

    def told_of(self) -> list[str]:
        """The ids of the issued tokens that the audit trail tells of."""
        records = self.server.json("audit", "list", "--limit", "100000", "--action", "token.issue")["records"]
        return [record["tokenId"] for record in records if record["outcome"] == "issued"]


Serve = Callable[..., Served]


@pytest.fixture
def serve(start_server: StartServer, settings: Settings, credential: IssuedCredential, database_url: str) -> Serve:
    """Starts a server on the prepared data folder, with metrics and without limits."""

    def start(*arguments: str, url: str | None = None, **variables: str) -> Served:
        names = {
            "ECROSS_SERVER_DATA_DIR": str(settings.data_dir),
            "ECROSS_SERVER_DATABASE_URL": url or database_url,
            "ECROSS_SERVER_METRICS_PORT": "auto",
            "ECROSS_SERVER_LIMITS_MODE": "off",
        }
        server = start_server(*arguments, **(names | variables))
        return Served(server, {"clientId": credential.client.id, "clientSecret": credential.client_secret})

    return start


@pytest.fixture
def children_of() -> Callable[[int], list[int]]:
    """The process ids of a process's children."""

    def children(pid: int) -> list[int]:
        return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))

    return children
