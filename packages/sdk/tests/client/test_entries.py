"""What the token cache keeps: whatever stands there, it is read as an entry or as none."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ecross._auth.entry import CachedToken, Entry, Refusal, decode, digest_secret, encode, is_token
from ecross.types import AccessToken

TOKEN = CachedToken("tok-1", 1000.0, 1800.0, 2000.0)
REFUSAL = Refusal("rate", 1000.0, 1060.0, 429, "Too many.", "rate_limited", "id-1", b"s" * 16, b"d" * 32)
FULL = Entry(TOKEN, REFUSAL, 1.5, 3)

differences = st.floats(-6e10, 6e10)
tokens = st.builds(
    lambda start, first, second: CachedToken("tok-1", start, start + first, start + first + second),
    st.floats(0, 1e10), st.floats(0, 1e5), st.floats(0, 1e5),
)  # fmt: skip
refusals = st.builds(
    lambda kind, told_at, seconds, *rest: Refusal(kind, told_at, told_at + seconds, *rest),
    st.sampled_from(["credentials", "rate"]), st.floats(0, 1e10), st.floats(0, 3600), st.integers(100, 999), st.text(),
    st.none() | st.text(), st.none() | st.text(), st.binary(), st.binary(),
)  # fmt: skip
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.builds(Entry, st.none() | tokens, st.none() | refusals, differences, st.integers(0, 100)))
def test_what_was_written_is_read(entry: Entry) -> None:
    assert decode(encode(entry)) == entry


@given(st.binary())
def test_other_bytes_are_no_entry(data: bytes) -> None:
    assert decode(data) == Entry()


def test_nothing_is_no_entry() -> None:
    assert decode(None) == Entry()


def _places(wire: dict[str, Any]) -> list[tuple[str, ...]]:
    return [("token", name) for name in wire["token"]] + [("refusal", name) for name in wire["refusal"]] + [
        (name,) for name in wire
    ]  # fmt: skip


@pytest.mark.parametrize("place", _places(json.loads(encode(FULL))))
@settings(max_examples=25)
@given(value=json_values)
def test_any_value_in_any_place_gives_a_sane_entry_or_none(place: tuple[str, ...], value: object) -> None:
    wire = json.loads(encode(FULL))
    inner = wire
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value

    entry = decode(json.dumps(wire).encode())

    assert decode(encode(entry)) == entry
    if entry.token is not None:
        assert is_token(entry.token.value)
        assert entry.token.obtained_at <= entry.token.refresh_at <= entry.token.expires_at


@pytest.mark.parametrize("place", [("token", "expiresAt"), ("refusal", "salt"), ("skew",), ("version",)])
def test_what_is_missing_makes_it_none(place: tuple[str, ...]) -> None:
    wire = json.loads(encode(FULL))
    inner = wire
    for name in place[:-1]:
        inner = inner[name]
    del inner[place[-1]]

    assert decode(json.dumps(wire).encode()) == Entry()


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("refusal", "until"), 1000.0 + 3602), (("refusal", "until"), 999.0), (("refusal", "kind"), "other"),
        (("refusal", "salt"), "no hex"), (("token", "obtainedAt"), -1.0), (("token", "refreshAt"), 999.0),
        (("token", "expiresAt"), 10**400), (("token", "value"), "a\r\nb"), (("skew",), 7e10), (("skew",), -(10**400)),
        (("failures",), "3"), (("token",), []), (("refusal",), "x"),
    ],
)  # fmt: skip
def test_what_cannot_be_makes_it_none(place: tuple[str, ...], value: object) -> None:
    wire = json.loads(encode(FULL))
    inner = wire
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value

    assert decode(json.dumps(wire).encode()) == Entry()


def test_an_entry_of_a_later_version_is_none() -> None:
    assert decode(encode(FULL).replace(b'"version":1', b'"version":2')) == Entry()


def test_a_token_that_would_live_for_years_is_none() -> None:
    assert decode(encode(Entry(CachedToken("tok-1", 0.0, 1.0, 1e9)))) == Entry()


@pytest.mark.parametrize("value", ["tok\r\nX-Evil: 1", "tok 1", "", "ü", "t" * 10_000, 1, None])
def test_what_could_break_a_header_is_no_token(value: object) -> None:
    assert not is_token(value)
    assert decode(encode(FULL).replace(b'"tok-1"', json.dumps(value).encode())).token is None


def test_without_takes_away_this_token_and_no_other() -> None:
    assert FULL.without("tok-1") == Entry(None, REFUSAL, 1.5, 3)
    assert FULL.without("tok-2") is FULL
    assert FULL.without(None) is FULL
    assert Entry().without("tok-1") == Entry()


def test_a_secret_is_recognized_by_a_salted_digest() -> None:
    first, second = digest_secret("secret", b"1" * 16), digest_secret("secret", b"2" * 16)
    assert len({first, second, digest_secret("secre", b"1" * 16)}) == 3
    assert digest_secret("\ud800", b"") != digest_secret("\ud801", b"")


@pytest.mark.parametrize("held", [TOKEN, AccessToken("tok-1", "Bearer", None)])  # type: ignore[arg-type]
def test_a_token_shows_in_no_repr_and_is_not_copied(held: object) -> None:
    assert "tok-1" not in f"{held!r} {held}"
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="secret"):
            copying(held)


def test_salt_and_digest_show_in_no_repr() -> None:
    assert "ssss" not in repr(FULL)
    assert "dddd" not in repr(FULL)
