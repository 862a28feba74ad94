"""Access tokens: the signing keys' file, and signing.

The token is a JWS compact serialization with HS256 (RFC 7515) of JWT claims (RFC 7519). Its header is a constant, byte
for byte as published. Signing is ours because no library writes that header: see docs/decisions/0003.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ecross.jws import key_secret
from ecross.verifier import InvalidTokenError, TokenVerifier
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.identifiers import random_hex
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.kit.private_files import UnsafeFileError, read_private_json

ENCODED_HEADER: Final = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""base64url of `{"alg":"HS256","typ":"JWT"}`."""

KEY_BYTES: Final = 32


def new_signing_keys(now: datetime) -> str:
    """The content of a signing keys' file with one fresh key: a JWK Set (RFC 7517), `createdAt` beside the key."""
    key = {
        "kty": "oct",
        "alg": "HS256",
        "use": "sig",
        "kid": secrets.token_hex(8),
        "k": _base64url(secrets.token_bytes(KEY_BYTES)),
        "createdAt": rfc3339(now),
    }
    return json.dumps({"keys": [key]}, indent=2) + "\n"


class KeySet:
    """All live keys of one state of the file: the first signs, all verify."""

    def __init__(
        self, jwks: Mapping[str, Any], *, issuer: str, audience: str, clock: Callable[[], float] = time.time
    ) -> None:
        self.verifier = TokenVerifier(keys=jwks, issuer=issuer, audience=audience, clock=clock)
        # The verifier has checked that these are keys.
        keys = [key_secret(key) for key in jwks["keys"]]
        self.page_tokens = PageTokens(keys)
        self._count = len(keys)
        # Copied for each token: cheaper than keying anew.
        self._keyed = hmac.new(keys[0], digestmod="sha256")
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
        jwks = read_private_json(path)
        try:
            return cls(jwks, issuer=issuer, audience=audience, clock=clock)
        except InvalidTokenError as error:
            raise UnsafeFileError(f"The file {path} cannot be used for signing: {error}") from None

    def sign(self, *, client_id: str, merchant_id: str, scope: str, epoch: int, issued_at: int, expires_at: int) -> str:
        """A signed access token. Times are seconds since the epoch.

        The texts come from our own writer, whose forms hold no character that JSON would have to escape.
        """
        claims = self._claims % (
            client_id, issued_at, issued_at, expires_at, random_hex(), client_id, merchant_id, scope, epoch,
        )  # fmt: skip
        signing_input = f"{ENCODED_HEADER}.{_base64url(claims.encode())}"
        keyed = self._keyed.copy()
        keyed.update(signing_input.encode())
        return f"{signing_input}.{_base64url(keyed.digest())}"


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
