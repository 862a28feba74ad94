"""The table of hand-overs: a link each, and its receipt."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, UtcDateTime


class HandOver(Base):
    """A link that gives a client its secret, once. Neither link nor code nor secret can be read from it."""

    __tablename__ = "hand_overs"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    code_digest: Mapped[bytes | None] = mapped_column(LargeBinary(32))
    code_pepper_id: Mapped[str | None] = mapped_column(String(32))
    merchant_id: Mapped[str] = mapped_column(ForeignKey("merchants.id"), index=True)
    client_id: Mapped[str] = mapped_column(ForeignKey("clients.id"))
    label: Mapped[str | None] = mapped_column(Text)
    secret_expires_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    created_by: Mapped[str] = mapped_column(Text)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)
    opened_at: Mapped[datetime | None] = mapped_column(UtcDateTime)  # first looked at, by whomever
    opened_address: Mapped[str | None] = mapped_column(String(64))
    revealed_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    revealed_address: Mapped[str | None] = mapped_column(String(64))
    secret_id: Mapped[str | None] = mapped_column(ForeignKey("secrets.id"))
    denied_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    denied_address: Mapped[str | None] = mapped_column(String(64))
    cancelled_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    cancelled_by: Mapped[str | None] = mapped_column(Text)
