"""A private folder and the acts on its files."""

import contextlib
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from ecross._private_files.locks import FileLock, try_lock
from ecross._private_files.systems import (
    NOFOLLOW,
    OPEN_FLAGS,
    PrivateFileError,
    System,
    UnsafeFileError,
    current_system,
    read_regular_file,
)

LOCK_DEADLINE_SECONDS: Final = 10.0
_LOCK_PAUSE_SECONDS: Final = 0.01


class PrivateFolder:
    """A folder of mode 0700 and the user's own, whose files are 0600; its parents may be anything, also links.

    No file is opened without being checked itself, so that it does not matter if somebody who rules a parent swaps the
    folder: what they can lay there is theirs, and refused; what is written there is the user's alone.

    With `others_may_look`, the folder need only be one that nobody else can write to.
    """

    def __init__(self, path: Path, system: System | None = None, *, others_may_look: bool = False) -> None:
        self.path = path
        self.system = system or current_system()
        self._others_may_look = others_may_look

    def __repr__(self) -> str:
        return f"PrivateFolder({str(self.path)!r})"

    def prepare(self) -> None:
        """Make the folder if it is missing, and check it.

        Raises:
            UnsafeFileError: if it is a link, another user's or open to others; that is never mended silently.
            PrivateFileError: if it cannot be made.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = self.path.lstat()
        except OSError as error:
            raise PrivateFileError(f"The folder {self.path} cannot be made: {error.strerror}.") from None
        fault = self.system.folder_fault(self.path, status, others_may_look=self._others_may_look)
        if fault is not None:
            raise UnsafeFileError(fault)

    def read(self, name: str, *, max_bytes: int) -> bytes | None:
        """The file's bytes; `None` if there is none.

        Raises:
            UnsafeFileError: if it is a link, another user's or open to others: not a byte of it is read.
            OversizedFileError: if it is larger than it may be.
            PrivateFileError: if it cannot be read.
        """
        path = self.path / name
        return read_regular_file(path, self._refuse_unsafe(path), max_bytes=max_bytes)

    def check(self, name: str) -> None:
        """Refuse a file that is there and unsafe.

        Raises:
            UnsafeFileError: as `read`.
        """
        path = self.path / name
        with contextlib.suppress(OSError):
            self._refuse_unsafe(path)(path.lstat())

    def replace(self, name: str, content: bytes) -> None:
        """Write the file as a whole and durably; killed at any moment, the old content is there or the new.

        Its lock must be held: what dead writers of the file have left is removed.

        Raises:
            PrivateFileError: if it cannot be written; the old content stays.
        """
        self.prepare()
        path = self.path / name
        # The name is unguessable, and O_EXCL and O_NOFOLLOW refuse whatever lies there.
        fresh = self.path / f".{name}.{secrets.token_hex(8)}.tmp"
        try:
            for leftover in self.path.glob(f".{name}.*.tmp"):
                leftover.unlink(missing_ok=True)
            try:
                descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS | NOFOLLOW, 0o600)
                with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor has no path
                    file.write(content)
                    file.flush()
                    os.fsync(descriptor)
                self.system.replace(fresh, path)
            except BaseException:
                with contextlib.suppress(OSError):
                    fresh.unlink()
                raise
            self.system.sync_folder(self.path)
        except OSError as error:
            raise PrivateFileError(f"The file {path} cannot be written: {error.strerror}.") from None

    def remove(self, name: str) -> None:
        """Remove the file if it is there.

        Raises:
            PrivateFileError: if it cannot be removed.
        """
        path = self.path / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise PrivateFileError(f"The file {path} cannot be removed: {error.strerror}.") from None

    def set_aside(self, name: str) -> None:
        """Rename what lies there to `*.corrupt`, in the place of what was set aside before; a link is not followed.

        What cannot be renamed stays: the next writer replaces it, or says why not.
        """
        path = self.path / name
        with contextlib.suppress(OSError):
            path.replace(path.with_name(f"{name}.corrupt"))

    def try_lock(self, name: str) -> FileLock | None:
        """The lock of that name; `None` if another thread or process has it. Never waits.

        Raises:
            PrivateFileError: if there can be no lock.
        """
        self.prepare()
        return try_lock(self.path / name, self.system)

    @contextlib.contextmanager
    def locked(self, name: str, deadline_seconds: float = LOCK_DEADLINE_SECONDS) -> Iterator[None]:
        """Hold the lock of that name; its other holders are waited for, so long.

        Raises:
            PrivateFileError: if there can be no lock, or it is not free in time.
        """
        deadline = time.monotonic() + deadline_seconds
        while (lock := self.try_lock(name)) is None:
            if time.monotonic() > deadline:
                raise PrivateFileError(f"The lock {self.path / name} is held by another process. Try again.")
            time.sleep(_LOCK_PAUSE_SECONDS)
        try:
            yield
        finally:
            lock.release()

    def modes(self) -> dict[str, str]:
        """The permissions of the folder (`.`) and its files, as chmod(1) writes them; empty where there are none."""
        if not self.system.has_modes:
            return {}
        found = {}
        for path in (self.path, *sorted(self.path.iterdir())):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found["." if path == self.path else path.name] = f"{path.lstat().st_mode & 0o7777:04o}"
        return found

    def _refuse_unsafe(self, path: Path) -> Callable[[os.stat_result], None]:
        def refuse(status: os.stat_result) -> None:
            fault = self.system.file_fault(path, status)
            if fault is not None:
                raise UnsafeFileError(fault)

        return refuse
