"""What can be wrong with the audit trail."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError


class TrailTamperedError(ConflictError):
    """The trail is not as it was written."""

    code = "audit_trail_tampered"

    def __init__(self) -> None:
        super().__init__("The audit trail is not as it was written. See what is wrong: ecross-server audit verify")
