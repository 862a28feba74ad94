"""Peppers while the service runs: taken over, secrets brought under the current one, a file that lags behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.auth.errors import InvalidClientError, RegistryStaleError
from ecross_server.auth.registry import Registry
from ecross_server.auth.service import PEPPER_CHANGES, AuthService
from ecross_server.auth.uses import CallMeter
from ecross_server.kit.clock import rfc3339, utc_now
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import Peppers, new_client_secret
from ecross_server.merchants.service import IssuedCredential

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

MakeService = Callable[..., AuthService]
Register = Callable[..., IssuedCredential]
Outage = Callable[[], AbstractContextManager[None]]


def kept(database: Database, issued: IssuedCredential) -> tuple[str, bytes]:
    """Under which pepper the secret is kept, and its digest."""
    with database.read() as session:
        secret = session.get_one(merchants.Secret, issued.secret.id)
        return secret.pepper_id, secret.digest


def peppers_of(file: Any) -> Peppers:
    return merchants.load_peppers(file.path)


def opens(service: AuthService, issued: IssuedCredential) -> bool:
    return service.issue_access_token(issued.client.id, issued.client_secret).expires_in == 28800


class TestChangingPeppers:
    def test_a_secret_comes_under_the_current_pepper_at_its_next_use(
        self, service: AuthService, credential: IssuedCredential, database: Database, pepper_file: Any
    ) -> None:
        before = kept(database, credential)
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        service.refresh()
        service.change_peppers()
        assert kept(database, credential) == before  # not used yet
        assert opens(service, credential)
        assert kept(database, credential) == before  # nothing on the path waits for the database
        revision = service.registry._revision
        service.change_peppers()
        peppers = peppers_of(pepper_file)
        assert kept(database, credential) == (peppers.current, peppers.digest(credential.client_secret))
        service.refresh()
        assert service.registry._revision == revision + 1
        assert service.registry.pepper_ids == {peppers.current}
        assert opens(service, credential)
        service.change_peppers()
        service.refresh()
        assert service.registry._revision == revision + 1  # once is enough

    def test_a_wrong_secret_changes_nothing(
        self, service: AuthService, credential: IssuedCredential, database: Database, pepper_file: Any
    ) -> None:
        before = kept(database, credential)
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        service.refresh()
        with pytest.raises(InvalidClientError):
            service.check_credentials(credential.client.id, new_client_secret())
        with database.write() as session:
            merchants.disable_merchant(session, "ACME", by=BY)
        service.refresh()
        with pytest.raises(InvalidClientError):
            service.check_credentials(credential.client.id, credential.client_secret)
        service.change_peppers()
        assert kept(database, credential) == before

    def test_of_two_processes_that_do_it_at_once_the_second_changes_nothing(
        self, make_service: MakeService, credential: IssuedCredential, database: Database, pepper_file: Any
    ) -> None:
        first, second = make_service(registry=Registry(database)), make_service(registry=Registry(database))
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        for service in (first, second):
            service.refresh()
            assert opens(service, credential)
        first.change_peppers()
        after = kept(database, credential)
        second.change_peppers()
        assert kept(database, credential) == after
        assert opens(second, credential)  # what it knows is old, and still good

    @pytest.mark.parametrize("act", ["revoke", "another pepper"])
    def test_what_was_done_meanwhile_is_not_undone(
        self, *, service: AuthService, credential: IssuedCredential, database: Database, pepper_file: Any, act: str
    ) -> None:
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        service.refresh()
        assert opens(service, credential)
        with database.write() as session:
            if act == "revoke":
                merchants.revoke_client(session, credential.client.id, by=BY)
            else:
                session.execute(text("UPDATE secrets SET pepper_id = 'later'"))
        before = kept(database, credential)
        service.change_peppers()
        assert kept(database, credential) == before

    def test_what_cannot_be_written_is_done_at_the_next_use(
        self, service: AuthService, credential: IssuedCredential, database: Database, pepper_file: Any, outage: Outage
    ) -> None:
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        service.refresh()
        assert opens(service, credential)
        with outage(), pytest.raises(DatabaseAwayError):
            service.change_peppers()
        assert opens(service, credential)
        service.change_peppers()
        assert kept(database, credential)[0] == peppers_of(pepper_file).current

    def test_no_flood_of_uses_fills_the_memory(
        self, service: AuthService, credential: IssuedCredential, pepper_file: Any
    ) -> None:
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        service.refresh()
        for _ in range(10):
            assert opens(service, credential)
        assert len(service._pepper_changes) == 1
        (change,) = service._pepper_changes.values()
        service._pepper_changes = {f"sec_{number}": change for number in range(PEPPER_CHANGES)}
        assert opens(service, credential)
        assert len(service._pepper_changes) == PEPPER_CHANGES

    def test_a_change_shows_no_digest(
        self, service: AuthService, credential: IssuedCredential, pepper_file: Any
    ) -> None:
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        service.refresh()
        opens(service, credential)
        assert repr(service._pepper_changes[credential.secret.id]) == (
            f"PepperChange(secret_id='{credential.secret.id}')"
        )


class TestFile:
    def test_a_bad_or_vanished_file_ends_nothing(
        self, service: AuthService, credential: IssuedCredential, pepper_file: Any, log_events: list[Any]
    ) -> None:
        good = pepper_file.path.read_text()
        for content in ("{", '{"peppers": []}'):
            write_private_file(pepper_file.path, content)
            service.refresh()
            service.refresh()
            assert opens(service, credential)
        pepper_file.path.unlink()
        service.refresh()
        assert opens(service, credential)
        assert [event["event"] for event in log_events] == ["peppers_refused"] * 3
        write_private_file(pepper_file.path, good)
        service.refresh()
        assert log_events[-1]["event"] == "peppers_loaded"

    def test_until_its_start_a_pepper_is_known_and_not_used(
        self, service: AuthService, credential: IssuedCredential, pepper_file: Any, wall_clock: Any, database: Database
    ) -> None:
        now = datetime.fromtimestamp(wall_clock.now, utc_now().tzinfo)
        (old,) = pepper_file.entries
        made = merchants.rotate_peppers(pepper_file.path, now=now, starts_in=timedelta(minutes=10))
        service.refresh()
        assert opens(service, credential)
        service.change_peppers()
        assert kept(database, credential)[0] == old["id"]
        wall_clock.now += 600
        service.refresh()
        assert opens(service, credential)
        service.change_peppers()
        assert kept(database, credential)[0] == made.pepper_id


class TestLaggingFile:
    """The database names a pepper that this machine's file does not have yet."""

    @pytest.fixture
    def lagging(
        self, service: AuthService, register: Register, database: Database, pepper_file: Any
    ) -> tuple[IssuedCredential, Any]:
        fresh = pepper_file.fresh()
        other = Peppers.from_document({"peppers": [fresh]})
        moved = register("MOVED")
        with database.write() as session:
            session.execute(
                text("UPDATE secrets SET pepper_id = :id, digest = :digest WHERE id = :secret"),
                {"id": fresh["id"], "digest": other.digest(moved.client_secret), "secret": moved.secret.id},
            )
        service.refresh()
        return moved, fresh

    def test_the_file_is_looked_at_at_once(
        self, service: AuthService, lagging: tuple[IssuedCredential, Any], pepper_file: Any
    ) -> None:
        moved, fresh = lagging
        pepper_file.write(fresh, *pepper_file.entries)  # no thread has taken it over
        assert opens(service, moved)

    def test_a_wrong_secret_is_wrong_once_the_pepper_is_there(
        self, service: AuthService, lagging: tuple[IssuedCredential, Any], pepper_file: Any
    ) -> None:
        moved, fresh = lagging
        pepper_file.write(fresh, *pepper_file.entries)
        with pytest.raises(InvalidClientError):
            service.check_credentials(moved.client.id, new_client_secret())

    def test_without_the_pepper_nothing_is_refused_and_nobody_learns_whom_it_concerns(
        self, service: AuthService, credential: IssuedCredential, lagging: tuple[IssuedCredential, Any], log_events: Any
    ) -> None:
        moved, fresh = lagging
        for client_id, secret in (
            (moved.client.id, moved.client_secret),
            (moved.client.id, new_client_secret()),
            (credential.client.id, new_client_secret()),
            ("acme-aaaaaaaaaaaaa", new_client_secret()),
        ):
            with pytest.raises(RegistryStaleError):
                service.check_credentials(client_id, secret)
        assert opens(service, credential)  # a right secret is right
        service.refresh()
        service._missing_peppers = frozenset()
        service.refresh()
        service.refresh()
        assert [(event["event"], event["pepper_ids"]) for event in log_events] == [("peppers_missing", [fresh["id"]])]

    @pytest.mark.parametrize("moment", ["before", "after"])
    def test_a_registry_that_changes_in_the_midst_of_a_check_makes_no_wrong_refusal(
        self, *, service: AuthService, credential: IssuedCredential, database: Database, pepper_file: Any, moment: str
    ) -> None:
        other = AuthService(
            registry=Registry(database), peppers_file=pepper_file.path,
            signing_keys_file=pepper_file.path.with_name("signing-keys.json"),
            issuer="i", audience="a", lifetime_seconds=28800, calls=CallMeter(database),
        )  # fmt: skip
        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        other.refresh()
        assert opens(other, credential)
        other.change_peppers()
        if moment == "after":  # the secret is still known under the pepper that is gone
            merchants.retire_pepper(database, pepper_file.path, credential.secret.pepper_id, now=utc_now(), by=BY)
            service._peppers.take_changes()

        class Interrupted(dict[str, Any]):
            """Lets the registry's thread come just before or just after a client is looked up."""

            def get(self, client_id: str, default: object = None) -> Any:
                service.registry._clients = dict(self)
                found = super().get(client_id, default)
                service.registry.refresh()
                return found if moment == "after" else service.registry._clients[client_id]

        service.registry._clients = Interrupted(service.registry._clients)
        assert opens(service, credential)
        assert type(service.registry._clients) is dict

    def test_a_pepper_that_is_lost_for_good_can_be_given_up(
        self, service: AuthService, database: Database, lagging: tuple[IssuedCredential, Any], pepper_file: Any
    ) -> None:
        moved, fresh = lagging
        merchants.retire_pepper(database, pepper_file.path, fresh["id"], now=utc_now(), force=True, by=BY)
        service.refresh()
        with pytest.raises(InvalidClientError):
            service.check_credentials(moved.client.id, moved.client_secret)


class TestThreads:
    @contextmanager
    def started(self, service: AuthService) -> Iterator[AuthService]:
        service.start()
        try:
            yield service
        finally:
            service.stop()

    def test_a_new_pepper_is_used_and_secrets_come_under_it_within_two_seconds(
        self, make_service: MakeService, credential: IssuedCredential, database: Database, pepper_file: Any
    ) -> None:
        with self.started(make_service(registry=Registry(database))) as service:
            made = merchants.rotate_peppers(pepper_file.path, now=utc_now())
            deadline = time.monotonic() + 2
            while time.monotonic() < deadline and kept(database, credential)[0] != made.pepper_id:
                assert opens(service, credential)
                time.sleep(0.05)
            assert kept(database, credential)[0] == made.pepper_id

    def test_a_write_that_has_to_wait_does_not_make_the_registry_stale(
        self, make_service: MakeService, credential: IssuedCredential, database: Database, pepper_file: Any
    ) -> None:
        with self.started(make_service(registry=Registry(database))) as service:
            merchants.rotate_peppers(pepper_file.path, now=utc_now())
            service.refresh()
            with database.write() as session:  # as a long import would hold it
                session.execute(text("UPDATE registry_revision SET value = value"))
                assert opens(service, credential)
                time.sleep(2)
                assert service.registry.age_seconds < 1.5
                assert kept(database, credential)[0] == credential.secret.pepper_id

    def test_a_fault_is_told_once_and_so_is_its_end(
        self, make_service: MakeService, credential: IssuedCredential, database: Database, pepper_file: Any,
        log_events: list[Any],
    ) -> None:  # fmt: skip
        def reports() -> list[str]:
            return [event["event"] for event in log_events if event["event"].startswith("pepper_change")]

        merchants.rotate_peppers(pepper_file.path, now=utc_now())
        with self.started(make_service(registry=Registry(database))) as service:
            with database.write() as session:
                session.execute(text("ALTER TABLE secrets RENAME TO mislaid"))
            for _ in range(30):
                opens(service, credential)
                time.sleep(0.05)
            with database.write() as session:
                session.execute(text("ALTER TABLE mislaid RENAME TO secrets"))
            opens(service, credential)
            deadline = time.monotonic() + 3
            while len(reports()) < 2 and time.monotonic() < deadline:
                opens(service, credential)
                time.sleep(0.05)
        assert reports() == ["pepper_change_failed", "pepper_change_recovered"]
        assert not [thread for thread in threading.enumerate() if thread.name == "peppers"]


def test_times_in_the_file_are_instants(pepper_file: Any) -> None:
    pepper_file.write(pepper_file.fresh(startsAt=rfc3339(utc_now())))
    assert len(peppers_of(pepper_file)) == 1
