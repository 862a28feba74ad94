"""A process that runs jobs, and nothing else: what they take, no request waits for."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from ecross_server.app.assembly import open_database
from ecross_server.app.chores import Chores
from ecross_server.app.metrics import Metrics
from ecross_server.app.reloading import LogReloader
from ecross_server.app.shared import Page
from ecross_server.app.worker import GRACE_SECONDS, Links
from ecross_server.jobs.service import JobCounts, count_jobs
from ecross_server.jobs.tasks import Kind, Runner
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.kit.logs import lost_lines
from ecross_server.settings import Settings

COUNT_SECONDS: Final = 5.0


def run_jobs(settings: Settings, links: Links, kinds: Mapping[str, Kind], worker: str, figures: Page) -> None:
    """Run what comes due, until SIGTERM or the end of the supervisor; what is being run then has its time to end.

    A job over its limit ends the process, whatever it is stuck in: the kernel sees to that.

    Raises:
        DomainError: if the database's address cannot be used.
    """
    with contextlib.closing(open_database(settings)) as database, contextlib.closing(_Ending(links.orphaned)) as ending:
        runner = Runner(database, kinds, worker=worker, arm=ending.arm)
        standing = _Standing(database)
        metrics = _make_metrics(runner, standing)
        metrics.restore(figures)
        log = LogReloader(settings, links.settings)
        with Chores([log.take_over, standing.refresh, lambda: metrics.write(figures)]):
            with contextlib.suppress(DatabaseAwayError):
                runner.release()  # what can never work, such as on another schema, shows before it counts as ready
            links.on_ready()
            runner.run_until(ending.wait)


class _Ending:
    """Knows when the process is to end, and ends it when a job takes too long."""

    def __init__(self, orphaned: int) -> None:
        self._orphaned = orphaned
        self._told, self._tell = os.pipe()
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, self._on_stop_signal)

    def wait(self, seconds: float) -> bool:
        """Wait for so long at most; whether the end has come."""
        return bool(select.select([self._told, self._orphaned], [], [], seconds)[0])

    @staticmethod
    def arm(seconds: float) -> None:
        """Let the kernel end this process then; 0: not any more."""
        signal.setitimer(signal.ITIMER_REAL, seconds)

    def close(self) -> None:
        """Give the pipe back."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.close(self._told)
        os.close(self._tell)

    def _on_stop_signal(self, _number: int, _frame: object) -> None:
        os.write(self._tell, b"1")
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        if left > GRACE_SECONDS:
            self.arm(GRACE_SECONDS)


class _Standing:
    """How jobs stand, counted now and then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._count_at = 0.0
        self.counts = JobCounts(0, 0, 0, 0.0)

    def refresh(self) -> None:
        """Count, if it is time; while the database is away, what was counted last stands."""
        if time.monotonic() < self._count_at:
            return
        self._count_at = time.monotonic() + COUNT_SECONDS
        with contextlib.suppress(DatabaseAwayError), self._database.read() as session:
            self.counts = count_jobs(session, now=utc_now())


def _make_metrics(runner: Runner, standing: _Standing) -> Metrics:
    reads: dict[str, Callable[[], float]] = {
        "ecross_jobs_due": lambda: standing.counts.due,
        "ecross_jobs_dead": lambda: standing.counts.dead,
        "ecross_jobs_oldest_seconds": lambda: standing.counts.oldest_seconds,
        "ecross_log_lines_lost_total": lambda: lost_lines.count,
    }
    metrics = Metrics()
    for name, read in reads.items():
        metrics.add(name, read)
    metrics.add("ecross_jobs_runs_total", lambda: {",".join(key): count for key, count in runner.runs.copy().items()})
    return metrics
