"""Every query about inventory, each for one merchant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import BindParameter, and_, bindparam, func, literal, select
from sqlalchemy.orm import Session

from ecross_server.inventory.models import InventoryRecord, Warehouse
from ecross_server.inventory.rules import Count, InventoryType
from ecross_server.kit.change_lists import PagePosition, in_order
from ecross_server.kit.database import among, take_turns


class Place(NamedTuple):
    """What is known of a warehouse and of a SKU's pieces in it; none where nothing is.

    `latest` is the newest date of the merchant's records.
    """

    warehouse: Warehouse | None
    record: InventoryRecord | None
    latest: datetime | None


class Kept(NamedTuple):
    """A record with its warehouse. Nothing need be known of the default one."""

    record: InventoryRecord
    warehouse: Warehouse | None

    @property
    def number(self) -> int:
        """The record's, by which lists are ordered."""
        return self.record.number


# Made once, and as few as can be: a statement costs as much as everything else that is done with a record.
MERCHANT: Final[BindParameter[str]] = bindparam("merchant_id")
OWN_WAREHOUSE: Final = and_(
    Warehouse.merchant_id == InventoryRecord.merchant_id, Warehouse.id == InventoryRecord.warehouse_id
)
RECORDS: Final = select(InventoryRecord, Warehouse).outerjoin(Warehouse, OWN_WAREHOUSE)
LATEST_DATE: Final = select(func.max(InventoryRecord.last_updated_at)).where(InventoryRecord.merchant_id == MERCHANT)
PLACE: Final = (
    select(Warehouse, InventoryRecord, LATEST_DATE.scalar_subquery())
    .select_from(select(literal(1)).subquery())
    .outerjoin(Warehouse, and_(Warehouse.merchant_id == MERCHANT, Warehouse.id == bindparam("warehouse_id")))
    .outerjoin(
        InventoryRecord,
        and_(
            InventoryRecord.merchant_id == MERCHANT,
            InventoryRecord.sku_id == bindparam("sku_id"),
            InventoryRecord.warehouse_id == bindparam("warehouse_id"),
            InventoryRecord.inventory_type == bindparam("inventory_type"),
        ),
    )
)
OF_SKU: Final = RECORDS.where(
    InventoryRecord.merchant_id == MERCHANT, InventoryRecord.sku_id == bindparam("sku_id")
).order_by(InventoryRecord.number)


def begin_writing(session: Session, merchant_id: str) -> None:
    """Wait for whoever else writes to the merchant's inventory, so that the last one wins and dates grow."""
    take_turns(session, f"inventory of {merchant_id}")


def list_warehouses(session: Session, merchant_id: str) -> Sequence[Warehouse]:
    query = select(Warehouse).where(Warehouse.merchant_id == merchant_id).order_by(Warehouse.id)
    return session.scalars(query).all()


def find_warehouse(session: Session, merchant_id: str, warehouse_id: int) -> Warehouse | None:
    return session.get(Warehouse, (merchant_id, warehouse_id), populate_existing=True)


def find_place(session: Session, merchant_id: str, count: Count) -> Place:
    """Where the count belongs."""
    parameters = {
        "merchant_id": merchant_id, "warehouse_id": count.warehouse_id, "sku_id": count.sku_id,
        "inventory_type": count.inventory_type.value,
    }  # fmt: skip
    return Place._make(session.execute(PLACE, parameters).one())


def list_records(session: Session, merchant_id: str, position: PagePosition, limit: int) -> Sequence[Kept]:
    columns = InventoryRecord.merchant_id, InventoryRecord.number
    query = in_order(RECORDS, session, columns, merchant_id, position).limit(limit)
    if position.updated_after is not None:
        query = query.where(InventoryRecord.last_updated_at > position.updated_after)
    return [Kept._make(row) for row in session.execute(query)]


def list_of_sku(session: Session, merchant_id: str, sku_id: str) -> Sequence[Kept]:
    rows = session.execute(OF_SKU, {"merchant_id": merchant_id, "sku_id": sku_id})
    return [Kept._make(row) for row in rows]


def list_changed(session: Session, merchant_id: str, after: datetime | None, limit: int) -> Sequence[InventoryRecord]:
    query = select(InventoryRecord).where(InventoryRecord.merchant_id == merchant_id)
    if after is not None:
        query = query.where(InventoryRecord.last_updated_at > after)
    return session.scalars(query.order_by(InventoryRecord.last_updated_at).limit(limit)).all()


def list_available(session: Session, merchant_id: str, sku_ids: Collection[str]) -> Sequence[Kept]:
    query = RECORDS.where(
        InventoryRecord.merchant_id == merchant_id,
        among(session, InventoryRecord.sku_id, sku_ids),
        InventoryRecord.inventory_type == InventoryType.AVAILABLE.value,
    )
    return [Kept._make(row) for row in session.execute(query.order_by(InventoryRecord.number))]


def find_latest_date(session: Session, merchant_id: str) -> datetime | None:
    return session.scalar(LATEST_DATE, {"merchant_id": merchant_id})
