"""Add what upserts of products need, and inventory.

Indexes of SKUs by date, by date within their order, and of living ones; the answers kept by idempotency key;
warehouses and what lies in them.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
IS_LIVING = sa.text("localization_status <> 'DELETED'")


def upgrade() -> None:
    """Forward."""
    with op.batch_alter_table("skus", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_skus_merchant_id_last_updated_at"), ["merchant_id", "last_updated_at"], unique=False
        )
        batch_op.create_index(
            batch_op.f("ix_skus_merchant_id_number_last_updated_at"),
            ["merchant_id", "number", "last_updated_at"],
            unique=False,
        )
        batch_op.drop_index(batch_op.f("ix_skus_merchant_id_number"))
        batch_op.create_index(
            "ix_skus_living",
            ["merchant_id", "number"],
            unique=False,
            sqlite_where=IS_LIVING,
            postgresql_where=IS_LIVING,
        )

    op.create_table(
        "idempotent_answers",
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.LargeBinary(length=32), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "key", name=op.f("pk_idempotent_answers")),
    )
    with op.batch_alter_table("idempotent_answers", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_idempotent_answers_merchant_id_expires_at"), ["merchant_id", "expires_at"], unique=False
        )

    op.create_table(
        "warehouses",
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("country", sa.String(length=2), nullable=True),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_warehouses_merchant_id")),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_warehouses")),
    )
    op.create_table(
        "inventory_records",
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("merchant_id", sa.String(length=32), nullable=False),
        sa.Column("sku_id", sa.String(length=128), nullable=False),
        sa.Column("warehouse_id", sa.Integer(), nullable=False),
        sa.Column("inventory_type", sa.String(length=16), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("last_updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_integrated_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchants.id"], name=op.f("fk_inventory_records_merchant_id")),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_inventory_records")),
        sa.UniqueConstraint(
            "merchant_id", "sku_id", "warehouse_id", "inventory_type", name="uq_inventory_records_place"
        ),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("inventory_records", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_inventory_records_merchant_id_last_updated_at"),
            ["merchant_id", "last_updated_at"],
            unique=False,
        )
        batch_op.create_index(
            batch_op.f("ix_inventory_records_merchant_id_number_last_updated_at"),
            ["merchant_id", "number", "last_updated_at"],
            unique=False,
        )


def downgrade() -> None:
    """Back."""
    with op.batch_alter_table("inventory_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_inventory_records_merchant_id_number_last_updated_at"))
        batch_op.drop_index(batch_op.f("ix_inventory_records_merchant_id_last_updated_at"))

    op.drop_table("inventory_records")
    op.drop_table("warehouses")
    with op.batch_alter_table("idempotent_answers", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_idempotent_answers_merchant_id_expires_at"))

    op.drop_table("idempotent_answers")
    with op.batch_alter_table("skus", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_skus_merchant_id_number"), ["merchant_id", "number"], unique=False)
        batch_op.drop_index(batch_op.f("ix_skus_merchant_id_number_last_updated_at"))
        batch_op.drop_index("ix_skus_living", sqlite_where=IS_LIVING, postgresql_where=IS_LIVING)
        batch_op.drop_index(batch_op.f("ix_skus_merchant_id_last_updated_at"))
