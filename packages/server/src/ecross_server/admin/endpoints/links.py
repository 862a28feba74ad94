"""How a secret that somebody asks for is to reach its user."""

from __future__ import annotations

from ecross_server.admin.endpoints.access import Office
from ecross_server.admin.schemas import LinkAsked
from ecross_server.handover.service import Terms, make_terms
from ecross_server.kit.errors import Fault, InvalidInputError


def terms_of(
    asked: LinkAsked, office: Office, *, label: str | None = None, secret_expires_in: str | None = None
) -> Terms | None:
    """The link that is asked for; `None` where the secret itself is.

    Raises:
        InvalidInputError: for what means nothing without a link, or a life that is none.
        UnusableBaseError: if no link could be followed.
    """
    if asked.hand_over:
        return make_terms(
            office.public_url, expires_in=asked.hand_over_expires_in, code=asked.hand_over_code, label=label,
            secret_expires_in=None if secret_expires_in is None else ("expiresIn", secret_expires_in),
            path="handOverExpiresIn",
        )  # fmt: skip
    for name, is_told in (
        ("handOverExpiresIn", asked.hand_over_expires_in is not None),
        ("handOverCode", asked.hand_over_code),
    ):
        if is_told:
            raise InvalidInputError(f"{name} needs handOver", (Fault(name, "needs handOver"),))
    return None
