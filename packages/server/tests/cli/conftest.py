"""Commands run in this process: as fast as a function, with all that they print."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ecross_server.auth.tokens import new_signing_keys
from ecross_server.cli.main import run
from ecross_server.kit.clock import utc_now
from ecross_server.kit.private_files import write_private_file
from ecross_server.merchants.rules import new_peppers
from ecross_server.settings import Settings
from forking import run_forked


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def result(self) -> Any:
        """What it printed with `--json`."""
        assert not self.err
        return json.loads(self.out)

    @property
    def error(self) -> dict[str, Any]:
        """How it failed with `--json`: the object alone on standard error, nothing on standard output."""
        assert not self.out
        content = json.loads(self.err)
        assert list(content) == ["error"]
        error: dict[str, Any] = content["error"]
        return error


Cli = Callable[..., Ended]


@pytest.fixture(autouse=True)
def _umask_as_before() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Runs a command."""

    def run_and_read(*arguments: str) -> Ended:
        capsys.readouterr()
        code = run(list(arguments))
        printed = capsys.readouterr()
        return Ended(code, printed.out, printed.err)

    return run_and_read


@pytest.fixture
def prepared(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A data folder in which all is made; the commands find it. Once on each database."""
    monkeypatch.setenv("ECROSS_SERVER_DATABASE_URL", settings.database_url.get_secret_value())
    return settings


@pytest.fixture
def on_sqlite(tmp_path: Path, _migrated_sqlite: Path) -> Settings:
    """Likewise, on SQLite alone: for all that has nothing to do with the kind of the database."""
    settings = Settings.model_validate({"data_dir": tmp_path / "data"})
    settings.data_dir.mkdir(mode=0o700)
    shutil.copyfile(_migrated_sqlite, settings.data_dir / "ecross.db")
    (settings.data_dir / "ecross.db").chmod(0o600)
    write_private_file(settings.signing_keys_file, new_signing_keys(utc_now()))
    write_private_file(settings.peppers_file, new_peppers(utc_now()))
    return settings


@pytest.fixture
def acme(on_sqlite: Settings, cli: Cli) -> dict[str, str]:
    """The merchant ACME with its first credentials, on SQLite."""
    del on_sqlite
    credentials: dict[str, str] = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result
    return credentials


@pytest.fixture
def run_cli(command_environment: dict[str, str], tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Runs the real command on the same data folder as `cli`; with redirections, as a process of a shell."""
    environment = command_environment | {"ECROSS_SERVER_DATA_DIR": str(tmp_path / "data")}
    command = str(Path(sys.executable).with_name("ecross-server"))

    def run_process(
        *arguments: str, redirections: str = "", stdin: bytes = b"", stdout: int = subprocess.PIPE, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        if not redirections:
            return run_forked([command, *arguments], env=environment | variables, stdin=stdin, stdout=stdout)
        return subprocess.run(
            ["sh", "-c", f'exec "$@" {redirections}', "sh", command, *arguments],
            input=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment | variables,
            check=False,
            timeout=60,
        )

    return run_process
