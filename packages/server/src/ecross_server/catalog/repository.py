"""Every query about SKUs, each for one merchant."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from ecross_server.catalog.models import Sku
from ecross_server.catalog.rules import PagePosition
from ecross_server.kit.database import take_turns


def list_skus(session: Session, merchant_id: str, position: PagePosition, limit: int) -> Sequence[Sku]:
    query = (
        select(Sku).where(Sku.merchant_id == merchant_id, Sku.number > position.after).order_by(Sku.number).limit(limit)
    )
    if position.updated_after is not None:
        query = query.where(Sku.last_updated_at > position.updated_after)
    return session.scalars(query).all()


def find_skus(session: Session, merchant_id: str, sku_ids: Collection[str]) -> dict[str, Sku]:
    """Those of the named SKUs that exist, by their ids."""
    query = select(Sku).where(Sku.merchant_id == merchant_id, Sku.sku_id.in_(sku_ids))
    return {sku.sku_id: sku for sku in session.scalars(query)}


def begin_writing(session: Session, merchant_id: str) -> None:
    """Wait for whoever else writes to the merchant's catalog: two must not add the same SKU at once."""
    take_turns(session, f"catalog of {merchant_id}")


def add_skus(session: Session, skus: Collection[Sku]) -> None:
    session.add_all(skus)
    session.flush()
