"""`ecross-server credentials`: the clients of a merchant and their secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Annotated

import typer

from ecross_server.approvals.rules import Act
from ecross_server.approvals.service import FindSubject, for_client, for_merchant
from ecross_server.cli.acting import acting, issuing
from ecross_server.cli.hand_overs import HandOver, HandOverExpiresIn, WithCode, print_offer, read_terms
from ecross_server.cli.merchants import SHOWN_ONCE, Allow, Scope, restrictions_of, shown_networks
from ecross_server.cli.output import AsJson, print_facts, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.handover.schemas import OfferedCredentialOut, OfferOut
from ecross_server.handover.service import OfferedLink, Terms, offer_new_client, offer_second_secret
from ecross_server.kit.clock import parse_instant, utc_now
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants import restrictions, rotation, service
from ecross_server.merchants.rules import MOST_NETWORKS, parse_duration
from ecross_server.merchants.schemas import (
    ClientOut,
    CredentialListOut,
    IssuedCredentialOut,
    LeakReceiptOut,
    MeterOut,
    RestrictionOut,
    RetirementOut,
    RotatedCredentialOut,
    SecretUsesOut,
    SuggestionOut,
    listed,
)
from ecross_server.merchants.uses import read_meter
from ecross_server.settings import Configuration, load_settings

app = typer.Typer(no_args_is_help=True, help="Issue, list, rotate and revoke a merchant's credentials.")

ClientId = Annotated[str, typer.Argument(metavar="CLIENT_ID", help="As `credentials list` shows it.")]
Label = Annotated[str | None, typer.Option(help="What it is for, such as 'ERP'.")]


@app.command()
def issue(  # noqa: PLR0913 - an argument is an option
    merchant_id: Annotated[str, typer.Argument(metavar="ID", help="The merchant's id, such as ACME.")],
    *,
    label: Label = None,
    expires_in: Annotated[str | None, typer.Option(help="How long it lasts: 12h, 90d. Without it: for good.")] = None,
    scope: Scope = None,
    allow: Allow = None,
    hand_over: HandOver = False,
    hand_over_expires_in: HandOverExpiresIn = None,
    code: WithCode = False,
    as_json: AsJson = False,
) -> None:
    """Issue a new client with its own secret."""
    lasts = None if expires_in is None else parse_duration("expires-in", expires_in)
    limits = restrictions_of(scope, allow)
    configuration = load_settings()
    terms = read_terms(
        configuration.settings, hand_over=hand_over, expires_in=hand_over_expires_in, code=code, label=label,
        secret_expires_in=expires_in,
    )  # fmt: skip
    if terms is not None:
        offer = partial(offer_new_client, merchant_id=merchant_id, restrictions=limits)
        _offer(configuration, terms, for_merchant(Act.ISSUE, merchant_id), offer, as_json=as_json)
        return
    with opened_database(configuration) as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        with issuing(database, settings, for_merchant(Act.ISSUE, merchant_id)) as (session, by):
            issued = service.issue_credential(
                session,
                merchant_id,
                peppers=peppers,
                now=utc_now(),
                by=by,
                label=label,
                expires_in=lasts,
                restrictions=limits,
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
        "scope": issued.client.scope,
        "from": shown_networks(listed(issued.client.allowed_networks)),
    })  # fmt: skip
    say()
    say(SHOWN_ONCE)


def _offer(
    configuration: Configuration,
    terms: Terms,
    find_subject: FindSubject,
    offer_to: Callable[..., OfferedLink],
    *,
    as_json: bool,
) -> None:
    """Make a link that will give a client its secret."""
    with opened_database(configuration) as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        with issuing(database, settings, find_subject) as (session, by):
            offered = offer_to(session, terms=terms, peppers=peppers, now=utc_now(), by=by)
        offer = OfferOut.of(offered, settings.base_url)
        out = OfferedCredentialOut.of_offer(offered, settings.base_url)
    if as_json:
        print_model(out)
        return
    say(f"Made a link for {out.client_id} of {out.merchant_id}; the secret is made when it is used.")
    print_offer(offer)


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
            shown(secret.created_at), shown(secret.expires_at) or "never", shown(secret.retires_at),
            shown(secret.last_used_at), client.scope, shown_networks(client.allowed_networks),
        )
        for client in clients
        for secret in client.secrets
    ]  # fmt: skip
    print_table(
        (
            "MERCHANT",
            "CLIENT ID",
            "SECRET",
            "LABEL",
            "STATUS",
            "ISSUED",
            "EXPIRES",
            "RETIRES",
            "LAST USED",
            "SCOPE",
            "FROM",
        ),
        rows,
        empty="No credentials. Issue some: ecross-server credentials issue ACME",
    )


@app.command()
def revoke(
    client_id: ClientId,
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


@app.command()
def limit(
    client_id: ClientId,
    *,
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do, such as catalog:read; may be repeated. All: merchant.")
    ] = None,
    allow: Annotated[
        list[str] | None,
        typer.Option(metavar="NETWORK", help="From where alone, such as 198.51.100.0/24; may be repeated."),
    ] = None,
    allow_any: Annotated[bool, typer.Option("--allow-any", help="From anywhere.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell what that would have refused.")] = False,
    as_json: AsJson = False,
) -> None:
    """Limit what a client may do, and from where, within 2 seconds; what is not named stays as it is."""
    now = utc_now()
    words = " ".join(scope) if scope else None
    networks = allow or None
    with opened_database() as (database, settings):
        with database.read() as session:
            planned = restrictions.plan_restriction(
                session, client_id, now=now, scope=words, networks=networks, any_address=allow_any
            )
            out = RestrictionOut.of_restriction(planned, now)
        if not dry_run:
            with acting(database, settings) as (session, by):
                client = restrictions.restrict_client(
                    session, client_id, now=now, by=by, scope=words, networks=networks, any_address=allow_any
                )
                out = out.as_kept(client)
    if as_json:
        print_model(out)
        return
    say(f"{out.client_id} {'would be' if dry_run else 'is'} limited to this{'' if dry_run else ' within 2 seconds'}:")
    say()
    print_facts({"scope": out.scope, "from": shown_networks(out.allowed_networks)})
    say()
    print_table(
        ("REFUSED", "WHAT", "COUNT", "LAST SEEN"),
        [
            (
                each.address, each.scope or "tokens", str(each.tokens + each.calls), shown(each.last_seen_at),
            )
            for each in out.refused
        ],
        empty="It refuses nothing of the traffic of the last 14 days.",
    )  # fmt: skip


@app.command()
def suggest(client_id: ClientId, *, as_json: AsJson = False) -> None:
    """Suggest limits by the traffic of the last 14 days, and print the command that sets them."""
    with opened_database() as (database, _), database.read() as session:
        out = SuggestionOut.of(restrictions.suggest_restrictions(session, client_id, now=utc_now()))
    if as_json:
        print_model(out)
        return
    if out.first_seen_at is None:
        say(f"No traffic of {out.client_id} was seen since {shown(out.traffic_since)}: nothing can be suggested.")
        return
    say(f"Seen since {shown(out.first_seen_at)}: {out.tokens} tokens, {out.calls} calls.")
    say()
    print_table(
        ("FROM", "ADDRESSES", "TOKENS", "CALLS", "LAST SEEN"),
        [
            (each.network, str(each.addresses), str(each.tokens), str(each.calls), shown(each.last_seen_at))
            for each in out.sources
        ],
        empty="None of it came from an address.",
    )
    say()
    if out.suggested_scope is None:
        say("No call was seen, so no scope is suggested.")
    if out.suggested_networks is None:
        say(f"No list of at most {MOST_NETWORKS} networks holds all of it, so none is suggested.")
    if out.hides_callers:
        say("Some addresses are of a private network: if a proxy stands there, name it in TRUSTED_PROXIES first.")
    if out.command is not None:
        say("See first what else it would refuse, with --dry-run:")
        say(f"  {out.command}")


@app.command()
def rotate(
    client_id: ClientId,
    *,
    label: Label = None,
    overlap: Annotated[str | None, typer.Option(help="How long the old secret goes on working: 24h, 7d.")] = None,
    retire_old_at: Annotated[
        str | None, typer.Option(help="When the old secret ends, such as 2026-12-01T00:00:00Z.")
    ] = None,
    hand_over: HandOver = False,
    hand_over_expires_in: HandOverExpiresIn = None,
    code: WithCode = False,
    as_json: AsJson = False,
) -> None:
    """Make a second secret beside the old one, which works until it is retired."""
    if overlap is not None and retire_old_at is not None:
        message = "cannot stand beside --retire-old-at"
        raise InvalidInputError(f"overlap {message}", (Fault("overlap", message),))
    lasts = None if overlap is None else parse_duration("overlap", overlap)
    ends_at = None if retire_old_at is None else parse_instant(retire_old_at, "retire-old-at")
    configuration = load_settings()
    terms = read_terms(
        configuration.settings, hand_over=hand_over, expires_in=hand_over_expires_in, code=code, label=label
    )
    if terms is not None:
        for name, value in (("overlap", overlap), ("retire-old-at", retire_old_at)):
            if value is not None:  # the old secret must not end while nobody has the new one
                message = "cannot stand beside --hand-over: retire the old secret once the link was used"
                raise InvalidInputError(f"{name} {message}", (Fault(name, message),))
        _offer(
            configuration,
            terms,
            for_client(Act.ROTATE, client_id),
            partial(offer_second_secret, client_id=client_id),
            as_json=as_json,
        )
        return
    with opened_database(configuration) as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        with issuing(database, settings, for_client(Act.ROTATE, client_id)) as (session, by):
            rotated = rotation.rotate_credential(
                session, client_id, peppers=peppers, now=utc_now(), by=by, label=label, overlap=lasts,
                retire_old_at=ends_at,
            )  # fmt: skip
            out = RotatedCredentialOut.of_rotation(rotated)
    if as_json:
        print_model(out)
        return
    say(f"Made another secret of {out.client_id}.")
    say()
    print_facts({
        "clientId": out.client_id,
        "clientSecret": out.client_secret,
        "secretId": out.secret_id,
        "label": out.label,
        "old secret": out.old_secret_id,
        "old one ends": shown(out.old_retires_at) or (out.old_secret_id and "when it is retired"),
    })  # fmt: skip
    say()
    say(SHOWN_ONCE)
    if out.old_secret_id is not None:
        say(f"See who still uses the old one: ecross-server credentials meter {out.client_id}")
        say(f"End the old one: ecross-server credentials retire {out.client_id} {out.old_secret_id}")


@app.command("cancel-rotation")
def cancel_rotation(
    client_id: ClientId,
    *,
    force: Annotated[bool, typer.Option("--force", help="Also if the new secret was used.")] = False,
    as_json: AsJson = False,
) -> None:
    """End the newer of two secrets; the older one works on, and no date ends it."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        now = utc_now()
        out = ClientOut.of(rotation.cancel_rotation(session, client_id, now=now, by=by, force=force), now)
    if as_json:
        print_model(out)
    else:
        say(f"Cancelled the rotation of {out.client_id}: its older secret alone is live.")


@app.command()
def meter(client_id: ClientId, *, as_json: AsJson = False) -> None:
    """Show how much each secret is used: tokens in the last hour, day and week."""
    now = utc_now()
    with opened_database() as (database, _), database.read() as session:
        client, uses = read_meter(session, client_id, now=now)
        out = MeterOut.of(client, uses, now)
    if as_json:
        print_model(out)
    else:
        _print_meter(out.secrets)


@app.command()
def retire(
    client_id: ClientId,
    secret_id: Annotated[str, typer.Argument(metavar="SECRET_ID", help="Its id, such as sec_..., not the secret.")],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only tell whether somebody would notice.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also if it was used in the last day.")] = False,
    as_json: AsJson = False,
) -> None:
    """End one of a client's secrets: no new tokens for it within 2 seconds."""
    now = utc_now()
    if dry_run:
        with opened_database() as (database, _), database.read() as session:
            plan = RetirementOut.of_plan(rotation.plan_retirement(session, client_id, secret_id, now=now), now)
        if as_json:
            print_model(plan)
            return
        _print_meter(plan.meter)
        say()
        for reason in plan.reasons:
            say(reason.message)
        say("Somebody would be locked out." if plan.would_break else "Nobody would notice.")
        return
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        out = ClientOut.of(rotation.retire_secret(session, client_id, secret_id, now=now, by=by, force=force), now)
    if as_json:
        print_model(out)
    else:
        say(f"Retired {secret_id}. It gets no token from within 2 seconds on; those it got live on until they expire.")


@app.command()
def leaked(
    client_id: ClientId,
    secret_id: Annotated[
        str | None, typer.Argument(metavar="SECRET_ID", help="Only this one, by its id. Without it: all.")
    ] = None,
    *,
    label: Label = None,
    as_json: AsJson = False,
) -> None:
    """A secret is in wrong hands: make a new one, end the old, and every token, within 5 seconds."""
    with opened_database() as (database, settings):
        peppers = service.load_peppers(settings.peppers_file)
        with issuing(database, settings, for_client(Act.REPLACE_LEAKED, client_id)) as (session, by):
            out = LeakReceiptOut.of_receipt(
                rotation.replace_leaked(
                    session, client_id, secret_id, peppers=peppers, now=utc_now(), by=by, label=label
                )
            )
    if as_json:
        print_model(out)
        return
    say(f"Ended at {shown(out.ended_at)}: {', '.join(each.secret_id for each in out.ended) or 'no secret was live'}.")
    say(f"Every token of {out.client_id} is dead by {shown(out.tokens_dead_by)}.")
    say()
    print_facts({
        "clientId": out.client_id,
        "clientSecret": out.client_secret,
        "secretId": out.secret_id,
        "label": out.label,
    })  # fmt: skip
    say()
    say(SHOWN_ONCE)
    say("Next:")
    say("1. Hand the new secret over; until then the merchant's systems get 401.")
    say("2. See what was done with the old one:")
    say(f"   ecross-server audit list --client {out.client_id}")
    say("3. Remove it where it leaked, and look for it elsewhere:")
    say("   git log -p --all | ecross-server secrets check")


def _print_meter(secrets: Iterable[SecretUsesOut]) -> None:
    print_table(
        ("SECRET", "LABEL", "STATUS", "RETIRES", "HOUR", "DAY", "WEEK", "LAST USED", "FROM"),
        [
            (
                each.secret_id, each.label, each.status, shown(each.retires_at), str(each.last_hour),
                str(each.last_day), str(each.last_week), shown(each.last_used_at), each.last_used_address,
            )
            for each in secrets
        ],
        empty="",
    )  # fmt: skip
