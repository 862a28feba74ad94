"""Where entries come from: a file of JSON Lines or CSV, or the caller's own objects."""

import contextlib
import os
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

from ecross._bulk.entries import Entry, Fault, Row, UnwritableError, read_object, write
from ecross._bulk.lines import LONGEST_LINE, Numbered, read_lines
from ecross._bulk.places import Source
from ecross._bulk.subjects import Subject
from ecross._bulk.tables import read_table
from ecross.errors import ConfigurationError


def read_entries(source: Source, subject: Subject) -> Iterator[Entry | Fault]:
    """What the source holds, line by line. Its faults are told in the place of what they are of.

    Raises `ConfigurationError` for a source that cannot be read at all.
    """
    if isinstance(source, (bytes, bytearray, Mapping)) or not isinstance(
        source, (str, os.PathLike, Iterable, AsyncIterable)
    ):
        raise ConfigurationError("source must be a path, a file, or an iterable of the API's objects")
    if isinstance(source, (str, os.PathLike)):
        with _opened(Path(source)) as file:
            yield from _read_file(file, subject)
    elif hasattr(source, "readline"):
        yield from _read_file(cast("IO[Any]", source), subject)
    else:
        for place, item in enumerate(source, 1):
            yield from read_item(place, item, subject)


def read_item(place: int, item: object, subject: Subject) -> Iterator[Entry | Fault]:
    """One of the caller's own objects."""
    try:
        # By way of JSON, so that it is held to the same as a line.
        row = Row(place, read_object(write(subject.plain(item))))
    except UnwritableError as error:
        row = Row(place, {}, (("", str(error)),))
    yield from _place(row, subject)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    if "\0" in str(path):
        raise ConfigurationError("source is no path: it holds a NUL character")
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        fault = error.strerror
    else:
        return
    raise ConfigurationError(f"The file {path} cannot be read: {fault}.")


def _read_file(file: IO[Any], subject: Subject) -> Iterator[Entry | Fault]:
    lines = read_lines(file)
    first = next(filter(_is_told, lines), None)
    if first is None:
        return
    told = chain([first], lines)
    if first[1] is None or first[1].lstrip()[:1] in {b"{", b"["}:
        rows: Iterator[Row] = map(_read_json, filter(_is_told, told))
    else:
        rows = read_table(told, subject.columns, subject.required)
    for row in rows:
        yield from _place(row, subject)


def _is_told(line: Numbered) -> bool:
    return line[1] is None or bool(line[1].strip())


def _read_json(line: Numbered) -> Row:
    number, content = line
    if content is None:
        return Row(number, {}, (("", f"is longer than {LONGEST_LINE} bytes"),))
    try:
        return Row(number, read_object(content))
    except UnwritableError as error:
        return Row(number, {}, (("", str(error)),))


def _place(row: Row, subject: Subject) -> Iterator[Entry | Fault]:
    """The row with what it belongs to."""
    key, id_, missing = subject.place(row.content)
    told = {path for path, _ in row.faults}
    # Of a line that could not be read nothing is known to be missing.
    faults = [*row.faults, *(fault for fault in missing if not told & {"", fault[0]})]
    if not faults and key is not None:
        try:
            yield Entry(row.line, key, id_, write(subject.complete(row.content)))
        except UnwritableError as error:
            faults = [("", str(error))]
    for path, message in faults:
        yield Fault(row.line, key, path, message)
