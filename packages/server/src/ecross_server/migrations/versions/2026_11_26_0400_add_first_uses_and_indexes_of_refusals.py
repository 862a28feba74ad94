"""Add when a secret was first used, and indexes by which refusals are found without looking at issued tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

NOT_ISSUED = sa.text("outcome <> 'issued'")
INDEXES = {
    "ix_audit_records_client_id_but_issued": ["client_id", "seq"],
    "ix_audit_records_merchant_id_but_issued": ["merchant_id", "seq"],
    "ix_audit_records_request_id": ["request_id"],
}


def upgrade() -> None:
    """Forward."""
    op.add_column("secrets", sa.Column("first_used_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("secrets", sa.Column("first_used_address", sa.String(length=64), nullable=True))
    for name, columns in INDEXES.items():
        op.create_index(
            name, "audit_records", columns, unique=False, sqlite_where=NOT_ISSUED, postgresql_where=NOT_ISSUED
        )


def downgrade() -> None:
    """Back."""
    for name in reversed(INDEXES):
        op.drop_index(name, table_name="audit_records")
    op.drop_column("secrets", "first_used_address")
    op.drop_column("secrets", "first_used_at")
