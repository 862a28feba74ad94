from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from ecross_server import migrations
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.kit.snapshots import columns_of, copy_sqlite, copy_table_out, is_whole_sqlite
from ecross_server.migrations.tables import NAMES

pytestmark = pytest.mark.measured


def test_a_copy_is_the_database_of_one_moment_while_others_write(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = tmp_path_factory.mktemp("source") / "ecross.db"
    migrating = Database(f"sqlite:///{source}")
    migrations.upgrade(migrating)
    migrating.close()
    database, copy = Database(f"sqlite:///{source}"), tmp_path / "copy.db"
    with database.write() as session:
        session.execute(text("UPDATE registry_revision SET value = 7"))
    with database.write() as session:  # in the write-ahead log alone, and not committed
        session.execute(text("UPDATE registry_revision SET value = 8"))
        copy_sqlite(database, copy)
    copied = Database(f"sqlite:///{copy}")
    with copied.read() as session:
        assert session.scalar(text("SELECT value FROM registry_revision")) == 7
    copied.close()
    database.close()
    assert is_whole_sqlite(copy)


def test_a_database_that_cannot_be_copied_is_told(tmp_path: Path) -> None:
    (tmp_path / "junk.db").write_bytes(b"no database" * 500)
    database = Database(f"sqlite:///{tmp_path / 'junk.db'}")
    with pytest.raises(DatabaseAwayError):
        copy_sqlite(database, tmp_path / "copy.db")
    assert not is_whole_sqlite(tmp_path / "junk.db")


def test_a_session_that_ends_meanwhile_is_told(backend: str, database: Database, tmp_path: Path) -> None:
    if backend != "postgresql":
        pytest.skip("PostgreSQL's own")
    with pytest.raises(DatabaseAwayError), database.read() as session:
        copy_from_ended_session(database, session.connection(), tmp_path / "merchants.copy")


def copy_from_ended_session(database: Database, connection: Connection, path: Path) -> None:
    columns = columns_of(connection, {"merchants"})["merchants"]
    number = connection.scalar(text("SELECT pg_backend_pid()"))
    with database.write() as other:
        other.execute(text("SELECT pg_terminate_backend(:number)"), {"number": number})
    copy_table_out(connection, "merchants", columns, path)


def test_tables_stand_after_those_that_they_refer_to(database: Database) -> None:
    with database.read() as session:
        names = list(columns_of(session.connection(), NAMES))
    assert names.index("merchants") < names.index("clients") < names.index("secrets")
    assert set(names) == NAMES
