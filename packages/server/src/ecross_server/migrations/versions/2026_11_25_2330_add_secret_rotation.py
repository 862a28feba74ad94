"""Add what a rotation of client secrets needs: when the old one retires, and how much each is used."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Forward."""
    op.add_column("secrets", sa.Column("retires_at", sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "secret_uses",
        sa.Column("secret_id", sa.String(length=32), nullable=False),
        sa.Column("hour", sa.BigInteger(), nullable=False),
        sa.Column("tokens", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("secret_id", "hour", name=op.f("pk_secret_uses")),
    )
    with op.batch_alter_table("secret_uses", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_secret_uses_hour"), ["hour"], unique=False)


def downgrade() -> None:
    """Back."""
    op.drop_table("secret_uses")
    op.drop_column("secrets", "retires_at")
