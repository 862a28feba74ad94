"""What background work costs: queueing a job beside its change, and running jobs that each write a row.

Each database has a table of its own for the changes and for what the jobs write.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.processes import ProcessFailedError
from benchmarks.servers import new_postgresql
from ecross_server import migrations
from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Runner
from ecross_server.kit.database import Database
from ecross_server.kit.logs import configure_logs

KIND: Final = "bench.write"
CHANGE: Final = text("INSERT INTO bench_changes (n) VALUES (:n)")


@dataclass(frozen=True, slots=True)
class JobRun:
    """What one database allows. `change` is a transaction that inserts a row, `queue` one that queues a job as well."""

    database: str
    processes: int
    jobs: int
    change_us: float
    queue_us: float
    queue_many_us: float
    run_per_second: float
    run_cpu_us: float


def measure_jobs(folder: Path, jobs: int) -> list[JobRun]:
    """SQLite, and PostgreSQL, if there is one, with one process and with two."""
    configure_logs("json", "warning")
    runs = [_measure("SQLite", f"sqlite:///{folder / 'jobs.db'}", jobs, 1)]
    with contextlib.suppress(SQLAlchemyError), new_postgresql() as url:
        runs += [_measure("PostgreSQL", url, jobs, processes) for processes in (1, 2)]
    return runs


def _measure(name: str, url: str, jobs: int, processes: int) -> JobRun:
    with _prepared(url) as database:
        change_us, queue_us = _queue_one_by_one(database, jobs)
        began = time.perf_counter()
        with database.write() as session:
            for number in range(jobs):
                queue_job(session, KIND, {"n": number}, key=f"many/{number}")
        queue_many_us = (time.perf_counter() - began) / jobs * 1e6
    seconds, cpu_seconds = _run(url, processes)
    with contextlib.closing(Database(url)) as database, database.read() as session:
        done = session.execute(text("SELECT count(*) FROM bench_effects")).scalar_one()
    if done != 2 * jobs:
        raise ProcessFailedError(f"{done} of {2 * jobs} jobs were run.")
    return JobRun(
        name, processes, jobs, change_us, queue_us, queue_many_us, 2 * jobs / seconds, cpu_seconds / jobs / 2 * 1e6
    )


@contextlib.contextmanager
def _prepared(url: str) -> Iterator[Database]:
    with contextlib.closing(Database(url)) as database:
        migrations.upgrade(database)
        with database.write() as session:
            for table in ("bench_changes", "bench_effects"):
                session.execute(text(f"DROP TABLE IF EXISTS {table}"))
                session.execute(text(f"CREATE TABLE {table} (n BIGINT)"))
        yield database


def _queue_one_by_one(database: Database, jobs: int) -> tuple[float, float]:
    """Both in turn, so that what else the machine does falls on both."""
    seconds = [0.0, 0.0]
    for number in range(jobs):
        for with_job in (False, True):
            began = time.perf_counter()
            with database.write() as session:
                session.execute(CHANGE, {"n": number})
                if with_job:
                    queue_job(session, KIND, {"n": number}, key=f"one/{number}")
            seconds[with_job] += time.perf_counter() - began
    return seconds[False] / jobs * 1e6, seconds[True] / jobs * 1e6


def _run(url: str, processes: int) -> tuple[float, float]:
    """How long it takes so many processes to run all there is, and their time on a processor."""
    began, cpu_before = time.perf_counter(), os.times()
    forked = [os.fork() or _work(url, number) for number in range(processes)]
    ended = [os.waitpid(pid, 0)[1] for pid in forked]
    if any(ended):
        raise ProcessFailedError("A process that ran jobs has failed.")
    cpu = os.times()
    used = cpu.children_user - cpu_before.children_user + cpu.children_system - cpu_before.children_system
    return time.perf_counter() - began, used


def _work(url: str, number: int) -> int:
    try:
        Runner(Database(url), {KIND: Kind(_write)}, worker=f"bench-{number}").run_due()
        os._exit(0)
    finally:
        os._exit(1)


def _write(job: Job, finish: Finish) -> None:
    with finish() as session:
        session.execute(text("INSERT INTO bench_effects (n) VALUES (:n)"), {"n": job.payload["n"]})
