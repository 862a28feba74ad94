"""Lines of a file as they are needed, numbered, none of them longer than anything the API takes."""

import codecs
from collections.abc import Iterator
from typing import IO, Any

from ecross.errors import ConfigurationError

LONGEST_LINE = 4 * 1024 * 1024
"""No body of the API is longer."""

Numbered = tuple[int, bytes | None]
"""A line and its number, from 1; `None` in the place of one that is too long."""


def read_lines(file: IO[Any]) -> Iterator[Numbered]:
    """The lines, without the mark that some programs begin a file with."""
    number = 0
    while piece := _read(file):
        number += 1
        line: bytes | None = piece
        while not piece.endswith(b"\n") and len(piece) >= LONGEST_LINE:
            line = None
            piece = _read(file)
        if number == 1 and line is not None:
            if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ConfigurationError("The file is UTF-16. Store it as UTF-8.")
            line = line.removeprefix(codecs.BOM_UTF8)
        yield number, line


def _read(file: IO[Any]) -> bytes:
    piece = file.readline(LONGEST_LINE)
    # A file that was opened as text; what its encoding could not read is refused later.
    return piece.encode("utf-8", "surrogatepass") if isinstance(piece, str) else piece
