"""A limit as a value: a budget that may be used up at once and comes back evenly (a token bucket).

Its two header forms are those of draft-ietf-httpapi-ratelimit-headers-11.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, field
from typing import Final

SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86400}
OFF: Final = "off"


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """So many requests in so many seconds, for each key."""

    name: str
    budget: int
    period_seconds: int
    interval_seconds: float = field(init=False)
    """The time in which one request's worth comes back."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "interval_seconds", self.period_seconds / self.budget)

    @classmethod
    def parse(cls, name: str, rate: str) -> Policy | None:
        """The policy of a checked setting such as `60/minute`; none for `off`."""
        if rate == OFF:
            return None
        number, _, unit = rate.partition("/")
        return cls(name, int(number), SECONDS[unit])

    @property
    def shown(self) -> bytes:
        """The policy as a member of `RateLimit-Policy`."""
        return b'"%b";q=%d;w=%d' % (self.name.encode(), self.budget, self.period_seconds)

    def shown_state(self, left: float) -> bytes:
        """What is left, as a member of `RateLimit`; `t` is the seconds until all of it is back, or from nothing one."""
        return self._shown_state(int(left) if left >= 0 else math.floor(left))

    @functools.lru_cache(maxsize=4096)  # noqa: B019 - policies live as long as the process
    def _shown_state(self, left: int) -> bytes:
        # Most callers have spent little: few states make up nearly all.
        seconds = -left if left < 0 else math.ceil((self.budget - left) * self.interval_seconds)
        return b'"%b";r=%d;t=%d' % (self.name.encode(), max(0, left), seconds)
