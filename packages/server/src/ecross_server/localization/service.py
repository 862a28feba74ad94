"""How SKUs are looked at on their way to the channels, and what representatives do with reviews."""

from __future__ import annotations

import bisect
import functools
import itertools
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.orm import Session

from ecross_server.audit.service import Actor, record_act
from ecross_server.catalog import service as catalog
from ecross_server.catalog.rules import (
    DELETED,
    JUDGED,
    PENDING_LOCALIZATION,
    READY_FOR_SALES_CHANNEL,
    ProductsChanged,
    shown_data,
)
from ecross_server.catalog.service import Sku
from ecross_server.channels import service as channels
from ecross_server.channels.rules import ConnectionsChanged, is_sandbox
from ecross_server.jobs.service import Payload, Urgency, queue_job
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.events import publish
from ecross_server.localization import repository, rules
from ecross_server.localization.errors import NotJudgedError, ReviewClosedError, ReviewNotFoundError, UnusableRulesError
from ecross_server.localization.models import Judgement, Review
from ecross_server.localization.rules import Content, Opinion, Reason, ReviewStatus, RuleBook, SkusJudged, Verdict

__all__ = ["Judgement", "Review"]  # the values that the functions below give

CHECK_PRODUCT: Final = "localization.check_product"
CHECK_CATALOG: Final = "localization.check_catalog"
SKUS_AT_ONCE: Final = 200
CHECK_DELAY: Final = timedelta(seconds=1)
"""What changes within it is looked at together."""

TakeAlong = Callable[[str, Callable[[Sequence[Payload]], int]], Sequence[Payload]]
"""What is done with a job, see `Finish.take_along`."""

BOOKS: Final = files("ecross_server.localization") / "rule_books"


@functools.cache
def load_rule_books(folder: Traversable = BOOKS) -> tuple[RuleBook, ...]:
    """The rules of all versions.

    Raises:
        UnusableRulesError: naming the file and what is wrong with it.
    """
    entries = sorted((entry for entry in folder.iterdir() if entry.name.endswith(".toml")), key=lambda it: it.name)
    return tuple(map(_load_book, entries))


def queue_product_checks(session: Session, event: ProductsChanged) -> None:
    """Let products that changed be looked at, in the background."""
    # Whoever tries something out waits for it; all others change many products at once, or one several times.
    run_at = event.at if is_sandbox(event.merchant_id) else event.at + CHECK_DELAY
    for product_id in event.product_ids:
        _queue_product_check(session, event.merchant_id, product_id, event.at, run_at)


def queue_catalog_check(session: Session, event: ConnectionsChanged) -> None:
    """Let all that a merchant sells be looked at again, in the background."""
    recheck_catalog(session, event.merchant_id, now=event.at)


def recheck_catalog(session: Session, merchant_id: str, *, after: int = 0, now: datetime) -> None:
    """Let a merchant's SKUs from a number on be looked at again, in the background."""
    payload: Payload = {"merchant": merchant_id, "after": after}
    queue_job(session, CHECK_CATALOG, payload, key=f"{merchant_id}/{after}", urgency=_urgency(merchant_id), now=now)


def check_products(
    session: Session,
    merchant_id: str,
    product_id: str,
    *,
    take_along: TakeAlong,
    books: Collection[RuleBook],
    now: datetime,
) -> None:
    """Look at those SKUs of a product, and of others that wait, that wait for it, and tell whoever publishes."""
    catalog.lock_catalog(session, merchant_id)  # before any job is: so does whoever queues one
    others = take_along(
        f"{merchant_id}/", lambda waiting: _how_many_fit(session, merchant_id, product_id, _products(waiting))
    )
    skus = catalog.lock_products(session, merchant_id, [product_id, *_products(others)])
    _judge(session, merchant_id, [it for it in skus if it.localization_status == PENDING_LOCALIZATION], books, now)
    gone = [sku.sku_id for sku in skus if sku.localization_status == DELETED]
    if gone:
        repository.remove_judgements(session, merchant_id, gone)
        repository.supersede_reviews(session, merchant_id, gone)
    if skus:
        publish(session, SkusJudged(merchant_id, skus, now))


def check_catalog(
    session: Session, merchant_id: str, *, after: int, books: Collection[RuleBook], now: datetime
) -> None:
    """Look at some of a merchant's SKUs again, whatever was found of them before; the rest follows as another job."""
    skus = catalog.lock_living_skus(session, merchant_id, after=after, limit=SKUS_AT_ONCE)
    if skus:
        _judge(session, merchant_id, skus, books, now)
        publish(session, SkusJudged(merchant_id, skus, now))
    if len(skus) == SKUS_AT_ONCE:
        recheck_catalog(session, merchant_id, after=skus[-1].number, now=now)


def find_reasons(session: Session, merchant_id: str, sku_ids: Collection[str]) -> dict[str, list[Reason]]:
    """Why SKUs that were looked at may not be shown, or not in each country."""
    judgements = repository.find_judgements(session, merchant_id, sku_ids)
    return {sku_id: list(map(Reason.from_json, judgement.reasons)) for sku_id, judgement in judgements.items()}


def show_judgement(session: Session, merchant_id: str, sku_id: str) -> tuple[Judgement, Sequence[Review]]:
    """What was found of a SKU, and what people were asked about it, the oldest first.

    Raises:
        NotJudgedError: if nobody has looked at such a SKU.
    """
    judgement = repository.find_judgements(session, merchant_id, [sku_id]).get(sku_id)
    if judgement is None:
        raise NotJudgedError
    return judgement, repository.list_reviews_of(session, merchant_id, [sku_id])


def list_reviews(
    session: Session, *, merchant_id: str | None = None, status: ReviewStatus | None = None, after: int = 0, limit: int
) -> Sequence[Review]:
    """The first reviews after a number, the oldest first."""
    return repository.list_reviews(session, merchant_id, status, after, limit)


def decide_review(
    session: Session, review_id: int, *, approves: bool, reason: str | None, now: datetime, by: Actor
) -> Review:
    """Approve or deny what somebody was asked about. It goes on in the background.

    Raises:
        ReviewNotFoundError: if there is no such review.
        ReviewClosedError: if it was decided, or the SKU has changed or gone since.
        InvalidInputError: if the reason is too long, or missing where one is needed.
    """
    _check_reason(reason, is_needed=not approves)
    review = repository.find_review(session, review_id)
    if review is None:
        raise ReviewNotFoundError
    skus = catalog.lock_skus(session, review.merchant_id, [review.sku_id])
    session.refresh(review)
    # What was approved is what was looked at: a merchant may have changed it meanwhile.
    if not any(sku.localization_status == PENDING_LOCALIZATION and _digest(sku) == review.digest for sku in skus):
        raise ReviewClosedError(ReviewStatus.SUPERSEDED if review.status == ReviewStatus.WAITING else review.status)
    if review.status != ReviewStatus.WAITING:
        raise ReviewClosedError(review.status)
    review.status = (ReviewStatus.APPROVED if approves else ReviewStatus.DENIED).value
    review.decided_at, review.decided_by, review.reason = now, by.name, reason
    record_act(
        session, actor=by, action="reviews.approve" if approves else "reviews.deny", merchant_id=review.merchant_id,
        now=now, review=review_id, sku=review.sku_id, **({} if reason is None else {"reason": reason}),
    )  # fmt: skip
    _queue_product_check(session, review.merchant_id, skus[0].product_id, now, now)
    return review


def _load_book(file: Traversable) -> RuleBook:
    try:
        book = RuleBook.model_validate(tomllib.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        faults = error.errors() if isinstance(error, ValidationError) else []
        reason = "; ".join(f"{'.'.join(map(str, it['loc']))}: {it['msg']}" for it in faults) or "it is no TOML"
        raise UnusableRulesError(file.name, reason) from None
    if file.name != f"{book.version}.toml":
        raise UnusableRulesError(file.name, f"its version is {book.version}")
    return book


def _queue_product_check(session: Session, merchant_id: str, product_id: str, now: datetime, run_at: datetime) -> None:
    payload, key = {"merchant": merchant_id, "product": product_id}, f"{merchant_id}/{product_id}"
    queue_job(session, CHECK_PRODUCT, payload, key=key, run_at=run_at, urgency=_urgency(merchant_id), now=now)


def _products(payloads: Sequence[Payload]) -> list[str]:
    return [str(payload["product"]) for payload in payloads]


def _how_many_fit(session: Session, merchant_id: str, first: str, others: Sequence[str]) -> int:
    """How many of the products have, with the first one, no more SKUs than are looked at in one transaction."""
    counts = catalog.count_kept_skus(session, merchant_id, [first, *others])
    together, *sums = itertools.accumulate(counts.get(product_id, 0) for product_id in (first, *others))
    return bisect.bisect_right(sums, max(SKUS_AT_ONCE, together - 1))


def _urgency(merchant_id: str) -> Urgency:
    """Who tries out an integration waits for what becomes of it."""
    return Urgency.SOON if is_sandbox(merchant_id) else Urgency.USUAL


def _judge(session: Session, merchant_id: str, skus: Sequence[Sku], books: Collection[RuleBook], now: datetime) -> None:
    """Find where each of the SKUs, which are locked, stands now."""
    if not skus:
        return
    book = rules.book_in_force(books, now.date())
    connections = channels.list_connections(session, merchant_id)
    siblings = catalog.count_product_skus(session, merchant_id, {sku.product_id for sku in skus})
    sku_ids = [sku.sku_id for sku in skus]
    reviews = {review.sku_id: review for review in repository.list_reviews_of(session, merchant_id, sku_ids)}
    judgements = repository.find_judgements(session, merchant_id, sku_ids)
    digests = {sku: _digest(sku) for sku in skus}
    verdicts: dict[Sku, Verdict] = {}
    for sku, digest in digests.items():
        verdicts[sku] = verdict = rules.judge(
            book,
            _content(sku, siblings[sku.product_id]),
            countries={connection.country for connection in connections},
            is_judged_before=sku.localization_status == READY_FOR_SALES_CHANNEL,
            needs_review=any(connection.needs_review for connection in connections),
            opinion=_opinion(reviews.get(sku.sku_id), digest),
        )
        judgement = judgements.get(sku.sku_id)
        if judgement is None:
            judgement = Judgement(merchant_id=merchant_id, sku_id=sku.sku_id)
            session.add(judgement)
        judgement.rules_version, judgement.digest, judgement.judged_at = str(book.version), digest, now
        judgement.status, judgement.reasons = verdict.status, [reason.to_json() for reason in verdict.reasons]
    _let_go(session, merchant_id, verdicts, digests, reviews)
    asking = [sku for sku, verdict in verdicts.items() if verdict.asks]
    repository.add_reviews(
        session, [_new_review(sku, digests[sku], now) for sku in asking if not _is_asked(reviews.get(sku.sku_id))]
    )
    statuses = {sku: verdict.status for sku, verdict in verdicts.items()}
    catalog.set_localization_statuses(session, merchant_id, statuses, now=now)


def _let_go(
    session: Session,
    merchant_id: str,
    verdicts: Mapping[Sku, Verdict],
    digests: Mapping[Sku, bytes],
    reviews: Mapping[str, Review],
) -> None:
    """Ask nobody any more about SKUs that need no review, or are not what they were.

    Of each one such review is kept: who changes a SKU again and again must not fill the table.
    """
    outdated = []
    for sku, verdict in verdicts.items():
        review = reviews.get(sku.sku_id)
        if review is not None and _is_asked(review) and not (verdict.asks and review.digest == digests[sku]):
            outdated.append(review)
    if outdated:
        repository.remove_superseded(session, merchant_id, [review.sku_id for review in outdated])
        for review in outdated:
            review.status = ReviewStatus.SUPERSEDED.value


def _is_asked(review: Review | None) -> bool:
    return review is not None and review.status == ReviewStatus.WAITING


def _new_review(sku: Sku, digest: bytes, now: datetime) -> Review:
    return Review(
        merchant_id=sku.merchant_id, sku_id=sku.sku_id, product_id=sku.product_id, name=sku.name, digest=digest,
        status=ReviewStatus.WAITING.value, asked_at=now,
    )  # fmt: skip


def _opinion(review: Review | None, digest: bytes) -> Opinion:
    if review is None or review.digest != digest:
        return Opinion()
    return Opinion(ReviewStatus(review.status), review.reason)


def _content(sku: Sku, siblings: int) -> Content:
    data = sku.sale_channel_data or {}
    return Content(sku.name, sku.description, sku.hs_code, sku.images, data, siblings)


def _digest(sku: Sku) -> bytes:
    values: dict[str, Any] = {name: getattr(sku, name) for name in JUDGED}
    return rules.digest_of(values | {"sale_channel_data": shown_data(sku.sale_channel_data)})


def _check_reason(reason: str | None, *, is_needed: bool) -> None:
    text = reason or ""
    if (is_needed and not text.strip()) or len(text) > rules.LONGEST_REASON or not text.isprintable():
        message = f"must have 1 to {rules.LONGEST_REASON} printable characters"
        raise InvalidInputError(f"reason {message}", (Fault("reason", message),))
