"""The errors of the client: everything it raises on purpose is an `EcrossError`.

None of them holds a secret or a token, in its text, its `repr` or its pickle: all are safe to log.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

__all__ = [
    "ApiError",
    "CacheError",
    "ConfigurationError",
    "EcrossError",
    "FieldError",
    "ForbiddenError",
    "InvalidCredentialsError",
    "InvalidKeyError",
    "InvalidTokenError",
    "InvalidTokenReason",
    "NotFoundError",
    "RateLimitedError",
    "ServerError",
    "SyncRunningError",
    "TransportError",
    "UnauthorizedError",
    "ValidationError",
]


class EcrossError(Exception):
    """The base of every error the client raises on purpose."""


class ConfigurationError(EcrossError):
    """Something that the client needs is missing or contradicts itself; the message says where to tell it."""


class CacheError(EcrossError):
    """The token cache cannot be used: not private, not writable, not readable. The message names the file."""


class SyncRunningError(EcrossError):
    """Another process or thread brings the same merchant's catalog, or stock, to the server at this moment."""

    def __init__(self) -> None:
        super().__init__("Another run for the same client id and server is under way. Wait for its end.")

    def __reduce__(self) -> tuple[type["SyncRunningError"], tuple[()]]:
        return type(self), ()


class TransportError(EcrossError):
    """No answer: the server could not be reached, said nothing in time, or did not speak HTTP.

    `is_timeout` tells the second from the others. Whether the server has acted on the request is not known.
    """

    def __init__(self, message: str, *, is_timeout: bool = False) -> None:
        super().__init__(message)
        self.is_timeout = is_timeout


class FieldError(NamedTuple):
    """One fault of a request's body: where, and what."""

    path: str
    message: str


class ApiError(EcrossError):
    """The server answered that it will not.

    `status` is the HTTP status, `message` the server's sentence, `code` the stable name of the fault where the server
    gives one, `request_id` what its operator finds the request by.
    """

    def __init__(self, status: int, message: str, code: str | None = None, request_id: str | None = None) -> None:
        super().__init__(status, message, code, request_id)
        self.status = status
        self.message = message
        self.code = code
        self.request_id = request_id

    def __str__(self) -> str:
        told = [str(self.status), *([self.code] if self.code else [])]
        told += [f"request {self.request_id}"] if self.request_id else []
        return f"{self.message} ({', '.join(told)})"


class InvalidCredentialsError(ApiError):
    """The client id or the client secret is wrong, disabled or expired: the server does not say which."""


class UnauthorizedError(ApiError):
    """The server refused the access token, also a fresh one (401)."""


class ForbiddenError(ApiError):
    """The credentials do not allow this (403)."""


class NotFoundError(ApiError):
    """There is no such thing, or it is another merchant's (404)."""


class ValidationError(ApiError):
    """The request is not what it must be (400, 409, 413, 415, 422); `errors` tells each fault the server told."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        request_id: str | None = None,
        errors: Sequence[FieldError] = (),
    ) -> None:
        super().__init__(status, message, code, request_id)
        self.errors = tuple(errors)


class RateLimitedError(ApiError):
    """Too many requests (429); `retry_after_seconds` is how long to wait, where it is known."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(status, message, code, request_id)
        self.retry_after_seconds = retry_after_seconds


class ServerError(ApiError):
    """The server failed, or is away behind its proxy (5xx)."""


class InvalidTokenReason(StrEnum):
    """Why a token was refused: short, stable words to branch and count on."""

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    BAD_SIGNATURE = "bad_signature"
    BAD_HEADER = "bad_header"
    BAD_KEY = "bad_key"
    MISSING_CLAIM = "missing_claim"
    BAD_CLAIM = "bad_claim"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"


class InvalidTokenError(EcrossError):
    """A token that must not be trusted, with the `reason` and a sentence for people.

    Holds nothing of the token: neither its text nor a value of its claims, at most the name of a claim that must be
    there. It is safe to log.
    """

    reason: InvalidTokenReason

    def __init__(self, reason: InvalidTokenReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class InvalidKeyError(InvalidTokenError):
    """A key, or a set of keys, that cannot verify an HS256 token; its `reason` is always `bad_key`.

    An `InvalidTokenError` because no token is valid under such a key: whoever refuses tokens on that error refuses
    them here too. Holds nothing of the key.
    """

    def __init__(self, message: str) -> None:
        super().__init__(InvalidTokenReason.BAD_KEY, message)

    def __reduce__(self) -> tuple[type["InvalidKeyError"], tuple[str]]:
        return type(self), (self.message,)
