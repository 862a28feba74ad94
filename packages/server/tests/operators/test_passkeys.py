"""Passkeys: added with password and code, good for one answer at a time, at this console alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fido2.cose import ES384
from fido2.webauthn import AuthenticatorData
from sqlalchemy import text

from ecross_server.audit.service import Actor, RecordFilter, list_records
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import DomainError, InvalidInputError
from ecross_server.merchants import service as merchants
from ecross_server.operators import passkeys, service
from ecross_server.operators.errors import (
    OperatorNotFoundError,
    PasskeyNotFoundError,
    PasskeyRefusedError,
    PasskeyTooLateError,
    PasskeyUnusableError,
    SignInRefusedError,
    TooManyPasskeysError,
    TooManySignInsError,
)
from ecross_server.operators.passkeys import Passkey
from ecross_server.operators.rules import CHALLENGE_LIFE, OperatorKeys
from ecross_server.operators.service import Caller, Door, Invitation, SessionEnds, SignedIn, SignInGuard
from ecross_server.operators.webauthn import RelyingParty
from ecross_server.settings import Settings
from packages.server.tests.authenticators import Device
from packages.server.tests.operators.conftest import NOW, STEP, Person, fresh

PARTY = RelyingParty("console.example.com", "https://console.example.com")
LATER = NOW + timedelta(minutes=20)
MISSING: Any = object()


class Act(NamedTuple):
    """What the audit trail tells."""

    actor: str
    outcome: str
    address: str | None
    details: dict[str, str]


@dataclass
class Desk:
    """Where passkeys are added and used."""

    database: Database
    person: Person
    session_id: str = "ses_1"
    proofs: int = 0

    @property
    def door(self) -> Door:
        return self.person.door

    @property
    def by(self) -> Actor:
        return self.person.caller.actor("jane")

    def begin(self, label: str = "Laptop", at: datetime | None = None, party: RelyingParty = PARTY) -> Any:
        """Type password and code, for what a browser makes a passkey with."""
        self.proofs += 1
        proof = self.person.prove(at or NOW + self.proofs * STEP, door=fresh(self.door))
        with self.database.write() as session:
            return passkeys.begin_passkey(
                session, proof, label, session_id=self.session_id, party=party, keys=self.door.keys(),
                now=at or NOW + self.proofs * STEP,
            )  # fmt: skip

    def keep(self, said: str, label: str = "Laptop", at: datetime = NOW, **others: Any) -> Passkey:
        """Send what the browser has made."""
        signed_in = SignedIn(self.person.operator, self.session_id, NOW, NOW, LATER, None, None)
        with self.database.write() as session:
            return passkeys.add_passkey(
                session, replace(signed_in, **others), label, said, party=PARTY, keys=self.door.keys(), now=at,
                by=self.by,
            )  # fmt: skip

    def add(self, device: Device, label: str = "Laptop") -> Passkey:
        """Both."""
        return self.keep(device.create(self.begin(label)), label)

    def ask(self, at: datetime = LATER, keys: OperatorKeys | None = None) -> Any:
        """What a browser asks for a passkey with."""
        return passkeys.ask_for_passkey(PARTY, keys=keys or self.door.keys(), now=at)

    def enter(
        self, said: str, at: datetime = LATER, *, door: Door | None = None, caller: Caller | None = None
    ) -> tuple[str, service.SignedIn]:
        """Sign in with an answer."""
        caller = caller or self.person.caller
        proof = passkeys.check_passkey(self.database, said, party=PARTY, door=door or self.door, caller=caller, now=at)
        with self.database.write() as session:
            return passkeys.open_session(session, proof, ends=SessionEnds(), caller=caller, now=at)

    def listed(self) -> list[Passkey]:
        with self.database.read() as session:
            return passkeys.list_passkeys(session, "jane")

    def acts(self, action: str) -> list[Act]:
        """What is recorded of that, the newest first."""
        with self.database.read() as session:
            drafts = [record.draft for record in list_records(session, RecordFilter(action=action))][::-1]
        return [Act(each.actor, each.outcome, each.address, json.loads(each.details or "{}")) for each in drafts]


@pytest.fixture
def desk(database: Database, jane: Person) -> Desk:
    return Desk(database, jane)


@pytest.fixture
def device() -> Device:
    return Device()


class TestAdding:
    def test_it_takes_password_and_code_and_is_recorded(self, desk: Desk, device: Device) -> None:
        options = desk.begin("Jane's laptop")
        assert (options["rp"]["id"], options["attestation"]) == ("console.example.com", "none")
        assert options["authenticatorSelection"] == {
            "residentKey": "required", "requireResidentKey": True, "userVerification": "required",
        }  # fmt: skip
        assert "jane" not in options["user"]["id"]
        added = desk.keep(device.create(options), "Jane's laptop")
        assert (added.operator_id, added.label, added.created_at, added.last_used_at) == (
            "jane", "Jane's laptop", NOW, None,
        )  # fmt: skip
        assert desk.listed() == [added]
        [act] = desk.acts("operators.add_passkey")
        assert act.details == {"operatorId": "jane", "passkeyId": added.passkey_id, "label": "Jane's laptop"}
        assert (act.actor, act.address) == ("operator:jane", "203.0.113.7")

    def test_a_proof_serves_for_one(self, desk: Desk, jane: Person) -> None:
        proof = jane.prove()
        with desk.database.write() as session:
            service.claim_sign_in(session, proof, now=NOW)
        with pytest.raises(SignInRefusedError), desk.database.write() as session:
            passkeys.begin_passkey(
                session, proof, "Laptop", session_id="ses_1", party=PARTY, keys=desk.door.keys(), now=NOW
            )

    def test_devices_that_are_known_are_named_so_that_none_makes_a_second_one(self, desk: Desk, device: Device) -> None:
        desk.add(device)
        [known] = desk.begin()["excludeCredentials"]
        assert known["id"] == json.loads(device.get(desk.ask()))["id"]

    @pytest.mark.parametrize("label", ["", " ", "x" * 65, "a\nb", "a\u202eb"])
    def test_a_label_is_a_line_of_text(self, desk: Desk, device: Device, label: str) -> None:
        with pytest.raises(InvalidInputError) as caught:
            desk.begin(label)
        assert [fault.path for fault in caught.value.faults] == ["label"]
        said = device.create(desk.begin())
        with pytest.raises(InvalidInputError):
            desk.keep(said, label)
        assert desk.listed() == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"origin": "https://evil.example"}, {"origin": "http://console.example.com"},
            {"origin": "https://console.example.com:8443"}, {"cross_origin": True}, {"type": "webauthn.get"},
            {"challenge": b"x" * 36}, {"challenge": b"x"}, {"challenge": b""},
        ],
        ids=str,
    )  # fmt: skip
    def test_what_was_made_elsewhere_or_for_something_else_is_not_kept(
        self, desk: Desk, device: Device, wrong: Any
    ) -> None:
        with pytest.raises(PasskeyUnusableError):
            desk.keep(device.create(desk.begin(), **wrong))
        assert desk.listed() == []

    @pytest.mark.parametrize(
        "device",
        [
            Device(party_id="evil.example"), Device(flags=AuthenticatorData.FLAG.UP),
            Device(flags=AuthenticatorData.FLAG.UV), Device(credential_id=b""), Device(credential_id=b"x" * 1024),
        ],
        ids=["for another console", "nobody was asked", "nobody was there", "no id", "an id too long"],
    )  # fmt: skip
    def test_what_was_made_in_another_way_is_not_kept(self, desk: Desk, device: Device) -> None:
        with pytest.raises(PasskeyUnusableError):
            desk.keep(device.create(desk.begin()))

    def test_an_id_that_is_not_the_keys_is_not_kept(self, desk: Desk, device: Device) -> None:
        said = json.loads(device.create(desk.begin()))
        with pytest.raises(PasskeyUnusableError):
            desk.keep(json.dumps({**said, "id": "AAAA", "rawId": "AAAA"}))

    def test_a_key_of_another_kind_than_was_asked_for_is_not_kept(self, desk: Desk) -> None:
        device = Device(key=ec.generate_private_key(ec.SECP384R1()), kind=ES384)
        with pytest.raises(PasskeyUnusableError):
            desk.keep(device.create(desk.begin()))

    @pytest.mark.parametrize(
        "said", ["", "{}", "[]", "null", "1", '"x"', '{"response": {}}', "{" * 5000, '{"response": 1}', "x" * 12_001]
    )
    def test_what_is_no_answer_is_not_kept(self, desk: Desk, said: str) -> None:
        with pytest.raises(PasskeyUnusableError):
            desk.keep(said)

    def test_a_part_that_is_missing_or_broken_is_noticed(self, desk: Desk, device: Device) -> None:
        said = json.loads(device.create(desk.begin()))
        for spoiled in spoil(said):
            with pytest.raises(PasskeyUnusableError):
                desk.keep(json.dumps(spoiled))
        desk.keep(json.dumps(said))

    def test_a_challenge_is_for_one_session_of_one_operator(self, desk: Desk, device: Device) -> None:
        said = device.create(desk.begin())
        jane = desk.person.operator
        for operator_id, session_id in (("jane", "ses_2"), ("john", "ses_1"), ("jane\0ses_1", ""), ("jan", "e\0ses_1")):
            with pytest.raises(PasskeyUnusableError):
                desk.keep(said, operator=replace(jane, operator_id=operator_id), session_id=session_id)
        with pytest.raises(PasskeyUnusableError):
            desk.keep(device.create({**desk.begin(), "challenge": desk.ask(NOW)["challenge"]}))
        desk.keep(said)

    def test_after_ten_minutes_it_is_too_late(self, desk: Desk, device: Device) -> None:
        said = device.create(desk.begin())
        with pytest.raises(PasskeyTooLateError):
            desk.keep(said, at=NOW + STEP + CHALLENGE_LIFE)
        desk.keep(said, at=NOW + STEP + CHALLENGE_LIFE - timedelta(seconds=1))

    def test_an_answer_is_kept_once_also_when_the_passkey_is_gone(
        self, desk: Desk, device: Device, operator: Actor
    ) -> None:
        said = device.create(desk.begin())
        added = desk.keep(said)
        with pytest.raises(PasskeyUnusableError):
            desk.keep(said)
        with desk.database.write() as session:
            passkeys.remove_passkey(session, "jane", added.passkey_id, now=NOW, by=operator)
        with pytest.raises(PasskeyUnusableError):
            desk.keep(said)
        assert desk.listed() == []

    def test_ten_are_enough(self, desk: Desk) -> None:
        for _ in range(9):
            desk.add(Device())
        last = desk.begin()
        desk.add(Device())
        with pytest.raises(TooManyPasskeysError):
            desk.begin()
        with pytest.raises(TooManyPasskeysError):
            desk.keep(Device().create(last))
        assert len(desk.listed()) == 10

    def test_whoever_was_disabled_meanwhile_adds_none(
        self, desk: Desk, device: Device, invite: Callable[..., Invitation], enroll: Callable[..., Person],
        operator: Actor,
    ) -> None:  # fmt: skip
        enroll(invite("john"))
        said = device.create(desk.begin())
        with desk.database.write() as session:
            service.disable_operator(session, "jane", now=NOW, by=operator)
        with pytest.raises(PasskeyUnusableError):
            desk.keep(said)


def spoil(said: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answer with each of its parts gone, empty, of another kind, or cut off."""
    for name, content in said["response"].items():
        if name == "userHandle":
            continue  # which may be missing
        for other in (MISSING, "", 1, None, "=", content[:-8], content[8:], "\u00e9"):
            response = {**said["response"], name: other}
            if other is MISSING:
                del response[name]
            yield {**said, "response": response}
    for name in ("rawId", "response"):
        yield {other: content for other, content in said.items() if other != name}
    yield {**said, "rawId": "AAAA"}
    yield {**said, "id": "AAAA"}


class TestSigningIn:
    def test_a_passkey_opens_a_session(self, desk: Desk, device: Device) -> None:
        added = desk.add(device)
        value, signed_in = desk.enter(device.get(desk.ask()))
        assert (signed_in.operator.operator_id, signed_in.address) == ("jane", "203.0.113.7")
        with desk.database.read() as session:
            found = service.find_session(session, value, ends=SessionEnds(), now=LATER)
        assert found is not None
        assert found.operator.last_signed_in_at == LATER
        assert desk.listed() == [replace(added, last_used_at=LATER)]
        assert desk.acts("operators.sign_in")[0].details == {
            "operatorId": "jane", "sessionId": signed_in.session_id, "passkeyId": added.passkey_id,
        }  # fmt: skip

    def test_a_device_that_does_not_count_or_name_its_owner_does_as_well(self, desk: Desk) -> None:
        device = Device(counts=False)
        desk.add(device)
        device.handle = None
        for _ in range(2):
            desk.enter(device.get(desk.ask()))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"origin": "https://evil.example"}, {"origin": "https://console.example.com.evil.example"},
            {"cross_origin": True}, {"type": "webauthn.create"}, {"challenge": b"x" * 36}, {"challenge": b""},
        ],
        ids=str,
    )  # fmt: skip
    def test_an_answer_to_somebody_else_opens_nothing(self, desk: Desk, device: Device, wrong: Any) -> None:
        added = desk.add(device)
        refuse(desk, device.get(desk.ask(), **wrong))
        assert desk.listed() == [added]

    def test_each_answer_works_once(self, desk: Desk) -> None:
        device = Device(counts=False)
        desk.add(device)
        said = device.get(desk.ask())
        desk.enter(said)
        with pytest.raises(PasskeyRefusedError):
            desk.enter(said)

    def test_of_many_at_once_one_gets_in(self, desk: Desk) -> None:
        device = Device(counts=False)
        desk.add(device)
        said = device.get(desk.ask())

        def enter() -> bool:
            try:
                desk.enter(said)
            except PasskeyRefusedError:
                return False
            return True

        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(lambda _: enter(), range(8))) == 1

    def test_after_ten_minutes_it_is_too_late(self, desk: Desk, device: Device) -> None:
        desk.add(device)
        said = device.get(desk.ask())
        with pytest.raises(PasskeyTooLateError):
            desk.enter(said, LATER + CHALLENGE_LIFE)
        desk.enter(said, LATER + CHALLENGE_LIFE - timedelta(seconds=1))

    def test_a_challenge_to_add_one_opens_nothing(self, desk: Desk, device: Device) -> None:
        desk.add(device)
        refuse(desk, device.get(desk.begin()), NOW)

    def test_a_copy_that_counts_behind_is_refused(self, desk: Desk, device: Device) -> None:
        added = desk.add(device)
        copy = replace(device)
        for _ in range(3):
            desk.enter(device.get(desk.ask()))
        refuse(desk, copy.get(desk.ask()))
        assert desk.acts("operators.sign_in")[0].details == {
            "way": "passkey", "operatorId": "jane", "passkeyId": added.passkey_id,
        }  # fmt: skip
        device.count = -1
        refuse(desk, device.get(desk.ask()))

    def test_unknown_removed_and_anothers_passkeys_are_refused_alike(
        self, desk: Desk, device: Device, operator: Actor
    ) -> None:
        added = desk.add(device)
        stranger = Device()
        refuse(desk, stranger.get(desk.ask()))
        assert desk.acts("operators.sign_in")[0].details == {"way": "passkey"}
        refuse(desk, replace(device, key=stranger.key).get(desk.ask()))
        refuse(desk, replace(device, handle=b"another").get(desk.ask()))
        refuse(desk, replace(device, party_id="evil.example").get(desk.ask()))
        refuse(desk, replace(device, flags=AuthenticatorData.FLAG.UP).get(desk.ask()))
        with desk.database.write() as session:
            passkeys.remove_passkey(session, "jane", added.passkey_id, now=NOW, by=operator)
        refuse(desk, device.get(desk.ask()))

    def test_a_part_that_is_missing_or_broken_is_noticed(self, desk: Desk, device: Device) -> None:
        desk.add(device)
        said = json.loads(device.get(desk.ask()))
        for spoiled in spoil(said):
            refuse(desk, json.dumps(spoiled))
        desk.enter(json.dumps(said))

    def test_what_is_no_answer_is_refused(self, desk: Desk) -> None:
        for said in ("", "{}", "null", "{" * 5000, '{"response": {"attestationObject": ""}}'):
            refuse(desk, said)

    def test_what_was_made_to_add_one_is_refused(self, desk: Desk, device: Device) -> None:
        desk.add(device)
        refuse(desk, device.create({**desk.ask(), "user": {"id": ""}}))

    def test_a_row_that_was_written_into_the_database_opens_nothing(
        self, desk: Desk, device: Device, invite: Callable[..., Invitation], enroll: Callable[..., Person]
    ) -> None:
        enroll(invite("john"))
        added = desk.add(device)
        device.handle = None
        before = {"id": added.passkey_id, "operator_id": "jane", "pepper_id": desk.door.keys().current}
        for change in ({"operator_id": "john"}, {"id": "psk_x"}, {"pepper_id": "pep_x"}):
            write(desk, before | change)
            refuse(desk, device.get(desk.ask()))
        write(desk, before)
        desk.enter(device.get(desk.ask()))

    def test_who_is_disabled_is_refused_and_gets_in_again_when_enabled(
        self, desk: Desk, device: Device, invite: Callable[..., Invitation], enroll: Callable[..., Person],
        operator: Actor,
    ) -> None:  # fmt: skip
        enroll(invite("john"))
        desk.add(device)
        proof = passkeys.check_passkey(
            desk.database, device.get(desk.ask()), party=PARTY, door=desk.door, caller=desk.person.caller, now=LATER
        )
        with desk.database.write() as session:
            service.disable_operator(session, "jane", now=NOW, by=operator)
        with pytest.raises(PasskeyRefusedError), desk.database.write() as session:
            passkeys.open_session(session, proof, ends=SessionEnds(), caller=desk.person.caller, now=LATER)
        refuse(desk, device.get(desk.ask()))
        with desk.database.write() as session:
            service.enable_operator(session, "jane", now=NOW, by=operator)
        desk.enter(device.get(desk.ask()))

    def test_whoever_tries_too_often_waits(self, desk: Desk) -> None:
        for _ in range(SignInGuard.ADDRESS_TRIES):
            with pytest.raises(PasskeyRefusedError):
                desk.enter("{}")
        with pytest.raises(TooManySignInsError):
            desk.enter("{}")


def write(desk: Desk, values: dict[str, str]) -> None:
    """Change the only passkey behind the server's back."""
    with desk.database.write() as session:
        session.execute(
            text("UPDATE operator_passkeys SET id = :id, operator_id = :operator_id, pepper_id = :pepper_id"), values
        )


def refuse(desk: Desk, said: str, at: datetime = LATER) -> None:
    """Try, from an address of its own, and be refused and recorded."""
    before = len(desk.acts("operators.sign_in"))
    caller = replace(desk.person.caller, neighborhood=f"{before}")
    with pytest.raises(PasskeyRefusedError) as caught:
        desk.enter(said, at, caller=caller)
    assert caught.value.message == PasskeyRefusedError().message
    acts = desk.acts("operators.sign_in")
    assert (len(acts), acts[0].outcome, acts[0].actor) == (before + 1, "refused", "anonymous")


class TestEnding:
    def test_a_new_enrolment_ends_them(
        self, desk: Desk, device: Device, keys: OperatorKeys, enroll: Callable[..., Person], operator: Actor
    ) -> None:
        desk.add(device)
        with desk.database.write() as session:
            invitation = service.reinvite_operator(session, "jane", keys=keys, now=NOW, by=operator)
        desk.enter(device.get(desk.ask()))
        enroll(invitation)
        assert desk.listed() == []
        refuse(desk, device.get(desk.ask()))

    def test_one_is_removed_by_its_id(self, desk: Desk, device: Device, operator: Actor) -> None:
        added, other = desk.add(device), desk.add(Device(), "Phone")
        with desk.database.write() as session:
            passkeys.remove_passkey(session, "jane", added.passkey_id, now=NOW, by=operator)
        assert desk.listed() == [other]
        assert desk.acts("operators.remove_passkey")[0].details == {
            "operatorId": "jane", "passkeyId": added.passkey_id,
        }  # fmt: skip
        wrong: list[tuple[str, str, type[DomainError]]] = [
            ("jane", added.passkey_id, PasskeyNotFoundError), ("nobody", other.passkey_id, OperatorNotFoundError),
        ]  # fmt: skip
        for operator_id, passkey_id, error in wrong:
            with pytest.raises(error), desk.database.write() as session:
                passkeys.remove_passkey(session, operator_id, passkey_id, now=NOW, by=operator)
        with pytest.raises(OperatorNotFoundError), desk.database.read() as session:
            passkeys.list_passkeys(session, "nobody")

    def test_nobody_removes_anothers(
        self, desk: Desk, device: Device, invite: Callable[..., Invitation], enroll: Callable[..., Person],
        operator: Actor,
    ) -> None:  # fmt: skip
        enroll(invite("john"))
        added = desk.add(device)
        with pytest.raises(PasskeyNotFoundError), desk.database.write() as session:
            passkeys.remove_passkey(session, "john", added.passkey_id, now=NOW, by=operator)
        assert desk.listed() == [added]


class TestPeppers:
    @pytest.fixture
    def rotated(self, desk: Desk, device: Device, settings: Settings) -> tuple[Door, str]:
        """After a passkey was added there is a new pepper: the way in with it, and the old one's id."""
        desk.add(device)
        path = settings.peppers_file
        old = merchants.load_peppers(path).current
        merchants.rotate_peppers(path, now=utc_now())
        peppers = merchants.load_peppers(path)
        return replace(desk.door, keys=lambda: OperatorKeys(peppers.current, peppers.keys)), old

    def under(self, desk: Desk) -> str:
        with desk.database.read() as session:
            found: str = session.execute(text("SELECT pepper_id FROM operator_passkeys")).scalar_one()
        return found

    def test_its_use_brings_it_under_the_new_one(self, desk: Desk, device: Device, rotated: tuple[Door, str]) -> None:
        door, old = rotated
        said = device.get(desk.ask())  # of a page that was opened before
        assert self.under(desk) == old
        desk.enter(said, door=door)
        assert self.under(desk) == door.keys().current
        desk.enter(device.get(desk.ask(keys=door.keys())), door=door)

    def test_so_does_a_password(self, desk: Desk, device: Device, rotated: tuple[Door, str], jane: Person) -> None:
        door, _ = rotated
        jane.sign_in(LATER, door=door)
        assert self.under(desk) == door.keys().current
        desk.enter(device.get(desk.ask(keys=door.keys())), door=door)

    def test_one_that_goes_takes_it_along(
        self, desk: Desk, rotated: tuple[Door, str], settings: Settings, operator: Actor
    ) -> None:
        _, old = rotated
        merchants.retire_pepper(desk.database, settings.peppers_file, old, now=NOW, by=operator, force=True)
        assert desk.listed() == []


@pytest.mark.parametrize(
    ("url", "party"),
    [
        ("https://console.example.com", ("console.example.com", "https://console.example.com")),
        ("https://Console.example.com:443", ("console.example.com", "https://console.example.com")),
        ("https://console.example.com:8443/x", ("console.example.com", "https://console.example.com:8443")),
        ("http://localhost:8001", ("localhost", "http://localhost:8001")),
        ("http://127.0.0.1:8001", ("localhost", "http://localhost:8001")),
        ("https://[::1]:8001", ("localhost", "https://localhost:8001")),
        ("http://localhost:80", ("localhost", "http://localhost")),
        ("http://console.example.com", None), ("https://192.0.2.1", None), ("https://[2001:db8::1]:8001", None),
        ("", None),
    ],
)  # fmt: skip
def test_passkeys_are_for_a_name_that_browsers_trust(url: str, party: tuple[str, str] | None) -> None:
    assert RelyingParty.of(url) == (None if party is None else RelyingParty(*party))


def test_what_opens_something_is_not_shown(desk: Desk, device: Device) -> None:
    desk.add(device)
    proof = passkeys.check_passkey(
        desk.database, device.get(desk.ask()), party=PARTY, door=desk.door, caller=desk.person.caller, now=LATER
    )
    assert "seal" not in repr(proof)
    assert "peppers" not in repr(proof)
