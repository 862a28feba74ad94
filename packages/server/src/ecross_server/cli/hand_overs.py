"""`ecross-server hand-overs`: what became of the one-time links; and the options that make one."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_facts, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.handover import rules, service
from ecross_server.handover.schemas import HandOverListOut, HandOverOut, OfferOut
from ecross_server.handover.service import Receipt, Terms
from ecross_server.kit.clock import utc_now
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.settings import Settings

app = typer.Typer(no_args_is_help=True, help="See what became of one-time links, and cancel them.")

HandOverId = Annotated[str, typer.Argument(metavar="HAND_OVER_ID", help="As `hand-overs list` shows it.")]
HandOver = Annotated[
    bool, typer.Option("--hand-over", help="Give a one-time link instead of the secret, which you never see then.")
]
HandOverExpiresIn = Annotated[
    str | None, typer.Option("--hand-over-expires-in", help="How long the link works: 12h, 3d; 3d if not said.")
]
WithCode = Annotated[
    bool, typer.Option("--code", help="Let the link ask for a code, which you tell the recipient by another way.")
]

NEXT: Final = "Send the link to the recipient: it shows the secret once."
NEXT_WITH_CODE: Final = "Tell the code by another way, such as by telephone. No e-mail is sent."


def read_terms(
    settings: Settings,
    *,
    hand_over: bool,
    expires_in: str | None,
    code: bool,
    label: str | None = None,
    secret_expires_in: str | None = None,
) -> Terms | None:
    """What link is asked for; `None` where the secret itself is.

    Raises:
        InvalidInputError: for options that mean nothing without `--hand-over`, or a life that is none.
        UnusableBaseError: if no link could be followed.
    """
    if not hand_over:
        for name, is_told in (("hand-over-expires-in", expires_in is not None), ("code", code)):
            if is_told:
                raise InvalidInputError(f"{name} needs --hand-over", (Fault(name, "needs --hand-over"),))
        return None
    return service.make_terms(
        settings.base_url, expires_in=expires_in, code=code, label=label,
        secret_expires_in=None if secret_expires_in is None else ("expires-in", secret_expires_in),
    )  # fmt: skip


def print_offer(offer: OfferOut) -> None:
    """Print a link for people."""
    facts = {"clientId": offer.client_id, "link": offer.hand_over_url, "works until": shown(offer.hand_over_expires_at)}
    if offer.hand_over_code is not None:
        facts["code"] = offer.hand_over_code
    say()
    print_facts(facts)
    say()
    say(NEXT)
    if offer.hand_over_code is not None:
        say(NEXT_WITH_CODE)
    say(f"What became of it: ecross-server hand-overs show {offer.hand_over_id}")


@app.command("list")
def list_(
    merchant_id: Annotated[str | None, typer.Argument(metavar="ID", help="Only this merchant's.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """List hand-overs with what became of them."""
    with opened_database() as (database, _), database.read() as session:
        receipts = service.list_hand_overs(session, merchant_id, now=utc_now())
        listed = [HandOverOut.of(receipt) for receipt in receipts]
    if as_json:
        print_model(HandOverListOut(hand_overs=listed))
        return
    print_table(
        ("HAND-OVER", "MERCHANT", "CLIENT ID", "STATE", "CREATED", "WORKS UNTIL", "OPENED", "REVEALED", "TO"),
        [
            (
                each.hand_over_id, each.merchant_id, each.client_id, each.state, shown(each.created_at),
                shown(each.expires_at), shown(each.opened_at), shown(each.revealed_at), each.revealed_address,
            )
            for each in listed
        ],
        empty="No hand-overs. Make one: ecross-server credentials issue ACME --hand-over",
    )  # fmt: skip


@app.command()
def show(hand_over_id: HandOverId, *, as_json: AsJson = False) -> None:
    """Show the receipt of a hand-over: created, opened, revealed, and what came after."""
    with opened_database() as (database, _), database.read() as session:
        _print(service.show_hand_over(session, hand_over_id, now=utc_now()), as_json=as_json)


@app.command()
def cancel(hand_over_id: HandOverId, *, as_json: AsJson = False) -> None:
    """Let a link reveal nothing any more."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        receipt = service.cancel_hand_over(session, hand_over_id, now=utc_now(), by=by)
    if as_json:
        _print(receipt, as_json=True)
    else:
        say(f"Cancelled {receipt.hand_over.id}. Its link shows nothing any more.")


def _print(receipt: Receipt, *, as_json: bool) -> None:
    out = HandOverOut.of(receipt)
    if as_json:
        print_model(out)
        return
    print_facts({
        "hand-over": out.hand_over_id,
        "merchant": f"{out.merchant_id} ({receipt.merchant_name})",
        "client id": out.client_id,
        "label": out.label,
        "state": "expired, never revealed" if out.state is rules.State.EXPIRED else out.state,
        "created": f"{shown(out.created_at)} by {out.created_by}",
        "works until": shown(out.expires_at),
        "first opened": _event(shown(out.opened_at), out.opened_address),
        "revealed": _event(shown(out.revealed_at), out.revealed_address),
        "secret": out.secret_id,
        "ended": _event(shown(out.denied_at), out.denied_address),
        "cancelled": None if out.cancelled_at is None else f"{shown(out.cancelled_at)} by {out.cancelled_by}",
    })  # fmt: skip


def _event(at: str | None, address: str | None) -> str | None:
    return None if at is None else f"{at} from {address}"
