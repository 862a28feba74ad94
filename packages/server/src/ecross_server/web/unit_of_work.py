"""The database for endpoints. An endpoint opens its transaction itself, so it is committed before the answer exists."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from ecross_server.kit.database import Database


async def get_database(request: Request) -> Database:
    """The application's database."""
    database: Database = request.app.state.database
    return database


CurrentDatabase = Annotated[Database, Depends(get_database)]
"""What an endpoint asks for: `with database.write() as session:` inside it, see docs/decisions/0005."""
