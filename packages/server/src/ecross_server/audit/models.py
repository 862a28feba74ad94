"""The tables of the audit trail. A row is written once, and removed only from the front, when its time is over."""

from __future__ import annotations

from sqlalchemy import BigInteger, Index, Integer, LargeBinary, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, RowNumber

NOT_ISSUED = text("outcome <> 'issued'")


class AuditRecord(Base):
    """One act, one token issued, or failures of one kind. `at` is in microseconds, exactly as hashed."""

    __tablename__ = "audit_records"
    __table_args__ = (
        # Nearly all records are tokens issued: all others are found without looking at those.
        Index(None, "action", "seq", sqlite_where=NOT_ISSUED, postgresql_where=NOT_ISSUED),
        Index(None, "outcome", "seq", sqlite_where=NOT_ISSUED, postgresql_where=NOT_ISSUED),
        Index(
            "ix_audit_records_client_id_but_issued",
            "client_id",
            "seq",
            sqlite_where=NOT_ISSUED,
            postgresql_where=NOT_ISSUED,
        ),
        Index(
            "ix_audit_records_merchant_id_but_issued",
            "merchant_id",
            "seq",
            sqlite_where=NOT_ISSUED,
            postgresql_where=NOT_ISSUED,
        ),
        Index(None, "request_id", sqlite_where=NOT_ISSUED, postgresql_where=NOT_ISSUED),
        Index(None, "client_id", "seq"),
        Index(None, "merchant_id", "seq"),
    )

    seq: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=False)
    at: Mapped[int] = mapped_column(BigInteger)
    actor: Mapped[str] = mapped_column(Text)
    action: Mapped[str] = mapped_column(Text)
    merchant_id: Mapped[str | None] = mapped_column(Text)
    client_id: Mapped[str | None] = mapped_column(Text)
    outcome: Mapped[str] = mapped_column(Text)
    address: Mapped[str | None] = mapped_column(Text)
    request_id: Mapped[str | None] = mapped_column(Text)
    token_id: Mapped[str | None] = mapped_column(Text)
    secret_id: Mapped[str | None] = mapped_column(Text)
    details: Mapped[str | None] = mapped_column(Text)  # a JSON object


class AuditBatch(Base):
    """One link of the chain: so many records from `first_seq` on, written together. `at` is no earlier than any."""

    __tablename__ = "audit_batches"

    number: Mapped[int] = mapped_column(RowNumber, primary_key=True, autoincrement=False)
    first_seq: Mapped[int] = mapped_column(BigInteger, unique=True)
    size: Mapped[int] = mapped_column(Integer)
    at: Mapped[int] = mapped_column(BigInteger, index=True)
    key_id: Mapped[str] = mapped_column(String(32))
    previous_hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))


class AuditMark(Base):
    """The two ends of the chain, signed: `head` is its last link, `anchor` the last one that was pruned."""

    __tablename__ = "audit_marks"

    name: Mapped[str] = mapped_column(String(8), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary(32))
    batch_key_id: Mapped[str] = mapped_column(String(32))
    key_id: Mapped[str] = mapped_column(String(32))
    mac: Mapped[bytes] = mapped_column(LargeBinary(32))
