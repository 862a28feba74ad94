from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import text

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.auth.errors import InvalidAccessTokenError
from ecross_server.auth.registry import Registry
from ecross_server.auth.service import AuthService
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import IssuedCredential

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

MakeService = Callable[..., AuthService]
Outage = Callable[[], AbstractContextManager[None]]


def eventually(condition: Callable[[], bool], seconds: float = 4.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.02)
    return condition()


def is_running() -> bool:
    return any(thread.name == "registry" for thread in threading.enumerate())


def test_changes_are_known_within_two_seconds(
    make_service: MakeService, credential: IssuedCredential, database: Database, keys: Any
) -> None:
    service = make_service(registry=Registry(database))
    service.start()
    try:
        token = service.issue_access_token(credential.client.id, credential.client_secret).token
        with database.write() as session:
            merchants.disable_merchant(session, "ACME", by=BY)
        keys.write(keys.fresh(), *keys.keys)

        def is_refused() -> bool:
            try:
                service.authenticate(token)
            except InvalidAccessTokenError as error:
                return error.reason == "revoked"
            return False

        assert eventually(is_refused, seconds=2.0)
    finally:
        service.stop()


def test_it_survives_an_outage_and_reports_its_begin_and_end_once(
    make_service: MakeService,
    credential: IssuedCredential,
    database: Database,
    outage: Outage,
    log_events: list[Any],
) -> None:
    def reports() -> list[Any]:
        return [event for event in log_events if event["event"].startswith("registry_")]

    service = make_service(registry=Registry(database))
    service.start()
    try:
        with outage():
            assert eventually(lambda: len(reports()) > 0)
            time.sleep(1.1)  # two more attempts
        assert eventually(lambda: len(reports()) > 1)
        assert service.registry.age_seconds < 1
        with database.write() as session:
            merchants.revoke_client(session, credential.client.id, by=BY)

        def is_known() -> bool:
            client = service.registry.find(credential.client.id)
            return client is not None and not client.is_active

        assert eventually(is_known)
    finally:
        service.stop()
    failed, recovered = reports()
    assert (failed["event"], failed["log_level"]) == ("registry_refresh_failed", "error")
    assert failed["reason"] == "The database does not answer. Try again shortly."
    assert not failed["exc_info"]
    assert recovered["event"] == "registry_refresh_recovered"


def test_it_survives_our_own_bugs_and_shows_their_traceback(
    make_service: MakeService, credential: IssuedCredential, database: Database, log_events: list[Any]
) -> None:
    service = make_service(registry=Registry(database))
    service.start()
    try:
        with database.write() as session:
            session.execute(text("ALTER TABLE registry_revision RENAME TO mislaid"))
        assert eventually(lambda: len(log_events) > 0)
        with database.write() as session:
            session.execute(text("ALTER TABLE mislaid RENAME TO registry_revision"))
        assert eventually(lambda: len(log_events) > 1)
    finally:
        service.stop()
    failed, recovered = log_events
    assert (failed["event"], failed["exc_info"]) == ("registry_refresh_failed", True)
    assert recovered["event"] == "registry_refresh_recovered"
    assert service.issue_access_token(credential.client.id, credential.client_secret).expires_in


def test_it_ends_when_told_and_can_be_started_again(
    make_service: MakeService, credential: IssuedCredential, database: Database
) -> None:
    service = make_service(registry=Registry(database))
    service.stop()  # never started: nothing to end
    for _ in range(2):
        service.start()
        assert is_running()
        service.stop()
        assert not is_running()
    service.start()
    try:
        with database.write() as session:
            merchants.disable_merchant(session, credential.client.merchant_id, by=BY)
        assert eventually(lambda: not getattr(service.registry.find(credential.client.id), "is_active", True))
    finally:
        service.stop()


def test_a_read_that_hangs_does_not_hold_up_the_end(make_service: MakeService, database: Database) -> None:
    hang, hung, go_on = threading.Event(), threading.Event(), threading.Event()

    def monotonic() -> float:
        if hang.is_set():
            hung.set()
            go_on.wait(30)
        return time.monotonic()

    service = make_service(registry=Registry(database, monotonic))
    service.start()
    hang.set()
    assert hung.wait(5)
    began = time.monotonic()
    service.stop()
    assert time.monotonic() - began < 4
    hang.clear()
    go_on.set()
    assert eventually(lambda: not is_running())


def test_with_many_clients_the_collector_leaves_them_alone(
    make_service: MakeService, credential: IssuedCredential, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = make_service()
    before = gc.get_freeze_count()
    try:
        for threshold, is_frozen in ((2, False), (1, True)):
            monkeypatch.setattr("ecross_server.auth.service.MANY_CLIENTS", threshold)
            service.start()
            service.stop()
            assert (gc.get_freeze_count() > before) == is_frozen
    finally:
        gc.unfreeze()
    assert service.registry.find(credential.client.id)
