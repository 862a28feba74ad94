"""The table of jobs. A finished job leaves no row."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Integer, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from ecross_server.kit.database import Base, RowNumber, UtcDateTime

IS_LIVING = text("dead_at IS NULL")
IS_DEAD = text("dead_at IS NOT NULL")
IS_FRESH = text("claim IS NULL AND dead_at IS NULL AND key IS NOT NULL")


class JobRow(Base):
    """A job that waits, runs, or is dead.

    `due_at` is when to run it, when to try it again, or until when its claim holds. `claim` is nothing for a job that
    nobody has begun: of each key there is one such. `urgency` is a number of `Urgency`.
    """

    __tablename__ = "jobs"
    __table_args__ = (
        Index("ix_jobs_due", "urgency", "due_at", "id", sqlite_where=IS_LIVING, postgresql_where=IS_LIVING),
        Index("ix_jobs_dead", "id", sqlite_where=IS_DEAD, postgresql_where=IS_DEAD),
        Index("uq_jobs_fresh", "kind", "key", unique=True, sqlite_where=IS_FRESH, postgresql_where=IS_FRESH),
        {"sqlite_autoincrement": True},  # a number is never given twice
    )

    id: Mapped[int] = mapped_column(RowNumber, primary_key=True)
    kind: Mapped[str] = mapped_column(String(60))
    key: Mapped[str | None] = mapped_column(String(260))
    payload: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    due_at: Mapped[datetime] = mapped_column(UtcDateTime)
    attempts: Mapped[int] = mapped_column(Integer)
    urgency: Mapped[int] = mapped_column(Integer, server_default=text("2"))
    claim: Mapped[str | None] = mapped_column(String(60))
    dead_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    last_error: Mapped[str | None] = mapped_column(String(120))
