"""`ecross-server doctor`."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server import migrations
from ecross_server.app import checks as installation
from ecross_server.app import jobs as jobs_of_all
from ecross_server.jobs.service import queue_job
from ecross_server.jobs.tasks import Finish, Job, Kind, Policy, Runner
from ecross_server.kit.database import Database
from ecross_server.settings import Settings, variable

if TYPE_CHECKING:
    from conftest import Register

pytestmark = pytest.mark.measured

Cli = Callable[..., Any]

PASSWORD = "topsecret"


def checks(ended: Any) -> dict[str, Any]:
    return {check["name"]: check for check in json.loads(ended.out)["checks"]}


def test_all_is_in_order_on_either_database(cli: Cli, prepared: Settings, register: Register, backend: str) -> None:
    register("ACME")
    (prepared.data_dir / "ecross.db").touch()
    (prepared.data_dir / "ecross.db").chmod(0o600)
    out = cli("doctor", "--json").result
    assert list(out) == ["ok", "checks", "settings"]
    assert out["ok"] is True
    assert all(list(check) == ["name", "status", "detail", "fix"] for check in out["checks"])
    assert [(check["name"], check["status"]) for check in out["checks"]] == [
        ("data folder", "ok"), ("signing keys", "ok"), ("peppers", "ok"), ("database", "ok"), ("jobs", "ok"),
        ("limits", "ok"),
    ]  # fmt: skip
    assert out["checks"][3]["detail"] == f"{backend}, schema {migrations.REVISIONS[-1]}"


def test_shows_every_setting_with_its_source(
    cli: Cli, on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "server.toml").write_text("PORT = 81\n")
    monkeypatch.setenv("ECROSS_SERVER_CONFIG", str(tmp_path / "server.toml"))
    rows = cli("doctor", "--json").result["settings"]
    assert [row["name"] for row in rows] == [variable(name) for name in Settings.model_fields]
    assert all(list(row) == ["name", "value", "source"] for row in rows)
    by_name = {row["name"]: row for row in rows}
    data_dir, port = by_name["ECROSS_SERVER_DATA_DIR"], by_name["ECROSS_SERVER_PORT"]
    assert (data_dir["value"], data_dir["source"]) == (str(on_sqlite.data_dir), "environment")
    assert (port["value"], port["source"]) == ("81", "file")
    services, metrics = by_name["ECROSS_SERVER_SERVICES"], by_name["ECROSS_SERVER_METRICS_PORT"]
    assert (services["value"], services["source"]) == ("auth,product", "default")
    assert (metrics["value"], metrics["source"]) == ("9464", "default")


@pytest.mark.usefixtures("on_sqlite")
def test_people_read_checks_then_settings(cli: Cli) -> None:
    ended = cli("doctor")
    assert (ended.code, ended.err) == (0, "")
    above, below = ended.out.split("\n\n", 1)
    assert above.splitlines()[1] == "ok       signing keys: 1 live"
    assert above.splitlines()[-1] == "ok       limits: each server by itself"
    lines = below.splitlines()
    assert lines[0].split() == ["SETTING", "VALUE", "SOURCE"]
    assert len(lines) == 1 + len(Settings.model_fields)
    assert [line.split() for line in lines if "_PORT" in line] == [
        ["ECROSS_SERVER_PORT", "8000", "default"],
        ["ECROSS_SERVER_METRICS_PORT", "9464", "default"],
        ["ECROSS_SERVER_ADMIN_PORT", "0", "default"],
    ]
    assert [line.split() for line in lines if "REDIS" in line] == [["ECROSS_SERVER_REDIS_URL", "-", "default"]]


class TestFailures:
    def test_before_the_first_start_everything_is_missing(self, cli: Cli, tmp_path: Path) -> None:
        ended = cli("doctor", "--json")
        assert (ended.code, ended.err) == (6, "")
        assert json.loads(ended.out)["ok"] is False
        found = checks(ended)
        assert {name for name, check in found.items() if check["status"] == "failed"} == {
            "data folder", "signing keys", "peppers", "database",
        }  # fmt: skip
        assert all(check["fix"] for check in found.values() if check["status"] == "failed")
        assert not (tmp_path / "data").exists()

    def test_people_learn_what_to_do(self, cli: Cli, tmp_path: Path) -> None:
        ended = cli("doctor")
        assert (ended.code, ended.err) == (6, "")
        assert f"failed   data folder: {tmp_path}/data: No such file or directory\n" in ended.out
        assert "         what to do: ecross-server serve\n" in ended.out

    @pytest.mark.parametrize("name", ["data folder", "signing keys", "peppers", "database"])
    def test_what_others_can_read_is_not_in_order(self, cli: Cli, on_sqlite: Settings, name: str) -> None:
        path = {
            "data folder": on_sqlite.data_dir,
            "signing keys": on_sqlite.signing_keys_file,
            "peppers": on_sqlite.peppers_file,
            "database": on_sqlite.data_dir / "ecross.db",
        }[name]
        path.chmod(path.stat().st_mode | 0o044)
        ended = cli("doctor", "--json")
        assert ended.code == 6
        found = checks(ended)
        assert [check["name"] for check in found.values() if check["status"] == "failed"] == [name]
        assert str(path) in found[name]["detail"]
        assert "chmod" in found[name]["fix"] + found[name]["detail"]

    def test_a_data_folder_that_is_a_file_is_not_in_order(
        self, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").touch()
        monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", str(tmp_path / "file" / "data"))
        assert checks(cli("doctor", "--json"))["data folder"]["detail"].endswith("Not a directory")

    def test_a_folder_that_cannot_be_written_to_is_not_in_order(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A process's own folder of the kernel's: private, and unwritable even for the superuser.
        monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", "/proc/self/map_files")
        check = checks(cli("doctor", "--json"))["data folder"]
        assert check["status"] == "failed"
        assert check["detail"].startswith("/proc/self/map_files cannot be written to: ")
        assert check["fix"] == "change its owner or mode"

    def test_keys_that_cannot_be_used_are_not_in_order(self, cli: Cli, on_sqlite: Settings) -> None:
        on_sqlite.signing_keys_file.write_text('{"keys": [')
        found = checks(cli("doctor", "--json"))
        assert (found["signing keys"]["status"], found["peppers"]["status"]) == ("failed", "ok")

    def test_an_address_that_no_driver_takes_is_not_in_order(self, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", f"postgresql+nosuchdriver://u:{PASSWORD}@h/d")
        ended = cli("doctor", "--json")
        assert checks(ended)["database"]["status"] == "failed"
        assert PASSWORD not in ended.out


class TestPasswords:
    @pytest.mark.parametrize(
        ("name", "address", "value"),
        [
            ("DATABASE_URL", f"postgresql://u:{PASSWORD}@127.0.0.1:1/d", "postgresql://u:***@127.0.0.1:1/d"),
            ("DATABASE_URL", f"postgresql://u:{PASSWORD}@s@127.0.0.1:1/d", "(hidden)"),
            ("DATABASE_URL", f"postgresql://u@127.0.0.1:1/d?password={PASSWORD}&sslmode=require",
             "postgresql://u@127.0.0.1:1/d?password=%28hidden%29&sslmode=require"),
            ("REDIS_URL", f"redis://:{PASSWORD}@127.0.0.1:1/0", "redis://:***@127.0.0.1:1/0"),
            ("REDIS_URL", f"redis://127.0.0.1:1?password={PASSWORD}", "redis://127.0.0.1:1?password=%28hidden%29"),
            ("REDIS_URL", f"unix:///none.sock?PASSWORD={PASSWORD}", "unix:///none.sock?PASSWORD=%28hidden%29"),
            ("REDIS_URL", f"redis://:{PASSWORD}@127.0.0.1:port/0", "(hidden)"),
            ("REDIS_URL", f"redis://:{PASSWORD}", "(hidden)"),
        ],
    )  # fmt: skip
    @pytest.mark.usefixtures("on_sqlite")
    def test_no_password_of_an_address_is_shown(
        self, cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, address: str, value: str
    ) -> None:
        monkeypatch.setenv(f"ECROSS_SERVER_{name}", address)
        ended = cli("doctor", "--json")
        assert ended.code == 6
        assert PASSWORD not in ended.out + ended.err
        rows = {row["name"]: row["value"] for row in json.loads(ended.out)["settings"]}
        assert rows[f"ECROSS_SERVER_{name}"] == value
        people = cli("doctor")
        assert PASSWORD not in people.out + people.err


class AnyRedis(socketserver.StreamRequestHandler):
    """Answers every command as a Redis server answers PING."""

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line.startswith(b"*"):
                for _ in range(2 * int(line[1:])):
                    self.rfile.readline()
                self.wfile.write(b"+PONG\r\n")


@pytest.mark.usefixtures("on_sqlite")
def test_a_redis_server_that_answers_is_in_order(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), AnyRedis) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("ECROSS_SERVER_REDIS_URL", f"redis://127.0.0.1:{server.server_address[1]}/0?protocol=2")
        ended = cli("doctor", "--json")
        server.shutdown()
        thread.join()
    assert ended.code == 0
    assert (checks(ended)["redis"]["status"], checks(ended)["redis"]["detail"]) == ("ok", "answers")


@pytest.mark.usefixtures("on_sqlite")
class TestTls:
    @pytest.fixture(autouse=True)
    def _pair(self, tls_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        for name, path in zip(("CERT", "KEY"), tls_files, strict=True):
            monkeypatch.setenv(f"ECROSS_SERVER_TLS_{name}_FILE", str(path))

    def test_a_pair_is_in_order(self, cli: Cli) -> None:
        ended = cli("doctor", "--json")
        assert (ended.code, checks(ended)["tls"]["status"]) == (0, "ok")

    def test_a_key_that_others_can_read_is_not_in_order(self, cli: Cli, tls_files: tuple[Path, Path]) -> None:
        tls_files[1].chmod(0o640)
        ended = cli("doctor", "--json")
        assert (ended.code, checks(ended)["tls"]["fix"]) == (6, f"chmod go= {tls_files[1]}")

    def test_files_that_are_no_pair_are_not_in_order(self, cli: Cli, tls_files: tuple[Path, Path]) -> None:
        tls_files[1].write_bytes(tls_files[0].read_bytes())
        ended = cli("doctor", "--json")
        assert (ended.code, checks(ended)["tls"]["fix"]) == (6, "check ECROSS_SERVER_TLS_CERT_FILE")


@pytest.mark.usefixtures("on_sqlite")
def test_limits_that_refuse_nobody_are_a_warning(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable("limits_mode"), "observe")
    limits = checks(cli("doctor", "--json"))["limits"]
    assert (limits["status"], limits["fix"]) == ("warning", "ECROSS_SERVER_LIMITS_MODE=enforce")


@pytest.mark.usefixtures("on_sqlite")
def test_tells_whether_limits_are_shared(cli: Cli, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> None:
    assert checks(cli("doctor", "--json"))["limits"]["detail"] == "each server by itself"
    monkeypatch.setenv(variable("redis_url"), redis_url)
    assert checks(cli("doctor", "--json"))["limits"]["detail"] == "shared through Redis"


class TestJobs:
    @pytest.fixture
    def jobs(self, cli: Cli, on_sqlite: Settings) -> Callable[[], dict[str, Any]]:
        """What is found of them."""
        del on_sqlite
        return lambda: checks(cli("doctor", "--json"))["jobs"]

    @pytest.fixture
    def on_disk(self, on_sqlite: Settings) -> Iterator[Database]:
        with closing(Database(on_sqlite.database_url.get_secret_value())) as database:
            yield database

    def test_none_is_in_order(self, jobs: Callable[[], dict[str, Any]]) -> None:
        assert jobs() == {"name": "jobs", "status": "ok", "detail": "0 due, 0 to come, 0 dead", "fix": None}

    def test_dead_ones_are_a_warning(
        self, jobs: Callable[[], dict[str, Any]], on_disk: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(_job: Job, _finish: Finish) -> None:
            raise ArithmeticError

        kinds = {"test.note": Kind(fail, Policy(most_attempts=1))}
        monkeypatch.setattr(jobs_of_all, "make_kinds", lambda _: kinds)
        with on_disk.write() as session:
            queue_job(session, "test.note", {})
        Runner(on_disk, kinds, worker="w").run_due()
        found = jobs()
        assert (found["status"], found["detail"]) == ("warning", "0 due, 0 to come, 1 dead")
        assert found["fix"] == "ecross-server jobs list"

    @pytest.mark.parametrize(
        ("kind", "seconds", "detail"),
        [
            ("test.note", 59, ""),
            ("test.note", 100, "; the first waits for 100 seconds"),
            ("test.newer", 0, "; this version does not know test.newer"),
        ],
    )
    def test_so_are_those_that_nobody_runs(
        self, *, jobs: Callable[[], dict[str, Any]], on_disk: Database, monkeypatch: pytest.MonkeyPatch,
        kind: str, seconds: int, detail: str,
    ) -> None:  # fmt: skip
        now = datetime(2026, 11, 25, 12, tzinfo=UTC)
        monkeypatch.setattr(jobs_of_all, "make_kinds", lambda _: {"test.note": None})
        monkeypatch.setattr(installation, "utc_now", lambda: now + timedelta(seconds=seconds))
        with on_disk.write() as session:
            queue_job(session, kind, {}, now=now)
        found = jobs()
        assert found["detail"] == f"1 due, 0 to come, 0 dead{detail}"
        assert (found["status"] == "ok") == (found["fix"] is None) == (not detail)
