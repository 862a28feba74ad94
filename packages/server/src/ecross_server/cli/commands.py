"""All commands of `ecross-server`, and the form in which they fail."""

from __future__ import annotations

import traceback
from importlib.metadata import version
from typing import Annotated, Any, Final

import typer

from ecross_server import migrations
from ecross_server.cli import (
    audit,
    backup,
    channels,
    credentials,
    doctor,
    inventory,
    jobs,
    keys,
    merchants,
    peppers,
    reviews,
    serve,
    skus,
    warehouses,
)
from ecross_server.cli.output import AsJson, print_error, print_json, say, warn
from ecross_server.cli.setup import prepare
from ecross_server.kit.errors import ConflictError, DomainError, InvalidInputError, NotFoundError, UnavailableError
from ecross_server.kit.logs import redact
from ecross_server.settings import Settings, load_settings

OUR_BUG: Final = 1
USAGE: Final = 2
EXIT_CODES: Final[tuple[tuple[type[DomainError], int], ...]] = (
    (InvalidInputError, USAGE),
    (NotFoundError, 3),
    (ConflictError, 4),
    (UnavailableError, 5),
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The e-CROSS Merchant Integration API: serve it, and manage its merchants.",
    epilog="Exit codes: 0 done, 1 our bug, 2 usage, 3 not found, 4 refused or conflict, 5 a dependency is away, "
    "6 a check failed, 130 interrupted.",
)
app.command()(serve.serve)
app.add_typer(merchants.app, name="merchants")
app.add_typer(credentials.app, name="credentials")
app.add_typer(keys.app, name="keys")
app.add_typer(peppers.app, name="peppers")
app.add_typer(skus.app, name="skus")
app.add_typer(warehouses.app, name="warehouses")
app.add_typer(inventory.app, name="inventory")
app.add_typer(channels.app, name="channels")
app.add_typer(reviews.app, name="reviews")
app.add_typer(audit.app, name="audit")
app.add_typer(jobs.app, name="jobs")
app.command()(doctor.doctor)
app.command()(backup.backup)
app.command()(backup.restore)


@app.command()
def migrate(*, as_json: AsJson = False) -> None:
    """Bring the database to this version's schema; on an empty data folder, make all that it needs."""
    prepare(load_settings().settings)
    if as_json:
        print_json({"revision": migrations.REVISIONS[-1]})
    else:
        say(f"The database is at revision {migrations.REVISIONS[-1]}.")


@app.command()
def openapi(*, as_json: AsJson = False) -> None:
    """Print the OpenAPI document of the whole server."""
    from ecross_server.app.assembly import make_api
    from ecross_server.app.documentation import openapi_document

    del as_json  # it is JSON in any case
    print_json(openapi_document(make_api(Settings())))


def _print_version(asked: bool) -> None:  # noqa: FBT001 - Typer's way of calling
    if asked:
        say(f"ecross-server {version('ecross-server')}")
        raise typer.Exit


@app.callback()
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
    return int(app(arguments, prog_name="ecross-server", standalone_mode=False) or 0)


def _report_bug(trace: str, *, as_json: bool) -> int:
    details: dict[str, Any] = {"traceback": trace} if as_json else {}
    if not as_json:
        warn(trace)
    print_error(
        "bug", "This is a bug in ecross-server; please report it with its traceback.", as_json=as_json, **details
    )
    return OUR_BUG
