"""All commands of `ecross-server`, and the form in which they fail."""

from __future__ import annotations

import traceback
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from ecross_server.cli.output import print_error, say, warn
from ecross_server.kit.errors import ConflictError, DomainError, InvalidInputError, NotFoundError, UnavailableError
from ecross_server.kit.logs import redact

OUR_BUG: Final = 1
USAGE: Final = 2
EXIT_CODES: Final[tuple[tuple[type[DomainError], int], ...]] = (
    (InvalidInputError, USAGE),
    (NotFoundError, 3),
    (ConflictError, 4),
    (UnavailableError, 5),
)

COMMANDS: Final = {
    "serve": "serve", "merchants": "", "credentials": "", "approvals": "", "hand-overs": "", "secrets": "", "keys": "",
    "peppers": "", "skus": "", "warehouses": "", "inventory": "", "channels": "", "reviews": "", "operators": "",
    "audit": "", "jobs": "", "doctor": "doctor", "backup": "backup", "restore": "backup", "migrate": "schema",
    "openapi": "schema",
}  # fmt: skip
"""All that may stand first, in the order of the help, and the module it stands in; a group's is named as the group."""


def make_app(first: str = "") -> typer.Typer:
    """The command line; if `first` is a command, with it alone: to import what all need takes longer than most work."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
        help="The e-CROSS Merchant Integration API: serve it, and manage its merchants.",
        epilog="Exit codes: 0 done, 1 our bug, 2 usage, 3 not found, 4 refused or conflict, 5 a dependency is away, "
        "6 a check failed, 130 interrupted.",
    )
    app.callback()(options)
    for name in [first] if first in COMMANDS else () if first == "--version" else COMMANDS:
        if module := COMMANDS[name]:
            app.command(name)(getattr(import_module(f"ecross_server.cli.{module}"), name))
        else:
            app.add_typer(import_module(f"ecross_server.cli.{name.replace('-', '_')}").app, name=name)
    return app


def _print_version(asked: bool) -> None:  # noqa: FBT001 - Typer's way of calling
    if asked:
        from importlib.metadata import version

        say(f"ecross-server {version('ecross-server')}")
        raise typer.Exit


def options(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """What stands before a command."""


def run_command(arguments: list[str]) -> int:
    """Run one command; the exit code."""
    as_json = "--json" in arguments
    try:
        return _call(arguments)
    except typer.TyperException as error:
        if message := error.format_message():
            print_error("usage", message, as_json=as_json)
        return USAGE
    except DomainError as error:
        faults = error.faults if isinstance(error, InvalidInputError) else ()
        details = {"errors": [{"path": fault.path, "message": fault.message} for fault in faults]} if faults else {}
        print_error(error.code, error.message, as_json=as_json, **details)
        return next(code for kind, code in EXIT_CODES if isinstance(error, kind))
    except SystemExit:  # Typer's way to say that the reader of our output has gone
        return 0
    except Exception:  # noqa: BLE001 - the last place where a bug can be told from an ending
        return _report_bug(redact(traceback.format_exc()), as_json=as_json)


def _call(arguments: list[str]) -> int:
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        raise typer.TyperException("The arguments must be UTF-8.") from None
    app = make_app(arguments[0] if arguments else "")
    return int(app(arguments, prog_name="ecross-server", standalone_mode=False) or 0)


def _report_bug(trace: str, *, as_json: bool) -> int:
    details: dict[str, Any] = {"traceback": trace} if as_json else {}
    if not as_json:
        warn(trace)
    print_error(
        "bug", "This is a bug in ecross-server; please report it with its traceback.", as_json=as_json, **details
    )
    return OUR_BUG
