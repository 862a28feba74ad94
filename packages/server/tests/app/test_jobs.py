"""The kinds of all domains' jobs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from ecross_server.app.jobs import join_kinds, make_kinds
from ecross_server.jobs.rules import check_name
from ecross_server.jobs.tasks import Finish, Job, Kind
from ecross_server.settings import Settings


def do_nothing(_job: Job, _finish: Finish) -> None: ...


def test_they_are_joined() -> None:
    one, other = Kind(do_nothing), Kind(do_nothing)
    assert join_kinds({"test.a": one}, {"test.b": other}) == {"test.a": one, "test.b": other}


def test_two_of_one_name_are_our_bug() -> None:
    kinds = dict.fromkeys(["test.a", "test.b", "test.c"], Kind(do_nothing))
    with pytest.raises(ValueError, match=r"named twice: test\.a, test\.b"):
        join_kinds(kinds, {"test.b": kinds["test.b"], "test.a": kinds["test.a"]})


def test_each_has_a_name_that_can_be_queued_and_ends_before_a_claim_does() -> None:
    for name, kind in make_kinds(Settings()).items():
        check_name(name, None)
        assert 0 < kind.policy.limit_seconds < kind.policy.lease.total_seconds()
        assert kind.policy.most_attempts > 1


def test_tests_run_those_that_are_due(run_due_jobs: Callable[..., int]) -> None:
    assert run_due_jobs() == 0
    assert run_due_jobs(lambda: datetime(2026, 11, 25, tzinfo=UTC)) == 0
