"""What can be wrong with a request about merchants and credentials."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, NotFoundError


class MerchantNotFoundError(NotFoundError):
    """No merchant has this id."""

    code = "merchant_not_found"

    def __init__(self, merchant_id: str) -> None:
        super().__init__(f"There is no merchant {merchant_id}. List them with: ecross-server merchants list")


class ClientNotFoundError(NotFoundError):
    """No client has this id."""

    code = "client_not_found"

    def __init__(self, client_id: str) -> None:
        super().__init__(f"There is no client {client_id}. List them with: ecross-server credentials list")


class MerchantExistsError(ConflictError):
    """The merchant id is taken."""

    code = "merchant_exists"

    def __init__(self, merchant_id: str) -> None:
        super().__init__(
            f"The merchant {merchant_id} is registered already. "
            f"For another client of it: ecross-server credentials issue {merchant_id}"
        )


class MerchantDisabledError(ConflictError):
    """A disabled merchant gets no new credentials."""

    code = "merchant_disabled"

    def __init__(self, merchant_id: str) -> None:
        super().__init__(f"The merchant {merchant_id} is disabled. First: ecross-server merchants enable {merchant_id}")


class PepperNotFoundError(NotFoundError):
    """No pepper of the file has this id."""

    code = "pepper_not_found"

    def __init__(self) -> None:
        # What was given may be a pepper itself: it is not repeated.
        super().__init__("There is no such pepper. List them with: ecross-server peppers list")


class PepperInUseError(ConflictError):
    """The pepper is still needed."""

    code = "pepper_in_use"

    def __init__(self, message: str) -> None:
        super().__init__(message)
