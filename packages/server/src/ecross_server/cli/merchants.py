"""`ecross-server merchants`: the representative registers merchants. There is no other way to register one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ecross_server.approvals.errors import ApprovalNeededError
from ecross_server.approvals.rules import Act
from ecross_server.cli.acting import acting
from ecross_server.cli.hand_overs import HandOver, HandOverExpiresIn, WithCode, print_offer, read_terms
from ecross_server.cli.output import AsJson, print_facts, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database, prepare
from ecross_server.handover.schemas import OfferedMerchantOut, OfferOut
from ecross_server.handover.service import offer_new_client
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants import service
from ecross_server.merchants.rules import MERCHANT_SCOPE, Restrictions
from ecross_server.merchants.schemas import (
    MerchantListOut,
    MerchantOut,
    MerchantWithClientsOut,
    RegisteredMerchantOut,
)
from ecross_server.settings import load_settings

app = typer.Typer(no_args_is_help=True, help="Register merchants, and end or restore their access.")

MerchantId = Annotated[str, typer.Argument(metavar="ID", help="The merchant's id, such as ACME.")]

Scope = Annotated[
    list[str] | None,
    typer.Option(help="What it may do, such as catalog:read; may be repeated. Without it: all of its merchant."),
]
Allow = Annotated[
    list[str] | None,
    typer.Option(metavar="NETWORK", help="From where, such as 198.51.100.0/24; may be repeated. Without it: anywhere."),
]

SHOWN_ONCE = "The secret is shown this once and cannot be read again: hand it over safely."


@app.command()
def register(  # noqa: PLR0913 - an argument is an option
    merchant_id: MerchantId,
    name: Annotated[str, typer.Option(help="The merchant's name.")],
    *,
    no_credentials: Annotated[bool, typer.Option("--no-credentials", help="Issue none now.")] = False,
    scope: Scope = None,
    allow: Allow = None,
    hand_over: HandOver = False,
    hand_over_expires_in: HandOverExpiresIn = None,
    code: WithCode = False,
    as_json: AsJson = False,
) -> None:
    """Register a merchant and issue its first credentials."""
    if hand_over and no_credentials:
        raise InvalidInputError(
            "hand-over and no-credentials exclude each other", (Fault("hand-over", "excludes no-credentials"),)
        )
    if no_credentials and (scope or allow):
        raise InvalidInputError(
            "no-credentials cannot stand beside scope and allow", (Fault("no-credentials", "leaves nothing to limit"),)
        )
    restrictions = restrictions_of(scope, allow)
    configuration = load_settings()
    if configuration.settings.issuing_approval and not no_credentials:
        raise ApprovalNeededError(Act.ISSUE, merchant_id, is_new=True)
    terms = read_terms(configuration.settings, hand_over=hand_over, expires_in=hand_over_expires_in, code=code)
    prepare(configuration.settings)
    with opened_database(configuration) as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        now = utc_now()
        issued = offer = None
        with acting(database, settings) as (session, by):
            out = MerchantOut.of(service.register_merchant(session, merchant_id, name, now=now, by=by))
            if terms is not None:
                offered = offer_new_client(
                    session, merchant_id, terms, peppers=peppers, now=now, by=by, restrictions=restrictions
                )
                offer = OfferOut.of(offered, settings.base_url)
                out = OfferedMerchantOut(**dict(out), **dict(offer))
            elif not no_credentials:
                issued = service.issue_credential(
                    session, merchant_id, peppers=peppers, now=now, by=by, restrictions=restrictions
                )
                out = RegisteredMerchantOut(**dict(out), client_id=issued.client.id, client_secret=issued.client_secret)
    if as_json:
        print_model(out)
        return
    say(f"Registered {out.merchant_id} ({out.name}).")
    if offer is not None:
        print_offer(offer)
    elif issued is None:
        say(f"Issue credentials with: ecross-server credentials issue {out.merchant_id}")
    else:
        say()
        print_facts({"clientId": issued.client.id, "clientSecret": issued.client_secret})
        say()
        say(SHOWN_ONCE)


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all merchants."""
    with opened_database() as (database, _), database.read() as session:
        merchants = service.list_merchants(session)
    if as_json:
        print_model(MerchantListOut(merchants=[MerchantOut.of(merchant) for merchant in merchants]))
        return
    print_table(
        ("ID", "NAME", "STATUS", "REGISTERED"),
        [(merchant.id, merchant.name, merchant.status, shown(merchant.created_at)) for merchant in merchants],
        empty="No merchant is registered. Register one: ecross-server merchants register ACME --name 'Acme'",
    )


@app.command()
def show(merchant_id: MerchantId, *, as_json: AsJson = False) -> None:
    """Show a merchant with its clients."""
    with opened_database() as (database, _), database.read() as session:
        merchant, clients = service.show_merchant(session, merchant_id)
        out = MerchantWithClientsOut.with_clients(merchant, clients, utc_now())
    if as_json:
        print_model(out)
        return
    print_facts({
        "id": out.merchant_id, "name": out.name, "status": out.status, "registered": shown(out.created_at),
    })  # fmt: skip
    say()
    print_table(
        ("CLIENT ID", "STATUS", "SCOPE", "FROM", "ISSUED", "SECRETS"),
        [
            (
                client.client_id,
                client.status,
                client.scope,
                shown_networks(client.allowed_networks),
                shown(client.created_at),
                ", ".join(f"{secret.secret_id} {secret.status}" for secret in client.secrets),
            )
            for client in out.clients
        ],
        empty=f"No clients. Issue one: ecross-server credentials issue {out.merchant_id}",
    )


@app.command()
def disable(merchant_id: MerchantId, *, as_json: AsJson = False) -> None:
    """End a merchant's access: no new tokens within 2 seconds, none of the old ones works within 5."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        merchant = service.disable_merchant(session, merchant_id, by=by)
    if as_json:
        print_model(MerchantOut.of(merchant))
    else:
        say(f"Disabled {merchant.id}. Its tokens stop working within 5 seconds.")


@app.command()
def enable(merchant_id: MerchantId, *, as_json: AsJson = False) -> None:
    """Let a disabled merchant ask for tokens again; tokens from before stay dead."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        merchant = service.enable_merchant(session, merchant_id, by=by)
    if as_json:
        print_model(MerchantOut.of(merchant))
    else:
        say(f"Enabled {merchant.id}. It can ask for new tokens within 2 seconds; its old ones stay dead.")


def restrictions_of(scope: list[str] | None, allow: list[str] | None) -> Restrictions:
    """What the options say of a new client."""
    return Restrictions(" ".join(scope) if scope else MERCHANT_SCOPE, allow or None)


def shown_networks(networks: Sequence[str] | None) -> str:
    """A client's networks for people."""
    return "anywhere" if networks is None else " ".join(networks)
