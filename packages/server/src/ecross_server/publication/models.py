"""The tables of listings, and of how far each channel's feed goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, UtcDateTime


class Listing(Base):
    """A SKU on a channel: what is shown there, which may be older than what the catalog holds; or why nothing is.

    Each change that the channel has to hear of gets the channel's next revision; `news_revision` is that of the last
    one that was more than stock. What was never shown has revision 0.
    """

    __tablename__ = "listings"
    __table_args__ = (Index(None, "channel_id", "revision"),)

    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"), primary_key=True)
    sku_id: Mapped[str] = mapped_column(String(128), primary_key=True)
    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    content: Mapped[Mapping[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    quantity: Mapped[int] = mapped_column(BigInteger)
    stock_dated: Mapped[datetime | None] = mapped_column(UtcDateTime)
    status: Mapped[str] = mapped_column(String(64))
    message: Mapped[str] = mapped_column(Text)
    revision: Mapped[int] = mapped_column(BigInteger)
    news_revision: Mapped[int] = mapped_column(BigInteger)


class Feed(Base):
    """How far a channel is: the last revision given, the last that it took over, the last that merchants were told of.

    `lines` is how many its feed has, `first_lines` how many it had when it was last written anew.
    """

    __tablename__ = "feeds"

    channel_id: Mapped[str] = mapped_column(ForeignKey("channels.id"), primary_key=True)
    last_revision: Mapped[int] = mapped_column(BigInteger)
    taken_revision: Mapped[int] = mapped_column(BigInteger)
    told_revision: Mapped[int] = mapped_column(BigInteger)
    lines: Mapped[int] = mapped_column(BigInteger)
    first_lines: Mapped[int] = mapped_column(BigInteger)


class StockPosition(Base):
    """Up to which date of a merchant's inventory its listings know the stock."""

    __tablename__ = "stock_positions"

    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"), primary_key=True)
    seen_to: Mapped[datetime] = mapped_column(UtcDateTime)
