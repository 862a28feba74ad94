from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.kit.clock import parse_instant, rfc3339, utc_now
from ecross_server.kit.errors import InvalidInputError

INSTANTS = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - likewise
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)


def test_now_is_aware_in_utc_and_to_the_millisecond() -> None:
    before = datetime.now(UTC)
    now = utc_now()
    assert now.tzinfo is UTC
    assert now.microsecond % 1000 == 0
    assert before - timedelta(milliseconds=1) < now <= datetime.now(UTC)


def test_an_instant_is_shown_in_utc_with_milliseconds() -> None:
    instant = datetime(2023, 10, 27, 21, 18, 54, 301_999, tzinfo=timezone(timedelta(hours=2)))
    assert rfc3339(instant) == "2023-10-27T19:18:54.301Z"
    assert rfc3339(datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00.000Z"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2023-10-27T19:10:00Z", "2023-10-27T19:10:00.000Z"),
        ("2023-10-27T19:18:54.301Z", "2023-10-27T19:18:54.301Z"),
        ("2023-08-07T19:48:04+00:00", "2023-08-07T19:48:04.000Z"),
        ("2023-08-07T19:48:04 00:00", "2023-08-07T19:48:04.000Z"),
        ("2023-08-07T19:48:04 02:30", "2023-08-07T17:18:04.000Z"),
        ("2023-08-07T19:48:04-03:00", "2023-08-07T22:48:04.000Z"),
        ("2023-08-07T19:48:04+0200", "2023-08-07T17:48:04.000Z"),
        ("2023-08-07T19:48:04 0200", "2023-08-07T17:48:04.000Z"),
        ("2023-08-07T19:48:04+02", "2023-08-07T17:48:04.000Z"),
        ("2023-08-07T19:48Z", "2023-08-07T19:48:00.000Z"),
        ("2023-08-07 19:48:04+02:00", "2023-08-07T17:48:04.000Z"),
        ("2023-08-07t19:48:04z", "2023-08-07T19:48:04.000Z"),
        ("2023-08-07 19:48:04 02:00", "2023-08-07T17:48:04.000Z"),
        ("2023-08-07T19:48:04,5Z", "2023-08-07T19:48:04.500Z"),
        ("  2023-08-07T19:48:04Z\n", "2023-08-07T19:48:04.000Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_every_documented_form_names_its_instant(text: str, shown: str) -> None:
    assert rfc3339(parse_instant(text)) == shown


@pytest.mark.parametrize(("digits", "microseconds"), [("12345", 123_450), ("1", 100_000), ("123456789", 123_456)])
def test_any_number_of_fractional_digits_is_taken(digits: str, microseconds: int) -> None:
    assert parse_instant(f"2023-10-27T19:10:00.{digits}Z").microsecond == microseconds


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "T", "yesterday", "1698433800", "2023-10-27", "2023-10-27T19:10:00", "2023-10-27 19:10:00",
        "2023-13-27T19:10:00Z", "2023-02-29T19:10:00Z", "2023-10-27T25:10:00Z", "2023-10-27T19:10:60Z",
        "2023-10-27T19:10:00+24:00", "2023-10-27T19:10:00ZZ", "2023-10-27T19:10:00Z Z", "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-01:00", "10000-01-01T00:00:00Z", "\ud800", "2023-10-27T19:10:00\0Z",
        "\uff12023-10-27T19:10:00Z", "2023-10-27T19:10:00Z\ud800",
        "2023-10-27T19:10:00\x01Z", "2023-10-27T19:10:00Z\0", "2023-10-27T19:10.30Z", "2023-10-27T19:10:00:301Z",
        "2023-10-27\n19:10:00Z", "2023-10-27T19:10:00+02.30", "20231027T191000Z", "2023-W43-5T19:10:00Z",
        "2023-10-27T19Z", "2023-10-27T19:10:00.Z", "2023-10-27T19:10:00+00:00:30",
    ],
)  # fmt: skip
def test_what_names_no_instant_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_instant(text)
    assert caught.value.message == "must be an ISO 8601 date and time with a time zone, such as 2023-10-27T19:10:00Z"
    assert caught.value.__context__ is None


@examples(max_examples=100, deadline=None)
@given(INSTANTS)
def test_any_instant_is_read_back_from_its_iso_form_in_any_zone(instant: datetime) -> None:
    assert parse_instant(instant.isoformat()) == instant
    assert parse_instant(instant.isoformat().replace("+", " ")) == instant


@examples(max_examples=100, deadline=None)
@given(INSTANTS)
def test_what_was_shown_names_the_same_millisecond_when_sent_back(instant: datetime) -> None:
    assert timedelta(0) <= instant - parse_instant(rfc3339(instant)) < timedelta(milliseconds=1)
    assert rfc3339(parse_instant(rfc3339(instant))) == rfc3339(instant)


@examples(max_examples=200, deadline=None)
@given(st.text() | st.from_regex(r"[0-9T:Z+\-. ]{0,30}", fullmatch=True))
def test_any_text_gives_an_aware_instant_or_the_one_error(text: str) -> None:
    try:
        instant = parse_instant(text)
    except InvalidInputError:
        return
    assert instant.tzinfo is UTC
