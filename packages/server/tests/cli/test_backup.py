"""`ecross-server backup` and `restore`, rehearsed on both databases."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alembic import command
from sqlalchemy import create_engine, inspect, text

from ecross_server import migrations
from ecross_server.auth.registry import Registry
from ecross_server.auth.tokens import new_signing_keys
from ecross_server.cli import backup as backups
from ecross_server.cli.main import run
from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Runner
from ecross_server.kit import replacing, sealed_streams
from ecross_server.kit.archives import write_archive
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.folder_use import sole_use
from ecross_server.merchants.rules import new_peppers
from ecross_server.settings import Settings, load_settings
from forking import ForkedProcess
from processes import in_every_process

if TYPE_CHECKING:
    from processes import ServerProcess, StartServer

pytestmark = pytest.mark.measured

Cli = Callable[..., Any]

ATTEMPTS = 12
PASSPHRASE = "correct horse battery staple\n"
FACTS = ["file", "version", "schemaRevision", "createdAt", "database", "clients", "secrets"]


@pytest.fixture
def own(empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of an empty data folder and a database of the test's own, empty; the commands find both."""
    monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", empty_database_url)
    return load_settings().settings


@pytest.fixture
def acme(own: Settings, cli: Cli) -> dict[str, str]:
    """The merchant ACME there."""
    del own
    credentials: dict[str, str] = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result
    return credentials


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the backup goes."""
    return tmp_path / "backups" / "ecross.backup"


@pytest.fixture(autouse=True)
def _folder(file: Path) -> None:
    file.parent.mkdir()


@pytest.fixture
def passphrase_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A private file with a passphrase, whose use is cheap here."""
    monkeypatch.setattr(sealed_streams, "SCRYPT_COST", 16)
    path = tmp_path / "passphrase"
    path.touch(0o600)
    path.write_text(PASSPHRASE)
    return path


def destroy(settings: Settings) -> None:
    """Lose the machine, and the database."""
    shutil.rmtree(settings.data_dir)
    database = Database(settings.database_url.get_secret_value())
    if database.is_sqlite:
        for path in Path(str(database.engine.url.database)).parent.glob("empty.db*"):
            path.unlink()
    else:
        with database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
    database.close()


def clients(cli: Cli) -> list[tuple[str, str]]:
    return [(each["clientId"], each["status"]) for each in cli("credentials", "list", "--json").result["credentials"]]


def left_behind(settings: Settings) -> set[str]:
    usual = {
        "signing-keys.json", "peppers.json", "ecross.db", "audit-head.json", ".in-use.lock", ".peppers.json.lock",
        ".ecross.db.turn.lock", ".ecross.db.next.lock",
    }  # fmt: skip
    return {path.name for path in settings.data_dir.iterdir()} - usual


@pytest.mark.unmeasured
class TestTheRehearsal:
    def test_a_lost_server_comes_back_with_its_secrets_and_without_its_tokens(
        self, start_server: StartServer, empty_database_url: str, file: Path
    ) -> None:
        variables = {"ECROSS_SERVER_DATABASE_URL": empty_database_url, "ECROSS_SERVER_LIMITS_MODE": "off"}
        server = start_server("--demo", "--workers", "2", **variables)
        acme = server.json("merchants", "register", "ACME", "--name", "Acme")
        other = server.json("merchants", "register", "OTHER", "--name", "Other")
        self.wait_for_token(server, other)
        old = self.wait_for_token(server, acme)
        assert server.skus(old).status_code == 200
        written = server.json("backup", str(file))
        assert list(written) == [*FACTS, "sealed"]
        assert (written["clients"], written["secrets"], written["sealed"]) == (3, 3, False)
        assert file.stat().st_mode & 0o777 == 0o600
        server.json("credentials", "revoke", other["clientId"])
        later = server.json("merchants", "register", "LATER", "--name", "Later")
        # Its epoch goes beyond the one of the backup, and a token carries it.
        server.json("merchants", "disable", "ACME")
        server.json("merchants", "enable", "ACME")
        self.wait_for(lambda: server.skus(old).status_code == 401)
        after = self.wait_for_token(server, acme)
        refused = server.run("restore", str(file), "--force", "--json")
        assert (refused.returncode, json.loads(refused.stderr)["error"]["code"]) == (4, "in_use")
        assert server.skus(after).status_code == 200
        assert server.stop() == 0
        settings = Settings.model_validate({"data_dir": server.data_dir, "database_url": empty_database_url})
        destroy(settings)
        restored = server.run("restore", str(file))
        assert restored.returncode == 0, restored.stderr
        assert restored.stdout.startswith(b"Restored 3 clients, 3 secrets as of 2")
        assert b"What was revoked after that time works again" in restored.stdout
        again = start_server(**variables)
        for token in (old, after):
            assert again.skus(token).status_code == 401
        assert again.token(acme).status_code == 200
        assert again.skus(again.token(acme).json()["token"]).status_code == 200
        assert again.token(other).status_code == 200, "it was revoked later: to bring it back is a restore's nature"
        assert again.token(later).status_code == 401
        demo = json.loads((server.data_dir / "demo-credentials.json").read_text())
        assert len(again.skus(again.token(demo).json()["token"]).json()["skus"]) > 1
        new_sku = server.data_dir / "sku.jsonl"
        new_sku.write_text('{"skuId": "NEW", "productId": "NEW", "name": "Counted on from the last number"}\n')
        assert again.json("skus", "import", "DEMO", str(new_sku))["imported"] == 1
        assert again.json("doctor")["ok"]

    @staticmethod
    def wait_for(is_so: Callable[[], bool]) -> None:
        for _ in range(200):
            if in_every_process(is_so):
                return
            time.sleep(0.05)
        pytest.fail("not so in every process")

    def wait_for_token(self, server: ServerProcess, credentials: dict[str, str]) -> str:
        self.wait_for(lambda: server.token(credentials).status_code == 200)
        token: str = server.token(credentials).json()["token"]
        self.wait_for(lambda: server.skus(token).status_code == 200)
        return token

    def test_running_registries_notice_an_older_state(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path
    ) -> None:
        assert cli("backup", str(file)).code == 0
        for _ in range(3):
            cli("merchants", "disable", "ACME")
            cli("merchants", "enable", "ACME")
        with closing(Database(own.database_url.get_secret_value())) as database:
            registry = Registry(database)
            registry.refresh()
            before = registry.find(acme["clientId"])
            database.close()
            assert cli("restore", str(file), "--force").code == 0
            registry.refresh()
            after = registry.find(acme["clientId"])
        assert before is not None
        assert after is not None
        assert before.epoch == 4
        assert after.epoch > 200_000_000, "seconds since 2020"
        assert after.secrets == before.secrets

    def test_no_link_is_open_after_a_restore(self, own: Settings, cli: Cli, file: Path) -> None:
        del own
        cli("merchants", "register", "ACME", "--name", "Acme", "--hand-over")
        cli("backup", str(file))
        assert cli("restore", str(file), "--force").code == 0
        (link,) = cli("hand-overs", "list", "--json").result["handOvers"]
        assert (link["state"], link["cancelledBy"][:9]) == ("cancelled", "operator:")

    @pytest.mark.usefixtures("acme")
    def test_no_operator_is_signed_in_after_a_restore(self, own: Settings, cli: Cli, file: Path) -> None:
        assert cli("operators", "add", "jane", "--name", "Jane", "--role", "owner").code == 0
        with closing(Database(own.database_url.get_secret_value())) as database:
            with database.write() as session:
                session.execute(text("UPDATE operators SET status = 'active'"))
            database.close()
            cli("backup", str(file))
            assert cli("restore", str(file), "--force").code == 0
            with database.read() as session:
                assert session.scalar(text("SELECT epoch FROM operators")) > 100_000_000
                assert session.scalar(text("SELECT count(*) FROM operator_invitations")) == 0

    @pytest.mark.usefixtures("acme")
    def test_restoring_twice_goes_on_from_the_higher_of_both(self, own: Settings, cli: Cli, file: Path) -> None:
        cli("backup", str(file))
        with closing(Database(own.database_url.get_secret_value())) as database:
            with database.write() as session:
                session.execute(text("UPDATE clients SET epoch = 2000000000"))
                session.execute(text("UPDATE registry_revision SET value = 9000000000000000000"))
            database.close()
            assert cli("restore", str(file), "--force").code == 0
            with database.read() as session:
                assert session.scalar(text("SELECT epoch FROM clients")) == 2_000_000_001
                assert session.scalar(text("SELECT value FROM registry_revision")) == 9_000_000_000_000_000_001
                assert session.scalar(text("SELECT revision FROM clients")) == 9_000_000_000_000_000_001
        migrations_are_done(own)

    @pytest.mark.usefixtures("own")
    def test_a_server_without_any_client_comes_back(self, own: Settings, cli: Cli, file: Path) -> None:
        assert cli("migrate").code == 0
        assert "0 clients, 0 secrets as of" in cli("backup", str(file)).out
        destroy(own)
        assert cli("restore", str(file), "--json").result["clients"] == 0
        assert cli("doctor", "--json").result["ok"]

    @pytest.mark.usefixtures("acme")
    def test_what_a_process_was_at_when_it_was_backed_up_is_free_again(
        self, own: Settings, cli: Cli, file: Path
    ) -> None:
        def back_up(_job: Job, _finish: Finish) -> None:
            assert cli("backup", str(file)).code == 0

        with closing(Database(own.database_url.get_secret_value())) as database:
            with database.write() as session:
                queue_job(session, "test.note", {"n": 1})
            Runner(database, {"test.note": Kind(back_up)}, worker="w").run_due()
        assert cli("restore", str(file), "--force").code == 0
        run: list[tuple[Any, int]] = []
        note = Kind(lambda job, _: run.append((job.payload, job.attempts)))
        with closing(Database(own.database_url.get_secret_value())) as database:
            Runner(database, {"test.note": note}, worker="another").run_due()
            with database.write() as session:
                queue_job(session, "test.note", {"n": 2})  # numbers go on
            Runner(database, {"test.note": note}, worker="another").run_due()
        assert run == [({"n": 1}, 1), ({"n": 2}, 1)]


def migrations_are_done(settings: Settings) -> None:
    with closing(Database(settings.database_url.get_secret_value())) as database:
        migrations.check(database)


class TestBackup:
    def test_people_are_told_what_the_file_is(
        self, cli: Cli, acme: dict[str, str], file: Path, passphrase_file: Path
    ) -> None:
        told = cli("backup", str(file))
        assert told.out.startswith(f"Wrote {file}: 1 client, 1 secret as of 2")
        assert "Whoever reads it can make tokens for every merchant" in told.out
        sealed = cli("backup", str(file), "--force", "--passphrase-file", str(passphrase_file))
        assert "It is sealed." in sealed.out
        assert acme["clientId"].encode() not in file.read_bytes()
        assert b"manifest" not in file.read_bytes()

    def test_a_sealed_one_needs_its_passphrase(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path, passphrase_file: Path
    ) -> None:
        assert cli("backup", str(file), "--passphrase-file", str(passphrase_file), "--json").result["sealed"] is True
        destroy(own)
        ended = cli("restore", str(file), "--json")
        assert (ended.code, ended.error["code"]) == (4, "unusable_archive")
        assert "--passphrase-file" in ended.error["message"]
        passphrase_file.write_text("another one, long enough")
        ended = cli("restore", str(file), "--passphrase-file", str(passphrase_file), "--json")
        assert (ended.code, ended.error["code"]) == (4, "not_opened")
        assert not own.peppers_file.exists()
        passphrase_file.write_text(PASSPHRASE.strip())
        assert cli("restore", str(file), "--passphrase-file", str(passphrase_file)).code == 0
        assert clients(cli) == [(acme["clientId"], "active")]

    @pytest.mark.usefixtures("acme")
    def test_one_that_is_not_sealed_is_refused_where_a_sealed_one_is_expected(
        self, cli: Cli, file: Path, passphrase_file: Path
    ) -> None:
        cli("backup", str(file))
        ended = cli("restore", str(file), "--force", "--passphrase-file", str(passphrase_file), "--json")
        assert (ended.code, "not sealed" in ended.error["message"]) == (4, True)

    @pytest.mark.parametrize(
        ("content", "mode", "code"), [("short", 0o600, 2), ("x" * 5000, 0o600, 2), ("x" * 20, 0o644, 4)]
    )
    def test_a_passphrase_that_protects_nothing_is_refused(  # noqa: PLR0917 - pytest passes them by name
        self, cli: Cli, on_sqlite: Settings, file: Path, passphrase_file: Path, content: str, mode: int, code: int
    ) -> None:
        del on_sqlite
        passphrase_file.write_text(content)
        passphrase_file.chmod(mode)
        for name in ("backup", "restore"):
            ended = cli(name, str(file), "--passphrase-file", str(passphrase_file), "--json")
            assert ended.code == code
            assert content not in ended.error["message"]
        assert not file.exists()

    def test_a_passphrase_file_that_is_not_there_is_told(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        ended = cli("backup", str(file), "--passphrase-file", str(on_sqlite.data_dir / "none"), "--json")
        assert (ended.code, ended.error["code"]) == (5, "unavailable")

    def test_nothing_is_overwritten_unless_by_force(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        file.write_text("mine")
        file.chmod(0o644)
        ended = cli("backup", str(file), "--json")
        assert (ended.code, ended.error["code"], file.read_text()) == (4, "file_exists", "mine")
        assert cli("backup", str(file), "--force").code == 0
        assert file.stat().st_mode & 0o777 == 0o600
        assert [path.name for path in file.parent.iterdir()] == [file.name]
        assert left_behind(on_sqlite) == set()

    def test_a_file_that_appears_meanwhile_stays(
        self, cli: Cli, on_sqlite: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        del on_sqlite
        take = backups._snapshot

        def appear(*arguments: Any) -> Any:
            file.write_text("faster")
            return take(*arguments)

        monkeypatch.setattr(backups, "_snapshot", appear)
        ended = cli("backup", str(file), "--json")
        assert (ended.code, ended.error["code"], file.read_text()) == (4, "file_exists", "faster")
        assert [path.name for path in file.parent.iterdir()] == [file.name]

    @pytest.mark.parametrize("name", ["signing-keys.json", "peppers.json", "ecross.db", "."])
    def test_the_servers_own_files_are_never_overwritten(self, cli: Cli, on_sqlite: Settings, name: str) -> None:
        ended = cli("backup", str(on_sqlite.data_dir / name), "--force", "--json")
        assert (ended.code, ended.error["code"]) == (4, "file_exists")
        assert cli("doctor", "--json").result["ok"]

    @pytest.mark.parametrize("is_dangling", [False, True])
    def test_a_link_is_never_followed(self, *, cli: Cli, on_sqlite: Settings, file: Path, is_dangling: bool) -> None:
        del on_sqlite
        target = file.with_name("target")
        if not is_dangling:
            target.write_text("mine")
        file.symlink_to(target)
        ended = cli("backup", str(file), "--force", "--json")
        assert (ended.code, ended.error["code"], file.is_symlink()) == (4, "file_exists", True)
        assert not target.exists() if is_dangling else target.read_text() == "mine"

    def test_a_folder_that_is_not_there_is_told(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        ended = cli("backup", str(file.parent / "none" / "backup"), "--json")
        assert (ended.code, ended.error["code"]) == (5, "unwritable")
        assert left_behind(on_sqlite) == set()

    def test_lost_peppers_are_told(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        on_sqlite.peppers_file.unlink()
        ended = cli("backup", str(file), "--json")
        assert (ended.code, str(on_sqlite.peppers_file) in ended.error["message"]) == (5, True)
        assert not file.exists()

    def test_a_file_that_cannot_be_read_is_told(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        on_sqlite.demo_credentials_file.mkdir()
        ended = cli("backup", str(file), "--json")
        assert (ended.code, str(on_sqlite.demo_credentials_file) in ended.error["message"]) == (5, True)

    def test_a_pepper_that_came_meanwhile_is_in_it(
        self, cli: Cli, on_sqlite: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take, turns = backups._take_sqlite, iter(range(100))

        def rotate_meanwhile(*arguments: Any) -> Any:
            if next(turns) == 0:
                on_sqlite.peppers_file.write_text(on_sqlite.peppers_file.read_text() + " ")
            return take(*arguments)

        monkeypatch.setattr(backups, "_take_sqlite", rotate_meanwhile)
        assert cli("backup", str(file)).code == 0
        assert next(turns) == 2
        with tarfile.open(file) as archive:
            stored = archive.extractfile("peppers.json")
            assert stored is not None
            assert stored.read() == on_sqlite.peppers_file.read_bytes()

    def test_peppers_that_never_stand_still_end_it(
        self, cli: Cli, on_sqlite: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        take = backups._take_sqlite

        def rotate_always(*arguments: Any) -> Any:
            on_sqlite.peppers_file.write_text(on_sqlite.peppers_file.read_text() + " ")
            return take(*arguments)

        monkeypatch.setattr(backups, "_take_sqlite", rotate_always)
        ended = cli("backup", str(file), "--json")
        assert (ended.code, ended.error["code"]) == (5, "changing_files")

    def test_without_a_server_there_is_nothing_to_back_up(self, cli: Cli, file: Path) -> None:
        ended = cli("backup", str(file), "--json")
        assert (ended.code, ended.error["code"]) == (5, "not_set_up")


class TestRestore:
    @pytest.mark.usefixtures("acme")
    def test_what_is_there_is_not_replaced_unless_by_force(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path
    ) -> None:
        cli("backup", str(file))
        cli("credentials", "revoke", acme["clientId"])
        ended = cli("restore", str(file), "--json")
        assert (ended.code, ended.error["code"]) == (4, "not_empty")
        shutil.rmtree(own.data_dir)
        ended = cli("restore", str(file), "--json")
        assert (ended.code, ended.error["code"]) == (4, "not_empty"), "the database alone is enough"
        ended = cli("restore", str(file), "--force", "--json")
        assert list(ended.result) == [*FACTS, "dataDir"]
        assert clients(cli) == [(acme["clientId"], "active")]
        assert left_behind(own) == set()

    def test_a_damaged_backup_changes_nothing(self, own: Settings, cli: Cli, acme: dict[str, str], file: Path) -> None:
        cli("backup", str(file))
        content = file.read_bytes()
        cli("credentials", "revoke", acme["clientId"])
        kept = {path: path.read_bytes() for path in (own.signing_keys_file, own.peppers_file)}
        for damaged in (content[:-12_000], content.replace(b'"keys"', b'"kexs"'), b"", b"junk" * 500):
            file.write_bytes(damaged)
            ended = cli("restore", str(file), "--force", "--json")
            assert (ended.code, ended.error["code"]) == (4, "unusable_archive")
        assert clients(cli) == [(acme["clientId"], "revoked")]
        assert {path: path.read_bytes() for path in kept} == kept
        assert left_behind(own) == set()

    def test_a_file_that_is_not_there_is_told(self, cli: Cli, file: Path) -> None:
        ended = cli("restore", str(file), "--json")
        assert (ended.code, str(file) in ended.error["message"]) == (5, True)

    @pytest.mark.usefixtures("acme")
    @pytest.mark.parametrize(
        ("change", "code"),
        [
            ({"schemaRevision": "9999"}, "newer_schema"),
            ({"format": 2}, "unusable_archive"),
            ({"createdAt": "yesterday"}, "unusable_archive"),
            ({"clients": "3"}, "unusable_archive"),
            ({"database": "mysql"}, "unusable_archive"),
            ({"tables": {"merchants": ["id"], "x": 1}}, "unusable_archive"),
        ],
    )
    def test_a_manifest_that_does_not_fit_changes_nothing(
        self, own: Settings, cli: Cli, file: Path, change: dict[str, Any], code: str
    ) -> None:
        cli("backup", str(file))
        rewrite(file, change)
        before = clients(cli)
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.code, ended.error["code"]) == (4, code)
        assert (clients(cli), left_behind(own)) == (before, set())

    @pytest.mark.usefixtures("acme")
    def test_parts_that_are_not_those_of_a_backup_are_refused(self, own: Settings, cli: Cli, file: Path) -> None:
        cli("backup", str(file))
        rewrite(file, {}, without="peppers.json")
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.code, "its parts are not those" in ended.error["message"]) == (4, True)
        assert left_behind(own) == set()

    @pytest.mark.usefixtures("acme")
    def test_what_the_backup_does_not_have_does_not_stay_beside_it(self, own: Settings, cli: Cli, file: Path) -> None:
        witness = own.data_dir / "audit-head.json"
        witness.unlink()
        cli("backup", str(file))  # an act by itself, after which there is a witness again
        assert witness.exists()
        assert cli("restore", str(file), "--force").code == 0
        assert not witness.exists()
        witness.write_text('{"number": 1}')
        cli("backup", str(file), "--force")
        witness.unlink()
        assert cli("restore", str(file), "--force").code == 0
        assert witness.read_text() == '{"number": 1}'
        assert witness.stat().st_mode & 0o777 == 0o600

    def test_a_key_file_behind_a_link_is_replaced_where_it_is(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        elsewhere = file.with_name("peppers.json")
        on_sqlite.peppers_file.rename(elsewhere)
        on_sqlite.peppers_file.symlink_to(elsewhere)
        content = elsewhere.read_bytes()
        cli("backup", str(file))
        cli("peppers", "rotate")
        assert cli("restore", str(file), "--force").code == 0
        assert on_sqlite.peppers_file.is_symlink()
        assert elsewhere.read_bytes() == content

    def test_what_killed_ones_have_left_is_swept_up(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        cli("backup", str(file))
        for leftover in (".backup-x/ecross.db", ".restore-x/part-0"):
            path = on_sqlite.data_dir / leftover
            path.parent.mkdir()
            path.write_text("secret")
        (on_sqlite.data_dir / ".peppers.json.0123456789abcdef").write_text("secret")
        assert cli("restore", str(file), "--force").code == 0
        assert left_behind(on_sqlite) == set()

    @pytest.mark.parametrize(
        ("backend", "revision"),
        [
            *(("sqlite", each) for each in migrations.REVISIONS),
            *(("postgresql", each) for each in (migrations.REVISIONS[0], *migrations.REVISIONS[-2:])),
        ],
        indirect=["backend"],
    )
    def test_a_backup_of_an_older_schema_is_migrated(self, own: Settings, cli: Cli, file: Path, revision: str) -> None:
        with closing(Database(own.database_url.get_secret_value())) as database:
            with migrations._migrating(database) as (_, config):
                command.upgrade(config, revision)
            with database.write() as session:
                session.execute(text("INSERT INTO merchants VALUES ('ACME', 'Acme', 'active', '2026-01-01 00:00:00')"))
                session.execute(
                    text(
                        "INSERT INTO clients (id, merchant_id, status, scope, epoch, revision, created_at) "
                        "VALUES ('acme-1', 'ACME', 'active', 'merchant', 7, 1, '2026-01-01 00:00:00')"
                    )
                )
            take = backups._take_sqlite if database.is_sqlite else backups._take_postgresql
            contents, parts = take(database, file.parent)
        for name, content in (
            ("signing-keys.json", new_signing_keys(utc_now())),
            ("peppers.json", new_peppers(utc_now())),
        ):
            parts[name] = file.with_name(name)
            parts[name].write_text(content)
        with file.open("wb") as out:
            write_archive(out, replace(contents, schema_revision=revision).manifest(), parts)
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.result["schemaRevision"], ended.result["clients"]) == (revision, 1)
        assert clients(cli) == [("acme-1", "active")]
        assert cli("doctor", "--json").result["ok"]
        migrations_are_done(own)

    def test_a_command_meanwhile_is_told_to_wait(self, cli: Cli, on_sqlite: Settings) -> None:
        with sole_use(on_sqlite.data_dir):
            for arguments in (("merchants", "list"), ("migrate",), ("serve", "--port", "0")):
                ended = cli(*arguments, "--json")
                assert (ended.code, ended.error["code"]) == (4, "in_use")

    def test_an_interrupted_one_is_finished_by_the_next_start(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cli("backup", str(file))
        cli("credentials", "revoke", acme["clientId"])
        own.peppers_file.write_text("{}")

        def die(_folder: Path) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as dying:
            dying.setattr(replacing, "do", die)
            assert run(["restore", str(file), "--force"]) == 130
        ended = cli("merchants", "list", "--json")
        assert (ended.code, ended.error["code"]) == (4, "unfinished_restore")
        assert cli("migrate").code == 0
        assert clients(cli) == [(acme["clientId"], "active")]
        assert cli("doctor", "--json").result["ok"]
        assert left_behind(own) == set()

    def test_one_that_fails_before_its_end_changes_nothing(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cli("backup", str(file))
        cli("credentials", "revoke", acme["clientId"])

        def fail(*_: object, **__: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as failing:
            failing.setattr(replacing, "decide", fail)
            assert run(["restore", str(file), "--force"]) == 130
        assert clients(cli) == [(acme["clientId"], "revoked")]
        assert left_behind(own) == set()


def rewrite(file: Path, change: dict[str, Any], without: str | None = None) -> None:
    """Change the manifest of a backup that is not sealed, as an attacker could, or another version."""
    with tarfile.open(file) as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers()]
        contents = {member.name: stream.read() for member, stream in members if stream is not None}
    manifest = json.loads(contents.pop("manifest.json")) | change
    if without is not None:
        del contents[without]
        manifest["parts"] = [part for part in manifest["parts"] if part["name"] != without]
    folder = file.with_name("rewritten")
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in {"manifest.json": json.dumps(manifest).encode(), **contents}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    with tarfile.open(file, "w") as archive:
        for name in ["manifest.json", *contents]:
            archive.add(folder / name, name)


class TestRestoreOnSqlite:
    def test_another_process_with_the_database_open_ends_it(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        cli("backup", str(file))
        with closing(sqlite3.connect(on_sqlite.data_dir / "ecross.db")) as other:
            other.execute("SELECT * FROM merchants").fetchall()
            ended = cli("restore", str(file), "--force", "--json")
            assert (ended.code, ended.error["code"]) == (4, "in_use")
        assert left_behind(on_sqlite) == set()
        assert cli("restore", str(file), "--force").code == 0

    @pytest.mark.parametrize("junk", [b"", b"no database" * 500])
    def test_a_broken_database_is_replaced(self, cli: Cli, on_sqlite: Settings, file: Path, junk: bytes) -> None:
        cli("backup", str(file))
        (on_sqlite.data_dir / "ecross.db").write_bytes(junk)
        (on_sqlite.data_dir / "ecross.db-wal").write_bytes(b"of another one")
        assert cli("restore", str(file), "--force").code == 0
        assert cli("doctor", "--json").result["ok"]

    def test_a_folder_in_the_databases_place_is_told(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        cli("backup", str(file))
        (on_sqlite.data_dir / "ecross.db").unlink()
        (on_sqlite.data_dir / "ecross.db").mkdir()
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.code, "Move it away first" in ended.error["message"]) == (5, True)

    def test_a_damaged_or_mislabelled_database_is_refused(self, cli: Cli, on_sqlite: Settings, file: Path) -> None:
        path = on_sqlite.data_dir / "ecross.db"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = '0000'")
            connection.commit()
        parts = {name: on_sqlite.data_dir / name for name in ("signing-keys.json", "peppers.json")}
        about = {
            "format": 1, "version": "0.1.0", "schemaRevision": migrations.REVISIONS[-1], "database": "sqlite",
            "createdAt": "2026-01-01T00:00:00Z", "clients": 0, "secrets": 0,
        }  # fmt: skip
        junk = file.with_name("junk")
        junk.write_bytes(b"no database" * 500)
        empty = file.with_name("empty")
        with closing(sqlite3.connect(empty)) as connection:
            connection.execute("CREATE TABLE other (id INTEGER)")
        for database, reason in ((junk, "damaged"), (empty, "another revision"), (path, "newer version")):
            with file.open("wb") as out:
                write_archive(out, about, parts | {"database.sqlite": database})
            ended = cli("restore", str(file), "--force", "--json")
            assert (ended.code, reason in ended.error["message"]) == (4, True)

    def test_a_data_folder_that_cannot_be_written_to_is_told(
        self, cli: Cli, on_sqlite: Settings, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cli("backup", str(file))

        def full(*_: object, **__: object) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(tempfile, "TemporaryDirectory", full)
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.code, "No space left on device" in ended.error["message"]) == (5, True)
        del on_sqlite


class TestRestoreOnPostgresql:
    @pytest.fixture(autouse=True)
    def _there(self, backend: str) -> None:
        if backend != "postgresql":
            pytest.skip("PostgreSQL's own")

    def test_another_session_ends_it(self, own: Settings, cli: Cli, acme: dict[str, str], file: Path) -> None:
        cli("backup", str(file))
        cli("credentials", "revoke", acme["clientId"])
        engine = create_engine(own.database_url.get_secret_value().replace("postgresql://", "postgresql+psycopg://"))
        with engine.connect() as first:
            first.execute(text("SELECT 1"))
            ended = cli("restore", str(file), "--force", "--json")
            assert (ended.code, ended.error["code"]) == (4, "in_use")
            assert ended.error["message"].startswith("1 other session of the same role uses")
            with engine.connect() as second:
                second.execute(text("SELECT 1"))
                assert "2 other sessions of the same role use the" in cli("restore", str(file), "--force").err
        engine.dispose()
        assert clients(cli) == [(acme["clientId"], "revoked")]

    @pytest.mark.parametrize(
        "rows", [b"junk\n", b"\\.\nDROP TABLE merchants;\n", b"ACME\tAcme\tactive\t2026-01-01\textra\n"]
    )
    def test_rows_that_do_not_fit_change_nothing(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path, rows: bytes
    ) -> None:
        cli("backup", str(file))
        cli("credentials", "revoke", acme["clientId"])
        with tarfile.open(file) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type] # it is there
            archive.extractall(file.parent, filter="data")
        names = [part["name"] for part in manifest["parts"]]
        (file.parent / "tables" / "merchants.copy").write_bytes(rows)
        with file.open("wb") as out:
            write_archive(out, manifest, {name: file.parent / name for name in names})
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.code, ended.error["code"]) == (4, "unusable_data")
        assert clients(cli) == [(acme["clientId"], "revoked")]
        assert left_behind(own) == set()

    @pytest.mark.usefixtures("acme")
    def test_tables_of_other_columns_change_nothing(self, own: Settings, cli: Cli, file: Path) -> None:
        cli("backup", str(file))
        with tarfile.open(file) as archive:
            manifest = json.load(archive.extractfile("manifest.json"))  # type: ignore[arg-type] # it is there
        rewrite(file, {"tables": manifest["tables"] | {"merchants": ["id", "name"]}})
        ended = cli("restore", str(file), "--force", "--json")
        assert (ended.code, ended.error["code"]) == (4, "unusable_data")
        assert len(clients(cli)) == 1
        assert left_behind(own) == set()

    def test_keys_stay_those_of_the_database_if_the_commit_fails(
        self, own: Settings, cli: Cli, acme: dict[str, str], file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cli("backup", str(file))
        cli("peppers", "rotate")
        kept = own.peppers_file.read_bytes()
        rebuild = migrations.rebuild

        def fail_at_the_end(database: Any, revision: str, fill: Any, finish: Any) -> None:
            def finish_and_fail(connection: Any) -> None:
                finish(connection)
                raise KeyboardInterrupt

            rebuild(database, revision, fill, finish_and_fail)

        with monkeypatch.context() as failing:
            failing.setattr(migrations, "rebuild", fail_at_the_end)
            assert run(["restore", str(file), "--force"]) == 130
        assert own.peppers_file.read_bytes() == kept
        assert left_behind(own) == set()
        assert clients(cli) == [(acme["clientId"], "active")]

    @pytest.mark.usefixtures("acme")
    def test_every_table_of_ours_is_in_it_and_none_of_others(self, own: Settings, cli: Cli, file: Path) -> None:
        with closing(Database(own.database_url.get_secret_value())) as database:
            with database.read() as session:
                ours = set(inspect(session.connection()).get_table_names()) - {"alembic_version"}
            with database.write() as session:
                session.execute(text("CREATE TABLE others (id INTEGER)"))
                session.execute(text("INSERT INTO others VALUES (1)"))
        cli("backup", str(file))
        with tarfile.open(file) as archive:
            stored = {name for name in archive.getnames() if name.startswith("tables/")}
        assert stored == {f"tables/{table}.copy" for table in ours}
        assert cli("restore", str(file), "--force").code == 0
        with closing(Database(own.database_url.get_secret_value())) as database, database.read() as session:
            assert session.scalar(text("SELECT count(*) FROM others")) == 1

    def test_files_of_a_restore_into_a_database_that_is_gone_are_let_go(
        self, own: Settings, cli: Cli, acme: dict[str, str]
    ) -> None:
        del acme
        staged = own.data_dir / ".staged"
        staged.write_text("{}")
        replacing.decide(own.data_dir, {staged: own.peppers_file}, [], mark=1)
        with contextlib.closing(Database(own.database_url.get_secret_value())) as database, database.write() as session:
            session.execute(text("DROP SCHEMA public CASCADE"))
            session.execute(text("CREATE SCHEMA public"))
        assert cli("migrate").code == 0
        assert not staged.exists()
        assert own.peppers_file.read_text() != "{}"


def test_a_restore_that_is_killed_leaves_the_old_state_or_the_new_one(
    own: Settings, cli: Cli, acme: dict[str, str], file: Path, command_environment: dict[str, str]
) -> None:
    cli("backup", str(file))
    peppers = own.peppers_file.read_bytes()
    cli("credentials", "revoke", acme["clientId"])
    cli("peppers", "rotate")
    environment = command_environment | {
        "ECROSS_SERVER_DATA_DIR": str(own.data_dir),
        "ECROSS_SERVER_DATABASE_URL": own.database_url.get_secret_value(),
    }
    seen = set()
    for attempt in range(ATTEMPTS):
        process = ForkedProcess(
            [str(Path(sys.executable).with_name("ecross-server")), "restore", str(file), "--force"],
            env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.25 + attempt * 0.12)
        process.kill()
        process.wait()
        assert wait_until_alone(cli)
        ((_, status),) = clients(cli)
        assert status == ("active" if own.peppers_file.read_bytes() == peppers else "revoked")
        seen.add(status)
        if status == "active":
            break
    assert run(["restore", str(file), "--force"]) == 0
    assert clients(cli) == [(acme["clientId"], "active")]
    assert own.peppers_file.read_bytes() == peppers
    assert left_behind(own) == set(), "what the killed ones left is gone"


def wait_until_alone(cli: Cli) -> bool:
    """A killed command's session at PostgreSQL ends a moment later; what it began is rolled back then."""
    for _ in range(100):
        if cli("migrate").code == 0 and cli("doctor", "--json").result["ok"]:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.usefixtures("acme")
def test_both_acts_are_in_the_audit_trail_which_goes_on_from_where_it_was(own: Settings, cli: Cli, file: Path) -> None:
    del own
    before = cli("audit", "list", "--json").result["records"]
    cli("backup", str(file))
    assert cli("audit", "list", "--json").result["records"][-1]["action"] == "backup.write"
    assert cli("restore", str(file), "--force").code == 0
    records = cli("audit", "list", "--json").result["records"]
    assert records[:-1] == before
    assert records[-1]["action"] == "backup.restore"
    assert list(records[-1]["details"]) == ["createdAt"]
    assert cli("audit", "verify", "--json").result["ok"] is True
