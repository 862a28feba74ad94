"""What every list by date asks for in its query."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import Depends, Query, Request
from pydantic import WithJsonSchema

# What a text must be, told to those who read the document; checked later, where more forms of it are taken.
INSTANT_OR_EMPTY: Final = WithJsonSchema({
    "anyOf": [{"type": "string", "format": "date-time"}, {"const": ""}], "examples": ["2024-09-06T11:13:30.533Z"],
})  # fmt: skip
PAGE_TOKEN: Final = WithJsonSchema({"type": "string", "format": "page-token"})


async def get_page_size(request: Request) -> int:
    """How many entries a page holds, by the server's settings."""
    size: int = request.app.state.page_size
    return size


PageSize = Annotated[int, Depends(get_page_size)]

UpdatedAfter = Annotated[
    str | None,
    INSTANT_OR_EMPTY,
    Query(
        alias="lastUpdateDateFrom",
        description="ISO 8601 with a time zone: only what was updated after. Left out or empty: all.",
    ),
]

PageToken = Annotated[
    str | None,
    PAGE_TOKEN,
    Query(
        alias="nextPageToken",
        description="The token of the page before, with the same `lastUpdateDateFrom`; left out or empty: page 1.",
    ),
]
