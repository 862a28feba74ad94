from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import event, text

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.auth.errors import RegistryStaleError
from ecross_server.auth.registry import Registry
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import IssuedCredential, RegistrySecret

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

Register = Callable[..., IssuedCredential]
Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """What the database is asked."""
    seen: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        seen.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield seen
    event.remove(database.engine, "before_cursor_execute", note)


def test_before_the_first_state_nothing_is_decided(registry: Registry) -> None:
    assert registry.age_seconds == float("inf")
    with pytest.raises(RegistryStaleError):
        registry.require_fresh()
    assert len(registry) == 0
    assert registry.find("acme-aaaaaaaaaaaaa") is None


def test_an_empty_database_is_a_state_too(registry: Registry) -> None:
    registry.refresh()
    registry.require_fresh()
    assert len(registry) == 0


def test_it_knows_every_client_with_digests_and_never_a_secret(
    registry: Registry, register: Register, peppers: Peppers
) -> None:
    issued = [register(name) for name in ("ACME", "OTHER", "THIRD")]
    registry.refresh()
    assert len(registry) == 3
    for each in issued:
        known = registry.find(each.client.id)
        assert known is not None
        assert (known.merchant_id, known.is_active, known.epoch) == (each.client.merchant_id, True, 1)
        assert known.secrets == (
            RegistrySecret(peppers.digest(each.client_secret), peppers.current, None, each.secret.id),
        )
        assert each.client_secret not in repr(known)
        assert known.secrets[0][0].hex() not in repr(known)


def test_only_changes_are_read(
    registry: Registry, register: Register, database: Database, peppers: Peppers, statements: list[str]
) -> None:
    acme, other = register("ACME"), register("OTHER")
    registry.refresh()
    kept = registry.find(other.client.id)

    statements.clear()
    registry.refresh()
    assert [sql for sql in statements if "clients" in sql] == []
    assert len([sql for sql in statements if "registry_revision" in sql]) == 1

    with database.write() as session:
        merchants.issue_credential(session, "ACME", peppers=peppers, now=utc_now(), by=BY)
        merchants.revoke_client(session, acme.client.id, by=BY)
    registry.refresh()
    assert len(registry) == 3
    assert registry.find(other.client.id) is kept
    revoked = registry.find(acme.client.id)
    assert revoked is not None
    assert (revoked.is_active, revoked.epoch, revoked.secrets) == (False, 2, ())


def test_a_change_that_was_rolled_back_never_shows(registry: Registry, register: Register, database: Database) -> None:
    acme = register("ACME")
    registry.refresh()

    def disable_and_fail() -> None:
        with database.write() as session:
            merchants.disable_merchant(session, "ACME", by=BY)
            raise ArithmeticError

    with pytest.raises(ArithmeticError):
        disable_and_fail()
    registry.refresh()
    known = registry.find(acme.client.id)
    assert known is not None
    assert known.is_active
    assert known.epoch == 1


def test_disabling_and_enabling_a_merchant_reach_all_its_clients(
    registry: Registry, register: Register, database: Database, peppers: Peppers
) -> None:
    first = register("ACME")
    with database.write() as session:
        second = merchants.issue_credential(session, "ACME", peppers=peppers, now=utc_now(), by=BY)
    neighbour = register("OTHER")
    for act, is_active, epoch in (
        (merchants.disable_merchant, False, 2),
        (merchants.disable_merchant, False, 2),
        (merchants.enable_merchant, True, 2),
    ):
        with database.write() as session:
            act(session, "ACME", by=BY)
        registry.refresh()
        for client_id in (first.client.id, second.client.id):
            known = registry.find(client_id)
            assert known is not None
            assert (known.is_active, known.epoch) == (is_active, epoch)
    untouched = registry.find(neighbour.client.id)
    assert untouched is not None
    assert untouched.epoch == 1


def test_an_older_database_replaces_everything_known(
    registry: Registry, register: Register, database: Database
) -> None:
    acme, other = register("ACME"), register("OTHER")
    registry.refresh()
    with database.write() as session:
        session.execute(text("DELETE FROM secrets WHERE client_id = :id"), {"id": other.client.id})
        session.execute(text("DELETE FROM clients WHERE id = :id"), {"id": other.client.id})
        session.execute(text("UPDATE registry_revision SET value = 2"))
        session.execute(text("UPDATE clients SET revision = 2"))
    registry.refresh()
    assert len(registry) == 1
    assert registry.find(other.client.id) is None
    assert registry.find(acme.client.id) is not None


def test_the_state_is_stale_after_five_seconds(registry: Registry, monotonic_clock: Any) -> None:
    registry.refresh()
    monotonic_clock.now += 5.0
    registry.require_fresh()
    assert registry.age_seconds == pytest.approx(5.0)
    monotonic_clock.now += 0.01
    with pytest.raises(RegistryStaleError):
        registry.require_fresh()
    registry.refresh()
    registry.require_fresh()


def test_the_age_counts_from_before_the_reading(database: Database) -> None:
    ticks = iter([100.0, 103.0])
    registry = Registry(database, lambda: next(ticks))
    registry.refresh()
    assert registry.age_seconds == pytest.approx(3.0)


def test_a_database_that_is_away_leaves_what_was_known_to_age(
    registry: Registry, register: Register, outage: Outage, monotonic_clock: Any
) -> None:
    acme = register("ACME")
    registry.refresh()
    monotonic_clock.now += 1
    with outage():
        with pytest.raises(DatabaseAwayError):
            registry.refresh()
        assert registry.find(acme.client.id) is not None
        assert registry.age_seconds == pytest.approx(1.0)
    registry.refresh()
    assert registry.age_seconds == pytest.approx(0.0)


def test_refreshing_from_many_threads_at_once_loses_no_client(
    registry: Registry, register: Register, database: Database, peppers: Peppers
) -> None:
    register("ACME")
    registry.refresh()
    issued: list[str] = []
    stop = threading.Event()
    lost: list[int] = []

    def keep_refreshing() -> None:
        known = 0
        while not stop.is_set():
            registry.refresh()
            if len(registry) < known:
                lost.append(known)
            known = len(registry)

    threads = [threading.Thread(target=keep_refreshing) for _ in range(4)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        with database.write() as session:
            issued.append(merchants.issue_credential(session, "ACME", peppers=peppers, now=utc_now(), by=BY).client.id)
    stop.set()
    for thread in threads:
        thread.join()
    registry.refresh()
    assert lost == []
    assert [client_id for client_id in issued if registry.find(client_id) is None] == []
