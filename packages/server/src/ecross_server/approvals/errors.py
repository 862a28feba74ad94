"""What can be wrong with an approval."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, NotFoundError


class ApprovalNotFoundError(NotFoundError):
    """No approval has this id."""

    code = "approval_not_found"

    def __init__(self, approval_id: str) -> None:
        super().__init__(f"There is no approval {approval_id}. List them with: ecross-server approvals list")


class ApprovalNeededError(ConflictError):
    """Nobody else has granted this act, or what was granted has been used or has expired."""

    code = "approval_needed"

    def __init__(self, act: str, merchant_id: str, client_id: str | None = None, *, is_new: bool = False) -> None:
        whom = merchant_id if client_id is None else f"{merchant_id} {client_id}"
        first = "Register the merchant without credentials (--no-credentials), then ask" if is_new else "Ask for it"
        super().__init__(
            "This needs the approval of a second person, who has not given it. "
            f"{first}: ecross-server approvals ask {act} {whom} --reason '...'"
        )


class OwnApprovalError(ConflictError):
    """Who asks cannot be who grants."""

    code = "own_approval"

    def __init__(self) -> None:
        super().__init__("Whoever asks for an approval cannot give it: it takes a second person.")


class ApprovalDecidedError(ConflictError):
    """It was granted or refused already, or came to its end without an answer."""

    code = "approval_decided"

    def __init__(self, state: str) -> None:
        super().__init__(f"Nothing is to be said any more: this approval is {state}.")
