"""Every query about SKUs, each for one merchant."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BindParameter, Row, bindparam, func, insert, literal, select, union
from sqlalchemy.orm import Session

from ecross_server.catalog.models import IS_LIVING, Sku
from ecross_server.kit.change_lists import PagePosition, in_order
from ecross_server.kit.database import among, take_turns

# Made once: to put a statement together costs as much as to run it.
MERCHANT: Final[BindParameter[str]] = bindparam("merchant_id")
SKUS: Final = select(Sku)
TABLE: Final = Sku.metadata.tables[Sku.__tablename__]
ADD_SKU: Final = insert(TABLE)
ADDED: Final = tuple(name for name in TABLE.columns.keys() if name != "number")  # noqa: SIM118 - columns are no mapping
PRODUCT: Final = SKUS.where(Sku.merchant_id == MERCHANT, Sku.product_id == bindparam("product_id"), IS_LIVING).order_by(
    Sku.number
)
NAMES: Final = select(Sku.sku_id, Sku.name).where(Sku.merchant_id == MERCHANT, IS_LIVING)
NAME: Final = NAMES.where(Sku.sku_id == bindparam("sku_id"))
SOME_NAMES: Final = NAMES.where(Sku.sku_id.in_(bindparam("sku_ids", expanding=True)))
LATEST_DATE: Final = select(func.max(Sku.last_updated_at)).where(Sku.merchant_id == MERCHANT)
AFFECTED: Final = (
    select(Sku, LATEST_DATE.scalar_subquery())
    .select_from(select(literal(1)).subquery())
    .outerjoin(
        Sku,
        # Two looks into two indexes; of an OR, SQLite makes a walk through all that the merchant has.
        Sku.number.in_(
            union(
                select(Sku.number).where(
                    Sku.merchant_id == MERCHANT, Sku.sku_id.in_(bindparam("sku_ids", expanding=True))
                ),
                select(Sku.number).where(
                    Sku.merchant_id == MERCHANT, Sku.product_id.in_(bindparam("product_ids", expanding=True)), IS_LIVING
                ),
            )
        ),
    )
)


def list_skus(session: Session, merchant_id: str, position: PagePosition, limit: int) -> Sequence[Sku]:
    query = in_order(SKUS, session, (Sku.merchant_id, Sku.number), merchant_id, position).limit(limit)
    if position.updated_after is None:
        query = query.where(IS_LIVING)
    else:
        query = query.where(Sku.last_updated_at > position.updated_after)
    return session.scalars(query).all()


def list_product(session: Session, merchant_id: str, product_id: str) -> Sequence[Sku]:
    return session.scalars(PRODUCT, {"merchant_id": merchant_id, "product_id": product_id}).all()


def list_skus_of_products(session: Session, merchant_id: str, product_ids: Collection[str]) -> Sequence[Sku]:
    """Those that were deleted from them, too."""
    query = select(Sku).where(Sku.merchant_id == merchant_id, among(session, Sku.product_id, product_ids))
    return session.scalars(query.order_by(Sku.number)).all()


def list_living(session: Session, merchant_id: str, after: int, limit: int) -> Sequence[Sku]:
    query = select(Sku).where(Sku.merchant_id == merchant_id, Sku.number > after, IS_LIVING)
    return session.scalars(query.order_by(Sku.number).limit(limit)).all()


def list_named(session: Session, merchant_id: str, sku_ids: Collection[str]) -> Sequence[Sku]:
    """The named SKUs, deleted or not."""
    query = select(Sku).where(Sku.merchant_id == merchant_id, among(session, Sku.sku_id, sku_ids))
    return session.scalars(query.order_by(Sku.number)).all()


def count_by_product(session: Session, merchant_id: str, product_ids: Collection[str]) -> dict[str, int]:
    query = select(Sku.product_id, func.count()).where(
        Sku.merchant_id == merchant_id, among(session, Sku.product_id, product_ids), IS_LIVING
    )
    return {row[0]: row[1] for row in session.execute(query.group_by(Sku.product_id))}


def count_kept(session: Session, merchant_id: str, product_ids: Collection[str]) -> dict[str, int]:
    """Those that were deleted from them, too."""
    query = select(Sku.product_id, func.count()).where(
        Sku.merchant_id == merchant_id, among(session, Sku.product_id, product_ids)
    )
    return {row[0]: row[1] for row in session.execute(query.group_by(Sku.product_id))}


def find_names(session: Session, merchant_id: str, sku_ids: Collection[str]) -> dict[str, str]:
    """The names of those of the SKUs that are registered."""
    if len(sku_ids) == 1:
        rows = session.execute(NAME, {"merchant_id": merchant_id, "sku_id": next(iter(sku_ids))})
    else:
        rows = session.execute(SOME_NAMES, {"merchant_id": merchant_id, "sku_ids": list(sku_ids)})
    return {row.sku_id: row.name for row in rows}


def find_affected(
    session: Session, merchant_id: str, sku_ids: Collection[str], product_ids: Collection[str]
) -> tuple[list[Sku], datetime | None]:
    """The named SKUs, deleted or not, all living ones of the products, and of those that the named ones leave.

    In the order of their numbers; beside them the newest date of the merchant's SKUs.
    """
    parameters = {"merchant_id": merchant_id, "sku_ids": list(sku_ids), "product_ids": list(product_ids)}
    rows = session.execute(AFFECTED, parameters).all()
    skus = _skus(rows)
    if left := {sku.product_id for sku in skus} - set(product_ids):
        skus |= _skus(session.execute(AFFECTED, parameters | {"product_ids": list(left)}))
    return sorted(skus, key=lambda sku: sku.number), rows[0][1]


def _skus(rows: Iterable[Row[Any, Any]]) -> set[Sku]:
    # Where there is none, one row tells the date alone.
    return {row[0] for row in rows if row[0] is not None}


def find_latest_date(session: Session, merchant_id: str) -> datetime | None:
    return session.scalar(LATEST_DATE, {"merchant_id": merchant_id})


def begin_writing(session: Session, merchant_id: str) -> None:
    """Wait for whoever else writes to the merchant's catalog: two must not add the same SKU at once.

    Who comes after sees what was committed before, so dates given from here on are in the order of the commits.
    """
    take_turns(session, f"catalog of {merchant_id}")


def add_skus(session: Session, skus: Collection[Sku]) -> None:
    """Add them; they are not known to the session, and have no number."""
    # Without the session's objects the statement is short, whatever their number: prepared once, and sent in one go.
    if skus:
        session.execute(ADD_SKU, [{name: getattr(sku, name) for name in ADDED} for sku in skus])
