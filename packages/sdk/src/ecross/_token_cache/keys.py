"""The key that the entries of a cache are encrypted under, and where it is kept.

The places are tried in the same order by every process: the keyring, then a key file. A process that cannot use the
keyring (a cron job, a locked session) has the key file's key beside it, and neither touches the other's entries.
"""

import base64
import binascii
import os
import secrets
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Final, NoReturn

from ecross._keyring import Keyring, KeyringUnusableError
from ecross._private_files import OversizedFileError, PrivateFolder, UnsafeFileError

KEY_BYTES: Final = 32
KEY_FILE: Final = "key"
KEY_LOCK: Final = "key.lock"

_NOT_OURS = "The keyring holds something else under the name of the cache's key."


class KeyPlace(StrEnum):
    """Where the key of the cache is, the best place first."""

    KEYRING = "keyring"
    KEY_FILE = "key file"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class CacheKey:
    """A key of AES-256, and where it is kept."""

    secret: bytes = field(repr=False)
    place: KeyPlace
    why_not_better: str | None
    """Why it is in no better place; `None` in the best."""

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CacheKey is neither copied nor pickled: it is a secret")

    @property
    def key_id(self) -> bytes:
        """Tells keys apart and says nothing about them, since they are random."""
        return sha256(b"ecross cache key id\0" + self.secret).digest()[:8]


class KeyStore:
    """The key of one folder."""

    def __init__(self, folder: PrivateFolder, keyring: Keyring) -> None:
        self._folder = folder
        self._keyring = keyring
        self._keyring_key: CacheKey | None = None
        self._keyring_fault: str | None = None

    def get(self) -> CacheKey:
        """The key; it is made when there is none, once, however many processes ask at the same time.

        Raises:
            PrivateFileError: if it can neither be in the keyring nor in a file.
        """
        if self._keyring_key is None and self._keyring_fault is None:
            try:
                secret = self._from_keyring() or self._into_keyring()
                self._keyring_key = CacheKey(secret, KeyPlace.KEYRING, None)
            except KeyringUnusableError as error:
                self._keyring_fault = str(error)  # for this process's life: its entries do not wander to and fro
        return self._keyring_key or self._from_file(self._keyring_fault)

    @property
    def _keyring_name(self) -> str:
        return f"cache key of {os.path.realpath(self._folder.path)}"

    def _from_keyring(self) -> bytes | None:
        text = self._keyring.get(self._keyring_name)
        if text is None:
            return None
        try:
            secret = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            secret = b""
        if len(secret) != KEY_BYTES:
            raise KeyringUnusableError(_NOT_OURS)
        return secret

    def _into_keyring(self) -> bytes:
        with self._folder.locked(KEY_LOCK):
            secret = self._from_keyring()  # another process may have been first
            if secret is None:
                secret = secrets.token_bytes(KEY_BYTES)
                self._keyring.set(self._keyring_name, base64.b64encode(secret).decode())
            return secret

    def _from_file(self, why: str | None) -> CacheKey:
        # Read anew each time: somebody who clears the folder takes the key with it, and then all get the same new one.
        secret = self._read_file()
        if secret is None:
            with self._folder.locked(KEY_LOCK):
                secret = self._read_file()
                if secret is None:
                    self._folder.set_aside(KEY_FILE)
                    secret = secrets.token_bytes(KEY_BYTES)
                    self._folder.replace(KEY_FILE, secret)
        return CacheKey(secret, KeyPlace.KEY_FILE, why)

    def _read_file(self) -> bytes | None:
        """The key; `None` if there is none, or it was cut short or overwritten.

        Raises:
            UnsafeFileError: if others could have read it.
        """
        try:
            secret = self._folder.read(KEY_FILE, max_bytes=KEY_BYTES)
        except UnsafeFileError as error:
            raise UnsafeFileError(f"{error} Others may know that key: remove it, a new one will be made.") from None
        except OversizedFileError:
            return None
        return secret if secret is not None and len(secret) == KEY_BYTES else None
