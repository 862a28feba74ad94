"""What can be wrong with a request about merchants and credentials."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ecross_server.kit.clock import rfc3339
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


class ClientRevokedError(ConflictError):
    """A revoked client gets no new secret."""

    code = "client_revoked"

    def __init__(self, client_id: str) -> None:
        super().__init__(
            f"The client {client_id} is revoked for good. For another one: ecross-server credentials issue MERCHANT"
        )


class SecretNotFoundError(NotFoundError):
    """The client has no secret of this id."""

    code = "secret_not_found"

    def __init__(self, client_id: str) -> None:
        # What was given may be a secret itself: it is not repeated.
        super().__init__(
            f"The client {client_id} has no such secret. An id such as sec_... is asked for: "
            "ecross-server credentials list"
        )


class TooManySecretsError(ConflictError):
    """A third live secret would be needed."""

    code = "too_many_secrets"

    def __init__(self, client_id: str, secret_ids: Sequence[str]) -> None:
        super().__init__(
            f"The client {client_id} has two live secrets, {' and '.join(secret_ids)}. First retire one, or: "
            f"ecross-server credentials cancel-rotation {client_id}"
        )


class NoRotationError(ConflictError):
    """There is nothing to cancel."""

    code = "no_rotation"

    def __init__(self, client_id: str) -> None:
        super().__init__(f"No rotation of {client_id} is under way: it does not have two live secrets.")


class SecretInUseError(ConflictError):
    """Somebody uses the secret, and would be locked out."""

    code = "secret_in_use"

    def __init__(self, secret_id: str, used_at: datetime) -> None:
        super().__init__(f"The secret {secret_id} was used at {rfc3339(used_at)}. End it all the same with --force.")


class LastSecretError(ConflictError):
    """Without this secret the client would have none."""

    code = "last_secret"

    def __init__(self, secret_id: str) -> None:
        super().__init__(
            f"The secret {secret_id} is the client's only one that is to stay. "
            "First: ecross-server credentials rotate. Without a new one: --force."
        )


class SecretEndedError(ConflictError):
    """The secret opens nothing any more."""

    code = "secret_ended"

    def __init__(self, client_id: str) -> None:
        super().__init__(
            "This secret opens nothing any more, but tokens that were given for it may. To end every secret and token "
            f"of the client, name no secret: ecross-server credentials leaked {client_id}"
        )
