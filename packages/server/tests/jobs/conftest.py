"""Jobs with handlers of the tests' own, on a clock that stands until a test moves it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Finish, Handler, Job, Kind, Policy, Runner
from ecross_server.kit.database import Database

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class VirtualClock:
    """A clock that stands."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> VirtualClock:
    """The test's clock."""
    return VirtualClock()


@pytest.fixture
def run() -> list[Job]:
    """What the handler `note` was given."""
    return []


@pytest.fixture
def note(run: list[Job]) -> Handler:
    """A handler that notes what it is given."""

    def handle(job: Job, _finish: Finish) -> None:
        run.append(job)

    return handle


@pytest.fixture
def make_runner(database: Database, clock: VirtualClock, note: Handler) -> Callable[..., Runner]:
    """Makes a runner for one kind, `test.note`, with a handler and the parts of its policy."""

    def make(handler: Handler = note, *, worker: str = "w", options: Any = None, **policy: Any) -> Runner:
        kinds = {"test.note": Kind(handler, Policy(**policy))}
        return Runner(database, kinds, worker=worker, clock=clock, random=lambda: 1.0, **(options or {}))

    return make


@pytest.fixture
def queue(database: Database, clock: VirtualClock) -> Callable[..., None]:
    """Queues a job in a transaction of its own."""

    def queue_one(kind: str = "test.note", payload: Any = None, **options: Any) -> None:
        with database.write() as session:
            queue_job(session, kind, payload or {}, **({"now": clock.now} | options))

    return queue_one


@pytest.fixture
def rows(database: Database) -> Callable[..., list[Any]]:
    """The rows of the table, by number."""

    def read() -> list[Any]:
        with database.read() as session:
            return list(session.execute(text("SELECT * FROM jobs ORDER BY id")).all())

    return read
