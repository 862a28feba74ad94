"""What a private file is on each operating system, and the few acts that differ among them.

Run on Linux only; macOS shares the POSIX way, Windows has its own, whose decisions are tested with made-up facts.
"""

import os
import shlex
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

OTHERS: Final = 0o077
"""The permission bits of everybody but the owner."""
ALL: Final = 0o777
OWNER_ONLY: Final = 0o700
CHANGED_BY_OTHERS: Final = 0o022

# Each is there only where the system knows it. O_NONBLOCK: a pipe in the place of a file must not hold the caller up.
OPEN_FLAGS: Final = (
    getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
)
NOFOLLOW: Final = getattr(os, "O_NOFOLLOW", 0)

_REPLACE_PAUSES_SECONDS: Final = (0.001, 0.01, 0.1)


class PrivateFileError(Exception):
    """A private file or folder cannot be used; the message names it and holds nothing of its content."""


class UnsafeFileError(PrivateFileError):
    """It may have been laid there, or been read, by somebody else; the message says how to mend it."""


class OversizedFileError(PrivateFileError):
    """It is larger than what is kept in it can be."""


class System(Protocol):
    """What a private file is here."""

    @property
    def has_modes(self) -> bool:
        """Whether files have permissions to show."""

    def folder_fault(self, path: Path, status: os.stat_result, *, others_may_look: bool) -> str | None:
        """Why the folder is not fit for files of its user alone, and what to do; `None` if it is."""

    def file_fault(self, path: Path, status: os.stat_result) -> str | None:
        """Why the file is not its user's alone, and what to do; `None` if it is."""

    def told_file_fault(self, path: Path, status: os.stat_result) -> str | None:
        """Why others could have changed what the file says; `None` if they cannot."""

    def replace(self, source: Path, target: Path) -> None:
        """Put the source in the place of the target, in one step."""

    def sync_folder(self, folder: Path) -> None:
        """Let the folder's new names outlive a crash."""


@dataclass(frozen=True, slots=True)
class Posix:
    """Owners and modes: files are 0600, folders 0700. Access control lists beside the modes are not looked at."""

    user: int
    has_modes: bool = True

    def folder_fault(self, path: Path, status: os.stat_result, *, others_may_look: bool) -> str | None:
        """Anything but a folder of the user's, of mode 0700, or one that nobody else may write to."""
        if stat.S_ISLNK(status.st_mode):
            return f"The folder {path} is a link. Name the folder that it leads to."
        if not stat.S_ISDIR(status.st_mode):
            return f"{path} is not a folder. Move it away or choose another folder."
        if status.st_uid != self.user:
            return f"The folder {path} belongs to another user (uid {status.st_uid}). Choose one of your own."
        if others_may_look:
            return self.told_file_fault(path, status)
        if status.st_mode & ALL != OWNER_ONLY:
            return f"The folder {path} must be its owner's alone. Run: chmod 700 {shlex.quote(str(path))}"
        return None

    def file_fault(self, path: Path, status: os.stat_result) -> str | None:
        """Anything but a regular file of the user's that nobody else may read or write."""
        fault = _not_regular(path, status)
        if fault is None and status.st_uid != self.user:
            fault = f"The file {path} belongs to another user (uid {status.st_uid}). Remove it."
        if fault is None and status.st_mode & OTHERS:
            fault = f"The file {path} is open to others. Run: chmod 600 {shlex.quote(str(path))}"
        return fault

    def told_file_fault(self, path: Path, status: os.stat_result) -> str | None:
        """A file that belongs to neither the user nor root, or that others may write."""
        if status.st_uid not in {self.user, 0}:
            return f"{path} belongs to another user (uid {status.st_uid}). Use one of your own."
        if status.st_mode & CHANGED_BY_OTHERS:
            return f"{path} can be changed by others. Run: chmod go-w {shlex.quote(str(path))}"
        return None

    def replace(self, source: Path, target: Path) -> None:
        """As rename(2)."""
        source.replace(target)

    def sync_folder(self, folder: Path) -> None:
        """As fsync(2) on the folder."""
        descriptor = os.open(folder, os.O_RDONLY | OPEN_FLAGS)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@dataclass(frozen=True, slots=True)
class Windows:
    """No modes: a file in the user's profile inherits an access control list of the user, SYSTEM and Administrators.

    A folder chosen elsewhere is as private as the list it inherits there, which is not looked at. Never run there.
    """

    has_modes: bool = False
    move: Callable[[Path, Path], None] = os.replace
    sleep: Callable[[float], None] = time.sleep

    def folder_fault(self, path: Path, status: os.stat_result, *, others_may_look: bool) -> str | None:
        """Anything but a real folder: links, junctions and mount points are reparse points."""
        del others_may_look
        if _is_reparse_point(status) or not stat.S_ISDIR(status.st_mode):
            return f"{path} is a link or no folder. Choose another folder."
        return None

    def file_fault(self, path: Path, status: os.stat_result) -> str | None:
        """Anything but a real file."""
        if _is_reparse_point(status):
            return f"The file {path} is a link. Remove it."
        return _not_regular(path, status)

    def told_file_fault(self, path: Path, status: os.stat_result) -> str | None:
        """None: who may write is not looked at."""
        del path, status
        return None

    def replace(self, source: Path, target: Path) -> None:
        """Tried again for a moment: while another process reads the target, the system refuses."""
        for pause in _REPLACE_PAUSES_SECONDS:
            try:
                return self.move(source, target)
            except PermissionError:
                self.sleep(pause)
        return self.move(source, target)

    def sync_folder(self, folder: Path) -> None:
        """Nothing: a folder cannot be synchronized there, NTFS journals its names."""


def current_system() -> System:
    """The one this process runs on."""
    effective_user: Callable[[], int] | None = getattr(os, "geteuid", None)
    return system_of(effective_user)


def system_of(effective_user: Callable[[], int] | None) -> System:
    """POSIX where processes have users, else Windows."""
    return Windows() if effective_user is None else Posix(effective_user())


def read_regular_file(
    path: Path, check: Callable[[os.stat_result], None], *, max_bytes: int, follow: bool = False
) -> bytes | None:
    """The file's bytes; `None` if there is none. `check` sees what was really opened, before a byte is read.

    Raises:
        UnsafeFileError: if it is no regular file; and what `check` raises.
        OversizedFileError: if it is larger.
        PrivateFileError: if it cannot be read.
    """
    try:
        if not follow:
            check(path.lstat())
        descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS | (0 if follow else NOFOLLOW))
        try:
            status = os.fstat(descriptor)
            fault = _not_regular(path, status)
            if fault is not None:
                raise UnsafeFileError(fault)
            check(status)
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(max_bytes + 1)
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise PrivateFileError(f"The file {path} cannot be read: {error.strerror}.") from None
    if len(content) > max_bytes:
        raise OversizedFileError(f"The file {path} is larger than {max_bytes} bytes.")
    return content


def _not_regular(path: Path, status: os.stat_result) -> str | None:
    if stat.S_ISLNK(status.st_mode):
        return f"The file {path} is a link. Remove it."
    if not stat.S_ISREG(status.st_mode):
        return f"{path} is not a regular file. Move it away."
    return None


def _is_reparse_point(status: os.stat_result) -> bool:
    attributes: int = getattr(status, "st_file_attributes", 0)
    return bool(attributes & stat.FILE_ATTRIBUTE_REPARSE_POINT)
