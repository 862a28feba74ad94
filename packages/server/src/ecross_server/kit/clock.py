"""Time is an argument: what needs it takes a `Clock`, and tests pass their own."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

from ecross_server.kit.errors import Fault, InvalidInputError

Clock = Callable[[], datetime]
"""Gives the present instant, aware, in UTC."""

# The standard library alone takes more, such as any character before the zone, and 19:10.30 for half past the minute.
INSTANT: Final = re.compile(
    r"(?P<date>[0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]"
    r"(?P<time>[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?)"
    r"(?P<zone>[Zz]|[+ -][0-9]{2}(?::?[0-9]{2})?)"
)


def utc_now() -> datetime:
    """The present instant in UTC, to the millisecond: the precision in which instants are shown.

    Kept and shown alike, an instant read from an answer and sent back names the same moment.
    """
    return to_milliseconds(datetime.now(UTC))


def to_milliseconds(instant: datetime) -> datetime:
    """The instant without what is finer than a millisecond."""
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def rfc3339(instant: datetime) -> str:
    """An instant as RFC 3339 in UTC with milliseconds: `2023-10-27T19:18:54.301Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str, path: str = "") -> datetime:
    """The instant that an ISO 8601 text with a time zone names.

    Raises:
        InvalidInputError: if it is no such text, naming the field if its path is given. Without a zone it could mean
            another moment to each side.
    """
    if form := INSTANT.fullmatch(text.strip()):
        # A "+" that was not percent-encoded in a query arrives as a space.
        zone = form["zone"].upper().replace(" ", "+")
        with contextlib.suppress(ValueError, OverflowError):
            return datetime.fromisoformat(f"{form['date']}T{form['time']}{zone}").astimezone(UTC)
    message = "must be an ISO 8601 date and time with a time zone, such as 2023-10-27T19:10:00Z"
    raise InvalidInputError(f"{path} {message}", (Fault(path, message),)) if path else InvalidInputError(message)
