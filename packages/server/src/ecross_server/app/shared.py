"""Pages of shared memory: each has one writer, and every process that was forked since it was made can read it."""

from __future__ import annotations

import mmap
import struct
import zlib
from typing import Final

LARGEST_CONTENT: Final = 1024 * 1024
HEADER: Final = struct.Struct("<II")  # length and checksum
HALF: Final = 4096 + LARGEST_CONTENT
ATTEMPTS: Final = 1000


class PageFullError(ValueError):
    """The content does not fit a page."""


class Page:
    """A text that one process writes and others read: as a whole, and never half of it.

    There are two halves; the writer fills the one that is not shown, then shows it. If it is killed meanwhile, the
    other stays. Memory that was never written to is not taken.
    """

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 2 * HALF)

    def write(self, content: bytes) -> None:
        """Show the content from now on.

        Raises:
            PageFullError: if it is too long; what was shown before stays.
        """
        if len(content) > LARGEST_CONTENT:
            raise PageFullError(f"{len(content)} bytes do not fit a page")
        hidden = 1 - self._memory[0]
        begin = hidden * HALF + HEADER.size
        HEADER.pack_into(self._memory, begin, len(content), zlib.crc32(content))
        begin += HEADER.size
        self._memory[begin : begin + len(content)] = content
        self._memory[0] = hidden

    def read(self) -> bytes:
        """What is shown; nothing before anything was written."""
        for _ in range(ATTEMPTS):
            begin = self._memory[0] * HALF + HEADER.size
            length, checksum = HEADER.unpack_from(self._memory, begin)
            begin += HEADER.size
            content = self._memory[begin : begin + length]
            if zlib.crc32(content) == checksum:  # else it was written to meanwhile
                return content
        return b""
