"""The tables of what was found of SKUs, and of what people said of them."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import JSON, ForeignKey, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, RowNumber, UtcDateTime


class Judgement(Base):
    """What the rules of one version found of a SKU, whose content had this digest."""

    __tablename__ = "judgements"

    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"), primary_key=True)
    sku_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    rules_version: Mapped[str] = mapped_column(String(16))
    status: Mapped[str] = mapped_column(String(64))
    reasons: Mapped[list[dict[str, str]]] = mapped_column(JSON)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    judged_at: Mapped[datetime] = mapped_column(UtcDateTime)


class Review(Base):
    """What a person is asked about one content of a SKU, and what the person said."""

    __tablename__ = "reviews"
    __table_args__ = (
        Index(None, "merchant_id", "sku_id"),
        Index(None, "status", "id"),
        {"sqlite_autoincrement": True},  # a number is never given twice
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"))
    sku_id: Mapped[str] = mapped_column(String(128))
    product_id: Mapped[str] = mapped_column(String(128))
    name: Mapped[str] = mapped_column(Text)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32))
    status: Mapped[str] = mapped_column(String(16))
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime)
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
