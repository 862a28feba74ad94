"""Locks that all threads and processes of a user share, free again when their holder is killed.

flock(2) on POSIX, LockFileEx on Windows, both through filelock, on a descriptor that is opened here: without following
links, of mode 0600, and checked before it is trusted.
"""

import contextlib
import os
import threading
from pathlib import Path
from typing import Final

from filelock import lock_descriptor, unlock_descriptor

from ecross._private_files.systems import NOFOLLOW, OPEN_FLAGS, PrivateFileError, System, UnsafeFileError

_ATTEMPTS: Final = 10
"""Somebody who clears the folder may remove the file between its opening and its locking, hardly so often."""


class FileLock:
    """A lock that is held, from `try_lock` to `release`, the end of the process, or its death."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let others have it. Never raises; without effect when repeated, and in a forked child."""
        with _Held.guard:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is None:
                return
            del _Held.locks[self]
            # Unlocked before it is closed: a child that is being started may have a copy of the descriptor.
            with contextlib.suppress(OSError):
                unlock_descriptor(descriptor)
            with contextlib.suppress(OSError):
                os.close(descriptor)


class _Held:
    """What this process holds. The guard keeps a fork from falling between a lock and its entry here."""

    guard = threading.RLock()
    locks: Final[dict[FileLock, int]] = {}

    @classmethod
    def forked(cls) -> None:
        """In the child: it holds nothing, so that a lock ends with its holder and not with its holder's children."""
        cls.guard = threading.RLock()
        while cls.locks:
            lock, descriptor = cls.locks.popitem()
            lock._descriptor = None  # noqa: SLF001 - the two belong together
            with contextlib.suppress(OSError):
                os.close(descriptor)  # which does not unlock: the lock itself stays the parent's

    @classmethod
    def before_fork(cls) -> None:
        cls.guard.acquire()

    @classmethod
    def after_fork(cls) -> None:
        cls.guard.release()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no fork
    os.register_at_fork(before=_Held.before_fork, after_in_parent=_Held.after_fork, after_in_child=_Held.forked)


def try_lock(path: Path, system: System) -> FileLock | None:
    """The lock of this file, which is made if it is missing; `None` if another thread or process has it. Never waits.

    Raises:
        UnsafeFileError: if the file is a link, another user's or open to others.
        PrivateFileError: if there can be no lock.
    """
    try:
        with _Held.guard:
            for _ in range(_ATTEMPTS):
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS | NOFOLLOW, 0o600)
                if _lock_if_in_place(descriptor, path, system):
                    lock = FileLock(descriptor)
                    _Held.locks[lock] = descriptor
                    return lock
                if path.exists():
                    return None
    except OSError as error:
        # A link is found out here: O_NOFOLLOW makes its opening fail.
        if os.path.islink(path):  # noqa: PTH114 - Path.is_symlink raises where the folder is closed to us
            raise UnsafeFileError(f"The file {path} is a link. Remove it.") from None
        raise PrivateFileError(f"The lock {path} cannot be used: {error.strerror}.") from None
    raise PrivateFileError(f"The lock {path} is removed again and again.")


def _lock_if_in_place(descriptor: int, path: Path, system: System) -> bool:
    """Lock what was opened, if it still is what the path leads to; else it is closed."""
    is_locked = False
    try:
        fault = system.file_fault(path, os.fstat(descriptor))
        if fault is not None:
            raise UnsafeFileError(fault)
        if lock_descriptor(descriptor, blocking=False):
            # Who removes the file lets others make and lock a new one: a lock of the old one would exclude nobody.
            with contextlib.suppress(FileNotFoundError):
                is_locked = os.path.samestat(os.fstat(descriptor), path.lstat())
    finally:
        if not is_locked:
            os.close(descriptor)
    return is_locked
