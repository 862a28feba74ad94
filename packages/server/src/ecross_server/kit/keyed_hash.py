"""HMAC-SHA256 under one key, prepared so that each message costs only its own hashing."""

from __future__ import annotations

from hashlib import sha256
from typing import Final, NoReturn

BLOCK_BYTES: Final = 64
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class KeyedHash:
    """The function of RFC 2104, its two keyed states kept: half the time of `hmac`, which keys or checks them anew."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, key: bytes) -> None:
        block = (sha256(key).digest() if len(key) > BLOCK_BYTES else key).ljust(BLOCK_BYTES, b"\0")
        self._inner = sha256(block.translate(_INNER))
        self._outer = sha256(block.translate(_OUTER))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a key is neither copied nor pickled")

    def digest(self, message: bytes) -> bytes:
        """The message's 32 bytes under the key."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.digest()
