"""What a test may script as the next answers of a path."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime

from ecross.testing._messages import phrase

TOO_MANY = "Too many token requests. Keep each token in a cache and use it until it expires."
SERVER_ERRORS: Mapping[int, tuple[str, str]] = {
    500: ("internal_error", "Something went wrong on our side. Report it with the X-Request-Id of this answer."),
    503: ("temporarily_unavailable", "Credentials cannot be checked at the moment. Try again shortly."),
}


class Scripted:
    """Anything that can be scripted: an `Answer`, `PASS`, or what the functions of this package give."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Answer(Scripted):
    """An answer of the test's own: `json`, or `content` as it is, or no body at all."""

    status: int = 200
    json: object = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class Normal(Scripted):
    """What the server would answer anyway."""


@dataclass(frozen=True, slots=True)
class Refusal(Scripted):
    """An error in the server's own form, which is not the same on every path."""

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unauthorized(Scripted):
    """A 401 as the path gives it."""


@dataclass(frozen=True, slots=True)
class Forbidden(Scripted):
    """A 403 of a token that lacks a scope."""

    scope: str


@dataclass(frozen=True, slots=True)
class Slow(Scripted):
    """An answer that comes late."""

    seconds: float
    then: Scripted


@dataclass(frozen=True, slots=True)
class Truncated(Scripted):
    """An answer whose connection ends in the middle of its body."""

    answer: Scripted


@dataclass(frozen=True, slots=True)
class Silence(Scripted):
    """No answer, while the connection stays open."""


@dataclass(frozen=True, slots=True)
class Lost(Scripted):
    """No answer, and the end of the connection."""


PASS = Normal()
"""Let this request through: it is answered as if nothing were scripted."""


def unauthorized() -> Scripted:
    """401: on `/token` as for a wrong secret, elsewhere as for a token that is not accepted."""
    return Unauthorized()


def forbidden(scope: str = "catalog:read") -> Scripted:
    """403, as for a token that lacks the scope."""
    return Forbidden(scope)


def rate_limited(retry_after: int | datetime | None = 30) -> Scripted:
    """429 with `Retry-After` in seconds, or as the date of an aware instant, or without it."""
    return Refusal(429, "rate_limited", TOO_MANY, _retry_after(retry_after))


def server_error(status: int = 500, *, retry_after: int | datetime | None = None) -> Scripted:
    """500, or another 5xx, with `Retry-After` where it is given."""
    if not 500 <= status <= 599:  # noqa: PLR2004 - what 5xx means
        raise ValueError("the status of a server error is 500 to 599")
    code, message = SERVER_ERRORS.get(status, ("error", phrase(status)))
    return Refusal(status, code, message, _retry_after(retry_after))


def timeout() -> Scripted:
    """Silence. In process it is a read timeout at once, for which the clock moves; on a socket it lasts."""
    return Silence()


def lost_connection() -> Scripted:
    """The connection is reset when the request has arrived: its sender cannot know whether it was acted upon."""
    return Lost()


def slow(seconds: float, then: Scripted = PASS) -> Scripted:
    """An answer that takes so many seconds: in process by the clock, which moves, on a socket in truth.

    The server does its work at once; only the answer is late. In process, a request whose read timeout is shorter
    times out, as it would on a socket.
    """
    if seconds < 0:
        raise ValueError("an answer cannot come before its request")
    return Slow(seconds, then)


def garbage(status: int = 200) -> Scripted:
    """A body that says it is JSON and is not, not even text."""
    return Answer(status, headers={"Content-Type": "application/json"}, content=b'{"token": \xff\xfe <html>')


def truncated(answer: Scripted = PASS) -> Scripted:
    """An answer that breaks off: its `Content-Length` promises twice what comes before the connection ends."""
    return Truncated(answer)


def _retry_after(value: int | datetime | None) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, datetime):
        return {"Retry-After": str(value)}
    if value.tzinfo is None:
        raise ValueError("an instant without a time zone could be any hour: give an aware one")
    return {"Retry-After": format_datetime(value.astimezone(UTC), usegmt=True)}
