"""The catalog over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Query, Request
from pydantic import WithJsonSchema
from starlette.responses import Response

from ecross_server.auth.endpoints import CurrentPageTokens, require
from ecross_server.auth.service import Caller
from ecross_server.catalog import service
from ecross_server.catalog.schemas import SkuPageOut
from ecross_server.web.unit_of_work import CurrentDatabase

router = APIRouter(prefix="/ext", tags=["catalog"])

# What a text must be, told to those who read the document; checked below, where more forms of it are taken.
INSTANT_OR_EMPTY: Final = WithJsonSchema({
    "anyOf": [{"type": "string", "format": "date-time"}, {"const": ""}], "examples": ["2024-09-06T11:13:30.533Z"],
})  # fmt: skip
PAGE_TOKEN: Final = WithJsonSchema({"type": "string", "format": "page-token"})

CatalogReader = Annotated[Caller, Depends(require("catalog:read"))]


async def get_page_size(request: Request) -> int:
    """How many entries a page holds, by the server's settings."""
    size: int = request.app.state.page_size
    return size


@router.get("/merchant/skus", response_model=SkuPageOut, response_model_exclude_none=True, summary="List SKUs")
def list_skus(
    *,
    caller: CatalogReader,
    database: CurrentDatabase,
    page_tokens: CurrentPageTokens,
    page_size: Annotated[int, Depends(get_page_size)],
    last_update_date_from: Annotated[
        str | None,
        INSTANT_OR_EMPTY,
        Query(
            alias="lastUpdateDateFrom",
            description="ISO 8601 with a time zone: only SKUs updated after. Left out or empty: all.",
        ),
    ] = None,
    next_page_token: Annotated[
        str | None,
        PAGE_TOKEN,
        Query(
            alias="nextPageToken",
            description="The token of the page before, with the same `lastUpdateDateFrom`; left out or empty: page 1.",
        ),
    ] = None,
) -> Any:  # noqa: ANN401 - the body is written once, by the model itself, see SkuPageOut.to_json
    """The merchant's own SKUs, in pages.

    Their order is that of their first registration, which no write changes: while rows are written, paging neither
    repeats nor skips a SKU that was there when it began.
    """
    with database.read() as session:
        page = service.list_skus(
            session,
            caller.merchant_id,
            updated_after=last_update_date_from,
            page_token=next_page_token,
            page_size=page_size,
            page_tokens=page_tokens,
        )
    return Response(SkuPageOut.of(page).to_json(), media_type="application/json")
