"""What the command says of itself."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import pytest
from typer.main import get_command

from ecross.cli.commands import app

Cli = Callable[..., Any]
RunCli = Callable[..., subprocess.CompletedProcess[bytes]]


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    yield path, command
    for name, inner in getattr(command, "commands", {}).items():
        yield from walk(inner, (*path, name))


COMMANDS = dict(walk(get_command(app)))
GROUPS: list[tuple[str, ...]] = [(), ("catalog",), ("stock",), ("skus",), ("products",), ("inventory",)]
LEAVES = [path for path in COMMANDS if path not in GROUPS]


def test_the_commands_are_those_of_the_interface() -> None:
    assert {path for path, command in COMMANDS.items() if hasattr(command, "commands")} == set(GROUPS)
    assert set(LEAVES) == {
        ("login",), ("redeem",), ("logout",), ("token",), ("whoami",), ("doctor",), ("skus", "list"), ("api",),
        ("products", "get"), ("inventory", "list"), ("inventory", "set"), ("catalog", "push"), ("stock", "push"),
    }  # fmt: skip


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
    assert "..." not in ended.out.replace("Bearer ...", "").replace("[ARGS]...", ""), "a sentence is cut off"
    words = " ".join(ended.out.split())
    assert " ".join(command.help.split()) in words
    for parameter in command.params:
        assert " ".join(parameter.help.split()) in words


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_can_answer_programs_and_use_any_profile(path: tuple[str, ...]) -> None:
    assert {"--json", "--profile"} <= {option for p in COMMANDS[path].params for option in p.opts}


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_no_command_takes_a_secret_as_argument(path: tuple[str, ...]) -> None:
    for parameter in COMMANDS[path].params:
        names = " ".join([parameter.name, *parameter.opts, str(parameter.metavar)]).lower()
        assert not any(word in names for word in ("password", "key"))
        assert getattr(parameter, "is_flag", False) or not any(word in names for word in ("secret", "token"))


def test_the_exit_codes_are_told(cli: Cli) -> None:
    words = " ".join(cli("--help").out.split())
    assert (
        "Exit codes: 0 done, 1 our bug, 2 usage, 3 wrong or missing credentials, 4 rate limited, 5 unreachable, "
        "6 refused by the API, 130 interrupted."
    ) in words


@pytest.mark.parametrize("path", GROUPS, ids=" ".join)
def test_without_a_command_the_help_is_shown(cli: Cli, path: tuple[str, ...]) -> None:
    ended = cli(*path)
    assert ended.code == 2
    assert "Usage: ecross" in ended.out + ended.err
    assert "error:" not in ended.err


def test_the_version_is_printed(cli: Cli) -> None:
    assert cli("--version").out == f"ecross {version('ecross')}\n"


def test_a_shell_completes_the_commands(run_cli: RunCli) -> None:
    ended = run_cli(_ECROSS_COMPLETE="complete_bash", COMP_WORDS="ecross sk", COMP_CWORD="1")
    assert (ended.returncode, ended.stdout.split(), ended.stderr) == (0, [b"skus"], b"")
