"""The registry: all clients in memory, so that neither issuing nor checking a token asks the database.

A look-up by query would cost 300 µs, tell known ids from unknown ones by its time, and let strangers load the database.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from collections.abc import Set as AbstractSet
from typing import Final

from ecross_server.auth.errors import RegistryStaleError
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import PepperChange, RegistryClient

STALE_AFTER_SECONDS: Final = 5.0
SILENCE_SECONDS: Final = 2.0
"""A database that says nothing for so long is asked anew: it may be back, and the old connection may never tell."""


class Registry:
    """A snapshot of all clients, brought up to date by `refresh`. Reading needs no lock: entries are replaced whole."""

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        # Not the wall clock: setting that forward must not make every answer a 503.
        self._monotonic = monotonic
        # Two refreshes at once could take each other's state for that of an older database.
        self._refreshing = threading.Lock()
        self._clients: dict[str, RegistryClient] = {}
        self._pepper_uses: Counter[str] = Counter()
        self._revision = 0
        self._refreshed_at = float("-inf")

    def refresh(self) -> None:
        """Take over every change committed before this call.

        Raises:
            DatabaseAwayError: if the database does not answer; what was known before stays.
        """
        with self._refreshing:
            began = self._monotonic()
            with self._database.read(silence_seconds=SILENCE_SECONDS) as session:
                revision, changed = merchants.read_registry_changes(session, self._revision)
            entries = {client.client_id: client for client in changed}
            added = Counter(secret.pepper_id for client in changed for secret in client.secrets)
            # A pepper counts before any entry needs it, and until none does.
            self._pepper_uses = self._pepper_uses + added
            if revision < self._revision:  # an older database was put in place: nothing known before counts
                self._clients = entries
                self._pepper_uses = added
            else:
                replaced = filter(None, map(self._clients.get, entries))
                removed = Counter(secret.pepper_id for client in replaced for secret in client.secrets)
                self._clients.update(entries)
                self._pepper_uses = self._pepper_uses - removed
            self._revision = revision
            self._refreshed_at = began

    @property
    def age_seconds(self) -> float:
        """The time since the last state that was taken over, in seconds; infinite before the first."""
        return self._monotonic() - self._refreshed_at

    def require_fresh(self) -> None:
        """Refuse to decide on old knowledge.

        Raises:
            RegistryStaleError: if the last refresh is more than 5 seconds ago.
        """
        if self._monotonic() - self._refreshed_at > STALE_AFTER_SECONDS:
            raise RegistryStaleError

    def find(self, client_id: str) -> RegistryClient | None:
        """What is known of the client."""
        return self._clients.get(client_id)

    @property
    def pepper_ids(self) -> AbstractSet[str]:
        """The peppers that known secrets are kept under."""
        return self._pepper_uses.keys()

    def change_peppers(self, changes: Iterable[PepperChange]) -> None:
        """Have secrets kept under another pepper in the database; every registry reads it from there.

        Raises:
            DatabaseAwayError: if the database does not answer.
        """
        with self._database.write() as session:
            merchants.change_peppers(session, changes)

    def __len__(self) -> int:
        return len(self._clients)
