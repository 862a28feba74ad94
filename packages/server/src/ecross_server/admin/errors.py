"""Why an administrative request is refused."""

from __future__ import annotations

from ecross_server.auth.errors import BearerError


class MissingAdminTokenError(BearerError):
    """No token was sent."""

    code = "missing_admin_token"

    def __init__(self) -> None:
        super().__init__(
            "An administration token is required: Authorization: Bearer {token}. Get one with POST /admin/token."
        )


class InvalidAdminTokenError(BearerError):
    """The token is malformed, forged, expired, revoked, or no administration token at all."""

    code = "invalid_admin_token"
    challenge_error = "invalid_token"

    def __init__(self, reason: str) -> None:
        super().__init__("The administration token is not valid, or not any more. Get a new one: POST /admin/token.")
        self.reason = reason


class InsufficientRoleError(BearerError):
    """The operator may not do this."""

    status = 403
    code = "insufficient_role"
    challenge_error = "insufficient_scope"

    def __init__(self, role: str) -> None:
        super().__init__(f"Your role does not allow this; it needs the role {role}.")
