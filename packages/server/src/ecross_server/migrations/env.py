"""What Alembic runs: the migrations, on the connection that `ecross_server.migrations` opened."""

from __future__ import annotations

from alembic import context

from ecross_server.migrations.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,
    compare_server_default=True,
    transactional_ddl=False,  # the caller's transaction holds all of it
)
context.run_migrations()
