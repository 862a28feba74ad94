"""The version before and this one on the same database, at once: what an upgrade without a pause needs.

Old code is not at hand, but the statements of each released version's main acts are, recorded from the running code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from psycopg.types.json import Json
from sqlalchemy import Connection, text

from ecross_server import migrations
from ecross_server.auth.registry import Registry
from ecross_server.kit.database import Database

FOLDER = Path(__file__).parent / "old_versions"
RECORDED = sorted({path.name.split(".")[0] for path in FOLDER.glob("*.jsonl")})
MERCHANT = "OLD_VERSION"


def value(encoded: Any, revision: int | None) -> Any:
    """What the driver takes."""
    if not isinstance(encoded, dict):
        return encoded
    ((kind, content),) = encoded.items()
    if kind == "revision":
        assert revision is not None
        return revision
    decode = {"bytes": bytes.fromhex, "instant": datetime.fromisoformat, "decimal": Decimal, "json": Json}
    return decode[kind](content)


def transactions(version: str, backend: str) -> Iterator[list[dict[str, Any]]]:
    """The old version's statements, by transaction."""
    gathered: list[dict[str, Any]] = []
    for line in (FOLDER / f"{version}.{backend}.jsonl").read_text().splitlines():
        if statement := json.loads(line):
            gathered.append(statement)
        elif gathered:
            yield gathered
            gathered = []


def replay(connection: Connection, statements: list[dict[str, Any]]) -> int:
    """Run them as the old version did; how many rows the last one gave."""
    revision = None
    rows = 0
    for recorded in statements:
        given = recorded["parameters"]
        if isinstance(given, dict):
            parameters: Any = {name: value(each, revision) for name, each in given.items()}
        else:
            parameters = tuple(value(each, revision) for each in given)
        result = connection.exec_driver_sql(recorded["statement"], parameters)
        found = result.fetchall() if result.returns_rows else []
        if recorded["statement"].startswith("UPDATE registry_revision"):
            revision = found[0][0]
        rows = len(found)
    return rows


UNRELEASED = {"0008", "0009", "0010"}
"""Revisions that came together with a later one: no released code has run on them alone."""


def test_every_released_revision_has_its_statements() -> None:
    released = [revision for revision in migrations.REVISIONS if revision not in UNRELEASED]
    assert released[: len(RECORDED)] == RECORDED
    assert len(RECORDED) >= len(released) - 1, "record.py was not run when the version before was released"


@pytest.mark.parametrize("version", RECORDED)
def test_an_older_version_goes_on_working_beside_this_one(
    version: str, backend: str, database: Database, register: Any
) -> None:
    migrations.require_current_schema(database)
    registry = Registry(database)
    registry.refresh()
    seen: set[str] = set()
    newest: list[str] = []
    read_last = 0
    for number, statements in enumerate(transactions(version, backend)):
        with database.write() as session:
            read_last = replay(session.connection(), statements)
        newest.append(register(f"NEW_{number}").client.id)  # this version acts between any two of its acts
        registry.refresh()
        seen |= {each.client_id for each in registry._clients.values() if each.merchant_id == MERCHANT}
        assert all(registry.find(client_id) for client_id in newest)
    assert len(seen) == 2, "what the old version issued works in the new one"
    states = sorted(each.is_active for each in registry._clients.values() if each.merchant_id == MERCHANT)
    assert states == [False, True], "so does its revocation"
    assert read_last == 2 + len(newest) - 1, "its registry knows what the new version has issued"
    with database.read() as session:
        assert session.scalar(text("SELECT name FROM skus WHERE merchant_id = 'OLD_VERSION'")) == "Another"
