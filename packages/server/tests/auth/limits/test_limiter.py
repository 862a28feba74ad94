from __future__ import annotations

from typing import Any

from ecross_server.auth.limits.limiter import Limiter, Rates
from ecross_server.auth.limits.local import BudgetTable


def rates(**changes: Any) -> Rates:
    values = {
        "address": "300/minute", "client": "60/minute", "failure": "10/minute", "total": "off", "mode": "enforce",
    } | changes  # fmt: skip
    return Rates(**values)


def test_the_policies_are_shown_alone_and_together() -> None:
    limiter = Limiter(rates(), BudgetTable(64))
    assert limiter.shown_policies == (b'"address";q=300;w=60', b'"address";q=300;w=60, "client";q=60;w=60')


def test_without_a_limit_for_addresses_the_clients_is_shown_alone() -> None:
    limiter = Limiter(rates(address="off"), BudgetTable(64))
    assert limiter.shown_policies[0] == b'"client";q=60;w=60'


def test_off_means_no_limit_at_all() -> None:
    limiter = Limiter(rates(mode="off"), BudgetTable(64))
    assert (limiter.address, limiter.client, limiter.failure, limiter.total) == (None, None, None, None)


def test_observing_counts_what_it_would_refuse() -> None:
    limiter = Limiter(rates(mode="observe"), BudgetTable(64))
    assert limiter.client is not None
    assert not limiter.refuses(limiter.client)
    assert limiter.beyond["client"] == 1
    limiter.reload(rates())
    assert limiter.refuses(limiter.client)
    assert limiter.beyond == {"address": 0, "client": 2, "failure": 0, "global": 0}


def test_what_was_spent_stays_spent_under_another_limit() -> None:
    limiter = Limiter(rates(), BudgetTable(64), monotonic=lambda: 100.0)
    assert limiter.client is not None
    for _ in range(40):
        limiter.spend(limiter.client, "acme")
    limiter.reload(rates(client="30/minute"))
    # Forty of sixty took forty seconds to come back, and still do: twenty are left, ten requests' worth.
    left = limiter.spend(limiter.client, "acme")
    assert left is not None
    assert int(left) == 9
