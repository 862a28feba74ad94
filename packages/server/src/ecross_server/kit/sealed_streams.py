"""Streams sealed with a passphrase: AES-256-GCM in chunks, each bound to its place, the last one marked as such.

A changed, missing, repeated or exchanged chunk and a cut end are noticed. A key serves one stream alone, for its salt
is new each time; so a chunk's number can be its nonce.
"""

from __future__ import annotations

import os
from typing import BinaryIO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ecross_server.kit.errors import ConflictError

MAGIC: Final = b"ecross-sealed-1\n"
SALT_BYTES: Final = 16
CHUNK_BYTES: Final = 64 * 1024
TAG_BYTES: Final = 16
COUNTER_BYTES: Final = 11
SCRYPT_COST: Final = 2**17
"""128 MB and some 0.3 s for each guess of a passphrase."""


class NotOpenedError(ConflictError):
    """A sealed stream that this passphrase does not open, or that was changed or cut."""

    code = "not_opened"

    def __init__(self) -> None:
        super().__init__("The file cannot be opened: it is another passphrase's, or was changed or cut off.")


class SealingWriter:
    """Writes what it is given sealed to another stream; `finish` writes its end, without which it is worth nothing."""

    def __init__(self, out: BinaryIO, passphrase: bytes) -> None:
        self._out = out
        self._header = MAGIC + os.urandom(SALT_BYTES)
        self._cipher = _cipher(passphrase, self._header)
        self._pending = bytearray()
        self._number = 0
        out.write(self._header)

    def write(self, data: bytes) -> int:
        """Take bytes; they are written a chunk at a time."""
        self._pending += data
        while len(self._pending) > CHUNK_BYTES:  # a whole chunk stays: it may be the last
            self._seal(bytes(self._pending[:CHUNK_BYTES]), is_last=False)
            del self._pending[:CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        """Write the last chunk."""
        self._seal(bytes(self._pending), is_last=True)

    def _seal(self, chunk: bytes, *, is_last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, is_last=is_last), chunk, self._header))
        self._number += 1


class OpeningReader:
    """Reads what a `SealingWriter` wrote. Every byte that it gives is genuine; its last read, the end."""

    def __init__(self, source: BinaryIO, passphrase: bytes) -> None:
        self._source = source
        self._header = source.read(len(MAGIC) + SALT_BYTES)
        self._cipher = _cipher(passphrase, self._header)
        self._ready = bytearray()
        self._number = 0
        self._ahead = source.read(CHUNK_BYTES + TAG_BYTES)
        self._has_ended = False

    def read(self, size: int) -> bytes:
        """At most so many bytes, fewer only at the end.

        Raises:
            NotOpenedError: if the next chunk is not genuine, or the end is not the end.
        """
        while len(self._ready) < size and not self._has_ended:
            self._open_next()
        given = bytes(self._ready[:size])
        del self._ready[:size]
        return given

    def _open_next(self) -> None:
        chunk, self._ahead = self._ahead, self._source.read(CHUNK_BYTES + TAG_BYTES)
        self._has_ended = not self._ahead
        try:
            self._ready += self._cipher.decrypt(_nonce(self._number, is_last=self._has_ended), chunk, self._header)
        except InvalidTag:
            raise NotOpenedError from None
        self._number += 1


def _cipher(passphrase: bytes, header: bytes) -> AESGCM:
    salt = header[len(MAGIC) :]
    return AESGCM(Scrypt(salt=salt, length=32, n=SCRYPT_COST, r=8, p=1).derive(passphrase))


def _nonce(number: int, *, is_last: bool) -> bytes:
    return number.to_bytes(COUNTER_BYTES, "big") + bytes([is_last])
