"""Whole databases as files: SQLite's by its online backup, PostgreSQL's tables by COPY, while others work on them."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, inspect, text

from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.kit.errors import ConflictError, UnavailableError
from ecross_server.kit.folder_use import FolderInUseError

BLOCK_BYTES: Final = 256 * 1024
IN_USE_SECONDS: Final = 2.0

Columns = Mapping[str, Sequence[str]]
"""The tables, in an order in which each stands after those that it refers to, with their columns."""


class UnusableDataError(ConflictError):
    """Rows that do not fit the tables."""

    code = "unusable_data"

    def __init__(self) -> None:
        super().__init__("The backup's rows do not fit the tables of its schema. Nothing was changed.")


def copy_sqlite(database: Database, path: Path) -> None:
    """Write the database, as it is at one moment, to a new file.

    Raises:
        DatabaseAwayError: if either file cannot be used.
    """
    source = Path(str(database.engine.url.database))
    try:
        # By one step: a copy page by page begins again whenever somebody writes.
        with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(path)) as copy:
            origin.backup(copy)
    except sqlite3.Error:
        raise DatabaseAwayError from None


def is_whole_sqlite(path: Path) -> bool:
    """Whether the file is a database without visible damage."""
    try:
        with closing(sqlite3.connect(path)) as connection:
            return bool(connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",))
    except sqlite3.Error:
        return False


@contextlib.contextmanager
def sqlite_to_ourselves(path: Path) -> Iterator[None]:
    """Hold the database against every other process; one that cannot be read anyway is nobody's.

    Raises:
        FolderInUseError: if another process has it open.
    """
    with contextlib.ExitStack() as opened:
        try:
            connection = opened.enter_context(
                closing(sqlite3.connect(path, timeout=IN_USE_SECONDS, isolation_level=None))
            )
            # In this mode, the lock of the write-ahead log is had only while nobody else has the file open.
            connection.execute("PRAGMA locking_mode=EXCLUSIVE")
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if not str(getattr(error, "sqlite_errorname", "")).startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                raise UnavailableError(f"The database {path} cannot be replaced. Move it away first.") from None
            raise FolderInUseError(f"Another process has the database {path} open. Stop it, and try again.") from None
        except sqlite3.DatabaseError:  # no database, or a broken one: to be replaced
            pass
        yield


def require_no_other_session(connection: Connection) -> None:
    """Refuse to go on while others of the same role are connected to PostgreSQL's database.

    Raises:
        FolderInUseError: with their number.
    """
    others = connection.scalar(
        text(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = current_user "
            "AND pid <> pg_backend_pid()"
        )
    )
    if others:
        raise FolderInUseError(
            f"{others} other session{'s' if others > 1 else ''} of the same role use{'' if others > 1 else 's'} the "
            "database. Stop the servers, and try again."
        )


def columns_of(connection: Connection, tables: Collection[str]) -> dict[str, list[str]]:
    """The tables, in an order in which each stands after those that it refers to, with their columns."""
    look = inspect(connection)
    names = [name for name, _ in look.get_sorted_table_and_fkc_names() if name in tables]
    return {name: [column["name"] for column in look.get_columns(name)] for name in names if name is not None}


def copy_table_out(connection: Connection, table: str, columns: Sequence[str], path: Path) -> None:
    """Write all rows of PostgreSQL's table to a new file.

    Raises:
        DatabaseAwayError: if the database does not answer any more.
    """
    with (
        _cursor(connection) as (cursor, sql),
        path.open("xb") as file,
        cursor.copy(_copy(sql, "COPY {} ({}) TO STDOUT", table, columns)) as rows,
    ):
        for block in rows:
            file.write(block)


def copy_tables_in(
    connection: Connection, columns: Columns, files: Mapping[str, Path], tables: Collection[str]
) -> None:
    """Replace all rows of PostgreSQL's tables by those of the files, which must be of these tables.

    Raises:
        UnusableDataError: if they do not fit.
        DatabaseAwayError: if the database does not answer any more.
    """
    if {table: sorted(names) for table, names in columns_of(connection, tables).items()} != {
        table: sorted(names) for table, names in columns.items()
    }:
        raise UnusableDataError
    quote = connection.dialect.identifier_preparer.quote
    connection.execute(text(f"TRUNCATE {', '.join(map(quote, columns))}"))
    with _cursor(connection) as (cursor, sql):
        for table, names in columns.items():
            with (
                files[table].open("rb") as file,
                cursor.copy(_copy(sql, "COPY {} ({}) FROM STDIN", table, names)) as rows,
            ):
                while block := file.read(BLOCK_BYTES):
                    rows.write(block)
    for table, names in columns.items():
        for name in names:
            _set_sequence(connection, table, name)


def _set_sequence(connection: Connection, table: str, column: str) -> None:
    sequence = connection.scalar(text("SELECT pg_get_serial_sequence(:t, :c)"), {"t": table, "c": column})
    if sequence is not None:
        quote = connection.dialect.identifier_preparer.quote
        highest = f"(SELECT max({quote(column)}) FROM {quote(table)})"  # noqa: S608 - names of the schema itself
        connection.execute(
            text(f"SELECT setval(:sequence, coalesce({highest}, 1), {highest} IS NOT NULL)"), {"sequence": sequence}
        )


@contextlib.contextmanager
def _cursor(connection: Connection) -> Iterator[tuple[Any, Any]]:
    driver: Any = connection.dialect.dbapi
    raw: Any = connection.connection.driver_connection
    try:
        with raw.cursor() as cursor:
            yield cursor, driver.sql
    except (driver.OperationalError, driver.InterfaceError):
        raise DatabaseAwayError from None
    except driver.Error:  # its text shows rows
        raise UnusableDataError from None


def _copy(sql: Any, statement: str, table: str, columns: Sequence[str]) -> Any:  # noqa: ANN401 - the driver's
    return sql.SQL(statement).format(sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns)))
