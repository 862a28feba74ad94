"""Pure rules of hand-overs: the forms of tokens and codes, the states of a link, whose page a request comes from."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

from ecross_server.handover.errors import UnusableBaseError
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.identifiers import BASE32, BASE62, random_text
from ecross_server.merchants.rules import Peppers

TOKEN: Final = re.compile(r"eho_[0-9A-Za-z]{32}")
"""The end of a link: 190 random bits. What it begins with lets logs blot it out."""

CODE_CHARACTERS: Final = 10
"""50 random bits, of use only together with the link, at five tries and then one a minute for each address."""

CODE_LABEL: Final = b"ecross hand-over code 1"
MISREAD: Final = str.maketrans({"0": "o", "1": "l", "8": "b", "-": "", " ": ""})
LONGEST_LIFE: Final = timedelta(days=30)
NONCE_LIFE: Final = timedelta(hours=1)
"""So long may a page lie open before its button is pressed."""

DENIAL_LIFE: Final = timedelta(days=7)
"""So long after a reveal may the holder of the link end the secret: an old message must not become a switch that turns
off what is in use."""


class State(StrEnum):
    """What has become of a hand-over."""

    OPEN = "open"
    REVEALED = "revealed"
    DENIED = "denied"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


class Act(StrEnum):
    """What the holder of a link can do."""

    REVEAL = "reveal"
    DENY = "deny"


def new_token() -> str:
    """The end of a new link."""
    return f"eho_{random_text(32, BASE62)}"


def token_digest(token: str) -> bytes:
    """All that is kept of a token. It has so many random bits that no key is needed."""
    return hashlib.sha256(token.encode()).digest()


def new_code() -> str:
    """A new code, as people are told it."""
    text = random_text(CODE_CHARACTERS, BASE32)
    return f"{text[: CODE_CHARACTERS // 2]}-{text[CODE_CHARACTERS // 2 :]}"


def code_digest(peppers: Peppers, pepper_id: str, hand_over_id: str, code: str) -> bytes | None:
    """All that is kept of a code, however it is typed; `None` without the pepper."""
    pepper = peppers.keys.get(pepper_id)
    if pepper is None:
        return None
    key = hmac.digest(pepper, CODE_LABEL, "sha256")
    return hmac.digest(key, f"{hand_over_id} {code.lower().translate(MISREAD)}".encode(errors="replace"), "sha256")


def state_of(
    now: datetime,
    *,
    expires_at: datetime,
    revealed_at: datetime | None,
    denied_at: datetime | None,
    cancelled_at: datetime | None,
) -> State:
    """What has become of it by now."""
    if denied_at is not None:
        return State.DENIED
    if revealed_at is not None:
        return State.REVEALED
    if cancelled_at is not None:
        return State.CANCELLED
    return State.OPEN if now < expires_at else State.EXPIRED


def check_life(path: str, life: timedelta) -> None:
    """Refuse a life that is too long for a link that lies in somebody's messages."""
    if life > LONGEST_LIFE:
        message = f"must be at most {LONGEST_LIFE.days}d"
        raise InvalidInputError(f"{path} {message}", (Fault(path, message),))


def check_base(url: str) -> str:
    """The beginning of every link.

    Raises:
        UnusableBaseError: if nobody could follow it, or others could read what it shows.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.port == 0:
        raise UnusableBaseError("the port of the server is not known")
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        is_local = host == "localhost"
    else:
        is_local = address.is_loopback
        if address.is_unspecified:
            raise UnusableBaseError(f"{host} is no address that anybody could call")
    if parts.scheme != "https" and not is_local:
        raise UnusableBaseError(f"{url} would carry the secret in clear")
    return url
