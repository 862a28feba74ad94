"""Metrics of a running server: one address for all of its processes."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

WorkersOf = Callable[[int], list[int]]
WaitFor = Callable[..., None]
ISSUED = 'ecross_token_requests_total{outcome="issued"}'
RESTARTS = "ecross_worker_restarts_total"


@pytest.fixture
def server(demo_folder: Path, start_server: StartServer) -> ServerProcess:
    del demo_folder
    return start_server("--workers", "2", ECROSS_SERVER_METRICS_PORT="auto")


@pytest.fixture
def issue(server: ServerProcess) -> Callable[[int], None]:
    """Gets so many tokens, each over a connection of its own, so that every worker issues some."""
    credentials = json.loads((server.data_dir / "demo-credentials.json").read_bytes())

    def get(count: int) -> None:
        assert [server.token(credentials).status_code for _ in range(count)] == [200] * count

    return get


def serving(server: ServerProcess) -> list[int]:
    """The processes that serve, those of the API before that of the metrics, as long as none was replaced."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return sorted(map(int, children))[1:]  # the first writes the audit trail


class TestMetrics:
    def test_all_workers_are_counted_at_one_address(
        self, server: ServerProcess, issue: Callable[[int], None], wait_for: WaitFor
    ) -> None:
        assert server.facts["metricsUrl"].startswith("http://127.0.0.1:")
        issue(20)
        assert server.get("/none").status_code == 404
        wait_for(lambda: server.metrics().get(ISSUED) == 20)
        found = server.metrics()
        assert found["ecross_token_request_duration_seconds_count"] == 20
        assert found['ecross_http_requests_total{method="POST",route="/token",status="200"}'] == 20
        assert found['ecross_http_requests_total{method="GET",route="unmatched",status="404"}'] == 1
        assert (found["ecross_workers"], found[RESTARTS], found["ecross_registry_clients"]) == (2, 0, 1)
        assert found["ecross_registry_age_seconds"] < 5

    def test_counters_survive_a_killed_worker_and_the_server_counts_it(
        self, server: ServerProcess, issue: Callable[[int], None], wait_for: WaitFor
    ) -> None:
        issue(20)
        wait_for(lambda: server.metrics().get(ISSUED) == 20)
        # The last started is the one that serves the metrics: leave that one alone.
        workers = sorted(serving(server))[:2]
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: server.metrics()[RESTARTS] == 2 and server.metrics()["ecross_workers"] == 2)
        assert server.metrics()[ISSUED] == 20
        issue(5)
        wait_for(lambda: server.metrics()[ISSUED] == 25)
        assert server.metrics()["ecross_registry_clients"] == 1

    def test_the_gauges_of_a_killed_worker_vanish(self, server: ServerProcess, wait_for: WaitFor) -> None:
        wait_for(lambda: "ecross_registry_clients" in server.metrics())
        (server.data_dir / "peppers.json").rename(server.data_dir / "kept.json")  # none can be started
        for pid in sorted(serving(server))[:2]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: server.metrics()["ecross_workers"] == 0)
        assert "ecross_registry_clients" not in server.metrics()
        (server.data_dir / "kept.json").rename(server.data_dir / "peppers.json")
        wait_for(lambda: server.metrics()["ecross_workers"] == 2)

    def test_the_process_that_serves_them_is_replaced_too(
        self, server: ServerProcess, issue: Callable[[int], None], wait_for: WaitFor
    ) -> None:
        issue(3)
        wait_for(lambda: server.metrics().get(ISSUED) == 3)
        os.kill(max(serving(server)), signal.SIGKILL)
        wait_for(lambda: server.metrics()[ISSUED] == 3)
        assert server.metrics()[RESTARTS] == 0
        assert [line["event"] for line in server.log_lines() if line["level"] == "error"] == ["metrics_died"]
        assert server.stop() == 0

    def test_a_scraper_that_is_stuck_stands_in_nobodys_way(
        self, server: ServerProcess, issue: Callable[[int], None]
    ) -> None:
        port = int(server.facts["metricsUrl"].rsplit(":", 1)[1].partition("/")[0])
        with contextlib.ExitStack() as opened:
            for _ in range(20):
                stuck = opened.enter_context(socket.create_connection(("127.0.0.1", port)))
                stuck.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 50 + b"GET /metr")
            assert server.metrics()["ecross_workers"] == 2
            issue(3)
            assert server.stop() == 0

    def test_only_this_machine_is_told(self, server: ServerProcess) -> None:
        assert httpx2.get(server.facts["metricsUrl"].removesuffix("metrics")).status_code == 404
        line = Path("/proc/net/tcp").read_text()
        port = int(server.facts["metricsUrl"].rsplit(":", 1)[1].partition("/")[0])
        assert f" 0100007F:{port:04X} 00000000:0000 0A" in line
        assert f" 00000000:{port:04X} " not in line


class TestPort:
    @pytest.fixture
    def taken_port(self) -> Any:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            yield listening.getsockname()[1]

    def test_one_that_was_asked_for_and_is_taken_is_refused(
        self, start_server: StartServer, taken_port: int, command_environment: dict[str, str]
    ) -> None:
        server = start_server()
        command_environment |= {"ECROSS_SERVER_METRICS_PORT": str(taken_port)}
        server.environment |= command_environment
        ended = server.run("serve", "--port", "0")
        assert (ended.returncode, ended.stdout) == (4, b"")
        text = ended.stderr.decode()
        assert text.startswith(f"error: Port {taken_port} on 127.0.0.1 is taken by another program.")
        assert "ECROSS_SERVER_METRICS_PORT=0" in text

    def test_the_default_one_being_taken_is_no_reason_not_to_serve(self, start_server: StartServer) -> None:
        with contextlib.ExitStack() as opened:
            with contextlib.suppress(OSError):  # by somebody else, which is as good
                opened.enter_context(socket.create_server(("127.0.0.1", 9464)))
            server = start_server(ECROSS_SERVER_METRICS_PORT="")
            assert server.facts["metricsUrl"] is None
            assert server.get("/health/ready").status_code == 200
            [line] = [line for line in server.log_lines() if line["event"] == "metrics_off"]
            assert (line["level"], "9464" in line["reason"]) == ("warning", True)

    def test_people_are_told_where_they_are(self, start_server: StartServer) -> None:
        server = start_server(as_json=False, ECROSS_SERVER_METRICS_PORT="auto")
        assert "\nMetrics: http://127.0.0.1:" in server.banner
