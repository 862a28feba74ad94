from __future__ import annotations

import pytest

from ecross_server.auth.limits.policies import Policy


@pytest.mark.parametrize(
    ("rate", "budget", "seconds"),
    [("60/minute", 60, 60), ("5/second", 5, 1), ("1000/hour", 1000, 3600), ("7/day", 7, 86400)],
)
def test_a_rate_is_a_budget_in_a_period(rate: str, budget: int, seconds: int) -> None:
    policy = Policy.parse("client", rate)
    assert policy is not None
    assert (policy.budget, policy.period_seconds) == (budget, seconds)
    assert policy.interval_seconds * budget == pytest.approx(seconds)


def test_off_is_no_policy() -> None:
    assert Policy.parse("client", "off") is None


def test_a_policy_is_shown_as_the_draft_says() -> None:
    assert Policy("address", 300, 60).shown == b'"address";q=300;w=60'


def test_what_is_left_is_told_in_whole_requests_and_seconds_until_all_is_back() -> None:
    policy = Policy("address", 300, 60)
    assert policy.shown_state(299.97) == b'"address";r=299;t=1'
    assert policy.shown_state(0.2) == b'"address";r=0;t=60'
    assert policy.shown_state(300.0) == b'"address";r=300;t=0'


def test_with_nothing_left_the_seconds_are_those_to_wait() -> None:
    assert Policy("client", 60, 60).shown_state(-0.4) == b'"client";r=0;t=1'
