"""What an answer of the server means: that of e-CROSS servers, of those that say less, and of proxies."""

from __future__ import annotations

import json
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross._auth.answers import Grant, TokenAnswer, read_grant, read_skew
from ecross._auth.api_errors import clean_text, read_error, read_http_date, read_retry_after
from ecross.errors import (
    ApiError,
    FieldError,
    ForbiddenError,
    InvalidCredentialsError,
    NotFoundError,
    RateLimitedError,
    ServerError,
    UnauthorizedError,
    ValidationError,
)

NOW = 1_800_000_000.0
JWT = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJ1cm4ifQ.c2lnbmF0dXJl"


def body(**members: object) -> bytes:
    return json.dumps(members).encode()


def grant(content: bytes, status: int = 200) -> Grant | ApiError:
    return read_grant(TokenAnswer(status, content, request_id="id-1"), hidden=("s3cret",), now=NOW)


class TestGrants:
    def test_a_token_and_its_life(self) -> None:
        assert grant(body(token=JWT, tokenType="Bearer", expiresIn=28800)) == Grant(JWT, 28800.0)

    @pytest.mark.parametrize("token_type", ["bearer", "BEARER"])
    def test_the_type_ignores_case(self, token_type: str) -> None:
        assert grant(body(token="tok", tokenType=token_type, expiresIn=60, more=1)) == Grant("tok", 60.0)

    def test_a_life_of_more_than_a_week_counts_as_a_week(self) -> None:
        assert grant(body(token="tok", tokenType="Bearer", expiresIn=10**12)) == Grant("tok", 604800.0)

    @pytest.mark.parametrize(
        "content",
        [
            b"", b"<html>", b"[]", b"null", b'{"token": "a", "token": "b", "tokenType": "Bearer", "expiresIn": 60}',
            body(tokenType="Bearer", expiresIn=60), body(token="tok", expiresIn=60),
            body(token="tok", tokenType="Bearer"),
            body(token=1, tokenType="Bearer", expiresIn=60), body(token="", tokenType="Bearer", expiresIn=60),
            body(token="a\r\nb: c", tokenType="Bearer", expiresIn=60), body(token="tok", tokenType="MAC", expiresIn=60),
            body(token="tok", tokenType=None, expiresIn=60), body(token="tok", tokenType="Bearer", expiresIn=True),
            body(token="tok", tokenType="Bearer", expiresIn="60"), body(token="tok", tokenType="Bearer", expiresIn=0),
            body(token="tok", tokenType="Bearer", expiresIn=-1), body(token="tok", tokenType="Bearer", expiresIn=1.5),
        ],
    )  # fmt: skip
    def test_what_is_no_token_is_an_error_that_asks_for_the_address(self, content: bytes) -> None:
        error = grant(content)
        assert isinstance(error, ServerError)
        assert (error.status, error.request_id) == (200, "id-1")
        assert "base URL" in error.message

    def test_a_token_shows_in_no_repr(self) -> None:
        assert "tok" not in repr(Grant("tok", 60.0))
        assert "tok" not in repr(TokenAnswer(200, b"tok"))

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, ValidationError), (401, InvalidCredentialsError), (403, ForbiddenError), (404, NotFoundError),
         (429, RateLimitedError), (500, ServerError), (503, ServerError), (302, ApiError)],
    )  # fmt: skip
    def test_refusals(self, status: int, kind: type[ApiError]) -> None:
        error = grant(body(message="No to s3cret."), status)
        assert type(error) is kind
        assert error.message == "No to [hidden]."

    @pytest.mark.parametrize(
        ("status", "kind"), [(400, InvalidCredentialsError), (422, InvalidCredentialsError), (500, ServerError)]
    )
    def test_the_published_sentence(self, status: int, kind: type[ApiError]) -> None:
        assert type(grant(body(message="Incorrect username or password."), status)) is kind


class TestErrors:
    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, ValidationError), (401, UnauthorizedError), (403, ForbiddenError), (404, NotFoundError),
         (405, ApiError), (409, ValidationError), (413, ValidationError), (415, ValidationError), (418, ApiError),
         (422, ValidationError), (429, RateLimitedError), (500, ServerError), (599, ServerError), (999, ServerError)],
    )  # fmt: skip
    def test_each_status_has_its_class(self, status: int, kind: type[ApiError]) -> None:
        error = read_error(status, body(message="M.", code="a_code"), request_id="id-1", retry_after_seconds=3.0)
        assert type(error) is kind
        assert (error.status, error.message, error.code, error.request_id) == (status, "M.", "a_code", "id-1")
        if isinstance(error, RateLimitedError):
            assert error.retry_after_seconds == 3.0

    def test_faults_of_a_body(self) -> None:
        faults = [{"path": "skus[0].ean", "message": "is not a GTIN"}, "junk", {"path": 1}]
        error = read_error(400, body(message="M.", errors=faults), request_id=None)
        assert isinstance(error, ValidationError)
        assert error.errors == (FieldError("skus[0].ean", "is not a GTIN"), FieldError("", ""))

    def test_no_more_than_a_thousand_faults_are_kept(self) -> None:
        error = read_error(400, body(errors=[{"path": "a", "message": "b"}] * 1001), request_id=None)
        assert isinstance(error, ValidationError)
        assert len(error.errors) == 1000

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"<html>502</html>",
            b"[]",
            body(message=1),
            body(message=""),
            body(message="\n"),
            b"\xff",
            b" " * 300_000,
        ],
    )
    def test_an_answer_that_says_nothing_is_described_by_its_status(self, content: bytes) -> None:
        assert read_error(502, content, request_id=None).message == "The server answered 502 Bad Gateway."
        assert read_error(599, content, request_id=None).message == "The server answered 599."

    def test_what_the_server_repeats_is_hidden(self) -> None:
        told = f"No {JWT} and ecs_ABCDEFGHIJKL of s3cret and s3cret-and-more"
        error = read_error(
            400, body(message=told, code="s3cret", errors=[{"path": "s3cret", "message": JWT}]),
            request_id="s3cret", hidden=("s3cret", "s3cret-and-more", ""),
        )  # fmt: skip
        assert error.message == "No [hidden] and [hidden] of [hidden] and [hidden]"
        assert (error.code, error.request_id) == (None, None)
        assert isinstance(error, ValidationError)
        assert error.errors == (FieldError("[hidden]", "[hidden]"),)

    @pytest.mark.parametrize("request_id", ["a b", "a\nb", "x" * 129, "", "ü", JWT])
    def test_an_odd_request_id_is_not_kept(self, request_id: str) -> None:
        assert read_error(500, b"", request_id=request_id).request_id is None

    @pytest.mark.parametrize("code", [1, "a b", "1a", "x" * 65, "", None, "eyJhbGci.eyJh"])
    def test_an_odd_code_is_not_kept(self, code: object) -> None:
        assert read_error(500, body(code=code), request_id=None).code is None

    @given(st.text(max_size=2000))
    def test_a_text_becomes_one_line_that_is_fit_for_a_log(self, text: str) -> None:
        cleaned = clean_text(text)
        assert len(cleaned) <= 500
        assert cleaned.isprintable()
        assert cleaned == cleaned.strip()

    def test_a_long_text_is_cut(self) -> None:
        assert clean_text("x" * 501) == "x" * 499 + "…"

    def test_what_is_no_text_is_nothing(self) -> None:
        assert clean_text(["x"]) == ""


class TestRetryAfter:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("0", 0.0), ("120", 120.0), (" 3 ", 3.0), ("1.5", 1.5), ("-1", None), ("soon", None), ("", None), (None, None),
         ("1e9", None), ("9" * 16, None), ("٣", None), ("inf", None)],
    )  # fmt: skip
    def test_seconds(self, value: str | None, seconds: float | None) -> None:
        assert read_retry_after(value, now=NOW) == seconds

    def test_a_date_counts_from_the_date_of_the_answer(self) -> None:
        date = formatdate(NOW - 5000, usegmt=True)
        assert read_retry_after(formatdate(NOW - 4970, usegmt=True), now=NOW, date=date) == 30.0

    def test_a_date_counts_from_now_where_the_answer_has_none(self) -> None:
        assert read_retry_after(formatdate(NOW + 30, usegmt=True), now=NOW) == 30.0
        assert read_retry_after(formatdate(NOW + 30, usegmt=True), now=NOW, date="junk") == 30.0

    def test_a_date_that_has_passed_means_at_once(self) -> None:
        assert read_retry_after(formatdate(NOW - 30, usegmt=True), now=NOW) == 0.0

    @given(st.text())
    def test_whatever_is_told_is_no_wait_or_one_that_is_not_negative(self, value: str) -> None:
        seconds = read_retry_after(value, now=NOW)
        assert seconds is None or seconds >= 0


class TestDates:
    @pytest.mark.parametrize(
        "value", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
    )
    def test_all_three_forms_of_http(self, value: str) -> None:
        assert read_http_date(value) == 784111777.0

    @pytest.mark.parametrize(
        "value", [None, "", "junk", "Sun, 99 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 99999 08:49:37 GMT"]
    )
    def test_others_tell_nothing(self, value: str | None) -> None:
        assert read_http_date(value) is None

    @given(st.text())
    def test_no_text_raises(self, value: str) -> None:
        seconds = read_http_date(value)
        assert seconds is None or isinstance(seconds, float)

    @pytest.mark.parametrize(("difference", "learned"), [(0, 0.0), (1, 0.0), (-1, 0.0), (100, 100.5), (-100, -99.5)])
    def test_the_difference_to_the_servers_clock_is_learned_beyond_what_a_second_hides(
        self, difference: int, learned: float
    ) -> None:
        answer = TokenAnswer(200, b"", formatdate(NOW + difference, usegmt=True))
        assert read_skew(answer, sent_at=NOW, received_at=NOW) == learned

    def test_a_slow_answer_tells_less(self) -> None:
        answer = TokenAnswer(200, b"", formatdate(NOW + 20, usegmt=True))
        assert read_skew(answer, sent_at=NOW, received_at=NOW + 40) == 0.0

    @pytest.mark.parametrize("date", [None, "junk"])
    def test_without_a_date_nothing_is_learned(self, date: str | None) -> None:
        assert read_skew(TokenAnswer(200, b"", date), sent_at=NOW, received_at=NOW) is None
