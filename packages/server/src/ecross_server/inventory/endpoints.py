"""Inventory over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from ecross_server.auth.endpoints import CurrentPageTokens, require
from ecross_server.auth.service import Caller
from ecross_server.inventory import service
from ecross_server.inventory.schemas import (
    InventoryIn,
    InventoryOut,
    InventoryPageOut,
    SellableStockOut,
    read_inventory,
    to_json,
)
from ecross_server.kit.change_lists import PageRequest
from ecross_server.web.answers import JSON
from ecross_server.web.bodies import JsonBody, json_request
from ecross_server.web.idempotency import CurrentKeyedRequest, answer_once
from ecross_server.web.listing import PageSize, PageToken, UpdatedAfter
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/ext", tags=["inventory"])

InventoryReader = Annotated[Caller, Depends(require("inventory:read"))]
InventoryWriter = Annotated[Caller, Depends(require("inventory:write"))]

EXAMPLE: Final = {"skuId": "1234567891", "quantity": 3, "warehouseId": 1, "inventoryType": "AVAILABLE"}


@router.post(
    "/inventories/",
    response_model=InventoryOut,
    response_model_exclude_none=True,
    summary="Set the stock of a SKU in a warehouse",
    openapi_extra=json_request(InventoryIn, EXAMPLE),
)
@router.post(
    "/inventories",
    name="set_inventory_without_slash",
    response_model=InventoryOut,
    response_model_exclude_none=True,
    summary="Set the stock of a SKU in a warehouse",
    openapi_extra=json_request(InventoryIn, EXAMPLE),
)
def set_inventory(
    *,
    caller: InventoryWriter,
    database: CurrentDatabase,
    now: CurrentTime,
    keyed: CurrentKeyedRequest,
    body: JsonBody,
) -> Any:  # noqa: ANN401 - the body is written once, by the model itself
    """So many pieces there are: the number is set, not added. The last call wins.

    Stock may come before its SKU. What lies in a returns warehouse is counted by who runs it and cannot be set.
    """
    count = read_inventory(body)
    answer = answer_once(
        database,
        caller.merchant_id,
        keyed,
        lambda session: service.set_inventory(session, caller.merchant_id, count, now=now),
        lambda stock: to_json(InventoryOut.of(stock)),
        now=now,
    )
    return Response(answer, media_type=JSON)


@router.get(
    "/inventories", response_model=InventoryPageOut, response_model_exclude_none=True, summary="List stock records"
)
def list_inventory(
    *,
    caller: InventoryReader,
    database: CurrentDatabase,
    page_tokens: CurrentPageTokens,
    page_size: PageSize,
    last_update_date_from: UpdatedAfter = None,
    next_page_token: PageToken = None,
) -> Any:  # noqa: ANN401 - as above
    """The merchant's stock records, in pages, in the order in which they were first written.

    While records are written, paging neither repeats nor skips one that was there when it began. Ask next with the
    greatest `lastUpdateDate` of all pages, and no change is missed.
    """
    request = PageRequest(last_update_date_from, next_page_token, page_size, page_tokens)
    with database.read() as session:
        page = service.list_inventory(session, caller.merchant_id, request)
    return Response(to_json(InventoryPageOut.of(page)), media_type=JSON)


@router.get(
    "/inventories/sku/{skuId}/country/{country}",
    response_model=SellableStockOut,
    response_model_exclude_none=True,
    summary="Get what can be sold to a country",
)
def get_sellable_stock(
    *,
    caller: InventoryReader,
    database: CurrentDatabase,
    sku_id: Annotated[str, Path(alias="skuId", description="The merchant's id.", examples=["1234567891"])],
    country: Annotated[
        str, Path(pattern="^[A-Z]{2}$", description="ISO 3166-1 alpha-2, of the destination.", examples=["BR"])
    ],
) -> Any:  # noqa: ANN401 - as above
    """All that is available at the origin, and what came back to that country and is good."""
    with database.read() as session:
        sellable = service.sellable_stock(session, caller.merchant_id, sku_id, country)
    return Response(to_json(SellableStockOut.of(sellable)), media_type=JSON)
