"""What can be wrong with a request about checks and reviews."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, NotFoundError


class UnusableRulesError(ConflictError):
    """The rules that came with this program cannot be used."""

    code = "unusable_rules"

    def __init__(self, file_name: str, reason: str) -> None:
        super().__init__(
            f"The rules of localization in {file_name} cannot be used: {reason}. Install this version anew."
        )


class ReviewNotFoundError(NotFoundError):
    """There is no review of this number."""

    code = "review_not_found"

    def __init__(self) -> None:
        super().__init__("There is no review of this number. List them: ecross-server reviews list")


class ReviewClosedError(ConflictError):
    """Somebody has decided it, or the SKU is not what it was."""

    code = "review_closed"

    def __init__(self, status: str) -> None:
        super().__init__(
            f"This review is {status}: it waits for nobody. List those that wait: ecross-server reviews list"
        )


class NotJudgedError(NotFoundError):
    """Nobody has looked at such a SKU."""

    code = "not_judged"

    def __init__(self) -> None:
        super().__init__("No SKU of this id of the merchant has been looked at.")
