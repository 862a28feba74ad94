from __future__ import annotations

import base64
import re

import pytest
from hypothesis import assume, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from ecross_server.kit.page_tokens import InvalidPageTokenError, PageTokens

OLD, NEW = b"o" * 32, b"n" * 32
TOKENS = PageTokens([NEW])

POSITIONS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40)
URL_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_+/=. "


def make(position: str, *, merchant_id: str = "ACME", list_name: str = "skus") -> str:
    return TOKENS.make(merchant_id=merchant_id, list_name=list_name, position=position)


def read(token: str, *, merchant_id: str = "ACME", list_name: str = "skus", tokens: PageTokens = TOKENS) -> str:
    return tokens.read(token, merchant_id=merchant_id, list_name=list_name)


@examples(max_examples=100, deadline=None)
@given(POSITIONS)
def test_any_position_comes_back(position: str) -> None:
    token = make(position)
    assert read(token) == position
    assert re.fullmatch("[A-Za-z0-9_-]+", token)  # needs no encoding in a query


@examples(max_examples=300, deadline=None)
@given(POSITIONS, st.data())
def test_a_token_changed_in_one_character_is_refused(position: str, data: st.DataObject) -> None:
    token = make(position)
    place = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.sampled_from(URL_CHARACTERS))
    assume(other != token[place])
    with pytest.raises(InvalidPageTokenError):
        read(token[:place] + other + token[place + 1 :])


@examples(max_examples=100, deadline=None)
@given(POSITIONS, st.data())
def test_a_truncated_token_is_refused(position: str, data: st.DataObject) -> None:
    token = make(position)
    with pytest.raises(InvalidPageTokenError):
        read(token[: data.draw(st.integers(0, len(token) - 1))])


@examples(max_examples=100, deadline=None)
@given(POSITIONS, st.text(URL_CHARACTERS, min_size=1, max_size=4))
def test_a_lengthened_token_is_refused(position: str, more: str) -> None:
    with pytest.raises(InvalidPageTokenError):
        read(make(position) + more)
    with pytest.raises(InvalidPageTokenError):
        read(more + make(position))


@pytest.mark.parametrize("position", ["1 ", "12 ", "123 "])
def test_no_second_spelling_of_a_token_is_taken(position: str) -> None:
    token = make(position)
    content = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    spellings = {token + "=", token + "==", token + "===", base64.b64encode(content).decode(), token + "\n"}
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_".index(token[-1])
    spellings |= {token[:-1] + URL_CHARACTERS[last ^ bit] for bit in (1, 2)}
    for spelling in spellings - {token}:
        with pytest.raises(InvalidPageTokenError):
            read(spelling)


@examples(max_examples=100, deadline=None)
@given(POSITIONS, st.from_regex("[A-Z0-9_]{2,32}", fullmatch=True), st.from_regex("[a-z]{1,10}", fullmatch=True))
def test_a_token_is_of_use_to_its_merchant_and_list_alone(position: str, merchant_id: str, list_name: str) -> None:
    assume(merchant_id != "ACME")
    assume(list_name != "skus")
    token = make(position)
    with pytest.raises(InvalidPageTokenError):
        read(token, merchant_id=merchant_id)
    with pytest.raises(InvalidPageTokenError):
        read(token, list_name=list_name)


def test_names_that_join_to_the_same_text_are_told_apart() -> None:
    token = make("x", merchant_id="ACME", list_name="skus")
    with pytest.raises(InvalidPageTokenError):
        read(token, merchant_id="ACMEs", list_name="kus")


@examples(max_examples=300, deadline=None)
@given(st.text() | st.text(URL_CHARACTERS, max_size=60) | st.binary(max_size=40).map(lambda b: b.decode("latin-1")))
def test_any_other_text_is_refused_with_that_one_error(token: str) -> None:
    with pytest.raises(InvalidPageTokenError) as caught:
        read(token)
    assert caught.value.code == "invalid_page_token"
    assert caught.value.message == "nextPageToken is not one that this list gave. Begin again without it."
    assert [fault.path for fault in caught.value.faults] == ["nextPageToken"]


def test_a_token_outlives_a_rotation_while_the_old_key_is_listed() -> None:
    token = PageTokens([OLD]).make(merchant_id="ACME", list_name="skus", position="7")
    assert read(token, tokens=PageTokens([NEW, OLD])) == "7"
    with pytest.raises(InvalidPageTokenError):
        read(token, tokens=PageTokens([NEW]))


def test_the_first_key_signs() -> None:
    token = PageTokens([NEW, OLD]).make(merchant_id="ACME", list_name="skus", position="7")
    assert read(token, tokens=PageTokens([NEW])) == "7"


def test_without_any_key_nothing_is_accepted() -> None:
    with pytest.raises(InvalidPageTokenError):
        read(make("7"), tokens=PageTokens([]))


def test_its_repr_shows_no_key() -> None:
    assert repr(PageTokens([NEW, OLD])) == "PageTokens(2 keys)"
