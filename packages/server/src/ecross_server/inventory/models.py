"""The tables of warehouses and of what lies in them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, RowNumber, UtcDateTime


class Warehouse(Base):
    """A place that holds a merchant's inventory. The default one needs no row until something is told of it."""

    __tablename__ = "warehouses"

    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"), primary_key=True)
    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(Text)
    country: Mapped[str | None] = mapped_column(String(2))
    type: Mapped[str] = mapped_column(String(16))


class InventoryRecord(Base):
    """The pieces of one SKU and type in one warehouse. `number` never changes: lists are ordered by it."""

    __tablename__ = "inventory_records"
    __table_args__ = (
        # Named here: all its columns make a name that is too long for PostgreSQL.
        UniqueConstraint("merchant_id", "sku_id", "warehouse_id", "inventory_type", name="uq_inventory_records_place"),
        Index(None, "merchant_id", "number", "last_updated_at"),  # as of SKUs
        Index(None, "merchant_id", "last_updated_at"),
        {"sqlite_autoincrement": True},  # a number is never given twice
    )

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"))
    sku_id: Mapped[str] = mapped_column(String(128))
    warehouse_id: Mapped[int] = mapped_column(Integer)
    inventory_type: Mapped[str] = mapped_column(String(16))
    quantity: Mapped[int] = mapped_column(BigInteger)
    last_updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_integrated_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
