"""How often each client calls what, and from where: counted in memory, written once a minute.

What a process had not written when it was killed is lost: a suggestion is made of this, nothing is decided by it.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Final

from ecross_server.kit.database import Database
from ecross_server.merchants.uses import CallKind, note_calls
from ecross_server.web.addresses import neighborhood

WRITE_SECONDS: Final = 60.0
MOST_KINDS: Final = 10_000
"""So many kinds of calls are told apart between two writes; those of others are not counted."""


class CallMeter:
    """Counts calls. `note` may be called from any thread, costs next to nothing and never fails."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self._lock = threading.Lock()
        self._written_at = monotonic()

    def note(self, client_id: str, scope: str, address: str) -> None:
        """Count a call that needed the scope. Of an IPv6 address its network counts."""
        kind = (client_id, scope, neighborhood(address))
        with self._lock:
            if kind in self._counts or len(self._counts) < MOST_KINDS:
                self._counts[kind] += 1

    def write_if_due(self) -> None:
        """Write what was counted, if that was not done for a minute.

        Raises:
            DatabaseAwayError: as `write`.
        """
        if self._monotonic() - self._written_at >= WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Write what was counted. What cannot be written is kept.

        Raises:
            DatabaseAwayError: if the database does not answer.
        """
        self._written_at = self._monotonic()
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        try:
            with self._database.write() as session:
                note_calls(session, {CallKind(*kind): calls for kind, calls in counts.items()}, at=self._clock())
        except Exception:
            with self._lock:
                counts.update(self._counts)
                self._counts = counts
            raise
