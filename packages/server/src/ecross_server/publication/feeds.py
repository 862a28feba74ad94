"""What a sales channel is to the publication, and the channel that is built in: a file that a shop reads.

A feed is JSON Lines. The first line tells of the channel. One with an `id` is a SKU as it is to be shown from now on,
or that it is not to be shown any more; of two with one `id` the later counts. The last line always has the revision up
to which the feed goes. Lines are only ever added; when too many of them do not count any more, the file is written anew
and takes the old one's place at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final, Protocol

from ecross_server.kit.private_files import (
    UnwritableError,
    make_private_folder,
    open_lock_file,
    private_stream,
    remove_leftovers,
)

TAIL: Final = 1 << 16

Line = bytes


class SalesChannel(Protocol):
    """Where listings go. It is told of changes in the order of their revisions, and may be told of some again."""

    def revision(self) -> int | None:
        """Up to where it has taken changes over; `None` if it has to be given everything anew."""
        ...

    def add(self, lines: Iterable[Line]) -> int:
        """Take changes over, for good; how many there were."""
        ...

    def replace(self, lines: Iterable[Line]) -> int:
        """Show this and nothing else; how many there were."""
        ...


class FeedFile:
    """A channel's feed in a file. Who has opened it has it alone."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path, channel_id: str) -> Iterator[FeedFile]:
        """The channel's feed in the folder, which is made if it is missing; whoever else has it open is waited for.

        Raises:
            UnwritableError: if the folder cannot be written to.
        """
        make_private_folder(folder)
        descriptor = open_lock_file(folder / f".{channel_id}.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            path = feed_path(folder, channel_id)
            remove_leftovers(path)  # of one that was killed
            yield cls(path)
        finally:
            os.close(descriptor)

    def revision(self) -> int | None:
        """Up to where the file goes. The beginning of a line that was never ended is taken off it."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError), self._path.open("r+b") as file:
            file.truncate(_end_of_last_line(file))
            return int(json.loads(_last_line(file))["revision"])
        return None

    def add(self, lines: Iterable[Line]) -> int:
        """Write them at the end.

        Raises:
            UnwritableError: if the disk is full or the like; the next one that looks finds how far it came.
        """
        try:
            with self._path.open("r+b") as file:  # one that is gone is not made without its beginning
                file.seek(0, os.SEEK_END)
                count = _write(file, lines)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UnwritableError(f"The file {self._path} cannot be written: {error.strerror}.") from None
        return count

    def replace(self, lines: Iterable[Line]) -> int:
        """Write the file anew; until all is written, the old one stays.

        Raises:
            UnwritableError: if the disk is full or the like; the old file stays.
        """
        with private_stream(self._path, overwrite=True) as file:
            return _write(file, lines)


def feed_path(folder: Path, channel_id: str) -> Path:
    """Where a channel's feed lies."""
    return folder / f"{channel_id}.jsonl"


def _write(file: BinaryIO, lines: Iterable[Line]) -> int:
    count = 0
    for line in lines:
        file.write(line)
        count += 1
    return count


def _end_of_last_line(file: Any) -> int:  # noqa: ANN401 - a file open for both
    """Where the last line that was ended does."""
    end: int = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - TAIL)
        file.seek(start)
        place = file.read(end - start).rfind(b"\n")
        if place >= 0:
            return start + int(place) + 1
        end = start
    return 0


def _last_line(file: Any) -> bytes:  # noqa: ANN401 - as above
    end: int = file.seek(0, os.SEEK_END)
    text = b""
    while end:
        start = max(0, end - TAIL)
        file.seek(start)
        text = file.read(end - start) + text
        if b"\n" in text[:-1]:
            break
        end = start
    return text[:-1].rpartition(b"\n")[2]
