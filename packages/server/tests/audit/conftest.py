from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ecross_server.audit import rules, service
from ecross_server.audit.rules import AuditKeys, Draft, derive_keys
from ecross_server.audit.service import Verdict
from ecross_server.audit.tasks import AuditRecorder, TokenEvent
from ecross_server.kit.database import Database

NOON = 1_764_072_000  # a whole minute

Append = Callable[..., None]
Event = Callable[..., TokenEvent]


@pytest.fixture
def keys() -> AuditKeys:
    return derive_keys("one", {"one": bytes(32)})


@pytest.fixture
def draft() -> Callable[..., Draft]:
    def make(**fields: Any) -> Draft:
        usual = Draft(
            NOON * 1_000_000, "operator:root", "merchants.register", "ACME", None, "done", None, None, None, None, None
        )
        return usual._replace(**fields)

    return make


@pytest.fixture
def append(database: Database, keys: AuditKeys, draft: Callable[..., Draft]) -> Append:
    """Appends a batch of so many records."""

    def append_batch(size: int = 1, *, under: AuditKeys = keys, now: int = NOON, **fields: Any) -> None:
        drafts = [draft(**({"at": now * 1_000_000, "request_id": str(number)} | fields)) for number in range(size)]
        with database.write() as session:
            service.append(session, drafts, under, now=now * 1_000_000)

    return append_batch


@pytest.fixture
def verify(database: Database, keys: AuditKeys) -> Callable[..., Verdict]:
    def check(under: AuditKeys = keys, witness: Any = None) -> Verdict:
        with database.read() as session:
            return service.verify(session, under, witness)

    return check


@pytest.fixture
def records(database: Database) -> Callable[..., list[service.Record]]:
    def read(limit: int | None = None, **chosen: Any) -> list[service.Record]:
        with database.read() as session:
            return list(service.list_records(session, service.RecordFilter(**chosen), limit))

    return read


@pytest.fixture
def event() -> Event:
    """An event of the token path: a token issued, or with an outcome a failure."""

    def make(outcome: str = rules.ISSUED, **fields: Any) -> TokenEvent:
        is_issued = outcome == rules.ISSUED
        made = TokenEvent(
            at=float(NOON),
            outcome=outcome,
            client_id="acme-abcdefghijklm",
            merchant_id="ACME" if is_issued else None,
            address="203.0.113.7",
            request_id=uuid.uuid4().hex,
            secret_id="sec_abcdefghijklm" if is_issued else None,
            token_id=uuid.uuid4().hex if is_issued else None,
            evidence=None if is_issued else b"a digest",
        )
        return made._replace(**fields)

    return make


@pytest.fixture
def recorder(database: Database, keys: AuditKeys) -> Iterator[Callable[..., AuditRecorder]]:
    """Makes recorders, and stops them after the test."""
    made: list[AuditRecorder] = []

    def make(**options: Any) -> AuditRecorder:
        usual: dict[str, Any] = {"keys": keys, "clock": lambda: float(NOON)}
        built = AuditRecorder(database, **(usual | options))
        made.append(built)
        return built

    yield make
    for each in made:
        each.stop()
