"""How commands fail: one sentence for people, one object for programs, and the exit code that says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from ecross_server.cli.main import _interrupt_again
from ecross_server.cli.skus import BATCH
from ecross_server.settings import Settings
from forking import ForkedProcess

Cli = Callable[..., Any]
RunCli = Callable[..., subprocess.CompletedProcess[bytes]]

NEEDS_A_DATABASE = [
    ["merchants", "list"],
    ["merchants", "show", "ACME"],
    ["merchants", "disable", "ACME"],
    ["merchants", "enable", "ACME"],
    ["credentials", "issue", "ACME"],
    ["credentials", "list"],
    ["credentials", "revoke", "acme-aaaaaaaaaaaaa"],
    ["skus", "import", "ACME", "-"],
]


@pytest.mark.parametrize("arguments", NEEDS_A_DATABASE, ids=" ".join)
def test_before_anything_is_set_up_a_command_says_how_and_makes_nothing(
    cli: Cli, arguments: list[str], tmp_path: Path
) -> None:
    ended = cli(*arguments, "--json")
    assert (ended.code, ended.error["code"]) == (5, "not_set_up")
    assert "ecross-server serve" in ended.error["message"]
    people = cli(*arguments)
    assert (people.code, people.out) == (5, "")
    assert people.err == f"error: {ended.error['message']}\n"
    assert not (tmp_path / "data").exists()


def test_an_empty_database_is_one_where_nothing_is_set_up(
    cli: Cli, empty_database_url: str, monkeypatch: pytest.MonkeyPatch, backend: str, tmp_path: Path
) -> None:
    if backend == "sqlite":
        (tmp_path / "empty.db").touch()
    monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", empty_database_url)
    ended = cli("merchants", "list", "--json")
    assert (ended.code, ended.error["code"]) == (5, "not_set_up")


@pytest.mark.parametrize(
    "arguments",
    [
        ["nope"],
        ["merchants", "nope"],
        ["merchants", "register", "ACME"],
        ["merchants", "register", "--name", "Acme"],
        ["merchants", "show"],
        ["merchants", "show", "ACME", "BETA"],
        ["merchants", "list", "--nope"],
        ["serve", "--port", "http"],
        ["serve", "--port", ""],
        ["skus", "import", "ACME"],
        ["merchants", "show", "\udcff"],
    ],
    ids=repr,
)
def test_a_wrong_usage_is_told_in_a_sentence(cli: Cli, arguments: list[str]) -> None:
    ended = cli(*arguments, "--json")
    assert (ended.code, ended.error["code"]) == (2, "usage")
    assert set(ended.error) == {"code", "message"}
    people = cli(*arguments)
    assert (people.code, people.out) == (2, "")
    assert people.err == f"error: {ended.error['message']}\n"
    assert people.err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "path"), [(["--port", "70000"], "--port"), (["--workers", "0"], "--workers")])
def test_a_wrong_option_is_named_as_it_was_given(cli: Cli, arguments: list[str], path: str) -> None:
    error = cli("serve", *arguments, "--json")
    assert error.code == 2
    assert [fault["path"] for fault in error.error["errors"]] == [path]
    assert error.error["message"].startswith(f"{path}: ")


def test_a_wrong_setting_stops_every_command(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_SERVER_PORT", "eighty")
    for arguments in [
        *NEEDS_A_DATABASE,
        ["doctor"],
        ["migrate"],
        ["serve"],
        ["merchants", "register", "A1", "--name", "A"],
    ]:
        ended = cli(*arguments, "--json")
        assert (ended.code, ended.error["code"]) == (2, "invalid_input")
        assert [fault["path"] for fault in ended.error["errors"]] == ["ECROSS_SERVER_PORT"]
        assert "eighty" not in ended.err


def test_a_newer_database_is_left_alone(cli: Cli, on_sqlite: Settings) -> None:
    with sqlite3.connect(on_sqlite.data_dir / "ecross.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for arguments in (["merchants", "list"], ["migrate"], ["merchants", "register", "ACME", "--name", "Acme"]):
        ended = cli(*arguments, "--json")
        assert (ended.code, ended.error["code"]) == (4, "newer_schema")
        assert "newer version" in ended.error["message"]


def test_a_database_that_is_none_is_told_in_a_sentence(cli: Cli, on_sqlite: Settings) -> None:
    (on_sqlite.data_dir / "ecross.db").write_bytes(b"this is no database" * 100)
    for arguments in (["merchants", "list"], ["migrate"]):
        ended = cli(*arguments, "--json")
        assert (ended.code, ended.error["code"]) == (5, "database_away")


def test_a_database_server_that_is_away_is_told_without_its_address(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", "postgresql://someone:topsecret@127.0.0.1:1/none")
    for arguments in (["merchants", "list"], ["migrate"]):
        ended = cli(*arguments, "--json")
        assert (ended.code, ended.error["code"]) == (5, "database_away")
        assert "topsecret" not in ended.err


@pytest.mark.parametrize("place", ["file", "file/below", "/proc/none", "/dev/null/below"])
def test_a_data_folder_that_cannot_be_made_is_told_in_a_sentence(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ECROSS_SERVER_DATA_DIR", str(tmp_path / place))
    ended = cli("migrate", "--json")
    assert (ended.code, ended.error["code"]) == (5, "unwritable")
    assert str(tmp_path / place) in ended.error["message"]


@pytest.mark.parametrize("name", ["SIGNING_KEYS_FILE", "PEPPERS_FILE"])
def test_a_file_of_keys_that_cannot_be_made_is_told_in_a_sentence(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = tmp_path / "file" / "keys.json"
    path.parent.touch()
    monkeypatch.setenv(f"ECROSS_SERVER_{name}", str(path))
    ended = cli("migrate", "--json")
    assert (ended.code, ended.error["code"]) == (5, "unwritable")
    assert str(path) in ended.error["message"]


class TestABug:
    """A table that is gone under a current schema is nothing that a caller could act upon."""

    @pytest.fixture(autouse=True)
    def _broken(self, on_sqlite: Settings) -> None:
        with sqlite3.connect(on_sqlite.data_dir / "ecross.db") as connection:
            connection.executescript("DROP TABLE secrets; DROP TABLE clients; DROP TABLE skus; DROP TABLE merchants;")
        connection.close()

    def test_is_told_to_people_with_its_traceback(self, cli: Cli) -> None:
        ended = cli("merchants", "list")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("Traceback (most recent call last):\n")
        assert "no such table: merchants" in ended.err
        last = ended.err.splitlines()[-1]
        assert last == "error: This is a bug in ecross-server; please report it with its traceback."

    def test_is_told_to_programs_in_one_object(self, cli: Cli) -> None:
        ended = cli("merchants", "list", "--json")
        assert (ended.code, ended.error["code"]) == (1, "bug")
        assert ended.error["traceback"].startswith("Traceback (most recent call last):\n")

    @pytest.mark.parametrize(
        "secret", ["ecs_" + "a" * 49, "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2lnbmF0dXJl"], ids=["secret", "token"]
    )
    def test_shows_no_secret_in_its_traceback(self, cli: Cli, on_sqlite: Settings, secret: str) -> None:
        with sqlite3.connect(on_sqlite.data_dir / "ecross.db") as connection:
            connection.execute("CREATE TABLE merchants (id, name, status, created_at)")
            connection.execute(
                f"CREATE TRIGGER t BEFORE UPDATE ON registry_revision BEGIN SELECT RAISE(ABORT, 'no {secret}'); END"
            )
        connection.close()
        for ended in (cli("merchants", "disable", "ACME"), cli("merchants", "disable", "ACME", "--json")):
            assert ended.code == 1
            assert "IntegrityError) no [redacted]" in ended.err
            assert secret not in ended.err


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


class TestStreams:
    @pytest.mark.usefixtures("acme")
    @pytest.mark.parametrize(
        "arguments", [["merchants", "list"], ["merchants", "list", "--json"], ["merchants", "--help"]], ids=" ".join
    )
    def test_a_reader_that_has_gone_is_no_error(self, run_cli: RunCli, arguments: list[str], nobody_reads: int) -> None:
        ended = run_cli(*arguments, stdout=nobody_reads)
        assert (ended.returncode, ended.stderr) == (0, b"")

    def test_a_reader_that_leaves_early_is_no_error(self, run_cli: RunCli) -> None:
        ended = run_cli("openapi", redirections="| head -1")
        assert (ended.stdout, ended.stderr) == (b"{\n", b"")

    @pytest.mark.usefixtures("acme")
    def test_a_full_disk_behind_the_output_is_told_in_a_sentence(self, run_cli: RunCli) -> None:
        ended = run_cli("merchants", "list", redirections=">/dev/full", PYTHONUNBUFFERED="")  # as it is for most people
        assert ended.returncode == 5
        assert ended.stderr == b"error: The result cannot be printed: No space left on device.\n"
        ended = run_cli("merchants", "list", "--json", redirections=">/dev/full")
        assert json.loads(ended.stderr)["error"]["code"] == "unwritable_output"

    def test_with_a_closed_output_nothing_is_done_whose_result_would_be_lost(
        self, run_cli: RunCli, acme: dict[str, str], cli: Cli
    ) -> None:
        ended = run_cli("merchants", "register", "BETA", "--name", "Beta", redirections=">&-")
        assert (ended.returncode, ended.stdout) == (5, b"")
        assert ended.stderr == b"error: Standard output is closed, so no result could be printed.\n"
        listed = cli("merchants", "list", "--json").result["merchants"]
        assert [merchant["merchantId"] for merchant in listed] == [acme["merchantId"]]

    @pytest.mark.usefixtures("acme")
    def test_with_closed_errors_the_exit_code_still_tells(self, run_cli: RunCli) -> None:
        assert run_cli("merchants", "show", "NOBODY", redirections="2>&-").returncode == 3
        ended = run_cli("merchants", "show", "NOBODY", redirections=">&- 2>&-")
        assert (ended.returncode, ended.stdout, ended.stderr) == (5, b"", b"")

    def test_what_the_locale_cannot_show_is_written_out(self, run_cli: RunCli, cli: Cli) -> None:
        name = "São João 株式会社"
        cli("merchants", "register", "SAO", "--name", name)
        ascii_only = {"PYTHONIOENCODING": "ascii"}
        people = run_cli("merchants", "list", **ascii_only)
        assert (people.returncode, people.stderr) == (0, b"")
        assert b"S\\xe3o Jo\\xe3o" in people.stdout
        programs = run_cli("merchants", "list", "--json", **ascii_only)
        assert json.loads(programs.stdout)["merchants"][0]["name"] == name
        assert name.encode() in run_cli("merchants", "list", "--json", PYTHONIOENCODING="utf-8").stdout


def test_python_m_ecross_server_is_the_same_command(command_environment: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "ecross_server", "--version"], env=command_environment, capture_output=True, check=True
    )
    assert ended.stdout == f"ecross-server {version('ecross-server')}\n".encode()


class Finalized:
    """What raises where nobody can catch it."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __del__(self) -> None:
        raise self._error


def test_an_interrupt_within_a_finalizer_interrupts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", _interrupt_again)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - at some time after the finalizer
        Finalized(KeyboardInterrupt())
        time.sleep(1)
    Finalized(ValueError("something else"))
    assert "ValueError: something else" in capsys.readouterr().err


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("as_json", [False, True])
def test_an_interrupted_command_ends_with_130_and_keeps_what_it_has_saved(
    command_environment: dict[str, str], tmp_path: Path, *, as_json: bool
) -> None:
    process = ForkedProcess(
        [Path(sys.executable).with_name("ecross-server"), "skus", "import", "ACME", "-", *(["--json"] * as_json)],
        env=command_environment | {"ECROSS_SERVER_DATA_DIR": str(tmp_path / "data")},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdin is not None
        for number in range(BATCH + 1):
            process.stdin.write(json.dumps({"skuId": f"S{number}", "productId": "P", "name": "N"}).encode() + b"\n")
        process.stdin.flush()
        deadline = time.monotonic() + 20
        while not _count_skus(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (130, b"", b"")
    assert _count_skus(tmp_path) == BATCH


INTERRUPTING = """
import signal, sys

class Interrupting:
    @staticmethod
    def find_spec(name, *_):
        if name == "ecross_server.cli.commands":
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
"""


def test_a_command_that_is_interrupted_in_its_first_moment_ends_as_quietly(run_cli: RunCli, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(INTERRUPTING)
    ended = run_cli("merchants", "list", PYTHONPATH=str(tmp_path))
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def _count_skus(tmp_path: Path) -> int:
    with contextlib.closing(sqlite3.connect(tmp_path / "data" / "ecross.db")) as connection:
        count: int = connection.execute("SELECT count(*) FROM skus").fetchone()[0]
    return count
