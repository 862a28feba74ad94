from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from sqlalchemy import text

from ecross_server.auth.service import AuthService
from ecross_server.auth.uses import MOST_KINDS, WRITE_SECONDS, CallMeter
from ecross_server.kit.database import Database, DatabaseAwayError

NOON = 1_900_000_800.0

Outage = Callable[[], AbstractContextManager[None]]


@pytest.fixture
def meter(database: Database, monotonic_clock: Any) -> CallMeter:
    return CallMeter(database, clock=lambda: NOON, monotonic=monotonic_clock)


def rows(database: Database) -> list[tuple[Any, ...]]:
    query = "SELECT client_id, day, scope, address, calls FROM client_calls ORDER BY client_id, scope, address"
    with database.read() as session:
        return [tuple(row) for row in session.execute(text(query))]


def test_calls_are_added_up_by_client_scope_and_address(database: Database, meter: CallMeter) -> None:
    for _ in range(3):
        meter.note("c", "catalog:read", "198.51.100.7")
    meter.note("c", "catalog:write", "::ffff:198.51.100.7")
    meter.note("c", "catalog:write", "2001:db8::1")
    meter.note("c", "catalog:write", "2001:db8::2")
    meter.note("d", "catalog:read", "unknown")
    meter.write()
    meter.note("d", "catalog:read", "unknown")
    meter.write()
    meter.write()
    day = int(NOON // 86_400)
    assert rows(database) == [
        ("c", day, "catalog:read", "198.51.100.7", 3),
        ("c", day, "catalog:write", "198.51.100.7", 1),
        ("c", day, "catalog:write", "2001:db8::/64", 2),
        ("d", day, "catalog:read", "unknown", 2),
    ]


def test_they_are_written_once_a_minute(database: Database, meter: CallMeter, monotonic_clock: Any) -> None:
    meter.note("c", "catalog:read", "198.51.100.7")
    monotonic_clock.now += WRITE_SECONDS - 1
    meter.write_if_due()
    assert rows(database) == []
    monotonic_clock.now += 1
    meter.write_if_due()
    assert len(rows(database)) == 1


def test_whoever_calls_from_everywhere_takes_no_memory_without_end(database: Database, meter: CallMeter) -> None:
    for number in range(MOST_KINDS + 5):
        meter.note("c", "catalog:read", f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    meter.note("c", "catalog:read", "10.0.0.0")
    meter.write()
    written = rows(database)
    assert len(written) == MOST_KINDS
    assert sum(row[-1] for row in written) == MOST_KINDS + 1


@pytest.mark.parametrize("backend", ["sqlite"], indirect=False)
def test_what_cannot_be_written_is_kept(database: Database, meter: CallMeter, outage: Outage, backend: str) -> None:
    del backend
    meter.note("c", "catalog:read", "198.51.100.7")
    with outage(), pytest.raises(DatabaseAwayError):
        meter.write()
    meter.note("c", "catalog:read", "198.51.100.7")
    meter.write()
    assert [row[-1] for row in rows(database)] == [2]


def test_the_service_writes_what_is_left_at_its_end(database: Database, service: AuthService) -> None:
    service.start()
    service.calls.note("c", "catalog:read", "198.51.100.7")
    service.stop()
    assert len(rows(database)) == 1


def test_a_database_that_is_away_does_not_hold_up_the_end(service: AuthService, outage: Outage) -> None:
    service.start()
    service.calls.note("c", "catalog:read", "198.51.100.7")
    with outage():
        begun = time.monotonic()
        service.stop()
        assert time.monotonic() - begun < 4
