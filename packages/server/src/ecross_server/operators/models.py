"""The tables of operators, their invitations and their sessions."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, UtcDateTime


class OperatorAccount(Base):
    """An operator. Neither password nor the codes' seed can be had from it without the pepper.

    Its epoch stands in every administration token; raising it ends them all.
    """

    __tablename__ = "operators"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(String(16))  # viewer, representative, owner
    status: Mapped[str] = mapped_column(String(16))  # invited, active, disabled
    epoch: Mapped[int] = mapped_column(Integer)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_signed_in_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    pepper_id: Mapped[str | None] = mapped_column(String(32))  # of both below
    password_hash: Mapped[str | None] = mapped_column(Text)
    totp_seed: Mapped[bytes | None] = mapped_column(LargeBinary)  # sealed
    totp_step: Mapped[int | None] = mapped_column(BigInteger)  # of the last code that was accepted


class OperatorInvitation(Base):
    """The one open invitation of an operator. Used, replaced or run out, it is gone; the audit trail tells of it."""

    __tablename__ = "operator_invitations"

    operator_id: Mapped[str] = mapped_column(ForeignKey("operators.id"), primary_key=True)
    token_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    pepper_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    expires_at: Mapped[datetime] = mapped_column(UtcDateTime)


class OperatorSession(Base):
    """A browser that an operator has signed in with. Ended, it is gone; the audit trail tells of it."""

    __tablename__ = "operator_sessions"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)
    operator_id: Mapped[str] = mapped_column(ForeignKey("operators.id"), index=True)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_seen_at: Mapped[datetime] = mapped_column(UtcDateTime)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
    address: Mapped[str | None] = mapped_column(String(64))
    user_agent: Mapped[str | None] = mapped_column(Text)
