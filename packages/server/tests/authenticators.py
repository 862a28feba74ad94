"""An authenticator that makes and uses passkeys as a device does (WebAuthn, 6), and gets wrong what it is told to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES256, CoseKey
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import Aaguid, AttestationObject, AttestedCredentialData, AuthenticatorData, CollectedClientData

FLAG = AuthenticatorData.FLAG


@dataclass
class Device:
    """Holds one passkey. Whoever has it can have it say what no honest one would."""

    origin: str = "https://console.example.com"
    party_id: str = "console.example.com"
    flags: int = FLAG.UP | FLAG.UV
    counts: bool = True
    credential_id: bytes = field(default_factory=lambda: os.urandom(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False)
    kind: type[CoseKey] = ES256
    count: int = 0
    handle: bytes | None = None

    def create(self, options: Mapping[str, Any], **changes: Any) -> str:
        """What the browser says of the new passkey, as JSON."""
        self.handle = websafe_decode(options["user"]["id"])
        public = self.kind.from_cryptography_key(self.key.public_key())
        attested = AttestedCredentialData.create(Aaguid.NONE, self.credential_id, public)
        data = self._data(FLAG.AT, attested)
        response = {
            "clientDataJSON": websafe_encode(self._client_data("webauthn.create", options, **changes)),
            "attestationObject": websafe_encode(AttestationObject.create("none", data, {})),
        }
        return self._said(response)

    def get(self, options: Mapping[str, Any], **changes: Any) -> str:
        """What the browser says to a challenge, as JSON."""
        client_data = self._client_data("webauthn.get", options, **changes)
        data = self._data()
        signature = self.key.sign(data + hashlib.sha256(client_data).digest(), ec.ECDSA(hashes.SHA256()))
        response = {
            "clientDataJSON": websafe_encode(client_data),
            "authenticatorData": websafe_encode(data),
            "signature": websafe_encode(signature),
        }
        if self.handle is not None:
            response["userHandle"] = websafe_encode(self.handle)
        return self._said(response)

    def _client_data(self, kind: str, options: Mapping[str, Any], **changes: Any) -> bytes:
        said = {
            "type": kind,
            "challenge": options["challenge"],
            "origin": self.origin,
            "cross_origin": False,
            **changes,
        }
        return CollectedClientData.create(**said)

    def _data(self, more: int = 0, attested: bytes = b"") -> AuthenticatorData:
        self.count += self.counts
        return AuthenticatorData.create(  # type: ignore[no-any-return]
            hashlib.sha256(self.party_id.encode()).digest(), FLAG(self.flags | more), self.count, attested
        )

    def _said(self, response: Mapping[str, str]) -> str:
        name = websafe_encode(self.credential_id)
        return json.dumps({
            "id": name, "rawId": name, "type": "public-key", "response": response, "clientExtensionResults": {},
        })  # fmt: skip
