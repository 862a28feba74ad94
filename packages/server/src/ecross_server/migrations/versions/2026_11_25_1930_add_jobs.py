"""Add jobs: what is to be done in the background, queued in the transaction of the change that asks for it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IS_LIVING = sa.text("dead_at IS NULL")
IS_DEAD = sa.text("dead_at IS NOT NULL")
IS_FRESH = sa.text("claim IS NULL AND dead_at IS NULL AND key IS NOT NULL")


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "jobs",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("kind", sa.String(length=60), nullable=False),
        sa.Column("key", sa.String(length=260), nullable=True),
        sa.Column("payload", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("urgency", sa.Integer(), server_default=sa.text("2"), nullable=False),
        sa.Column("claim", sa.String(length=60), nullable=True),
        sa.Column("dead_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.String(length=120), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_jobs")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("jobs", schema=None) as batch_op:
        batch_op.create_index(
            "ix_jobs_due",
            ["urgency", "due_at", "id"],
            unique=False,
            sqlite_where=IS_LIVING,
            postgresql_where=IS_LIVING,
        )
        batch_op.create_index("ix_jobs_dead", ["id"], unique=False, sqlite_where=IS_DEAD, postgresql_where=IS_DEAD)
        batch_op.create_index(
            "uq_jobs_fresh", ["kind", "key"], unique=True, sqlite_where=IS_FRESH, postgresql_where=IS_FRESH
        )


def downgrade() -> None:
    """Back."""
    op.drop_table("jobs")
