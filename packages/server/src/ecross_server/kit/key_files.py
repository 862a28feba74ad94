"""Files of keys that are replaced while processes use them: which entry is in use, taking changes over, taking turns.

Such a file is a JSON object with a list of entries, the newest first. The first that has started is in use, all others
are known. An entry may carry `startsAt`: until then the one behind it stays in use, so that a file can be brought to
several machines before any of them uses what the others do not know yet.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Generic, Protocol, TypeVar

import structlog

from ecross_server.kit.clock import parse_instant
from ecross_server.kit.errors import ConflictError, DomainError, InvalidInputError
from ecross_server.kit.private_files import UnwritableError, read_private_json, remove_leftovers, write_private_file

STARTS_AT: Final = "startsAt"
LOCK_SECONDS: Final = 10.0
LOCK_RETRY_SECONDS: Final = 0.02

Entry = Mapping[str, Any]
Identity = tuple[int, ...] | None

log = structlog.get_logger("ecross_server.key_files")


class KeyFileBusyError(ConflictError):
    """Another process has been changing the file for too long."""

    code = "key_file_busy"

    def __init__(self, path: Path) -> None:
        super().__init__(f"Another process is changing {path}. Try again.")


def moment(entry: Entry, name: str, otherwise: float) -> float:
    """The instant that the entry has under the name, in seconds since the epoch.

    Raises:
        ValueError: if it is no instant. The text names the member, and repeats nothing of its value.
    """
    value = entry.get(name)
    if value is None:
        return otherwise
    try:
        return parse_instant(str(value)).timestamp()
    except InvalidInputError as error:
        raise ValueError(f"{name} {error.message}") from None


def shown_moment(entry: Entry, name: str) -> datetime | None:
    """The instant that the entry has under the name, if it has one: a file written by hand may hold anything."""
    try:
        return datetime.fromtimestamp(moment(entry, name, math.nan), UTC)
    except ValueError:
        return None


def position_in_use(entries: Sequence[Entry], now: float) -> int:
    """The place of the first entry that has started; of the first of all if none has.

    Raises:
        ValueError: if an entry's start is no instant.
    """
    starts = [moment(entry, STARTS_AT, -math.inf) for entry in entries]
    return next((number for number, start in enumerate(starts) if start <= now), 0)


def next_moment(entries: Sequence[Entry], now: float, *names: str) -> float:
    """The first instant after now at which one of the named members comes true; infinite if there is none.

    Raises:
        ValueError: if one of them is no instant.
    """
    moments = [moment(entry, name, math.inf) for entry in entries for name in names]
    return min((each for each in moments if each > now), default=math.inf)


class ChangingFile:
    """A key file in its turn to be changed."""

    def __init__(self, path: Path, owner: os.stat_result) -> None:
        self._path = path
        self._owner = owner

    def read(self) -> dict[str, Any]:
        """What it holds."""
        return read_private_json(self._path)

    def replace(self, document: Mapping[str, Any]) -> None:
        """Put another content in its place, whole, for the same owner."""
        write_private_file(self._path, json.dumps(document, indent=2) + "\n", owner=self._owner)


@contextlib.contextmanager
def turn_to_change(path: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[ChangingFile]:
    """The file to read and replace, held against every other process that takes its turn like this.

    It is the one a link leads to: to replace the link itself would leave its target as it was.

    Raises:
        KeyFileBusyError: if another process holds it for so long.
        UnwritableError: if the file is missing or its folder cannot be written to.
    """
    file = path.resolve()
    try:
        owner = file.stat()
        # Not the file itself: it is replaced, and a lock on the old one would hold nobody up.
        descriptor = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UnwritableError(f"The file {path} cannot be changed: {error.strerror}.") from None
    try:
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, owner.st_uid, owner.st_gid)  # made by root, it must not shut the owner out
        _lock(descriptor, path, time.monotonic() + seconds)
        remove_leftovers(file)  # they hold keys
        yield ChangingFile(file, owner)
    finally:
        os.close(descriptor)  # ends the lock


def _lock(descriptor: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise KeyFileBusyError(path) from None
            time.sleep(LOCK_RETRY_SECONDS)
        else:
            return


class KeyFileContent(Protocol):
    """What is made of such a file: how many keys it has, and when time alone will change it."""

    @property
    def changes_at(self) -> float:
        """Seconds since the epoch."""
        ...

    def __len__(self) -> int: ...


Content = TypeVar("Content", bound=KeyFileContent)


class WatchedFile(Generic[Content]):
    """The content of a private JSON file, taken over anew when the file or the time asks for it.

    A bad or vanished file never ends what works: the last good content stays, and the fault is logged once.
    """

    def __init__(
        self, path: Path, read: Callable[[Mapping[str, Any], float], Content], *, name: str, clock: Callable[[], float]
    ) -> None:
        self._path = path
        self._read = read
        self._loaded_event, self._refused_event = f"{name}_loaded", f"{name}_refused"
        self._clock = clock
        self._lock = threading.Lock()
        self._problem: str | None = None
        self._seen = self._refused = _identity(path)
        self._document: Mapping[str, Any] = read_private_json(path)
        self._read_at = clock()
        self.content = read(self._document, self._read_at)

    def take_changes(self) -> None:
        """Take over what has changed. What was refused before is tried again: it may only have been unreadable."""
        with self._lock:
            seen = _identity(self._path)
            if seen == self._seen:
                self._problem = None
            else:
                self._take(seen)
            now = self._clock()
            # Also if the clock was set back: what time has ended may have to live again.
            if not self._read_at <= now < self.content.changes_at:
                self._apply(self._document, now)

    def is_newer_than(self, content: Content) -> bool:
        """Whether there is a later content than this one, the file as it is at this moment included.

        Costs a look at the file's identity, 1.5 µs; it is read only if that has changed, and only once if it is bad.
        """
        seen = _identity(self._path)
        if seen != self._seen and seen != self._refused:  # noqa: PLR1714 - hashing both would cost more
            with self._lock:
                self._take_once(_identity(self._path))
        return self.content is not content

    def _take_once(self, seen: Identity) -> None:
        if seen != self._seen and seen != self._refused:  # noqa: PLR1714 - as above; another thread may have been faster
            self._take(seen)

    def _take(self, seen: Identity) -> None:
        try:
            document = read_private_json(self._path)
            self._apply(document, self._clock())
        except DomainError as error:
            self._refused = seen
            if error.message != self._problem:
                log.error(self._refused_event, reason=error.message)  # noqa: TRY400 - the message says it all
            self._problem = error.message
        else:
            self._document = document
            self._seen = self._refused = seen
            self._problem = None

    def _apply(self, document: Mapping[str, Any], now: float) -> None:
        self.content = self._read(document, now)
        self._read_at = now
        log.info(self._loaded_event, count=len(self.content))


def _identity(path: Path) -> Identity:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_size
