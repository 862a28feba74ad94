"""A migration must leave the version before it working: it adds; what is removed, a later version removes."""

from __future__ import annotations

import importlib.util
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import sqlalchemy as sa
from alembic import op
from alembic.migration import MigrationContext
from alembic.operations import Operations

from ecross_server import migrations

FOLDER = Path(migrations.__file__).parent / "versions"

CONTRACTS: Final[dict[str, str]] = {}
"""Revisions that remove what no released version uses any more: each with the revision whose release ended the use."""

BREAKING: Final = (
    (r"DROP (TABLE|COLUMN|VIEW|SEQUENCE|TYPE|SCHEMA)\b", "removes"),
    (r"\bRENAME\b", "renames"),
    (r"ALTER COLUMN \S+ (SET DATA )?TYPE\b", "changes a type"),
    (r"ALTER COLUMN \S+ SET NOT NULL", "takes NULL away"),
    (r"ALTER COLUMN \S+ DROP DEFAULT", "takes a default away"),
    (r"ADD (CONSTRAINT|CHECK|UNIQUE|FOREIGN|PRIMARY)\b", "adds a rule that old code may break"),
    (r"CREATE UNIQUE INDEX", "adds a rule that old code may break"),
    (r"ADD COLUMN (?!.*\bDEFAULT\b).*\bNOT NULL\b", "adds a column that old code does not fill"),
    (r"CREATE (OR REPLACE )?(TRIGGER|RULE)\b", "changes what old code's statements do"),
    (r"^(DELETE|TRUNCATE)\b", "removes rows"),
)
TABLE: Final = re.compile(r'(?:TABLE|\bON|INTO|FROM)\s+(?:IF (?:NOT )?EXISTS )?(?:ONLY )?"?(\w+)"?')


def statements(upgrade: Any) -> list[str]:
    """What the upgrade would run on PostgreSQL, without running it."""
    out = io.StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": out})
    with Operations.context(context):
        upgrade()
    return [" ".join(statement.split()) for statement in out.getvalue().split(";\n") if statement.strip()]


def breaking(listed: list[str]) -> list[str]:
    """What of it the version before could not live with. Nothing that is done to a new table can disturb it."""
    created: set[str] = set()
    found = []
    for statement in listed:
        table = TABLE.search(statement)
        name = table[1] if table else ""
        if statement.startswith("CREATE TABLE"):
            created.add(name)
        elif name not in created:
            found += [f"{what}: {statement}" for form, what in BREAKING if re.search(form, statement, re.IGNORECASE)]
    return found


def scripts() -> Iterator[Any]:
    for path in sorted(FOLDER.glob("*.py")):
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


@pytest.mark.parametrize("script", list(scripts()), ids=lambda script: script.revision)
def test_a_migration_leaves_the_version_before_it_working(script: Any) -> None:
    listed = statements(script.upgrade)
    assert listed
    if script.revision in CONTRACTS:
        ended = CONTRACTS[script.revision]
        order = migrations.REVISIONS
        assert order.index(ended) < order.index(script.revision), "an earlier version has to end the use"
        assert breaking(listed), "it removes nothing: it need not be listed"
    else:
        assert breaking(listed) == []


def test_what_is_listed_exists() -> None:
    assert {*CONTRACTS, *CONTRACTS.values()} <= set(migrations.REVISIONS)


def refused(upgrade: Any) -> bool:
    return bool(breaking(statements(upgrade)))


@pytest.mark.parametrize(
    "act",
    [
        lambda op: op.drop_table("merchants"),
        lambda op: op.drop_column("merchants", "name"),
        lambda op: op.rename_table("merchants", "sellers"),
        lambda op: op.alter_column("merchants", "name", new_column_name="title"),
        lambda op: op.alter_column("merchants", "name", type_=sa.String(10)),
        lambda op: op.alter_column("merchants", "name", nullable=False, existing_type=sa.Text()),
        lambda op: op.alter_column("merchants", "name", server_default=None, existing_server_default="x"),
        lambda op: op.add_column("merchants", sa.Column("vat", sa.Text(), nullable=False)),
        lambda op: op.create_unique_constraint("uq", "merchants", ["name"]),
        lambda op: op.create_check_constraint("ck", "merchants", "name <> ''"),
        lambda op: op.create_foreign_key("fk", "secrets", "clients", ["label"], ["id"]),
        lambda op: op.create_index("ix", "merchants", ["name"], unique=True),
        lambda op: op.execute("alter table merchants drop column name"),
        lambda op: op.execute("DELETE FROM merchants"),
        lambda op: op.execute("CREATE TRIGGER t BEFORE INSERT ON merchants EXECUTE FUNCTION f()"),
        lambda op: (op.create_table("new", sa.Column("id", sa.Integer())), op.drop_table("merchants")),
    ],
)  # fmt: skip
def test_what_the_version_before_cannot_live_with_is_found(act: Any) -> None:
    assert refused(lambda: act(op))
    assert refused(lambda: batched(act))


def batched(act: Any) -> None:
    """The same beside a batch, as generated migrations are written."""
    with op.batch_alter_table("clients") as batch:
        batch.add_column(sa.Column("harmless", sa.Text(), nullable=True))
    act(op)


@pytest.mark.parametrize(
    "act",
    [
        lambda op: op.create_table("new", sa.Column("id", sa.Integer(), nullable=False), sa.PrimaryKeyConstraint("id")),
        lambda op: op.add_column("merchants", sa.Column("vat", sa.Text(), nullable=True)),
        lambda op: op.add_column("merchants", sa.Column("vat", sa.Text(), nullable=False, server_default="")),
        lambda op: op.create_index("ix", "merchants", ["name"]),
        lambda op: op.drop_index("ix_clients_revision", "clients"),
        lambda op: op.alter_column("merchants", "name", nullable=True, existing_type=sa.Text()),
        lambda op: op.execute("UPDATE merchants SET name = name"),
        lambda op: (op.create_table("n", sa.Column("i", sa.Integer())), op.create_index("u", "n", ["i"], unique=True)),
    ],
)  # fmt: skip
def test_what_it_can_live_with_passes(act: Any) -> None:
    assert not refused(lambda: act(op))
