"""Why a token is not issued, or not accepted."""

from __future__ import annotations

from typing import ClassVar

from ecross_server.kit.errors import DomainError, UnavailableError


class InvalidClientError(DomainError):
    """Wrong secret, unknown client, disabled or expired: one error for all, so that none of them shows."""

    code = "invalid_client"

    def __init__(self) -> None:
        super().__init__("Incorrect username or password.")


class BearerError(DomainError):
    """A request without an acceptable token (RFC 6750 section 3.1). `challenge_error` stands in `WWW-Authenticate`."""

    status: ClassVar[int] = 401
    challenge_error: ClassVar[str | None] = None


class MissingTokenError(BearerError):
    """No token was sent."""

    code = "missing_token"

    def __init__(self) -> None:
        super().__init__("An access token is required: Authorization: Bearer {token}. Get one with POST /token.")


class InvalidRequestError(BearerError):
    """The `Authorization` field is unusable."""

    status = 400
    code = challenge_error = "invalid_request"


class InvalidAccessTokenError(BearerError):
    """The token is malformed, forged, expired or revoked."""

    code = challenge_error = "invalid_token"

    def __init__(self, reason: str, message: str = "The access token is not valid.") -> None:
        super().__init__(f"{message} Get a new one with POST /token.")
        self.reason = reason


class InsufficientScopeError(BearerError):
    """The token is good, but does not allow this."""

    status = 403
    code = challenge_error = "insufficient_scope"

    def __init__(self, scope: str) -> None:
        super().__init__(f"The access token does not allow this; it needs the scope {scope}.")
        self.scope = scope


class RegistryStaleError(UnavailableError):
    """The database has been away for so long that nobody can be told from a stranger."""

    code = "temporarily_unavailable"

    def __init__(self) -> None:
        super().__init__("Credentials cannot be checked at the moment. Try again shortly.")
