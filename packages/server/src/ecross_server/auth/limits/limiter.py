"""The four limits of token requests under one mode, on this machine's table or shared with others."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from ecross_server.auth.limits.local import BudgetTable
from ecross_server.auth.limits.policies import Policy
from ecross_server.auth.limits.shared import SharedBudgets

LimitsMode = Literal["enforce", "observe", "off"]

ADDRESS: Final = "address"
CLIENT: Final = "client"
FAILURE: Final = "failure"
GLOBAL: Final = "global"
NAMES: Final = (ADDRESS, CLIENT, FAILURE, GLOBAL)


@dataclass(frozen=True, slots=True)
class Rates:
    """The settings of all limits, each such as `60/minute` or `off`."""

    address: str
    client: str
    failure: str
    total: str
    mode: LimitsMode


class Limiter:
    """Who may send another token request. For the event loop's thread alone."""

    def __init__(
        self,
        rates: Rates,
        table: BudgetTable,
        shared: SharedBudgets | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._table = table
        self._shared = shared
        self._monotonic = monotonic
        self.beyond: dict[str, int] = dict.fromkeys(NAMES, 0)
        self.reload(rates)

    def reload(self, rates: Rates) -> None:
        """Go on under other limits; what was spent stays spent."""
        is_on = rates.mode != "off"
        self.is_enforced = rates.mode == "enforce"
        parsed: Mapping[str, Policy | None] = {
            ADDRESS: Policy.parse(ADDRESS, rates.address),
            CLIENT: Policy.parse(CLIENT, rates.client),
            FAILURE: Policy.parse(FAILURE, rates.failure),
            GLOBAL: Policy.parse(GLOBAL, rates.total),
        }
        self.address, self.client, self.failure, self.total = (parsed[name] if is_on else None for name in NAMES)
        address, client = (b"" if policy is None else policy.shown for policy in (self.address, self.client))
        # `RateLimit-Policy` where one limit is told, and where both are.
        self.shown_policies = (address or client, b"%b, %b" % (address, client))

    def refuses(self, policy: Policy) -> bool:
        """Count a request beyond its limit; whether it is refused, and not only observed."""
        self.beyond[policy.name] += 1
        return self.is_enforced

    def spend(self, policy: Policy, key: str) -> float | None:
        """Charge a request: what is left, or minus the seconds to wait; `None` where `ask` must decide."""
        hashed = hash((policy.name, key))
        now = self._monotonic()
        if self._shared is None:
            return self._table.spend(hashed, policy.interval_seconds, policy.period_seconds, now)
        return self._shared.spend(policy, key, hashed, now)

    async def ask(self, policy: Policy, key: str) -> float:
        """As `spend`, after one trip to where budgets are shared."""
        assert self._shared is not None  # noqa: S101 - `spend` would have decided
        return await self._shared.ask(policy, hash((policy.name, key)))
