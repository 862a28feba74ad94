from __future__ import annotations

import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecross_server.auth.limits.local import WAYS, BudgetTable


def test_a_budget_is_there_at_once_and_comes_back_evenly() -> None:
    table = BudgetTable(64)
    now = 1000.0
    assert [int(table.spend(1, 1.0, 60.0, now)) for _ in range(60)] == list(range(59, -1, -1))
    assert table.spend(1, 1.0, 60.0, now) == pytest.approx(-1.0)
    assert table.spend(1, 1.0, 60.0, now + 0.75) == pytest.approx(-0.25)
    assert table.spend(1, 1.0, 60.0, now + 1.0) >= 0
    assert table.spend(1, 1.0, 60.0, now + 1.0) < 0
    assert int(table.spend(1, 1.0, 60.0, now + 500.0)) == 59


def test_a_refused_request_is_not_charged() -> None:
    table = BudgetTable(64)
    for _ in range(5):
        table.spend(1, 1.0, 2.0, 0.0)
    assert table.debt(1, 0.0) == 2.0


def test_keys_have_budgets_of_their_own() -> None:
    table = BudgetTable(64)
    while table.spend(1, 1.0, 3.0, 0.0) >= 0:
        pass
    assert table.spend(2, 1.0, 3.0, 0.0) >= 0


@given(st.lists(st.tuples(st.integers(0, 3), st.floats(0, 5)), max_size=200), st.integers(1, 20))
@settings(deadline=None)
def test_no_key_ever_gets_more_than_its_budget_in_any_window(steps: list[tuple[int, float]], budget: int) -> None:
    table = BudgetTable(64)
    window = 10.0
    now = 5.0
    admitted: dict[int, list[float]] = {}
    for key, pause in steps:
        now += pause
        if table.spend(key, window / budget, window, now) >= 0:
            admitted.setdefault(key, []).append(now)
    for times in admitted.values():
        for first in times:
            within = [time for time in times if first <= time <= first + window]
            # The whole budget at once, and what came back in the meantime.
            assert len(within) <= budget + budget * (within[-1] - first) / window + 1e-3


def test_what_was_decided_elsewhere_counts_here_also_beyond_the_budget() -> None:
    table = BudgetTable(64)
    for _ in range(5):
        table.charge(1, 1.0, 100.0)
    assert table.debt(1, 100.0) == 5.0
    assert table.spend(1, 1.0, 3.0, 100.0) == pytest.approx(-3.0)
    assert table.debt(2, 100.0) == 0.0


def test_the_row_of_a_key_that_owes_nothing_is_given_to_another() -> None:
    table = BudgetTable(WAYS)
    for key in range(WAYS):
        table.spend(key, 1.0 if key == 3 else 50.0, 100.0, 0.0)
    table.spend(99, 1.0, 100.0, 2.0)
    assert [key for key in range(WAYS) if not table.debt(key, 2.0)] == [3]
    assert table.debt(99, 2.0) == 1.0


def test_where_all_rows_are_taken_the_one_that_owes_least_is_given_up() -> None:
    table = BudgetTable(WAYS)
    for key in range(WAYS):
        table.spend(key, 50.0 - key, 100.0, 0.0)
    table.spend(99, 1.0, 100.0, 2.0)
    assert [key for key in range(WAYS) if not table.debt(key, 2.0)] == [WAYS - 1]


def test_a_flood_of_keys_stays_within_the_table() -> None:
    table = BudgetTable(256)
    for number in range(20_000):
        assert table.spend(hash(str(number)), 1.0, 60.0, 0.0) >= 0


def test_forked_processes_share_one_table() -> None:
    table = BudgetTable(64)
    children = []
    for _ in range(3):
        child = os.fork()
        if not child:
            admitted = sum(table.spend(1, 1.0, 60.0, 0.0) >= 0 for _ in range(10))
            os._exit(admitted)
        children.append(child)
    admitted = sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)
    assert admitted == 30
    # Two that charge in the same microsecond may count one request for two.
    assert 27.0 <= table.debt(1, 0.0) <= 30.0
