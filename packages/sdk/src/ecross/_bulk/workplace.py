"""Where a run keeps its files, and that no other run of the same merchant goes on meanwhile."""

import contextlib
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ecross._bulk.places import Place
from ecross._bulk.spool import Spool
from ecross._bulk.state import DamagedStateError, State, is_damage
from ecross._private_files import PrivateFileError, PrivateFolder
from ecross.errors import CacheError, SyncRunningError

_LEFTOVERS = ("", "-journal", "-wal", "-shm")


@contextlib.contextmanager
def opened(place: Place, subject: str) -> Iterator[tuple[State, Spool]]:
    """The state of earlier runs and an empty spool.

    Raises `SyncRunningError` while another run has them, `CacheError` if they cannot be kept.
    """
    if place.directory is None:
        folder = _temporary_folder()
        try:
            with _opened(PrivateFolder(folder), subject) as found:
                yield found
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        return
    owner = sha256(f"{len(place.url)} {place.url} {place.client_id}".encode()).hexdigest()[:40]
    with _opened(PrivateFolder(place.directory), f"{owner}-{subject}") as found:
        yield found


@contextlib.contextmanager
def _opened(folder: PrivateFolder, name: str) -> Iterator[tuple[State, Spool]]:
    try:
        lock = folder.try_lock(f"{name}.sync.lock")
        if lock is None:
            raise SyncRunningError
        with contextlib.ExitStack() as ends:
            ends.callback(lock.release)
            spool_name, state_name = f"{name}.spool", f"{name}.sync"
            _remove(folder, spool_name)  # of a run that was killed
            ends.callback(_remove, folder, spool_name)
            state = _open_state(folder, state_name)
            ends.callback(state.close)
            spool = Spool(_made(folder, spool_name))
            ends.callback(spool.close)
            yield state, spool
    except PrivateFileError as error:
        fault = str(error)
    except sqlite3.Error as error:
        # A full disk, or a file that was damaged.
        if is_damage(error):
            _remove(folder, f"{name}.sync")
        fault = f"What is known of earlier runs cannot be kept in {folder.path}: {error}."
    else:
        return
    raise CacheError(fault)


def _open_state(folder: PrivateFolder, name: str) -> State:
    path = _made(folder, name)
    try:
        return State(path)
    except DamagedStateError:
        _remove(folder, name)
    return State(_made(folder, name))


def _made(folder: PrivateFolder, name: str) -> Path:
    """The path of a file that is there, and private: a database that is made by its library would be open to others."""
    path = folder.path / name
    folder.check(name)
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return path
    except OSError as error:
        fault = error.strerror
    else:
        return path
    raise PrivateFileError(f"The file {path} cannot be made: {fault}.")


def _temporary_folder() -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix="ecross-"))
    except OSError as error:
        fault = error.strerror
    raise CacheError(f"There is no folder for temporary files: {fault}.")


def _remove(folder: PrivateFolder, name: str) -> None:
    for end in _LEFTOVERS:
        folder.remove(name + end)
