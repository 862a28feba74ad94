"""Verification of e-CROSS access tokens for services that receive them: signature, claims and times.

A client's revocation is known to the issuer alone: compare `Claims.epoch` with it, or rely on short lifetimes.
"""

import logging
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

KEY_FILE_SECONDS = 1.0
"""So often, at most, a file of keys is looked at while tokens are found good."""

_ALL_SCOPES = "merchant"  # as the server grants it: everything that concerns the merchant
_READING_SCOPE = "merchant:read"  # likewise, to look at it

# iat and nbf are the issuer's clock. Without a second's grace, a token that one machine has just issued is refused by
# the next one whose clock is some milliseconds behind. Nobody gains by it: no token exists before its iat.
_CLOCK_SKEW_SECONDS = 1

_BEYOND_SANE = 2**53  # integers below it are the same number to every JSON reader (RFC 7493 section 2.2)

_TEXT_CLAIMS = ("iss", "sub", "jti", "client_id", "merchant_id", "scope")
_NUMBER_CLAIMS = ("iat", "nbf", "exp", "epoch")

_log = logging.getLogger("ecross.verifier")


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

    def may(self, scope: str) -> bool:
        """Whether the token allows what needs the scope; `merchant` allows all, `merchant:read` all that reads."""
        scopes = self.scopes
        return scope in scopes or _ALL_SCOPES in scopes or (scope.endswith(":read") and _READING_SCOPE in scopes)


class _Trusted:
    """A set of keys, and what was found good under it: one is never without the other."""

    __slots__ = ("keys", "older", "recent")

    def __init__(self, keys: tuple[HmacKey, ...]) -> None:
        self.keys = keys
        # Two generations instead of a list of uses: only single dictionary operations, so that no lock is needed.
        self.recent: dict[bytes, _Known] = {}
        self.older: dict[bytes, _Known] = {}


_Known = tuple[Claims, float, float]
"""What a good token says, and from when until when it is taken."""


class TokenVerifier:
    """Verifies access tokens that an e-CROSS server issued for one audience.

    `keys` is a JWK Set (RFC 7517 section 5) of one to three HS256 keys, as a mapping or as the path of a file that
    holds one. Any of its keys may have signed a token: that is how keys are rotated.

    A file is followed: it is looked at again when it was last looked at a second ago, and before a token is refused
    for its signature. What was found good under keys that are gone is not remembered. A file that cannot be used is
    reported to the logger `ecross.verifier`, once for each fault, and the keys from before stay.

    `leeway_seconds` is added to both ends of a token's life. Without it a token is refused from the very second of
    its `exp` on. `iat` and `nbf` have one second of grace beside it, for clocks that differ by less.

    Up to `cache_size` verified tokens are remembered, by their SHA-256, and cost a tenth when seen again; their times
    are checked on each use. Fewer than two turns the cache off. An instance may be shared among threads.

    Raises `InvalidKeyError` for unfit keys, `ValueError` for any other unfit argument.
    """

    __slots__ = (
        "_audience", "_clock", "_generation_size", "_issuer", "_key_file", "_leeway", "_look_after", "_looked_at",
        "_trusted",
    )  # fmt: skip

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
        self._issuer = issuer
        self._audience = audience
        self._leeway = leeway_seconds
        self._clock = clock
        self._generation_size = cache_size // 2
        self._key_file: _KeyFile | None = None
        self._looked_at = -math.inf
        self._look_after = math.inf
        if isinstance(keys, (str, os.PathLike)):
            self._key_file = _KeyFile(Path(keys))
            self._trusted = _Trusted(self._key_file.read())
            self._looked_at = clock()
            self._look_after = self._looked_at + KEY_FILE_SECONDS
        else:
            self._trusted = _Trusted(_import_jwks(keys))

    def __repr__(self) -> str:
        return f"TokenVerifier(issuer={self._issuer!r}, audience={self._audience!r}, keys={len(self._trusted.keys)})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a TokenVerifier is neither copied nor pickled: it holds keys")

    def verify(self, token: str | bytes) -> Claims:
        """The claims of a token that is authentic, meant for this audience, and valid now (RFC 7519 section 7.2).

        All of `iss`, `sub`, `aud`, `iat`, `nbf`, `exp`, `jti`, `client_id`, `merchant_id`, `scope` and `epoch` must
        be there, each of its exact type. Raises `InvalidTokenError` for everything else, whatever is passed.
        """
        compact = token_bytes(token)
        digest = sha256(compact).digest()
        now = self._clock()
        # Both ways: a clock that was set back must not keep the file from being looked at.
        if not self._looked_at <= now < self._look_after:
            self._follow_file(now)
        trusted = self._trusted
        known = trusted.recent.get(digest)
        if known is not None:
            claims, starts_at, ends_at = known
            if starts_at <= now < ends_at:
                return claims
        else:
            known = trusted.older.get(digest)
        if known is None:
            trusted, payload = self._authenticate(compact, trusted, now)
            known = self._with_life(self._read_claims(payload))
        claims, starts_at, ends_at = known
        # Asked this way round, a clock that gives no number lets nothing pass.
        if not now < ends_at:
            raise InvalidTokenError(InvalidTokenReason.EXPIRED, "The token has expired.")
        if not starts_at <= now:
            raise InvalidTokenError(InvalidTokenReason.NOT_YET_VALID, "The token is not valid yet.")
        self._remember(trusted, digest, known)
        return claims

    def _authenticate(self, compact: bytes, trusted: _Trusted, now: float) -> tuple[_Trusted, bytes]:
        try:
            return trusted, verify_any(compact, trusted.keys, typ="JWT")
        except InvalidTokenError as error:
            # The issuer may sign with a key that stands in the file since a moment ago.
            if self._key_file is None or error.reason != InvalidTokenReason.BAD_SIGNATURE:
                raise
            if self._key_file.is_as_last_seen():
                raise
            self._follow_file(now)
            if self._trusted is trusted:
                raise
        trusted = self._trusted
        return trusted, verify_any(compact, trusted.keys, typ="JWT")

    def _follow_file(self, now: float) -> None:
        self._looked_at = now
        if self._key_file is None:  # the clock gave no number
            return
        self._look_after = now + KEY_FILE_SECONDS
        # No lock, which a fork could leave locked for ever: threads that find a new file at once read it twice, and
        # one that comes late with an older one is put right at the next look.
        keys = self._key_file.read_changed()
        if keys is not None:
            self._trusted = _Trusted(keys)

    def _with_life(self, claims: Claims) -> _Known:
        starts_at = max(claims.not_before, claims.issued_at) - self._leeway - _CLOCK_SKEW_SECONDS
        return claims, starts_at, claims.expires_at + self._leeway

    def _remember(self, trusted: _Trusted, digest: bytes, known: _Known) -> None:
        if len(trusted.recent) >= self._generation_size:
            if not self._generation_size:
                return
            # Threads that do this at once forget a few tokens, which are then verified again.
            trusted.older, trusted.recent = trusted.recent, {}
        trusted.recent[digest] = known

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


class _KeyFile:
    """A file that holds a JWK Set and may be replaced, or written anew, at any time."""

    __slots__ = ("_content_digest", "_fault", "_identity", "_is_settled", "_path")

    def __init__(self, path: Path) -> None:
        self._path = path
        self._identity: tuple[int, ...] | None = None
        self._content_digest = b""
        self._is_settled = False
        self._fault: str | None = None

    def read(self) -> tuple[HmacKey, ...]:
        """The keys it holds now; `InvalidKeyError`, which names the file, if it cannot be used."""
        content, self._identity = self._open()
        try:
            keys = _import_jwks(_parse(content))
        except InvalidKeyError as error:
            fault = error.message
        else:
            self._content_digest = sha256(content).digest()
            self._is_settled = False
            return keys
        raise self._unusable(fault)

    def is_as_last_seen(self) -> bool:
        """Whether it seems to be what was last read, usable or not: this is cheap."""
        try:
            return _identity(self._path.stat()) == self._identity
        except OSError:
            return self._fault is not None

    def read_changed(self) -> tuple[HmacKey, ...] | None:
        """The keys it holds now if they may be others than those last read; None if not, or if it cannot be used."""
        try:
            if self._is_settled and _identity(self._path.stat()) == self._identity:
                self._tell_recovery()
                return None
            # Read twice, the second time when it has been the same for a while: file times are coarse, and what was
            # written right after the first time may show the same.
            content, identity = self._open()
            if self._content_digest == sha256(content).digest():
                self._is_settled = identity == self._identity
                self._identity = identity
                self._tell_recovery()
                return None
            keys = self.read()
        except OSError as error:
            fault = f"{self._path}: The file cannot be read ({error.strerror})."
        except InvalidKeyError as error:
            fault = error.message
        else:
            self._fault = None
            _log.info("The verifier has taken over %d keys from %s", len(keys), self._path)
            return keys
        self._is_settled = False
        if fault != self._fault:
            self._fault = fault
            _log.warning("The verifier goes on with the keys it has. %s", fault)
        return None

    def _tell_recovery(self) -> None:
        if self._fault is not None:
            self._fault = None
            _log.info("The verifier finds the keys it has in %s again", self._path)

    def _open(self) -> tuple[bytes, tuple[int, ...]]:
        try:
            with self._path.open("rb") as file:
                return file.read(), _identity(os.fstat(file.fileno()))
        except OSError as error:
            fault = f"The file cannot be read ({error.strerror})."
        raise self._unusable(fault)

    def _unusable(self, fault: str) -> InvalidKeyError:
        return InvalidKeyError(f"{self._path}: {fault}")


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _parse(content: bytes) -> object:
    try:
        return loads_strict(content)
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
