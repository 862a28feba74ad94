"""Add the audit trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
NOT_ISSUED = sa.text("outcome <> 'issued'")


def upgrade() -> None:
    """Forward."""
    op.create_table(
        "audit_records",
        sa.Column("seq", NUMBER, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("merchant_id", sa.Text(), nullable=True),
        sa.Column("client_id", sa.Text(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("address", sa.Text(), nullable=True),
        sa.Column("request_id", sa.Text(), nullable=True),
        sa.Column("token_id", sa.Text(), nullable=True),
        sa.Column("secret_id", sa.Text(), nullable=True),
        sa.Column("details", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_audit_records")),
    )
    with op.batch_alter_table("audit_records", schema=None) as batch_op:
        for column in ("action", "outcome"):
            batch_op.create_index(
                batch_op.f(f"ix_audit_records_{column}_seq"),
                [column, "seq"],
                unique=False,
                sqlite_where=NOT_ISSUED,
                postgresql_where=NOT_ISSUED,
            )
        batch_op.create_index(batch_op.f("ix_audit_records_client_id_seq"), ["client_id", "seq"], unique=False)
        batch_op.create_index(batch_op.f("ix_audit_records_merchant_id_seq"), ["merchant_id", "seq"], unique=False)

    op.create_table(
        "audit_batches",
        sa.Column("number", NUMBER, autoincrement=False, nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("previous_hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_audit_batches")),
        sa.UniqueConstraint("first_seq", name=op.f("uq_audit_batches_first_seq")),
    )
    with op.batch_alter_table("audit_batches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_audit_batches_at"), ["at"], unique=False)

    marks = op.create_table(
        "audit_marks",
        sa.Column("name", sa.String(length=8), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(length=32), nullable=False),
        sa.Column("batch_key_id", sa.String(length=32), nullable=False),
        sa.Column("key_id", sa.String(length=32), nullable=False),
        sa.Column("mac", sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_audit_marks")),
    )
    beginning = {"number": 0, "seq": 0, "hash": bytes(32), "batch_key_id": "", "key_id": "", "mac": b""}
    op.bulk_insert(marks, [{"name": name, **beginning} for name in ("head", "anchor")])


def downgrade() -> None:
    """Back."""
    op.drop_table("audit_marks")
    with op.batch_alter_table("audit_batches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_batches_at"))

    op.drop_table("audit_batches")
    with op.batch_alter_table("audit_records", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_audit_records_merchant_id_seq"))
        batch_op.drop_index(batch_op.f("ix_audit_records_client_id_seq"))
        batch_op.drop_index(batch_op.f("ix_audit_records_outcome_seq"))
        batch_op.drop_index(batch_op.f("ix_audit_records_action_seq"))

    op.drop_table("audit_records")
