"""Add what limits a client to networks, and what is seen of its calls, by which limits are suggested."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Forward."""
    op.add_column("clients", sa.Column("allowed_networks", sa.Text(), nullable=True))
    op.create_table(
        "client_calls",
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("day", sa.Integer(), nullable=False),
        sa.Column("scope", sa.String(length=64), nullable=False),
        sa.Column("address", sa.String(length=64), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", "day", "scope", "address", name=op.f("pk_client_calls")),
    )
    with op.batch_alter_table("client_calls", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_client_calls_day"), ["day"], unique=False)


def downgrade() -> None:
    """Back: every client may call from anywhere again. Scopes stay, and the version before heeds those it knows."""
    op.drop_table("client_calls")
    op.drop_column("clients", "allowed_networks")
