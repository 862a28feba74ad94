"""`ecross-server reviews`: what people say of SKUs before they are published, and what the rules found of them."""

from __future__ import annotations

from typing import Annotated, Final

import typer

from ecross_server.audit.service import record_act
from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_facts, print_json, print_model, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.kit.clock import utc_now
from ecross_server.localization import service
from ecross_server.localization.rules import EVERYWHERE, Reason, ReviewStatus
from ecross_server.localization.schemas import JudgementOut, ReviewListOut, ReviewOut
from ecross_server.merchants import service as merchants

MOST: Final = 1000

app = typer.Typer(no_args_is_help=True, help="Decide what may be published, and see why something is not.")

ReviewId = Annotated[int, typer.Argument(metavar="REVIEW", help="The review's number, see reviews list.")]
MerchantOption = Annotated[
    str | None, typer.Option("--merchant", metavar="ID", help="Only this merchant's (default: all).")
]


@app.command("list")
def list_(
    *,
    merchant_id: MerchantOption = None,
    status: Annotated[ReviewStatus, typer.Option(help="Where the reviews stand.")] = ReviewStatus.WAITING,
    after: Annotated[int, typer.Option(min=0, help="Only reviews after this number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="At most so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List what waits for somebody's decision, the oldest first."""
    with opened_database() as (database, _), database.read() as session:
        reviews = service.list_reviews(session, merchant_id=merchant_id, status=status, after=after, limit=limit)
    if as_json:
        print_model(ReviewListOut(reviews=[ReviewOut.of(review) for review in reviews]))
        return
    print_table(
        ("REVIEW", "MERCHANT", "SKU", "NAME", "ASKED", "STATUS"),
        [(str(it.id), it.merchant_id, it.sku_id, it.name, shown(it.asked_at), it.status) for it in reviews],
        empty="No review is " + status.value + ".",
    )


@app.command()
def show(
    merchant_id: Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id, such as ACME.")],
    sku_id: Annotated[str, typer.Argument(metavar="SKU", help="The merchant's id of the SKU.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show what was found of a SKU: by which rules, and why it is not published."""
    with opened_database() as (database, _), database.read() as session:
        judgement, reviews = service.show_judgement(session, merchant_id, sku_id)
    if as_json:
        print_model(JudgementOut.of(judgement, reviews))
        return
    print_facts({
        "merchant": merchant_id, "sku": sku_id, "status": judgement.status, "rules": judgement.rules_version,
        "judged": shown(judgement.judged_at),
    })  # fmt: skip
    say()
    reasons = [Reason.from_json(kept) for kept in judgement.reasons]
    print_table(
        ("FIELD", "RULE", "COUNTRY", "WHY"),
        [(it.field, it.code, "all" if it.country == EVERYWHERE else it.country, it.message) for it in reasons],
        empty="The rules found nothing wrong.",
    )
    if reviews:
        say()
        print_table(
            ("REVIEW", "STATUS", "DECIDED", "BY", "REASON"),
            [(str(it.id), it.status, shown(it.decided_at), it.decided_by, it.reason) for it in reviews],
            empty="",
        )


@app.command()
def approve(
    review_id: ReviewId,
    *,
    reason: Annotated[str | None, typer.Option(help="What is kept with the decision.")] = None,
    as_json: AsJson = False,
) -> None:
    """Let a SKU be published, as it was when the review was asked for."""
    _decide(review_id, approves=True, reason=reason, as_json=as_json)


@app.command()
def deny(
    review_id: ReviewId,
    reason: Annotated[str, typer.Option(help="What the merchant is told.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Keep a SKU from being published until its merchant has changed it."""
    _decide(review_id, approves=False, reason=reason, as_json=as_json)


@app.command()
def recheck(*, merchant_id: MerchantOption = None, as_json: AsJson = False) -> None:
    """Look at SKUs again, such as under new rules; who is approved needs no new review."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        if merchant_id is None:
            chosen = [merchant.id for merchant in merchants.list_merchants(session)]
        else:
            chosen = [merchants.show_merchant(session, merchant_id)[0].id]
        now = utc_now()
        for each in chosen:
            service.recheck_catalog(session, each, now=now)
            record_act(session, actor=by, action="reviews.recheck", merchant_id=each, now=now)
    if as_json:
        print_json({"merchants": chosen})
    else:
        say(f"The SKUs of {len(chosen)} {'merchant' if len(chosen) == 1 else 'merchants'} are looked at again.")


def _decide(review_id: int, *, approves: bool, reason: str | None, as_json: bool) -> None:
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        review = service.decide_review(session, review_id, approves=approves, reason=reason, now=utc_now(), by=by)
    if as_json:
        print_model(ReviewOut.of(review))
    elif approves:
        say(f"Approved {review.sku_id} of {review.merchant_id}. It is published within seconds.")
    else:
        say(f"Denied {review.sku_id} of {review.merchant_id}. Its merchant is told the reason.")
