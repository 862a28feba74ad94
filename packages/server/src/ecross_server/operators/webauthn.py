"""Passkeys as browsers know them (Web Authentication, https://www.w3.org/TR/webauthn-3/): asked for, and checked."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import json
from base64 import urlsafe_b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ecross_server.operators.rules import CHALLENGE_LIFE, ISSUER

if TYPE_CHECKING:
    from fido2.server import Fido2Server

ALGORITHMS: Final = (-8, -7, -257)
"""Ed25519, ECDSA with P-256 and RSA with PKCS #1, all with SHA-256 or better; most devices know the second alone."""

LONGEST_ANSWER: Final = 12_000
LONGEST_ID: Final = 1023
"""WebAuthn, 4: a credential id."""

AAGUID_BYTES: Final = 16
LOCALHOST: Final = "localhost"

Options = Mapping[str, Any]


class WrongAnswerError(ValueError):
    """What came from the browser does not answer what was asked."""


@dataclass(frozen=True, slots=True)
class RelyingParty:
    """The console as browsers name it: passkeys made for it work nowhere else."""

    id: str
    origin: str

    @staticmethod
    def of(console_url: str) -> RelyingParty | None:
        """The console at this address; `None` where there can be none, as at a bare IP address.

        An address of this machine stands for `localhost`, which browsers take without TLS as well.
        """
        parts = urlsplit(console_url)
        host = parts.hostname or ""
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            is_own = host == LOCALHOST
        else:
            is_own = address.is_loopback
            if not is_own:
                return None
            host = LOCALHOST
        if not host or (parts.scheme != "https" and not is_own):
            return None
        port = "" if parts.port in {None, {"https": 443, "http": 80}.get(parts.scheme)} else f":{parts.port}"
        return RelyingParty(host, f"{parts.scheme}://{host}{port}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a browser sent, read but not checked."""

    content: Mapping[str, Any]
    credential_id: bytes
    challenge: bytes
    user_handle: bytes | None


@dataclass(frozen=True, slots=True)
class Created:
    """A new key pair's public half, as it is kept."""

    credential_id: bytes
    credential: bytes
    sign_count: int


def creation_options(
    party: RelyingParty, challenge: bytes, operator_id: str, name: str, known: Iterable[bytes]
) -> Options:
    """What `navigator.credentials.create` takes, with bytes in base64url: a key that knows by itself whose it is."""
    return {
        "rp": {"id": party.id, "name": f"{ISSUER} console"},
        "user": {"id": _text(user_handle(operator_id)), "name": operator_id, "displayName": name},
        "challenge": _text(challenge),
        "pubKeyCredParams": [{"type": "public-key", "alg": algorithm} for algorithm in ALGORITHMS],
        "excludeCredentials": [{"type": "public-key", "id": _text(each)} for each in known],
        "authenticatorSelection": {
            "residentKey": "required",
            "requireResidentKey": True,
            "userVerification": "required",
        },
        "attestation": "none",
        "timeout": _milliseconds(),
    }


def request_options(party: RelyingParty, challenge: bytes) -> Options:
    """What `navigator.credentials.get` takes, likewise. Whoever asks need not say who it is."""
    return {
        "rpId": party.id,
        "challenge": _text(challenge),
        "allowCredentials": [],
        "userVerification": "required",
        "timeout": _milliseconds(),
    }


def read_answer(text: str) -> Answer:
    """An answer to either, as `PublicKeyCredential.toJSON` writes it.

    Raises:
        WrongAnswerError: if it is none.
    """
    from fido2.webauthn import AuthenticationResponse, RegistrationResponse  # noqa: PLC0415 - few need it

    if len(text) > LONGEST_ANSWER:
        raise WrongAnswerError
    try:
        content = json.loads(text)
        is_new = "attestationObject" in content["response"]
        response = (RegistrationResponse if is_new else AuthenticationResponse).from_dict(content)
        challenge = response.response.client_data.challenge
        handle = None if is_new else response.response.user_handle
        is_ours = 0 < len(response.raw_id) <= LONGEST_ID and not response.response.client_data.cross_origin
    except Exception as error:  # whatever a stranger's bytes bring about
        raise WrongAnswerError from error
    if not is_ours:
        raise WrongAnswerError
    return Answer(content, bytes(response.raw_id), bytes(challenge), handle)


def check_creation(party: RelyingParty, answer: Answer) -> Created:
    """The new key, if the answer is right (WebAuthn, 7.1). Whoever calls has checked the challenge.

    Raises:
        WrongAnswerError: if anything is wrong with it.
    """
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - few need it
    from fido2.webauthn import AttestedCredentialData  # noqa: PLC0415

    try:
        data = _server(party).register_complete(_state(answer), answer.content)
        credential = AttestedCredentialData(bytes(data.credential_data or b""))
        with contextlib.suppress(InvalidSignature):  # whatever is no key, as a point off its curve, says so otherwise
            credential.public_key.verify(b"", b"")
    except Exception as error:
        raise WrongAnswerError from error
    if credential.credential_id != answer.credential_id or credential.public_key.ALGORITHM not in ALGORITHMS:
        raise WrongAnswerError
    return Created(answer.credential_id, bytes(credential), data.counter)


def check_request(party: RelyingParty, answer: Answer, credential: bytes) -> int:
    """The key's new count of signatures, if the answer is right (WebAuthn, 7.2). Whoever calls checks the challenge.

    Raises:
        WrongAnswerError: if anything is wrong with it.
    """
    from fido2.webauthn import AttestedCredentialData, AuthenticationResponse  # noqa: PLC0415 - few need it

    try:
        _server(party).authenticate_complete(_state(answer), [AttestedCredentialData(credential)], answer.content)
        return int(AuthenticationResponse.from_dict(answer.content).response.authenticator_data.counter)
    except Exception as error:
        raise WrongAnswerError from error


def credential_id_of(credential: bytes) -> bytes:
    """The id in what is kept of a passkey: WebAuthn, 6.5.1."""
    size = int.from_bytes(credential[AAGUID_BYTES : AAGUID_BYTES + 2], "big")
    return credential[AAGUID_BYTES + 2 :][:size]


def user_handle(operator_id: str) -> bytes:
    """What a passkey calls its operator: by it alone nobody is known."""
    return hashlib.sha256(b"ecross operator handle 1\0" + operator_id.encode()).digest()


def _server(party: RelyingParty) -> Fido2Server:
    from fido2.server import Fido2Server  # noqa: PLC0415 - few need it
    from fido2.webauthn import PublicKeyCredentialRpEntity  # noqa: PLC0415

    entity = PublicKeyCredentialRpEntity(id=party.id, name=f"{ISSUER} console")
    return Fido2Server(entity, verify_origin=lambda origin: origin == party.origin)


def _state(answer: Answer) -> Mapping[str, Any]:
    return {"challenge": _text(answer.challenge), "user_verification": "required"}


def _text(content: bytes) -> str:
    return urlsafe_b64encode(content).rstrip(b"=").decode()


def _milliseconds() -> int:
    return int(CHALLENGE_LIFE.total_seconds() * 1000)
