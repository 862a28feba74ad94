"""The tables of operators, their invitations, their passkeys and their sessions."""

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


class OperatorPasskey(Base):
    """A passkey of an operator. Its public key counts only with the seal, which nobody makes without the pepper."""

    __tablename__ = "operator_passkeys"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    operator_id: Mapped[str] = mapped_column(ForeignKey("operators.id"), index=True)
    label: Mapped[str] = mapped_column(Text)
    credential_digest: Mapped[bytes] = mapped_column(LargeBinary(32), unique=True)  # of the id that its maker gave it
    credential: Mapped[bytes] = mapped_column(LargeBinary)  # attested credential data, WebAuthn 6.5.1
    pepper_id: Mapped[str] = mapped_column(String(32))
    seal: Mapped[bytes] = mapped_column(LargeBinary(32))
    sign_count: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    last_used_at: Mapped[datetime | None] = mapped_column(UtcDateTime)


class OperatorChallenge(Base):
    """A challenge that was answered, and until when it would be good: it works once."""

    __tablename__ = "operator_challenges"

    digest: Mapped[bytes] = mapped_column(LargeBinary(32), primary_key=True)
    ends_at: Mapped[datetime] = mapped_column(UtcDateTime)
