"""CSV: a header of the API's names, then a line for each entry.

A cell that is empty is a field that is not there. Numbers are kept digit for digit. Names of nested fields have dots
(`globalSaleChannelData.brand`); `attribute:NAME` is the value of a free attribute; images stand in one cell, with
spaces or `|` between them.
"""

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal

from ecross._bulk.entries import Row, UnwritableError, read_object
from ecross._bulk.lines import LONGEST_LINE, Numbered
from ecross.errors import ConfigurationError

DELIMITERS = (",", ";", "\t")
DATA = "globalSaleChannelData"
ATTRIBUTES = f"{DATA}.attributes"
ATTRIBUTE = "attribute:"
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,2})?")
_NOT_UTF8 = re.compile("[\ud800-\udfff]")
_BETWEEN_IMAGES = re.compile(r"[\s|]+")

Cell = Callable[[str], object]


def text(cell: str) -> object:
    """A text as it stands."""
    return cell


def number(cell: str) -> object:
    """A number, exact."""
    if not _NUMBER.fullmatch(cell.strip()):
        raise UnwritableError("must be a number with a point, as 9.99")
    return Decimal(cell.strip())


def truth(cell: str) -> object:
    """True or false."""
    word = cell.strip().lower()
    if word not in {"true", "false"}:
        raise UnwritableError("must be true or false")
    return word == "true"


def images(cell: str) -> object:
    """Addresses."""
    return [address for address in _BETWEEN_IMAGES.split(cell) if address]


def attributes(cell: str) -> object:
    """Attributes in JSON, as the API takes them."""
    listed = read_object(b'{"attributes":' + cell.encode() + b"}")
    if len(listed) == 1 and isinstance(listed["attributes"], list):
        return listed["attributes"]
    raise UnwritableError("must be a list in JSON")


def read_table(lines: Iterator[Numbered], columns: Mapping[str, Cell], required: Sequence[str]) -> Iterator[Row]:
    """Each line of the table as the API's object.

    Raises `ConfigurationError` for a header that is not made of the columns.
    """
    told = _Lines(lines)
    header, delimiter = _read_header(told, required)
    cells = _columns(header, columns)
    reader = csv.reader(told, delimiter=delimiter, strict=True)
    while True:
        line = told.number + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Row(
                line, {}, (("", "is no CSV: a quote is not closed, or stands inside a cell, or a cell is too long"),)
            )
            continue
        if told.was_too_long():
            yield Row(line, {}, (("", f"is longer than {LONGEST_LINE} bytes"),))
        elif row and len(row) != len(header):
            yield Row(line, {}, (("", f"has {len(row)} cells, the header has {len(header)}"),))
        elif any(row):
            yield _read_row(line, row, cells)


class _Lines:
    """Lines as texts, for the reader that joins those of one cell; how many it has taken."""

    def __init__(self, lines: Iterator[Numbered]) -> None:
        self._lines = lines
        self.number = 0
        self._is_too_long = False

    def was_too_long(self) -> bool:
        """Whether a line was left out since this was asked."""
        told, self._is_too_long = self._is_too_long, False
        return told

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        if line is None:
            self._is_too_long = True
            return "-\n"
        return line.decode("utf-8", "surrogateescape")


def _read_header(lines: _Lines, required: Sequence[str]) -> tuple[list[str], str]:
    line = next(lines, "")
    for delimiter in DELIMITERS:
        try:
            (header,) = csv.reader([line], delimiter=delimiter, strict=True)
        except (csv.Error, ValueError):
            continue
        names = [name.strip() for name in header]
        if set(required) <= set(names):
            return names, delimiter
    raise ConfigurationError(
        f"The first line must be JSON, or a header of CSV in UTF-8 that names {' and '.join(required)}, with commas, "
        "semicolons or tabs between the names."
    )


def _columns(header: list[str], columns: Mapping[str, Cell]) -> list[tuple[int, str, Cell]]:
    """What to read from which cell; single attributes after those that stand together."""
    found: list[tuple[int, str, Cell]] = []
    for place, name in enumerate(header):
        is_attribute = ATTRIBUTES in columns and name.startswith(ATTRIBUTE) and name != ATTRIBUTE
        if name not in columns and not is_attribute:
            raise ConfigurationError(
                f"Column {place + 1} of the header is no field of the API's; a misspelled one would be lost unseen. "
                f"There are: {', '.join(columns)}."
            )
        if name in header[:place]:
            raise ConfigurationError(f"Column {place + 1} of the header has the name of one before it.")
        found.append((place, name, text if is_attribute else columns[name]))
    return sorted(found, key=lambda column: column[1].startswith(ATTRIBUTE))


def _read_row(line: int, row: list[str], cells: list[tuple[int, str, Cell]]) -> Row:
    content: dict[str, object] = {}
    faults = []
    for place, name, read in cells:
        if not row[place]:
            continue
        try:
            if _NOT_UTF8.search(row[place]):
                raise UnwritableError("must be UTF-8")  # noqa: TRY301 - told as all other faults of a cell
            _put(content, name, read(row[place]))
        except UnwritableError as error:
            faults.append((name, str(error)))
    return Row(line, content, tuple(faults))


def _put(content: dict[str, object], name: str, value: object) -> None:
    if name.startswith(ATTRIBUTE):
        listed = _inner(content, DATA).setdefault("attributes", [])
        assert isinstance(listed, list)  # noqa: S101 - see `attributes`
        listed.append({"name": name.removeprefix(ATTRIBUTE), "value": value})
        return
    outer, dot, inner = name.partition(".")
    if dot:
        _inner(content, outer)[inner] = value
    else:
        content[name] = value


def _inner(content: dict[str, object], name: str) -> dict[str, object]:
    found = content.setdefault(name, {})
    assert isinstance(found, dict)  # noqa: S101 - no column has the name alone
    return found
