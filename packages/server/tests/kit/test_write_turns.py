"""Turns of those who write SQLite's file."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from ecross_server.kit.database import TURN_SHARE, Database, DatabaseAwayError
from forking import ForkedProcess

LONG = 20.0
"""Seconds after which something that should happen is taken not to."""

SHORT = 0.2
"""Seconds in which something that should not happen would have."""

WRITE = """
import sys
from sqlalchemy import Connection, event, text
from ecross_server.kit.database import Database
with Database(sys.argv[1]).write() as session:
    session.execute(text("INSERT INTO kept (writer) VALUES ('other')"))
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "own.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{path}")
    opened.switch_to_wal()
    with opened.write() as session:
        session.execute(text("CREATE TABLE kept (id INTEGER PRIMARY KEY, writer TEXT)"))
    yield opened
    opened.close()


@pytest.fixture
def impatient(database: Database, path: Path) -> Iterator[Database]:
    """The same database, waited for not so long."""
    del database
    opened = Database(f"sqlite:///{path}", busy_seconds=SHORT)
    yield opened
    opened.close()


def add(session: Session, writer: str = "one") -> None:
    session.execute(text("INSERT INTO kept (writer) VALUES (:writer)"), {"writer": writer})


def write(database: Database) -> None:
    with database.write() as session:
        add(session)


def writers(database: Database) -> list[str]:
    with database.read() as session:
        return list(session.scalars(text("SELECT writer FROM kept ORDER BY id")))


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


@contextlib.contextmanager
def locked(path: Path, kind: str) -> Iterator[None]:
    """Hold one of the files beside the database, as a process does that was stopped at that moment."""
    with path.with_name(f".{path.name}.{kind}.lock").open("r+") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def is_locked(path: Path, kind: str) -> bool:
    with path.with_name(f".{path.name}.{kind}.lock").open("r+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


@pytest.mark.unmeasured
def test_a_process_that_writes_without_a_pause_lets_another_one_in(database: Database, path: Path) -> None:
    with database.write() as session:
        add(session)
        other = ForkedProcess([sys.executable, "-c", WRITE, str(database.engine.url)])
        until(lambda: is_locked(path, "next"))
    write(database)  # at once
    assert other.wait(LONG) == 0
    assert writers(database) == ["one", "other", "one"]


def test_readers_take_no_turn(database: Database, path: Path) -> None:
    with locked(path, "turn"), locked(path, "next"):
        assert writers(database) == []
    with database.read() as session:
        session.execute(text("SELECT 1"))
        assert not is_locked(path, "turn")


def test_a_turn_ends_with_its_transaction(database: Database, path: Path) -> None:
    with database.write() as session:
        assert not is_locked(path, "turn")  # nothing was asked yet
        add(session)
        assert is_locked(path, "turn")
    assert not is_locked(path, "turn")


def fail_inside(database: Database) -> None:
    with database.write() as session:
        add(session)
        raise ZeroDivisionError


def fail_at_commit(database: Database) -> None:
    with database.write() as session:
        session.execute(text("CREATE TABLE child (parent INTEGER REFERENCES kept DEFERRABLE INITIALLY DEFERRED)"))
        session.execute(text("INSERT INTO child VALUES (4711)"))


def break_connection(database: Database) -> None:
    with database.write() as session:
        add(session)
        session.connection().invalidate()
        raise ZeroDivisionError


@pytest.mark.parametrize("fail", [fail_inside, fail_at_commit, break_connection])
def test_a_turn_ends_also_when_the_transaction_fails(
    database: Database, path: Path, fail: Callable[[Database], None]
) -> None:
    with pytest.raises((ZeroDivisionError, IntegrityError)):
        fail(database)
    assert not is_locked(path, "turn")
    write(database)
    assert writers(database) == ["one"]


def test_two_transactions_of_one_connection_do_not_wait_for_each_other(database: Database, path: Path) -> None:
    with database.engine.connect() as connection:
        for _ in range(2):
            with connection.begin():
                connection.execute(text("INSERT INTO kept (writer) VALUES ('one')"))
    assert not is_locked(path, "turn")


def test_a_turn_that_does_not_come_is_an_absence_after_as_long_as_ever(
    database: Database, impatient: Database, path: Path
) -> None:
    borne: list[int] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("PRAGMA busy_timeout="):
            borne.append(int(statement.partition("=")[2]))

    event.listen(impatient.engine, "before_cursor_execute", note)
    with database.write() as session:
        add(session)
        began = time.monotonic()
        with pytest.raises(DatabaseAwayError):
            write(impatient)
        assert SHORT * 0.9 <= time.monotonic() - began < LONG / 4
        assert is_locked(path, "turn")
    rest, usual = borne
    assert rest <= SHORT * TURN_SHARE * 1000  # what was left of its time
    assert usual == SHORT * 1000
    write(impatient)
    until(lambda: not is_locked(path, "turn"))  # whoever waited in its stead has ended that


def test_who_gives_up_on_the_lock_gives_up_the_turn(impatient: Database, path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as rude:
        rude.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseAwayError):
            write(impatient)
        assert not is_locked(path, "turn")


@pytest.mark.parametrize("kind", ["turn", "next"])
def test_who_was_stopped_in_the_line_holds_nobody_up_for_good(impatient: Database, path: Path, kind: str) -> None:
    with locked(path, kind):
        write(impatient)
    assert writers(impatient) == ["one"]


def test_without_turns_it_is_written_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "own.db"
    for kind in ("turn", "next"):
        path.with_name(f".own.db.{kind}.lock").mkdir()
    with contextlib.closing(Database(f"sqlite:///{path}")) as database:
        with database.write() as session:
            session.execute(text("CREATE TABLE kept (id INTEGER PRIMARY KEY, writer TEXT)"))
        write(database)
        assert writers(database) == ["one"]
