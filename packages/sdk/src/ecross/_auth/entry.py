"""What the token cache keeps for a client id: the token, and what the token endpoint refused. Never the secret.

All instants are seconds by the server's clock; `skew_seconds` is what to add to this machine's clock to get there. So
they stay true when the skew is learned anew.
"""

import hashlib
import json
import re
from dataclasses import dataclass, field, replace
from typing import Literal, NoReturn

from ecross.jws import MAX_TOKEN_BYTES, StrictJsonError, loads_strict

MAX_LIFETIME_SECONDS = 7 * 24 * 3600.0
"""A token is asked for again after this long at the latest, whatever its life is said to be."""
MAX_REFUSAL_SECONDS = 3600.0
"""After a refusal the token endpoint is asked again after this long at the latest, whatever it said."""
FARTHEST_SECONDS = 6e10
"""No instant is later and no two clocks differ by more, 1,900 years: so all that is computed of them is a date."""

_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*")  # RFC 9110 section 11.2: nothing that could break a header
_VERSION = 1
_SALT_BYTES = 16
# A secret that people have chosen should not be found by trying, even by who can read the cache.
_DIGEST_ROUNDS = 10_000


@dataclass(frozen=True, slots=True)
class CachedToken:
    """A token and its life."""

    value: str = field(repr=False)
    obtained_at: float
    refresh_at: float
    expires_at: float

    def __reduce__(self) -> NoReturn:
        raise TypeError("a CachedToken is neither copied nor pickled: it is a secret")


@dataclass(frozen=True, slots=True)
class Refusal:
    """That the token endpoint refused this secret, and until when it is not asked again."""

    kind: Literal["credentials", "rate"]
    told_at: float
    until: float
    status: int
    message: str
    code: str | None
    request_id: str | None
    salt: bytes = field(repr=False)
    secret_digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class SecretEnd:
    """When the secret that the token was given for ends, and its digest: another secret may be in use by now."""

    at: float
    salt: bytes = field(repr=False)
    secret_digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is kept for one client id at one token endpoint."""

    token: CachedToken | None = None
    refusal: Refusal | None = None
    skew_seconds: float = 0.0
    failures: int = 0
    """Renewals that failed one after the other."""
    secret_end: SecretEnd | None = None

    def without(self, token: str | None) -> "Entry":
        """The entry without this token, if it is this token that it holds."""
        if token is None or self.token is None or self.token.value != token:
            return self
        return replace(self, token=None)


def is_token(value: object) -> bool:
    """Whether this is text that may stand in an `Authorization` header as a token."""
    return isinstance(value, str) and len(value) <= MAX_TOKEN_BYTES and _TOKEN68.fullmatch(value) is not None


def digest_secret(secret: str, salt: bytes) -> bytes:
    """What a secret is recognized by. Takes some milliseconds."""
    return hashlib.pbkdf2_hmac("sha256", secret.encode("utf-8", "surrogatepass"), salt, _DIGEST_ROUNDS)


def encode(entry: Entry) -> bytes:
    """The bytes that a cache keeps."""
    token, refusal = entry.token, entry.refusal
    wire: dict[str, object] = {"version": _VERSION, "skew": entry.skew_seconds, "failures": entry.failures}
    if token is not None:
        wire["token"] = {
            "value": token.value,
            "obtainedAt": token.obtained_at,
            "refreshAt": token.refresh_at,
            "expiresAt": token.expires_at,
        }
    if refusal is not None:
        wire["refusal"] = {
            "kind": refusal.kind,
            "toldAt": refusal.told_at,
            "until": refusal.until,
            "status": refusal.status,
            "message": refusal.message,
            "code": refusal.code,
            "requestId": refusal.request_id,
            "salt": refusal.salt.hex(),
            "secretDigest": refusal.secret_digest.hex(),
        }
    if entry.secret_end is not None:
        end = entry.secret_end
        wire["secretEnd"] = {"at": end.at, "salt": end.salt.hex(), "secretDigest": end.secret_digest.hex()}
    return json.dumps(wire, separators=(",", ":")).encode()


def decode(data: bytes | None) -> Entry:
    """The entry that these bytes stand for; an empty one for all that cannot be one."""
    if data is None:
        return Entry()
    try:
        wire = _Fields(loads_strict(data))
        if wire.number("version") != _VERSION:
            return Entry()
        return Entry(
            token=_decode_token(wire.member("token")),
            refusal=_decode_refusal(wire.member("refusal")),
            skew_seconds=wire.number("skew"),
            failures=int(wire.number("failures")),
            secret_end=_decode_secret_end(wire.member("secretEnd")),
        )
    except (StrictJsonError, _UnfitEntryError):
        return Entry()


class _UnfitEntryError(Exception):
    pass


class _Fields:
    def __init__(self, wire: object) -> None:
        if not isinstance(wire, dict):
            raise _UnfitEntryError
        self._wire: dict[str, object] = wire

    def member(self, name: str) -> "_Fields | None":
        return _Fields(self._wire[name]) if name in self._wire else None

    def number(self, name: str) -> float:
        value = self._wire.get(name)
        if not isinstance(value, (int, float)) or not abs(value) <= FARTHEST_SECONDS:  # NaN is not either
            raise _UnfitEntryError
        return float(value)

    def text(self, name: str) -> str:
        value = self._wire.get(name)
        if not isinstance(value, str):
            raise _UnfitEntryError
        return value

    def optional_text(self, name: str) -> str | None:
        return None if self._wire.get(name) is None else self.text(name)

    def octets(self, name: str) -> bytes:
        try:
            return bytes.fromhex(self.text(name))
        except ValueError:
            raise _UnfitEntryError from None


def _decode_token(wire: _Fields | None) -> CachedToken | None:
    if wire is None:
        return None
    token = CachedToken(
        wire.text("value"), wire.number("obtainedAt"), wire.number("refreshAt"), wire.number("expiresAt")
    )
    is_in_order = 0 <= token.obtained_at <= token.refresh_at <= token.expires_at
    if not is_in_order or token.expires_at - token.obtained_at > MAX_LIFETIME_SECONDS + 1 or not is_token(token.value):
        raise _UnfitEntryError
    return token


def _decode_secret_end(wire: _Fields | None) -> SecretEnd | None:
    if wire is None:
        return None
    return SecretEnd(wire.number("at"), wire.octets("salt"), wire.octets("secretDigest"))


def _decode_refusal(wire: _Fields | None) -> Refusal | None:
    if wire is None:
        return None
    kind = wire.text("kind")
    if kind not in {"credentials", "rate"}:
        raise _UnfitEntryError
    told_at, until = wire.number("toldAt"), wire.number("until")
    if not told_at <= until <= told_at + MAX_REFUSAL_SECONDS + 1:
        raise _UnfitEntryError
    return Refusal(
        "credentials" if kind == "credentials" else "rate",
        told_at,
        until,
        int(wire.number("status")),
        wire.text("message"),
        wire.optional_text("code"),
        wire.optional_text("requestId"),
        wire.octets("salt"),
        wire.octets("secretDigest"),
    )
