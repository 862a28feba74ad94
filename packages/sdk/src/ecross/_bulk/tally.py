"""What became of each part of a source, counted while it goes on."""

import time
from collections.abc import Iterable
from typing import Final

from ecross._bulk.entries import Fault
from ecross.types.syncs import SyncFailure, SyncFault, SyncRefusal, SyncReport

MOST_LISTED: Final = 1000
"""So many refusals are listed. A catalog could have all of its products among them."""


class Tally:
    """Counts. `seconds` run from its making."""

    def __init__(self, *, is_dry_run: bool) -> None:
        self._is_dry_run = is_dry_run
        self._began_at = time.perf_counter()
        self._refusals: list[SyncRefusal] = []
        self._failures: list[SyncFailure] = []
        self.sent = self.unchanged = self.refused = self.failed = self.absent = 0
        self.skus_sent = self.skus_unchanged = self.skus_removed = 0
        self.stopped_by: str | None = None

    @property
    def done(self) -> int:
        """How many groups are settled."""
        return self.sent + self.unchanged + self.failed + self.refused

    def send(self, skus: int, removed: int) -> None:
        """A group was taken over, or would be sent."""
        self.sent += 1
        self.skus_sent += skus
        self.skus_removed += removed

    def keep(self, skus: int) -> None:
        """A group is what it was."""
        self.unchanged += 1
        self.skus_unchanged += skus

    def refuse(self, key: str | None, faults: Iterable[SyncFault]) -> None:
        """A group was not taken over, for a reason that stays."""
        self.refused += 1
        if len(self._refusals) < MOST_LISTED:
            self._refusals.append(SyncRefusal(key, tuple(faults)))

    def fail(self, key: str, lines: Iterable[int], message: str) -> None:
        """Nobody knows what became of a group."""
        self.failed += 1
        if len(self._failures) < MOST_LISTED:
            self._failures.append(SyncFailure(key, tuple(lines), message))

    def report(self, *, left_over: int) -> SyncReport:
        """All of it."""
        return SyncReport(
            is_dry_run=self._is_dry_run,
            stopped_by=self.stopped_by,
            sent=self.sent,
            unchanged=self.unchanged,
            refused=self.refused,
            failed=self.failed,
            left_over=left_over,
            absent=self.absent,
            skus_sent=self.skus_sent,
            skus_unchanged=self.skus_unchanged,
            skus_removed=self.skus_removed,
            refusals=tuple(self._refusals),
            failures=tuple(self._failures),
            seconds=time.perf_counter() - self._began_at,
        )


def told(faults: Iterable[Fault]) -> list[SyncFault]:
    """Faults of lines, as a caller gets them."""
    return [SyncFault(fault.line, fault.path, fault.message) for fault in faults]
