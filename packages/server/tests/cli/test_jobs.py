"""Dead jobs by command."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from ecross_server.cli import jobs
from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Policy, Runner
from ecross_server.kit.database import Database
from ecross_server.settings import Settings

Cli = Callable[..., Any]

NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


def fail(_job: Job, _finish: Finish) -> None:
    raise ArithmeticError("secret-value")


@pytest.fixture
def dead(prepared: Settings, database: Database) -> list[int]:
    """The numbers of three dead jobs, of two kinds; on each database."""
    del prepared
    with database.write() as session:
        for kind, key in (("test.a", "ACME/1"), ("test.a", "ACME/2"), ("test.b", None)):
            queue_job(session, kind, {"n": "in-the-payload"}, key=key, now=NOON)
    kinds = dict.fromkeys(["test.a", "test.b"], Kind(fail, Policy(most_attempts=1)))
    Runner(database, kinds, worker="w", clock=lambda: NOON).run_due()
    return [1, 2, 3]


def numbers(cli: Cli, *arguments: str) -> list[int]:
    return [job["jobId"] for job in cli("jobs", *arguments, "--json").result["jobs"]]


def test_they_are_listed(cli: Cli, dead: list[int]) -> None:
    out = cli("jobs", "list", "--json").result
    assert list(out) == ["jobs"]
    assert out["jobs"][0] == {
        "jobId": 1, "kind": "test.a", "key": "ACME/1", "attempts": 1, "createdAt": "2026-11-25T12:00:00.000Z",
        "deadAt": "2026-11-25T12:00:00.000Z", "lastError": "ArithmeticError",
    }  # fmt: skip
    assert numbers(cli, "list") == dead
    assert numbers(cli, "list", "--kind", "test.b") == [3]
    assert numbers(cli, "list", "--after", "1", "--limit", "1") == [2]
    assert numbers(cli, "list", "--after", str(10**30)) == []


def test_people_read_a_table(cli: Cli, dead: list[int]) -> None:
    del dead
    head, first, *_ = cli("jobs", "list").out.splitlines()
    assert head.split("  ")[0] == "JOB"
    assert first.split() == [
        "1", "test.a", "ACME/1", "1", "2026-11-25", "12:00:00Z", "2026-11-25", "12:00:00Z", "ArithmeticError"
    ]  # fmt: skip
    assert "in-the-payload" not in cli("jobs", "list").out
    assert cli("jobs", "discard", "--all").out == "Removed 3 jobs.\n"
    assert cli("jobs", "list").out == "No job is dead.\n"


@pytest.mark.parametrize("verb", ["replay", "discard"])
class TestActs:
    def test_some_are_named(self, cli: Cli, dead: list[int], verb: str) -> None:
        assert numbers(cli, verb, "3", "1", "3") == [3, 1]
        assert numbers(cli, "list") == [dead[1]]

    def test_or_all_of_a_kind(self, cli: Cli, dead: list[int], verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(jobs, "JOBS_AT_ONCE", 1)
        assert numbers(cli, verb, "--all", "--kind", "test.a") == dead[:2]
        assert numbers(cli, "list") == [3]
        assert numbers(cli, verb, "--all") == [3]
        assert numbers(cli, verb, "--all") == []

    def test_it_is_recorded(self, cli: Cli, dead: list[int], verb: str) -> None:
        del dead
        cli("jobs", verb, "1", "3")
        records = cli("audit", "list", "--json").result["records"]
        first, third = ({"jobId": 1, "kind": "test.a", "key": "ACME/1"}, {"jobId": 3, "kind": "test.b", "key": ""})
        action = f"job.{verb}ed"
        assert [(out["action"], out["details"]) for out in records] == [(action, first), (action, third)]

    def test_one_that_is_not_dead_is_not_found_and_nothing_is_done(self, cli: Cli, dead: list[int], verb: str) -> None:
        ended = cli("jobs", verb, "1", "7", "--json")
        assert (ended.code, ended.error["code"]) == (3, "job_not_found")
        assert numbers(cli, "list") == dead
        assert cli("audit", "list", "--json").result["records"] == []

    @pytest.mark.parametrize("arguments", [[], ["1", "--all"], ["1", "--kind", "test.a"], ["--kind", "test.a"]])
    def test_it_must_be_clear_which_are_meant(self, cli: Cli, dead: list[int], verb: str, arguments: list[str]) -> None:
        ended = cli("jobs", verb, *arguments, "--json")
        assert (ended.code, ended.error["errors"][0]["path"]) == (2, "JOB_ID")
        assert numbers(cli, "list") == dead


def test_what_is_replayed_is_run_again(cli: Cli, dead: list[int], database: Database) -> None:
    del dead
    assert cli("jobs", "replay", "1").out == "Freed 1 job: run again within seconds, where a process runs jobs.\n"
    run: list[Any] = []
    Runner(database, {"test.a": Kind(lambda job, _: run.append(job.payload))}, worker="w").run_due()
    assert run == [{"n": "in-the-payload"}]
