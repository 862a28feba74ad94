"""What Alembic runs: the migrations, on the connection that `ecross_server.migrations` opened."""

from __future__ import annotations

from alembic import context

import ecross_server.audit.models
import ecross_server.catalog.models
import ecross_server.merchants.models  # noqa: F401 - imported for the tables that it declares
from ecross_server.kit.database import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
    compare_server_default=True,
    transactional_ddl=False,  # the caller's transaction holds all of it
)
context.run_migrations()
