"""The catalog over HTTP."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path
from starlette.responses import Response

from ecross_server.auth.endpoints import CurrentPageTokens, require
from ecross_server.auth.service import Caller
from ecross_server.catalog import service
from ecross_server.catalog.schemas import PRODUCT_IN, SkuOut, SkuPageOut, product_json, read_product
from ecross_server.web.answers import JSON
from ecross_server.web.bodies import JsonBody, json_request
from ecross_server.web.idempotency import CurrentKeyedRequest, answer_once
from ecross_server.web.listing import PageSize, PageToken, UpdatedAfter
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/ext", tags=["catalog"])

CatalogReader = Annotated[Caller, Depends(require("catalog:read"))]
CatalogWriter = Annotated[Caller, Depends(require("catalog:write"))]

EXAMPLE: Final = {
    "skuId": "1234567890", "productId": "1234567", "main": True, "name": "USB charger type C",
    "description": "Charges fast.\nHas two ports.", "weight": 0.1, "height": 4, "width": 4, "length": 19,
    "ean": "0799439112766", "hscode": "850440", "localizedListPriceWithTaxes": 9.99,
    "localizedSalePriceWithTaxes": 8.00,
    "globalSaleChannelData": {
        "active": True, "brand": "ChargerW", "size": "2 meters", "color": "silver",
        "category": "Telefones e Celulares/Acessórios/Carregadores",
        "attributes": [{"name": "Connection Type", "value": "USB-C"}],
    },
    "images": ["https://img.test/1.jpeg"],
}  # fmt: skip
"""The published one."""


@router.get("/merchant/skus", response_model=SkuPageOut, response_model_exclude_none=True, summary="List SKUs")
def list_skus(
    *,
    caller: CatalogReader,
    database: CurrentDatabase,
    page_tokens: CurrentPageTokens,
    page_size: PageSize,
    last_update_date_from: UpdatedAfter = None,
    next_page_token: PageToken = None,
) -> Any:  # noqa: ANN401 - the body is written once, by the model itself, see SkuPageOut.to_json
    """The merchant's own SKUs, in pages.

    Their order is that of their first registration, which no write changes: while rows are written, paging neither
    repeats nor skips a SKU that was there when it began. No `lastUpdateDate` in it is later than its first page: ask
    next with the greatest one of all pages, and no change is missed. By date it also tells what was deleted since, as
    `DELETED` in `localizationStatus`.
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
    return Response(SkuPageOut.of(page).to_json(), media_type=JSON)


@router.post(
    "/merchant/skus",
    response_model=list[SkuOut],
    response_model_exclude_none=True,
    summary="Upsert the SKUs of a product",
    openapi_extra=json_request(PRODUCT_IN, [EXAMPLE]),
)
def upsert_skus(
    *,
    caller: CatalogWriter,
    database: CurrentDatabase,
    now: CurrentTime,
    keyed: CurrentKeyedRequest,
    body: JsonBody,
) -> Any:  # noqa: ANN401 - the body is written once, by the model itself
    """One product with all its SKUs; the whole product changes, or nothing.

    A SKU that the product had and that is left out is deleted. One of another product leaves that one. New SKUs start
    as `PENDING_LOCALIZATION`. What is sent again as it is changes nothing, not even its date.
    """
    drafts = read_product(body)
    answer = answer_once(
        database,
        caller.merchant_id,
        keyed,
        lambda session: service.upsert_skus(session, caller.merchant_id, drafts, now=now),
        product_json,
        now=now,
    )
    return Response(answer, media_type=JSON)


@router.get(
    "/merchant/products/{productId}",
    response_model=list[SkuOut],
    response_model_exclude_none=True,
    summary="Get the SKUs of a product",
)
def get_product(
    *,
    caller: CatalogReader,
    database: CurrentDatabase,
    product_id: Annotated[str, Path(alias="productId", description="The merchant's id.", examples=["1234567"])],
) -> Any:  # noqa: ANN401 - as above
    """All SKUs of one of the merchant's products, in the order of their first registration."""
    with database.read() as session:
        skus = service.list_product_skus(session, caller.merchant_id, product_id)
    return Response(product_json(skus), media_type=JSON)
