"""The processes that run jobs: started, killed, stuck and stopped, under a real supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
from sqlalchemy import text

from ecross_server.jobs.service import list_dead_jobs, queue_job
from ecross_server.kit.database import Database
from ecross_server.settings import Settings
from forking import ForkedProcess

WaitFor = Callable[..., None]
IsAlive = Callable[[int], bool]

SCRIPT: Final = """
import os, signal, sys, time
from pathlib import Path
from ecross_server.app.supervisor import Supervisor
from ecross_server.jobs.tasks import Kind, Policy
from ecross_server.kit.logs import configure_logs
from ecross_server.settings import load_settings

folder = Path(sys.argv[1])

def begin(job):
    (folder / f"{job.key}.{job.attempts}").write_text(str(os.getpid()))

def note(job, finish):
    begin(job)

def wait(job, finish):
    begin(job)
    while not (folder / "go").exists():
        time.sleep(0.01)

def hang(job, finish):
    begin(job)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    while True:
        pass

def end(job, finish):
    begin(job)
    os.kill(os.getpid(), signal.SIGTERM)

quick = {"first_delay_seconds": 0.01, "longest_delay_seconds": 0.01}
kinds = {
    "test.note": Kind(note), "test.end": Kind(end, Policy(limit_seconds=100)), "test.wait": Kind(wait, Policy(**quick)),
    "test.hang": Kind(hang, Policy(most_attempts=2, limit_seconds=0.3, **quick)),
}
configure_logs("json", "info")
Supervisor(load_settings(), lambda started: print(started.metrics_port, flush=True), load_settings, kinds).run()
"""


class Supervised:
    """A server whose jobs are this test's, on the database of the test."""

    def __init__(self, settings: Settings, environment: dict[str, str], folder: Path) -> None:
        self._folder = folder
        self._database = Database(settings.database_url.get_secret_value())
        self._log = folder / "log"
        ours = {
            "DATA_DIR": str(settings.data_dir), "DATABASE_URL": settings.database_url.get_secret_value(), "PORT": "0",
            "JOB_PROCESSES": "1" if self._database.is_sqlite else "2", "METRICS_PORT": "auto",
        }  # fmt: skip
        ours = {f"ECROSS_SERVER_{name}": value for name, value in ours.items()}
        with self._log.open("wb") as log:
            self.process = ForkedProcess(
                [sys.executable, "-c", SCRIPT, str(folder)],
                env=environment | ours, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        assert self.process.stdout is not None
        self._metrics_port = self.process.stdout.readline().decode().strip()
        assert self._metrics_port, self._log.read_text()

    def queue(self, *jobs: tuple[str, str]) -> None:
        """Queue jobs by kind and key, together."""
        with self._database.write() as session:
            for kind, key in jobs:
                queue_job(session, kind, {}, key=key)

    def pid_of(self, key: str, attempt: int = 1) -> int:
        """The process that has begun this attempt; 0 if none has."""
        file = self._folder / f"{key}.{attempt}"
        return int(file.read_text() or "0") if file.exists() else 0

    def let_go(self) -> None:
        """Let jobs that wait end."""
        (self._folder / "go").touch()

    def left(self) -> int:
        """How many jobs there are."""
        with self._database.read() as session:
            count: int = session.execute(text("SELECT count(*) FROM jobs")).scalar_one()
            return count

    def dead(self) -> list[tuple[str, int, str | None]]:
        """What became of the dead ones."""
        with self._database.read() as session:
            return [(job.kind, job.attempts, job.last_error) for job in list_dead_jobs(session)]

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log lines of this name."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.endswith("}")]
        return [line for line in lines if line["event"] == name]

    def metrics(self) -> list[str]:
        """What its metrics tell of jobs."""
        text = httpx2.get(f"http://127.0.0.1:{self._metrics_port}/metrics").text
        return [line for line in text.splitlines() if line.startswith("ecross_jobs_")]

    def close(self) -> None:
        """End it, if it has not ended."""
        self._database.close()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def serve(
    settings: Settings, command_environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[[], Supervised]]:
    """Starts a server with a job process."""
    started: list[Supervised] = []

    def start() -> Supervised:
        folder = tmp_path / "told"
        folder.mkdir()
        started.append(Supervised(settings, command_environment, folder))
        return started[-1]

    yield start
    for server in started:
        server.close()


def test_a_killed_one_is_replaced_and_its_claims_are_freed(serve: Callable[[], Supervised], wait_for: WaitFor) -> None:
    server = serve()
    server.queue(("test.note", "noted"))
    wait_for(lambda: server.pid_of("noted") and not server.left())
    assert server.pid_of("noted") not in {0, server.process.pid}
    server.queue(("test.wait", "killed"))
    wait_for(lambda: server.pid_of("killed"))
    os.kill(server.pid_of("killed"), signal.SIGKILL)
    server.let_go()
    wait_for(lambda: server.pid_of("killed", 2) and not server.left())
    assert server.pid_of("killed", 2) != server.pid_of("killed")
    [died] = server.events("job_process_died")
    assert (died["pid"], died["status"]) == (server.pid_of("killed"), -9)
    ends = [("test.note", "done", 1), ("test.wait", "interrupted", 1), ("test.wait", "done", 2)]
    wait_for(lambda: [(each["kind"], each["outcome"], each["attempts"]) for each in server.events("job")] == ends)
    told = [("test.note", "done"), ("test.wait", "done"), ("test.wait", "interrupted")]
    runs = [f'ecross_jobs_runs_total{{kind="{kind}",outcome="{outcome}"}} 1.0' for kind, outcome in told]
    wait_for(lambda: {*runs, "ecross_jobs_due 0.0", "ecross_jobs_dead 0.0"} <= {*server.metrics()})
    server.process.terminate()
    assert server.process.wait(20) == 0


class TestOnSqlite:
    @pytest.fixture
    def backend(self) -> str:
        """One will do: here it is the processes that count."""
        return "sqlite"

    def test_a_job_that_hangs_ends_its_process_and_becomes_a_dead_letter(
        self, serve: Callable[[], Supervised], wait_for: WaitFor
    ) -> None:
        server = serve()
        server.queue(("test.hang", "hung"))
        server.queue(("test.note", "noted"))
        wait_for(server.dead)
        assert server.dead() == [("test.hang", 2, "process_ended")]
        wait_for(lambda: server.left() == 1)
        wait_for(lambda: [line["status"] for line in server.events("job_process_died")] == [-14, -14])
        assert server.events("worker_died") == []

    def test_one_that_is_told_to_end_does_what_it_has_begun_and_begins_nothing_else(
        self, serve: Callable[[], Supervised], wait_for: WaitFor, is_alive: IsAlive
    ) -> None:
        server = serve()
        server.queue(("test.end", "last"), ("test.note", "next"))
        wait_for(lambda: [line["outcome"] for line in server.events("job")] == ["done", "done"])
        assert not server.left()
        assert server.pid_of("last") != server.pid_of("next")
        assert [line["status"] for line in server.events("job_process_died")] == [0]
        assert is_alive(server.pid_of("next"))
        server.process.kill()  # nobody is left to tell it
        wait_for(lambda: not is_alive(server.pid_of("next")))

    def test_where_none_can_work_the_server_serves(
        self, serve: Callable[[], Supervised], wait_for: WaitFor, database: Database
    ) -> None:
        with database.write() as session:
            session.execute(text("ALTER TABLE jobs RENAME TO gone"))
        server = serve()
        wait_for(lambda: len(server.events("job_process_died")) >= 2)
        assert [line["replaced_in_seconds"] for line in server.events("job_process_died")[:2]] == [0.1, 0.2]
        server.process.terminate()
        assert server.process.wait(20) == 0
