from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyotp
import pytest
from sqlalchemy import text

from ecross_server.audit.service import Actor, RecordFilter, list_records
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import ConflictError, InvalidInputError, NotFoundError
from ecross_server.merchants import service as merchants
from ecross_server.merchants.errors import PepperInUseError
from ecross_server.operators import rules, service
from ecross_server.operators.errors import (
    InvitationNotFoundError,
    LastOwnerError,
    NotEnrolledError,
    OperatorDisabledError,
    OperatorExistsError,
    OperatorNotFoundError,
    SessionNotFoundError,
    SignInRefusedError,
    TooManySignInsError,
    WrongCodeError,
)
from ecross_server.operators.rules import OperatorKeys, Role, SessionEnds, Status
from ecross_server.operators.service import Attempt, Caller, Door, Invitation, SignInGuard
from ecross_server.settings import Settings
from packages.server.tests.operators.conftest import fresh

if TYPE_CHECKING:
    from packages.server.tests.operators.conftest import Person

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STEP = timedelta(seconds=30)
PASSWORD = "four words make one"
ENDS = SessionEnds()

Invite = Callable[..., Invitation]
Enroll = Callable[..., "Person"]


def acts(database: Database) -> list[tuple[str, str, str, dict[str, Any]]]:
    with database.read() as session:
        return [
            (each.draft.actor, each.draft.action, each.draft.outcome, json.loads(each.draft.details or "{}"))
            for each in list_records(session, RecordFilter())
        ]


class TestInviting:
    def test_who_is_invited_cannot_do_anything_yet(self, database: Database, invite: Invite) -> None:
        invitation = invite()
        it = invitation.operator
        assert (it.operator_id, it.name, it.role, it.status) == ("jane", "Jane Doe", Role.OWNER, Status.INVITED)
        assert (it.has_password, it.has_totp, it.last_signed_in_at) == (False, False, None)
        assert invitation.expires_at == NOW + timedelta(hours=24)
        assert rules.INVITATION_TOKEN.fullmatch(invitation.token)
        assert invitation.token not in repr(invitation)
        with pytest.raises(NotEnrolledError):
            service.require_able(it)
        with database.read() as session:
            assert service.list_operators(session) == [it]
            assert service.get_operator(session, "jane") == service.find_operator(session, "jane") == it
            assert service.find_operator(session, "john") is None
            rows = str(session.execute(text("SELECT * FROM operator_invitations")).all())
        assert invitation.token not in rows
        assert acts(database) == [
            ("operator:test", "operators.add", "done", {"operatorId": "jane", "name": "Jane Doe", "role": "owner"})
        ]

    @pytest.mark.parametrize(
        ("operator_id", "name", "role"), [("J", "n", "owner"), ("jo", "", "owner"), ("jo", "n", "x")]
    )
    def test_what_is_wrong_is_refused(self, invite: Invite, operator_id: str, name: str, role: str) -> None:
        with pytest.raises(InvalidInputError):
            invite(operator_id, role, name)

    def test_an_id_is_given_once(self, invite: Invite) -> None:
        invite()
        with pytest.raises(OperatorExistsError, match="reinvite jane"):
            invite()

    @pytest.mark.measured
    def test_of_two_who_take_an_id_at_once_one_has_it(self, invite: Invite) -> None:
        def take(_: int) -> str:
            try:
                return invite().operator.operator_id
            except OperatorExistsError as error:
                return error.code

        with ThreadPoolExecutor(4) as threads:
            assert sorted(threads.map(take, range(4))) == ["jane", *["operator_exists"] * 3]

    def test_a_new_invitation_takes_the_place_of_the_one_before(
        self, database: Database, invite: Invite, keys: OperatorKeys, operator: Actor
    ) -> None:
        old = invite()
        with database.write() as session:
            new = service.reinvite_operator(session, "jane", keys=keys, now=NOW, by=operator)
        with database.read() as session:
            assert service.begin_enrolment(session, new.token, keys=keys, now=NOW).operator.operator_id == "jane"
            with pytest.raises(InvitationNotFoundError):
                service.begin_enrolment(session, old.token, keys=keys, now=NOW)

    def test_who_is_unknown_or_disabled_is_not_invited_again(
        self, database: Database, invite: Invite, keys: OperatorKeys, operator: Actor
    ) -> None:
        invitation = invite(role="viewer")
        with database.write() as session:
            disabled = service.disable_operator(session, "jane", now=NOW, by=operator)
        with pytest.raises(OperatorDisabledError), database.write() as session:
            service.reinvite_operator(session, "jane", keys=keys, now=NOW, by=operator)
        with pytest.raises(OperatorNotFoundError), database.write() as session:
            service.reinvite_operator(session, "john", keys=keys, now=NOW, by=operator)
        with pytest.raises(InvitationNotFoundError), database.read() as session:
            service.begin_enrolment(session, invitation.token, keys=keys, now=NOW)
        with pytest.raises(OperatorDisabledError):
            service.require_able(disabled)
        with database.write() as session:
            assert service.enable_operator(session, "jane", now=NOW, by=operator).status is Status.INVITED


class TestEnrolling:
    def test_looking_uses_nothing_up_and_shows_the_same(self, database: Database, invite: Invite, door: Door) -> None:
        invitation = invite()
        seen = []
        for _ in range(3):
            with database.read() as session:
                seen.append(service.begin_enrolment(session, invitation.token, keys=door.keys(), now=NOW))
        assert len({each.totp_secret for each in seen}) == 1
        assert seen[0].totp_uri == f"otpauth://totp/e-CROSS:jane?secret={seen[0].totp_secret}&issuer=e-CROSS"
        assert seen[0].totp_secret not in repr(seen[0])

    def test_who_enrolls_is_active_and_nothing_is_kept_in_clear(self, database: Database, jane: Person) -> None:
        assert (jane.operator.status, jane.operator.has_password, jane.operator.has_totp) == (Status.ACTIVE, True, True)
        assert service.require_able(jane.operator) == jane.operator
        with database.read() as session:
            (row,) = session.execute(text("SELECT * FROM operators")).all()
        assert PASSWORD not in str(row)
        assert jane.seed not in str(row)
        assert acts(database)[-1] == ("operator:jane", "operators.enroll", "done", {"operatorId": "jane"})

    def test_an_invitation_works_once(self, invite: Invite, enroll: Enroll) -> None:
        invitation = invite()
        enroll(invitation)
        with pytest.raises(InvitationNotFoundError):
            enroll(invitation)

    @pytest.mark.measured
    def test_of_many_who_use_it_at_once_one_has_it(
        self, database: Database, invite: Invite, door: Door, caller: Caller
    ) -> None:
        invitation = invite()
        with database.read() as session:
            seed = service.begin_enrolment(session, invitation.token, keys=door.keys(), now=NOW).totp_secret
        code = pyotp.TOTP(seed).at(NOW)

        def use(number: int) -> str:
            try:
                service.finish_enrolment(
                    database, invitation.token, f"{PASSWORD} {number}", code, door=door, caller=caller, now=NOW
                )
            except InvitationNotFoundError as error:
                return error.code
            return "done"

        with ThreadPoolExecutor(3) as threads:
            assert sorted(threads.map(use, range(3))) == ["done", *["invitation_not_found"] * 2]

    @pytest.mark.parametrize("token", ["", "x", "eoi_" + "0" * 43, "eoi_" + "0" * 42 + "é"])
    def test_strangers_learn_nothing(self, database: Database, invite: Invite, keys: OperatorKeys, token: str) -> None:
        invitation = invite()
        with database.read() as session:
            with pytest.raises(InvitationNotFoundError) as unknown:
                service.begin_enrolment(session, token, keys=keys, now=NOW)
            with pytest.raises(InvitationNotFoundError) as expired:
                service.begin_enrolment(session, invitation.token, keys=keys, now=invitation.expires_at)
            with pytest.raises(InvitationNotFoundError) as without_pepper:
                service.begin_enrolment(session, invitation.token, keys=OperatorKeys("x", {"x": b"x" * 32}), now=NOW)
        assert unknown.value.message == expired.value.message == without_pepper.value.message

    def test_a_wrong_code_or_a_weak_password_leaves_the_invitation(
        self, database: Database, invite: Invite, enroll: Enroll, door: Door, caller: Caller
    ) -> None:
        invitation = invite()
        for password, code, error in ((PASSWORD, "000000", WrongCodeError), ("short", "000000", InvalidInputError)):
            with pytest.raises(error):
                service.finish_enrolment(database, invitation.token, password, code, door=door, caller=caller, now=NOW)
        assert enroll(invitation).operator.status is Status.ACTIVE

    def test_a_new_password_ends_the_old_one_the_sessions_and_the_tokens(
        self, database: Database, jane: Person, enroll: Enroll, operator: Actor
    ) -> None:
        value, _ = jane.sign_in()
        with database.write() as session:
            again = service.reinvite_operator(session, "jane", keys=jane.door.keys(), now=NOW, by=operator)
            assert service.find_session(session, value, ends=ENDS, now=NOW + STEP) is not None, "not before its use"
        anew = enroll(again, "five other words make one", NOW + 2 * STEP)
        assert anew.operator.epoch > jane.operator.epoch
        with database.read() as session:
            assert service.find_session(session, value, ends=ENDS, now=NOW + 2 * STEP) is None
        with pytest.raises(SignInRefusedError):
            jane.prove(NOW + 3 * STEP)
        assert anew.prove(NOW + 4 * STEP).operator_id == "jane"


class TestSigningIn:
    def test_password_and_code_open_a_session(self, database: Database, jane: Person) -> None:
        value, signed_in = jane.sign_in()
        at = NOW + STEP
        assert rules.SESSION_VALUE.fullmatch(value)
        assert (signed_in.created_at, signed_in.last_seen_at, signed_in.ends_at) == (at, at, at + timedelta(hours=12))
        assert (signed_in.address, signed_in.user_agent) == ("203.0.113.7", "Browser/1")
        with database.read() as session:
            assert service.find_session(session, value, ends=ENDS, now=at) == signed_in
            assert service.get_operator(session, "jane").last_signed_in_at == at
            rows = str(session.execute(text("SELECT * FROM operator_sessions")).all())
        assert value not in rows
        assert acts(database)[-1] == (
            "operator:jane", "operators.sign_in", "done", {"operatorId": "jane", "sessionId": signed_in.session_id},
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("typed", "known"),
        [
            ({"password": "another four words"}, True),
            ({"password": "\ud800"}, True),
            ({"code": "000000"}, True),
            ({"code": ""}, True),
            ({"operator_id": "john"}, False),
            ({"operator_id": "four words make one"}, False),
        ],
    )
    def test_whatever_is_wrong_is_answered_alike_and_recorded(
        self,
        database: Database,
        jane: Person,
        typed: dict[str, Any],
        known: bool,  # noqa: FBT001 - of the table
    ) -> None:
        with pytest.raises(SignInRefusedError, match=r"^Incorrect operator, password or code\.$"):
            jane.prove(**typed)
        who = {"operatorId": "jane"} if known else {}
        assert acts(database)[-1] == ("anonymous", "operators.sign_in", "refused", who)

    def test_a_code_works_once(self, database: Database, jane: Person) -> None:
        first, second = jane.prove(), jane.prove()
        with database.write() as session:
            assert service.claim_sign_in(session, first, now=NOW).operator_id == "jane"
        with pytest.raises(SignInRefusedError), database.write() as session:
            service.claim_sign_in(session, second, now=NOW)
        with pytest.raises(SignInRefusedError):
            jane.prove()
        with pytest.raises(SignInRefusedError):
            jane.prove(NOW)  # the one of enrolling, and an earlier one at that
        assert jane.prove(NOW + 2 * STEP).operator_id
        assert jane.seed not in repr(first)

    def test_who_was_disabled_meanwhile_or_before_does_not_get_in(
        self, database: Database, jane: Person, invite: Invite, enroll: Enroll, operator: Actor
    ) -> None:
        john = enroll(invite("john", "viewer"))
        proof = john.prove()
        with database.write() as session:
            service.disable_operator(session, "john", now=NOW, by=operator)
        with pytest.raises(SignInRefusedError), database.write() as session:
            service.open_session(session, proof, ends=ENDS, caller=jane.caller, now=NOW)
        with pytest.raises(SignInRefusedError):
            john.prove(NOW + 2 * STEP)
        with database.write() as session:
            assert service.enable_operator(session, "john", now=NOW, by=operator).status is Status.ACTIVE
        assert john.prove(NOW + 3 * STEP).operator_id

    def test_who_was_only_invited_does_not_get_in(self, invite: Invite, jane: Person) -> None:
        invite("john")
        with pytest.raises(SignInRefusedError):
            jane.prove(operator_id="john")

    def test_guesses_are_slowed_down_for_one_operator_at_one_address(self, jane: Person) -> None:
        clock = [0.0]
        door = replace(jane.door, guard=SignInGuard(BudgetTable(64), lambda: clock[0]))
        for _ in range(5):
            with pytest.raises(SignInRefusedError):
                jane.prove(door=door, password="a wrong password")
        with pytest.raises(TooManySignInsError) as slowed:
            jane.prove(door=door)
        assert slowed.value.retry_after_seconds == pytest.approx(30)
        elsewhere = replace(jane, caller=replace(jane.caller, neighborhood="198.51.100.1"))
        assert elsewhere.prove(door=door).operator_id, "nobody is kept out from elsewhere"
        clock[0] = 31.0
        assert jane.prove(door=door).operator_id

    def test_one_address_is_slowed_down_whomever_it_names(self, jane: Person) -> None:
        guard = SignInGuard(BudgetTable(64), lambda: 0.0)
        for number in range(20):
            guard.charge(f"o{number}", "203.0.113.7")
        with pytest.raises(TooManySignInsError):
            guard.charge("another", "203.0.113.7")
        guard.charge("another", "203.0.113.8")
        with pytest.raises(TooManySignInsError):
            jane.prove(door=replace(jane.door, guard=guard))

    def test_a_browsers_name_is_cut_and_made_harmless(self, jane: Person) -> None:
        jane.caller = replace(jane.caller, user_agent="A\x1b[31m" + "b" * 500, address=None)
        _, signed_in = jane.sign_in()
        assert signed_in.user_agent == "A[31m" + "b" * 195
        assert signed_in.address is None
        jane.caller = replace(jane.caller, user_agent=None)
        assert jane.sign_in(NOW + 2 * STEP)[1].user_agent is None


class TestSessions:
    def test_a_session_ends_without_use_and_in_any_case(self, database: Database, jane: Person) -> None:
        value, opened = jane.sign_in()
        begun = opened.created_at
        at = begun
        while at < begun + ENDS.absolute:
            assert service.use_session(database, value, ends=ENDS, now=at) is not None
            at += timedelta(minutes=29)
        assert service.use_session(database, value, ends=ENDS, now=at) is None
        other, _ = jane.sign_in(at)
        assert service.use_session(database, other, ends=ENDS, now=at + timedelta(minutes=30)) is None

    def test_its_use_is_kept_once_a_minute(self, database: Database, jane: Person) -> None:
        value, opened = jane.sign_in()

        def seen_after(seconds: int) -> float:
            at = opened.created_at + timedelta(seconds=seconds)
            assert service.use_session(database, value, ends=ENDS, now=at)
            with database.read() as session:
                found = service.find_session(session, value, ends=ENDS, now=at)
            assert found is not None
            return (found.last_seen_at - opened.created_at).total_seconds()

        assert [seen_after(seconds) for seconds in (59, 60, 90, 121)] == [0, 60, 60, 121]

    def test_those_that_have_ended_are_forgotten(self, database: Database, jane: Person) -> None:
        jane.sign_in()
        late = NOW + timedelta(hours=1)
        with database.read() as session:
            assert service.list_sessions(session, "jane", ends=ENDS, now=late) == []
        _, opened = jane.sign_in(late)
        with database.read() as session:
            assert service.list_sessions(session, "jane", ends=ENDS, now=late) == [opened]
            assert session.execute(text("SELECT count(*) FROM operator_sessions")).scalar() == 1

    @pytest.mark.parametrize("value", ["", "x", "eos_" + "0" * 43, "ses_0", "eos_" + "0" * 42 + "é"])
    def test_what_is_no_session_is_none(self, database: Database, jane: Person, value: str) -> None:
        jane.sign_in()
        with database.write() as session:
            assert service.find_session(session, value, ends=ENDS, now=NOW) is None
            assert not service.end_session(session, value, caller=jane.caller, now=NOW)

    def test_who_signs_out_is_out(self, database: Database, jane: Person) -> None:
        value, opened = jane.sign_in()
        other, _ = jane.sign_in(NOW + 2 * STEP)
        with database.write() as session:
            assert service.end_session(session, value, caller=jane.caller, now=NOW)
            assert not service.end_session(session, value, caller=jane.caller, now=NOW)
            assert service.find_session(session, value, ends=ENDS, now=NOW) is None
            assert service.find_session(session, other, ends=ENDS, now=NOW) is not None
        assert acts(database)[-1][1:] == (
            "operators.sign_out", "done", {"operatorId": "jane", "sessionId": opened.session_id},
        )  # fmt: skip

    def test_sessions_are_ended_from_outside(self, database: Database, jane: Person, operator: Actor) -> None:
        first, second = (jane.sign_in(NOW + number * STEP)[1].session_id for number in (1, 2))
        with pytest.raises(SessionNotFoundError), database.write() as session:
            service.end_sessions(session, "jane", now=NOW, by=operator, session_ids=[first, "ses_of_somebody"])
        with database.write() as session:
            assert service.end_sessions(session, "jane", now=NOW, by=operator, session_ids=[first]) == [first]
            assert service.get_operator(session, "jane").epoch == jane.operator.epoch
        with database.write() as session:
            assert service.end_sessions(session, "jane", now=NOW, by=operator) == [second]
            assert service.get_operator(session, "jane").epoch > jane.operator.epoch
        with pytest.raises(OperatorNotFoundError), database.write() as session:
            service.end_sessions(session, "john", now=NOW, by=operator)


class TestChanging:
    def test_another_role_goes_for_open_sessions_and_ends_tokens(
        self, database: Database, invite: Invite, enroll: Enroll, operator: Actor
    ) -> None:
        john = enroll(invite("john", "viewer"))
        value, _ = john.sign_in()
        for outcome in ("done", "unchanged"):
            with database.write() as session:
                changed = service.change_role(session, "john", "representative", now=NOW, by=operator)
            assert acts(database)[-1][2] == outcome
            assert changed.epoch == john.operator.epoch + 1
        with database.read() as session:
            found = service.find_session(session, value, ends=ENDS, now=NOW)
        assert found is not None
        assert found.operator.role is Role.REPRESENTATIVE
        with pytest.raises(InvalidInputError), database.write() as session:
            service.change_role(session, "john", "root", now=NOW, by=operator)

    def test_who_is_disabled_is_out_at_once(
        self, database: Database, invite: Invite, enroll: Enroll, operator: Actor
    ) -> None:
        john = enroll(invite("john", "viewer"))
        value, _ = john.sign_in()
        epoch = john.operator.epoch + 1
        for outcome in ("done", "unchanged"):
            with database.write() as session:
                assert service.disable_operator(session, "john", now=NOW, by=operator).epoch == epoch
                assert service.find_session(session, value, ends=ENDS, now=NOW) is None
            assert acts(database)[-1][1:3] == ("operators.disable", outcome)
        for outcome in ("done", "unchanged"):
            with database.write() as session:
                assert service.enable_operator(session, "john", now=NOW, by=operator).epoch == epoch
            assert acts(database)[-1][1:3] == ("operators.enable", outcome)

    def test_the_last_active_owner_stays(
        self, database: Database, jane: Person, invite: Invite, operator: Actor
    ) -> None:
        invite("john")  # who has not enrolled, and is no help
        with pytest.raises(LastOwnerError), database.write() as session:
            service.disable_operator(session, "jane", now=NOW, by=operator)
        with pytest.raises(LastOwnerError), database.write() as session:
            service.change_role(session, "jane", "viewer", now=NOW, by=operator)
        with database.write() as session:
            assert service.change_role(session, "jane", "owner", now=NOW, by=operator) == jane.operator

    @pytest.mark.measured
    def test_of_two_owners_who_end_each_other_one_stays(
        self, database: Database, jane: Person, invite: Invite, enroll: Enroll, operator: Actor
    ) -> None:
        del jane
        enroll(invite("john"))

        def end(operator_id: str) -> str:
            try:
                with database.write() as session:
                    service.disable_operator(session, operator_id, now=NOW, by=operator)
            except LastOwnerError as error:
                return error.code
            return "done"

        with ThreadPoolExecutor(2) as threads:
            assert sorted(threads.map(end, ["jane", "john"])) == ["done", "last_owner"]

    @pytest.mark.parametrize("act", ["disable_operator", "enable_operator", "get_operator", "change_role"])
    def test_who_does_not_exist_is_not_found(self, database: Database, operator: Actor, act: str) -> None:
        options: dict[str, Any] = {} if act == "get_operator" else {"now": NOW, "by": operator}
        more = ["viewer"] if act == "change_role" else []
        with pytest.raises(NotFoundError), database.write() as session:
            getattr(service, act)(session, "a password in the wrong place", *more, **options)


class TestPeppers:
    def test_a_password_comes_under_the_new_pepper_at_the_next_sign_in(
        self, database: Database, jane: Person, settings: Settings, operator: Actor
    ) -> None:
        path = settings.peppers_file
        old = merchants.load_peppers(path).current
        merchants.rotate_peppers(path, now=utc_now())
        peppers = merchants.load_peppers(path)
        door = replace(fresh(jane.door), keys=lambda: OperatorKeys(peppers.current, peppers.keys))
        with pytest.raises(PepperInUseError, match="operators"):
            merchants.retire_pepper(database, path, old, now=NOW, by=operator)
        with database.read() as session:
            assert [each.operators for each in merchants.list_peppers(session, path, now=utc_now())] == [0, 1]
        jane.sign_in(NOW + STEP, door=door)
        with database.read() as session:
            assert service.count_under_peppers(session) == {peppers.current: 1}
        assert merchants.retire_pepper(database, path, old, now=NOW, by=operator).operators == 0
        rest = merchants.load_peppers(path)
        alone = replace(fresh(door), keys=lambda: OperatorKeys(rest.current, rest.keys))
        assert jane.prove(NOW + 2 * STEP, door=alone).operator_id

    def test_by_force_its_operators_have_to_be_invited_again(
        self, database: Database, invite: Invite, enroll: Enroll, settings: Settings, operator: Actor
    ) -> None:
        jane, john = enroll(invite()), enroll(invite("john", "viewer"))
        with database.write() as session:
            service.disable_operator(session, "john", now=NOW, by=operator)
        value, _ = jane.sign_in()
        path = settings.peppers_file
        old = merchants.load_peppers(path).current
        merchants.rotate_peppers(path, now=utc_now())
        assert merchants.retire_pepper(database, path, old, now=NOW, by=operator, force=True).operators == 2
        with database.read() as session:
            assert service.find_session(session, value, ends=ENDS, now=NOW + STEP) is None
            left = service.list_operators(session)
        assert [(each.operator_id, each.status, each.has_password) for each in left] == [
            ("jane", Status.INVITED, False), ("john", Status.DISABLED, False),
        ]  # fmt: skip
        assert acts(database)[-1][3]["operators"] == 2
        with pytest.raises(SignInRefusedError):
            john.prove(NOW + 2 * STEP)

    def test_without_its_pepper_a_password_is_wrong(self, jane: Person) -> None:
        door = replace(jane.door, keys=lambda: OperatorKeys("x", {"x": b"x" * 32}))
        with pytest.raises(SignInRefusedError):
            jane.prove(door=door)

    def test_peppers_under_which_only_passwords_are_kept_are_missed(self, database: Database, jane: Person) -> None:
        assert jane.operator.has_password
        with database.read() as session:
            assert merchants.has_credentials(session)


def test_after_a_restore_nothing_from_before_opens_anything(
    database: Database, jane: Person, invite: Invite, keys: OperatorKeys
) -> None:
    value, _ = jane.sign_in()
    invitation = invite("john")
    with database.write() as session:
        service.end_all_access(session, now=NOW)
        assert service.find_session(session, value, ends=ENDS, now=NOW) is None
        with pytest.raises(InvitationNotFoundError):
            service.begin_enrolment(session, invitation.token, keys=keys, now=NOW)
        first = service.get_operator(session, "jane").epoch
        service.end_all_access(session, now=NOW - timedelta(days=1))
        assert service.get_operator(session, "jane").epoch == first + 1
    assert first > 100_000_000


def test_errors_are_conflicts_that_commands_and_http_can_tell() -> None:
    assert {error.code for error in (SignInRefusedError(), WrongCodeError())} == {"sign_in_refused", "wrong_code"}
    assert issubclass(SignInRefusedError, ConflictError)


def test_what_was_typed_is_not_shown() -> None:
    assert repr(Attempt("jane", "four words make one", "123456")) == "Attempt(operator_id='jane')"
