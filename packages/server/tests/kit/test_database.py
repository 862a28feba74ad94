from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from sqlalchemy import URL, Column, Connection, Integer, MetaData, Table, event, func, insert, select, text, update
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from sqlalchemy.orm import Session

from ecross_server.kit.database import (
    CONNECTIONS,
    Database,
    DatabaseAwayError,
    ExactDecimal,
    UtcDateTime,
    among,
    take_turns,
    translated_errors,
)
from ecross_server.kit.errors import InvalidInputError, UnavailableError

pytestmark = pytest.mark.measured

metadata = MetaData()
kept = Table(
    "kept",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("instant", UtcDateTime),
    Column("amount", ExactDecimal),
)

LONG = 20.0
"""Seconds after which something that should happen is taken not to."""

SHORT = 0.2
"""Seconds in which something that should not happen would have."""

INSTANTS = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - likewise
    timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
)
Transaction = Callable[[Database], contextlib.AbstractContextManager[Session]]

AMOUNTS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**30), max_value=10**30)


@pytest.fixture
def own(empty_database_url: str) -> Iterator[Database]:
    """A database of the test's own with one table."""
    database = Database(empty_database_url)
    metadata.create_all(database.engine)
    yield database
    database.close()


@pytest.fixture
def sqlite_path(tmp_path: Path) -> Path:
    return tmp_path / "own.db"


@pytest.fixture
def sqlite(sqlite_path: Path) -> Iterator[Database]:
    """An empty SQLite database that does not wait long for others."""
    database = Database(f"sqlite:///{sqlite_path}", busy_seconds=SHORT)
    yield database
    database.close()


def add(session: Session, **values: Any) -> None:
    session.execute(insert(kept).values(**values))


def add_and_fail(session: Session, **values: Any) -> NoReturn:
    add(session, **values)
    raise ZeroDivisionError


def count(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(kept)) or 0


def keep(database: Database, **values: Any) -> Any:
    """Write the values and read them back in another transaction."""
    with database.write() as session:
        session.execute(kept.delete())
        add(session, id=1, **values)
    with database.read() as session:
        return session.execute(select(kept)).one()


def test_any_instant_comes_back_exactly_and_in_utc(own: Database) -> None:
    @examples(max_examples=60, deadline=None)
    @given(INSTANTS)
    def check(instant: datetime) -> None:
        read = keep(own, instant=instant).instant
        assert read == instant
        assert read.utcoffset() == timedelta(0)

    check()


@pytest.mark.parametrize("instant", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Los_Angeles"])
def test_the_ends_of_the_calendar_come_back_whatever_the_servers_zone(
    own: Database, instant: datetime, zone: str
) -> None:
    if not own.is_sqlite:
        with own.write() as session:
            session.execute(text(f"ALTER DATABASE {own.engine.url.database} SET timezone TO '{zone}'"))
        own.close()  # new connections have the zone
    assert keep(own, instant=instant).instant == instant


def test_instants_are_ordered_in_the_database(own: Database) -> None:
    @examples(max_examples=30, deadline=None)
    @given(INSTANTS, INSTANTS)
    def check(one: datetime, other: datetime) -> None:
        keep(own, instant=one)
        with own.read() as session:
            is_later = session.scalar(select(kept.c.id).where(kept.c.instant > other)) is not None
        assert is_later is (one > other)

    check()


def test_an_instant_without_a_zone_is_refused(own: Database) -> None:
    with pytest.raises(StatementError, match="an instant needs a time zone"):
        keep(own, instant=datetime(2026, 1, 1))  # noqa: DTZ001 - on purpose


def test_any_decimal_comes_back_exactly(own: Database) -> None:
    @examples(max_examples=60, deadline=None)
    @given(AMOUNTS)
    def check(amount: Decimal) -> None:
        read = keep(own, amount=amount).amount
        assert isinstance(read, Decimal)
        assert read == amount

    check()


@pytest.mark.parametrize("digits", ["0", "0.1", "8.00", "9.99", "4", "1E+5", "0.000001", "123456789.123456", "-0.10"])
def test_a_decimal_keeps_its_digits(own: Database, digits: str) -> None:
    assert f"{keep(own, amount=Decimal(digits)).amount:f}" == f"{Decimal(digits):f}"


def test_absent_values_come_back_absent(own: Database) -> None:
    row = keep(own, instant=None, amount=None)
    assert (row.instant, row.amount) == (None, None)


def test_a_write_is_there_afterwards_and_a_failed_one_is_not(own: Database) -> None:
    with own.write() as session:
        add(session, id=1)
    with pytest.raises(ZeroDivisionError), own.write() as session:
        add_and_fail(session, id=2)
    with own.read() as session:
        assert count(session) == 1


def test_a_read_sees_one_state_while_others_write(own: Database) -> None:
    own.close()
    if own.is_sqlite:
        own.switch_to_wal()
    with own.read() as session:
        assert count(session) == 0
        with own.write() as other:
            add(other, id=1)
        assert count(session) == 0
    with own.read() as session:
        assert count(session) == 1


def test_writers_of_one_row_wait_for_each_other(own: Database) -> None:
    with own.write() as session:
        add(session, id=1, amount=Decimal(0))

    def raise_amount() -> None:
        with own.write() as session:
            session.execute(update(kept).values(amount=Decimal(2)))

    with ThreadPoolExecutor(1) as pool:
        with own.write() as session:
            session.execute(update(kept).values(amount=Decimal(1)))
            second = pool.submit(raise_amount)
            with pytest.raises(NotYetError):
                second.result(SHORT)
        second.result(LONG)
    with own.read() as session:
        assert session.scalar(select(kept.c.amount)) == 2


def test_those_who_take_turns_never_overwrite_each_other(own: Database) -> None:
    with own.write() as session:
        add(session, id=1, amount=Decimal(0))
    writers, rounds = 4, 10
    barrier = threading.Barrier(writers)

    def keep_raising() -> None:
        barrier.wait()
        for _ in range(rounds):
            with own.write() as session:
                take_turns(session, "amount")
                before = session.scalar(select(kept.c.amount)) or 0
                session.execute(update(kept).values(amount=before + 1))

    with ThreadPoolExecutor(writers) as pool:
        for done in [pool.submit(keep_raising) for _ in range(writers)]:
            done.result(LONG)
    with own.read() as session:
        assert session.scalar(select(kept.c.amount)) == writers * rounds


def test_who_takes_turns_under_another_name_waits_on_sqlite_alone(own: Database) -> None:
    def take_other() -> None:
        with own.write() as session:
            session.execute(select(1))
            take_turns(session, "other")

    with ThreadPoolExecutor(1) as pool:
        with own.write() as session:
            session.execute(select(1))
            take_turns(session, "one")
            other = pool.submit(take_other)
            if own.is_sqlite:
                with pytest.raises(NotYetError):
                    other.result(SHORT)
            else:
                other.result(LONG)
        other.result(LONG)


def test_a_turn_ends_with_its_transaction_also_when_that_fails(own: Database) -> None:
    def fail() -> None:
        with own.write() as session:
            take_turns(session, "name")
            add_and_fail(session, id=1)

    with pytest.raises(ZeroDivisionError):
        fail()
    with own.write() as session:
        take_turns(session, "name")


def test_a_turn_that_a_transaction_has_is_not_asked_for_again(own: Database) -> None:
    asked: list[str] = []
    event.listen(own.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with own.write() as session:
        session.execute(select(1))
        asked.clear()
        take_turns(session, "one")
        take_turns(session, "one")
        take_turns(session, "other")
    assert len(asked) == (0 if own.is_sqlite else 2)


def test_a_turn_that_was_taken_in_a_savepoint_is_taken_anew_for_it_may_be_undone(own: Database) -> None:
    with own.write() as session:
        with contextlib.suppress(ZeroDivisionError), session.begin_nested():
            take_turns(session, "name")
            add_and_fail(session, id=1)
        with ThreadPoolExecutor(1) as pool:
            take_turns(session, "name")
            other = pool.submit(take, own, "name")
            with pytest.raises(NotYetError):
                other.result(SHORT)
            session.rollback()
            other.result(LONG)


def take(database: Database, name: str) -> None:
    with database.write() as session:
        session.execute(select(1))
        take_turns(session, name)


@pytest.mark.parametrize("values", [[], [2], [3, 1, 4, 5]])
def test_rows_are_found_by_one_of_many_values(own: Database, values: list[int]) -> None:
    with own.write() as session:
        for number in range(1, 4):
            add(session, id=number)
        found = session.scalars(select(kept.c.id).where(among(session, kept.c.id, values)).order_by(kept.c.id)).all()
    assert found == sorted({1, 2, 3} & set(values))


def test_sqlite_begins_writes_and_reads_differently(sqlite: Database) -> None:
    begun: list[str] = []

    def note(_connection: Connection, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("BEGIN"):
            begun.append(statement)

    event.listen(sqlite.engine, "before_cursor_execute", note)
    for transaction in (sqlite.write, sqlite.read):
        with transaction() as session:
            session.execute(select(1))
    assert begun == ["BEGIN IMMEDIATE", "BEGIN"]


def test_a_sqlite_writer_holds_the_lock_before_it_has_written(sqlite: Database, sqlite_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_path, timeout=0, isolation_level=None)) as other:
        with sqlite.write() as session:
            session.execute(select(1))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        with sqlite.read() as session:
            session.execute(select(1))
            other.execute("BEGIN IMMEDIATE")


def test_sqlite_checks_foreign_keys_and_survives_a_loss_of_power(sqlite: Database) -> None:
    with sqlite.read() as session:
        assert session.scalar(text("PRAGMA foreign_keys")) == 1
        assert session.scalar(text("PRAGMA synchronous")) == 2  # FULL


def test_a_read_on_postgresql_cannot_write(own: Database) -> None:
    if own.is_sqlite:
        pytest.skip("SQLite has no such transactions")
    with pytest.raises(DBAPIError, match="read-only transaction"), own.read() as session:
        add(session, id=1)
    with own.write() as session:  # the same connection, as before
        add(session, id=1)


def test_threads_share_a_database(own: Database) -> None:
    def write_one(number: int) -> None:
        with own.write() as session:
            add(session, id=number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write_one, range(40)))
    with own.read() as session:
        assert count(session) == 40


def test_a_misspelt_query_is_our_bug_and_not_an_absence(own: Database) -> None:
    for transaction in (own.read, own.write):
        with pytest.raises(DBAPIError, match="no_such_table"), transaction() as session:
            session.execute(text("SELECT * FROM no_such_table"))


def test_a_broken_rule_is_no_absence(own: Database) -> None:
    keep(own)
    with pytest.raises(IntegrityError), own.write() as session:
        add(session, id=1)


def test_no_error_shows_a_statements_values(own: Database) -> None:
    with pytest.raises(DBAPIError) as caught, own.read() as session:
        session.execute(text("SELECT * FROM no_such_table WHERE secret = :secret"), {"secret": "hunter2"})
    assert "hunter2" not in str(caught.value)


def test_other_errors_pass_through() -> None:
    with pytest.raises(KeyError), translated_errors():
        raise KeyError


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port on which nobody listens."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.mark.parametrize("place", ["u:hunter2@127.0.0.1:{}/d", "u@127.0.0.1:{}/d?password=hunter2"])
def test_a_refused_connection_is_an_absence_and_shows_no_password(closed_port: int, place: str) -> None:
    database = Database("postgresql://" + place.format(closed_port))
    for transaction in (database.read, database.write):
        with pytest.raises(DatabaseAwayError) as caught, transaction() as session:
            session.execute(select(1))
        error = caught.value
        assert isinstance(error, UnavailableError)
        assert error.code == "database_away"
        shown = "".join(traceback.format_exception(error))
        for shape in (str(error), repr(error), shown, repr(database)):
            assert "hunter2" not in shape
        assert f"port {closed_port}" not in shown  # the driver's own words go no further
    assert f"127.0.0.1:{closed_port}" in repr(database)


def test_a_lost_connection_is_an_absence_and_the_next_call_works(own: Database) -> None:
    if own.is_sqlite:
        pytest.skip("SQLite has no connections to lose")

    def lose() -> None:
        with own.write() as session:
            lost = session.scalar(text("SELECT pg_backend_pid()"))
            with own.write() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": lost})
            add(session, id=1)

    with pytest.raises(DatabaseAwayError):
        lose()
    with own.read() as session:
        assert count(session) == 0


def test_connections_lost_while_nobody_used_them_are_not_noticed(own: Database, empty_database_url: str) -> None:
    if own.is_sqlite:
        pytest.skip("SQLite has no connections to lose")
    with own.read() as session:
        lost = session.scalar(text("SELECT pg_backend_pid()"))
    other = Database(empty_database_url)
    with other.write() as session:
        session.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": lost})
    other.close()
    with own.read() as session:
        assert session.scalar(text("SELECT pg_backend_pid()")) != lost


def test_a_lasting_lock_is_an_absence(sqlite: Database, sqlite_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(sqlite_path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for transaction in (sqlite.write, sqlite.read):
            with pytest.raises(DatabaseAwayError), transaction() as session:
                session.execute(text("SELECT * FROM sqlite_master"))


def test_a_full_disk_is_an_absence_and_nothing_is_written(sqlite: Database) -> None:
    metadata.create_all(sqlite.engine)
    with sqlite.write() as session:
        session.execute(text("PRAGMA max_page_count = 2"))  # of the one connection in the pool
    with pytest.raises(DatabaseAwayError), sqlite.write() as session:
        session.execute(text("CREATE TABLE large AS SELECT zeroblob(100000) AS content"))
    with sqlite.read() as session:
        assert session.scalar(text("SELECT count(*) FROM sqlite_master WHERE name = 'large'")) == 0


def test_a_file_that_is_no_database_is_an_absence(sqlite: Database, sqlite_path: Path) -> None:
    sqlite_path.write_text("this is no database, though long enough to be taken for the header of one" * 10)
    with pytest.raises(DatabaseAwayError), sqlite.read() as session:
        session.connection()
    with pytest.raises(DatabaseAwayError):
        sqlite.switch_to_wal()


def test_a_folder_that_is_missing_is_an_absence(tmp_path: Path) -> None:
    with pytest.raises(DatabaseAwayError), Database(f"sqlite:///{tmp_path}/missing/x.db").read() as session:
        session.connection()


def test_waiting_for_a_free_connection_ends_as_an_absence(sqlite: Database) -> None:
    with contextlib.ExitStack() as held:
        for _ in range(CONNECTIONS):
            held.enter_context(sqlite.read()).connection()
        with pytest.raises(DatabaseAwayError), sqlite.read() as session:
            session.connection()
    with sqlite.read() as session:
        session.connection()


@pytest.mark.parametrize("name", ["own.db", "with ?#%20 and ä.db"])
def test_a_file_that_must_be_there_is_opened_and_never_made(tmp_path: Path, name: str) -> None:
    url = URL.create("sqlite", database=str(tmp_path / name))
    with contextlib.closing(Database(url.render_as_string(), may_create=False)) as strict:
        with pytest.raises(DatabaseAwayError), strict.read() as session:
            session.execute(text("SELECT 1"))
        assert list(tmp_path.iterdir()) == []
        with contextlib.closing(Database(url.render_as_string())) as making, making.write() as session:
            session.execute(text("CREATE TABLE t (x)"))
        assert {entry.name for entry in tmp_path.iterdir()} == {name, f".{name}.turn.lock", f".{name}.next.lock"}
        with strict.write() as session:
            session.execute(text("INSERT INTO t VALUES (1)"))
        with strict.read() as session:
            assert session.execute(text("SELECT x FROM t")).scalar() == 1


def test_the_wal_is_switched_on_for_good(sqlite: Database, sqlite_path: Path) -> None:
    sqlite.switch_to_wal()
    sqlite.switch_to_wal()
    sqlite.close()
    with contextlib.closing(sqlite3.connect(sqlite_path)) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("transaction", [Database.read, Database.write])
def test_switching_to_the_wal_waits_for_those_who_read_or_write(sqlite_path: Path, transaction: Transaction) -> None:
    database = Database(f"sqlite:///{sqlite_path}", busy_seconds=LONG)
    metadata.create_all(database.engine)
    with ThreadPoolExecutor(1) as pool:
        with transaction(database) as session:
            assert count(session) == 0
            switched = pool.submit(database.switch_to_wal)
            with pytest.raises(NotYetError):
                switched.result(SHORT)
        switched.result(LONG)
    database.close()


@pytest.mark.parametrize("transaction", [Database.read, Database.write])
def test_switching_to_the_wal_gives_up_when_others_never_let_go(sqlite: Database, transaction: Transaction) -> None:
    metadata.create_all(sqlite.engine)
    with transaction(sqlite) as session:
        assert count(session) == 0
        with pytest.raises(DatabaseAwayError):
            sqlite.switch_to_wal()


@pytest.mark.parametrize(
    "url",
    [
        "", "hunter2", "hunter2://", "sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///x.db?hunter2=1",
        "sqlite+aiosqlite:///hunter2.db", "sqlite+pysqlcipher://:hunter2@/x.db", "mysql://u:hunter2@h/d",
        "postgres://u:hunter2@h/d", "postgresql+asyncpg://u:hunter2@h/d", "postgresql+psycopg2://u:hunter2@h/d",
        "postgresql://u:hunter2@h:port/d", "postgresql://u:pass@word:hunter2@h:port/d", "postgresql://u:hunter2@[::1/d",
        "postgresql://u:hunter2@h/d?no_such_option=hunter2",
    ],
)  # fmt: skip
def test_an_unusable_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Database(url)
    shown = "".join(traceback.format_exception_only(caught.value))
    assert "The database address cannot be used. It looks like sqlite:////folder/ecross.db" in shown
    assert "hunter2" not in shown
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "is_sqlite"),
    [
        ("sqlite:////folder/ecross.db", True),
        ("sqlite+pysqlite:///ecross.db", True),
        ("postgresql://u:hunter2@h/d", False),
        ("postgresql+psycopg://u:hunter2@h:5433/d?sslmode=require", False),
    ],
)
def test_both_databases_are_known_by_their_addresses(url: str, *, is_sqlite: bool) -> None:
    database = Database(url)
    assert database.is_sqlite is is_sqlite
    assert "hunter2" not in repr(database)
    assert repr(database).startswith("Database('sqlite" if is_sqlite else "Database('postgresql+psycopg://u:***@h")
