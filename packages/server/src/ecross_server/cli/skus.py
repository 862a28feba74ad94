"""`ecross-server skus`: fills a merchant's catalog from a file."""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, Final

import typer

from ecross_server.audit.service import record_act
from ecross_server.catalog import service
from ecross_server.catalog.rules import SkuDraft
from ecross_server.catalog.schemas import read_sku
from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_json, say, warn
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import Fault, InvalidInputError, UnavailableError
from ecross_server.merchants import service as merchants
from ecross_server.settings import Settings

IMPORT: Final = "skus.import"
BATCH: Final = 500
LONGEST_LINE: Final = 4 * 1024 * 1024
ROOM: Final = 8
"""For a byte order mark and the end of the line."""

STANDARD_INPUT: Final = "-"
REFUSED: Final = 4
"""The exit code where some lines were refused."""

TOO_LONG: Final = InvalidInputError("too long", (Fault("", f"longer than {LONGEST_LINE} bytes"),))

app = typer.Typer(no_args_is_help=True, help="Fill a merchant's catalog.")


class UnreadableFileError(UnavailableError):
    """The file to import cannot be read."""

    code = "unreadable_file"


@app.command("import")
def import_(
    merchant_id: Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id, such as ACME.")],
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="JSON Lines, a SKU of the API on each; - for standard input.")
    ],
    *,
    as_json: AsJson = False,
) -> None:
    """Add or update a merchant's SKUs. Good lines are kept though others are refused."""
    with opened_database() as (database, settings):
        with database.read() as session:
            merchants.show_merchant(session, merchant_id)
        try:
            with _opened(file) as lines:
                imported, refused = import_skus(database, settings, merchant_id, lines)
        except OSError as error:
            raise UnreadableFileError(f"The file {file} cannot be read: {error.strerror}.") from None
    if as_json:
        print_json({"imported": imported, "refused": refused})
    else:
        say(f"Imported {imported} {'SKU' if imported == 1 else 'SKUs'} of {merchant_id}.")
        for row in refused:
            listed = "; ".join(
                f"{fault['path']}: {fault['message']}" if fault["path"] else fault["message"] for fault in row["errors"]
            )
            warn(f"line {row['line']} refused: {listed}")
    if refused:
        raise typer.Exit(REFUSED)


def import_skus(
    database: Database, settings: Settings, merchant_id: str, lines: IO[bytes]
) -> tuple[int, list[dict[str, Any]]]:
    """Save every good line's SKU; how many there were, and each refused line with its faults."""
    imported = 0
    refused: list[dict[str, Any]] = []
    batch: list[SkuDraft] = []

    def save() -> None:
        nonlocal imported
        with acting(database, settings) as (session, by):
            now = utc_now()
            service.save_skus(session, merchant_id, batch, now=now)
            record_act(session, actor=by, action=IMPORT, merchant_id=merchant_id, now=now, count=len(batch))
        imported += len(batch)
        batch.clear()

    for number, line in _numbered(lines):
        try:
            if len(line.rstrip(b"\r\n")) > LONGEST_LINE:
                raise TOO_LONG
            batch.append(read_sku(line))
        except InvalidInputError as error:
            faults = [{"path": fault.path, "message": fault.message} for fault in error.faults]
            refused.append({"line": number, "errors": faults})
        if len(batch) == BATCH:
            save()
    if batch:
        save()
    return imported, refused


def _opened(file: str) -> IO[bytes]:
    if file != STANDARD_INPUT:
        return Path(file).open("rb")
    if sys.stdin is None:  # closed by the caller: its number may be another file's by now
        raise UnreadableFileError("Standard input is closed.")
    return sys.stdin.buffer


def _numbered(lines: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Each line that is not blank; of one that is too long, only as much as shows that it is."""
    number = 0
    while line := lines.readline(LONGEST_LINE + ROOM):
        number += 1
        if number == 1:
            line = line.removeprefix(codecs.BOM_UTF8)  # some programs begin every file with it
        rest = line
        while rest and not rest.endswith(b"\n"):
            rest = lines.readline(LONGEST_LINE)
        if line.strip():
            yield number, line
