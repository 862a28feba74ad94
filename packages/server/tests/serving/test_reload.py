"""SIGHUP: what a running server takes over, and what it refuses."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

WorkersOf = Callable[[int], list[int]]
WaitFor = Callable[..., None]
MakePair = Callable[[str], tuple[Path, Path]]


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes the settings' file, whole or not at all."""
    path = tmp_path / "server.toml"

    def replace(text: str) -> Path:
        path.with_suffix(".new").write_text(text)
        path.with_suffix(".new").replace(path)
        return path

    return replace


@pytest.fixture
def server(demo_folder: Path, start_server: StartServer, write: Callable[..., Path]) -> ServerProcess:
    del demo_folder
    return start_server("--workers", "2", ECROSS_SERVER_CONFIG=str(write("")))


def events(server: ServerProcess, *names: str) -> list[dict[str, Any]]:
    return [line for line in server.log_lines() if line["event"] in names]


@pytest.fixture
def reload(wait_for: WaitFor) -> Callable[[ServerProcess], None]:
    """Sends the signal and waits until it was seen to."""

    def send(server: ServerProcess) -> None:
        before = len(events(server, "settings_reloaded", "reload_refused"))
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(events(server, "settings_reloaded", "reload_refused")) > before)

    return send


Reload = Callable[["ServerProcess"], None]


def lines_of_requests(server: ServerProcess, count: int = 12) -> int:
    before = len(events(server, "request"))
    assert [server.get("/health/live").status_code for _ in range(count)] == [200] * count
    deadline = time.monotonic() + 1  # a line is written after the answer
    while time.monotonic() < deadline and len(events(server, "request")) - before < count:
        time.sleep(0.02)
    return len(events(server, "request")) - before


class TestSettings:
    def test_every_worker_takes_them_and_drops_no_connection(
        self, server: ServerProcess, write: Callable[..., Path], workers_of: WorkersOf, wait_for: WaitFor
    ) -> None:
        workers = workers_of(server.process.pid)
        with httpx2.Client() as client:
            assert client.get(f"{server.url}/health/live").status_code == 200
            write('log_level = "warning"')
            server.process.send_signal(signal.SIGHUP)
            wait_for(lambda: lines_of_requests(server) == 0)
            assert client.get(f"{server.url}/health/live").status_code == 200
        assert workers_of(server.process.pid) == workers
        os.kill(workers[0], signal.SIGKILL)
        wait_for(lambda: len(workers_of(server.process.pid)) == 2)
        assert lines_of_requests(server) == 0  # the new one too
        write("")
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: lines_of_requests(server) == 12)

    def test_limits_and_trusted_proxies_are_taken_by_every_worker(
        self, server: ServerProcess, write: Callable[..., Path], reload: Reload, wait_for: WaitFor
    ) -> None:
        def statuses() -> set[int]:
            wrong = {"clientId": "acme-aaaaaaaaaaaaa", "clientSecret": "x"}
            headers = {"X-Forwarded-For": "198.51.100.9"}
            return {httpx2.post(f"{server.url}/token", json=wrong, headers=headers).status_code for _ in range(8)}

        write('token_address_limit = "1/day"\ntoken_failure_limit = "off"\n')
        reload(server)
        wait_for(lambda: statuses() == {429})
        write('trusted_proxies = ["127.0.0.1"]\n')
        reload(server)
        wait_for(lambda: statuses() <= {401, 429} and 401 in statuses())

    def test_what_needs_a_restart_is_named(
        self, server: ServerProcess, write: Callable[..., Path], reload: Reload
    ) -> None:
        write('page_size = 5\nlog_level = "debug"\nissuer = "another"')
        reload(server)
        [done] = events(server, "settings_reloaded")
        assert done["changed"] == ["log_level"]
        [left] = events(server, "restart_needed")
        assert (left["level"], left["changed"]) == ("warning", ["issuer", "page_size"])

    @pytest.mark.parametrize(
        ("text", "named"),
        [
            ('log_level = "loud"', "ECROSS_SERVER_LOG_LEVEL"), ("log_levl = 1", "ECROSS_SERVER_LOG_LEVL"),
            ("[", "ECROSS_SERVER_CONFIG"), ('token_volume_limit = "much"', "ECROSS_SERVER_TOKEN_VOLUME_LIMIT"),
            ('tls_cert_file = "/none.pem"\ntls_key_file = "/none.key"', "ECROSS_SERVER_TLS_CERT_FILE"),
        ],
    )  # fmt: skip
    def test_bad_ones_are_refused_whole(
        self, server: ServerProcess, write: Callable[..., Path], reload: Reload, text: str, named: str
    ) -> None:
        write(f'log_format = "text"\n{text}' if text != "[" else text)
        reload(server)
        [line] = events(server, "reload_refused")
        assert (line["level"], named in line["reason"]) == ("error", True)
        assert lines_of_requests(server) == 12
        assert server.stop() == 0

    def test_a_storm_of_signals_breaks_nothing(
        self, server: ServerProcess, write: Callable[..., Path], wait_for: WaitFor, workers_of: WorkersOf
    ) -> None:
        workers = workers_of(server.process.pid)
        for number in range(100):
            write(f'log_level = "{["info", "warning"][number % 2]}"')
            for pid in (server.process.pid, *workers):
                os.kill(pid, signal.SIGHUP)
            if number % 10 == 0:
                assert server.get("/health/live").status_code == 200
        server.process.send_signal(signal.SIGHUP)
        wait_for(lambda: lines_of_requests(server) == 0)
        assert workers_of(server.process.pid) == workers
        server.process.send_signal(signal.SIGTERM)
        for _ in range(50):
            with contextlib.suppress(ProcessLookupError):
                server.process.send_signal(signal.SIGHUP)
        assert server.process.wait(20) == 0

    def test_one_during_the_start_breaks_nothing(
        self, command_environment: dict[str, str], demo_folder: Path, wait_for: WaitFor
    ) -> None:
        del demo_folder
        command = [str(Path(sys.executable).with_name("ecross-server")), "serve", "--port", "0", "--json"]
        with subprocess.Popen(
            command, env=command_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:  # fmt: skip
            wait_for(lambda: _ignores_hangups(process.pid))  # so early that nothing else has begun
            for _ in range(50):
                process.send_signal(signal.SIGHUP)
                time.sleep(0.02)
            assert process.stdout is not None
            assert b"".join(iter(process.stdout.readline, b"}\n"))
            process.terminate()
            assert process.wait(20) == 0


def _ignores_hangups(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    masks = {line.split(":")[0]: int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Sig")
             and not line.startswith("SigQ")}  # fmt: skip
    return bool((masks["SigIgn"] | masks["SigCgt"]) & 1 << (signal.SIGHUP - 1))


def test_when_its_terminal_is_closed_it_ends(
    command_environment: dict[str, str], demo_folder: Path, wait_for: WaitFor, tmp_path: Path
) -> None:
    del demo_folder
    master, slave = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    log = (tmp_path / "log").open("wb")
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("ecross-server")), "serve", "--port", "0", "--json"],
        env=command_environment, stdin=slave, stdout=log, stderr=log, preexec_fn=take_terminal,  # noqa: PLW1509 - it only makes system calls
    )  # fmt: skip
    os.close(slave)
    wait_for(lambda: b"dataDir" in (tmp_path / "log").read_bytes())
    process.send_signal(signal.SIGHUP)
    wait_for(lambda: b"settings_reloaded" in (tmp_path / "log").read_bytes())
    os.close(master)
    assert process.wait(20) == 0
    log.close()


class TestTls:
    @pytest.fixture
    def over_tls(
        self, demo_folder: Path, start_server: StartServer, tls_files: tuple[Path, Path], write: Callable[..., Path]
    ) -> ServerProcess:
        del demo_folder
        text = f'tls_cert_file = "{tls_files[0]}"\ntls_key_file = "{tls_files[1]}"'
        return start_server("--workers", "2", ECROSS_SERVER_CONFIG=str(write(text)))

    def test_a_renewed_certificate_is_served_within_seconds_and_old_connections_go_on(
        self, over_tls: ServerProcess, tls_files: tuple[Path, Path], make_pair: MakePair, wait_for: WaitFor
    ) -> None:
        with httpx2.Client(verify=ssl.create_default_context(cafile=str(tls_files[0]))) as client:
            assert client.get(f"{over_tls.url}/health/live").status_code == 200
            new = make_pair("new")
            shutil.copy(new[0], tls_files[0])
            time.sleep(1.5)  # the certificate is there, its key is not
            assert all(not answers(over_tls, new[0]) for _ in range(4))
            shutil.copy(new[1], tls_files[1])
            wait_for(lambda: all(answers(over_tls, new[0]) for _ in range(8)), 10)
            assert client.get(f"{over_tls.url}/health/live").status_code == 200
        assert {line["event"] for line in over_tls.log_lines()} >= {"tls_files_loaded", "tls_files_refused"}

    def test_other_files_are_taken_by_signal(
        self, over_tls: ServerProcess, make_pair: MakePair, wait_for: WaitFor, write: Callable[..., Path],
        reload: Reload,
    ) -> None:  # fmt: skip
        new = make_pair("new")
        write(f'tls_cert_file = "{new[0]}"\ntls_key_file = "{new[1]}"')
        reload(over_tls)
        wait_for(lambda: all(answers(over_tls, new[0]) for _ in range(8)), 10)
        [line] = events(over_tls, "settings_reloaded")
        assert line["changed"] == ["tls_cert_file", "tls_key_file"]
        write("")
        reload(over_tls)
        assert events(over_tls, "restart_needed")[0]["changed"] == ["tls_cert_file", "tls_key_file"]
        assert all(answers(over_tls, new[0]) for _ in range(4))

    def test_a_client_that_says_nothing_holds_nobody_up_and_is_cut_off(
        self, over_tls: ServerProcess, tls_files: tuple[Path, Path]
    ) -> None:
        host, port = over_tls.url.removeprefix("https://").rsplit(":", 1)
        with contextlib.ExitStack() as opened:
            silent = [opened.enter_context(socket.create_connection((host, int(port)))) for _ in range(50)]
            began = time.monotonic()
            assert all(answers(over_tls, tls_files[0]) for _ in range(8))
            silent[0].settimeout(25)
            assert silent[0].recv(1) == b""
            assert 8 < time.monotonic() - began < 20

    def test_only_new_versions_are_spoken(self, over_tls: ServerProcess, tls_files: tuple[Path, Path]) -> None:
        context = ssl.create_default_context(cafile=str(tls_files[0]))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{over_tls.url}/health/live", verify=context)


def answers(server: ServerProcess, certificate: Path) -> bool:
    context = ssl.create_default_context(cafile=str(certificate))
    try:
        return httpx2.get(f"{server.url}/health/live", verify=context).status_code == 200
    except httpx2.TransportError:
        return False
