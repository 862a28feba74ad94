"""`ecross-server credentials`: the clients of a merchant and their secrets."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server.cli.acting import acting
from ecross_server.cli.merchants import SHOWN_ONCE
from ecross_server.cli.output import AsJson, print_facts, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.merchants import service
from ecross_server.merchants.rules import parse_duration
from ecross_server.merchants.schemas import ClientOut, CredentialListOut, IssuedCredentialOut

app = typer.Typer(no_args_is_help=True, help="Issue, list and revoke a merchant's credentials.")


@app.command()
def issue(
    merchant_id: Annotated[str, typer.Argument(metavar="ID", help="The merchant's id, such as ACME.")],
    *,
    label: Annotated[str | None, typer.Option(help="What it is for, such as 'ERP'.")] = None,
    expires_in: Annotated[str | None, typer.Option(help="How long it lasts: 12h, 90d. Without it: for good.")] = None,
    as_json: AsJson = False,
) -> None:
    """Issue a new client with its own secret."""
    lasts = None if expires_in is None else parse_duration("expires-in", expires_in)
    with opened_database() as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        with acting(database, settings) as (session, by):
            issued = service.issue_credential(
                session, merchant_id, peppers=peppers, now=utc_now(), by=by, label=label, expires_in=lasts
            )
    if as_json:
        print_model(IssuedCredentialOut.of(issued))
        return
    say(f"Issued a new client of {merchant_id}.")
    say()
    print_facts({
        "clientId": issued.client.id,
        "clientSecret": issued.client_secret,
        "label": issued.secret.label,
        "expires": shown(issued.secret.expires_at) or "never",
    })  # fmt: skip
    say()
    say(SHOWN_ONCE)


@app.command("list")
def list_(
    merchant_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this merchant's.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List credentials, without their secrets, which nobody can read."""
    now = utc_now()
    with opened_database() as (database, _), database.read() as session:
        clients = [ClientOut.of(client, now) for client in service.list_credentials(session, merchant_id)]
    if as_json:
        print_model(CredentialListOut(credentials=clients))
        return
    rows = [
        (
            client.merchant_id, client.client_id, secret.secret_id, secret.label, secret.status,
            shown(secret.created_at), shown(secret.expires_at) or "never", shown(secret.last_used_at),
        )
        for client in clients
        for secret in client.secrets
    ]  # fmt: skip
    print_table(
        ("MERCHANT", "CLIENT ID", "SECRET", "LABEL", "STATUS", "ISSUED", "EXPIRES", "LAST USED"),
        rows,
        empty="No credentials. Issue some: ecross-server credentials issue ACME",
    )


@app.command()
def revoke(
    client_id: Annotated[str, typer.Argument(metavar="CLIENT_ID", help="As `credentials list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """End a client for good: no new tokens within 2 seconds, none of the old ones works within 5."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        out = ClientOut.of(service.revoke_client(session, client_id, by=by), utc_now())
    if as_json:
        print_model(out)
    else:
        say(f"Revoked {out.client_id}. Its tokens stop working within 5 seconds.")
