"""The administration as a process of its own beside the workers."""

from __future__ import annotations

import os
import signal
import socket
import ssl
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest
from sqlalchemy import text

from ecross_server.kit.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from processes import ServerProcess, StartServer


@pytest.fixture
def free_port() -> str:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def header_of_an_owner(server: ServerProcess) -> dict[str, str]:
    """A token as `operators token` prints it, of somebody who is active."""
    server.json("operators", "add", "jane", "--name", "Jane", "--role", "owner")
    with closing(Database(f"sqlite:///{server.data_dir / 'ecross.db'}")) as database, database.write() as session:
        session.execute(text("UPDATE operators SET status = 'active'"))
    return {"Authorization": f"Bearer {server.json('operators', 'token', 'jane')['token']}"}


def test_it_serves_apart_from_the_workers_and_is_replaced(
    start_server: StartServer,
    free_port: str,
    demo_folder: Path,
    wait_for: Callable[..., None],
    sockets_of: Callable[[int], list[str]],
) -> None:
    del demo_folder
    server = start_server("--admin-port", free_port, ECROSS_SERVER_TRUSTED_PROXIES="")
    admin = server.facts["adminUrl"]
    assert admin == f"http://127.0.0.1:{free_port}/admin"
    headers = header_of_an_owner(server)
    assert httpx2.get(f"{admin}/me", headers=headers).json()["operatorId"] == "jane"
    assert server.get("/admin/me", headers=headers).status_code == 404
    assert httpx2.post(f"{admin.removesuffix('/admin')}/token", json={}).status_code == 404
    made = httpx2.post(
        f"{admin}/merchants", headers=headers, json={"merchantId": "NEW", "name": "New", "handOver": False}
    )
    credentials = made.json()
    wait_for(lambda: server.token(credentials).status_code == 200)  # the workers learn of it by themselves
    os.kill(server.process.pid, signal.SIGHUP)
    wait_for(lambda: [line for line in server.log_lines() if line["event"] == "settings_reloaded"])
    listening = listening_on(int(free_port))
    [process] = [child for child in children_of(server.process.pid) if listening & {*sockets_of(child)}]
    os.kill(process, signal.SIGKILL)
    wait_for(lambda: httpx2.get(f"{admin}/me", headers=headers).status_code == 200)
    assert [line["pid"] for line in server.log_lines() if line["event"] == "administration_died"] == [process]
    assert server.stop() == 0


def test_it_speaks_tls_as_the_workers_do(
    start_server: StartServer, free_port: str, demo_folder: Path, tls_files: tuple[Path, Path]
) -> None:
    del demo_folder
    certificate, key = tls_files
    server = start_server(
        "--admin-port", free_port,
        ECROSS_SERVER_TLS_CERT_FILE=str(certificate), ECROSS_SERVER_TLS_KEY_FILE=str(key),
    )  # fmt: skip
    trusting = ssl.create_default_context(cafile=str(certificate))
    answer = httpx2.get(f"{server.facts['adminUrl']}/me", verify=trusting)
    assert (answer.status_code, answer.json()["code"]) == (401, "missing_admin_token")
    assert server.stop() == 0


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def listening_on(port: int) -> set[str]:
    """The sockets that listen there."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{each[9]}]" for each in lines if each[1].endswith(f":{port:04X}") and each[3] == "0A"}
