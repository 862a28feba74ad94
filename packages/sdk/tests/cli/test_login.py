"""Logging in and out: who is asked, what is checked, what is stored, and who could read it."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keyring
import pytest

from ecross._configuration import Endpoints
from ecross._configuration.endpoints import ENVIRONMENTS
from ecross.cli import login
from ecross.testing import Answer, FakeServer, Merchant, server_error, slow

Cli = Callable[..., Any]
OnTerminal = Callable[..., Any]
Send = Callable[[bytes], None]
STORE = '''
from keyring.backend import KeyringBackend

class Keyring(KeyringBackend):
    """Keeps what it is given while the process lives."""
    priority = 9
    kept = {}

    def get_password(self, service, username):
        return self.kept.get((service, username))

    def set_password(self, service, username, password):
        self.kept[service, username] = password

    def delete_password(self, service, username):
        del self.kept[service, username]
'''


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture
def log_in(cli: Cli, send: Send, ecross_server: FakeServer, merchant: Merchant) -> Callable[..., Any]:
    """Logs ACME in, as a script does."""

    def log_in_with(*options: str, secret: str | None = None) -> Any:
        send(f"{secret or merchant.client_secret}\n".encode())
        where = () if "--environment" in options else ("--base-url", ecross_server.url)
        return cli("login", *where, "--client-id", merchant.client_id, "--secret-stdin", *options)

    return log_in_with


def stored_files(home: Path) -> list[Path]:
    return sorted(path for path in home.rglob("*.toml") if path.is_file())


def test_a_script_logs_in_and_the_next_command_needs_nothing_more(
    cli: Cli, log_in: Callable[..., Any], merchant: Merchant, ecross_server: FakeServer, home: Path
) -> None:
    ended = log_in()
    assert (ended.code, ended.err) == (0, "")
    secret_file = home / ".config/ecross/config.credentials.toml"
    assert ended.out.startswith(f"Logged in: {merchant.client_id} at {ecross_server.url}, profile default.\n")
    assert f"The client secret is in {secret_file}, which only you can read." in ended.out
    assert secret_file.stat().st_mode & 0o777 == 0o600
    assert cli("whoami", "--json").result["merchantId"] == "ACME"


def test_for_programs_the_place_of_the_secret_is_told(
    log_in: Callable[..., Any], merchant: Merchant, ecross_server: FakeServer, home: Path
) -> None:
    result = log_in("--json", "--profile", "second").result
    assert result == {
        "profile": "second",
        "clientId": merchant.client_id,
        "server": ecross_server.url,
        "isChecked": True,
        "secretPlace": "credentials file",
        "secretFile": str(home / ".config/ecross/config.credentials.toml"),
        "whyNotKeyring": "There is no keyring here that keeps secrets from being read as plain files.",
    }


@pytest.fixture
def _keyring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "keyring_of_a_test.py").write_text(STORE)
    monkeypatch.syspath_prepend(tmp_path)
    before = keyring.get_keyring()
    keyring.set_keyring(importlib.import_module("keyring_of_a_test").Keyring())
    yield
    keyring.set_keyring(before)
    sys.modules.pop("keyring_of_a_test")


@pytest.mark.usefixtures("_keyring")
def test_where_there_is_a_keyring_the_secret_is_there(
    cli: Cli, log_in: Callable[..., Any], merchant: Merchant, home: Path
) -> None:
    ended = log_in()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.endswith("The client secret is in the keyring of the operating system.\n")
    assert all(merchant.client_secret not in path.read_text() for path in stored_files(home))
    assert cli("whoami").code == 0


@pytest.mark.parametrize(("answer", "code"), [(server_error(), 6), (server_error(503), 5), (Answer(200, {}), 6)])
def test_a_server_that_gives_no_token_stores_nothing(
    log_in: Callable[..., Any], ecross_server: FakeServer, home: Path, answer: Any, code: int
) -> None:
    ecross_server.script("/token", answer)
    assert log_in().code == code
    assert list(home.rglob("*")) == []


def test_without_a_check_the_server_is_not_asked(log_in: Callable[..., Any], ecross_server: FakeServer) -> None:
    ended = log_in("--no-check")
    assert ended.out.startswith("Stored, unchecked: ")
    assert ecross_server.requests == []


def test_a_published_server_is_meant_by_its_name(log_in: Callable[..., Any], home: Path) -> None:
    assert log_in("--no-check", "--environment", "production").code == 0
    profile = tomllib.loads((home / ".config/ecross/config.toml").read_text())["profiles"]["default"]
    assert profile["environment"] == "production"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--environment", "production", "--base-url", "https://e.example"), "contradict each other"),
        (("--base-url", "http://e.example"), "The base URL must begin with https://"),
        (("--environment", "moon"), "The environment must be one of: production."),
        (("--base-url", "https://e.example", "--client-id", " x"), "The client id must be one line"),
        (("--base-url", "https://e.example", "--client-id", "x", "--profile", "a/b"), "The name of a profile"),
    ],
)
def test_unfit_options_are_refused(cli: Cli, send: Send, home: Path, options: tuple[str, ...], said: str) -> None:
    send(b"secret\n")
    ended = cli("login", "--secret-stdin", "--no-check", *options)
    assert (ended.code, ended.out) == (2, "")
    assert said in ended.err
    assert stored_files(home) == []


@pytest.mark.parametrize(
    ("arguments", "missing"),
    [
        ((), "--base-url or --environment"),
        (("--base-url", "https://e.example"), "--client-id"),
        (("--base-url", "https://e.example", "--client-id", "x"), "--secret-stdin"),
    ],
)
@pytest.mark.parametrize("is_closed", [True, False])
def test_without_a_terminal_nobody_is_asked(
    cli: Cli, send: Send, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], missing: str, *, is_closed: bool
) -> None:
    send(b"an answer to a question that nobody put\n")
    if is_closed:
        monkeypatch.setattr(sys, "stdin", None)
    ended = cli("login", *arguments)
    assert (ended.code, ended.out) == (3, "")
    assert "there is no terminal to ask on" in ended.err
    assert missing in ended.err


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [(b"", 3, "nothing was entered"), (b"\n", 3, "nothing was entered"), (b"\xff\xfe", 2, "no text in UTF-8"),
     (b"two\nlines\n", 2, "must be one line")],
)  # fmt: skip
def test_an_unfit_secret_is_refused_and_not_shown(cli: Cli, send: Send, content: bytes, code: int, said: str) -> None:
    send(content)
    ended = cli("login", "--base-url", "https://e.example", "--client-id", "x", "--secret-stdin")
    assert ended.code == code
    assert said in ended.err
    assert "lines" not in ended.err


def test_a_closed_standard_input_holds_no_secret(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    ended = cli("login", "--base-url", "https://e.example", "--client-id", "x", "--secret-stdin")
    assert (ended.code, ended.err) == (2, "error: Standard input is closed, so there is no secret to read.\n")


def test_what_comes_before_a_profile_is_told(
    cli: Cli, log_in: Callable[..., Any], merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECROSS_CLIENT_ID", merchant.client_id)
    assert log_in().err == "note: ECROSS_CLIENT_ID in the environment comes before any profile.\n"
    monkeypatch.setenv("ECROSS_BASE_URL", "https://e.example")
    assert "ECROSS_CLIENT_ID, ECROSS_BASE_URL in the environment come before" in cli("logout").err


def test_the_environment_tells_what_options_do_not(
    cli: Cli, send: Send, ecross_server: FakeServer, merchant: Merchant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECROSS_BASE_URL", ecross_server.url)
    monkeypatch.setenv("ECROSS_CLIENT_ID", merchant.client_id)
    monkeypatch.setenv("ECROSS_PROFILE", "new")
    send(merchant.client_secret.encode())
    ended = cli("login", "--secret-stdin")
    assert ended.out.startswith(f"Logged in: {merchant.client_id} at {ecross_server.url}, profile new.")


class TestOut:
    def test_all_is_forgotten(
        self, cli: Cli, log_in: Callable[..., Any], merchant: Merchant, ecross_server: FakeServer, home: Path
    ) -> None:
        log_in()
        assert cli("whoami").code == 0
        assert list(home.rglob("*.token"))
        ended = cli("logout")
        assert (ended.code, ended.err) == (0, "")
        assert ended.out == "Logged out: the profile default, its client secret and its cached token are forgotten.\n"
        assert list(home.rglob("*.token")) == []
        files = [path for path in home.rglob("*") if path.is_file()]
        assert files
        assert all(merchant.client_secret.encode() not in path.read_bytes() for path in files)
        assert cli("whoami").code == 3
        assert ecross_server.count("/token") == 2

    def test_of_nothing_is_no_error(self, cli: Cli) -> None:
        assert cli("logout", "--profile", "a\x1b[2J").out == (
            "There is no profile a\\x1b[2J, so nothing was to be forgotten.\n"
        )
        assert cli("logout", "--json").result == {"profile": "default", "wasThere": False}

    def test_only_the_profile_that_was_named_goes(self, cli: Cli, log_in: Callable[..., Any]) -> None:
        log_in()
        log_in("--profile", "second")
        assert cli("logout", "--profile", "second", "--json").result == {"profile": "second", "wasThere": True}
        assert cli("whoami").code == 0
        assert cli("whoami", "--profile", "second").code == 3

    def test_a_profile_without_an_address_has_no_token_to_forget(self, cli: Cli, home: Path) -> None:
        folder = home / ".config/ecross"
        folder.mkdir(parents=True)
        (folder / "config.toml").write_text('[profiles.default]\nclient_id = "x"\n')
        assert cli("logout").code == 0
        assert list(home.rglob(".cache/*")) == []


class TestOnATerminal:
    def test_a_person_types_the_secret_without_seeing_it_and_is_offered_what_was_told_before(
        self, on_terminal: OnTerminal, cli: Cli, ecross_server: FakeServer, merchant: Merchant
    ) -> None:
        first = on_terminal("login")
        first.read_until("Server (its base URL, or production): ")
        first.type(f"{ecross_server.url}\n")
        first.read_until("Client id: ")
        first.type(f"{merchant.client_id}\n")
        first.read_until("Client secret (not shown): ")
        first.type(f"{merchant.client_secret}\n")
        code, screen = first.end()
        assert code == 0
        assert f"Logged in: {merchant.client_id}" in screen
        assert merchant.client_secret not in screen
        assert merchant.client_secret[:8] not in screen
        again = on_terminal("login")
        again.read_until(f"Server (its base URL, or production) [{ecross_server.url}]: ")
        again.type("\n")
        again.read_until(f"Client id [{merchant.client_id}]: ")
        again.type("\n")
        again.read_until("Client secret (not shown): ")
        again.type(f"{merchant.rotate_secret()}\n")
        assert again.end()[0] == 0
        assert cli("whoami", "--json").result["server"] == ecross_server.url

    def test_no_answer_ends_it(self, on_terminal: OnTerminal) -> None:
        terminal = on_terminal("login", "--base-url", "https://e.example", "--client-id", "x", controls=False)
        terminal.read_until("(not shown): ")
        terminal.type("\x04")
        code, screen = terminal.end()
        assert code == 3
        assert "Client secret is missing: nothing was entered. Send it to --secret-stdin." in screen

    def test_ctrl_c_ends_it_with_130_and_the_terminal_shows_again_what_is_typed(self, on_terminal: OnTerminal) -> None:
        terminal = on_terminal("login", "--base-url", "https://e.example", "--client-id", "x")
        terminal.read_until("(not shown): ")
        terminal.type("\x03")
        code, screen = terminal.end()
        assert code == 130
        assert "Traceback" not in screen

    def test_the_option_for_scripts_does_not_show_a_secret_there(self, on_terminal: OnTerminal) -> None:
        terminal = on_terminal("login", "--base-url", "https://e.example", "--client-id", "x", "--secret-stdin")
        code, screen = terminal.end()
        assert code == 2
        assert "Leave --secret-stdin out to be asked without echo." in screen


UNHIDING = """
import io, sys
from ecross.cli.prompts import ask_secret
from ecross.errors import EcrossError

class Terminal(io.StringIO):
    def isatty(self):
        return True

sys.stdin = Terminal("typed and shown\\n")
try:
    ask_secret("Client secret", instead="Do otherwise.")
except EcrossError as error:
    print(error)
"""


def test_a_terminal_that_cannot_hide_what_is_typed_is_not_asked_on() -> None:
    command = [sys.executable, "-c", UNHIDING]
    ended = subprocess.run(command, start_new_session=True, capture_output=True, check=True, text=True)
    assert ended.stdout == "This terminal cannot hide what is typed. Do otherwise.\n"


@pytest.mark.parametrize(
    ("endpoints", "spelled", "kept"),
    [
        (ENVIRONMENTS["production"], "production", {"environment": "production"}),
        (Endpoints("a", "a", "a", "a"), "a", {"base_url": "a"}),
        (Endpoints("a", "p", None, None), "a", {"base_urls": {"auth": "a", "product": "p"}}),
    ],
)
def test_an_address_that_is_kept_stays_what_it_was(endpoints: Endpoints, spelled: str, kept: dict[str, Any]) -> None:
    assert (login._spelled(endpoints), login._kept(endpoints)) == (spelled, kept)


def test_no_secret_is_in_the_process_list_while_a_command_runs(
    ecross_server: FakeServer, merchant: Merchant, wait_for: Callable[..., None]
) -> None:
    ecross_server.script("/token", slow(60))
    arguments = ["login", "--base-url", ecross_server.url, "--client-id", merchant.client_id, "--secret-stdin"]
    with subprocess.Popen(
        [Path(sys.executable).with_name("ecross"), *arguments], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdin is not None
        process.stdin.write(merchant.client_secret.encode())
        process.stdin.close()
        wait_for(lambda: ecross_server.count("/token"))
        own = Path(f"/proc/{process.pid}")
        assert merchant.client_id.encode() in (own / "cmdline").read_bytes()
        for place in (*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/comm"), own / "environ"):
            try:
                shown = place.read_bytes()
            except OSError:  # ended meanwhile
                continue
            assert merchant.client_secret.encode() not in shown
        process.kill()
