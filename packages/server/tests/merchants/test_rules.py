from __future__ import annotations

import base64
import json
import re
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants.rules import (
    CLIENT_ID,
    LABEL_CHARACTERS,
    Peppers,
    check_merchant_id,
    check_text,
    end_of,
    hour_of,
    is_client_secret,
    new_client_id,
    new_client_secret,
    new_peppers,
    parse_duration,
    shown_status,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PEPPER = base64.urlsafe_b64encode(b"p" * 32).decode()


def base62_value(text: str) -> int:
    value = 0
    for character in text:
        value = value * 62 + BASE62.index(character)
    return value


def test_new_secrets_have_the_published_form_and_a_fitting_check() -> None:
    secrets = {new_client_secret() for _ in range(500)}
    assert len(secrets) == 500
    for secret in secrets:
        assert re.fullmatch("ecs_[0-9A-Za-z]{49}", secret)
        assert base62_value(secret[-6:]) == zlib.crc32(secret[:-6].encode())
        assert is_client_secret(secret)


def test_secrets_use_the_whole_alphabet_in_every_random_place() -> None:
    secrets = [new_client_secret() for _ in range(2_000)]
    for place in range(4, 47):
        assert len({secret[place] for secret in secrets}) == 62


@examples(max_examples=300, deadline=None)
@given(st.integers(0, 52), st.sampled_from(BASE62 + "_- \n\0é") | st.characters())
def test_changing_any_one_character_breaks_a_secret(place: int, other: str) -> None:
    secret = new_client_secret()
    assume(other != secret[place])
    assert not is_client_secret(secret[:place] + other + secret[place + 1 :])


@examples(max_examples=100, deadline=None)
@given(st.integers(0, 51))
def test_swapping_two_neighbors_breaks_a_secret(place: int) -> None:
    secret = new_client_secret()
    assume(secret[place] != secret[place + 1])
    swapped = secret[:place] + secret[place + 1] + secret[place] + secret[place + 2 :]
    assert not is_client_secret(swapped)


@examples(max_examples=100, deadline=None)
@given(st.text() | st.text(BASE62, min_size=43, max_size=43).map(lambda text: f"ecs_{text}500000"))
def test_no_other_text_passes_as_a_secret(text: str) -> None:
    # The highest CRC is 4gfFC3, so none is 500000.
    assert not is_client_secret(text)


@pytest.mark.parametrize("change", ["{}\n", " {}", "{} ", "ecs_{}", "{}0"])
def test_nothing_may_stand_around_a_secret(change: str) -> None:
    assert not is_client_secret(change.format(new_client_secret()))


@pytest.mark.parametrize("merchant_id", ["AC", "ACME", "SB_MODDO", "A" * 32, "__", "007"])
def test_client_ids_tell_their_merchant_and_cannot_be_guessed(merchant_id: str) -> None:
    check_merchant_id(merchant_id)
    made = {new_client_id(merchant_id) for _ in range(200)}
    assert len(made) == 200
    for client_id in made:
        assert CLIENT_ID.fullmatch(client_id)
        assert client_id.rpartition("-")[0] == merchant_id.lower()
        assert re.fullmatch("[a-z2-7]{13}", client_id.rpartition("-")[2])
        assert len(client_id) <= 64


@pytest.mark.parametrize(
    "merchant_id",
    ["", "A", "A" * 33, "acme", "AC ME", "ACME\n", "\nACME", "AC-ME", "ÄCME", "ACME\0", "\uff21CME", "../ETC"],
)  # fmt: skip
def test_other_merchant_ids_are_refused_and_not_shown(merchant_id: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_merchant_id(merchant_id)
    assert caught.value.message == "id must be 2 to 32 of A-Z, 0-9 and _, such as ACME"
    assert [fault.path for fault in caught.value.faults] == ["id"]
    assert caught.value.faults[0].message == "must be 2 to 32 of A-Z, 0-9 and _, such as ACME"


@pytest.mark.parametrize("text", ["ERP", "Müller & Söhne, 北京", "x" * LABEL_CHARACTERS, " x "])
def test_printable_texts_are_taken(text: str) -> None:
    check_text("label", text, LABEL_CHARACTERS)


@pytest.mark.parametrize(
    "text", ["", " ", "x" * (LABEL_CHARACTERS + 1), "a\nb", "a\tb", "\x1b[2J", "a\0b", "\ud800", "\u202e"]
)
def test_texts_that_would_disturb_a_table_or_a_log_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="label must be 1 to 100 printable characters") as caught:
        check_text("label", text, LABEL_CHARACTERS)
    assert [fault.path for fault in caught.value.faults] == ["label"]


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("1m", timedelta(minutes=1)),
        ("12h", timedelta(hours=12)),
        ("90d", timedelta(days=90)),
        ("2w", timedelta(days=14)),
        ("999999m", timedelta(minutes=999_999)),
        ("36500d", timedelta(days=36_500)),
    ],
)
def test_durations_are_whole_numbers_with_a_unit(text: str, duration: timedelta) -> None:
    assert parse_duration("expires-in", text) == duration


@pytest.mark.parametrize(
    "text",
    ["", "90", "d", "0d", "-1d", "+1d", "1.5d", "01d", "1D", "1 d", "1d ", "1d\n", "1y", "1s", "1d12h", "٣d", "36501d",
     "999999w", "9999999d", "9" * 5_000 + "d"],
)  # fmt: skip
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidInputError, match="expires-in must be a whole number with m, h, d or w") as caught:
        parse_duration("expires-in", text)
    assert [fault.path for fault in caught.value.faults] == ["expires-in"]


def test_the_longest_duration_still_ends_within_the_calendar() -> None:
    assert (NOW + parse_duration("expires-in", "36500d")).year == 2125


@pytest.mark.parametrize(
    ("status", "expires_in", "retires_in", "expected"),
    [
        ("active", None, None, "active"),
        ("active", 1, None, "active"),
        ("active", 0, None, "expired"),
        ("active", -86400, None, "expired"),
        ("active", None, 1, "active"),
        ("active", None, 0, "retired"),
        ("active", 1, 0, "retired"),
        ("active", 0, 1, "expired"),
        ("active", 0, -1, "retired"),
        ("active", -1, 0, "expired"),
        ("retired", None, None, "retired"),
        ("revoked", 1, None, "revoked"),
        ("revoked", -1, -1, "revoked"),
    ],
)
def test_a_secret_ends_at_the_earlier_of_its_dates(
    status: str, expires_in: int | None, retires_in: int | None, expected: str
) -> None:
    expires_at, retires_at = (
        None if seconds is None else NOW + timedelta(seconds=seconds) for seconds in (expires_in, retires_in)
    )
    assert shown_status(status, expires_at, retires_at, NOW) == expected
    assert end_of(expires_at, retires_at) == min(filter(None, (expires_at, retires_at)), default=None)


def test_uses_are_counted_by_the_hour() -> None:
    assert [hour_of(seconds) for seconds in (0, 3599.9, 3600, 7201)] == [0, 0, 1, 2]


def test_new_peppers_are_read_back() -> None:
    document = json.loads(new_peppers(NOW))
    peppers = Peppers.from_document(document)
    (entry,) = document["peppers"]
    assert peppers.current == entry["id"]
    assert entry["createdAt"] == "2026-01-01T00:00:00.000Z"
    assert {name: len(key) for name, key in peppers.keys.items()} == {entry["id"]: 32}
    assert new_peppers(NOW) != new_peppers(NOW)


def test_the_first_pepper_is_current_and_all_are_kept() -> None:
    other = base64.urlsafe_b64encode(b"o" * 32).decode()
    peppers = Peppers.from_document({"peppers": [{"id": "b", "value": PEPPER}, {"id": "a", "value": other}]})
    assert peppers.current == "b"
    assert peppers.digest("x") == peppers.digest("x", "b") != peppers.digest("x", "a")
    assert len(peppers.digest("x")) == 32


@pytest.mark.parametrize(
    "content",
    [
        {}, {"peppers": []}, {"peppers": None}, {"peppers": {}}, {"peppers": 1}, {"peppers": "abc"}, {"peppers": [1]},
        {"peppers": [{}]}, {"peppers": [{"id": "a"}]}, {"peppers": [{"value": PEPPER}]},
        {"peppers": [{"id": "a", "value": 1}]}, {"peppers": [{"id": "a", "value": None}]},
        {"peppers": [{"id": "a", "value": "ä"}]}, {"peppers": [{"id": "a", "value": "hunter2"}]},
        {"peppers": [{"id": "a", "value": ""}]}, {"peppers": [{"id": 1, "value": PEPPER}]},
        {"peppers": [{"id": [], "value": PEPPER}]}, {"peppers": [["id", "value"]]},
        {"peppers": [{"id": "a", "value": PEPPER}, {"id": "b", "value": PEPPER[:-4]}]},
    ],
)  # fmt: skip
def test_other_documents_are_no_peppers_and_are_not_shown(content: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^not a set of peppers$") as caught:
        Peppers.from_document(content)
    assert caught.value.__context__ is None


def test_the_repr_of_peppers_shows_none() -> None:
    peppers = Peppers.from_document({"peppers": [{"id": "a", "value": PEPPER}]})
    assert repr(peppers) == "Peppers(current='a')"
