"""Pure rules of the audit trail: what a record holds, how it is made harmless, and how records are chained."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ecross_server.kit.logs import redact

ISSUE_TOKEN: Final = "token.issue"  # noqa: S105 - an action
ISSUED: Final = "issued"
LOSE: Final = "audit.loss"
BREAK: Final = "audit.break"
"""The action of the record that tells that the chain's end did not carry its signature when it was written on."""

RECORDER: Final = "system:recorder"
ANONYMOUS: Final = "anonymous"

HEAD: Final = "head"
ANCHOR: Final = "anchor"

MOST_RECORDS: Final = 10_000
"""No batch has more: whoever reads one knows how much that may be."""

LONGEST_TEXT: Final = 300
USUAL_ROW: Final = 500
"""A row of JSON is usually shorter."""

LATEST: Final = 1 << 62

FINGERPRINT_DIGITS: Final = 16

_dumps = json.JSONEncoder(separators=(",", ":")).encode
"""Injective over what is kept: texts without surrogates, whole numbers and null; all of it in ASCII."""


@dataclass(frozen=True, slots=True)
class AuditKeys:
    """The keys of the chain by their peppers' ids, and the one under which presented secrets are told apart."""

    current: str
    chain: Mapping[str, bytes] = field(repr=False)
    fingerprint: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, such as `operator:root`, from where, in which request; and the keys under which it is recorded."""

    name: str
    keys: AuditKeys = field(repr=False)
    address: str | None = None
    request_id: str | None = None


class TokenEvent(NamedTuple):
    """What came of one request for a token.

    `client_id` is `None` where what was presented is no client id, for it may be a secret in the wrong place.
    `evidence` is the peppered digest of a secret that failed.
    """

    at: float
    outcome: str
    client_id: str | None
    merchant_id: str | None
    address: str
    request_id: str
    secret_id: str | None
    token_id: str | None
    evidence: bytes | None


class Draft(NamedTuple):
    """A record that has no number yet. `at` is in microseconds, `details` a JSON object."""

    at: int
    actor: str
    action: str
    merchant_id: str | None
    client_id: str | None
    outcome: str
    address: str | None
    request_id: str | None
    token_id: str | None
    secret_id: str | None
    details: str | None


Row = tuple[Any, ...]
"""A record as it is kept and hashed: its number, then a draft's fields."""


class Mark(NamedTuple):
    """A signed place in the chain: the batch up to which it goes, with the last record's number."""

    name: str
    number: int
    seq: int
    hash: bytes
    batch_key_id: str
    key_id: str
    mac: bytes


class Batch(NamedTuple):
    """A link of the chain."""

    number: int
    first_seq: int
    size: int
    at: int
    key_id: str
    previous_hash: bytes
    hash: bytes

    @property
    def last_seq(self) -> int:
        """The number of its last record."""
        return self.first_seq + self.size - 1


def derive_keys(current: str, peppers: Mapping[str, bytes]) -> AuditKeys:
    """The audit trail's keys, each derived from a pepper for its one purpose."""
    return AuditKeys(
        current,
        {pepper_id: _derived(pepper, b"ecross audit chain 1") for pepper_id, pepper in peppers.items()},
        _derived(peppers[current], b"ecross audit fingerprint 1"),
    )


def fingerprint(keys: AuditKeys, evidence: bytes) -> str:
    """What tells presented secrets apart, and says nothing of them to whoever has no key."""
    return hmac.digest(keys.fingerprint, evidence, "sha256").hex()[:FINGERPRINT_DIGITS]


def details_of(values: Mapping[str, object]) -> str | None:
    """The details of a record as a JSON object, harmless whatever they hold."""
    kept = {name: value if isinstance(value, int) else _harmless(str(value)) for name, value in values.items()}
    return json.dumps(kept, separators=(",", ":"), sort_keys=True) if kept else None


def rows_of(drafts: Sequence[Draft], first_seq: int) -> tuple[Sequence[Row], str]:
    """The rows of records from a number on, and the same as JSON. Nothing in them can inject or tell a secret."""
    rows: list[Row] = [(seq, *draft) for seq, draft in enumerate(drafts, first_seq)]
    text = _dumps(rows)
    # JSON escapes all that could do harm, so one look at the whole is enough where there is nothing, as nearly always.
    if (
        "\\" in text
        or "\x7f" in text
        or "ecs_" in text
        or "eho_" in text
        or "eyJ" in text
        or len(text) > USUAL_ROW * len(rows)
    ):
        rows = [tuple(_harmless_field(value) for value in row[:-1]) + row[-1:] for row in rows]
        text = _dumps(rows)
    return rows, text


def is_sound(draft: tuple[Any, ...]) -> bool:
    """Whether it can be kept at all: texts, a time that fits its column, nothing else."""
    at, *texts = draft
    return isinstance(at, int) and abs(at) < LATEST and all(value is None or isinstance(value, str) for value in texts)


def batch_hash(keys: AuditKeys, batch: Batch, previous_key_id: str, rows_json: str) -> bytes | None:
    """The link's hash: of the one before, of its own columns and all of its records. `None` without its key."""
    key = keys.chain.get(batch.key_id)
    if key is None:
        return None
    start = _dumps(["batch", batch.previous_hash.hex(), previous_key_id, *batch[:5]])
    return hmac.digest(key, f"{start}{rows_json}".encode(), "sha256")


def rows_json(rows: Iterable[Row]) -> str:
    """Rows that were read, as they were hashed when they were written.

    Raises:
        TypeError: if they hold what no record can.
    """
    return _dumps(list(map(tuple, rows)))


def record_hash(batch_hash_value: object, row: Row) -> str | None:
    """What stands for one record: it follows from the record and its batch's hash, so anybody can check it.

    `None` where somebody has made of either what has no hash.
    """
    if not isinstance(batch_hash_value, bytes):
        return None
    try:
        return hashlib.sha256(batch_hash_value + _dumps(row).encode()).hexdigest()
    except TypeError:
        return None


def signed_mark(keys: AuditKeys, name: str, batch: Batch) -> Mark:
    """A mark at the batch."""
    return signed_again(keys, Mark(name, batch.number, batch.last_seq, batch.hash, batch.key_id, "", b""))


def signed_again(keys: AuditKeys, mark: Mark) -> Mark:
    """The mark under the current key."""
    unsigned = mark._replace(key_id=keys.current)
    return unsigned._replace(mac=_mark_mac(keys.chain[keys.current], unsigned))


def is_genuine(keys: AuditKeys, mark: Mark) -> bool | None:
    """Whether the mark was signed; `None` where its key is gone. One at the chain's very beginning has no signature."""
    if not mark.key_id:
        return mark[1:] == (0, 0, bytes(32), "", "", b"")
    key = keys.chain.get(mark.key_id)
    try:
        return None if key is None else hmac.compare_digest(_mark_mac(key, mark), mark.mac)
    except (TypeError, AttributeError):  # somebody has put in a column what is of another kind
        return False


def _mark_mac(key: bytes, mark: Mark) -> bytes:
    content = _dumps(["mark", mark.name, mark.number, mark.seq, mark.hash.hex(), mark.batch_key_id, mark.key_id])
    return hmac.digest(key, content.encode(), "sha256")


def _derived(pepper: bytes, purpose: bytes) -> bytes:
    return hmac.digest(pepper, purpose, "sha256")


def _harmless_field(value: str | int | None) -> str | int | None:
    return _harmless(value) if isinstance(value, str) else value


def _harmless(text: str) -> str:
    """The text without secrets, on one line, with all that could command a terminal written out, and not too long."""
    cut = redact(text)[:LONGEST_TEXT]
    if cut.isprintable():
        return cut
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in cut
    )
