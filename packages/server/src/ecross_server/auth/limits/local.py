"""The budgets of this machine: a table in memory that all worker processes share, decided by GCRA.

GCRA keeps one number for each key: the time at which its budget is whole again. The clock is the monotonic one, which
is the same in all processes and is not set by anybody.
"""

from __future__ import annotations

import mmap
from typing import Final

WAYS: Final = 8
"""A key may lie in so many rows."""

ROWS: Final = 2**17
"""A row is taken while its key owes something, seconds as a rule, so they serve far more keys than there are rows."""

ROUNDING: Final = 1e-6


class BudgetTable:
    """When the budget of each key is whole again. Made before the workers are forked, and theirs together from then on.

    There is no lock: two processes that charge one key in the same microsecond may count one request instead of two. A
    key is known by its 64-bit hash, which is keyed anew at each start of Python, so nobody can choose whom to collide
    with. Where all rows of a key are taken, the one nearest to its whole budget is given up.
    """

    def __init__(self, rows: int = ROWS) -> None:
        memory = memoryview(mmap.mmap(-1, rows * 16))
        self._keys = memory[: rows * 8].cast("q")
        self._whole_at = memory[rows * 8 :].cast("d")
        self._buckets = rows // WAYS - 1

    def spend(self, key: int, interval: float, window: float, now: float) -> float:
        """Charge a request: what is left of the budget, or minus the seconds after which there would be enough.

        `interval` is the time in which one request's worth comes back, `window` that of the whole budget. A request
        that is refused is not charged.
        """
        row = self._find(key)
        whole_at = (now if row < 0 else max(self._whole_at[row], now)) + interval
        left = (now + window - whole_at) / interval + ROUNDING
        if left < 0:
            return now + window - whole_at
        self._put(row, key, whole_at, now)
        return left

    def charge(self, key: int, interval: float, now: float) -> None:
        """Charge a request that was decided elsewhere."""
        row = self._find(key)
        whole_at = (now if row < 0 else max(self._whole_at[row], now)) + interval
        self._put(row, key, whole_at, now)

    def debt(self, key: int, now: float) -> float:
        """The seconds until the key's budget is whole again."""
        row = self._find(key)
        return 0.0 if row < 0 else max(0.0, self._whole_at[row] - now)

    def _find(self, key: int) -> int:
        keys = self._keys
        first = (key & self._buckets) * WAYS
        for row in range(first, first + WAYS):
            if keys[row] == key:
                return row
        return -1

    def _put(self, row: int, key: int, whole_at: float, now: float) -> None:
        if row >= 0:
            self._whole_at[row] = whole_at
            return
        first = (key & self._buckets) * WAYS
        times = self._whole_at
        row = first
        for candidate in range(first, first + WAYS):
            if times[candidate] <= now:
                row = candidate
                break
            if times[candidate] < times[row]:
                row = candidate
        # In this order: the other way round, another process could take the old key's debt for the new one's.
        times[row] = whole_at
        self._keys[row] = key
