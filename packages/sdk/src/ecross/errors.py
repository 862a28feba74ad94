"""The errors of the client: everything it raises on purpose is an `EcrossError`."""

from enum import StrEnum


class EcrossError(Exception):
    """The base of every error the client raises on purpose."""


class InvalidTokenReason(StrEnum):
    """Why a token was refused: short, stable words to branch and count on."""

    MALFORMED = "malformed"
    TOO_LONG = "too_long"
    BAD_SIGNATURE = "bad_signature"
    BAD_HEADER = "bad_header"
    BAD_KEY = "bad_key"
    MISSING_CLAIM = "missing_claim"
    BAD_CLAIM = "bad_claim"
    WRONG_ISSUER = "wrong_issuer"
    WRONG_AUDIENCE = "wrong_audience"
    NOT_YET_VALID = "not_yet_valid"
    EXPIRED = "expired"


class InvalidTokenError(EcrossError):
    """A token that must not be trusted, with the `reason` and a sentence for people.

    Holds nothing of the token: neither its text nor a value of its claims, at most the name of a claim that must be
    there. It is safe to log.
    """

    reason: InvalidTokenReason

    def __init__(self, reason: InvalidTokenReason, message: str) -> None:
        super().__init__(reason, message)
        self.reason = reason
        self.message = message

    def __str__(self) -> str:
        return self.message


class InvalidKeyError(InvalidTokenError):
    """A key, or a set of keys, that cannot verify an HS256 token; its `reason` is always `bad_key`.

    An `InvalidTokenError` because no token is valid under such a key: whoever refuses tokens on that error refuses
    them here too. Holds nothing of the key.
    """

    def __init__(self, message: str) -> None:
        super().__init__(InvalidTokenReason.BAD_KEY, message)

    def __reduce__(self) -> tuple[type["InvalidKeyError"], tuple[str]]:
        return type(self), (self.message,)
