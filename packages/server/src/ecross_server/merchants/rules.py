"""Pure rules of credentials: their form, how they are made, and what is kept of a secret."""

from __future__ import annotations

import base64
import functools
import json
import math
import re
import secrets
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import IO, Any, Final, NamedTuple

from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.identifiers import BASE32, BASE62, base62, random_text
from ecross_server.kit.key_files import STARTS_AT, next_moment, position_in_use
from ecross_server.kit.keyed_hash import KeyedHash
from ecross_server.kit.networks import AllowedNetworks, in_order, parse_network

MERCHANT_ID: Final = re.compile(r"[A-Z0-9_]{2,32}")
CLIENT_ID: Final = re.compile(r"[a-z0-9_]{2,32}-[a-z2-7]{13}")
CLIENT_SECRET: Final = re.compile(r"ecs_[0-9A-Za-z]{49}")
SECRET_BYTES: Final = 53
SECRET_IN_BYTES: Final = re.compile(CLIENT_SECRET.pattern.encode())
"""The same in the midst of anything. Where one begins, no other can: in it there is but one `_`."""

RANDOM_CHARACTERS: Final = 43
"""So many base62 characters carry 256 bits."""

CHECK_CHARACTERS: Final = 6
"""So many base62 characters carry the CRC32 of all before them: a mistyped secret shows without a look-up."""

CHUNK: Final = 1024 * 1024
PEPPER_BYTES: Final = 32

NAME_CHARACTERS: Final = 200
LABEL_CHARACTERS: Final = 100
ADDRESS_CHARACTERS: Final = 64

MERCHANT_SCOPE: Final = "merchant"
"""The scope of a client that may do all its merchant may, which is the published behavior."""

READ: Final = ":read"
MERCHANT_READ_SCOPE: Final = f"{MERCHANT_SCOPE}{READ}"
"""The scope of a client that may read all that its merchant may read."""

API_GROUPS: Final = ("catalog", "inventory")
"""The groups of endpoints that scopes name, each with `:read` and `:write`; endpoints ask for no others."""

SCOPES: Final = (
    MERCHANT_SCOPE, MERCHANT_READ_SCOPE, *(f"{group}:{kind}" for group in API_GROUPS for kind in ("read", "write")),
)  # fmt: skip
"""All that a scope can be made of, in the order in which it is kept."""

MOST_NETWORKS: Final = 64
"""So many networks a client can be limited to: a list that nobody can look over protects nobody."""

LONGEST_SCOPE: Final = 1000

_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
LONGEST_DELAY: Final = timedelta(days=7)
_LONGEST_DURATION: Final = timedelta(days=36_500)
_DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([mhdw])")


class Sighting(NamedTuple):
    """A text of a secret's form whose check characters fit, and where it begins: line and byte of the line, from 1."""

    line: int
    column: int
    text: str

    def __repr__(self) -> str:
        return f"Sighting(line={self.line}, column={self.column})"


@dataclass(frozen=True, slots=True)
class Peppers:
    """The keys under which secrets are digested, kept outside the database. New digests use `current`."""

    current: str
    keys: Mapping[str, bytes] = field(repr=False)
    changes_at: float = field(default=math.inf, repr=False, compare=False)
    """When another one becomes current, in seconds since the epoch."""
    _hashes: Mapping[str, KeyedHash] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hashes", {name: KeyedHash(key) for name, key in self.keys.items()})

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def from_document(cls, content: Mapping[str, Any], now: float | None = None) -> Peppers:
        """The peppers of a peppers' file, the first that has started current.

        Raises:
            ValueError: if the content is of another form. Its text shows nothing of it.
        """
        now = time.time() if now is None else now
        entries, keys, current, changes_at = [], {}, "", math.inf
        try:
            entries = list(content["peppers"])
            keys = {entry["id"]: base64.urlsafe_b64decode(entry["value"]) for entry in entries}
            current = entries[position_in_use(entries, now)]["id"]
            changes_at = next_moment(entries, now, STARTS_AT)
        except (IndexError, KeyError, TypeError, ValueError):
            keys = {}
        is_fit = all(isinstance(name, str) and len(key) >= PEPPER_BYTES for name, key in keys.items())
        if not keys or len(keys) < len(entries) or not is_fit:
            raise ValueError("not a set of peppers")
        return cls(current, keys, changes_at)

    def digest(self, secret: str, pepper_id: str | None = None) -> bytes:
        """HMAC-SHA256 of the secret: all that is kept of it, and of no use without the pepper."""
        return self._hashes[pepper_id or self.current].digest(secret.encode())

    def digests(self, secret: str) -> dict[str, bytes]:
        """The secret's digest under every pepper: as much work for each secret, whichever it is kept under."""
        message = secret.encode()
        return {pepper_id: keyed.digest(message) for pepper_id, keyed in self._hashes.items()}


class Allowance(NamedTuple):
    """What a client may do, and from where: `networks` is None if from anywhere."""

    scope: str
    networks: AllowedNetworks | None


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a new client is to be limited to, as somebody asks for it; without `networks` it may call from anywhere."""

    scope: str = MERCHANT_SCOPE
    networks: Sequence[str] | None = None


UNRESTRICTED: Final = Restrictions()


@functools.lru_cache(maxsize=4096)
def allowance_of(scope: str, networks: str | None) -> Allowance:
    """The allowance that is kept as these texts. Equal ones are one object, so most clients' costs nothing."""
    if networks is None:
        return Allowance(scope, None)
    return Allowance(scope, AllowedNetworks.of([parse_network(text) for text in networks.split(" ")]))


def read_scope(text: str) -> str:
    """The scope as it is kept: each of its words once, in the order of `SCOPES`, none that another one includes.

    Raises:
        InvalidInputError: for words that are none, for none at all, and for `merchant` beside others, which it
            includes: who writes them wants to limit something.
    """
    words = set(text.split(" ")) - {""} if len(text) <= LONGEST_SCOPE else set()
    if not words or not words <= set(SCOPES):
        raise _invalid("scope", f"must be {MERCHANT_SCOPE}, or some of {', '.join(SCOPES[1:])}")
    if MERCHANT_SCOPE in words and len(words) > 1:
        raise _invalid("scope", f"cannot have {MERCHANT_SCOPE}, which allows everything, beside others")
    return " ".join(word for word in SCOPES if word in words and not allows(words - {word}, word))


def read_networks(texts: Sequence[str], path: str = "allow") -> str:
    """A list of networks as it is kept: each once, IPv4 before IPv6, in their order.

    Raises:
        InvalidInputError: for what is no network, and for none at all or more than 64; the fault names its place
            behind `path`.
    """
    if not 1 <= len(texts) <= MOST_NETWORKS:
        raise _invalid(path, f"must be 1 to {MOST_NETWORKS} networks")
    networks, faults = [], []
    for place, text in enumerate(texts):
        try:
            networks.append(parse_network(text))
        except ValueError as error:
            faults.append(Fault(f"{path}.{place}", str(error)))
    if faults:
        raise InvalidInputError(f"{faults[0].path} {faults[0].message}", tuple(faults))
    return " ".join(map(str, in_order(networks)))


def allows(scopes: AbstractSet[str], asked: str) -> bool:
    """Whether scopes allow what needs `asked`: that itself, `merchant`, or for reading `merchant:read`.

    To write is not to read: who may only send cannot look at what is there.
    """
    return asked in scopes or MERCHANT_SCOPE in scopes or (asked.endswith(READ) and MERCHANT_READ_SCOPE in scopes)


@functools.lru_cache(maxsize=1024)
def common_scopes(one: str, other: str) -> frozenset[str]:
    """What both scopes allow."""
    ours, others = frozenset(one.split()), frozenset(other.split())
    return frozenset({word for word in ours if allows(others, word)} | {word for word in others if allows(ours, word)})


def new_pepper(now: datetime) -> dict[str, Any]:
    """A fresh pepper, as an entry of a peppers' file."""
    value = base64.urlsafe_b64encode(secrets.token_bytes(PEPPER_BYTES)).decode()
    return {"id": secrets.token_hex(4), "value": value, "createdAt": rfc3339(now)}


def new_peppers(now: datetime) -> str:
    """The content of a peppers' file with one fresh pepper."""
    return json.dumps({"peppers": [new_pepper(now)]}, indent=2) + "\n"


def new_client_id(merchant_id: str) -> str:
    """A client id that tells its merchant and cannot be guessed (65 bits)."""
    return f"{merchant_id.lower()}-{random_text(13, BASE32)}"


def new_client_secret() -> str:
    """A client secret of 256 bits with its check characters."""
    body = f"ecs_{random_text(RANDOM_CHARACTERS, BASE62)}"
    return body + check_characters(body)


def check_characters(body: str) -> str:
    """The six characters that end a secret: the CRC32 of all before them, in base62."""
    return base62(zlib.crc32(body.encode()), CHECK_CHARACTERS)


def is_client_secret(text: str) -> bool:
    """Whether a text has the form of a client secret and its check characters fit."""
    return (
        CLIENT_SECRET.fullmatch(text) is not None
        and check_characters(text[:-CHECK_CHARACTERS]) == text[-CHECK_CHARACTERS:]
    )


def sightings(stream: IO[bytes]) -> Iterator[Sighting]:
    """All that may be secrets, in their order. However long the text and its lines are, little of it is kept."""
    line, column, rest = 1, 1, b""
    while chunk := stream.read(CHUNK):
        text = rest + chunk
        done = end = 0
        for match in SECRET_IN_BYTES.finditer(text):
            line, column = _place(line, column, text[done : match.start()])
            done, end = match.span()
            candidate = match[0].decode("ascii")
            if is_client_secret(candidate):
                yield Sighting(line, column, candidate)
        # A secret may begin in the last bytes and end in the next chunk; one that was seen is not seen again.
        kept_from = max(len(text) - SECRET_BYTES + 1, end)
        line, column = _place(line, column, text[done:kept_from])
        rest = text[kept_from:]


def _place(line: int, column: int, passed: bytes) -> tuple[int, int]:
    ends = passed.count(b"\n")
    return (line + ends, len(passed) - passed.rindex(b"\n")) if ends else (line, column + len(passed))


def check_merchant_id(merchant_id: str) -> None:
    """Refuse a merchant id of another form than `[A-Z0-9_]{2,32}`."""
    if MERCHANT_ID.fullmatch(merchant_id) is None:
        raise _invalid("id", "must be 2 to 32 of A-Z, 0-9 and _, such as ACME")


def check_text(path: str, text: str, longest: int) -> None:
    """Refuse a name or label that is empty, too long, or would disturb a table or a log."""
    if not text.strip() or len(text) > longest or not text.isprintable():
        raise _invalid(path, f"must be 1 to {longest} printable characters")


def parse_duration(path: str, text: str) -> timedelta:
    """A duration such as `90d`: a whole number with m, h, d or w, at most 100 years."""
    if match := _DURATION.fullmatch(text):
        duration = timedelta(**{_UNITS[match[2]]: int(match[1])})
        if duration <= _LONGEST_DURATION:
            return duration
    raise _invalid(path, "must be a whole number with m, h, d or w, such as 12h or 90d, and at most 36500d")


def parse_delay(path: str, text: str | None) -> timedelta:
    """How long a new key or pepper is only known, at most a week; none where nothing is said."""
    delay = timedelta(0) if text is None else parse_duration(path, text)
    if delay > LONGEST_DELAY:
        raise _invalid(path, f"must be at most {LONGEST_DELAY.days}d")
    return delay


def end_of(expires_at: datetime | None, retires_at: datetime | None) -> datetime | None:
    """When a secret ends by itself: the earlier of its two dates."""
    return min((each for each in (expires_at, retires_at) if each is not None), default=None)


def shown_status(status: str, expires_at: datetime | None, retires_at: datetime | None, now: datetime) -> str:
    """What a secret is at this moment: `active`, if it opens anything, else why not."""
    end = end_of(expires_at, retires_at)
    if status != "active" or end is None or now < end:
        return status
    return "retired" if end == retires_at else "expired"


def hour_of(seconds: float) -> int:
    """The hour in which a use at this instant is counted: its number since 1970, as the instant is in seconds."""
    return int(seconds // 3600)


def day_of(seconds: float) -> int:
    """The day, likewise."""
    return int(seconds // 86_400)


def _invalid(path: str, message: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {message}", (Fault(path, message),))
