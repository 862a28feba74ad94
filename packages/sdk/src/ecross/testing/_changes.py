"""Lists of what changed: dates in the order of the changes, and pages that neither repeat nor skip anything."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, Protocol, TypeVar

TICK = timedelta(milliseconds=1)

INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)(Z|[ +-]\d\d(?::?\d\d)?)", re.ASCII | re.IGNORECASE
)


class Dated(Protocol):
    """What has a date of its last change."""

    @property
    def updated_at(self) -> datetime:
        """To the millisecond."""
        ...


Row = TypeVar("Row", bound=Dated)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page begins: behind so many of all rows, among those updated after an instant.

    `began_at` is the newest date when the first page was read. Dates that are later are shown as that one, so that who
    asks next from the greatest date it saw misses nothing.
    """

    after: int = 0
    updated_after: datetime | None = None
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and where the next page begins, if there is one."""

    rows: Sequence[Row]
    began_at: datetime | None
    following: Place | None = None


def turn_page(rows: Sequence[Row], place: Place, size: int, *, shows: Callable[[Row], bool]) -> Page[Row]:
    """The page of so many rows at a place. `rows` are all, always in the same order."""
    began_at = place.began_at or max((row.updated_at for row in rows), default=None)
    if place.updated_after is not None and (began_at is None or began_at <= place.updated_after):
        return Page((), began_at)
    found: list[Row] = []
    passed = place.after
    for number, row in enumerate(rows[place.after :], place.after + 1):
        if not shows(row) or (place.updated_after is not None and row.updated_at <= place.updated_after):
            continue
        if len(found) == size:
            return Page(found, began_at, Place(passed, place.updated_after, began_at))
        found.append(row)
        passed = number
    return Page(found, began_at)


def next_date(now: datetime, latest: datetime | None) -> datetime:
    """The date of a change: now, but later than any before it."""
    now = to_milliseconds(now)
    return now if latest is None or now > latest else latest + TICK


def to_milliseconds(instant: datetime) -> datetime:
    """The instant without what is finer than a millisecond."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def rfc3339(instant: datetime) -> str:
    """An instant in UTC to the millisecond: `2023-10-27T19:18:54.301Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime | None:
    """The instant to the millisecond that an ISO 8601 text with a time zone names; `None` for any other text."""
    form = INSTANT.fullmatch(text.strip())
    if form is None:
        return None
    zone = form[3].upper().replace(" ", "+")  # a "+" that was not percent-encoded in a query arrives as a space
    try:
        instant = datetime.fromisoformat(f"{form[1]}T{form[2]}{zone}").astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return to_milliseconds(instant)
