"""`ecross-server secrets`: finds this server's client secrets in any text, such as a repository's history or a log."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import typer

from ecross_server.cli.doctor import CHECK_FAILED
from ecross_server.cli.output import AsJson, say
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants import service
from ecross_server.merchants.rules import sightings

app = typer.Typer(no_args_is_help=True, help="Find client secrets where they do not belong.")


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Read any text from standard input; tell which secrets in it are ours, and alive."""
    if sys.stdin is None:
        raise InvalidInputError("There is no standard input to read.")
    with opened_database() as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        findings = service.look_up_secrets(database, peppers, sightings(sys.stdin.buffer), now=utc_now)
        live = print_json_findings(findings) if as_json else print_findings(findings)
    if live:
        raise typer.Exit(CHECK_FAILED)


def print_json_findings(findings: Iterable[service.Finding]) -> int:
    """Print the one JSON object, a finding at a time; how many are alive."""
    say('{"findings": [')
    live, comma = 0, ""
    for (line, column, _), known in findings:
        is_live = known is not None and known.is_live
        live += is_live
        row = {
            "line": line, "column": column, "ours": known is not None, "live": is_live,
            "clientId": known and known.client_id, "secretId": known and known.secret_id,
        }  # fmt: skip
        say(f"{comma}{json.dumps(row)}")
        comma = ", "
    say("]}")
    return live


def print_findings(findings: Iterable[service.Finding]) -> int:
    """Print a sentence for each finding, without the secret; how many are alive."""
    count = live = 0
    for count, ((line, column, _), known) in enumerate(findings, 1):  # noqa: B007 - used after the loop
        place = f"line {line}, byte {column}:"
        if known is None:
            say(f"{place} a client secret, but none of this server's")
            continue
        live += known.is_live
        say(f"{place} {known.secret_id} of {known.client_id}, {'ALIVE' if known.is_live else 'which opens nothing'}")
        if known.is_live:
            say(f"  End it: ecross-server credentials leaked {known.client_id} {known.secret_id}")
    say(f"Client secrets found: {count}, alive: {live}.")
    return live
