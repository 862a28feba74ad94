"""A memory of limited size for what is dear to find out again."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

GENERATION_SIZE: Final = 2048

Found = TypeVar("Found")


class RecentlySeen(Generic[Found]):
    """Remembers the latest entries under their digests; twice the generation's size at most.

    Two generations instead of a list of uses: only single dictionary operations, so that no lock is needed.
    """

    __slots__ = ("_generation_size", "_older", "_recent")

    def __init__(self, generation_size: int = GENERATION_SIZE) -> None:
        self._generation_size = generation_size
        self._recent: dict[bytes, Found] = {}
        self._older: dict[bytes, Found] = {}

    def __len__(self) -> int:
        return len(self._recent) + len(self._older)

    def find(self, digest: bytes) -> Found | None:
        """What is remembered under the digest."""
        found = self._recent.get(digest)
        if found is None and (found := self._older.get(digest)) is not None:
            self.remember(digest, found)
        return found

    def remember(self, digest: bytes, entry: Found) -> None:
        """Keep the entry for a while."""
        if len(self._recent) >= self._generation_size:
            # Threads that do this at once forget a few entries, which are then found anew.
            self._older, self._recent = self._recent, {}
        self._recent[digest] = entry
