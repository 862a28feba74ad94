"""What the client needs of a token cache, so that anyone can write one."""

from typing import Protocol


class Lock(Protocol):
    """Held by one thread of one process at a time; free again when its holder is killed."""

    def release(self) -> None:
        """Let others have it. Never raises."""


class TokenCache(Protocol):
    """Keeps one entry, a few hundred secret bytes, for each client id at each token endpoint.

    All methods may be called from any thread. They may take the time of a file access, never that of a network.
    """

    def read(self, auth_url: str, client_id: str) -> bytes | None:
        """The entry as it was written; `None` if there is none that can be used.

        Raises:
            CacheError: if the cache as a whole cannot be used.
        """

    def write(self, auth_url: str, client_id: str, entry: bytes) -> None:
        """Put the entry in the place of what was there, as a whole or not at all. Asked for only while locked.

        Raises:
            CacheError: if it cannot be kept.
        """

    def remove(self, auth_url: str, client_id: str) -> None:
        """Forget the entry, if there is one.

        Raises:
            CacheError: if it is there and cannot be removed.
        """

    def try_lock(self, auth_url: str, client_id: str) -> Lock | None:
        """The right to renew the entry, which all processes that share the cache ask for; `None` if another has it.

        Never waits.

        Raises:
            CacheError: if there can be no lock.
        """
