"""`ecross-server audit`: who did what, every token issued and every failure; and whether anybody has changed that."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterable
from typing import Annotated, Any, Final

import typer

from ecross_server.audit import service
from ecross_server.audit.schemas import record_out, verdict_out
from ecross_server.audit.service import Record, RecordFilter, Verdict
from ecross_server.cli.acting import audit_keys
from ecross_server.cli.doctor import CHECK_FAILED
from ecross_server.cli.output import AsJson, print_json, print_table, say
from ecross_server.cli.setup import opened_database

LINES: Final = 500
"""So many records are printed at once."""

app = typer.Typer(no_args_is_help=True, help="Read and check the audit trail.")

Since = Annotated[str | None, typer.Option(help="Only from then on, such as 2026-11-25T00:00:00Z.")]
MerchantId = Annotated[str | None, typer.Option("--merchant", help="Only this merchant's.")]
ClientId = Annotated[str | None, typer.Option("--client", help="Only this client's.")]
Action = Annotated[str | None, typer.Option(help="Only these acts, such as token.issue.")]
Outcome = Annotated[str | None, typer.Option(help="Only what ended so, such as invalid_client.")]


@app.command("list")
def list_(
    *,
    since: Since = None,
    merchant_id: MerchantId = None,
    client_id: ClientId = None,
    action: Action = None,
    outcome: Outcome = None,
    limit: Annotated[int, typer.Option(min=1, help="No more than the newest so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List records, the newest last."""
    chosen = RecordFilter(service.read_since(since), merchant_id, client_id, action, outcome)
    with opened_database() as (database, _), database.read() as session:
        records = service.list_records(session, chosen, limit)
        if as_json:
            _print_in_one(records)
            return
        rows = [_row(record_out(record)) for record in records]
    print_table(
        ("SEQ", "AT", "ACTOR", "ACTION", "MERCHANT", "CLIENT ID", "OUTCOME", "COUNT", "ADDRESS", "DETAILS"),
        rows,
        empty="No records.",
    )


@app.command()
def export(
    *,
    since: Since = None,
    merchant_id: MerchantId = None,
    client_id: ClientId = None,
    action: Action = None,
    outcome: Outcome = None,
    as_json: AsJson = False,
) -> None:
    """Print records as JSON Lines, the newest last."""
    del as_json  # it is JSON in any case
    chosen = RecordFilter(service.read_since(since), merchant_id, client_id, action, outcome)
    with opened_database() as (database, _), database.read() as session:
        lines = (_json(record) for record in service.list_records(session, chosen))
        while some := list(itertools.islice(lines, LINES)):
            say("\n".join(some))


@app.command()
def verify(*, as_json: AsJson = False) -> None:
    """Check that no record was changed, added or removed since it was written."""
    with opened_database() as (database, settings):
        keys = audit_keys(settings.peppers_file)
        witness = service.read_witness(settings.audit_witness_file)
        with database.read() as session:
            verdict = service.verify(session, keys, witness)
    if as_json:
        print_json(verdict_out(verdict))
    else:
        for sentence in _sentences(verdict):
            say(sentence)
    if not verdict.is_ok:
        raise typer.Exit(CHECK_FAILED)


def _sentences(verdict: Verdict) -> Iterable[str]:
    if verdict.is_ok:
        yield f"The audit trail is as it was written: {_counted(verdict.count)}."
    else:
        yield f"The audit trail is NOT as it was written, from record {verdict.first_bad} on: {verdict.reason}."
    if verdict.pruned_through:
        yield f"Pruned through record {verdict.pruned_through}, as the retention says."
    if verdict.missing_keys:
        peppers = ", ".join(verdict.missing_keys)
        yield f"Not checked, for want of the peppers {peppers}: {_counted(verdict.unchecked)}."
    if not verdict.has_witness:
        yield "This machine has no witness yet, so an older state of the whole database would not show."


def _counted(count: int) -> str:
    return f"{count:,} {'record' if count == 1 else 'records'}"


def _print_in_one(records: Iterable[Record]) -> None:
    """The one JSON object, a record at a time: there may be more of them than fit into memory."""
    say('{"records": [')
    comma = ""
    for record in records:
        say(f"{comma}{_json(record)}")
        comma = ", "
    say("]}")


def _json(record: Record) -> str:
    is_utf8 = sys.stdout.encoding.lower() == "utf-8"
    return json.dumps(record_out(record), ensure_ascii=not is_utf8)


def _row(out: dict[str, Any]) -> tuple[str | None, ...]:
    told = [f"{name} {value}" for name, value in (out["details"] or {}).items()]
    return (
        str(out["seq"]), out["at"], out["actor"], out["action"], out["merchantId"], out["clientId"], out["outcome"],
        str(out["count"]), out["address"], ", ".join(told) or None,
    )  # fmt: skip
