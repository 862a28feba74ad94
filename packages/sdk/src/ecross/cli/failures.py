"""How commands fail: which error means which exit code, and what programs are told of it."""

from http import HTTPStatus
from typing import Any, Final

from ecross.errors import (
    ApiError,
    ConfigurationError,
    EcrossError,
    InvalidCredentialsError,
    RateLimitedError,
    TransportError,
    UnauthorizedError,
    ValidationError,
)

OUR_BUG: Final = 1
USAGE: Final = 2
CREDENTIALS: Final = 3
RATE_LIMITED: Final = 4
UNREACHABLE: Final = 5
REFUSED: Final = 6

_AWAY: Final = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


class UsageError(EcrossError):
    """The command was not called as it must be."""


class NotConfiguredError(ConfigurationError):
    """Credentials or addresses are missing, or those that were told cannot be used."""


class UnwritableOutputError(EcrossError):
    """What was to be printed cannot be."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The result cannot be printed: {reason}.")


def exit_code(error: EcrossError) -> int:
    """The exit code that the error means."""
    match error:
        case NotConfiguredError() | InvalidCredentialsError() | UnauthorizedError():
            return CREDENTIALS
        case RateLimitedError():
            return RATE_LIMITED
        case TransportError() | UnwritableOutputError():
            return UNREACHABLE
        case ApiError():
            return UNREACHABLE if error.status in _AWAY else REFUSED
        case _:  # an unfit argument, a cache or a profile that cannot be used: a person has to change something
            return USAGE


def error_code(error: EcrossError) -> str:
    """A stable word for programs: the API's own where it told one."""
    if isinstance(error, ApiError) and error.code:
        return error.code
    name = type(error).__name__.removesuffix("Error")
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def details(error: EcrossError) -> dict[str, Any]:
    """What else programs may want to know."""
    found: dict[str, Any] = {}
    if isinstance(error, ApiError):
        found |= {"status": error.status, "requestId": error.request_id}
    if isinstance(error, RateLimitedError):
        found["retryAfterSeconds"] = error.retry_after_seconds
    if isinstance(error, ValidationError) and error.errors:
        found["errors"] = [{"path": fault.path, "message": fault.message} for fault in error.errors]
    return found
