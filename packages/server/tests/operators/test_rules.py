from __future__ import annotations

import os
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ecross_server.kit.errors import InvalidInputError
from ecross_server.operators import rules
from ecross_server.operators.errors import SignInsBusyError
from ecross_server.operators.passwords import Passwords
from ecross_server.operators.rules import OperatorKeys, Role

KEYS = OperatorKeys("new", {"new": os.urandom(32), "old": os.urandom(32)})
OLD = OperatorKeys("old", KEYS.peppers)
OTHERS = OperatorKeys("new", {"new": os.urandom(32)})

RFC_SEED = b"12345678901234567890"
"""RFC 6238, appendix B; its codes have eight digits, of which ours are the last six."""


@pytest.mark.parametrize(
    ("seconds", "code"),
    [
        (59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"),
        (2000000000, "279037"), (20000000000, "353130"),
    ],
)  # fmt: skip
def test_codes_are_those_of_the_rfc(seconds: int, code: str) -> None:
    at = datetime.fromtimestamp(seconds, UTC)
    assert rules.matching_step(RFC_SEED, code, at) == seconds // 30
    assert rules.matching_step(RFC_SEED, f"{code[:3]} {code[3:]}", at) == seconds // 30


@pytest.mark.parametrize(("ahead", "fits"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_code_fits_one_step_either_way(ahead: int, fits: bool) -> None:  # noqa: FBT001 - of the table
    at = datetime.fromtimestamp(1111111111 + ahead, UTC)
    found = rules.matching_step(RFC_SEED, "050471", at)
    assert found == (1111111111 // 30 if fits else None)


@pytest.mark.parametrize("code", ["", "05047", "0504711", "05047a", "٠٥٠٤٧١", "-50471"])
def test_what_is_no_code_fits_never(code: str) -> None:
    assert rules.matching_step(RFC_SEED, code, datetime.fromtimestamp(1111111111, UTC)) is None


@given(st.sampled_from(Role), st.sampled_from(Role), st.sampled_from(Role))
def test_roles_stand_in_one_line(one: Role, other: Role, third: Role) -> None:
    assert one.includes(one)
    assert one.includes(other) or other.includes(one)
    if one.includes(other) and other.includes(third):
        assert one.includes(third)


def test_each_role_includes_the_one_before_it() -> None:
    assert [Role.REPRESENTATIVE.includes(role) for role in Role] == [True, True, False]


@pytest.mark.parametrize(
    "password",
    ["", "elevenchars", "password1234", "PASSWORD1234", "aaaaaaaaaaaaaaa", "jane.doe.the.first", "Jane The First Doe",
     "jane the first doe", "é" * 129, "a long enough \ud800 one"],
)  # fmt: skip
def test_a_password_that_is_guessed_first_is_refused_and_not_repeated(password: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        rules.check_password(password, operator_id="jane.doe.the.first", name="Jane The First Doe")
    assert refused.value.faults[0].path == "password"
    assert not password or password not in refused.value.message


@pytest.mark.parametrize("password", ["four words make one", "0123456789ab", "zażółć gęślą", "x1" * 126 + "abcd"])
def test_nothing_is_asked_of_the_characters_of_a_password(password: str) -> None:
    rules.check_password(password, operator_id="jane", name="Jane")


def test_one_password_is_the_same_however_its_characters_are_composed() -> None:
    composed, decomposed = "caf\u00e9 caf\u00e9 caf\u00e9", "cafe\u0301 cafe\u0301 cafe\u0301"
    assert KEYS.new_password_message("jane", composed) == KEYS.new_password_message("jane", decomposed)


def test_what_is_hashed_differs_by_operator_and_pepper() -> None:
    messages = {
        keys.new_password_message(operator_id, "four words make one")
        for keys in (KEYS, OLD, OTHERS)
        for operator_id in ("jane", "john")
    }
    assert len(messages) == 6
    assert KEYS.password_message("old", "jane", "a") == OLD.new_password_message("jane", "a")
    assert KEYS.password_message("gone", "jane", "a") is None


def test_a_sealed_seed_opens_for_its_operator_under_its_pepper_alone() -> None:
    sealed = KEYS.seal_seed("jane", RFC_SEED)
    assert RFC_SEED not in sealed
    assert KEYS.open_seed("new", "jane", sealed) == RFC_SEED
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for keys, pepper_id, operator_id, content in (
        (KEYS, "new", "john", sealed), (KEYS, "old", "jane", sealed), (KEYS, "gone", "jane", sealed),
        (OTHERS, "new", "jane", sealed), (KEYS, "new", "jane", changed), (KEYS, "new", "jane", b""),
    ):  # fmt: skip
        assert keys.open_seed(pepper_id, operator_id, content) is None


def test_the_seed_of_an_invitation_is_the_same_each_time_and_needs_the_pepper() -> None:
    token = rules.new_invitation_token()
    seed = KEYS.enrolment_seed("new", "jane", token)
    assert seed is not None
    assert len(seed) == 20
    assert KEYS.enrolment_seed("new", "jane", token) == seed
    assert len({seed, OTHERS.enrolment_seed("new", "jane", token), KEYS.enrolment_seed("old", "jane", token)}) == 3
    assert KEYS.enrolment_seed("gone", "jane", token) is None


def test_keys_are_not_shown() -> None:
    assert repr(KEYS) == "OperatorKeys(current='new')"


@pytest.mark.parametrize("operator_id", ["", "j", "Jane", "1ane", "jane doe", "jané", "jane\n", "j" * 33, ".ane"])
def test_an_id_of_another_form_is_refused(operator_id: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^id must be"):
        rules.check_operator_id(operator_id)


@pytest.mark.parametrize("name", ["", " ", "J\nD", "\u202eJane", "J" * 201])
def test_a_name_that_would_disturb_a_table_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^name must be"):
        rules.check_name(name)


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^role must be one of viewer, representative, owner$"):
        rules.read_role("root")


class TestPasswords:
    def test_the_hash_is_argon2id_with_the_parameters_of_the_rfc(self) -> None:
        passwords = Passwords()
        kept = passwords.hash(b"message")
        assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
        assert passwords.is_right(kept, b"message")
        assert not passwords.is_right(kept, b"another")

    @pytest.mark.parametrize(("kept", "message"), [(None, b"m"), ("$argon2id$", None), ("$argon2id$", b"m")])
    def test_nothing_fits_where_there_is_nothing(self, kept: str | None, message: bytes | None) -> None:
        assert not Passwords().is_right(kept, message)

    def test_who_would_wait_for_too_long_is_told_so(self) -> None:
        passwords = Passwords(at_once=1, wait_seconds=0.01)
        with passwords._slot():
            answers: list[str] = []

            def ask() -> None:
                with pytest.raises(SignInsBusyError) as refused:
                    passwords.hash(b"message")
                answers.append(refused.value.code)

            asking = threading.Thread(target=ask)
            asking.start()
            asking.join(10)
        assert answers == ["sign_ins_busy"]
        assert passwords.hash(b"message")


def test_the_ends_of_sessions_are_half_an_hour_and_half_a_day() -> None:
    ends = rules.SessionEnds()
    assert (ends.idle, ends.absolute) == (timedelta(minutes=30), timedelta(hours=12))
