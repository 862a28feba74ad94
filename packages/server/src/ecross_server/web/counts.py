"""How many requests came to what, and how long they took: a few additions for each, on plain lists.

Counted by the event loop alone. Whoever reads does so from a copy, so no lock is taken on a request's path.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final

BOUNDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, math.inf,
)  # fmt: skip
"""The buckets of durations, in seconds: each counts what took at most so long."""

Key = tuple[str | None, str, int, str | None]
"""Route as declared (none if no route matched), method, status, outcome. Nothing in it is chosen by strangers."""


class RequestCounts:
    """Counts of this process's requests. Each key has one list: a count for each bucket, then the sum of seconds."""

    def __init__(self) -> None:
        self._series: dict[Key, list[float]] = {}

    def add(self, route: str | None, method: str, status: int, outcome: str | None, seconds: float) -> None:
        """Count a request."""
        key = (route, method, status, outcome)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = [0] * len(BOUNDS) + [0.0]
        series[bisect_left(BOUNDS, seconds)] += 1
        series[-1] += seconds

    def rows(self) -> list[list[Any]]:
        """All counts, each as its key and its list; `restore` takes the same."""
        return [[*key, series.copy()] for key, series in self._series.copy().items()]

    def restore(self, rows: Iterable[list[Any]]) -> None:
        """Go on from the counts of a process that was here before."""
        for route, method, status, outcome, series in rows:
            self._series[route, method, status, outcome] = series
