"""The database: one engine, read and write transactions, and the column types that keep values exact.

SQLite is embedded by default, PostgreSQL is there to scale; all code above works with both alike.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import math
import time
from collections.abc import Collection, Generator, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import (
    ARRAY,
    URL,
    BigInteger,
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    Numeric,
    QueuePool,
    String,
    TypeDecorator,
    any_,
    bindparam,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Session
from sqlalchemy.pool import ConnectionPoolEntry
from sqlalchemy.types import TypeEngine

from ecross_server.kit.errors import InvalidInputError, UnavailableError
from ecross_server.kit.events import SUBSCRIPTIONS, Subscriptions
from ecross_server.kit.turns import Turn, Turns

SQLITE_BUSY_SECONDS: Final = 10
"""How long a writer waits for another one before it gives up."""

SQLITE_RETRY_SECONDS: Final = 0.02

BEGIN_WRITE: Final = "BEGIN IMMEDIATE"
"""A writer takes the lock at once: upgrading a read transaction fails at once instead of waiting."""

TURN_KEY: Final = "ecross_turn"
"""Where a connection has it, from the beginning of a write until it goes back to the pool."""

TURN_SHARE: Final = 0.5
"""How much of its time a writer waits for its turn: one who was stopped while he is next must not fail all others."""

SQLITE_AWAY: Final = (
    "SQLITE_BUSY", "SQLITE_CANTOPEN", "SQLITE_CORRUPT", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_LOCKED", "SQLITE_NOTADB",
    "SQLITE_PROTOCOL", "SQLITE_READONLY",
)  # fmt: skip

CONNECT_SECONDS: Final = 5

SILENCE_SECONDS: Final = 60.0
"""A database server from which so long not a byte comes is away, though its connections look open."""

IDLE_SECONDS: Final = 600.0
"""A transaction in which nothing is asked for so long is ended: who began it may be gone, and its locks would stay."""

CONNECTIONS: Final = 20
"""A connection for each thread that may wait for the database; they are opened when needed and kept."""

TURN: Final = "SELECT pg_advisory_xact_lock(%s)"
HAD_TURNS: Final = "ecross_turns"
"""Where a session has the names of those that its one transaction took: it is not asked for them again."""

WITHOUT_SORTING: Final = text(
    "SELECT set_config('enable_sort', 'off', true), set_config('enable_incremental_sort', 'off', true)"
)
DRIVERS: Final = frozenset({"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"})

NAMES: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name, the same on both databases, so that a migration can drop it again."""

_silence: ContextVar[float] = ContextVar("silence", default=math.inf)
"""How long the present transaction bears it; migrations, which may work on a large table for long, bear any."""


class Base(DeclarativeBase):
    """The base of every domain's tables."""

    metadata = MetaData(naming_convention=NAMES)


RowNumber: Final = BigInteger().with_variant(Integer, "sqlite")
"""The type of a number that rows are given: SQLite gives only an INTEGER the place of the row's own number."""


class DatabaseAwayError(UnavailableError):
    """The database does not answer."""

    code = "database_away"

    def __init__(self) -> None:
        super().__init__("The database does not answer. Try again shortly.")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant. SQLite keeps no zone, so it is UTC there and gets its zone back when read."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("an instant needs a time zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From the database."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if dialect.name == "sqlite" else value.astimezone(UTC)


class ExactDecimal(TypeDecorator[Decimal]):
    """A decimal number kept digit for digit. SQLite has only binary fractions, so it is text there."""

    impl = Numeric
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """The column type of each database."""
        return dialect.type_descriptor(String(40) if dialect.name == "sqlite" else Numeric())

    def process_bind_param(self, value: Decimal | None, dialect: Dialect) -> Any:  # noqa: ANN401 - the driver's type
        """To the database."""
        return f"{value:f}" if value is not None and dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:  # noqa: ANN401, ARG002 - as above
        """From the database."""
        return None if value is None else Decimal(value)


class Database:
    """Transactions on one database. Holds a pool of connections; threads may share it, forked processes must not."""

    def __init__(
        self,
        url: str,
        *,
        busy_seconds: float = SQLITE_BUSY_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        idle_seconds: float = IDLE_SECONDS,
        may_create: bool = True,
    ) -> None:
        """Whatever is asked connects by itself. SQLite's file is made if it is missing, unless that is not wanted."""
        self.engine = _make_engine(url, busy_seconds, idle_seconds, may_create=may_create)
        self._busy_seconds = busy_seconds
        self._silence_seconds = silence_seconds
        self.subscriptions = Subscriptions()
        self._reading = self.engine.execution_options(
            ecross_begin="BEGIN",
            **({} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}),
        )

    def __repr__(self) -> str:
        # Without the query: libpq takes a password there, too.
        return f"Database({self.engine.url.set(query={}).render_as_string(hide_password=True)!r})"

    @property
    def is_sqlite(self) -> bool:
        """Whether the embedded database is used."""
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def read(self, *, silence_seconds: float | None = None) -> Iterator[Session]:
        """A transaction that sees one state of the data. Who cannot wait says how long the database may be silent.

        Raises:
            DatabaseAwayError: if the database does not answer.
        """
        with self._transaction(self._reading, silence_seconds or self._silence_seconds) as session:
            yield session

    @contextlib.contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that is committed at the end, or rolled back if anything was raised.

        Raises:
            DatabaseAwayError: if the database does not answer.
        """
        with self._transaction(self.engine, self._silence_seconds) as session:
            yield session

    def switch_to_wal(self) -> None:
        """Let SQLite's readers go on while somebody writes. Done once for good: the file remembers it.

        Raises:
            DatabaseAwayError: if the database cannot be written to, or others never let go of it.
        """
        deadline = time.monotonic() + self._busy_seconds
        with translated_errors(), self.engine.connect().execution_options(ecross_begin="") as connection:
            while True:
                try:
                    connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                except OperationalError as error:
                    # While another process writes or switches, SQLite says so at once, whatever the time-out.
                    if not _sqlite_error(error).startswith("SQLITE_BUSY") or time.monotonic() > deadline:
                        raise
                    time.sleep(SQLITE_RETRY_SECONDS)
                else:
                    return

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _transaction(self, engine: Engine, silence_seconds: float) -> Iterator[Session]:
        with _transaction(engine, silence_seconds) as session:
            session.info[SUBSCRIPTIONS] = self.subscriptions
            yield session


def take_turns(session: Session, name: str) -> None:
    """Wait until every other transaction that took turns under this name has ended; hold others up until this one has.

    SQLite's writers take turns anyway: each holds the one lock from its beginning.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    had: set[str] = session.info.setdefault(HAD_TURNS, set())
    if name not in had:
        number = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
        session.connection().exec_driver_sql(TURN, (number,))
        if not session.in_nested_transaction():  # a savepoint that is undone gives its turns back
            had.add(name)


def among(
    session: Session, column: InstrumentedAttribute[Any] | Column[Any], values: Collection[Any]
) -> ColumnElement[bool]:
    """Whether a column has one of the values; to PostgreSQL they go as one, for hundreds take long to be named."""
    if session.get_bind().dialect.name == "postgresql":
        return column == any_(bindparam(None, list(values), ARRAY(column.type)))
    return column.in_(values)


def keep_to_index_order(session: Session) -> None:
    """Until the end of the transaction, let PostgreSQL sort nothing that an index gives in its order.

    By statistics from before many rows came it expects few, and sorts all that are left, time and again. SQLite does
    not.
    """
    if session.get_bind().dialect.name == "postgresql":
        session.connection().execute(WITHOUT_SORTING)


@contextlib.contextmanager
def _transaction(engine: Engine, silence_seconds: float) -> Iterator[Session]:
    outer = _silence.set(silence_seconds)
    try:
        with translated_errors(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session
    finally:
        _silence.reset(outer)


@contextlib.contextmanager
def translated_errors() -> Iterator[None]:
    """Turn a lost or refused connection, a full or broken disk and a lasting lock into `DatabaseAwayError`."""
    try:
        yield
    except PoolTimeoutError:
        raise DatabaseAwayError from None
    except DBAPIError as error:
        if _is_away(error):
            # The driver's text may hold the address and statement parameters: it goes no further.
            raise DatabaseAwayError from None
        raise


def _is_away(error: DBAPIError) -> bool:
    if name := _sqlite_error(error):  # SQLite calls a misspelt query an OperationalError too
        return name.startswith(SQLITE_AWAY)
    return error.connection_invalidated or isinstance(error, (OperationalError, InterfaceError))


def _sqlite_error(error: DBAPIError) -> str:
    return str(getattr(error.orig, "sqlite_errorname", ""))


def _make_engine(url: str, busy_seconds: float, idle_seconds: float, *, may_create: bool) -> Engine:
    try:
        parsed = make_url(url)
        if parsed.drivername not in DRIVERS:
            raise NoSuchModuleError  # noqa: TRY301 - one answer to every unusable address
        if parsed.get_backend_name() == "sqlite":
            return _make_sqlite_engine(parsed, busy_seconds, may_create=may_create)
        return _make_postgresql_engine(parsed.set(drivername="postgresql+psycopg"), idle_seconds)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        # The address may hold a password: it is not shown.
        raise InvalidInputError(
            "The database address cannot be used. It looks like sqlite:////folder/ecross.db "
            "or postgresql://user:password@host/database, the latter with the server's extra [postgresql] installed."
        ) from None


def _make_sqlite_engine(url: URL, busy_seconds: float, *, may_create: bool) -> Engine:
    # A database in memory would be another one for each connection.
    if url.database in {None, "", ":memory:"} or url.query:
        raise ArgumentError
    # An empty file in the place of one that was moved away would cost that one, when it comes back, its latest changes.
    existing = url.set(database=f"file:{quote(url.database or '')}", query={"mode": "rw", "uri": "true"})
    engine = create_engine(
        url if may_create else existing,
        hide_parameters=True,
        poolclass=QueuePool,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        connect_args={"timeout": busy_seconds, "check_same_thread": False},
    )
    event.listen(engine, "connect", _prepare_sqlite_connection)
    event.listen(engine, "begin", functools.partial(_begin_on_sqlite, Turns(Path(url.database or "")), busy_seconds))
    event.listen(engine, "checkin", _end_turn)
    return engine


def _make_postgresql_engine(url: URL, idle_seconds: float) -> Engine:
    engine = create_engine(
        url,
        hide_parameters=True,
        pool_pre_ping=True,
        pool_size=CONNECTIONS,
        max_overflow=0,
        pool_timeout=CONNECT_SECONDS,
        connect_args={"connect_timeout": CONNECT_SECONDS},
    )
    driver: Any = engine.dialect.dbapi
    try:
        driver.conninfo.make_conninfo(**url.query)
    except driver.ProgrammingError:  # an option that it does not know
        raise ArgumentError from None
    event.listen(engine, "do_connect", functools.partial(_connect_to_postgresql, _impatient(driver)))
    event.listen(engine, "connect", functools.partial(_prepare_postgresql_connection, idle_seconds))
    return engine


def _connect_to_postgresql(
    connection_class: Any,  # noqa: ANN401 - the driver's, which may not be installed
    _dialect: Dialect,
    _entry: ConnectionPoolEntry,
    arguments: list[Any],
    options: dict[str, Any],
) -> DBAPIConnection:
    options["connect_timeout"] = math.ceil(min(CONNECT_SECONDS, _silence.get()))
    connection: DBAPIConnection = connection_class.connect(*arguments, **options)
    return connection


@functools.cache
def _impatient(driver: Any) -> Any:  # noqa: ANN401 - as above
    """The driver's connection, given up when the server is silent for too long: TCP itself may bear it for hours."""

    class Connection(driver.Connection):  # type: ignore[misc] # its base is not known to mypy
        def wait(self, gen: Any, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - the driver's
            return super().wait(self._listen(gen, _silence.get()), *arguments, **options)

        def _listen(self, gen: Any, seconds: float) -> Generator[Any, Any, Any]:  # noqa: ANN401 - as above
            heard_at = time.monotonic()
            try:
                wanted = next(gen)
                while True:
                    # Nothing comes ten times a second, when there is nothing.
                    ready = yield wanted
                    now = time.monotonic()
                    if ready:
                        heard_at = now
                    elif now - heard_at > seconds:
                        self.pgconn.finish()
                        raise driver.OperationalError("silent for too long")
                    wanted = gen.send(ready)
            except StopIteration as ended:
                return ended.value

    return Connection


def _prepare_postgresql_connection(
    idle_seconds: float, connection: DBAPIConnection, _entry: ConnectionPoolEntry
) -> None:
    cursor = connection.cursor()
    # Instants come back in the session's zone; in some, the first and the last days of the calendar do not exist.
    cursor.execute("SET TIME ZONE 'UTC'")
    cursor.execute(f"SET idle_in_transaction_session_timeout TO {int(idle_seconds * 1000)}")
    cursor.close()
    connection.commit()


def _prepare_sqlite_connection(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions by itself: `_begin_on_sqlite` does, of the right kind.
    connection.isolation_level = None
    cursor = connection.cursor()
    # FULL: an acknowledged write survives a loss of power.
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _begin_on_sqlite(turns: Turns, busy_seconds: float, connection: Connection) -> None:
    statement = connection.get_execution_options().get("ecross_begin", BEGIN_WRITE)
    if statement == BEGIN_WRITE:
        _begin_write(turns, busy_seconds, connection)
    elif statement:
        connection.exec_driver_sql(statement)


def _begin_write(turns: Turns, busy_seconds: float, connection: Connection) -> None:
    began = time.monotonic()
    _take_turn(turns, busy_seconds * TURN_SHARE, connection.connection.info)
    waited = time.monotonic() - began
    if waited < SQLITE_RETRY_SECONDS:
        connection.exec_driver_sql(BEGIN_WRITE)
        return
    # All in all it is waited no longer than without turns.
    _bear(connection, max(busy_seconds - waited, 0))
    try:
        connection.exec_driver_sql(BEGIN_WRITE)
    finally:
        _bear(connection, busy_seconds)


def _take_turn(turns: Turns, seconds: float, info: dict[str, Any]) -> None:
    # SQLite's waiters look again ever more seldom: one who writes without a pause would go first almost every time.
    # The lock that protects is SQLite's. Who comes without a turn is only impolite.
    if TURN_KEY not in info:
        info[TURN_KEY] = turns.take(seconds)


def _end_turn(_connection: DBAPIConnection | None, entry: ConnectionPoolEntry) -> None:
    turn: Turn | None = entry.info.pop(TURN_KEY, None)
    if turn is not None:
        turn.end()


def _bear(connection: Connection, seconds: float) -> None:
    connection.exec_driver_sql(f"PRAGMA busy_timeout={int(seconds * 1000)}")
