"""Encrypted files: the token cache that all processes of a user share."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

import platformdirs

from ecross._keyring import Keyring, system_keyring
from ecross._private_files import (
    FileLock,
    OversizedFileError,
    PrivateFileError,
    PrivateFolder,
    System,
    UnsafeFileError,
    folder_of_user,
    warn_if_git_may_take,
)
from ecross._token_cache.entries import MAX_ENTRY_BYTES, CorruptEntryError, open_entry, seal_entry
from ecross._token_cache.keys import KEY_FILE, KEY_LOCK, CacheKey, KeyPlace, KeyStore
from ecross._token_cache.memory import MemoryCache
from ecross._token_cache.protocol import TokenCache
from ecross.errors import CacheError

DIRECTORY_VARIABLE: Final = "ECROSS_CACHE_DIR"

_STALE_SECONDS: Final = 2 * 24 * 3600
"""Longer than any token lives."""

_logger = logging.getLogger("ecross")


@dataclass(frozen=True, slots=True)
class CacheDescription:
    """Where a token cache keeps its tokens, and whom that keeps out; for people who ask."""

    place: KeyPlace
    why_not_better: str | None
    """Why not in a better place; `None` in the best."""
    directory: Path | None
    modes: dict[str, str]
    """Permissions of the folder (`.`) and of each file in it; empty where the system has none."""
    protects_against: str
    does_not_protect_against: str


_PROTECTION: Final = {
    KeyPlace.KEYRING: (
        "Other users of this machine; whoever gets the files alone, as in a backup; changed, swapped or cut files.",
        "Programs of the same user while the keyring is unlocked; the administrator.",
    ),
    KeyPlace.KEY_FILE: (
        "Other users of this machine; whoever gets an entry without the key file; changed, swapped or cut files.",
        "Programs of the same user; whoever gets the whole folder, where the key lies too; the administrator.",
    ),
    KeyPlace.MEMORY: (
        "Whoever gets any file: there is none.",
        "A token request of each process for itself, and with it the limits of the server.",
    ),
}


class FileCache:
    """A `TokenCache` of encrypted files in a private folder.

    `directory` is made if it is missing (its parents too); by default it is the one named by `ECROSS_CACHE_DIR`, or
    `ecross` in the folder where the operating system wants caches. The key is in the operating system's keyring where
    there is a reliable one, else in a file of mode 0600 beside the entries: `describe()` tells.

    What is damaged, or was laid there by somebody else, is set aside and counts as missing.

    Raises:
        CacheError: if the folder is not private or cannot be written; the message says how to mend it.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str] | None = None,
        *,
        keyring: Keyring | None = None,
        system: System | None = None,
    ) -> None:
        self.directory: Final = (
            told_directory(os.environ) or default_directory() if directory is None else _absolute(directory)
        )
        self._folder = PrivateFolder(self.directory, system)
        self._keys = KeyStore(self._folder, keyring or system_keyring())
        with _as_cache_errors():
            # Only an attempt tells: beside modes there are read-only file systems. What is made here is needed anyway.
            probe = self._folder.try_lock(KEY_LOCK)
            if probe is not None:
                probe.release()
            self._folder.check(KEY_FILE)
        warn_if_git_may_take(self.directory / KEY_FILE)

    def __repr__(self) -> str:
        return f"FileCache({str(self.directory)!r})"

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        return type(self), (self.directory,)  # the place alone: the key does not leave the process

    def read(self, auth_url: str, client_id: str) -> bytes | None:
        """The entry; `None` if there is none, or none of this process's key that is whole and this client's."""
        with _as_cache_errors():
            key = self._keys.get()
            name = _entry_name(auth_url, client_id, key)
            try:
                sealed = self._folder.read(name, max_bytes=MAX_ENTRY_BYTES)
                return None if sealed is None else open_entry(sealed, key, auth_url, client_id)
            except (UnsafeFileError, OversizedFileError, CorruptEntryError):
                self._folder.set_aside(name)
                return None

    def write(self, auth_url: str, client_id: str, entry: bytes) -> None:
        """Put the entry in the place of this key's; those of other keys stay as long as their tokens may live."""
        with _as_cache_errors():
            key = self._keys.get()
            sealed = seal_entry(entry, key, auth_url, client_id)
            name = _entry_name(auth_url, client_id, key)
            self._folder.replace(name, sealed)
            self._remove_stale(name, _credential_name(auth_url, client_id))

    def remove(self, auth_url: str, client_id: str) -> None:
        """Forget this key's entry."""
        with _as_cache_errors():
            self._folder.remove(_entry_name(auth_url, client_id, self._keys.get()))

    def try_lock(self, auth_url: str, client_id: str) -> FileLock | None:
        """The right to renew, which is one for all keys."""
        with _as_cache_errors():
            return self._folder.try_lock(f"{_credential_name(auth_url, client_id)}.lock")

    def describe(self) -> CacheDescription:
        """Where the key is, why not in a better place, and whom that keeps out.

        Raises:
            CacheError: if there can be no key.
        """
        with _as_cache_errors():
            key = self._keys.get()
            protects, does_not = _PROTECTION[key.place]
            return CacheDescription(
                key.place, key.why_not_better, self.directory, self._folder.modes(), protects, does_not
            )

    def _remove_stale(self, written: str, credential_name: str) -> None:
        """Remove what is left of keys that nobody has any more. By the file system's own clock, which wrote all."""
        with contextlib.suppress(OSError):
            newest = (self.directory / written).lstat().st_mtime
            for path in self.directory.glob(f"{credential_name}-*.token"):
                if newest - path.lstat().st_mtime > _STALE_SECONDS:
                    path.unlink()


def told_directory(environ: Mapping[str, str]) -> Path | None:
    """The one that `ECROSS_CACHE_DIR` names. An empty one counts as missing."""
    told = environ.get(DIRECTORY_VARIABLE)
    return _absolute(told) if told else None


def default_directory() -> Path:
    """Where this user's operating system wants caches.

    Raises:
        CacheError: if the user has no home.
    """
    path = folder_of_user(lambda: platformdirs.user_cache_path("ecross", appauthor=False))
    if path is None:
        raise CacheError(f"There is no home directory to keep tokens in. Set {DIRECTORY_VARIABLE} to a folder.")
    return path


def open_default_cache(directory: Path | None = None, *, keyring: Keyring | None = None) -> TokenCache:
    """A `FileCache`, or where no directory was told and the default one cannot be used, a `MemoryCache`.

    That is said once in a process, as a warning of the logger `ecross`.

    Raises:
        CacheError: if a directory that was told, here or by `ECROSS_CACHE_DIR`, cannot be used.
    """
    told = directory if directory is not None else told_directory(os.environ)
    try:
        return FileCache(told, keyring=keyring)
    except CacheError as error:
        if told is not None:
            raise
        _warn_once(f"Access tokens are kept in memory only, each process asks for its own. {error}")
        return MemoryCache()


def describe_cache(directory: Path | None = None, *, keyring: Keyring | None = None) -> CacheDescription:
    """What `open_default_cache` gives and whom that keeps out. Silent.

    Raises:
        CacheError: as `open_default_cache`.
    """
    told = directory if directory is not None else told_directory(os.environ)
    try:
        return FileCache(told, keyring=keyring).describe()
    except CacheError as error:
        if told is not None:
            raise
        return CacheDescription(KeyPlace.MEMORY, str(error), None, {}, *_PROTECTION[KeyPlace.MEMORY])


_said: Final[set[str]] = set()
_saying = threading.Lock()


def _warn_once(message: str) -> None:
    with _saying:
        if message in _said:
            return
        _said.add(message)
    _logger.warning(message)


@contextlib.contextmanager
def _as_cache_errors() -> Iterator[None]:
    try:
        yield
    except PrivateFileError as error:
        raise CacheError(str(error)) from None


def _absolute(path: str | os.PathLike[str]) -> Path:
    # No shell has expanded `~` in the environment of a service. Path.expanduser raises where there is no home.
    return Path(os.path.expanduser(path)).absolute()  # noqa: PTH111 - see above


def _credential_name(auth_url: str, client_id: str) -> str:
    """A name that shows neither, and that no other pair has."""
    url = auth_url.encode()
    return sha256(len(url).to_bytes(4, "big") + url + client_id.encode()).hexdigest()[:40]


def _entry_name(auth_url: str, client_id: str, key: CacheKey) -> str:
    return f"{_credential_name(auth_url, client_id)}-{key.key_id.hex()}.token"
