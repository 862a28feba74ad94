"""Files that hold secrets: mode 0600 from their first byte, whole or not there at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ecross_server.kit.errors import ConflictError, UnavailableError

FRESH_BYTES = 8
FRESH = re.compile(f"[0-9a-f]{{{2 * FRESH_BYTES}}}")

OTHERS = 0o077
"""The permission bits of everybody but the owner."""


class UnsafeFileError(ConflictError):
    """A file of secrets that others can read, or whose content cannot be used."""

    code = "unsafe_file"


class UnwritableError(UnavailableError):
    """A folder or file that must be written and cannot be."""

    code = "unwritable"


def make_private_folder(folder: Path) -> None:
    """Make the folder with mode 0700 if it is missing.

    Raises:
        UnwritableError: if it cannot be made, is no folder, or cannot be written to.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UnwritableError(f"The folder {folder} cannot be made: {error.strerror}. Choose another one.") from None
    try:
        # Only an attempt tells: beside modes there are read-only file systems, quotas and full disks.
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UnwritableError(
            f"The folder {folder} cannot be written to: {error.strerror}. Change its owner or mode, or choose another."
        ) from None


def write_private_file(path: Path, content: str, *, owner: os.stat_result | None = None) -> None:
    """Write the file with mode 0600, atomically and durably: after a crash there is the old content or the new.

    With an owner it becomes theirs: written by root, it must not shut out the server that reads it.

    Raises:
        UnwritableError: if the disk is full or the folder does not allow it; the old content stays.
    """
    with _fresh_file(path, content) as fresh:
        if owner is not None:
            os.chown(fresh, owner.st_uid, owner.st_gid)
        fresh.replace(path)


def create_private_file(path: Path, content: str) -> bool:
    """Write the file if there is none, and say so; where two processes try at once, the first one's content stays.

    Raises:
        UnwritableError: as `write_private_file`.
    """
    is_created = False
    with _fresh_file(path, content) as fresh, contextlib.suppress(FileExistsError):
        os.link(fresh, path)
        is_created = True
    return is_created


def remove_leftovers(path: Path) -> None:
    """Remove what processes that were killed while they wrote the file have left; nobody may be writing it now."""
    for entry in path.parent.glob(f".{path.name}.*"):
        if FRESH.fullmatch(entry.name.removeprefix(f".{path.name}.")):
            entry.unlink(missing_ok=True)


@contextlib.contextmanager
def _fresh_file(path: Path, content: str) -> Iterator[Path]:
    """A whole file beside the path, for the caller to put in its place; what is left of it is removed."""
    # The name is unguessable and O_EXCL refuses a link laid in its place.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(FRESH_BYTES)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            yield fresh
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(path.parent)
    except OSError as error:
        raise UnwritableError(f"The file {path} cannot be written: {error.strerror}.") from None


@contextlib.contextmanager
def private_stream(path: Path, *, overwrite: bool) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file, of mode 0600, once all of them are written; else there is none.

    Raises:
        FileExistsError: if there is a file that must not be overwritten.
        UnwritableError: if the disk is full or the folder does not allow it.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                fresh.replace(path)
            else:
                os.link(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
        sync_folder(path.parent)
    except FileExistsError:
        raise
    except OSError as error:
        raise UnwritableError(f"The file {path} cannot be written: {error.strerror}.") from None


def open_lock_file(path: Path) -> int:
    """A descriptor of a file that is there to be locked. If it is missing, it is made for its folder's owner."""
    with contextlib.suppress(FileNotFoundError):
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    owner = path.parent.stat()
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, owner.st_uid, owner.st_gid)  # made by root, it must not shut the owner out
    return descriptor


def sync_folder(folder: Path) -> None:
    """Let the folder's new names outlive a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_private_json(path: Path) -> dict[str, Any]:
    """The JSON object that a private file holds.

    Raises:
        UnavailableError: if it is not there or cannot be read.
        UnsafeFileError: if others may read it, or it holds no JSON object. The text never shows the content.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read()
    except OSError as error:
        raise UnavailableError(f"The file {path} cannot be read: {error.strerror}.") from None
    if mode & OTHERS:
        raise UnsafeFileError(f"The file {path} can be read by others. Run: chmod 600 {path}")
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise UnsafeFileError(f"The file {path} does not hold a JSON object. Restore it from a backup.")
    return data
