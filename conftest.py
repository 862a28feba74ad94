"""What all tests share: databases, a merchant with credentials, the application. `processes.py` has the rest."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import keyring
import psycopg
import pytest
import redis
import structlog
from keyring.backends import fail
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from starlette.testclient import TestClient

from ecross_server import migrations
from ecross_server.app.assembly import Application
from ecross_server.app.jobs import make_kinds
from ecross_server.audit.rules import derive_keys
from ecross_server.audit.service import Actor
from ecross_server.auth.tokens import new_signing_keys
from ecross_server.jobs.tasks import Runner
from ecross_server.kit.clock import Clock, utc_now
from ecross_server.kit.database import Base, Database
from ecross_server.kit.logs import request_log
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import Peppers, new_peppers
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

pytest_plugins = ("processes",)

ADMIN_URL = os.environ.get("ECROSS_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
REDIS_URL = os.environ.get("ECROSS_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WHOLE = Path(__file__).parent / "tests"


hypothesis.settings.register_profile(
    "suite",
    hypothesis.settings.get_profile(hypothesis.settings.get_current_profile_name()),
    max_examples=40,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)  # a test that needs more says so: the suite has to end on a slow machine, too, which is no fault of a test's
hypothesis.settings.load_profile("suite")


def _answers(host: str, port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((host, port), timeout=2):
        return True
    return False


def _postgresql_is_there() -> bool:
    engine = create_engine(ADMIN_URL, connect_args={"connect_timeout": 2})
    try:
        with engine.connect():
            return True
    except SQLAlchemyError:
        return False
    finally:
        engine.dispose()


HAS_POSTGRESQL = _postgresql_is_there()
HAS_REDIS = _answers("127.0.0.1", 6379)
BACKENDS = ["sqlite", *(["postgresql"] if HAS_POSTGRESQL else [])]


def pytest_xdist_auto_num_workers() -> int:
    # Many tests wait for servers, databases and clocks more than they compute.
    return max(3, os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "unmeasured: its lines are not counted, nor those of processes that it starts")
    config.addinivalue_line("markers", "measured: its lines are counted, though others of its kind add none")
    missing = [name for name, there in (("PostgreSQL", HAS_POSTGRESQL), ("Redis", HAS_REDIS)) if not there]
    if missing and os.environ.get("CI") == "true":
        pytest.exit(f"CI tests on PostgreSQL and Redis; missing: {', '.join(missing)}", returncode=1)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _adds_no_line(item):
            item.add_marker("unmeasured")


def _adds_no_line(item: pytest.Item) -> bool:
    """Tests of the whole look at what the parts do together, those on PostgreSQL reach what those on SQLite do.

    Where they reach more, they are marked as `measured`.
    """
    if item.get_closest_marker("measured") is not None:
        return False
    on = getattr(item, "callspec", None)
    is_second = on is not None and on.params.get("backend") == "postgresql"
    return is_second or WHOLE in item.path.parents or item.get_closest_marker("hypothesis") is not None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """To count lines doubles the time of a test, so the lines of those that would add none are not counted."""
    counter, counter_of_threads = sys.gettrace(), threading.gettrace()
    is_measured = item.get_closest_marker("measured") or not item.get_closest_marker("unmeasured")
    if counter is None or is_measured:
        return (yield)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        sys.settrace(None)
        threading.settrace(None)
        try:
            return (yield)
        finally:
            threading.settrace(counter_of_threads)
            sys.settrace(counter)


def pytest_report_header() -> str:
    redis = "on 127.0.0.1:6379" if HAS_REDIS else "not there, its tests are left out"
    postgresql = "" if HAS_POSTGRESQL else " (PostgreSQL is not there, its tests are left out)"
    browser = "" if CHROMIUM else "; no Chromium, the tests of pages in a browser are left out"
    return f"databases: {', '.join(BACKENDS)}{postgresql}; redis: {redis}{browser}"


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raises = root.handlers[:], root.level, logging.raiseExceptions
    configuration = structlog.get_config()
    yield
    # A command that was run here leaves the log to its own streams, which are closed by then.
    structlog.configure(**configuration)
    request_log.configure(None, is_on=True)
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raises


@pytest.fixture(autouse=True)
def _no_keyring() -> None:
    # Left to itself, the library takes the best of all classes that it finds, those of other tests among them.
    keyring.set_keyring(fail.Keyring())  # type: ignore[no-untyped-call] # the library has no types there


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ECROSS_SERVER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", str(tmp_path / "data"))


@pytest.fixture(scope="session")
def _migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "ecross.db"
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.close()
    return path


@contextlib.contextmanager
def fresh_postgresql() -> Iterator[str]:
    """The address of a new, empty database, which is dropped afterwards."""
    name = f"ecross_test_{uuid.uuid4().hex}"
    admin = create_engine(ADMIN_URL, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    try:
        yield admin.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


@pytest.fixture(scope="session")
def _migrated_postgresql() -> Iterator[str]:
    with fresh_postgresql() as url:
        database = Database(url)
        migrations.upgrade(database)
        database.close()
        yield url


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each database in turn: a test that uses it runs once on each."""
    name: str = request.param
    return name


@pytest.fixture
def empty_database_url(backend: str, tmp_path: Path) -> Iterator[str]:
    """The address of a database without any schema."""
    if backend == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with fresh_postgresql() as url:
            yield url


@pytest.fixture
def database_url(backend: str, request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a migrated database without any rows."""
    if backend == "sqlite":
        path = tmp_path / "data" / "ecross.db"
        path.parent.mkdir(mode=0o700, exist_ok=True)
        shutil.copyfile(request.getfixturevalue("_migrated_sqlite"), path)
        return f"sqlite:///{path}"
    url: str = request.getfixturevalue("_migrated_postgresql")
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(address) as connection:
        connection.execute(_clearing_statements())
    return url


@functools.cache
def _clearing_statements() -> bytes:
    """What leaves a PostgreSQL database as it is after its migration, all in one go."""
    names = [table.name for table in reversed(Base.metadata.sorted_tables)]
    beginning = "0, 0, decode(repeat('00', 32), 'hex'), '', '', ''"
    return ";".join([
        # Deleted row by row: to truncate so many tables takes fifty times as long.
        *(f"DELETE FROM {name}" for name in names if name != "registry_revision"),  # noqa: S608 - ours
        "SELECT setval(seqrelid::regclass, 1, false) FROM pg_sequence",
        "UPDATE registry_revision SET value = 1",
        f"INSERT INTO audit_marks VALUES ('head', {beginning}), ('anchor', {beginning})",  # noqa: S608 - ours
        "INSERT INTO channels VALUES ('ECOM', 'E-commerce', 'BR', 'BRL', true, '2026-11-25 00:00:00Z')",
    ]).encode()  # fmt: skip


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without any rows."""
    opened = Database(database_url)
    yield opened
    opened.close()


@pytest.fixture
def redis_url() -> str:
    """A database of Redis that no other test uses at this time; no process is known there."""
    if not HAS_REDIS:
        pytest.skip("Redis is not there")
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    url = f"{REDIS_URL.rsplit('/', 1)[0]}/{1 + worker % 15}"
    with redis.Redis.from_url(url) as client:
        client.delete("{ecross}:processes")
    return url


@pytest.fixture(scope="session")
def chromium_program() -> str:
    """The browser's program."""
    return CHROMIUM or pytest.skip("no Chromium here")


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings of a prepared data folder: database, signing keys and peppers are there."""
    folder = tmp_path / "data"
    folder.mkdir(mode=0o700, exist_ok=True)
    made = Settings.model_validate({"data_dir": folder, "database_url": database_url})
    write_private_file(made.signing_keys_file, new_signing_keys(utc_now()))
    write_private_file(made.peppers_file, new_peppers(utc_now()))
    return made


@pytest.fixture
def peppers(settings: Settings) -> Peppers:
    """The peppers of the data folder."""
    return merchants.load_peppers(settings.peppers_file)


@pytest.fixture
def operator(peppers: Peppers) -> Actor:
    """Who acts in a test."""
    return Actor("operator:test", derive_keys(peppers.current, peppers.keys))


Register = Callable[..., IssuedCredential]


@pytest.fixture
def register(database: Database, peppers: Peppers, operator: Actor) -> Register:
    """Registers a merchant and gives its first credentials."""

    def register_merchant(merchant_id: str = "ACME", **issue_options: Any) -> IssuedCredential:
        with database.write() as session:
            merchants.register_merchant(session, merchant_id, f"Merchant {merchant_id}", now=utc_now(), by=operator)
            return merchants.issue_credential(
                session, merchant_id, peppers=peppers, now=utc_now(), by=operator, **issue_options
            )

    return register_merchant


@pytest.fixture
def credential(register: Register) -> IssuedCredential:
    """The first credentials of the merchant ACME."""
    return register("ACME")


@pytest.fixture
def application(settings: Settings, credential: IssuedCredential) -> Application:
    """The server as an ASGI application; ACME is registered."""
    del credential  # its registry is read when the client starts it
    return Application(settings)


@pytest.fixture
def client(application: Application) -> Iterator[TestClient]:
    """An HTTP client of the application."""
    with TestClient(application, raise_server_exceptions=False) as started:
        yield started


@pytest.fixture
def token(client: TestClient, credential: IssuedCredential) -> str:
    """A token of ACME's."""
    answer = client.post("/token", json={"clientId": credential.client.id, "clientSecret": credential.client_secret})
    value: str = answer.json()["token"]
    return value


@pytest.fixture
def bearer(token: str) -> dict[str, str]:
    """The header that opens the API to ACME."""
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
def run_due_jobs(settings: Settings, database: Database) -> Callable[..., int]:
    """Runs the jobs of all domains that are due, by a clock of the test's if it has one; how many runs there were."""

    def run(clock: Clock = utc_now) -> int:
        return Runner(database, make_kinds(settings), worker="test", clock=clock).run_due()

    return run
