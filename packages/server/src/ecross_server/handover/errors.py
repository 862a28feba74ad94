"""What can be wrong with a hand-over."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, NotFoundError


class HandOverNotFoundError(NotFoundError):
    """There is no hand-over of this id, or of this link."""

    code = "hand_over_not_found"

    def __init__(self) -> None:
        # What was given may be the link itself: it is not repeated.
        super().__init__("There is no such hand-over. List them with: ecross-server hand-overs list")


class HandOverSpentError(ConflictError):
    """Somebody was faster, or the link has expired or was cancelled."""

    code = "hand_over_spent"

    def __init__(self) -> None:
        super().__init__("This link cannot be used any more.")


class HandOverRevealedError(ConflictError):
    """What was revealed cannot be cancelled any more."""

    code = "hand_over_revealed"

    def __init__(self, client_id: str, secret_id: str) -> None:
        super().__init__(
            "The secret was revealed already, so there is nothing to cancel. To put a new one in its place: "
            f"ecross-server credentials leaked {client_id} {secret_id}"
        )


class UnusableBaseError(ConflictError):
    """A link would lead nowhere, or carry the secret in clear."""

    code = "unusable_public_url"

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"No link can be made: {reason}. Set ECROSS_SERVER_PUBLIC_URL, such as https://api.example.com"
        )
