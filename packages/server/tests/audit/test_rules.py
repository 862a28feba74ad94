from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.audit import rules
from ecross_server.audit.rules import AuditKeys, Batch, Draft

SECRET = "ecs_" + "a1B2" * 12 + "x"

anything = st.text(max_size=40) | st.text(st.characters(categories=("Cc", "Cf", "Cs", "Zl", "Zp")), max_size=10)
maybe = st.none() | anything
drafts = st.builds(
    Draft,
    at=st.integers(0, 2**53),
    actor=anything,
    action=anything,
    merchant_id=maybe,
    client_id=maybe,
    outcome=anything,
    address=maybe,
    request_id=maybe,
    token_id=maybe,
    secret_id=maybe,
    details=st.none() | st.dictionaries(anything, anything, max_size=2).map(rules.details_of),
)
batches = st.lists(drafts, min_size=1, max_size=4)


@given(batches)
def test_no_text_of_a_row_can_begin_a_line_or_command_a_terminal(given_drafts: list[Draft]) -> None:
    rows, text = rules.rows_of(given_drafts, 1)
    assert all(value.isprintable() for row in rows for value in row if isinstance(value, str))
    assert text.isascii()
    assert text.isprintable()


@given(batches)
def test_what_is_hashed_is_exactly_what_is_kept(given_drafts: list[Draft]) -> None:
    rows, text = rules.rows_of(given_drafts, 7)
    assert [tuple(row) for row in json.loads(text)] == rows
    assert rules.rows_json(tuple(row) for row in rows) == text
    assert [row[0] for row in rows] == list(range(7, 7 + len(rows)))


@given(batches, batches)
def test_different_rows_are_never_written_alike(some: list[Draft], others: list[Draft]) -> None:
    (rows, text), (other_rows, other_text) = rules.rows_of(some, 1), rules.rows_of(others, 1)
    assert (rows == other_rows) == (text == other_text)


@given(drafts, st.sampled_from(range(11)), maybe)
def test_a_change_of_any_field_changes_the_hash(draft: Draft, place: int, value: str | None) -> None:
    keys = rules.derive_keys("one", {"one": bytes(32)})
    [row], text = rules.rows_of([draft], 1)
    changed = (*row[: place + 1], value, *row[place + 2 :])
    batch = Batch(1, 1, 1, 5, "one", bytes(32), b"")
    made = rules.batch_hash(keys, batch, "", text)
    assert (rules.batch_hash(keys, batch, "", rules.rows_json([changed])) == made) == (changed == row)
    assert (rules.record_hash(bytes(32), changed) == rules.record_hash(bytes(32), row)) == (changed == row)


def test_harmless_texts_are_kept_as_they_are(draft: Callable[..., Draft]) -> None:
    fields = {"actor": "operator:zoë", "merchant_id": "ACME", "details": '{"name":"Acme & S\\u00f6hne"}'}
    [row], _ = rules.rows_of([draft(**fields)], 1)
    assert row[1:] == draft(**fields)


@pytest.mark.parametrize("name", ["actor", "action", "merchant_id", "client_id", "outcome", "address", "request_id"])
@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ('a\n{"seq": 1}', 'a\\n{"seq": 1}'),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x7f", "\\x7f"),
        ("\ud800", "\\ud800"),
        ("\0", "\\x00"),
        ("\u202e", "\\u202e"),
        ('","x', '","x'),
        (SECRET, "[redacted]"),
        ("eyJhbGciOiJIUzI1NiJ9.e30.x", "[redacted]"),
        ("x" * 600, "x" * 300),
    ],
)
def test_nothing_can_be_injected_through_a_field(draft: Callable[..., Draft], name: str, text: str, kept: str) -> None:
    [row], _ = rules.rows_of([draft(**{name: text})], 1)
    assert Draft._make(row[1:]) == draft(**{name: kept})


def test_details_are_a_harmless_object_in_a_fixed_order() -> None:
    assert rules.details_of({}) is None
    assert rules.details_of({"b": 1, "a": f"x\n{SECRET}"}) == '{"a":"x\\\\n[redacted]","b":1}'
    assert json.loads(rules.details_of({"a": '","b":"'}) or "") == {"a": '","b":"'}


def test_keys_are_derived_for_one_purpose_each_and_not_shown() -> None:
    keys = rules.derive_keys("b", {"a": b"1" * 32, "b": b"2" * 32})
    assert keys.current == "b"
    assert keys.chain["a"] == hmac.digest(b"1" * 32, b"ecross audit chain 1", "sha256")
    assert len({*keys.chain.values(), keys.fingerprint, b"1" * 32, b"2" * 32}) == 5
    assert repr(keys) == "AuditKeys(current='b')"
    assert repr(rules.Actor("operator:root", keys)) == "Actor(name='operator:root', address=None, request_id=None)"


def test_a_fingerprint_tells_secrets_apart_and_needs_the_key(keys: AuditKeys) -> None:
    other = rules.derive_keys("two", {"two": b"2" * 32})
    made = rules.fingerprint(keys, b"digest")
    assert len(made) == 16
    assert made == rules.fingerprint(keys, b"digest")
    assert made not in {rules.fingerprint(keys, b"other"), rules.fingerprint(other, b"digest")}
    assert made != hashlib.sha256(b"digest").hexdigest()[:16]


def test_a_mark_is_good_for_its_own_name_and_place_alone(keys: AuditKeys) -> None:
    mark = rules.signed_mark(keys, rules.HEAD, Batch(3, 7, 2, 0, "one", bytes(32), b"h" * 32))
    assert (mark.number, mark.seq) == (3, 8)
    assert rules.is_genuine(keys, mark) is True
    for changes in (
        {"name": rules.ANCHOR}, {"number": 2}, {"seq": 7}, {"hash": b"i" * 32}, {"batch_key_id": "two"},
        {"mac": bytes(32)}, {"mac": "text"}, {"hash": "text"},
    ):  # fmt: skip
        assert rules.is_genuine(keys, mark._replace(**changes)) is False
    assert rules.is_genuine(keys, mark._replace(key_id="gone")) is None
    assert rules.is_genuine(keys, mark._replace(key_id="")) is False


@pytest.mark.parametrize(
    ("changes", "is_sound"),
    [
        ({}, True), ({"at": 1 << 62}, False), ({"at": "1"}, False), ({"address": b"x"}, False), ({"actor": 5}, False),
        ({"address": None}, True),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_told_from_what_can(
    draft: Callable[..., Draft], changes: dict[str, Any], *, is_sound: bool
) -> None:
    assert rules.is_sound(draft(**changes)) is is_sound
