"""The table of SKUs."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import JSON, Boolean, ForeignKey, Index, String, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, ExactDecimal, RowNumber, UtcDateTime

IS_LIVING: Final = text("localization_status <> 'DELETED'")
"""Spelled out, not as a parameter: so a database can tell that it may use the index."""


class Sku(Base):
    """A sellable variant of a product, or what is left of one. `number` never changes: lists are ordered by it."""

    __tablename__ = "skus"
    __table_args__ = (
        UniqueConstraint("merchant_id", "sku_id"),
        Index(None, "merchant_id", "number", "last_updated_at"),  # a list by date passes by what is older in the index
        Index(None, "merchant_id", "product_id"),
        Index(None, "merchant_id", "last_updated_at"),
        Index("ix_skus_living", "merchant_id", "number", sqlite_where=IS_LIVING, postgresql_where=IS_LIVING),
        {"sqlite_autoincrement": True},  # a number is never given twice
    )

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"))
    sku_id: Mapped[str] = mapped_column(String(128))
    product_id: Mapped[str] = mapped_column(String(128))
    is_main: Mapped[bool] = mapped_column(Boolean)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    weight_kg: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    height_cm: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    width_cm: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    length_cm: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    ean: Mapped[str | None] = mapped_column(String(32))
    hs_code: Mapped[str | None] = mapped_column(String(32))
    origin_list_price: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    origin_sale_price: Mapped[Decimal | None] = mapped_column(ExactDecimal)
    sale_channel_data: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    images: Mapped[list[str]] = mapped_column(JSON)
    localization_status: Mapped[str] = mapped_column(String(64))
    sales_channel_status: Mapped[dict[str, Any]] = mapped_column(JSON)
    last_updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
