"""Argon2id, so many at a time: each takes 64 MiB and a twentieth of a second, which strangers must not multiply."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from argon2.profiles import RFC_9106_LOW_MEMORY

from ecross_server.operators.errors import SignInsBusyError

AT_ONCE: Final = 2
WAIT_SECONDS: Final = 5.0


class Passwords:
    """Hashes and checks what passwords were turned into; a check takes as long where there is nothing to check."""

    def __init__(self, *, at_once: int = AT_ONCE, wait_seconds: float = WAIT_SECONDS) -> None:
        # RFC 9106, 4, the second recommended option: 3 passes over 64 MiB in 4 lanes.
        self._hasher = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)
        self._slots = threading.BoundedSemaphore(at_once)
        self._wait_seconds = wait_seconds
        self._lock = threading.Lock()
        self._stand_in = ""

    def hash(self, message: bytes) -> str:
        """What is kept of the message.

        Raises:
            SignInsBusyError: if others were at it for too long.
        """
        with self._slot():
            return self._hasher.hash(message)

    def is_right(self, kept: str | None, message: bytes | None) -> bool:
        """Whether it is the message that this was kept of; without one of them it is not, which takes as long.

        Raises:
            SignInsBusyError: as `hash`.
        """
        stand_in = self._any_hash()  # the first check takes longer, whoever it is of
        if kept is None or message is None:
            self._verify(stand_in, b"")
            return False
        return self._verify(kept, message)

    def _verify(self, kept: str, message: bytes) -> bool:
        with self._slot(), contextlib.suppress(Argon2Error, InvalidHashError):
            return self._hasher.verify(kept, message)
        return False

    def _any_hash(self) -> str:
        with self._lock:
            self._stand_in = self._stand_in or self.hash(b"nobody's")
            return self._stand_in

    @contextlib.contextmanager
    def _slot(self) -> Iterator[None]:
        if not self._slots.acquire(timeout=self._wait_seconds):
            raise SignInsBusyError
        try:
            yield
        finally:
            self._slots.release()
