"""The error that an answer of the server means: that of e-CROSS servers, of those that say less, and of proxies."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from ecross.errors import (
    ApiError,
    FieldError,
    ForbiddenError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    ValidationError,
)
from ecross.jws import StrictJsonError, loads_strict

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")

_LONGEST_MESSAGE = 500
_LONGEST_BODY = 256 * 1024
_MOST_FIELD_ERRORS = 1000  # as many as the server lists
_CODE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
# Whatever the server repeats, a token of any client's or a secret of this server's form is not for logs.
# A token is looked for once in each run of its characters: a text made of many beginnings must not take the square.
SECRET_FORMS = re.compile(r"(?<![\w-])(?=[\w-]*eyJ[\w-]{5})[\w-]++\.[\w-]+\.?[\w-]*|e(?:cs|ho)_[0-9A-Za-z]{8,}")
_SECONDS = re.compile(r"[0-9]{1,15}(\.[0-9]{1,9})?")
_HIDDEN = "[hidden]"
_VALIDATION_STATUSES = frozenset({400, 409, 413, 415, 422})
_SERVER_ERRORS = 500
_CLASSES: Mapping[int, type[ApiError]] = {401: UnauthorizedError, 403: ForbiddenError, 404: NotFoundError}


def read_error(
    status: int,
    body: bytes,
    *,
    request_id: str | None,
    retry_after_seconds: float | None = None,
    hidden: Iterable[str] = (),
) -> ApiError:
    """The error for an answer. `hidden` are texts that were sent and that no message may repeat."""
    wire = _read_object(body)
    message = clean_text(wire.get("message"), hidden) or _describe(status)
    code = wire.get("code")
    code = code if isinstance(code, str) and _CODE.fullmatch(code) and not _holds(code, hidden) else None
    if request_id is not None and (not REQUEST_ID.fullmatch(request_id) or _holds(request_id, hidden)):
        request_id = None
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return RateLimitedError(status, message, code, request_id, retry_after_seconds)
    if status in _VALIDATION_STATUSES:
        return ValidationError(status, message, code, request_id, _read_field_errors(wire.get("errors"), hidden))
    if status >= _SERVER_ERRORS:
        return ServerError(status, message, code, request_id)
    return _CLASSES.get(status, ApiError)(status, message, code, request_id)


def clean_text(value: object, hidden: Iterable[str] = ()) -> str:
    """A sentence fit for a log: one line, not long, without what must not be told. Empty if it is no text."""
    if not isinstance(value, str):
        return ""
    text = value
    for secret in sorted(filter(None, hidden), key=len, reverse=True):
        text = text.replace(secret, _HIDDEN)
    text = SECRET_FORMS.sub(_HIDDEN, text)
    text = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return text if len(text) <= _LONGEST_MESSAGE else text[: _LONGEST_MESSAGE - 1] + "…"


def read_retry_after(value: str | None, *, now: float, date: str | None = None) -> float | None:
    """The seconds that `Retry-After` asks to wait (RFC 9110 section 10.2.3), in either of its forms; `None` if none.

    A date counts from the answer's own `Date`, so that the clocks need not agree; without one, from `now`.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    until = read_http_date(text)
    if until is None:
        return None
    return max(0.0, until - (read_http_date(date) or now))


def read_http_date(value: str | None) -> float | None:
    """The seconds since the epoch that an HTTP date tells; `None` if it tells none."""
    if not value:
        return None
    try:
        instant = parsedate_to_datetime(value)
        seconds = (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
    return seconds


def _read_object(body: bytes) -> Mapping[str, object]:
    if len(body) > _LONGEST_BODY:
        return {}
    try:
        wire = loads_strict(body)
    except StrictJsonError:
        return {}
    return wire if isinstance(wire, dict) else {}


def _read_field_errors(wire: object, hidden: Iterable[str]) -> tuple[FieldError, ...]:
    if not isinstance(wire, list):
        return ()
    pairs = (fault for fault in wire[:_MOST_FIELD_ERRORS] if isinstance(fault, dict))
    return tuple(FieldError(clean_text(p.get("path"), hidden), clean_text(p.get("message"), hidden)) for p in pairs)


def _holds(text: str, hidden: Iterable[str]) -> bool:
    return clean_text(text, hidden) != text


def _describe(status: int) -> str:
    try:
        phrase = f" {HTTPStatus(status).phrase}"
    except ValueError:
        phrase = ""
    return f"The server answered {status}{phrase}."
