"""Lists of the API as commands print them: a table, or JSON Lines as they come."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from ecross.cli.failures import UsageError
from ecross.cli.output import exact_json, print_table, say_lines
from ecross.errors import ServerError
from ecross.types import Page

ERASE: Final = "\r\033[K"


class Raw(Protocol):
    """What is kept as it came."""

    @property
    def raw(self) -> Mapping[str, object]:
        """With the wire's names."""
        ...


T = TypeVar("T")
R = TypeVar("R", bound=Raw)


@dataclass(frozen=True, slots=True)
class Kind(Generic[R]):
    """What a list is of: `noun` for many, `one` for one, and the table's columns and rows."""

    noun: str
    one: str
    columns: Sequence[str]
    row: Callable[[R], tuple[str | None, ...]]


def print_list(kind: Kind[R], pages: Iterator[Page[R]], *, limit: int | None, as_json: bool) -> None:
    """Print the things of all pages, at most so many."""
    shown = with_progress(kind.noun, limited(pages, limit))
    if as_json:
        for things in shown:
            print_lines(kind, things)
    else:
        print_things(kind, (thing for things in shown for thing in things))


def print_things(kind: Kind[R], things: Iterable[R]) -> None:
    """Print things as a table."""
    print_table(kind.columns, [kind.row(thing) for thing in things], empty=f"There are no {kind.noun}.")


def print_lines(kind: Kind[R], things: Iterable[R]) -> None:
    """Print each thing on a line, as JSON."""
    try:
        lines = [exact_json(thing.raw) for thing in things]
    except RecursionError:
        lines = None
    if lines is None:
        raise ServerError(200, f"A {kind.one} is nested too deeply to be printed.")
    say_lines(lines)


def parse_instant(text: str | None) -> datetime | None:
    """The instant that a person means, if any.

    Raises:
        UsageError: if it is none, or could be any hour.
    """
    if text is None:
        return None
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise UsageError("--updated-since must be a date and time with a time zone, as 2026-01-31T08:00:00Z.")
    return instant


def limited(pages: Iterator[Page[T]], limit: int | None) -> Iterator[tuple[T, ...]]:
    """The things page by page, and no page more than the limit needs."""
    left = limit
    for page in pages:
        things = page.items if left is None else tuple(islice(page.items, left))
        yield things
        if left is not None:
            left -= len(things)
            if left == 0:
                return


def with_progress(noun: str, pages: Iterator[tuple[T, ...]]) -> Iterator[tuple[T, ...]]:
    """The same pages; meanwhile a person sees how many there were, unless the list itself runs over the screen."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield from pages
        return
    count = 0
    try:
        for page in pages:
            count += len(page)
            sys.stderr.write(f"{ERASE}{count} {noun} ...")
            sys.stderr.flush()
            yield page
    finally:
        sys.stderr.write(ERASE)
        sys.stderr.flush()
