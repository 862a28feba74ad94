"""Acts on files: the audit trail tells of them before they happen, and how they ended."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecross_server.cli.acting import acting_on_file
from ecross_server.cli.backup import tell_of_backup
from ecross_server.kit.database import Database, DatabaseAwayError
from ecross_server.settings import Settings

Cli = Callable[..., Any]


@pytest.fixture
def short(on_sqlite: Settings) -> Iterator[Database]:
    """The database, for those who do not wait long."""
    with contextlib.closing(Database(on_sqlite.database_url.get_secret_value(), busy_seconds=0.1)) as opened:
        yield opened


@pytest.fixture
def locked(on_sqlite: Settings) -> Callable[[], contextlib.AbstractContextManager[None]]:
    """Keeps others from writing to the database."""

    @contextlib.contextmanager
    def lock() -> Iterator[None]:
        file = on_sqlite.data_dir / "ecross.db"
        with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    return lock


def told(cli: Cli) -> list[tuple[str, str]]:
    records = cli("audit", "list", "--json").result["records"]
    return [(record["action"], record["outcome"]) for record in records]


@pytest.mark.parametrize("action", ["keys.rotate", "peppers.rotate"])
def test_a_rotation_is_told_of_before_and_after(cli: Cli, on_sqlite: Settings, action: str) -> None:
    del on_sqlite
    made = cli(*action.split("."), "--json").result
    assert told(cli) == [(action, "begun"), (action, "done")]
    first, second = cli("audit", "list", "--json").result["records"]
    assert first["details"] == second["details"]
    assert {"keys.rotate": "keyId", "peppers.rotate": "pepperId"}[action] in first["details"]
    assert set(made.values()) & set(first["details"].values())
    assert cli("audit", "verify", "--json").result["witness"]


@pytest.mark.usefixtures("on_sqlite")
def test_one_that_is_refused_beforehand_leaves_no_record(cli: Cli) -> None:
    cli("keys", "rotate")
    cli("keys", "rotate")
    before = told(cli)
    assert cli("keys", "rotate").code == 4
    assert told(cli) == before


@pytest.mark.usefixtures("on_sqlite")
def test_one_that_fails_is_told_of_as_failed(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "keys.json"
    assert cli("keys", "export", "--out", str(out)).code == 0
    assert cli("keys", "export", "--out", str(out)).code == 4
    action = "keys.export"
    assert told(cli) == [(action, "begun"), (action, "done"), (action, "begun"), (action, "failed")]


def test_where_the_trail_cannot_be_written_nothing_is_begun(
    cli: Cli, short: Database, on_sqlite: Settings, locked: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    with pytest.raises(DatabaseAwayError), acting_on_file(short, on_sqlite, "keys.rotate") as begin, locked():
        begin(keyId="k")
    assert told(cli) == []


def test_one_that_is_done_stays_done_though_the_trail_cannot_tell_of_its_end(
    *, cli: Cli, short: Database, on_sqlite: Settings, capsys: pytest.CaptureFixture[str],
    locked: Callable[[], contextlib.AbstractContextManager[None]],
) -> None:  # fmt: skip
    with contextlib.ExitStack() as later:
        with acting_on_file(short, on_sqlite, "keys.rotate") as begin:
            begin(keyId="k")
            later.enter_context(locked())
        assert "The audit trail has this as begun, not as done" in capsys.readouterr().err
    assert told(cli) == [("keys.rotate", "begun")]


def test_a_leaked_key_goes_also_without_the_trail_but_not_without_a_disk(
    cli: Cli, on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def key_ids() -> list[str]:
        return [key["kid"] for key in json.loads(on_sqlite.signing_keys_file.read_text())["keys"]]

    before = key_ids()
    monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", "postgresql://127.0.0.1:1/none")
    ended = cli("keys", "rotate", "--drop-old")
    assert ended.code == 0
    assert "The audit trail does not have this" in ended.err
    assert key_ids() != before
    on_sqlite.signing_keys_file.unlink()
    monkeypatch.delenv("ECROSS_SERVER_DATABASE_URL")
    ended = cli("keys", "rotate", "--drop-old", "--json")
    assert (ended.code, ended.error["code"]) == (5, "unwritable")


def test_a_backup_that_cannot_be_recorded_is_kept_and_says_so(
    short: Database,
    on_sqlite: Settings,
    locked: Callable[[], contextlib.AbstractContextManager[None]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    with locked():
        tell_of_backup(short, on_sqlite, is_sealed=True)
    assert "The audit trail does not have this" in capsys.readouterr().err
