"""What commands print on a terminal and into a pipe."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from ecross_server.cli.output import plain, print_json, print_table, shown
from forking import ForkedProcess

Cli = Callable[..., Any]
OnTerminal = Callable[..., tuple[int, str]]

LONG_NAME = "Indústria e Comércio de Calçados e Acessórios do Vale do Rio dos Sinos " * 2
WIDE_NAME = "株式会社"
BOLD = "\x1b[1m"


@pytest.fixture
def on_terminal(command_environment: dict[str, str], tmp_path: Path) -> OnTerminal:
    """Runs the real command on a terminal of so many columns."""
    environment = command_environment | {"ECROSS_SERVER_DATA_DIR": str(tmp_path / "data"), "TERM": "xterm"}
    for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):
        environment.pop(name, None)

    def run_command(*arguments: str, columns: int, **variables: str) -> tuple[int, str]:
        ours, its = pty.openpty()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = ForkedProcess(
            [Path(sys.executable).with_name("ecross-server"), *arguments],
            env=environment | variables, stdin=its, stdout=its, stderr=its, start_new_session=True,
        )  # fmt: skip
        os.close(its)
        text = b"".join(_chunks(ours)).decode().replace("\r\n", "\n")
        os.close(ours)
        return process.wait(20), text

    return run_command


def _chunks(descriptor: int) -> Iterator[bytes]:
    while True:
        try:
            yield os.read(descriptor, 65536)
        except OSError:  # how Linux says that the terminal has no other end any more
            return


class TestOnATerminal:
    @pytest.fixture(autouse=True)
    def _listed(self, acme: dict[str, str], cli: Cli) -> None:
        del acme
        cli("merchants", "register", "LONG", "--name", LONG_NAME.strip(), "--no-credentials")
        cli("merchants", "register", "WIDE", "--name", WIDE_NAME, "--no-credentials")

    def test_a_table_that_fits_is_one(self, on_terminal: OnTerminal) -> None:
        code, text = on_terminal("merchants", "list", columns=200)
        assert code == 0
        header, acme, _, wide = text.splitlines()
        assert header.startswith(f"{BOLD}ID")
        # A wide character takes two columns, so two letters less stand before the next cell.
        assert acme.index("active") - len(WIDE_NAME) == wide.index("active")

    def test_no_color_means_none(self, on_terminal: OnTerminal) -> None:
        assert BOLD not in on_terminal("merchants", "list", columns=200, NO_COLOR="1")[1]

    def test_a_table_that_does_not_fit_becomes_lists(self, on_terminal: OnTerminal) -> None:
        code, text = on_terminal("merchants", "list", columns=80)
        assert code == 0
        acme, long, wide = text.rstrip("\n").split("\n\n")
        assert re.fullmatch(r"  id          ACME\n  name        Acme\n  status      active\n  registered  .*Z", acme)
        assert LONG_NAME.strip() in long
        assert WIDE_NAME in wide
        assert BOLD not in text

    def test_credentials_can_be_read_at_80_columns(self, on_terminal: OnTerminal, acme: dict[str, str]) -> None:
        code, text = on_terminal("credentials", "list", columns=80)
        assert code == 0
        assert f"  client id  {acme['clientId']}\n" in text
        assert max(map(len, text.splitlines())) <= 80
        assert acme["clientSecret"] not in text

    def test_the_doctor_can_be_read_at_80_columns(self, on_terminal: OnTerminal) -> None:
        code, text = on_terminal("doctor", columns=80)
        assert code == 0
        assert "setting  ECROSS_SERVER_TOKEN_LIFETIME_SECONDS" in text

    def test_nobody_is_asked_for_the_passphrase_of_a_key(
        self, on_terminal: OnTerminal, tls_files: tuple[Path, Path]
    ) -> None:
        certificate, key_file = tls_files
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        locked = serialization.BestAvailableEncryption(b"passphrase")
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, locked))
        variables = {"ECROSS_SERVER_TLS_CERT_FILE": str(certificate), "ECROSS_SERVER_TLS_KEY_FILE": str(key_file)}
        code, text = on_terminal("doctor", columns=200, **variables)
        assert code == 6
        assert "the key without a passphrase" in text
        assert "Enter" not in text

    def test_json_is_the_same_as_in_a_pipe(self, on_terminal: OnTerminal, cli: Cli) -> None:
        assert on_terminal("merchants", "list", "--json", columns=20) == (0, cli("merchants", "list", "--json").out)


def test_in_a_pipe_nothing_is_cut(cli: Cli, acme: dict[str, str]) -> None:
    name, label = "x" * 200, "y" * 100
    cli("merchants", "register", "M" * 32, "--name", name)
    cli("credentials", "issue", "M" * 32, "--label", label, "--expires-in", "90d")
    assert name in cli("merchants", "list").out
    credentials = cli("credentials", "list").out
    assert len(credentials.splitlines()) == 4
    assert label in credentials
    assert acme["clientId"] in credentials
    assert "\x1b" not in credentials
    assert all(line == line.rstrip() for line in credentials.splitlines())


def test_columns_stand_under_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A", "LONG HEADER", "C"), [("1", "2", "3"), ("wide", None, ""), ("x", "y", "z")], empty="none")
    assert capsys.readouterr().out == (
        "A     LONG HEADER  C\n"
        "1     2            3\n"
        "wide  -            -\n"
        "x     y            z\n"
    )  # fmt: skip


def test_a_table_without_rows_is_its_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("A",), [], empty="There is none.")
    assert capsys.readouterr().out == "There is none.\n"


@pytest.mark.parametrize(
    ("text", "written"),
    [("plain text, São 株", "plain text, São 株"), ("a\x1b[2J", "a\\x1b[2J"), ("a\nb\t", "a\\nb\\t"),
     ("\x9b31m", "\\x9b31m"), ("\u202e", "\\u202e"), ("\udcff", "\\udcff"), ("", "")],
)  # fmt: skip
def test_what_could_disturb_a_terminal_is_written_out(text: str, written: str) -> None:
    assert plain(text) == written


def test_instants_are_shown_to_the_second_in_utc() -> None:
    assert shown(datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)) == "2026-01-02 03:04:05Z"
    assert shown(None) is None


def test_json_moves_no_cursor_and_keeps_what_people_can_read(capsys: pytest.CaptureFixture[str]) -> None:
    content = {"name": "株式会社 é \x9b31m \u202e \U000e0001 \x7f"}
    print_json(content)
    printed = capsys.readouterr().out
    assert "株式会社 é" in printed
    assert all(one.isprintable() for one in printed.replace("\n", ""))
    assert json.loads(printed) == content
