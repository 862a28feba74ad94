"""`ecross-server peppers`: the keys under which client secrets are digested."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server.cli.acting import acting_on_file, operator, tell_witness
from ecross_server.cli.keys import After
from ecross_server.cli.output import AsJson, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.merchants import service
from ecross_server.merchants.rules import parse_delay
from ecross_server.merchants.schemas import PepperListOut, PepperOut

app = typer.Typer(
    no_args_is_help=True, help="List, rotate and retire the keys under which client secrets are digested."
)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the peppers, and how many live secrets and operators' passwords are kept under each."""
    with opened_database() as (database, settings), database.read() as session:
        peppers = service.list_peppers(session, settings.peppers_file, now=utc_now())
    if as_json:
        print_model(PepperListOut(peppers=[PepperOut.of(pepper) for pepper in peppers]))
        return
    print_table(
        ("PEPPER", "STATUS", "CREATED", "USED FROM", "SECRETS", "OPERATORS"),
        [
            (
                pepper.pepper_id, pepper.status, shown(pepper.created_at),
                shown(pepper.starts_at or pepper.created_at), str(pepper.secrets), str(pepper.operators),
            )
            for pepper in peppers
        ],
        empty="",
    )  # fmt: skip


@app.command()
def rotate(*, after: After = None, as_json: AsJson = False) -> None:
    """Keep secrets under a new pepper: each comes under it at its next use, and nobody is asked for anything."""
    delay = parse_delay("after", after)
    with opened_database() as (database, settings), acting_on_file(database, settings, "peppers.rotate") as begin:
        pepper = service.rotate_peppers(
            settings.peppers_file, now=utc_now(), starts_in=delay, before=lambda pepper_id: begin(pepperId=pepper_id)
        )
    if as_json:
        print_model(PepperOut.of(pepper))
        return
    say(
        f"The pepper {pepper.pepper_id} is used from {shown(pepper.starts_at)} on."
        if delay
        else f"The pepper {pepper.pepper_id} is used now."
    )
    say("Secrets come under it at their next use. See how many are left: ecross-server peppers list")
    say(f"On another machine, {settings.peppers_file} has to be brought there.")


@app.command()
def retire(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `peppers list` shows it.")],
    *,
    force: Annotated[bool, typer.Option("--force", help="Revoke the secrets that are still kept under it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a pepper for good, once no live secret is kept under it."""
    with opened_database() as (database, settings):
        by = operator(settings.peppers_file)
        pepper = service.retire_pepper(database, settings.peppers_file, id_, now=utc_now(), by=by, force=force)
        tell_witness(database, settings)
    if as_json:
        print_model(PepperOut.of(pepper))
        return
    say(f"Retired the pepper {pepper.pepper_id}.")
    if pepper.secrets:
        say(f"Revoked {pepper.secrets} secret{'s' if pepper.secrets > 1 else ''} that only it could check.")
    if pepper.operators:
        say(f"To be invited again: {pepper.operators} operator{'s' if pepper.operators > 1 else ''}.")
