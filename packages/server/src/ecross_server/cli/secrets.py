"""`ecross-server secrets`: finds this server's client secrets in any text, such as a repository's history or a log."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable, Iterator
from typing import IO, Final, NamedTuple

import typer

from ecross_server.cli.doctor import CHECK_FAILED
from ecross_server.cli.output import AsJson, say
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants import service
from ecross_server.merchants.rules import SECRET_BYTES, SECRET_IN_BYTES, Peppers, is_client_secret

CHUNK: Final = 1024 * 1024
BATCH: Final = 500
"""So many are looked up at once."""

app = typer.Typer(no_args_is_help=True, help="Find client secrets where they do not belong.")


class Sighting(NamedTuple):
    """A text of a secret's form whose check characters fit, and where it begins: line and byte of the line, from 1."""

    line: int
    column: int
    text: str

    def __repr__(self) -> str:
        return f"Sighting(line={self.line}, column={self.column})"


class Finding(NamedTuple):
    """What is known of one."""

    sighting: Sighting
    known: service.RecognizedSecret | None


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Read any text from standard input; tell which secrets in it are ours, and alive."""
    if sys.stdin is None:
        raise InvalidInputError("There is no standard input to read.")
    with opened_database() as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        findings = look_up(database, peppers, sightings(sys.stdin.buffer))
        live = print_json_findings(findings) if as_json else print_findings(findings)
    if live:
        raise typer.Exit(CHECK_FAILED)


def sightings(stream: IO[bytes]) -> Iterator[Sighting]:
    """All that may be secrets, in their order. However long the text and its lines are, little of it is kept."""
    line, column, rest = 1, 1, b""
    while chunk := stream.read(CHUNK):
        text = rest + chunk
        done = end = 0
        for match in SECRET_IN_BYTES.finditer(text):
            line, column = _place(line, column, text[done : match.start()])
            done, end = match.span()
            candidate = match[0].decode("ascii")
            if is_client_secret(candidate):
                yield Sighting(line, column, candidate)
        # A secret may begin in the last bytes and end in the next chunk; one that was seen is not seen again.
        kept_from = max(len(text) - SECRET_BYTES + 1, end)
        line, column = _place(line, column, text[done:kept_from])
        rest = text[kept_from:]


def _place(line: int, column: int, passed: bytes) -> tuple[int, int]:
    ends = passed.count(b"\n")
    return (line + ends, len(passed) - passed.rindex(b"\n")) if ends else (line, column + len(passed))


def look_up(database: Database, peppers: Peppers, found: Iterable[Sighting]) -> Iterator[Finding]:
    """What is known of each. No transaction is open while the text is waited for."""
    found = iter(found)
    while batch := list(itertools.islice(found, BATCH)):
        with database.read() as session:
            known = service.recognize_secrets(session, {each.text for each in batch}, peppers=peppers, now=utc_now())
        for sighting in batch:
            yield Finding(sighting, known.get(sighting.text))


def print_json_findings(findings: Iterable[Finding]) -> int:
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


def print_findings(findings: Iterable[Finding]) -> int:
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
