"""Verification of e-CROSS access tokens for services that receive them: signature, claims and times.

A client's revocation is known to the issuer alone: compare `Claims.epoch` with it, or rely on short lifetimes.
"""

import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import NoReturn

from ecross.errors import InvalidKeyError, InvalidTokenError, InvalidTokenReason
from ecross.jws import HmacKey, StrictJsonError, loads_strict, token_bytes, verify_any

__all__ = ["Claims", "InvalidKeyError", "InvalidTokenError", "InvalidTokenReason", "TokenVerifier"]

MAX_KEYS = 3

# iat and nbf are the issuer's clock. Without a second's grace, a token that one machine has just issued is refused by
# the next one whose clock is some milliseconds behind. Nobody gains by it: no token exists before its iat.
_CLOCK_SKEW_SECONDS = 1

_BEYOND_SANE = 2**53  # integers below it are the same number to every JSON reader (RFC 7493 section 2.2)

_TEXT_CLAIMS = ("iss", "sub", "jti", "client_id", "merchant_id", "scope")
_NUMBER_CLAIMS = ("iat", "nbf", "exp", "epoch")


@dataclass(frozen=True, slots=True)
class Claims:
    """What a verified access token says (RFC 7519 section 4.1). Times are seconds since the epoch."""

    issuer: str
    subject: str
    audience: str
    """The verifier's own audience; the token may name others beside it."""
    issued_at: int
    not_before: int
    expires_at: int
    token_id: str
    client_id: str
    merchant_id: str
    scope: str
    epoch: int
    """Raised by the issuer with every act that revokes the client's earlier tokens."""

    @property
    def scopes(self) -> frozenset[str]:
        """The scope's values (RFC 6749 section 3.3)."""
        return frozenset(filter(None, self.scope.split(" ")))


class TokenVerifier:
    """Verifies access tokens that an e-CROSS server issued for one audience.

    `keys` is a JWK Set (RFC 7517 section 5) of one to three HS256 keys, as a mapping or as the path of a file that
    holds one; it is read once. Any of its keys may have signed a token: that is how keys are rotated.

    `leeway_seconds` is added to both ends of a token's life. Without it a token is refused from the very second of
    its `exp` on. `iat` and `nbf` have one second of grace beside it, for clocks that differ by less.

    Up to `cache_size` verified tokens are remembered, by their SHA-256, and cost a tenth when seen again; their times
    are checked on each use. Fewer than two turns the cache off. An instance may be shared among threads.

    Raises `InvalidKeyError` for unfit keys, `ValueError` for any other unfit argument.
    """

    __slots__ = ("_audience", "_clock", "_generation_size", "_issuer", "_keys", "_leeway", "_older", "_recent")

    def __init__(
        self,
        *,
        keys: Mapping[str, object] | str | os.PathLike[str],
        issuer: str,
        audience: str,
        leeway_seconds: float = 0,
        cache_size: int = 4096,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if not issuer or not audience:
            raise ValueError("issuer and audience must not be empty")
        if not 0 <= leeway_seconds < math.inf:
            raise ValueError("leeway_seconds must be a number from 0 up")
        if cache_size < 0:
            raise ValueError("cache_size must not be negative")
        self._keys = _import_key_set(keys)
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway_seconds
        self._clock = clock
        # Two generations instead of a list of uses: only single dictionary operations, so that no lock is needed.
        self._generation_size = cache_size // 2
        self._recent: dict[bytes, Claims] = {}
        self._older: dict[bytes, Claims] = {}

    def __repr__(self) -> str:
        return f"TokenVerifier(issuer={self._issuer!r}, audience={self._audience!r}, keys={len(self._keys)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TokenVerifier is neither copied nor pickled: it holds keys")

    def verify(self, token: str | bytes) -> Claims:
        """The claims of a token that is authentic, meant for this audience, and valid now (RFC 7519 section 7.2).

        All of `iss`, `sub`, `aud`, `iat`, `nbf`, `exp`, `jti`, `client_id`, `merchant_id`, `scope` and `epoch` must
        be there, each of its exact type. Raises `InvalidTokenError` for everything else, whatever is passed.
        """
        compact = token_bytes(token)
        digest = sha256(compact).digest()
        claims = self._recent.get(digest)
        if claims is not None:
            self._check_times(claims)
            return claims
        claims = self._older.get(digest)
        if claims is None:
            claims = self._read_claims(verify_any(compact, self._keys))
        self._check_times(claims)
        self._remember(digest, claims)
        return claims

    def _remember(self, digest: bytes, claims: Claims) -> None:
        if len(self._recent) >= self._generation_size:
            if not self._generation_size:
                return
            # Threads that do this at once forget a few tokens, which are then verified again.
            self._older, self._recent = self._recent, {}
        self._recent[digest] = claims

    def _check_times(self, claims: Claims) -> None:
        now = self._clock()
        if now >= claims.expires_at + self._leeway:
            raise InvalidTokenError(InvalidTokenReason.EXPIRED, "The token has expired.")
        latest_start = now + self._leeway + _CLOCK_SKEW_SECONDS
        if claims.not_before > latest_start or claims.issued_at > latest_start:
            raise InvalidTokenError(InvalidTokenReason.NOT_YET_VALID, "The token is not valid yet.")

    def _read_claims(self, payload: bytes) -> Claims:
        try:
            wire = loads_strict(payload)
        except StrictJsonError:
            wire = None
        if not isinstance(wire, dict):
            raise InvalidTokenError(InvalidTokenReason.MALFORMED, "The token's payload is not a strict JSON object.")
        _check_types(wire)
        if wire["sub"] != wire["client_id"]:
            raise _unfit_claim(wire, "sub")
        if wire["exp"] <= wire["iat"]:
            raise _unfit_claim(wire, "exp")
        if wire["iss"] != self._issuer:
            raise InvalidTokenError(InvalidTokenReason.WRONG_ISSUER, "The token is from another issuer.")
        if wire.get("aud") != self._audience:
            _check_audience(wire, self._audience)
        return Claims(
            # Our own strings, and one for two equal claims: a remembered token takes less memory.
            issuer=self._issuer,
            subject=wire["client_id"],
            audience=self._audience,
            issued_at=wire["iat"],
            not_before=wire["nbf"],
            expires_at=wire["exp"],
            token_id=wire["jti"],
            client_id=wire["client_id"],
            merchant_id=wire["merchant_id"],
            scope=wire["scope"],
            epoch=wire["epoch"],
        )


def _check_types(wire: dict[str, object]) -> None:
    for name in _TEXT_CLAIMS:
        text = wire.get(name)
        if type(text) is not str or not (text or name == "scope"):
            raise _unfit_claim(wire, name)
    for name in _NUMBER_CLAIMS:
        number = wire.get(name)
        if type(number) is not int or not 0 <= number < _BEYOND_SANE:  # not isinstance: true is an instance of int
            raise _unfit_claim(wire, name)


def _check_audience(wire: dict[str, object], expected: str) -> None:
    audiences = wire.get("aud")
    if isinstance(audiences, str):
        audiences = [audiences]
    if not isinstance(audiences, list) or not audiences or not all(isinstance(name, str) for name in audiences):
        raise _unfit_claim(wire, "aud")
    if expected not in audiences:
        raise InvalidTokenError(InvalidTokenReason.WRONG_AUDIENCE, "The token is for another audience.")


def _unfit_claim(wire: dict[str, object], name: str) -> InvalidTokenError:
    if name not in wire:
        return InvalidTokenError(InvalidTokenReason.MISSING_CLAIM, f"The token lacks the claim {name}.")
    return InvalidTokenError(InvalidTokenReason.BAD_CLAIM, f"The token's claim {name} is not what it must be.")


def _import_key_set(keys: object) -> tuple[HmacKey, ...]:
    if isinstance(keys, (str, os.PathLike)):
        path = Path(keys)
        try:
            return _import_jwks(_read_json(path))
        except InvalidKeyError as error:
            fault = error.message
        raise InvalidKeyError(f"{path}: {fault}")
    return _import_jwks(keys)


def _read_json(path: Path) -> object:
    try:
        return loads_strict(path.read_bytes())
    except OSError as error:
        fault = f"The file cannot be read ({error.strerror})."
    except StrictJsonError as error:
        fault = f"The file is no strict JSON: {error}."
    raise InvalidKeyError(fault)


def _import_jwks(key_set: object) -> tuple[HmacKey, ...]:
    jwks = key_set.get("keys") if isinstance(key_set, Mapping) else None
    if not isinstance(jwks, list) or not all(isinstance(jwk, Mapping) for jwk in jwks):
        raise InvalidKeyError("This is no JWK Set: an object whose member keys is a list of JWKs.")
    if not 1 <= len(jwks) <= MAX_KEYS:
        raise InvalidKeyError(f"A JWK Set of 1 to {MAX_KEYS} keys is needed, this has {len(jwks)}.")
    return tuple(map(HmacKey, jwks))
