"""The database and the time for endpoints.

An endpoint opens its transaction itself, so it is committed before the answer exists.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import Depends, Request

from ecross_server.kit.clock import Clock
from ecross_server.kit.database import Database


async def get_database(request: Request) -> Database:
    """The application's database."""
    database: Database = request.app.state.database
    return database


CurrentDatabase = Annotated[Database, Depends(get_database)]
"""What an endpoint asks for: `with database.write() as session:` inside it, see docs/decisions/0005."""


async def get_now(request: Request) -> datetime:
    """The present instant by the application's clock."""
    clock: Clock = request.app.state.clock
    return clock()


CurrentTime = Annotated[datetime, Depends(get_now)]
"""What an endpoint asks for that stamps what it writes."""
