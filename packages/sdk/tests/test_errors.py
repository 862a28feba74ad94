import pickle

import pytest

from ecross.errors import EcrossError, InvalidKeyError, InvalidTokenError, InvalidTokenReason


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
