"""One SKU or stock record of a source in its one written form, and what is told of one that has none."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from ecross._transport.senders import encode_decimal
from ecross.jws import StrictJsonError, loads_strict


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be sent of one line. `key` is what it is sent with, `id` what must not be there twice."""

    line: int
    key: str
    id: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Row:
    """One line as it was read: what could be, and what could not, each with its path."""

    line: int
    content: Mapping[str, object]
    faults: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a line cannot be sent. `key` is what it belongs to, where that can be told."""

    line: int
    key: str | None
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the server shows of an entry. `digest` is that of the body it stands for, where all of it is shown."""

    id: str
    key: str
    date: datetime | None
    is_deleted: bool = False
    digest: bytes | None = None


class UnwritableError(Exception):
    """What has no JSON; the message says why, without the value."""


def write(value: object) -> bytes:
    """JSON in its one form: names in order, numbers by their value, nothing between. Raises `UnwritableError`.

    So a line is the same one however its file was written.
    """
    try:
        return _encoder.encode(value).encode()
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        pass
    raise UnwritableError("must be made of what JSON has, its numbers of at most 15 digits")


def read_object(text: bytes) -> Mapping[str, object]:
    """The object that strict JSON stands for, its numbers exact. Raises `UnwritableError` for anything else."""
    try:
        value = loads_strict(text, exact=True)
    except StrictJsonError as error:
        fault = str(error).replace("at line 1, column", "at character")
    else:
        if isinstance(value, dict):
            return value
        fault = "must be an object"
    raise UnwritableError(fault)


def digest_of(bodies: Iterable[bytes]) -> bytes:
    """What tells these bodies, in this order, from all others."""
    return hashlib.blake2b(b"\n".join(bodies), digest_size=16).digest()


_encoder = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, allow_nan=False, separators=(",", ":"), default=encode_decimal
)
