import pickle

import pytest

from ecross import errors
from ecross.errors import (
    ApiError,
    CacheError,
    ConfigurationError,
    EcrossError,
    FieldError,
    ForbiddenError,
    InvalidCredentialsError,
    InvalidKeyError,
    InvalidTokenError,
    InvalidTokenReason,
    NotFoundError,
    RateLimitedError,
    ServerError,
    SyncRunningError,
    TransportError,
    UnauthorizedError,
    ValidationError,
)


def test_a_refused_token_is_an_error_of_the_client_with_a_reason_and_a_sentence() -> None:
    error = InvalidTokenError(InvalidTokenReason.EXPIRED, "The token has expired.")

    assert isinstance(error, EcrossError)
    assert error.reason == "expired"
    assert str(error) == error.message == "The token has expired."


def test_an_unfit_key_is_caught_where_refused_tokens_are() -> None:
    with pytest.raises(InvalidTokenError) as caught:
        raise InvalidKeyError("The key is too short.")

    assert caught.value.reason is InvalidTokenReason.BAD_KEY


@pytest.mark.parametrize(
    "error",
    [
        InvalidTokenError(InvalidTokenReason.MALFORMED, "The token is no text."),
        InvalidKeyError("The key is too short."),
    ],
)
def test_an_error_survives_the_way_to_another_process(error: InvalidTokenError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(copy) is type(error)
    assert copy.reason is error.reason
    assert str(copy) == str(error)


def test_reasons_are_stable_words() -> None:
    assert set(InvalidTokenReason) == {
        "malformed", "too_long", "bad_signature", "bad_header", "bad_key", "missing_claim", "bad_claim",
        "wrong_issuer", "wrong_audience", "not_yet_valid", "expired",
    }  # fmt: skip


ANSWERS = [
    InvalidCredentialsError(401, "Incorrect username or password."),
    UnauthorizedError(401, "The token has expired.", "invalid_token", "r-1"),
    ForbiddenError(403, "Not allowed.", "insufficient_scope"),
    NotFoundError(404, "Not found.", "not_found"),
    ValidationError(400, "Two faults.", "invalid_request", "r-2", [FieldError("[0].skuId", "is missing")]),
    RateLimitedError(429, "Too many.", "rate_limited", "r-3", retry_after_seconds=1.5),
    ServerError(503, "Away.", "registry_stale"),
]


@pytest.mark.parametrize(
    "error", [*ANSWERS, TransportError("No answer in time.", is_timeout=True), CacheError("full"), SyncRunningError()]
)
def test_every_error_survives_the_way_to_another_process_whole(error: EcrossError) -> None:
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


@pytest.mark.parametrize("error", ANSWERS)
def test_what_the_server_answered_is_caught_as_one(error: ApiError) -> None:
    with pytest.raises(ApiError) as caught:
        raise error

    assert str(caught.value).startswith(f"{error.message} ({error.status}")


def test_an_answer_tells_what_its_operator_needs_to_find_the_request() -> None:
    assert str(NotFoundError(404, "Not found.", "not_found", "r-9")) == "Not found. (404, not_found, request r-9)"
    assert str(ServerError(500, "Failed.")) == "Failed. (500)"


def test_a_timeout_is_told_from_other_failures_to_get_an_answer() -> None:
    assert TransportError("x", is_timeout=True).is_timeout
    assert not TransportError("x").is_timeout


def test_all_that_is_raised_on_purpose_has_one_base() -> None:
    kinds = [getattr(errors, name) for name in errors.__all__]
    raised = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Exception)]

    assert {ConfigurationError, CacheError, TransportError, ApiError, InvalidTokenError} <= set(raised)
    assert all(issubclass(kind, EcrossError) for kind in raised)
