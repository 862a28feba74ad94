"""Tokens in the memory of this process: for tests, and where no file may be written."""

import os
from typing import NoReturn

_Key = tuple[int, str, str]


class MemoryCache:
    """A `TokenCache` that nothing outlives: each process asks for a token of its own.

    Shared by all threads and event loops of the process. A forked child begins with its parent's entries, and with
    all locks free.
    """

    __slots__ = ("__weakref__", "_entries", "_locks")

    # Only single operations on dictionaries, which no other thread gets between. So there is no mutex that a fork
    # could copy while another thread holds it; and the process id in a lock's key leaves the parent's locks behind.

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str], bytes] = {}
        self._locks: dict[_Key, _MemoryLock] = {}

    def read(self, auth_url: str, client_id: str) -> bytes | None:
        """The entry, if there is one."""
        return self._entries.get((auth_url, client_id))

    def write(self, auth_url: str, client_id: str, entry: bytes) -> None:
        """Put the entry in the place of what was there."""
        self._entries[auth_url, client_id] = entry

    def remove(self, auth_url: str, client_id: str) -> None:
        """Forget the entry."""
        self._entries.pop((auth_url, client_id), None)

    def try_lock(self, auth_url: str, client_id: str) -> "_MemoryLock | None":
        """The right to renew the entry; `None` if another thread or task of this process has it."""
        key = (os.getpid(), auth_url, client_id)
        lock = _MemoryLock(self._locks, key)
        return lock if self._locks.setdefault(key, lock) is lock else None

    def __repr__(self) -> str:
        return f"MemoryCache(entries={len(self._entries)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a MemoryCache is neither copied nor pickled: it holds tokens")


class _MemoryLock:
    __slots__ = ("_key", "_locks")

    def __init__(self, locks: dict[_Key, "_MemoryLock"], key: _Key) -> None:
        self._locks = locks
        self._key = key

    def release(self) -> None:
        """Let others have it."""
        if self._locks.get(self._key) is self:
            self._locks.pop(self._key, None)
