"""What the command says of itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.main import get_command

from ecross_server.cli.commands import EXIT_CODES, make_app

Cli = Callable[..., Any]


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(get_command(make_app())))


def test_the_commands_are_those_of_the_interface() -> None:
    groups = {path for path, command in COMMANDS.items() if hasattr(command, "commands")}
    named = [
        "merchants", "credentials", "approvals", "hand-overs", "secrets", "keys", "peppers", "skus", "warehouses",
        "inventory", "channels", "reviews", "operators", "audit", "jobs",
    ]  # fmt: skip
    assert groups == {(), *((name,) for name in named)}
    assert set(COMMANDS) - groups == {
        ("serve",), ("migrate",), ("doctor",), ("openapi",), ("backup",), ("restore",),
        *(("merchants", verb) for verb in ("register", "list", "show", "disable", "enable")),
        *(("credentials", verb) for verb in (
            "issue", "list", "revoke", "limit", "suggest", "rotate", "cancel-rotation", "meter", "retire", "leaked",
        )),
        *(("approvals", verb) for verb in ("ask", "list", "show", "grant", "refuse")),
        ("secrets", "check"),
        *(("hand-overs", verb) for verb in ("list", "show", "cancel")),
        *(("keys", verb) for verb in ("list", "rotate", "export")),
        *(("peppers", verb) for verb in ("list", "rotate", "retire")),
        ("skus", "import"),
        *(("warehouses", verb) for verb in ("add", "change", "list")),
        ("inventory", "set"),
        *(("channels", verb) for verb in ("add", "list", "connect", "disconnect", "refresh")),
        *(("reviews", verb) for verb in ("list", "show", "approve", "deny", "recheck")),
        *(("operators", verb) for verb in (
            "add", "reinvite", "enroll", "list", "show", "role", "disable", "enable", "sessions", "sign-out", "token",
            "passkeys", "remove-passkey",
        )),
        *(("audit", verb) for verb in ("list", "verify", "export")),
        *(("jobs", verb) for verb in ("list", "replay", "discard")),
    }  # fmt: skip


@pytest.mark.parametrize(("first", "group"), [("merchants", {"ecross_server.cli.merchants"}), ("--version", set())])
def test_a_command_does_not_load_what_others_need(first: str, group: set[str]) -> None:
    script = f"import sys; from ecross_server.cli.commands import make_app; make_app({first!r}); print(*sys.modules)"
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert {"ecross_server.cli.merchants", "ecross_server.cli.inventory"} & set(shown) == group
    assert not {"alembic", "fastapi", "uvicorn"} & set(shown)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_and_every_parameter_has_help_that_fits_a_terminal(cli: Cli, path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert command.help
    for parameter in command.params:
        assert parameter.help, parameter.name
    ended = cli(*path, "-h")
    assert (ended.code, ended.err) == (0, "")
    assert cli(*path, "--help").out == ended.out
    assert max(map(len, ended.out.splitlines())) <= 80
    words = " ".join(ended.out.replace("│", " ").split())
    assert " ".join(command.help.split()) in words
    for parameter in command.params:
        assert " ".join(parameter.help.split()) in words, "a part of it was taken for a markup"


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_can_answer_programs(path: tuple[str, ...]) -> None:
    command = COMMANDS[path]
    assert hasattr(command, "commands") or "--json" in {option for p in command.params for option in p.opts}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_command_takes_a_secret_as_argument(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        names = " ".join([parameter.name, *parameter.opts, *parameter.secondary_opts, str(parameter.metavar)]).lower()
        names = names.replace("secret_id", "").replace("passkey_id", "")  # a name, not what it names
        for word in ("secret", "password", "token", "pepper", "key", "url"):
            assert word not in names


def test_the_exit_codes_are_told(cli: Cli) -> None:
    words = " ".join(cli("--help").out.split())
    assert (
        "Exit codes: 0 done, 1 our bug, 2 usage, 3 not found, 4 refused or conflict, 5 a dependency is away, "
        "6 a check failed, 130 interrupted."
    ) in words
    assert [code for _, code in EXIT_CODES] == [2, 3, 4, 5]


@pytest.mark.parametrize("path", [(), ("merchants",), ("credentials",), ("skus",)])
def test_without_a_command_the_help_is_shown(cli: Cli, path: tuple[str, ...]) -> None:
    ended = cli(*path)
    assert ended.code == 2
    assert "Usage: ecross-server" in ended.out + ended.err
    assert "error:" not in ended.err


def test_the_version_is_printed(cli: Cli) -> None:
    ended = cli("--version")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("ecross-server 0.")
