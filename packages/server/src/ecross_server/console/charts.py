"""Charts as plain geometry, which a template draws as SVG: nothing runs in the browser, no style is inline."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from ecross_server.merchants.directory import SHOWN_HOURS, HourlyUse

WIDTH: Final = 720
HEIGHT: Final = 190
LEFT: Final = 48
RIGHT: Final = 6
TOP: Final = 10
BOTTOM: Final = 24
GAP: Final = 0.8
COLORS: Final = 4
"""So many series have a color of their own; then the colors come again."""

LABEL_HOURS: Final = 12
"""So wide is a day's name."""

HOUR_SECONDS: Final = 3600
DAY_HOURS: Final = 24


class Bar(NamedTuple):
    """A part of an hour's column: what one series adds to it."""

    x: float
    y: float
    width: float
    height: float
    color: int


class Mark(NamedTuple):
    """A line across or along the chart, and what it says."""

    at: float
    text: str


class Row(NamedTuple):
    """An hour with its tokens, as the table beside the chart has it."""

    hour: datetime
    tokens: list[int]


class Series(NamedTuple):
    """What has a color: a name, and its sum."""

    name: str
    color: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Chart:
    """A week by the hour, as bars and as rows."""

    first: datetime
    last: datetime
    total: int
    busiest: Row | None
    series: list[Series]
    bars: list[Bar]
    levels: list[Mark]
    days: list[Mark]
    rows: list[Row]


def draw_uses(uses: Sequence[HourlyUse], names: Sequence[tuple[str, str]], first_hour: int) -> Chart:
    """The uses of a week as stacked columns. `names` are the keys of the series, with what people call them.

    A series' key is a secret's id or a client's: whichever of the two stands among the names.
    """
    order = {key: number for number, (key, _) in enumerate(names)}
    counts: dict[int, list[int]] = defaultdict(lambda: [0] * len(names))
    for use in uses:
        number = order.get(use.secret_id, order.get(use.client_id))
        if number is not None and 0 <= use.hour - first_hour < SHOWN_HOURS:
            counts[use.hour][number] += use.tokens
    rows = [Row(_instant(hour), counts[hour]) for hour in sorted(counts)]
    highest = _nice(max((sum(row.tokens) for row in rows), default=0))
    return Chart(
        first=_instant(first_hour),
        last=_instant(first_hour + SHOWN_HOURS - 1),
        total=sum(sum(row.tokens) for row in rows),
        busiest=max(rows, key=lambda row: sum(row.tokens), default=None),
        series=[
            Series(name, number % COLORS, sum(row.tokens[number] for row in rows))
            for number, (_, name) in enumerate(names)
        ],
        bars=[bar for hour in sorted(counts) for bar in _column(hour - first_hour, counts[hour], highest)],
        levels=[Mark(_y(level, highest), f"{level:,}") for level in sorted({0, highest // 2, highest})],
        days=[
            Mark(
                _x(hour - first_hour),
                f"{_instant(hour):%b} {_instant(hour).day}" if _has_room(hour - first_hour) else "",
            )
            for hour in range(first_hour, first_hour + SHOWN_HOURS)
            if hour % DAY_HOURS == 0
        ],
        rows=rows,
    )


def _column(place: int, tokens: Sequence[int], highest: int) -> list[Bar]:
    bars = []
    below = 0
    for number, count in enumerate(tokens):
        if count:
            top, bottom = _y(below + count, highest), _y(below, highest)
            bars.append(Bar(_x(place), top, round(_x(1) - _x(0) - GAP, 2), round(bottom - top, 2), number % COLORS))
        below += count
    return bars


def _has_room(place: int) -> bool:
    return place <= SHOWN_HOURS - LABEL_HOURS


def _x(place: int) -> float:
    return round(LEFT + place * (WIDTH - LEFT - RIGHT) / SHOWN_HOURS, 2)


def _y(level: int, highest: int) -> float:
    return round(HEIGHT - BOTTOM - level * (HEIGHT - TOP - BOTTOM) / highest, 2)


def _nice(highest: int) -> int:
    """The next number that people like to read: 2, 4, 10, 20, 40, 100 ..."""
    if highest <= 2:  # noqa: PLR2004 - the first of them
        return 2
    power: int = 10 ** int(math.log10(highest))
    return next(step * power for step in (1, 2, 4, 10) if step * power >= highest)


def _instant(hour: int) -> datetime:
    return datetime.fromtimestamp(hour * HOUR_SECONDS, UTC)
