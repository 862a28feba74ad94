"""Whatever happens to jobs, in any order: what was changed last is seen, and each job ends once, done or dead."""

from __future__ import annotations

import contextlib
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from ecross_server.jobs.service import list_dead_jobs, queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Policy, Runner
from ecross_server.kit.database import Database

NOON: Final = datetime(2026, 11, 25, 12, tzinfo=UTC)
MOST: Final = 3
KEYS: Final = st.sampled_from(["a", "b", None])
FATES: Final = st.sampled_from(["done", "fails", "fails at its end", "dies", "stalls"])
STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("change"), KEYS),
        st.tuples(st.just("run"), st.lists(FATES, min_size=1, max_size=3)),
        st.tuples(st.just("wait"), st.sampled_from([1, 5, 100])),
        st.tuples(st.just("replace"), st.none()),
    ),
    min_size=3,
    max_size=12,
)


class World:
    """Changes of things, each with a number; jobs that look at what there is; and what they have seen."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOON
        self.changes: Counter[str | None] = Counter()
        self.fates: list[str] = []
        self.runner = self.make_runner("w")

    def make_runner(self, worker: str) -> Runner:
        policy = Policy(most_attempts=MOST, limit_seconds=10, first_delay_seconds=2)
        return Runner(self.database, {"test.look": Kind(self.look, policy)}, worker=worker, clock=lambda: self.now)

    def look(self, job: Job, finish: Finish) -> None:
        assert job.attempts <= MOST
        fate = self.fates.pop(0) if self.fates else "done"
        if fate == "dies":
            raise SystemExit
        if fate == "fails":
            raise ArithmeticError
        if fate == "stalls":
            self.now += timedelta(seconds=100)
            self.make_runner("thief").run_due()
        with finish() as session:
            seen = {"job": job.id, "key": job.key, "n": self.changes[job.key]}
            session.execute(text("INSERT INTO seen VALUES (:job, :key, :n)"), seen)
            if fate == "fails at its end":
                raise ArithmeticError

    def change(self, key: str | None) -> None:
        with self.database.write() as session:
            queue_job(session, "test.look", {}, key=key, now=self.now)
        self.changes[key] += 1

    def run(self, fates: list[str]) -> None:
        self.fates = list(fates)
        with contextlib.suppress(SystemExit):
            self.runner.run_due()
        self.fates.clear()

    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def replace(self, _: None) -> None:
        self.runner = self.make_runner("w")
        self.runner.release()

    def settle(self) -> None:
        """Nothing goes wrong any more."""
        for _ in range(2 * MOST):
            self.replace(None)
            self.wait(1000)
            self.run([])

    def ask(self, question: str) -> list[Any]:
        with self.database.read() as session:
            return list(session.execute(text(question)).all())


@pytest.fixture(scope="module")
def template(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue("_migrated_sqlite")
    return path


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_happens_what_was_changed_last_is_seen(steps: Any, template: Path, tmp_path: Path) -> None:
    shutil.copyfile(template, tmp_path / "world.db")
    with contextlib.closing(Database(f"sqlite:///{tmp_path / 'world.db'}")) as database:
        with database.write() as session:
            session.execute(text("CREATE TABLE seen (job INTEGER, key TEXT, n INTEGER)"))
        world = World(database)
        for name, value in steps:
            getattr(world, name)(value)
        world.settle()
        assert world.ask("SELECT * FROM jobs WHERE dead_at IS NULL") == []
        with database.read() as session:
            dead = list_dead_jobs(session)
        seen = world.ask("SELECT job, key, n FROM seen")
        ended = [job for job, _, _ in seen] + [job.id for job in dead]
        assert len(ended) == len(set(ended)), "a job ended twice"
        lost = {job.key for job in dead}
        assert sum(key is None for _, key, _ in seen) + sum(job.key is None for job in dead) == world.changes[None]
        for key in world.changes.keys() - lost - {None}:
            assert max(n for _, at, n in seen if at == key) == world.changes[key]
