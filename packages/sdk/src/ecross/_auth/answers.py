"""What the token endpoint answered, and what that means. Nothing here keeps or tells what was sent."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from ecross._auth.api_errors import read_error, read_http_date, read_retry_after
from ecross._auth.entry import FARTHEST_SECONDS, MAX_LIFETIME_SECONDS, is_token
from ecross.errors import ApiError, InvalidCredentialsError, ServerError
from ecross.jws import StrictJsonError, loads_strict

_OK, _UNAUTHORIZED = 200, 401
_CLIENT_ERRORS = range(400, 500)
# The API's published sentence for wrong credentials; which status comes with it is not published.
_PUBLISHED_REFUSAL = "Incorrect username or password."
_SMALLEST_SKEW_SECONDS = 1.5  # `Date` tells whole seconds


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """An answer of the token endpoint."""

    status: int
    body: bytes = field(repr=False)
    date: str | None = None
    retry_after: str | None = None
    request_id: str | None = None
    credential_expires: str | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """A token was issued. `secret_ends_at`: from when on, by the server's clock, the secret opens nothing."""

    token: str = field(repr=False)
    lifetime_seconds: float
    secret_ends_at: float | None = None


def read_grant(answer: TokenAnswer, *, hidden: Iterable[str], now: float) -> Grant | ApiError:
    """The token of an answer, or the error that it means."""
    if answer.status != _OK:
        return _read_refusal(answer, hidden=hidden, now=now)
    try:
        wire = loads_strict(answer.body)
    except StrictJsonError:
        wire = None
    members = wire if isinstance(wire, dict) else {}
    token, token_type, lifetime = (members.get(name) for name in ("token", "tokenType", "expiresIn"))
    is_sane = (
        is_token(token)
        and isinstance(token_type, str)
        and token_type.lower() == "bearer"
        and type(lifetime) is int  # not isinstance: true is an instance of int
        and lifetime > 0
    )
    if not is_sane or not isinstance(token, str) or not isinstance(lifetime, int):
        message = "The token endpoint's answer is not a token: does the base URL lead to an e-CROSS server?"
        return ServerError(answer.status, message, None, answer.request_id)
    return Grant(token, float(min(lifetime, int(MAX_LIFETIME_SECONDS))), _read_date(answer.credential_expires))


def read_skew(answer: TokenAnswer, *, sent_at: float, received_at: float) -> float | None:
    """How far the server's clock is ahead of this machine's, in seconds; `None` if the answer does not tell."""
    date = _read_date(answer.date)
    if date is None:
        return None
    skew = date + 0.5 - (sent_at + received_at) / 2
    return skew if abs(skew) > _SMALLEST_SKEW_SECONDS + abs(received_at - sent_at) / 2 else 0.0


def _read_date(told: str | None) -> float | None:
    date = read_http_date(told)
    return date if date is not None and 0 <= date <= FARTHEST_SECONDS / 2 else None


def _read_refusal(answer: TokenAnswer, *, hidden: Iterable[str], now: float) -> ApiError:
    wait = read_retry_after(answer.retry_after, now=now, date=answer.date)
    error = read_error(
        answer.status, answer.body, request_id=answer.request_id, retry_after_seconds=wait, hidden=hidden
    )
    is_wrong = answer.status == _UNAUTHORIZED or error.message == _PUBLISHED_REFUSAL
    if is_wrong and answer.status in _CLIENT_ERRORS:
        return InvalidCredentialsError(error.status, error.message, error.code, error.request_id)
    return error
