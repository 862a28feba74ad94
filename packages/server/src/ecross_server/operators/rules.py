"""Pure rules of operators: roles, the forms of ids and passwords, one-time codes, and what is kept of each secret."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import unicodedata
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.identifiers import BASE32, BASE62, random_text

if TYPE_CHECKING:
    from pyotp import TOTP

OPERATOR_ID: Final = re.compile(r"[a-z][a-z0-9._-]{1,31}")
INVITATION_TOKEN: Final = re.compile(r"eoi_[0-9A-Za-z]{43}")
SESSION_VALUE: Final = re.compile(r"eos_[0-9A-Za-z]{43}")
CODE: Final = re.compile(r"[0-9]{6}")

RANDOM_CHARACTERS: Final = 43
"""So many base62 characters carry 256 bits."""

NAME_CHARACTERS: Final = 200
LABEL_CHARACTERS: Final = 64
ADDRESS_CHARACTERS: Final = 64
USER_AGENT_CHARACTERS: Final = 200
SHORTEST_PASSWORD: Final = 12
LONGEST_PASSWORD_BYTES: Final = 256
FEWEST_DIFFERENT_CHARACTERS: Final = 5

INVITATION_LIFE: Final = timedelta(hours=24)
LAST_SEEN_EVERY: Final = timedelta(minutes=1)
"""A session's use is kept no more often."""

STEP_SECONDS: Final = 30
STEPS_AROUND: Final = (0, -1, 1)
"""RFC 6238, 5.2: one step either way, for clocks that differ and people who type slowly."""

CHALLENGE_LIFE: Final = timedelta(minutes=10)
"""So long may pass until a passkey has answered."""

CHALLENGE_RANDOM: Final = 16
CHALLENGE_TIME: Final = 4
CHALLENGE_SEAL: Final = 16

SEED_BYTES: Final = 20
NONCE_BYTES: Final = 12
ISSUER: Final = "e-CROSS"

PASSWORD_LABEL: Final = b"ecross operator password 1"
SEED_LABEL: Final = b"ecross operator totp seed 1"
ENROLMENT_LABEL: Final = b"ecross operator enrolment 1"
PASSKEY_LABEL: Final = b"ecross operator passkey 1"
CHALLENGE_LABEL: Final = b"ecross operator passkey challenge 1"

COMMON_PASSWORDS: Final = frozenset({
    "123456789012", "1234567890123", "12345678901234", "123456789abc", "1234567890ab", "1q2w3e4r5t6y", "1qaz2wsx3edc",
    "abcdefghijkl", "abcdefghijklm", "abcd1234abcd", "administrator", "administrator1", "asdfghjkl123",
    "changeme1234", "changemenow1", "correcthorsebatterystaple", "footballfootball", "helloworld123", "iloveyou1234",
    "iloveyouiloveyou", "letmein12345", "letmeinplease", "masterpassword", "mypassword123", "mypassword1234",
    "newpassword123", "passw0rd1234", "password0123", "password1234", "password12345", "password123456",
    "passwordpassword", "p@ssword1234", "p@ssw0rd1234", "p@ssw0rd12345", "q1w2e3r4t5y6", "qazwsxedcrfv",
    "qwerty123456", "qwerty1234567", "qwertyqwerty", "qwertyuiop12", "qwertyuiop123", "qwertyuiop[]", "qwertyuiopas",
    "sunshine1234", "superman1234", "trustno1trustno1", "unbelievable", "welcome12345", "welcomewelcome",
    "whatever1234", "zaq12wsxcde3", "zxcvbnm12345",
})  # fmt: skip
"""The commonest of sufficient length: whoever guesses begins with them."""


class Role(StrEnum):
    """What an operator may do; each role includes the one before it."""

    VIEWER = "viewer"
    REPRESENTATIVE = "representative"
    OWNER = "owner"

    def includes(self, other: Role) -> bool:
        """Whether who has this role may do what the other one may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


class Status(StrEnum):
    """Whether an operator can sign in: `invited` has never enrolled."""

    INVITED = "invited"
    ACTIVE = "active"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody who administers this server. Its epoch must stand in an administration token."""

    operator_id: str
    name: str
    role: Role
    status: Status
    created_at: datetime
    last_signed_in_at: datetime | None
    has_password: bool
    has_totp: bool
    epoch: int


@dataclass(frozen=True, slots=True)
class Passkey:
    """A key of an operator's device or password manager, which opens the console."""

    passkey_id: str
    operator_id: str
    label: str
    created_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionEnds:
    """When sessions end by themselves: after so long without use, and after so long in any case."""

    idle: timedelta = timedelta(minutes=30)
    absolute: timedelta = timedelta(hours=12)

    @classmethod
    def of_seconds(cls, idle: int, absolute: int) -> SessionEnds:
        """As the settings have them."""
        return cls(timedelta(seconds=idle), timedelta(seconds=absolute))


@dataclass(frozen=True, slots=True)
class OperatorKeys:
    """The peppers, of which keys for passwords and seeds are derived: each for one purpose and one operator.

    So nobody who can write to the database can give one operator another's password, and nobody who reads it can guess.
    """

    current: str
    peppers: Mapping[str, bytes] = field(repr=False)

    def new_password_message(self, operator_id: str, password: str) -> bytes:
        """What Argon2 hashes instead of the password, under the current pepper."""
        key = _key(self.peppers[self.current], PASSWORD_LABEL, operator_id)
        return hmac.digest(key, normalized(password).encode(), "sha256")

    def password_message(self, pepper_id: str, operator_id: str, password: str) -> bytes | None:
        """What was hashed under that pepper, if this is the password; `None` without the pepper."""
        if pepper_id not in self.peppers:
            return None
        return OperatorKeys(pepper_id, self.peppers).new_password_message(operator_id, password)

    def seal_seed(self, operator_id: str, seed: bytes) -> bytes:
        """The seed under the current pepper, to be kept."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - memory, as in `_totp`

        key = hmac.digest(self.peppers[self.current], SEED_LABEL, "sha256")
        nonce = os.urandom(NONCE_BYTES)
        return nonce + AESGCM(key).encrypt(nonce, seed, operator_id.encode())

    def open_seed(self, pepper_id: str, operator_id: str, sealed: bytes) -> bytes | None:
        """The seed again; `None` if the pepper is gone, or it was sealed for another operator."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - memory, as in `_totp`
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        pepper = self.peppers.get(pepper_id)
        if pepper is None:
            return None
        cipher = AESGCM(hmac.digest(pepper, SEED_LABEL, "sha256"))
        try:
            return cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], operator_id.encode())
        except (InvalidTag, ValueError):  # a nonce that was cut off is the latter
            return None

    def enrolment_seed(self, pepper_id: str, operator_id: str, token: str) -> bytes | None:
        """The seed of an invitation: the same each time it is looked at, and kept nowhere; `None` without the pepper.

        The token alone does not give it, so an old message is no second factor.
        """
        pepper = self.peppers.get(pepper_id)
        if pepper is None:
            return None
        return hmac.digest(_key(pepper, ENROLMENT_LABEL, operator_id), token.encode(), "sha256")[:SEED_BYTES]

    def seal_passkey(self, operator_id: str, passkey_id: str, credential: bytes) -> bytes:
        """What shows that this server has put the passkey to the operator, under the current pepper."""
        key = _key(self.peppers[self.current], PASSKEY_LABEL, operator_id)
        return hmac.digest(key, passkey_id.encode() + b"\0" + credential, "sha256")

    def is_sealed(self, pepper_id: str, operator_id: str, passkey_id: str, credential: bytes, seal: bytes) -> bool:
        """Whether the seal is that of `seal_passkey` under that pepper."""
        if pepper_id not in self.peppers:
            return False
        return hmac.compare_digest(
            OperatorKeys(pepper_id, self.peppers).seal_passkey(operator_id, passkey_id, credential), seal
        )

    def new_challenge(self, purpose: str, now: datetime) -> bytes:
        """What a passkey is to sign for this purpose and no other, within `CHALLENGE_LIFE`. It is kept nowhere."""
        ends_at = int((now + CHALLENGE_LIFE).timestamp())
        content = os.urandom(CHALLENGE_RANDOM) + ends_at.to_bytes(CHALLENGE_TIME, "big")
        return content + _challenge_seal(self.peppers[self.current], content, purpose)

    def challenge_end(self, challenge: bytes, purpose: str) -> datetime | None:
        """Until when the challenge is good; `None` if it was not made here, or for another purpose."""
        content, seal = challenge[:-CHALLENGE_SEAL], challenge[-CHALLENGE_SEAL:]
        is_ours = len(content) == CHALLENGE_RANDOM + CHALLENGE_TIME and any(
            hmac.compare_digest(_challenge_seal(pepper, content, purpose), seal) for pepper in self.peppers.values()
        )
        return datetime.fromtimestamp(int.from_bytes(content[CHALLENGE_RANDOM:], "big"), UTC) if is_ours else None


def new_invitation_token() -> str:
    """A new invitation's token. What it begins with lets logs blot it out."""
    return f"eoi_{random_text(RANDOM_CHARACTERS, BASE62)}"


def new_session_value() -> str:
    """What the cookie of a new session holds, likewise."""
    return f"eos_{random_text(RANDOM_CHARACTERS, BASE62)}"


def new_session_id() -> str:
    """The name of a session, which opens nothing."""
    return f"ses_{random_text(13, BASE32)}"


def new_passkey_id() -> str:
    """The name of a passkey, which opens nothing."""
    return f"psk_{random_text(13, BASE32)}"


def digest_of(value: str) -> bytes:
    """All that is kept of a token or a cookie's value. They have so many random bits that no key is needed."""
    return hashlib.sha256(value.encode()).digest()


def normalized(password: str) -> str:
    """The password as it is hashed: other keyboards may compose the same characters in other ways."""
    return unicodedata.normalize("NFC", password)


def check_operator_id(operator_id: str) -> None:
    """Refuse an operator id of another form than `[a-z][a-z0-9._-]{1,31}`."""
    if OPERATOR_ID.fullmatch(operator_id) is None:
        raise _invalid("id", "must be 2 to 32 of a-z, 0-9, '.', '_' and '-', with a letter first, such as jane")


def check_name(name: str) -> None:
    """Refuse a name that is empty, too long, or would disturb a table or a log."""
    if not name.strip() or len(name) > NAME_CHARACTERS or not name.isprintable():
        raise _invalid("name", f"must be 1 to {NAME_CHARACTERS} printable characters")


def check_passkey_label(label: str) -> None:
    """Refuse a label by which nobody would know the passkey again."""
    if not label.strip() or len(label) > LABEL_CHARACTERS or not label.isprintable():
        raise _invalid("label", f"must be 1 to {LABEL_CHARACTERS} printable characters, such as Jane's laptop")


def read_role(role: str) -> Role:
    """The role of this name.

    Raises:
        InvalidInputError: if there is none.
    """
    try:
        return Role(role)
    except ValueError:
        raise _invalid("role", f"must be one of {', '.join(Role)}") from None


def check_password(password: str, *, operator_id: str, name: str) -> None:
    """Refuse a password that could be guessed, or would not be a text everywhere. Nothing is asked of its characters.

    Raises:
        InvalidInputError: saying what is asked for, never what was given.
    """
    try:
        size = len(normalized(password).encode())
    except UnicodeEncodeError:
        raise _invalid("password", "must be UTF-8") from None
    if len(password) < SHORTEST_PASSWORD or size > LONGEST_PASSWORD_BYTES:
        raise _invalid(
            "password", f"must have {SHORTEST_PASSWORD} characters or more, {LONGEST_PASSWORD_BYTES} bytes at most"
        )
    folded = password.casefold()
    is_common = folded in COMMON_PASSWORDS or len(set(folded)) < FEWEST_DIFFERENT_CHARACTERS
    if is_common or folded.strip() in {operator_id.casefold(), name.casefold().strip()}:
        raise _invalid("password", "is one of those that are guessed first. Take another one, such as four words")


def matching_step(seed: bytes, code: str, at: datetime) -> int | None:
    """The time step whose code this is, by RFC 6238 (SHA-1, 30 seconds, 6 digits); `None` if it is none of now."""
    given = code.replace(" ", "")
    if CODE.fullmatch(given) is None:
        return None
    totp = _totp(seed)
    now = int(at.timestamp()) // STEP_SECONDS
    found = None
    for step in (now + around for around in STEPS_AROUND):  # each is compared, whichever fits
        if hmac.compare_digest(totp.generate_otp(step), given) and found is None:
            found = step
    return found


def shown_seed(seed: bytes) -> str:
    """The seed as people type it into an authenticator: base32."""
    return b32encode(seed).decode()


def seed_uri(seed: bytes, operator_id: str) -> str:
    """The seed as authenticators read it from a QR code."""
    return _totp(seed).provisioning_uri(name=operator_id, issuer_name=ISSUER)


def _totp(seed: bytes) -> TOTP:
    from pyotp import TOTP  # noqa: PLC0415 - memory: workers need the rules of operators, and none of this

    return TOTP(shown_seed(seed))


def _key(pepper: bytes, label: bytes, operator_id: str) -> bytes:
    return hmac.digest(pepper, label + b"\0" + operator_id.encode(), "sha256")


def _challenge_seal(pepper: bytes, content: bytes, purpose: str) -> bytes:
    key = hmac.digest(pepper, CHALLENGE_LABEL, "sha256")
    return hmac.digest(key, content + purpose.encode(), "sha256")[:CHALLENGE_SEAL]


def _invalid(path: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {message}", (Fault(path, message),))
