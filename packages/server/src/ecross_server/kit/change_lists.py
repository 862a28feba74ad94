"""Lists of what changed after an instant, in pages, that miss no change and repeat or skip nothing within one list.

A list is in the order of a number that a row gets once and keeps. Its rows are dated in the order of the commits, see
`next_date`; whoever writes them takes its turn before it takes the date.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, Protocol, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import InstrumentedAttribute, Session

from ecross_server.kit.clock import parse_instant, rfc3339, to_milliseconds
from ecross_server.kit.database import keep_to_index_order
from ecross_server.kit.page_tokens import InvalidPageTokenError, PageTokens

FROM_FIELD: Final = "lastUpdateDateFrom"

TICK: Final = timedelta(milliseconds=1)
"""The step between two dates: instants are kept and shown to the millisecond."""


class Numbered(Protocol):
    """A row with its place in the list."""

    @property
    def number(self) -> int:
        """Given once, and kept."""
        ...


Row = TypeVar("Row", bound=Numbered)
Query = TypeVar("Query", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where a page begins: after the row of this number, among those updated after the instant.

    `began_at` is the newest date of the merchant's rows when the list began; on its first page it is not known yet.
    """

    after: int
    updated_after: datetime | None
    began_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, and the token of the next page, if there is one.

    `began_at` is the newest date when the list began. No later one is to be shown: who asks next from the greatest date
    it saw is shown again what was changed while it turned the pages.
    """

    rows: Sequence[Row]
    next_page_token: str | None
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which page a caller asks for: `updated_after` and `page_token` as they were sent, empty for none."""

    updated_after: str | None
    page_token: str | None
    page_size: int
    page_tokens: PageTokens


def next_date(now: datetime, latest: datetime | None) -> datetime:
    """The date of a change: now, but later than any that came before, whatever the clocks of the servers say."""
    return now if latest is None or now > latest else latest + TICK


def in_order(
    query: Query,
    session: Session,
    columns: tuple[InstrumentedAttribute[str], InstrumentedAttribute[int]],
    merchant_id: str,
    position: PagePosition,
) -> Query:
    """The merchant's rows alone, from the position on, in the order of their numbers: by an index of both columns."""
    merchant, number = columns
    if position.updated_after is not None:
        keep_to_index_order(session)
    if session.get_bind().dialect.name == "postgresql":
        # Told of one merchant and an order by number, it may walk along the primary key, through everybody's rows.
        after = tuple_(merchant, number) > (merchant_id, position.after)
        return query.where(after, merchant <= merchant_id).order_by(merchant, number)
    return query.where(merchant == merchant_id, number > position.after).order_by(number)


def turn_page(
    request: PageRequest,
    *,
    merchant_id: str,
    list_name: str,
    find_latest: Callable[[], datetime | None],
    list_rows: Callable[[PagePosition, int], Sequence[Row]],
) -> Page[Row]:
    """The page that was asked for.

    `find_latest` gives the newest date of the merchant's rows, `list_rows` at most so many of them from a position on;
    both see the same state of the data.

    Raises:
        InvalidInputError: if the instant is none, or not the one that the page token began with.
        InvalidPageTokenError: if the token is not one that this list gave this merchant.
    """
    position = _position(request, merchant_id, list_name)
    began_at = position.began_at or find_latest()
    if position.updated_after is not None and not (began_at and began_at > position.updated_after):
        return Page((), None, began_at)
    rows = list_rows(position, request.page_size + 1)
    if len(rows) <= request.page_size:
        return Page(rows, None, began_at)
    shown = rows[: request.page_size]
    place = f"{shown[-1].number} {_text(position.updated_after)} {_text(began_at)}"
    return Page(shown, request.page_tokens.make(merchant_id=merchant_id, list_name=list_name, position=place), began_at)


def _position(request: PageRequest, merchant_id: str, list_name: str) -> PagePosition:
    asked = _instant(request.updated_after) if request.updated_after else None
    if not request.page_token:
        return PagePosition(0, asked)
    text = request.page_tokens.read(request.page_token, merchant_id=merchant_id, list_name=list_name)
    number, after, began_at, *_ = f"{text}  ".split(" ")  # one that an older server gave has no third part
    position = PagePosition(
        int(number), parse_instant(after) if after else None, parse_instant(began_at) if began_at else None
    )
    if asked is not None and asked != position.updated_after:
        raise InvalidPageTokenError
    return position


def _text(instant: datetime | None) -> str:
    return "" if instant is None else rfc3339(instant)


def _instant(text: str) -> datetime:
    # What is kept has milliseconds; a finer instant would not survive the way through a page token.
    return to_milliseconds(parse_instant(text, FROM_FIELD))
