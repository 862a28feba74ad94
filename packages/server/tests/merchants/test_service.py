from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from ecross_server.audit.rules import Actor, TokenEvent, derive_keys
from ecross_server.audit.service import RecordFilter, list_records, verify
from ecross_server.audit.tasks import AuditRecorder
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Base, Database
from ecross_server.kit.errors import ConflictError, InvalidInputError, NotFoundError, UnavailableError
from ecross_server.kit.private_files import UnsafeFileError, write_private_file
from ecross_server.merchants import service
from ecross_server.merchants.errors import (
    ClientNotFoundError,
    MerchantDisabledError,
    MerchantExistsError,
    MerchantNotFoundError,
)
from ecross_server.merchants.models import Client, Merchant, RegistryRevision, Secret
from ecross_server.merchants.rules import Allowance, Peppers, is_client_secret, new_peppers
from ecross_server.merchants.service import IssuedCredential, RegistryClient, RegistrySecret
from ecross_server.merchants.uses import note_secret_uses

pytestmark = pytest.mark.measured

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
SHORT, LONG = 0.2, 20.0

Register = Callable[..., IssuedCredential]


def revision_of(database: Database) -> int:
    with database.read() as session:
        return session.scalar(select(RegistryRevision.value)) or 0


def client_of(database: Database, client_id: str) -> Client:
    with database.read() as session:
        client = session.get_one(Client, client_id)
        assert client.secrets is not None  # read as well
        return client


def changes(database: Database, since: int) -> tuple[int, dict[str, RegistryClient]]:
    with database.read() as session:
        revision, clients = service.read_registry_changes(session, since)
    assert len({client.client_id for client in clients}) == len(clients)
    return revision, {client.client_id: client for client in clients}


def disable(database: Database, merchant_id: str = "ACME") -> None:
    with database.write() as session:
        service.disable_merchant(session, merchant_id, by=BY)


def enable(database: Database, merchant_id: str = "ACME") -> None:
    with database.write() as session:
        service.enable_merchant(session, merchant_id, by=BY)


def issue(database: Database, peppers: Peppers, **options: Any) -> IssuedCredential:
    with database.write() as session:
        return service.issue_credential(session, "ACME", peppers=peppers, now=NOW, **options, by=BY)


class TestRegister:
    def test_a_registered_merchant_is_active_and_has_no_credentials(self, database: Database) -> None:
        with database.write() as session:
            made = service.register_merchant(session, "ACME", "Acme & Söhne", now=NOW, by=BY)
        assert (made.id, made.name, made.status, made.created_at) == ("ACME", "Acme & Söhne", "active", NOW)
        with database.read() as session:
            shown, clients = service.show_merchant(session, "ACME")
        assert (shown.id, shown.name, shown.status, shown.created_at) == ("ACME", "Acme & Söhne", "active", NOW)
        assert clients == []

    def test_registering_twice_is_refused_and_changes_nothing(self, database: Database) -> None:
        with database.write() as session:
            service.register_merchant(session, "ACME", "First", now=NOW, by=BY)
        with (
            pytest.raises(MerchantExistsError, match="ACME is registered already") as caught,
            database.write() as session,
        ):
            service.register_merchant(session, "ACME", "Second", now=NOW, by=BY)
        assert isinstance(caught.value, ConflictError)
        assert caught.value.code == "merchant_exists"
        with database.read() as session:
            assert [merchant.name for merchant in service.list_merchants(session)] == ["First"]

    @pytest.mark.parametrize(
        ("merchant_id", "name"), [("acme", "Acme"), ("ACME", ""), ("ACME", "x" * 201), ("ACME", "a\nb")]
    )
    def test_an_id_or_name_of_another_form_is_refused(self, database: Database, merchant_id: str, name: str) -> None:
        with pytest.raises(InvalidInputError), database.write() as session:
            service.register_merchant(session, merchant_id, name, now=NOW, by=BY)
        with database.read() as session:
            assert service.list_merchants(session) == []

    def test_of_two_who_register_at_once_one_wins_and_the_other_is_told(self, database: Database) -> None:
        barrier = threading.Barrier(2)

        def register(name: str) -> str:
            barrier.wait()
            try:
                with database.write() as session:
                    service.register_merchant(session, "ACME", name, now=NOW, by=BY)
            except MerchantExistsError:
                return "refused"
            return name

        for _ in range(5):
            with database.write() as session:
                session.execute(Merchant.__table__.delete())  # type: ignore[attr-defined] # a table has it
            with ThreadPoolExecutor(2) as pool:
                outcomes = list(pool.map(register, ("one", "other")))
            assert outcomes.count("refused") == 1
            with database.read() as session:
                (merchant,) = service.list_merchants(session)
            assert merchant.name in outcomes

    def test_who_waits_for_another_who_registers_the_same_id_is_refused(self, database: Database) -> None:
        def register() -> None:
            with database.write() as session:
                service.register_merchant(session, "ACME", "Late", now=NOW, by=BY)

        with ThreadPoolExecutor(1) as pool:
            with database.write() as session:
                service.register_merchant(session, "ACME", "Early", now=NOW, by=BY)
                late = pool.submit(register)
                with pytest.raises(NotYetError):
                    late.result(SHORT)
            with pytest.raises(MerchantExistsError) as caught:
                late.result(LONG)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None

    def test_merchants_are_listed_by_their_ids(self, database: Database) -> None:
        with database.write() as session:
            for merchant_id in ("BA", "ACA", "AB"):
                service.register_merchant(session, merchant_id, "Name", now=NOW, by=BY)
        with database.read() as session:
            assert [merchant.id for merchant in service.list_merchants(session)] == ["AB", "ACA", "BA"]


class TestIssue:
    def test_a_credential_is_a_new_client_with_one_live_secret(
        self, database: Database, register: Register, peppers: Peppers
    ) -> None:
        first = register("ACME")
        second = issue(database, peppers, label="ERP", expires_in=timedelta(days=90))
        assert first.client.id != second.client.id
        client = client_of(database, second.client.id)
        (secret,) = client.secrets
        assert (client.merchant_id, client.status, client.scope, client.epoch) == ("ACME", "active", "merchant", 1)
        assert client.created_at == secret.created_at == NOW
        assert client.revision == revision_of(database)
        assert (secret.id, secret.label, secret.status) == (second.secret.id, "ERP", "active")
        assert secret.expires_at == NOW + timedelta(days=90)
        assert (secret.last_used_at, secret.last_used_address) == (None, None)
        assert is_client_secret(second.client_secret)

    def test_without_an_end_it_lasts_for_good(self, database: Database, credential: IssuedCredential) -> None:
        (secret,) = client_of(database, credential.client.id).secrets
        assert (secret.expires_at, secret.label) == (None, None)

    def test_only_the_digest_under_the_pepper_is_kept(
        self, database: Database, credential: IssuedCredential, peppers: Peppers
    ) -> None:
        (secret,) = client_of(database, credential.client.id).secrets
        assert secret.digest == peppers.digest(credential.client_secret)
        assert secret.pepper_id == peppers.current

    def test_the_secret_is_nowhere_in_the_database(
        self, database: Database, credential: IssuedCredential, settings: Any
    ) -> None:
        text = credential.client_secret
        plain_hash = hashlib.sha256(text.encode())
        traces: set[bytes] = {
            text.encode(), text[4:-6].encode(), text[4:20].encode(), plain_hash.digest(),
            plain_hash.hexdigest().encode(), base64.b64encode(text.encode()).rstrip(b"="),
        }  # fmt: skip
        found_digest = False
        with database.read() as session:
            for table in Base.metadata.sorted_tables:
                for row in session.execute(select(table)):
                    for value in row:
                        shape = value if isinstance(value, bytes) else str(value).encode()
                        assert not any(trace in shape for trace in traces)
                        found_digest |= shape == credential.secret.digest
        assert found_digest  # the search sees what is there
        database.close()
        for path in Path(settings.data_dir).iterdir():
            assert not any(trace in path.read_bytes() for trace in traces)

    def test_no_repr_shows_the_secret_or_its_digest(
        self, database: Database, credential: IssuedCredential, peppers: Peppers
    ) -> None:
        _, clients = changes(database, 0)
        (known,) = clients.values()
        assert known.secrets[0][0] == credential.secret.digest
        for shown in (repr(credential), repr(known), repr(peppers), str(credential), repr(credential.secret)):
            assert credential.client_secret not in shown
            assert repr(credential.secret.digest) not in shown
            assert not any(repr(key) in shown for key in peppers.keys.values())

    def test_an_unknown_merchant_gets_none(self, database: Database, peppers: Peppers) -> None:
        with pytest.raises(MerchantNotFoundError, match="no merchant ACME") as caught:
            issue(database, peppers)
        assert isinstance(caught.value, NotFoundError)
        assert caught.value.code == "merchant_not_found"

    def test_a_disabled_merchant_gets_none(
        self, database: Database, credential: IssuedCredential, peppers: Peppers
    ) -> None:
        disable(database)
        before = revision_of(database)
        with pytest.raises(MerchantDisabledError, match="merchants enable ACME") as caught:
            issue(database, peppers)
        assert isinstance(caught.value, ConflictError)
        assert caught.value.code == "merchant_disabled"
        assert changes(database, 0)[1].keys() == {credential.client.id}
        assert revision_of(database) == before

    @pytest.mark.parametrize("label", ["", " ", "x" * 101, "a\nb"])
    def test_a_label_of_another_form_is_refused(
        self, database: Database, credential: IssuedCredential, peppers: Peppers, label: str
    ) -> None:
        with pytest.raises(InvalidInputError, match="label must be"):
            issue(database, peppers, label=label)
        assert changes(database, 0)[1].keys() == {credential.client.id}

    @pytest.mark.usefixtures("credential")
    def test_who_issues_while_another_disables_is_refused(self, database: Database, peppers: Peppers) -> None:
        with ThreadPoolExecutor(1) as pool:
            with database.write() as session:
                service.disable_merchant(session, "ACME", by=BY)
                late = pool.submit(issue, database, peppers)
                with pytest.raises(NotYetError):
                    late.result(SHORT)
            with pytest.raises(MerchantDisabledError):
                late.result(LONG)

    @pytest.mark.usefixtures("credential")
    def test_disabling_waits_for_one_who_issues_and_raises_that_epoch_too(
        self, database: Database, peppers: Peppers
    ) -> None:
        with ThreadPoolExecutor(1) as pool:
            with database.write() as session:
                issued = service.issue_credential(session, "ACME", peppers=peppers, now=NOW, by=BY)
                late = pool.submit(disable, database)
                with pytest.raises(NotYetError):
                    late.result(SHORT)
            late.result(LONG)
        assert client_of(database, issued.client.id).epoch == 2

    @pytest.mark.usefixtures("credential")
    def test_issuing_racing_a_disabling_never_leaves_a_client_behind(
        self, database: Database, peppers: Peppers
    ) -> None:
        for _ in range(5):
            barrier = threading.Barrier(3)

            def try_issuing(barrier: threading.Barrier = barrier) -> IssuedCredential | None:
                barrier.wait()
                try:
                    return issue(database, peppers)
                except MerchantDisabledError:
                    return None

            with ThreadPoolExecutor(3) as pool:
                attempts = [pool.submit(try_issuing) for _ in range(2)]
                barrier.wait()
                disable(database)
                issued = [made for attempt in attempts if (made := attempt.result(LONG)) is not None]
            _, known = changes(database, 0)
            assert not any(client.is_active for client in known.values())
            assert all(known[made.client.id].epoch == 2 for made in issued)
            enable(database)

    @pytest.mark.usefixtures("credential")
    def test_an_act_decides_on_what_is_true_under_its_lock(
        self, database: Database, peppers: Peppers, credential: IssuedCredential
    ) -> None:
        if database.is_sqlite:
            pytest.skip("a writer on SQLite is alone from its beginning")

        def issue_late() -> None:
            with database.write() as session:
                seen, _ = service.show_merchant(session, "ACME")
                disable(database)
                assert seen.status == "active"  # what this session still holds
                service.issue_credential(session, "ACME", peppers=peppers, now=NOW, by=BY)

        with pytest.raises(MerchantDisabledError):
            issue_late()
        enable(database)
        with database.write() as session:
            _, (seen,) = service.show_merchant(session, "ACME")
            with database.write() as other:
                service.revoke_client(other, credential.client.id, by=BY)
            assert seen.epoch == 2
            service.disable_merchant(session, "ACME", by=BY)
        assert client_of(database, credential.client.id).epoch == 4
        enable(database)
        second = issue(database, peppers).client.id
        with database.write() as session:
            client = session.get_one(Client, second)
            with database.write() as other:
                service.disable_merchant(other, "ACME", by=BY)
            assert client.epoch == 1
            service.revoke_client(session, second, by=BY)
        assert client_of(database, second).epoch == 3


class TestDisableAndEnable:
    def test_disabling_a_merchant_raises_the_epoch_of_its_clients(
        self, database: Database, register: Register, peppers: Peppers
    ) -> None:
        ids = {register("ACME").client.id, issue(database, peppers).client.id}
        other = register("OTHER").client.id
        before = revision_of(database)
        with database.write() as session:
            merchant = service.disable_merchant(session, "ACME", by=BY)
        assert (merchant.id, merchant.status) == ("ACME", "disabled")
        revision, changed = changes(database, before)
        assert revision == before + 1
        assert changed.keys() == ids
        assert {(client.epoch, client.is_active) for client in changed.values()} == {(2, False)}
        assert changes(database, 0)[1][other] == RegistryClient(
            other,
            "OTHER",
            is_active=True,
            allowance=Allowance("merchant", None),
            epoch=1,
            secrets=changes(database, 0)[1][other].secrets,
        )

    def test_disabling_twice_changes_nothing_more(self, database: Database, credential: IssuedCredential) -> None:
        disable(database)
        before = changes(database, 0)
        disable(database)
        assert changes(database, 0)[1] == before[1]
        assert changes(database, before[0])[1] == {}
        assert client_of(database, credential.client.id).epoch == 2

    def test_enabling_lets_in_again_but_revives_no_token(
        self, database: Database, credential: IssuedCredential
    ) -> None:
        disable(database)
        before = revision_of(database)
        with database.write() as session:
            merchant = service.enable_merchant(session, "ACME", by=BY)
        assert (merchant.id, merchant.status) == ("ACME", "active")
        revision, changed = changes(database, before)
        assert revision == before + 1
        client = changed[credential.client.id]
        assert (client.is_active, client.epoch) == (True, 2)  # tokens of epoch 1 stay dead
        assert len(client.secrets) == 1

    def test_enabling_an_active_merchant_changes_nothing(
        self, database: Database, credential: IssuedCredential
    ) -> None:
        before = changes(database, 0)
        enable(database)
        assert changes(database, 0)[1] == before[1]
        assert changes(database, before[0])[1] == {}
        assert client_of(database, credential.client.id).epoch == 1

    def test_each_disabling_raises_the_epoch_again(self, database: Database, credential: IssuedCredential) -> None:
        for epoch in (2, 3, 4):
            disable(database)
            enable(database)
            assert client_of(database, credential.client.id).epoch == epoch

    def test_both_in_one_transaction_leave_the_tokens_dead(
        self, database: Database, credential: IssuedCredential
    ) -> None:
        with database.write() as session:
            service.disable_merchant(session, "ACME", by=BY)
            service.enable_merchant(session, "ACME", by=BY)
        _, clients = changes(database, 0)
        assert (clients[credential.client.id].is_active, clients[credential.client.id].epoch) == (True, 2)

    def test_enabling_revives_no_revoked_client(self, database: Database, credential: IssuedCredential) -> None:
        with database.write() as session:
            service.revoke_client(session, credential.client.id, by=BY)
        disable(database)
        enable(database)
        client = changes(database, 0)[1][credential.client.id]
        assert (client.is_active, client.secrets, client.epoch) == (False, (), 3)

    @pytest.mark.parametrize(
        "act",
        [
            partial(service.disable_merchant, by=BY), partial(service.enable_merchant, by=BY), service.show_merchant
        ],
    )  # fmt: skip
    @pytest.mark.usefixtures("credential")
    def test_an_unknown_merchant_is_not_found(self, database: Database, act: Callable[..., Any]) -> None:
        before = revision_of(database)
        with pytest.raises(MerchantNotFoundError), database.write() as session:
            act(session, "NOBODY")
        assert revision_of(database) == before


class TestRevoke:
    def test_revoking_a_client_ends_its_secrets_and_its_tokens(
        self, database: Database, credential: IssuedCredential, peppers: Peppers
    ) -> None:
        other = issue(database, peppers).client.id
        with database.write() as session:
            session.add(
                Secret(
                    id="sec_second", client_id=credential.client.id, label=None, digest=b"2" * 32, pepper_id="p",
                    status="active", created_at=NOW, expires_at=None,
                )
            )  # fmt: skip
        before = revision_of(database)
        with database.write() as session:
            client = service.revoke_client(session, credential.client.id, by=BY)
        assert (client.id, client.status, client.epoch) == (credential.client.id, "revoked", 2)
        assert [secret.status for secret in client.secrets] == ["revoked", "revoked"]
        revision, changed = changes(database, before)
        assert revision == before + 1
        assert changed.keys() == {credential.client.id}
        known = changed[credential.client.id]
        assert (known.is_active, known.secrets, known.epoch) == (False, (), 2)
        assert changes(database, 0)[1][other].is_active

    def test_revoking_twice_changes_nothing_more(self, database: Database, credential: IssuedCredential) -> None:
        with database.write() as session:
            service.revoke_client(session, credential.client.id, by=BY)
        before = revision_of(database)
        with database.write() as session:
            client = service.revoke_client(session, credential.client.id, by=BY)
        assert (client.status, client.epoch) == ("revoked", 2)
        assert changes(database, before)[1] == {}

    @pytest.mark.parametrize("client_id", ["acme-aaaaaaaaaaaaa", "ACME", "", "' OR 1=1 --"])
    def test_an_unknown_client_is_not_found(
        self, database: Database, credential: IssuedCredential, client_id: str
    ) -> None:
        with pytest.raises(ClientNotFoundError) as caught, database.write() as session:
            service.revoke_client(session, client_id, by=BY)
        assert isinstance(caught.value, NotFoundError)
        assert caught.value.code == "client_not_found"
        assert client_of(database, credential.client.id).status == "active"


class TestList:
    def test_credentials_are_those_of_all_or_of_one(
        self, database: Database, register: Register, peppers: Peppers
    ) -> None:
        acme, other = register("ACME").client.id, register("OTHER").client.id
        second = issue(database, peppers).client.id
        with database.read() as session:
            everybodys = service.list_credentials(session)
            acmes = service.list_credentials(session, "ACME")
        assert {client.id for client in everybodys} == {acme, other, second}
        assert [client.merchant_id for client in everybodys] == ["ACME", "ACME", "OTHER"]
        assert {client.id for client in acmes} == {acme, second}
        assert all(len(client.secrets) == 1 for client in everybodys)  # there without a session

    def test_a_merchant_is_shown_with_its_own_clients(self, database: Database, register: Register) -> None:
        acme = register("ACME").client.id
        register("OTHER")
        with database.read() as session:
            merchant, clients = service.show_merchant(session, "ACME")
        assert merchant.id == "ACME"
        assert [client.id for client in clients] == [acme]

    def test_clients_are_listed_by_age(self, database: Database, peppers: Peppers) -> None:
        with database.write() as session:
            service.register_merchant(session, "ACME", "Acme", now=NOW, by=BY)
            made = [
                service.issue_credential(
                    session, "ACME", peppers=peppers, now=NOW + timedelta(days=days), by=BY
                ).client.id
                for days in (3, 1, 2)
            ]
        with database.read() as session:
            listed = [client.id for client in service.list_credentials(session, "ACME")]
        assert listed == [made[1], made[2], made[0]]

    def test_the_credentials_of_an_unknown_merchant_are_not_found(self, database: Database) -> None:
        with pytest.raises(MerchantNotFoundError), database.read() as session:
            service.list_credentials(session, "NOBODY")
        with database.read() as session:
            assert service.list_credentials(session) == []


class TestRegistryChanges:
    def test_from_zero_everything_is_read(self, database: Database, register: Register, peppers: Peppers) -> None:
        acme, other = register("ACME"), register("OTHER")
        expiring = issue(database, peppers, expires_in=timedelta(hours=1))
        revision, clients = changes(database, 0)
        assert revision == revision_of(database) == 4
        end = (NOW + timedelta(hours=1)).timestamp()
        assert clients == {
            issued.client.id: RegistryClient(
                issued.client.id, merchant_id, is_active=True, allowance=Allowance("merchant", None), epoch=1,
                secrets=(
                    RegistrySecret(
                        peppers.digest(issued.client_secret), peppers.current, ends, issued.secret.id
                    ),
                ),
            )
            for issued, merchant_id, ends in ((acme, "ACME", None), (other, "OTHER", None), (expiring, "ACME", end))
        }  # fmt: skip

    def test_an_empty_database_has_a_revision_and_no_clients(self, database: Database) -> None:
        assert changes(database, 0) == (1, {})

    def test_later_only_what_changed_is_read(self, database: Database, register: Register, peppers: Peppers) -> None:
        register("ACME")
        since = revision_of(database)
        assert changes(database, since) == (since, {})
        second = issue(database, peppers).client.id
        third = issue(database, peppers).client.id
        assert changes(database, since)[1].keys() == {second, third}
        assert changes(database, since + 1)[1].keys() == {third}
        assert changes(database, since + 2) == (since + 2, {})

    def test_after_a_restored_backup_everything_is_read(self, database: Database, register: Register) -> None:
        ids = {register("ACME").client.id, register("OTHER").client.id}
        revision, clients = changes(database, 999)
        assert revision == revision_of(database)
        assert clients.keys() == ids

    def test_a_client_without_a_secret_is_known(self, database: Database, credential: IssuedCredential) -> None:
        with database.write() as session:
            session.delete(session.get_one(Secret, credential.secret.id))
        client = changes(database, 0)[1][credential.client.id]
        assert (client.is_active, client.secrets) == (True, ())

    def test_secrets_come_in_the_order_of_their_age_without_the_revoked(
        self, database: Database, credential: IssuedCredential
    ) -> None:
        with database.write() as session:
            for number, status in ((1, "active"), (2, "revoked"), (3, "active")):
                session.add(
                    Secret(
                        id=f"sec_{number}", client_id=credential.client.id, label=None, digest=b"%d" % number * 32,
                        pepper_id="p", status=status, created_at=utc_now() + timedelta(days=number), expires_at=None,
                    )
                )  # fmt: skip
        client = changes(database, 0)[1][credential.client.id]
        assert [secret.digest for secret in client.secrets] == [credential.secret.digest, b"1" * 32, b"3" * 32]

    def test_a_reader_of_every_change_knows_what_a_reader_of_all_knows(
        self, database: Database, register: Register, peppers: Peppers
    ) -> None:
        register("ACME")
        done = threading.Event()

        def act() -> None:
            for number in range(8):
                issued = issue(database, peppers)
                if number % 2:
                    with database.write() as session:
                        service.revoke_client(session, issued.client.id, by=BY)
                if number % 3 == 0:
                    disable(database)
                    enable(database)

        def follow() -> dict[str, RegistryClient]:
            known: dict[str, RegistryClient] = {}
            revision = 0
            is_last = False
            while True:
                is_last = done.is_set()
                revision, changed = changes(database, revision)
                known |= changed
                if is_last:
                    return known

        with ThreadPoolExecutor(3) as pool:
            followed = pool.submit(follow)
            actors = [pool.submit(act) for _ in range(2)]
            for actor in actors:
                # Two who disable and enable at once may meet a disabled merchant.
                assert isinstance(actor.exception(LONG), MerchantDisabledError | None)
            done.set()
            assert followed.result(LONG) == changes(database, 0)[1]

    def test_a_change_rolled_back_raises_no_revision(self, database: Database, credential: IssuedCredential) -> None:
        before = changes(database, 0)

        def fail() -> None:
            with database.write() as session:
                service.revoke_client(session, credential.client.id, by=BY)
                session.flush()
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail()
        assert changes(database, 0) == before

    def test_a_merchants_status_outweighs_its_clients(self, database: Database, credential: IssuedCredential) -> None:
        with database.write() as session:
            session.execute(update(Merchant).values(status="something new"))
        assert not changes(database, 0)[1][credential.client.id].is_active


class TestPeppers:
    def test_the_file_of_peppers_is_read(self, tmp_path: Path) -> None:
        document = new_peppers(NOW)
        write_private_file(tmp_path / "peppers.json", document)
        assert service.load_peppers(tmp_path / "peppers.json") == Peppers.from_document(json.loads(document))

    def test_a_file_without_peppers_is_refused_and_not_shown(self, tmp_path: Path) -> None:
        write_private_file(tmp_path / "peppers.json", '{"peppers": [{"id": "a", "value": "hunter2"}]}')
        with pytest.raises(UnsafeFileError, match="does not hold peppers") as caught:
            service.load_peppers(tmp_path / "peppers.json")
        assert "hunter2" not in caught.value.message
        assert caught.value.__suppress_context__

    def test_a_missing_file_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError, match="cannot be read"):
            service.load_peppers(tmp_path / "peppers.json")


def use(issued: IssuedCredential, at: float, address: str = "203.0.113.7", **fields: Any) -> TokenEvent:
    event = TokenEvent(at, "issued", issued.client.id, "ACME", address, "r", issued.secret.id, "t", None)
    return event._replace(**fields)


class TestLastUses:
    def last_use(self, database: Database, issued: IssuedCredential) -> tuple[datetime | None, str | None]:
        [secret] = client_of(database, issued.client.id).secrets
        return secret.last_used_at, secret.last_used_address

    def note(self, database: Database, *uses: TokenEvent) -> None:
        with database.write() as session:
            note_secret_uses(session, uses)

    def test_the_newest_use_of_each_secret_is_kept_and_no_registry_reads_again(
        self, database: Database, register: Register
    ) -> None:
        first, second = register("FIRST"), register("SECOND")
        before = revision_of(database)
        at = NOW.timestamp()
        self.note(
            database, use(first, at, "::1"), use(second, at), use(first, at + 2, "::2"), use(first, at + 1, "::3")
        )
        assert self.last_use(database, first) == (NOW + timedelta(seconds=2), "::2")
        assert self.last_use(database, second) == (NOW, "203.0.113.7")
        assert revision_of(database) == before

    def test_it_never_goes_back(self, database: Database, credential: IssuedCredential) -> None:
        self.note(database, use(credential, NOW.timestamp(), "::1"))
        self.note(database, use(credential, NOW.timestamp() - 1, "::2"))
        assert self.last_use(database, credential) == (NOW, "::1")

    def test_what_names_no_secret_changes_nothing(self, database: Database, credential: IssuedCredential) -> None:
        self.note(database)
        self.note(database, use(credential, 1.0, secret_id=None), use(credential, 1.0, secret_id="sec_unknown"))
        assert self.last_use(database, credential) == (None, None)

    def test_an_address_that_is_too_long_is_cut(self, database: Database, credential: IssuedCredential) -> None:
        self.note(database, use(credential, NOW.timestamp(), "x" * 100))
        assert self.last_use(database, credential) == (NOW, "x" * 64)

    def test_acts_and_recorders_at_once_never_wait_for_each_other_in_a_circle(
        self, database: Database, register: Register
    ) -> None:
        issued = [register(f"M{number}") for number in range(4)]
        recorders = [AuditRecorder(database, keys=BY.keys, subscribers=[note_secret_uses]) for _ in range(2)]
        for recorder in recorders:
            recorder.start()
        barrier = threading.Barrier(4)

        def act(order: list[IssuedCredential]) -> None:
            barrier.wait()
            for _ in range(5):
                with database.write() as session:
                    for each in order:
                        service.disable_merchant(session, each.client.merchant_id, by=BY)
                        service.enable_merchant(session, each.client.merchant_id, by=BY)

        def tell(recorder: AuditRecorder, order: list[IssuedCredential]) -> None:
            barrier.wait()
            for turn in range(2000):
                recorder.record(use(order[turn % 4], NOW.timestamp() + turn))

        with ThreadPoolExecutor(4) as pool:
            orders = (issued, issued[::-1])
            done = [pool.submit(act, order) for order in orders]
            done += [pool.submit(tell, recorder, order) for recorder, order in zip(recorders, orders, strict=True)]
            for future in done:
                future.result(LONG)
        for recorder in recorders:
            recorder.stop(LONG)
        with database.read() as session:
            assert verify(session, BY.keys).reason is None
            kept = list(list_records(session, RecordFilter(outcome="issued")))
        assert len(kept) == 4000
        assert [recorder.lost for recorder in recorders] == [0, 0]
        for each in issued:
            at, _ = self.last_use(database, each)
            assert at is not None
            assert at >= NOW + timedelta(seconds=1996)


class TestAudit:
    def test_each_act_is_recorded_with_who_did_it(self, database: Database, peppers: Peppers) -> None:
        with database.write() as session:
            service.register_merchant(session, "ACME", "Acme", now=NOW, by=BY)
        issued = issue(database, peppers, label="ERP")
        plain = issue(database, peppers)
        for _ in range(2):
            disable(database)
        for _ in range(2):
            enable(database)
        for _ in range(2):
            with database.write() as session:
                service.revoke_client(session, issued.client.id, by=BY)
        with database.read() as session:
            records = [record.draft for record in list_records(session, RecordFilter())]
        assert {record.actor for record in records} == {"operator:test"}
        assert {record.merchant_id for record in records} == {"ACME"}
        found = [(record.action, record.client_id, record.outcome, record.details) for record in records]
        assert found == [
            ("merchants.register", None, "done", '{"name":"Acme"}'),
            ("credentials.issue", issued.client.id, "done", '{"label":"ERP"}'),
            ("credentials.issue", plain.client.id, "done", None),
            ("merchants.disable", None, "done", None),
            ("merchants.disable", None, "unchanged", None),
            ("merchants.enable", None, "done", None),
            ("merchants.enable", None, "unchanged", None),
            ("credentials.revoke", issued.client.id, "done", None),
            ("credentials.revoke", issued.client.id, "unchanged", None),
        ]
        assert [record.secret_id for record in records[1:3]] == [issued.secret.id, plain.secret.id]
