"""How many statements a write takes, of the catalog and of inventory, and which index a list uses."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, inspect

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.catalog import service as catalog
from ecross_server.catalog.schemas import read_product
from ecross_server.inventory import service as inventory
from ecross_server.inventory.rules import Count, InventoryType
from ecross_server.kit.change_lists import PageRequest
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.database import Database
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants import service as merchants

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 1, 2, tzinfo=UTC)
TOKENS = PageTokens([b"k" * 32])
TURNS = ("BEGIN", "SELECT pg_advisory")

Statements = list[tuple[str, Any]]


@pytest.fixture(autouse=True)
def _merchants(database: Database) -> None:
    with database.write() as session:
        for merchant_id in ("ACME", "OTHER"):
            merchants.register_merchant(session, merchant_id, merchant_id, now=NOW, by=BY)


@pytest.fixture
def statements(database: Database) -> Iterator[Statements]:
    """All that the database is asked from now on, but for transactions and turns."""
    made: Statements = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if not statement.startswith(TURNS):
            made.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", note)
    yield made
    event.remove(database.engine, "before_cursor_execute", note)


def upsert(database: Database, product_id: str, *sku_ids: str, name: str = "n", merchant_id: str = "ACME") -> None:
    body = [{"skuId": sku_id, "productId": product_id, "name": name} for sku_id in sku_ids]
    drafts = read_product(json.dumps(body).encode())
    with database.write() as session:
        catalog.upsert_skus(session, merchant_id, drafts, now=NOW)


def put(database: Database, quantity: int) -> None:
    with database.write() as session:
        inventory.set_inventory(session, "ACME", Count("1", 1, InventoryType.AVAILABLE, quantity), now=NOW)


def verbs(statements: Statements) -> list[str]:
    """What it was asked for; writes in a row count once, as SQLite takes new rows one by one."""
    made = [statement.split(maxsplit=1)[0] for statement, _ in statements]
    statements.clear()
    return [verb for before, verb in itertools.pairwise(["", *made]) if verb == "SELECT" or verb != before]


def test_an_upsert_looks_once_and_writes_once_however_many_skus_there_are(
    database: Database, statements: Statements
) -> None:
    ids = [str(number) for number in range(20)]
    upsert(database, "p", *ids)
    assert verbs(statements) == ["SELECT", "INSERT"]
    upsert(database, "p", *ids, name="new")
    assert verbs(statements) == ["SELECT", "UPDATE"]
    upsert(database, "p", *ids, name="new")
    assert verbs(statements) == ["SELECT"]
    upsert(database, "q", *ids[:1], name="new")  # its old product needs another main one
    assert verbs(statements) == ["SELECT", "SELECT", "UPDATE"]


def test_a_count_looks_for_its_place_and_for_the_name_and_writes_once(
    database: Database, statements: Statements
) -> None:
    put(database, 1)
    assert verbs(statements) == ["SELECT", "SELECT", "INSERT"]
    put(database, 2)
    assert verbs(statements) == ["SELECT", "SELECT", "UPDATE"]
    put(database, 2)
    assert verbs(statements) == ["SELECT", "SELECT"]


@pytest.mark.parametrize("updated_after", [None, BEGAN])
def test_a_list_walks_along_the_merchants_own_rows_alone(
    database: Database, statements: Statements, updated_after: datetime | None
) -> None:
    for merchant_id in ("OTHER", "ACME"):
        upsert(database, "p", *(str(number) for number in range(100)), merchant_id=merchant_id)
    for quantity in range(2):
        put(database, quantity)
    statements.clear()
    request = PageRequest(None if updated_after is None else rfc3339(updated_after), None, 10, TOKENS)
    with database.read() as session:
        page = catalog.list_skus(
            session, "ACME", updated_after=request.updated_after, page_token=None, page_size=10, page_tokens=TOKENS
        )
        inventory.list_inventory(session, "ACME", request)
    assert {sku.merchant_id for sku in page.skus} == {"ACME"}
    for table in ("skus", "inventory_records"):
        listing = next(it for it in statements if f"FROM {table}" in it[0] and "LIMIT" in it[0])
        plan = explained(database, listing)
        assert ("(merchant_id=? AND number>?)" if database.is_sqlite else "ROW(") in plan
        assert "pk_skus" not in plan


def explained(database: Database, statement: tuple[str, Any]) -> str:
    """How the database would answer it, if it had so many rows that it would not read them all."""
    how = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
    with database.engine.begin() as connection:
        if not database.is_sqlite:
            for name in ("seqscan", "bitmapscan", "sort"):
                connection.exec_driver_sql(f"SET LOCAL enable_{name} TO off")
        return "\n".join(str(row) for row in connection.exec_driver_sql(f"{how} {statement[0]}", statement[1]))


def test_a_list_by_date_is_not_sorted_by_what_was_known_before_a_push(
    database: Database, statements: Statements
) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite keeps to the index")
    upsert(database, "p", "0")
    with database.engine.begin() as connection:
        connection.exec_driver_sql("ANALYZE skus")
        names = [column["name"] for column in inspect(connection).get_columns("skus") if column["name"] != "number"]
        given = ", ".join("sku_id || n" if name == "sku_id" else name for name in names)
        connection.exec_driver_sql(
            f"INSERT INTO skus ({', '.join(names)}) SELECT {given} FROM skus, generate_series(1, 5000) AS n"  # noqa: S608
        )
    statements.clear()
    with database.read() as session:
        catalog.list_skus(
            session, "ACME", updated_after=rfc3339(BEGAN), page_token=None, page_size=10, page_tokens=TOKENS
        )
    *before, listing = [it for it in statements if "set_config" in it[0] or "LIMIT" in it[0]]
    with database.engine.begin() as connection:
        for statement, _ in before:
            connection.exec_driver_sql(statement)
        plan = "\n".join(str(row) for row in connection.exec_driver_sql(f"EXPLAIN {listing[0]}", listing[1]))
    assert "Sort" not in plan
