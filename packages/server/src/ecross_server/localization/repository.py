"""Every query about judgements and reviews."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from ecross_server.kit.database import among
from ecross_server.localization.models import Judgement, Review
from ecross_server.localization.rules import ReviewStatus


def find_judgements(session: Session, merchant_id: str, sku_ids: Collection[str]) -> dict[str, Judgement]:
    query = select(Judgement).where(Judgement.merchant_id == merchant_id, among(session, Judgement.sku_id, sku_ids))
    return {judgement.sku_id: judgement for judgement in session.scalars(query)}


def remove_judgements(session: Session, merchant_id: str, sku_ids: Collection[str]) -> None:
    session.execute(
        delete(Judgement).where(Judgement.merchant_id == merchant_id, among(session, Judgement.sku_id, sku_ids))
    )


def list_reviews_of(session: Session, merchant_id: str, sku_ids: Collection[str]) -> Sequence[Review]:
    """The newest last."""
    query = select(Review).where(Review.merchant_id == merchant_id, among(session, Review.sku_id, sku_ids))
    return session.scalars(query.order_by(Review.id)).all()


def find_review(session: Session, review_id: int) -> Review | None:
    return session.get(Review, review_id)


def list_reviews(
    session: Session, merchant_id: str | None, status: ReviewStatus | None, after: int, limit: int
) -> Sequence[Review]:
    query = select(Review).where(Review.id > after)
    if merchant_id is not None:
        query = query.where(Review.merchant_id == merchant_id)
    if status is not None:
        query = query.where(Review.status == status.value)
    return session.scalars(query.order_by(Review.id).limit(limit)).all()


def add_reviews(session: Session, reviews: Collection[Review]) -> None:
    session.add_all(reviews)
    session.flush()


def remove_superseded(session: Session, merchant_id: str, sku_ids: Collection[str]) -> None:
    mine = Review.merchant_id == merchant_id
    session.execute(
        delete(Review).where(
            mine, among(session, Review.sku_id, sku_ids), Review.status == ReviewStatus.SUPERSEDED.value
        )
    )


def supersede_reviews(session: Session, merchant_id: str, sku_ids: Collection[str]) -> None:
    session.execute(
        update(Review)
        .where(Review.merchant_id == merchant_id, among(session, Review.sku_id, sku_ids))
        .where(Review.status == ReviewStatus.WAITING.value)
        .values(status=ReviewStatus.SUPERSEDED.value)
    )
