"""Why a token is not issued, or not accepted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import ConflictError, DomainError, UnavailableError


class InvalidClientError(DomainError):
    """Wrong secret, unknown client, disabled or expired, or from elsewhere: one error for all, so that none shows."""

    code = "invalid_client"

    def __init__(self, evidence: bytes = b"", shown: tuple[str, str] | None = None) -> None:
        super().__init__("Incorrect username or password.")
        # The digest of what was presented, under the current pepper: tells equal attempts, not what they were.
        self.evidence = evidence
        # The merchant's and the secret's id, if that is right, but not the address: for the audit trail alone.
        self.shown = shown


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


class AddressNotAllowedError(BearerError):
    """The token is good, but its client may not call from here."""

    status = 403
    code = "address_not_allowed"

    def __init__(self) -> None:
        super().__init__(
            "These credentials may not be used from this address. Your e-CROSS representative can allow it."
        )


class RegistryStaleError(UnavailableError):
    """Nobody can be told from a stranger: the database has been away for so long, or a pepper is not here yet."""

    code = "temporarily_unavailable"

    def __init__(self) -> None:
        super().__init__("Credentials cannot be checked at the moment. Try again shortly.")


class TooManyKeysError(ConflictError):
    """A fourth live signing key would be needed. `retire_at` are the ends of those that no longer sign."""

    code = "too_many_keys"

    def __init__(self, retire_at: Sequence[float]) -> None:
        first = min(retire_at)
        when = (
            "None of the older ones says when it ends: take one out of the file, or give it a retiresAt."
            if first == math.inf
            else f"It will be possible from {rfc3339(datetime.fromtimestamp(first, UTC))} on."
        )
        super().__init__(
            f"Three signing keys are live, and tokens of each may be. {when} "
            "If a key has leaked: ecross-server keys rotate --drop-old, which ends every token at once."
        )
