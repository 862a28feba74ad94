"""Add merchants, clients, secrets and SKUs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# SQLite keeps no exact numbers but as text.
EXACT_DECIMAL = sa.Numeric().with_variant(sa.String(length=40), "sqlite")


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "merchants",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_merchants")),
    )
    op.create_table(
        "registry_revision",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_registry_revision")),
    )
    op.execute("INSERT INTO registry_revision (id, value) VALUES (1, 1)")
    op.create_table(
        "clients",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_clients_merchant_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
    )
    with op.batch_alter_table("clients", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_clients_merchant_id"), ["merchant_id"], unique=False)
        batch_op.create_index(batch_op.f("ix_clients_revision"), ["revision"], unique=False)

    op.create_table(
        "skus",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("sku_id", sa.String(length=128), nullable=False),
        sa.Column("product_id", sa.String(length=128), nullable=False),
        sa.Column("is_main", sa.Boolean(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("weight_kg", EXACT_DECIMAL, nullable=True),
        sa.Column("height_cm", EXACT_DECIMAL, nullable=True),
        sa.Column("width_cm", EXACT_DECIMAL, nullable=True),
        sa.Column("length_cm", EXACT_DECIMAL, nullable=True),
        sa.Column("ean", sa.String(length=32), nullable=True),
        sa.Column("hs_code", sa.String(length=32), nullable=True),
        sa.Column("origin_list_price", EXACT_DECIMAL, nullable=True),
        sa.Column("origin_sale_price", EXACT_DECIMAL, nullable=True),
        sa.Column("sale_channel_data", sa.JSON(), nullable=True),
        sa.Column("images", sa.JSON(), nullable=False),
        sa.Column("localization_status", sa.String(length=64), nullable=False),
        sa.Column("sales_channel_status", sa.JSON(), nullable=False),
        sa.Column("last_updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_skus_merchant_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_skus")),
        sa.UniqueConstraint("merchant_id", "sku_id", name=op.f("uq_skus_merchant_id_sku_id")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("skus", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_skus_merchant_id_number"), ["merchant_id", "number"], unique=False)
        batch_op.create_index(batch_op.f("ix_skus_merchant_id_product_id"), ["merchant_id", "product_id"], unique=False)

    op.create_table(
        "secrets",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("client_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.Text(), nullable=True),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("pepper_id", sa.String(length=32), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_used_address", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_secrets_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("digest", name=op.f("uq_secrets_digest")),
    )
    with op.batch_alter_table("secrets", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_secrets_client_id"), ["client_id"], unique=False)


def downgrade() -> None:
    """Back."""
    with op.batch_alter_table("secrets", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_secrets_client_id"))

    op.drop_table("secrets")
    with op.batch_alter_table("skus", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_skus_merchant_id_product_id"))
        batch_op.drop_index(batch_op.f("ix_skus_merchant_id_number"))

    op.drop_table("skus")
    with op.batch_alter_table("clients", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_clients_revision"))
        batch_op.drop_index(batch_op.f("ix_clients_merchant_id"))

    op.drop_table("clients")
    op.drop_table("registry_revision")
    op.drop_table("merchants")
