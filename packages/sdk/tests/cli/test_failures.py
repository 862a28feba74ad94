"""How commands fail: one sentence for people, one object for programs, and the exit code that says what to do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ecross import errors
from ecross.cli import main
from ecross.cli.failures import NotConfiguredError, UsageError, exit_code
from ecross.testing import FakeServer, Merchant, slow
from forking import ForkedProcess

Cli = Callable[..., Any]
RunCli = Callable[..., subprocess.CompletedProcess[bytes]]
COMMAND = str(Path(sys.executable).with_name("ecross"))
NEEDS_CREDENTIALS = [["whoami"], ["token", "--raw"], ["skus", "list"], ["api", "GET", "/ext/x"]]


@pytest.mark.parametrize("arguments", NEEDS_CREDENTIALS, ids=" ".join)
def test_without_credentials_it_is_said_what_is_missing(cli: Cli, arguments: list[str]) -> None:
    ended = cli(*arguments, "--json")
    assert (ended.code, ended.error["code"]) == (3, "not_configured")
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        "error: You are not logged in. Set ECROSS_BASE_URL (or ECROSS_ENVIRONMENT), ECROSS_CLIENT_ID and "
        "ECROSS_CLIENT_SECRET_FILE. Or run: ecross login\n"
    )


@pytest.mark.parametrize(
    ("variables", "missing"),
    [
        ({"ECROSS_BASE_URL": "https://e.example"}, "ECROSS_CLIENT_ID"),
        ({"ECROSS_BASE_URL": "https://e.example", "ECROSS_CLIENT_ID": "x"}, "ECROSS_CLIENT_SECRET_FILE"),
        ({"ECROSS_CLIENT_ID": "x"}, "ECROSS_BASE_URL"),
        ({"ECROSS_PROFILE": "lost"}, "There is no profile 'lost'"),
    ],
)
def test_with_half_of_them_it_is_said_which_setting_is_missing(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], missing: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = cli("whoami")
    assert ended.code == 3
    assert missing in ended.err


def test_a_damaged_file_of_profiles_is_told(cli: Cli) -> None:
    folder = Path(os.environ["HOME"]) / ".config/ecross"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text("[profiles")
    for arguments in (["whoami"], ["whoami", "--profile", "x"]):
        ended = cli(*arguments)
        assert (ended.code, ended.err.startswith(f"error: The file {folder}/config.toml is no TOML")) == (3, True)


def test_environment_variables_come_before_what_is_stored(
    cli: Cli, told: Merchant, ecross_server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.environ["HOME"]) / ".config/ecross"
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text('[profiles.default]\nclient_id = "stored"\nbase_url = "https://e.example"\n')
    result = cli("whoami", "--json").result
    assert (result["clientId"], result["server"]) == (told.client_id, ecross_server.url)
    monkeypatch.setenv("ECROSS_CLIENT_ID", "wrong")
    assert cli("whoami").code == 3


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.ConfigurationError("x"), 2), (errors.CacheError("x"), 2), (UsageError("x"), 2),
        (NotConfiguredError("x"), 3), (errors.InvalidCredentialsError(400, "x"), 3),
        (errors.UnauthorizedError(401, "x"), 3), (errors.ValidationError(400, "x"), 6),
        (errors.RateLimitedError(429, "x"), 4), (errors.TransportError("x"), 5), (errors.ServerError(502, "x"), 5),
        (errors.ServerError(500, "x"), 6), (errors.ServerError(200, "x"), 6), (errors.ApiError(418, "x"), 6),
        (errors.ForbiddenError(403, "x"), 6), (errors.NotFoundError(404, "x"), 6),
    ],
    ids=repr,
)  # fmt: skip
def test_each_error_has_its_exit_code(error: errors.EcrossError, code: int) -> None:
    assert exit_code(error) == code


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["nope"], "No such command"), (["whoami", "x"], "unexpected extra argument"),
     (["api", "GET"], "Missing argument"),
     (["skus", "list", "--limit", "0"], "greater than or equal to 1"), (["whoami", "\udcff"], "must be UTF-8")],
)  # fmt: skip
def test_a_wrong_call_is_one_sentence(cli: Cli, arguments: list[str], said: str) -> None:
    ended = cli(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert len(ended.err.splitlines()) == 1
    assert cli(*arguments, "--json").error["code"] == "usage"


def test_a_secret_in_a_wrong_place_is_not_repeated(cli: Cli) -> None:
    secret = "ecs_" + "a" * 49
    ended = cli("whoami", secret)
    assert ended.code == 2
    assert secret not in ended.err


class TestABug:
    """No fault that a person or a server can make leads here, so one is made."""

    @pytest.fixture(autouse=True)
    def _broken(self, monkeypatch: pytest.MonkeyPatch, told: Merchant) -> None:
        self.secret = told.client_secret

        def break_down(*_: object, **__: object) -> None:
            raise ZeroDivisionError(f"{told.client_secret} eyJhbGciOiJIUzI1NiJ9.e30.c2ln")

        monkeypatch.setattr("ecross.cli.tokens.print_claims", break_down)

    def test_is_told_with_its_traceback_and_without_secrets(self, cli: Cli) -> None:
        ended = cli("whoami")
        assert (ended.code, ended.out) == (1, "")
        assert ended.err.startswith("Traceback (most recent call last):\n")
        assert "ZeroDivisionError: [hidden] [hidden]\n" in ended.err
        last = ended.err.splitlines()[-1]
        assert last == "error: This is a bug in ecross; please report it with its traceback."

    def test_is_told_to_programs_in_one_object(self, cli: Cli) -> None:
        ended = cli("whoami", "--json")
        assert (ended.code, ended.error["code"]) == (1, "bug")
        assert ended.error["traceback"].startswith("Traceback (most recent call last):\n")
        assert self.secret not in ended.err


@pytest.fixture
def nobody_reads() -> Iterator[int]:
    """The writing end of a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


class TestStreams:
    @pytest.mark.parametrize(
        "arguments", [["skus", "list", "--json"], ["api", "GET", "/ext/merchant/skus"], ["--help"]], ids=" ".join
    )
    def test_a_reader_that_has_gone_is_no_error(
        self, run_cli: RunCli, told: Merchant, arguments: list[str], nobody_reads: int
    ) -> None:
        told.put_numbered_skus(1)
        ended = run_cli(*arguments, stdout=nobody_reads)
        assert (ended.returncode, ended.stderr) == (0, b"")

    @pytest.mark.usefixtures("told")
    @pytest.mark.parametrize("arguments", [["whoami", "--json"], ["api", "GET", "/ext/merchant/skus", "--json"]])
    def test_a_full_disk_behind_the_output_is_told(self, run_cli: RunCli, arguments: list[str]) -> None:
        ended = run_cli(*arguments, redirections=">/dev/full", PYTHONUNBUFFERED="")  # as it is for most people
        assert ended.returncode == 5
        error = json.loads(ended.stderr)["error"]
        assert error == {
            "code": "unwritable_output", "message": "The result cannot be printed: No space left on device."
        }  # fmt: skip

    def test_with_a_closed_output_nothing_is_done(self, run_cli: RunCli, ecross_server: FakeServer) -> None:
        ended = run_cli("whoami", redirections=">&-")
        assert (ended.returncode, ended.stdout) == (5, b"")
        assert ended.stderr == b"error: Standard output is closed, so no result could be printed.\n"
        assert ecross_server.requests == []

    def test_with_closed_errors_the_exit_code_still_tells(self, run_cli: RunCli) -> None:
        assert run_cli("whoami", redirections="2>&-").returncode == 3

    def test_what_the_locale_cannot_show_is_written_out(self, run_cli: RunCli, told: Merchant) -> None:
        told.put_sku({"skuId": "x", "name": "São"})
        ended = run_cli("skus", "list", PYTHONIOENCODING="ascii")
        assert (ended.returncode, ended.stderr) == (0, b"")
        assert b"S\\xe3o" in ended.stdout


@pytest.mark.usefixtures("told")
def test_an_interrupted_command_ends_with_130_and_says_nothing(
    ecross_server: FakeServer, wait_for: Callable[..., None]
) -> None:
    ecross_server.script("/token", slow(60))
    with ForkedProcess([COMMAND, "whoami"], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_for(lambda: ecross_server.count("/token"))
        process.send_signal(signal.SIGINT)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (130, b"", b"")


def broken_import(tmp_path: Path, act: str) -> str:
    """A folder whose presence on the path makes the command's first import do this."""
    (tmp_path / "sitecustomize.py").write_text(
        "import signal, sys\n"
        "class Breaking:\n"
        "    @staticmethod\n"
        "    def find_spec(name, *_):\n"
        f"        {act}\n"
        "sys.meta_path.insert(0, Breaking)\n"
    )
    return str(tmp_path)


def test_a_command_that_is_interrupted_in_its_first_moment_ends_as_quietly(run_cli: RunCli, tmp_path: Path) -> None:
    act = "if name == 'ecross.cli.commands': signal.raise_signal(signal.SIGINT)"
    ended = run_cli("whoami", PYTHONPATH=broken_import(tmp_path, act))
    assert (ended.returncode, ended.stdout, ended.stderr) == (130, b"", b"")


def test_without_its_extra_the_command_says_what_to_install(run_cli: RunCli, tmp_path: Path) -> None:
    act = "if name == 'typer': raise ModuleNotFoundError(name, name=name)"
    ended = run_cli("whoami", PYTHONPATH=broken_import(tmp_path, act))
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"error: The command ecross needs its extra. Install it with: pip install 'ecross[cli]'\n"


def test_another_module_that_is_missing_is_no_question_of_extras(run_cli: RunCli, tmp_path: Path) -> None:
    act = "if name == 'ecross.cli.failures': raise ModuleNotFoundError(name, name=name)"
    ended = run_cli("whoami", PYTHONPATH=broken_import(tmp_path, act))
    assert ended.returncode == 1
    assert b"ModuleNotFoundError: ecross.cli.failures" in ended.stderr


def test_a_warning_is_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(sys, "argv", ["ecross", "login", "--no-check", "--secret-stdin", "--client-id", "x"])
    monkeypatch.setenv("ECROSS_BASE_URL", "https://e.example")
    monkeypatch.setenv("ECROSS_CONFIG_FILE", str(tmp_path / "tree" / "config.toml"))
    (tmp_path / "tree" / ".git").mkdir(parents=True)
    (tmp_path / "secret").write_text("the secret")
    with (tmp_path / "secret").open() as file, warnings.catch_warnings():
        warnings.simplefilter("default")
        monkeypatch.setattr(sys, "stdin", file)
        with pytest.raises(SystemExit) as ended:
            main.main()
    assert ended.value.code == 0
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith(f"warning: {tmp_path}/tree/config.credentials.toml lies in the git work tree")


def test_the_commands_are_loaded_only_when_they_run() -> None:
    script = "import sys, ecross.cli.commands; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    assert not {"httpx2", "cryptography", "rich", "keyring", "asyncio"} & set(loaded)
