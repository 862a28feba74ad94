"""A client's secret is replaced while both work, or at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select, update

from ecross_server.audit.rules import Actor, TokenEvent, derive_keys
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.kit.database import Database
from ecross_server.kit.errors import ConflictError, InvalidInputError, NotFoundError
from ecross_server.merchants import repository, rotation, service
from ecross_server.merchants.errors import (
    ClientNotFoundError,
    ClientRevokedError,
    LastSecretError,
    MerchantDisabledError,
    NoRotationError,
    SecretEndedError,
    SecretInUseError,
    SecretNotFoundError,
    TooManySecretsError,
)
from ecross_server.merchants.models import Client, Secret, SecretUse
from ecross_server.merchants.rules import Peppers, hour_of, is_client_secret, new_client_secret
from ecross_server.merchants.service import RegistryClient
from ecross_server.merchants.uses import KEPT_HOURS, UseMeter, note_secret_uses, read_meter

if TYPE_CHECKING:
    from conftest import Register

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Acme:
    """A merchant's client, and all that is done with it."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self.database = database
        self.peppers = peppers
        with database.write() as session:
            service.register_merchant(session, "ACME", "Acme", now=NOW, by=BY)
            issued = service.issue_credential(session, "ACME", peppers=peppers, now=NOW, by=BY, label="ERP")
        self.client_id = issued.client.id
        self.first = issued.secret.id
        self.first_secret = issued.client_secret

    def act(self, act: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        with self.database.write() as session:
            return act(session, self.client_id, *arguments, **{"by": BY, "now": NOW} | options)

    def rotate(self, **options: Any) -> rotation.RotatedCredential:
        made: rotation.RotatedCredential = self.act(rotation.rotate_credential, peppers=self.peppers, **options)
        return made

    def leaked(self, *arguments: Any, **options: Any) -> rotation.LeakReceipt:
        receipt: rotation.LeakReceipt = self.act(rotation.replace_leaked, *arguments, peppers=self.peppers, **options)
        return receipt

    def use(self, secret_id: str, *instants: datetime) -> None:
        uses = [use(secret_id, instant) for instant in instants]
        with self.database.write() as session:
            note_secret_uses(session, uses)

    def client(self) -> Client:
        with self.database.read() as session:
            client = session.get_one(Client, self.client_id)
            assert client.secrets is not None
            return client

    def statuses(self) -> list[str]:
        return [secret.status for secret in self.client().secrets]

    def known(self, since: int = 0) -> RegistryClient:
        with self.database.read() as session:
            [client] = service.read_registry_changes(session, since)[1]
        return client

    def revision(self) -> int:
        with self.database.read() as session:
            return service.registry_position(session).revision

    def last_record(self) -> tuple[str, str | None, str, Any]:
        with self.database.read() as session:
            *_, record = list_records(session, RecordFilter(client_id=self.client_id))
        draft = record.draft
        return draft.action, draft.secret_id, draft.outcome, json.loads(draft.details or "null")


def use(secret_id: str | None, at: datetime, address: str = "203.0.113.7") -> TokenEvent:
    return TokenEvent(at.timestamp(), "issued", "acme", "ACME", address, "r", secret_id, "t", None)


@pytest.fixture
def acme(database: Database, peppers: Peppers) -> Acme:
    return Acme(database, peppers)


class TestRotate:
    def test_both_secrets_open_until_the_overlap_is_over(self, acme: Acme) -> None:
        before = acme.revision()
        made = acme.rotate(label="ERP 2", overlap=DAY)
        assert is_client_secret(made.client_secret)
        assert made.client_secret not in repr(made)
        assert made.old is not None
        assert (made.old.id, made.old.retires_at) == (acme.first, NOW + DAY)
        assert (made.client.id, made.secret.label) == (acme.client_id, "ERP 2")
        known = acme.known(since=before)
        assert [(each.secret_id, each.ends_at) for each in known.secrets] == [
            (acme.first, (NOW + DAY).timestamp()), (made.secret.id, None),
        ]  # fmt: skip
        assert known.secrets[1].digest == acme.peppers.digest(made.client_secret)
        assert known.epoch == 1, "no token ends"
        assert acme.last_record() == (
            "credentials.rotate", made.secret.id, "done",
            {"old": acme.first, "retiresAt": "2026-01-03T03:04:05.678Z"},
        )  # fmt: skip

    def test_without_a_date_the_old_one_stays(self, acme: Acme) -> None:
        assert acme.rotate().old.retires_at is None  # type: ignore[union-attr] # there is one
        assert [each.ends_at for each in acme.known().secrets] == [None, None]

    def test_an_end_that_was_planned_stays_unless_another_is_given(self, acme: Acme) -> None:
        new = acme.rotate(overlap=DAY).secret.id
        acme.act(rotation.retire_secret, new, force=True)
        assert acme.rotate().old.retires_at == NOW + DAY  # type: ignore[union-attr] # there is one

    def test_the_earlier_end_counts(self, acme: Acme, database: Database) -> None:
        with database.write() as session:
            session.execute(update(Secret).values(expires_at=NOW + HOUR))
        acme.rotate(retire_old_at=NOW + DAY)
        assert acme.known().secrets[0].ends_at == (NOW + HOUR).timestamp()

    def test_a_third_live_secret_is_refused(self, acme: Acme) -> None:
        second = acme.rotate(overlap=DAY).secret.id
        before = acme.revision()
        with pytest.raises(TooManySecretsError, match=f"{acme.first} and {second}") as caught:
            acme.rotate(now=NOW + DAY - timedelta(milliseconds=1))
        assert isinstance(caught.value, ConflictError)
        assert acme.revision() == before
        third = acme.rotate(now=NOW + DAY).secret.id
        assert acme.statuses() == ["retired", "active", "active"]
        assert [each.secret_id for each in acme.known().secrets] == [second, third], "never more than two"

    def test_one_that_has_expired_is_replaced_and_not_retired(self, acme: Acme, database: Database) -> None:
        with database.write() as session:
            session.execute(update(Secret).values(expires_at=NOW))
        made = acme.rotate(overlap=DAY)
        assert made.old is None
        assert acme.statuses() == ["expired", "active"]
        assert acme.last_record()[3] is None

    def test_what_cannot_be_is_refused(self, acme: Acme, database: Database) -> None:
        for wrong in ({"label": ""}, {"retire_old_at": NOW}):
            with pytest.raises(InvalidInputError):
                acme.rotate(**wrong)
        with pytest.raises(ClientNotFoundError), database.write() as session:
            rotation.rotate_credential(session, "acme-nobody", peppers=acme.peppers, now=NOW, by=BY)
        with database.write() as session:
            service.disable_merchant(session, "ACME", by=BY)
        with pytest.raises(MerchantDisabledError):
            acme.rotate()
        with database.write() as session:
            service.revoke_client(session, acme.client_id, by=BY)
        for act in (acme.rotate, acme.leaked):
            with pytest.raises(ClientRevokedError, match="for good"):
                act()
        assert acme.statuses() == ["revoked"]


class TestCancel:
    def test_the_old_one_lives_on_and_the_new_one_ends(self, acme: Acme) -> None:
        new = acme.rotate(overlap=DAY).secret.id
        before = acme.revision()
        client = acme.act(rotation.cancel_rotation)
        assert [(each.status, each.retires_at) for each in client.secrets] == [("active", None), ("retired", None)]
        [left] = acme.known(since=before).secrets
        assert (left.secret_id, left.ends_at) == (acme.first, None)
        assert acme.last_record() == (
            "credentials.cancel_rotation", new, "done", {"kept": acme.first},
        )  # fmt: skip

    def test_is_refused_once_the_new_one_was_used(self, acme: Acme) -> None:
        new = acme.rotate(overlap=DAY).secret.id
        acme.use(new, NOW)
        with pytest.raises(SecretInUseError, match=f"{new} was used at 2026-01-02T03:04:05.678Z") as caught:
            acme.act(rotation.cancel_rotation)
        assert isinstance(caught.value, ConflictError)
        acme.act(rotation.cancel_rotation, force=True)
        assert acme.statuses() == ["active", "retired"]

    def test_without_a_rotation_there_is_nothing_to_cancel(self, acme: Acme) -> None:
        acme.rotate(overlap=DAY)
        with pytest.raises(NoRotationError):
            acme.act(rotation.cancel_rotation, now=NOW + DAY)
        assert acme.statuses() == ["active", "active"]


class TestRetire:
    def test_an_unused_one_ends_and_no_token_with_it(self, acme: Acme) -> None:
        new = acme.rotate().secret.id
        acme.use(acme.first, NOW - DAY)
        acme.use(new, NOW)
        before = acme.revision()
        acme.act(rotation.retire_secret, acme.first)
        known = acme.known(since=before)
        assert [each.secret_id for each in known.secrets] == [new]
        assert known.epoch == 1
        assert acme.last_record() == ("credentials.retire", acme.first, "done", None)
        acme.act(rotation.retire_secret, acme.first)
        assert acme.last_record()[2] == "unchanged"
        assert acme.statuses() == ["retired", "active"]

    def test_one_in_use_is_ended_by_force_alone(self, acme: Acme) -> None:
        acme.rotate()
        acme.use(acme.first, NOW - DAY + timedelta(milliseconds=1))
        with pytest.raises(SecretInUseError):
            acme.act(rotation.retire_secret, acme.first)
        assert acme.statuses() == ["active", "active"]
        acme.act(rotation.retire_secret, acme.first, force=True)
        assert acme.statuses() == ["retired", "active"]

    def test_the_last_one_that_is_to_stay_likewise(self, acme: Acme) -> None:
        with pytest.raises(LastSecretError):
            acme.act(rotation.retire_secret, acme.first)
        new = acme.rotate(overlap=DAY).secret.id
        with pytest.raises(LastSecretError, match=new):
            acme.act(rotation.retire_secret, new)
        acme.act(rotation.retire_secret, acme.first)
        acme.act(rotation.retire_secret, new, force=True)
        assert acme.statuses() == ["retired", "retired"]

    def test_a_plan_tells_all_that_stands_in_the_way_and_changes_nothing(self, acme: Acme, database: Database) -> None:
        acme.use(acme.first, NOW - 2 * HOUR)
        before = acme.revision()

        def plan() -> rotation.Retirement:
            with database.read() as session:
                return rotation.plan_retirement(session, acme.client_id, acme.first, now=NOW)

        found = plan()
        assert [each.code for each in found.obstacles] == ["secret_in_use", "last_secret"]
        assert [(each.last_hour, each.last_day) for each in found.meter] == [(0, 1)]
        assert (acme.revision(), acme.statuses()) == (before, ["active"])
        with database.write() as session:
            service.revoke_client(session, acme.client_id, by=BY)
        assert plan().obstacles == ()

    def test_what_is_no_secret_of_the_client_is_not_found_nor_repeated(self, acme: Acme) -> None:
        for act in (rotation.retire_secret, acme_plan):
            with pytest.raises(SecretNotFoundError) as caught:
                acme.act(act, acme.first_secret)
            assert isinstance(caught.value, NotFoundError)
            assert acme.first_secret not in caught.value.message


def acme_plan(session: Any, client_id: str, secret_id: str, *, now: datetime, by: Actor) -> rotation.Retirement:
    del by
    return rotation.plan_retirement(session, client_id, secret_id, now=now)


class TestLeaked:
    def test_all_secrets_and_tokens_end_and_one_is_new(self, acme: Acme) -> None:
        second = acme.rotate(overlap=DAY).secret.id
        before = acme.revision()
        receipt = acme.leaked(label="after the leak")
        assert is_client_secret(receipt.client_secret)
        assert receipt.client_secret not in repr(receipt)
        assert [each.id for each in receipt.ended] == [acme.first, second]
        assert (receipt.ended_at, receipt.tokens_dead_by) == (NOW, NOW + timedelta(seconds=5))
        known = acme.known(since=before)
        assert ([each.secret_id for each in known.secrets], known.epoch) == ([receipt.secret.id], 2)
        assert acme.statuses() == ["revoked", "revoked", "active"]
        assert acme.last_record() == (
            "credentials.leaked", receipt.secret.id, "done", {"ended": f"{acme.first}, {second}"},
        )  # fmt: skip

    def test_of_two_the_other_one_works_on_if_one_is_named(self, acme: Acme) -> None:
        second = acme.rotate(overlap=DAY).secret.id
        receipt = acme.leaked(acme.first)
        assert [each.id for each in receipt.ended] == [acme.first]
        assert [each.secret_id for each in acme.known().secrets] == [second, receipt.secret.id]
        assert acme.known().epoch == 2

    def test_one_that_has_ended_is_told_as_such(self, acme: Acme) -> None:
        acme.rotate(overlap=DAY)
        with pytest.raises(SecretEndedError, match=f"leaked {acme.client_id}"):
            acme.leaked(acme.first, now=NOW + DAY)
        assert acme.known().epoch == 1
        with pytest.raises(SecretNotFoundError):
            acme.leaked("sec_unknown")

    def test_a_label_of_the_wrong_form_ends_nothing(self, acme: Acme) -> None:
        with pytest.raises(InvalidInputError):
            acme.leaked(label="\t")
        assert acme.statuses() == ["active"]

    def test_a_disabled_merchants_leak_is_ended_too(self, acme: Acme, database: Database) -> None:
        with database.write() as session:
            service.disable_merchant(session, "ACME", by=BY)
        acme.leaked()
        assert acme.statuses() == ["revoked", "active"]
        assert not acme.known().is_active


class TestMeter:
    def meter(self, acme: Acme, now: datetime = NOW) -> list[tuple[str, int, int, int]]:
        with acme.database.read() as session:
            client, uses = read_meter(session, acme.client_id, now=now)
        assert client.id == acme.client_id
        return [(each.secret.id, each.last_hour, each.last_day, each.last_week) for each in uses]

    def test_tokens_are_counted_by_secret_and_span(self, acme: Acme, register: Register) -> None:
        other = register("OTHER").secret.id
        second = acme.rotate().secret.id
        assert self.meter(acme) == [(acme.first, 0, 0, 0), (second, 0, 0, 0)]
        acme.use(acme.first, NOW, NOW - HOUR, NOW - DAY, NOW - 3 * DAY, NOW - 7 * DAY)
        acme.use(acme.first, NOW, NOW - 9 * HOUR, NOW - 7 * DAY - HOUR)
        acme.use(second, NOW - 2 * HOUR)
        acme.use(other, NOW)
        assert self.meter(acme) == [(acme.first, 3, 5, 7), (second, 0, 1, 1)]
        assert self.meter(acme, NOW + DAY) == [(acme.first, 0, 2, 6), (second, 0, 0, 1)]

    def test_old_hours_are_forgotten_once_an_hour(self, acme: Acme, database: Database) -> None:
        meter = UseMeter()

        def note(*uses: TokenEvent) -> list[int]:
            with database.write() as session:
                meter.note(session, uses)
            with database.read() as session:
                return sorted(session.scalars(select(SecretUse.hour)))

        start = hour_of(NOW.timestamp())
        kept = timedelta(hours=KEPT_HOURS)
        assert note() == []
        assert note(use(acme.first, NOW), use(None, NOW)) == [start]
        assert note(use(acme.first, NOW - kept - HOUR)) == [start - KEPT_HOURS - 1, start]
        assert note(use(acme.first, NOW + HOUR)) == [start, start + 1]
        assert note(use(acme.first, NOW + kept)) == [start, start + 1, start + KEPT_HOURS]
        assert note(use(acme.first, NOW + HOUR + kept)) == [start + 1, start + KEPT_HOURS, start + KEPT_HOURS + 1]


class TestRecognize:
    def test_whose_a_secret_is_and_whether_it_lives(self, acme: Acme, database: Database, peppers: Peppers) -> None:
        new = acme.rotate(overlap=DAY)
        stranger, malformed = new_client_secret(), acme.first_secret[:-1] + "!"

        def recognize(now: datetime) -> dict[str, tuple[str, str, bool]]:
            texts = (acme.first_secret, new.client_secret, stranger, malformed, "")
            with database.read() as session:
                found = service.recognize_secrets(session, texts, peppers=peppers, now=now)
            return {text: tuple(known) for text, known in found.items()}  # type: ignore[misc] # of three

        first = (acme.client_id, acme.first)
        second = (acme.client_id, new.secret.id)
        assert recognize(NOW) == {acme.first_secret: (*first, True), new.client_secret: (*second, True)}
        assert recognize(NOW + DAY) == {acme.first_secret: (*first, False), new.client_secret: (*second, True)}
        with database.write() as session:
            service.disable_merchant(session, "ACME", by=BY)
        assert recognize(NOW)[new.client_secret] == (*second, False)

    def test_a_secret_under_an_older_pepper_is_known_too(self, acme: Acme, database: Database) -> None:
        old = acme.peppers
        peppers = Peppers("new", {"new": bytes(32), **old.keys})
        with database.read() as session:
            found = service.recognize_secrets(session, [acme.first_secret], peppers=peppers, now=NOW)
        assert found[acme.first_secret].secret_id == acme.first


def test_a_pepper_counts_no_secret_that_has_retired(acme: Acme, database: Database) -> None:
    acme.rotate(overlap=DAY)
    pepper = acme.peppers.current
    with database.write() as session:
        assert repository.count_live_secrets(session, NOW) == {pepper: 2}
        assert repository.count_live_secrets(session, NOW + DAY) == {pepper: 1}
        repository.end_secrets(session, pepper, now=NOW + DAY, revision=repository.raise_revision(session))
    assert acme.statuses() == ["retired", "revoked"]
