"""Access tokens: the signing keys' file and its rotation, and signing.

The token is a JWS compact serialization with HS256 (RFC 7515) of JWT claims (RFC 7519). Its header is a constant, byte
for byte as published. Signing is ours because no library writes that header: see docs/decisions/0003.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from binascii import b2a_base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, NamedTuple

from ecross.jws import key_secret
from ecross.verifier import InvalidTokenError, TokenVerifier
from ecross_server.auth.errors import TooManyKeysError
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.key_files import STARTS_AT, moment, next_moment, position_in_use, shown_moment, turn_to_change
from ecross_server.kit.keyed_hash import KeyedHash
from ecross_server.kit.networks import AllowedNetworks
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.kit.private_files import UnsafeFileError, read_private_json
from ecross_server.kit.recently_seen import RecentlySeen
from ecross_server.merchants.rules import allows
from ecross_server.merchants.service import RegistryClient

ENCODED_HEADER: Final = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""base64url of `{"alg":"HS256","typ":"JWT"}`."""

KEY_BYTES: Final = 32

_HEADER: Final = ENCODED_HEADER.encode()
_URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")


LONGEST_LIFE_SECONDS: Final = 86_400
"""No setting makes tokens live longer. The one in force when a key is replaced says nothing about tokens from before
it was lowered, nor about other servers, so a key is kept for as long as any of its tokens could live."""

TAKEN_WITHIN_SECONDS: Final = 60
"""A replaced key is still signed with until every process has the new file, on a machine with a slow disk as well."""

LIVE_KEYS: Final = 3
RETIRES_AT: Final = "retiresAt"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """What may be shown of a key in the file. `retires_at` is None if it is not known, as of the one that signs."""

    key_id: str | None
    status: str
    created_at: datetime | None
    retires_at: datetime | None
    starts_at: datetime | None


def new_signing_keys(now: datetime) -> str:
    """The content of a signing keys' file with one fresh key: a JWK Set (RFC 7517), `createdAt` beside the key."""
    return json.dumps({"keys": [_new_key(now)]}, indent=2) + "\n"


def list_signing_keys(path: Path, *, now: datetime) -> list[SigningKey]:
    """The keys of the file, in its order.

    Raises:
        UnavailableError, UnsafeFileError: as `KeySet.from_file`.
    """
    jwks = read_private_json(path)
    _check(jwks, path)
    return _shown(jwks["keys"], now)


def rotate_signing_keys(
    path: Path,
    *,
    now: datetime,
    starts_in: timedelta = timedelta(0),
    drop_old: bool = False,
    before: Callable[[str], None] = lambda _key_id: None,
) -> SigningKey:
    """Put a new key first in the file, and leave out those that have retired. Processes that rotate take turns.

    `starts_in` is the time for which the new key is only known, not signed with yet. With `drop_old` it is the only
    one left: every token ends.

    Raises:
        TooManyKeysError: if three keys are live already.
        KeyFileBusyError, UnwritableError: if the file cannot be changed.
        UnavailableError, UnsafeFileError: if what is there cannot be used; dropping it all needs no such thing.
    """
    key = _new_key(now)
    if starts_in:
        key[STARTS_AT] = rfc3339(now + starts_in)
    with turn_to_change(path) as file:
        older: list[dict[str, Any]] = []
        if not drop_old:
            jwks = file.read()
            _check(jwks, path)
            retires_at = now + starts_in + timedelta(seconds=LONGEST_LIFE_SECONDS + TAKEN_WITHIN_SECONDS)
            older = _still_needed(jwks["keys"], now, rfc3339(retires_at))
        before(key["kid"])
        file.replace({"keys": [key, *older]})
    return _shown([key, *older], now)[0]


def exported_keys(path: Path, *, now: datetime) -> str:
    """The live keys as a JWK Set for verifiers, without what only concerns us.

    Raises:
        UnavailableError, UnsafeFileError: as `KeySet.from_file`.
    """
    jwks = read_private_json(path)
    _check(jwks, path)
    members = {"kty": "oct", "alg": "HS256", "use": "sig"}
    keys = [
        {**members, **{name: key[name] for name in ("kid", "k") if name in key}}
        for key in _live(jwks["keys"], now.timestamp())
    ]
    return json.dumps({"keys": keys}, indent=2) + "\n"


def live_secrets(jwks: Mapping[str, Any], now: float) -> list[bytes]:
    """The live keys of a file's content that is known to be good, the one that signs first.

    For keys of other purposes to be derived from, never to sign with.
    """
    live = _live(jwks["keys"], now)
    keys = [key_secret(key) for key in live]
    first = position_in_use(live, now)
    return [keys[first], *keys[:first], *keys[first + 1 :]]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request: the client, its merchant, and what both its token and the client are allowed by now."""

    client_id: str
    merchant_id: str
    scopes: frozenset[str]
    networks: AllowedNetworks | None = None

    def may(self, scope: str) -> bool:
        """Whether what needs the scope is allowed; `merchant` allows all of it, `merchant:read` all that reads."""
        return allows(self.scopes, scope)

    def may_call_from(self, address: str) -> bool:
        """Whether a call from this address, as a connection or a proxy tells it, is allowed."""
        return self.networks is None or self.networks.allow(address)


class KnownToken(NamedTuple):
    """What was worked out of a token found good under a key set: enough to know it again, not to make it."""

    client: RegistryClient
    """As the registry knew it: it keeps one object as long as nothing about the client changes."""
    caller: Caller
    not_before: int
    expires_at: int


class KeySet:
    """All live keys of one state of the file: the first that has started signs, all verify."""

    def __init__(
        self, jwks: Mapping[str, Any], *, issuer: str, audience: str, clock: Callable[[], float] = time.time
    ) -> None:
        now = clock()
        # Also those that have retired must be keys: the verifier checks it.
        TokenVerifier(keys=jwks, issuer=issuer, audience=audience)
        self.changes_at = next_moment(jwks["keys"], now, STARTS_AT, RETIRES_AT)
        live = _live(jwks["keys"], now)
        # What was found good is remembered below, with more than its claims.
        self.verifier = TokenVerifier(keys={"keys": live}, issuer=issuer, audience=audience, clock=clock, cache_size=0)
        keys = live_secrets(jwks, now)
        signing = keys[0]
        self.page_tokens = PageTokens(keys)
        self.found_good: RecentlySeen[KnownToken] = RecentlySeen()
        self._count = len(keys)
        self._keyed = KeyedHash(signing)
        # All but the client's own values is the same in every token. A "%" in a setting must survive the formatting.
        head, audience_part = (json.dumps(text).replace("%", "%%") for text in (issuer, audience))
        self._claims = (
            f'{{"iss":{head},"sub":"%s","aud":{audience_part},"iat":%d,"nbf":%d,"exp":%d,"jti":"%s",'
            '"client_id":"%s","merchant_id":"%s","scope":"%s","epoch":%d}'
        )

    def __repr__(self) -> str:
        return f"KeySet({self.verifier!r})"

    def __len__(self) -> int:
        return self._count

    @classmethod
    def from_file(cls, path: Path, *, issuer: str, audience: str, clock: Callable[[], float] = time.time) -> KeySet:
        """The keys that the file holds.

        Raises:
            UnavailableError: if the file cannot be read.
            UnsafeFileError: if others can read it, or it is no JWK Set of one to three HS256 keys of 256 bits or more.
        """
        return cls.from_document(read_private_json(path), path, issuer=issuer, audience=audience, clock=clock)

    @classmethod
    def from_document(
        cls, jwks: Mapping[str, Any], path: Path, *, issuer: str, audience: str, clock: Callable[[], float] = time.time
    ) -> KeySet:
        """The keys of what was read from the file.

        Raises:
            UnsafeFileError: as `from_file`.
        """
        try:
            return cls(jwks, issuer=issuer, audience=audience, clock=clock)
        except (InvalidTokenError, ValueError) as error:
            raise _unusable(path, error) from None

    def sign(
        self, *, client_id: str, merchant_id: str, scope: str, epoch: int, token_id: str, issued_at: int,
        expires_at: int,
    ) -> str:  # fmt: skip
        """A signed access token. Times are seconds since the epoch.

        The texts come from our own writer, whose forms hold no character that JSON would have to escape.
        """
        claims = self._claims % (
            client_id, issued_at, issued_at, expires_at, token_id, client_id, merchant_id, scope, epoch,
        )  # fmt: skip
        signing_input = b"%b.%b" % (_HEADER, _base64url(claims.encode()))
        return (b"%b.%b" % (signing_input, _base64url(self._keyed.digest(signing_input)))).decode()


def _new_key(now: datetime) -> dict[str, Any]:
    return {
        "kty": "oct",
        "alg": "HS256",
        "use": "sig",
        "kid": secrets.token_hex(8),
        "k": _base64url(secrets.token_bytes(KEY_BYTES)).decode(),
        "createdAt": rfc3339(now),
    }


def _check(jwks: Mapping[str, Any], path: Path) -> None:
    KeySet.from_document(jwks, path, issuer="any", audience="any")


def _unusable(path: Path, error: Exception) -> UnsafeFileError:
    return UnsafeFileError(f"The file {path} cannot be used for signing: {error}")


def _live(keys: Sequence[Mapping[str, Any]], now: float) -> list[Mapping[str, Any]]:
    # The first is never replaced, whatever stands beside it.
    return [key for number, key in enumerate(keys) if number == 0 or now < moment(key, RETIRES_AT, math.inf)]


def _still_needed(keys: Sequence[dict[str, Any]], now: datetime, retires_at: str) -> list[dict[str, Any]]:
    live = _live(keys, now.timestamp())
    if len(live) >= LIVE_KEYS:
        raise TooManyKeysError([moment(key, RETIRES_AT, math.inf) for key in live[1:]])
    # Those put in by hand have no end yet: tokens signed with them may be as young as this moment.
    return [
        {**key, RETIRES_AT: retires_at if number == 0 or RETIRES_AT not in key else key[RETIRES_AT]}
        for number, key in enumerate(live)
    ]


def _shown(keys: Sequence[Mapping[str, Any]], now: datetime) -> list[SigningKey]:
    seconds = now.timestamp()
    live = _live(keys, seconds)
    signing = live[position_in_use(live, seconds)]
    return [
        SigningKey(
            key_id=None if key.get("kid") is None else str(key["kid"]),
            status=_status(key, signing, live, seconds),
            created_at=shown_moment(key, "createdAt"),
            retires_at=shown_moment(key, RETIRES_AT) if key is not keys[0] else None,
            starts_at=shown_moment(key, STARTS_AT),
        )
        for key in keys
    ]


def _status(key: Mapping[str, Any], signing: Mapping[str, Any], live: Sequence[Mapping[str, Any]], now: float) -> str:
    if key is signing:
        return "active"
    if all(key is not each for each in live):
        return "retired"
    return "waiting" if moment(key, STARTS_AT, -math.inf) > now else "retiring"


def _base64url(data: bytes) -> bytes:
    return b2a_base64(data, newline=False).translate(_URL_SAFE, b"=")
