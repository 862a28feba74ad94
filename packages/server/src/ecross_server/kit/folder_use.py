"""Who uses a data folder: many at once, or one alone who puts another state into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ecross_server.kit.errors import ConflictError
from ecross_server.kit.private_files import UnwritableError, open_lock_file

LOCK_NAME: Final = ".in-use.lock"


class FolderInUseError(ConflictError):
    """Others use the folder in a way that does not go together with this act."""

    code = "in_use"


@contextlib.contextmanager
def shared_use(folder: Path) -> Iterator[None]:
    """Use the folder beside others. Forked processes use it, too, for as long as any of them lives.

    Raises:
        FolderInUseError: while somebody has it alone.
    """
    try:
        descriptor = open_lock_file(folder / LOCK_NAME)
    except OSError:  # not there, or not to be written to: nobody could have put another state into it either
        yield
        return
    with _closing(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(f"A backup is being restored into {folder}. Try again when that is done.") from None
        yield


@contextlib.contextmanager
def sole_use(folder: Path) -> Iterator[None]:
    """Have the folder alone.

    Raises:
        FolderInUseError: if anybody uses it.
        UnwritableError: if it cannot be written to.
    """
    try:
        descriptor = open_lock_file(folder / LOCK_NAME)
    except OSError as error:
        raise UnwritableError(f"The folder {folder} cannot be used: {error.strerror}.") from None
    with _closing(descriptor):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FolderInUseError(
                f"A server or another command is using {folder}. Stop it, and try again: what it wrote would be lost."
            ) from None
        yield


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)  # ends the lock, unless a forked process has it still
