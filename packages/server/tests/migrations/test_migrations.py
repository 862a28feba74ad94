from __future__ import annotations

import multiprocessing
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYetError
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from ecross_server import migrations
from ecross_server.kit.database import Base, Database, DatabaseAwayError
from ecross_server.kit.errors import ConflictError

pytestmark = pytest.mark.measured

FOLDER = Path(migrations.__file__).parent
AUDIT_TABLES = {"audit_records", "audit_batches", "audit_marks"}
CATALOG_TABLES = {"skus", "idempotent_answers", "warehouses", "inventory_records"}
CHANNEL_TABLES = {
    "channels", "channel_connections", "judgements", "reviews", "listings", "feeds", "stock_positions",
}  # fmt: skip
TABLES = (
    {"merchants", "clients", "secrets", "secret_uses", "client_calls", "registry_revision", "jobs", "hand_overs"}
    | {"approvals"}
    | {"operators", "operator_invitations", "operator_sessions", "operator_passkeys", "operator_challenges"}
    | CATALOG_TABLES
    | AUDIT_TABLES
    | CHANNEL_TABLES
)
SHORT, LONG = 0.2, 20.0


@pytest.fixture
def own(empty_database_url: str) -> Any:
    """A database of the test's own, empty."""
    database = Database(empty_database_url)
    yield database
    database.close()


@pytest.fixture
def scripts() -> ScriptDirectory:
    """The migrations as Alembic sees them."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.set_main_option("path_separator", "os")
    return ScriptDirectory.from_config(config)


def tables(database: Database) -> set[str]:
    with database.read() as session:
        return set(inspect(session.connection()).get_table_names()) - {"alembic_version", "sqlite_sequence"}


def set_revision(database: Database, revision: str) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = :revision"), {"revision": revision})


def test_the_known_revisions_are_those_of_the_files_in_their_order(scripts: ScriptDirectory) -> None:
    walked = [script.revision for script in scripts.walk_revisions()]
    assert tuple(reversed(walked)) == migrations.REVISIONS
    assert scripts.get_heads() == [migrations.REVISIONS[-1]]


def test_the_files_are_named_by_their_time_and_words() -> None:
    names = [path.name for path in (FOLDER / "versions").glob("*.py")]
    assert len(names) == len(migrations.REVISIONS)
    assert all(re.fullmatch(r"20\d\d_[01]\d_[0-3]\d_[0-2]\d[0-5]\d_[a-z0-9]+(_[a-z0-9]+)*\.py", name) for name in names)


def test_the_files_names_stand_in_the_order_of_the_revisions(scripts: ScriptDirectory) -> None:
    names = [Path(script.path).name for script in scripts.walk_revisions()]
    assert names == sorted(names, reverse=True)


def test_up_down_and_up_again(own: Database) -> None:
    assert migrations.current_revision(own) is None
    migrations.upgrade(own)
    assert migrations.current_revision(own) == migrations.REVISIONS[-1]
    assert tables(own) == TABLES
    migrations.require_current_schema(own)
    for before in reversed([None, *migrations.REVISIONS[:-1]]):
        migrations.downgrade(own)
        assert migrations.current_revision(own) == before
        assert tables(own) <= TABLES
    assert tables(own) == set()
    migrations.upgrade(own)
    assert migrations.current_revision(own) == migrations.REVISIONS[-1]
    migrations.check(own)


def test_the_audit_trail_is_only_added_and_begins_unwritten(own: Database) -> None:
    migrations.upgrade(own)
    with own.read() as session:
        marks = session.execute(text("SELECT name, number, seq, hash, mac FROM audit_marks ORDER BY name")).all()
    assert [(name, number, seq, bytes(kept), bytes(mac)) for name, number, seq, kept, mac in marks] == [
        ("anchor", 0, 0, bytes(32), b""), ("head", 0, 0, bytes(32), b""),
    ]  # fmt: skip
    while migrations.current_revision(own) != "0001":
        migrations.downgrade(own)
    assert tables(own).isdisjoint(AUDIT_TABLES)


def test_the_migrated_schema_is_that_of_the_code(own: Database) -> None:
    migrations.upgrade(own)
    migrations.check(own)
    assert tables(own) == set(Base.metadata.tables)


def test_what_was_registered_before_is_looked_at_by_the_first_version_that_can(own: Database) -> None:
    migrations.upgrade(own)
    while migrations.current_revision(own) != "0004":
        migrations.downgrade(own)
    with own.write() as session:
        session.execute(
            text("INSERT INTO merchants VALUES ('ACME', 'Acme', 'active', '2026-01-01 00:00:00.000000')"),
        )
    migrations.upgrade(own)
    with own.read() as session:
        assert session.execute(text("SELECT kind, key, payload FROM jobs")).one() == (
            "localization.check_catalog", "ACME/0", '{"merchant":"ACME","after":0}',
        )  # fmt: skip
        channel = session.execute(text("SELECT id, country, currency, is_open FROM channels")).one()
    assert tuple(channel) == ("ECOM", "BR", "BRL", True)


def test_secrets_from_before_rotations_have_no_date_that_retires_them(own: Database) -> None:
    migrations.upgrade(own)
    while migrations.current_revision(own) != "0005":
        migrations.downgrade(own)
    at = "'2026-01-01 00:00:00.000000'"
    digest = "X'00'" if own.is_sqlite else "'x'"
    with own.write() as session:
        for row in (
            f"merchants VALUES ('ACME', 'Acme', 'active', {at})",
            f"clients VALUES ('c', 'ACME', 'active', 'merchant', 1, 1, {at})",
            f"secrets (id, client_id, digest, pepper_id, status, created_at) VALUES ('s', 'c', {digest}, '', '', {at})",
        ):
            session.execute(text(f"INSERT INTO {row}"))
    migrations.upgrade(own)
    with own.read() as session:
        assert session.execute(text("SELECT id, status, expires_at, retires_at FROM secrets")).all() == [
            ("s", "", None, None)
        ]


def test_the_check_finds_a_difference(own: Database) -> None:
    migrations.upgrade(own)
    with own.write() as session:
        session.execute(text("ALTER TABLE skus ADD COLUMN forgotten INTEGER"))
    with pytest.raises(Exception, match="forgotten"):
        migrations.check(own)


def test_upgrading_twice_keeps_what_is_there(own: Database) -> None:
    migrations.upgrade(own)
    with own.write() as session:
        session.execute(text("UPDATE registry_revision SET value = 7"))
    migrations.upgrade(own)
    with own.read() as session:
        assert session.scalar(text("SELECT value FROM registry_revision")) == 7


def test_a_database_with_rows_goes_down(own: Database) -> None:
    migrations.upgrade(own)
    with own.write() as session:
        session.execute(
            text("INSERT INTO merchants VALUES ('ACME', 'Acme', 'active', '2026-01-01 00:00:00.000000')"),
        )
        session.execute(
            text(
                "INSERT INTO clients (id, merchant_id, status, scope, epoch, revision, created_at) "
                "VALUES ('c', 'ACME', 'active', 'merchant', 1, 1, '2026-01-01 00:00:00.000000')"
            )
        )
    for _ in migrations.REVISIONS:
        migrations.downgrade(own)
    assert tables(own) == set()


def test_an_empty_database_goes_no_further_down(own: Database) -> None:
    migrations.downgrade(own)
    assert migrations.current_revision(own) is None


def test_a_newer_schema_is_refused_and_left_alone(own: Database) -> None:
    migrations.upgrade(own)
    set_revision(own, "9999")
    for act in (
        migrations.current_revision, migrations.require_current_schema, migrations.upgrade, migrations.downgrade,
    ):  # fmt: skip
        with pytest.raises(migrations.NewerSchemaError, match="newer version") as caught:
            act(own)
        assert isinstance(caught.value, ConflictError)
        assert caught.value.code == "newer_schema"
    assert tables(own) == TABLES


def test_an_outdated_schema_is_refused_with_the_remedy(own: Database) -> None:
    with pytest.raises(migrations.OutdatedSchemaError, match="ecross-server migrate") as caught:
        migrations.require_current_schema(own)
    assert isinstance(caught.value, ConflictError)
    assert caught.value.code == "outdated_schema"


def test_a_table_of_revisions_without_a_row_counts_as_empty(own: Database) -> None:
    migrations.upgrade(own)
    for _ in migrations.REVISIONS:
        migrations.downgrade(own)
    assert migrations.current_revision(own) is None


def test_looking_at_the_revision_does_not_wait_for_writers(own: Database) -> None:
    migrations.upgrade(own)
    with ThreadPoolExecutor(1) as pool, own.write() as session:
        session.execute(text("UPDATE registry_revision SET value = 2"))
        assert pool.submit(migrations.current_revision, own).result(LONG) == migrations.REVISIONS[-1]


def test_migrating_waits_for_another_who_does(own: Database) -> None:
    with ThreadPoolExecutor(1) as pool:
        with migrations._migrating(own) as (connection, _):
            connection.execute(text("SELECT 1"))
            second = pool.submit(migrations.upgrade, own)
            with pytest.raises(NotYetError):
                second.result(SHORT)
        second.result(LONG)
    migrations.require_current_schema(own)


def test_threads_that_migrate_an_empty_database_at_once_all_succeed(own: Database) -> None:
    racers = 4
    barrier = Barrier(racers)

    def upgrade() -> None:
        barrier.wait()
        migrations.upgrade(own)

    with ThreadPoolExecutor(racers) as pool:
        for done in [pool.submit(upgrade) for _ in range(racers)]:
            done.result(LONG)
    migrations.check(own)


def upgrade_in_a_process(url: str, barrier: Any) -> None:
    database = Database(url)
    barrier.wait()
    migrations.upgrade(database)
    database.close()


def test_processes_that_migrate_an_empty_database_at_once_all_succeed(own: Database) -> None:
    own.close()
    context = multiprocessing.get_context("fork")
    racers = 3
    barrier = context.Barrier(racers)
    url = own.engine.url.render_as_string(hide_password=False)
    processes = [context.Process(target=upgrade_in_a_process, args=(url, barrier)) for _ in range(racers)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(LONG)
    assert [process.exitcode for process in processes] == [0] * racers
    migrations.check(own)
    with own.read() as session:
        assert session.scalar(text("SELECT count(*) FROM registry_revision")) == 1
        assert session.scalar(text("SELECT count(*) FROM alembic_version")) == 1


def test_a_migration_that_fails_leaves_nothing_half_done(own: Database) -> None:
    with own.write() as session:
        session.execute(text("CREATE TABLE secrets (id INTEGER)"))  # what the migration makes last is taken
    with pytest.raises(Exception, match="secrets"):
        migrations.upgrade(own)
    assert tables(own) == {"secrets"}
    assert migrations.current_revision(own) is None


def test_the_wal_is_on_after_a_migration_of_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "ecross.db"
    database = Database(f"sqlite:///{path}")
    migrations.upgrade(database)
    database.close()
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_migrating_prints_nothing(own: Database, capfd: pytest.CaptureFixture[str]) -> None:
    migrations.upgrade(own)
    migrations.check(own)
    migrations.downgrade(own)
    assert capfd.readouterr() == ("", "")


def test_a_database_that_is_away_is_told_as_such(tmp_path: Path) -> None:
    (tmp_path / "broken.db").write_text("no database at all, but long enough for a header of one" * 20)
    for name in ("missing/ecross.db", "broken.db"):
        database = Database(f"sqlite:///{tmp_path / name}")
        for act in (migrations.current_revision, migrations.upgrade, migrations.downgrade, migrations.check):
            with pytest.raises(DatabaseAwayError):
                act(database)
