"""The table of approvals: what was asked for, and what was said."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Boolean, ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, UtcDateTime


class Approval(Base):
    """One act, once, by who asked for it, if somebody else grants it in time."""

    __tablename__ = "approvals"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    act: Mapped[str] = mapped_column(String(32))
    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"))
    client_id: Mapped[str | None] = mapped_column(ForeignKey("clients.id"))
    reason: Mapped[str] = mapped_column(Text)
    asked_at: Mapped[datetime] = mapped_column(UtcDateTime, index=True)
    asked_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)  # for the answer, and for the act
    decided_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    decided_by: Mapped[str | None] = mapped_column(Text)
    is_granted: Mapped[bool | None] = mapped_column(Boolean)
    used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
