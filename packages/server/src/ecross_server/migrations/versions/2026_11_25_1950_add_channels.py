"""Add the way to the sales channels.

Channels and who sells on them, what was found of SKUs and what people said of them, and what each channel shows.
"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Forward."""
    channels = op.create_table(
        "channels",
        sa.Column("id", sa.String(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=False),
        sa.Column("currency", sa.String(length=3), nullable=False),
        sa.Column("is_open", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
    )
    ecom = {"id": "ECOM", "name": "E-commerce", "country": "BR", "currency": "BRL", "is_open": True}
    op.bulk_insert(channels, [ecom | {"created_at": datetime(2026, 11, 25, tzinfo=UTC)}])
    op.create_table(
        "channel_connections",
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("channel_id", sa.String(length=16), nullable=False),
        sa.Column("is_connected", sa.Boolean(), nullable=False),
        sa.Column("needs_review", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_channel_connections_channel_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_channel_connections_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "channel_id", name=op.f("pk_channel_connections")),
    )
    op.create_table(
        "judgements",
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("sku_id", sa.String(length=128), nullable=False),
        sa.Column("rules_version", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("judged_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_judgements_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "sku_id", name=op.f("pk_judgements")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("sku_id", sa.String(length=128), nullable=False),
        sa.Column("product_id", sa.String(length=128), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("asked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_by", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_reviews_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("reviews", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_reviews_merchant_id_sku_id"), ["merchant_id", "sku_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_reviews_status_id"), ["status", "id"], unique=False)
    op.create_table(
        "listings",
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("sku_id", sa.String(length=128), nullable=False),
        sa.Column("channel_id", sa.String(length=16), nullable=False),
        sa.Column("content", sa.JSON(), nullable=True),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("stock_dated", sa.DateTime(timezone=True), nullable=True),
        sa.Column("status", sa.String(length=64), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("news_revision", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_listings_channel_id")),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_listings_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "sku_id", "channel_id", name=op.f("pk_listings")),
    )
    with op.batch_alter_table("listings", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_listings_channel_id_revision"), ["channel_id", "revision"], unique=False)
    op.create_table(
        "feeds",
        sa.Column("channel_id", sa.String(length=16), nullable=False),
        sa.Column("last_revision", sa.BigInteger(), nullable=False),
        sa.Column("taken_revision", sa.BigInteger(), nullable=False),
        sa.Column("told_revision", sa.BigInteger(), nullable=False),
        sa.Column("lines", sa.BigInteger(), nullable=False),
        sa.Column("first_lines", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["channel_id"], ["channels.id"], name=op.f("fk_feeds_channel_id")),
        sa.PrimaryKeyConstraint("channel_id", name=op.f("pk_feeds")),
    )
    op.create_table(
        "stock_positions",
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("seen_to", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_stock_positions_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", name=op.f("pk_stock_positions")),
    )
    # What was registered before there was anybody to look at it.
    op.execute(
        "INSERT INTO jobs (kind, key, payload, created_at, due_at, attempts) "
        """SELECT 'localization.check_catalog', id || '/0', '{"merchant":"' || id || '","after"\\:0}', """
        "CURRENT_TIMESTAMP, CURRENT_TIMESTAMP, 0 FROM merchants"
    )


def downgrade() -> None:
    """Back."""
    op.execute("DELETE FROM jobs WHERE kind LIKE 'localization.%' OR kind LIKE 'publication.%'")
    for table in ("stock_positions", "feeds", "listings", "reviews", "judgements", "channel_connections", "channels"):
        op.drop_table(table)
