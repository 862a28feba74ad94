"""Administration tokens: JWTs of a type, an audience and a key of their own, so that no verifier can mistake them.

Their key is derived from a signing key and a pepper. Signing keys are exported to services that verify merchants'
tokens; peppers never leave the servers, so none of those services can make an administration token.
"""

from __future__ import annotations

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from ecross.jws import HmacKey, InvalidTokenError, StrictJsonError, loads_strict, token_bytes, verify_any
from ecross_server.admin.errors import InvalidAdminTokenError
from ecross_server.auth.tokens import KeySet, live_secrets
from ecross_server.kit.identifiers import random_hex
from ecross_server.kit.key_files import WatchedFile
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants.rules import Peppers
from ecross_server.operators.rules import Operator, Role

TYPE: Final = "ecross-admin+jwt"
KEY_LABEL: Final = b"ecross administration tokens 1"
KEY_BYTES: Final = 32

HEADER: Final = urlsafe_b64encode(json.dumps({"alg": "HS256", "typ": TYPE}, separators=(",", ":")).encode()).rstrip(
    b"="
)
"""The one header that is issued, and the only one that is accepted."""


@dataclass(frozen=True, slots=True)
class AdminClaims:
    """Whom a good token names. Whether it still counts, the operator's present epoch tells."""

    operator_id: str
    role: Role
    epoch: int
    expires_at: int
    token_id: str


@dataclass(frozen=True, slots=True)
class IssuedAdminToken:
    """A token and its life in seconds."""

    token: str = field(repr=False)
    expires_in: int
    token_id: str


class SigningSecrets:
    """The live keys of one state of the signing keys' file, the one that signs first."""

    def __init__(self, jwks: Mapping[str, Any], path: Path, *, now: float) -> None:
        """Raises `UnsafeFileError` if the file's content cannot be used."""
        checked = KeySet.from_document(jwks, path, issuer="any", audience="any", clock=lambda: now)
        self.changes_at = checked.changes_at
        self.secrets = live_secrets(jwks, now)

    def __len__(self) -> int:
        return len(self.secrets)


class AdminKeys:
    """The keys that are derived from signing keys and peppers: the first signs, all verify."""

    def __init__(self, signing: SigningSecrets, peppers: Peppers) -> None:
        self.sources = (signing, peppers)
        older = [pepper for name, pepper in peppers.keys.items() if name != peppers.current]
        ordered = (peppers.keys[peppers.current], *older)
        secrets = [_derived(secret, pepper) for pepper in ordered for secret in signing.secrets]
        self.signing = secrets[0]
        self.verifying = tuple(HmacKey(secret) for secret in secrets)
        self.page_tokens = PageTokens(secrets)

    def __repr__(self) -> str:
        return f"AdminKeys({len(self.verifying)} keys)"


class AdminTokens:
    """Issues and reads administration tokens. Changed files of keys and peppers are noticed at the next call."""

    def __init__(
        self,
        signing_keys_file: Path,
        peppers: Callable[[], Peppers],
        *,
        issuer: str,
        audience: str,
        lifetime_seconds: int,
        clock: Callable[[], float],
    ) -> None:
        self._signing = WatchedFile(
            signing_keys_file,
            lambda jwks, now: SigningSecrets(jwks, signing_keys_file, now=now),
            name="signing_keys",
            clock=clock,
        )
        self._peppers = peppers
        self._keys = AdminKeys(self._signing.content, peppers())
        self._issuer = issuer
        self._audience = audience
        self._lifetime = lifetime_seconds
        self._clock = clock

    @property
    def page_tokens(self) -> PageTokens:
        """What signs page tokens."""
        return self._present().page_tokens

    def issue(self, operator: Operator) -> IssuedAdminToken:
        """A token for the operator."""
        now = int(self._clock())
        token_id = random_hex()
        claims = {
            "iss": self._issuer, "sub": operator.operator_id, "aud": self._audience, "iat": now, "nbf": now,
            "exp": now + self._lifetime, "jti": token_id, "role": operator.role, "epoch": operator.epoch,
        }  # fmt: skip
        signing_input = HEADER + b"." + _base64url(json.dumps(claims, separators=(",", ":")).encode())
        signature = hmac.digest(self._present().signing, signing_input, "sha256")
        return IssuedAdminToken(f"{signing_input.decode()}.{_base64url(signature).decode()}", self._lifetime, token_id)

    def read(self, token: str) -> AdminClaims:
        """What an authentic token of this moment says.

        Raises:
            InvalidAdminTokenError: for all others, merchants' tokens among them.
        """
        keys = self._present()
        try:
            compact = token_bytes(token)
            if not compact.startswith(HEADER + b"."):
                raise InvalidAdminTokenError("other_type")
            claims = loads_strict(verify_any(compact, keys.verifying, typ=TYPE))
        except (InvalidTokenError, StrictJsonError) as error:
            raise InvalidAdminTokenError(getattr(error, "reason", "bad_claims")) from None
        return self._checked(claims)

    def _checked(self, claims: object) -> AdminClaims:
        now = self._clock()
        match claims:
            case {
                "iss": self._issuer, "aud": self._audience, "sub": str(operator_id), "role": str(role),
                "epoch": int(epoch), "nbf": int(not_before), "exp": int(expires_at), "jti": str(token_id),
            }:  # fmt: skip
                pass
            case _:
                raise InvalidAdminTokenError("bad_claims")
        if not not_before <= now < expires_at:
            raise InvalidAdminTokenError("expired")
        if role not in set(Role):
            raise InvalidAdminTokenError("bad_claims")
        return AdminClaims(operator_id, Role(role), epoch, expires_at, token_id)

    def _present(self) -> AdminKeys:
        self._signing.take_changes()
        sources = (self._signing.content, self._peppers())
        keys = self._keys
        if any(old is not new for old, new in zip(keys.sources, sources, strict=True)):
            keys = self._keys = AdminKeys(*sources)
        return keys


def _derived(secret: bytes, pepper: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=pepper, info=KEY_LABEL).derive(secret)


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
