"""What a job process tells of all jobs. The process itself is tested with its supervisor, in `serving`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ecross_server.app import job_process
from ecross_server.app.job_process import _Standing
from ecross_server.jobs.service import queue_job
from ecross_server.kit.database import Database


@pytest.fixture
def backend() -> str:
    """One will do: what is counted, the tests of jobs say."""
    return "sqlite"


def test_jobs_are_counted_now_and_then(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    standing = _Standing(database)
    for expected in (1, 1):
        with database.write() as session:
            queue_job(session, "test.note", {})
        standing.refresh()
        assert standing.counts.due == expected
    monkeypatch.setattr(job_process, "COUNT_SECONDS", 0.0)
    later = _Standing(database)
    for expected in (2, 3):
        later.refresh()
        assert later.counts.due == expected
        with database.write() as session:
            queue_job(session, "test.note", {})


def test_while_the_database_is_away_what_was_counted_last_stands(tmp_path: Path) -> None:
    with closing(Database(f"sqlite:///{tmp_path / 'gone.db'}", may_create=False)) as away:
        standing = _Standing(away)
        before = standing.counts
        standing.refresh()
        assert standing.counts is before
