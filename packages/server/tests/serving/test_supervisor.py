"""The supervisor and its workers, as processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from forking import run_forked

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

WorkersOf = Callable[[int], list[int]]
IsAlive = Callable[[int], bool]
WaitFor = Callable[..., None]
SlowClient = Callable[..., Any]
Supervise = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
def credentials_of() -> Callable[[ServerProcess], dict[str, str]]:
    def read(server: ServerProcess) -> dict[str, str]:
        content: dict[str, str] = json.loads((server.data_dir / "demo-credentials.json").read_bytes())
        return content

    return read


@pytest.fixture
def two_workers(demo_folder: Path, start_server: StartServer) -> ServerProcess:
    del demo_folder
    return start_server("--workers", "2")


@pytest.fixture
def one_worker(demo_folder: Path, start_server: StartServer) -> ServerProcess:
    del demo_folder
    return start_server()


@pytest.fixture
def ask(credentials_of: Callable[[ServerProcess], dict[str, str]]) -> Callable[[ServerProcess], int]:
    """Asks for a token over a connection of its own."""

    def ask_once(server: ServerProcess) -> int:
        return server.token(credentials_of(server)).status_code

    return ask_once


def address_of(server: ServerProcess) -> tuple[str, int]:
    host, port = server.url.removeprefix("http://").rsplit(":", 1)
    return host, int(port)


def is_refused(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=2).close()
    except ConnectionRefusedError:
        return True
    return False


def died(server: ServerProcess) -> list[dict[str, Any]]:
    return [line for line in server.log_lines() if line["event"] == "worker_died"]


class TestWorkers:
    def test_all_of_them_serve(
        self, two_workers: ServerProcess, workers_of: WorkersOf, open_sockets: Callable[[int], int]
    ) -> None:
        workers = workers_of(two_workers.process.pid)
        assert len(workers) == 2
        before = [open_sockets(pid) for pid in workers]
        with contextlib.ExitStack() as opened:
            for _ in range(24):
                client = opened.enter_context(httpx2.Client())
                assert client.get(f"{two_workers.url}/health/ready").status_code == 200
            served = [open_sockets(pid) - held for pid, held in zip(workers, before, strict=True)]
        assert sum(served) == 24
        assert min(served) > 0

    def test_a_killed_one_is_replaced_and_nobody_is_refused_meanwhile(
        self, two_workers: ServerProcess, workers_of: WorkersOf, ask: Callable[[ServerProcess], int], wait_for: WaitFor
    ) -> None:
        first = workers_of(two_workers.process.pid)
        os.kill(first[0], signal.SIGKILL)
        assert [ask(two_workers) for _ in range(24)] == [200] * 24
        wait_for(lambda: len(workers_of(two_workers.process.pid)) == 2)
        second = workers_of(two_workers.process.pid)
        assert set(first) & set(second) == {first[1]}
        [line] = died(two_workers)
        assert (line["level"], line["pid"], line["status"]) == ("error", first[0], -9)
        for pid in second:
            os.kill(pid, signal.SIGKILL)
        assert [ask(two_workers) for _ in range(12)] == [200] * 12
        assert two_workers.stop() == 0

    def test_one_that_was_told_to_end_answers_and_is_replaced(
        self, one_worker: ServerProcess, workers_of: WorkersOf, slow_client: SlowClient, wait_for: WaitFor,
        credentials_of: Callable[[ServerProcess], dict[str, str]],
    ) -> None:  # fmt: skip
        [worker] = workers_of(one_worker.process.pid)
        client = slow_client(one_worker.url)
        rest = client.begin_token_request(credentials_of(one_worker))
        os.kill(worker, signal.SIGTERM)
        time.sleep(0.3)
        client.socket.sendall(rest)
        assert client.read_answer()[0] == 200
        wait_for(lambda: workers_of(one_worker.process.pid) not in ([worker], []))
        assert [(line["pid"], line["status"]) for line in died(one_worker)] == [(worker, 0)]

    def test_one_that_dies_again_and_again_is_replaced_ever_more_slowly(
        self, one_worker: ServerProcess, workers_of: WorkersOf, wait_for: WaitFor
    ) -> None:
        (one_worker.data_dir / "peppers.json").rename(one_worker.data_dir / "kept.json")
        os.kill(workers_of(one_worker.process.pid)[0], signal.SIGKILL)
        wait_for(lambda: len(died(one_worker)) >= 3)
        assert [line["replaced_in_seconds"] for line in died(one_worker)[:3]] == [0.1, 0.2, 0.4]
        failed = [line for line in one_worker.log_lines() if line["event"] == "worker_failed"]
        assert all(
            line["reason"].endswith("peppers.json cannot be read: No such file or directory.") for line in failed
        )
        assert all("exception" not in line for line in failed)
        (one_worker.data_dir / "kept.json").rename(one_worker.data_dir / "peppers.json")
        assert one_worker.get("/health/ready", timeout=20).status_code == 200
        os.kill(workers_of(one_worker.process.pid)[0], signal.SIGKILL)
        many = len(died(one_worker))
        wait_for(lambda: len(died(one_worker)) > many)
        assert died(one_worker)[-1]["replaced_in_seconds"] == 0.1
        assert one_worker.stop() == 0


def test_the_head_of_health_comes_without_a_body(one_worker: ServerProcess, slow_client: SlowClient) -> None:
    client = slow_client(one_worker.url)
    for path in ("/health/live", "/health/ready"):
        client.socket.sendall(f"HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    with client.socket.makefile("rb") as stream:
        for _ in range(2):
            lines = list(iter(stream.readline, b"\r\n"))  # a body would stand where the next answer begins
            assert lines[0] == b"HTTP/1.1 200 OK\r\n"
            assert any(line.startswith(b"content-length: ") for line in lines)


class TestStop:
    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_what_is_in_flight_is_answered_and_nothing_new_is_taken(
        self, *, one_worker: ServerProcess, slow_client: SlowClient, number: signal.Signals, wait_for: WaitFor,
        credentials_of: Callable[[ServerProcess], dict[str, str]], workers_of: WorkersOf,
    ) -> None:  # fmt: skip
        client = slow_client(one_worker.url)
        rest = client.begin_token_request(credentials_of(one_worker))
        # Wait until the worker has read it: only what it knows of is in flight.
        assert one_worker.get("/health/live").status_code == 200
        if number == signal.SIGINT:  # a terminal sends it to all of them
            for pid in workers_of(one_worker.process.pid):
                os.kill(pid, number)
        one_worker.process.send_signal(number)
        wait_for(lambda: is_refused(address_of(one_worker)))
        client.socket.sendall(rest)
        status, headers, body = client.read_answer()
        assert (status, json.loads(body)["tokenType"]) == (200, "Bearer")
        assert headers["connection"] == "close"
        assert one_worker.process.wait(20) == 0
        assert one_worker.process.stdout is not None
        assert one_worker.process.stdout.read() == b""
        assert [line["event"] for line in one_worker.log_lines() if line["level"] != "info"] == []

    def test_a_slow_reader_gets_its_whole_answer(
        self, one_worker: ServerProcess, slow_client: SlowClient,
        credentials_of: Callable[[ServerProcess], dict[str, str]], tmp_path: Path,
    ) -> None:  # fmt: skip
        lines = [{"skuId": f"S{n}", "productId": "P", "name": "N", "description": "d" * 50_000} for n in range(80)]
        file = tmp_path / "skus.jsonl"
        file.write_text("\n".join(map(json.dumps, lines)))
        assert one_worker.json("skus", "import", "DEMO", str(file))["imported"] == 80
        token = one_worker.token(credentials_of(one_worker)).json()["token"]
        client = slow_client(one_worker.url, receive_buffer=4096)
        head = f"GET /ext/merchant/skus HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n"
        client.socket.sendall(head.encode())
        client.socket.recv(1, socket.MSG_PEEK)  # the answer has begun
        one_worker.process.terminate()
        time.sleep(0.5)
        status, _, body = client.read_answer()
        assert (status, len(json.loads(body)["skus"])) == (200, 92)
        assert one_worker.process.wait(20) == 0

    def test_an_idle_connection_holds_nothing_up(self, two_workers: ServerProcess) -> None:
        with contextlib.ExitStack() as opened:
            for _ in range(6):
                client = opened.enter_context(httpx2.Client())
                assert client.get(f"{two_workers.url}/health/live").status_code == 200
            began = time.monotonic()
            assert two_workers.stop() == 0
        assert time.monotonic() - began < 10

    def test_a_second_signal_ends_it_at_once(
        self, *, two_workers: ServerProcess, slow_client: SlowClient, wait_for: WaitFor, workers_of: WorkersOf,
        credentials_of: Callable[[ServerProcess], dict[str, str]], is_alive: IsAlive,
    ) -> None:  # fmt: skip
        workers = workers_of(two_workers.process.pid)
        client = slow_client(two_workers.url)
        client.begin_token_request(credentials_of(two_workers))
        assert two_workers.get("/health/live").status_code == 200
        two_workers.process.terminate()
        wait_for(lambda: is_refused(address_of(two_workers)))
        assert two_workers.process.poll() is None
        began = time.monotonic()
        assert two_workers.stop(signal.SIGINT) == 0
        assert time.monotonic() - began < 5
        assert client.socket.recv(1) == b""
        assert not any(map(is_alive, workers))

    def test_a_worker_that_has_only_begun_does_not_miss_it(
        self, one_worker: ServerProcess, workers_of: WorkersOf, is_alive: IsAlive
    ) -> None:
        [worker] = workers_of(one_worker.process.pid)
        os.kill(worker, signal.SIGKILL)
        deadline = time.monotonic() + 20
        while workers_of(one_worker.process.pid) in ([worker], []):
            assert time.monotonic() < deadline
        [replacing] = workers_of(one_worker.process.pid)
        began = time.monotonic()
        assert one_worker.stop() == 0
        assert time.monotonic() - began < 10
        assert not is_alive(replacing)

    def test_it_does_not_wait_for_a_worker_that_is_gone(
        self, one_worker: ServerProcess, workers_of: WorkersOf, wait_for: WaitFor
    ) -> None:
        (one_worker.data_dir / "peppers.json").unlink()
        os.kill(workers_of(one_worker.process.pid)[0], signal.SIGKILL)
        wait_for(lambda: len(died(one_worker)) >= 3 and not workers_of(one_worker.process.pid))
        assert one_worker.stop() == 0

    def test_before_it_serves_it_ends_as_quietly(
        self, supervise: Supervise, demo_folder: Path, workers_of: WorkersOf, wait_for: WaitFor
    ) -> None:
        process = supervise(ECROSS_SERVER_DATA_DIR=str(demo_folder), ECROSS_SERVER_WORKERS="8")
        wait_for(lambda: workers_of(process.pid))
        process.terminate()
        out, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert out.endswith(b"ended\n")
        assert b"Traceback" not in errors


class TestKilledSupervisor:
    def test_its_workers_end_by_themselves_and_free_the_port(
        self, two_workers: ServerProcess, workers_of: WorkersOf, is_alive: IsAlive, wait_for: WaitFor
    ) -> None:
        workers = workers_of(two_workers.process.pid)
        two_workers.process.kill()
        two_workers.process.wait()
        wait_for(lambda: not any(map(is_alive, workers)))
        assert is_refused(address_of(two_workers))

    def test_they_answer_what_is_in_flight_without_spinning(
        self, *, one_worker: ServerProcess, workers_of: WorkersOf, slow_client: SlowClient, wait_for: WaitFor,
        credentials_of: Callable[[ServerProcess], dict[str, str]], is_alive: IsAlive,
    ) -> None:  # fmt: skip
        [worker] = workers_of(one_worker.process.pid)
        client = slow_client(one_worker.url)
        rest = client.begin_token_request(credentials_of(one_worker))
        assert one_worker.get("/health/live").status_code == 200
        one_worker.process.kill()
        one_worker.process.wait()
        wait_for(lambda: is_refused(address_of(one_worker)))
        before = cpu_seconds(worker)
        time.sleep(1)
        assert cpu_seconds(worker) - before < 0.4
        client.socket.sendall(rest)
        assert client.read_answer()[0] == 200
        wait_for(lambda: not is_alive(worker))


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


RunServe = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run_serve(command_environment: dict[str, str]) -> RunServe:
    """Runs a server that must not come up."""

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [str(Path(sys.executable).with_name("ecross-server")), "serve", *arguments]
        return run_forked(command, env=command_environment)

    return run


class TestFailedStart:
    def test_a_worker_that_cannot_start_is_told_in_a_sentence(self, demo_folder: Path, run_serve: RunServe) -> None:
        with contextlib.closing(sqlite3.connect(demo_folder / "ecross.db")) as connection:
            connection.execute("DROP TABLE registry_revision")
        ended = run_serve("--port", "0", "--workers", "2")
        assert (ended.returncode, ended.stdout) == (5, b"")
        *logged, last = ended.stderr.decode().splitlines()
        assert last == "error: The server could not start; the log lines above say why."
        lines = [json.loads(line) for line in logged]
        assert {line["event"] for line in lines} == {"worker_failed"}
        assert "no such table: registry_revision" in lines[0]["exception"]

    def test_a_known_reason_is_one_line(self, supervise: Supervise, demo_folder: Path) -> None:
        (demo_folder / "signing-keys.json").write_text("{")
        process = supervise(ECROSS_SERVER_DATA_DIR=str(demo_folder))
        out, errors = process.communicate(timeout=20)
        assert (process.returncode, out) == (1, b"")
        first, *others = errors.decode().splitlines()
        assert json.loads(first)["event"] == "worker_failed"
        assert "signing-keys.json does not hold a JSON object" in json.loads(first)["reason"]
        assert others[-1].startswith("ecross_server.app.supervisor.StartError: ")


def test_a_second_server_on_the_port_is_refused_and_the_first_goes_on(
    two_workers: ServerProcess, ask: Callable[[ServerProcess], int]
) -> None:
    _, port = address_of(two_workers)
    ended = two_workers.run("serve", "--port", str(port), "--workers", "2")
    assert (ended.returncode, ended.stdout) == (4, b"")
    assert f"ecross-server serve --port {port + 1}\n" in ended.stderr.decode()
    assert [ask(two_workers) for _ in range(12)] == [200] * 12


class TestForks:
    def test_one_that_fails_is_tried_again(
        self, supervise: Supervise, demo_folder: Path, workers_of: WorkersOf, wait_for: WaitFor
    ) -> None:
        process = supervise(ECROSS_SERVER_DATA_DIR=str(demo_folder), ECROSS_SERVER_WORKERS="2", FAILING_FORKS="3")
        assert process.stdout is not None
        assert process.stdout.readline().strip().isdigit()
        wait_for(lambda: len(workers_of(process.pid)) == 2)
        process.terminate()
        out, errors = process.communicate(timeout=20)
        assert (process.returncode, out) == (0, b"ended\n")
        lines = [json.loads(line) for line in errors.decode().splitlines()]
        failed = [line for line in lines if line["event"] == "start_failed"]
        assert [line["again_in_seconds"] for line in failed] in ([0.1, 0.1, 0.2], [0.1, 0.1, 0.1])
        assert {line["reason"] for line in failed} == {"Resource temporarily unavailable"}


class TestPublicAddresses:
    @pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104 - what an operator may ask for
    def test_in_clear_they_are_refused_with_the_ways_out(
        self, demo_folder: Path, run_serve: RunServe, host: str
    ) -> None:
        del demo_folder
        ended = run_serve("--port", "0", "--host", host)
        assert (ended.returncode, ended.stdout) == (4, b"")
        message = ended.stderr.decode()
        for part in (f"On {host} ", "TLS_CERT_FILE", "TLS_KEY_FILE", "TRUSTED_PROXIES", "127.0.0.1"):
            assert part in message

    def test_behind_a_proxy_that_is_named_they_are_served(self, demo_folder: Path, start_server: StartServer) -> None:
        del demo_folder
        server = start_server("--host", "0.0.0.0", ECROSS_SERVER_TRUSTED_PROXIES="10.0.0.1")  # noqa: S104 - likewise
        assert server.get("/health/live").status_code == 200

    def test_with_tls_they_are_served(
        self, demo_folder: Path, start_server: StartServer, tls_files: tuple[Path, Path]
    ) -> None:
        del demo_folder
        certificate, key = map(str, tls_files)
        server = start_server(
            "--host", "0.0.0.0", ECROSS_SERVER_TLS_CERT_FILE=certificate, ECROSS_SERVER_TLS_KEY_FILE=key  # noqa: S104
        )  # fmt: skip
        assert server.url.startswith("https://127.0.0.1:")
