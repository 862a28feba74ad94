"""Merchants."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query

from ecross_server.admin.endpoints.access import (
    AdminPageTokens,
    CurrentOffice,
    Representative,
    Viewer,
    extra,
)
from ecross_server.admin.endpoints.links import terms_of
from ecross_server.admin.schemas import MerchantPageOut, RegisterAsked
from ecross_server.approvals.errors import ApprovalNeededError
from ecross_server.approvals.rules import Act
from ecross_server.handover.schemas import OfferedMerchantOut, OfferOut
from ecross_server.handover.service import offer_new_client
from ecross_server.merchants import service
from ecross_server.merchants.schemas import MerchantOut, MerchantWithClientsOut, RegisteredMerchantOut
from ecross_server.operators.rules import Role
from ecross_server.web.bodies import JsonBody, checked, parse_json
from ecross_server.web.listing import PageSize
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["merchants"])

LIST_NAME: Final = "merchants"
MerchantId = Annotated[str, Path(alias="merchantId", description="The merchant's id.", examples=["ACME"])]


@router.get("/merchants", summary="List merchants", openapi_extra=extra(Role.VIEWER))
def list_merchants(
    *,
    acting: Viewer,
    database: CurrentDatabase,
    page_tokens: AdminPageTokens,
    page_size: PageSize,
    search: Annotated[
        str | None, Query(max_length=200, description="Part of an id or a name.", examples=["acme"])
    ] = None,
    status: Annotated[Literal["active", "disabled"] | None, Query(examples=["active"])] = None,
    next_page_token: Annotated[
        str | None, Query(alias="nextPageToken", description="The token of the page before, asked for alike.")
    ] = None,
) -> MerchantPageOut:
    """All merchants or those that are searched for, by id, in pages."""
    name = f"{LIST_NAME} {status or ''} {search or ''}"
    me = acting.operator.operator_id
    after = page_tokens.read(next_page_token, merchant_id=me, list_name=name) if next_page_token else ""
    with database.read() as session:
        found = service.search_merchants(session, text=search, status=status, after=after, limit=page_size + 1)
        page = [MerchantOut.of(merchant) for merchant in found[:page_size]]
    token = None
    if len(found) > page_size:
        token = page_tokens.make(merchant_id=me, list_name=name, position=page[-1].merchant_id)
    return MerchantPageOut(merchants=page, next_page_token=token)


@router.post(
    "/merchants",
    summary="Register a merchant",
    status_code=201,
    openapi_extra=extra(Role.REPRESENTATIVE, RegisterAsked, {"merchantId": "ACME", "name": "Acme"}),
    response_model=OfferedMerchantOut | RegisteredMerchantOut | MerchantOut,
)
def register_merchant(
    *,
    acting: Representative,
    office: CurrentOffice,
    database: CurrentDatabase,
    now: CurrentTime,
    body: JsonBody,
) -> Any:  # noqa: ANN401 - one of three forms
    """With its first credentials, handed over by a link that shows them once; or in clear, if that is asked for."""
    asked = checked(RegisterAsked, parse_json(body))
    if office.issuing_approval and asked.credentials:
        raise ApprovalNeededError(Act.ISSUE, asked.merchant_id, is_new=True)
    terms = terms_of(asked, office) if asked.credentials else None
    limits = asked.restrictions()
    peppers = office.peppers()
    with database.write() as session:
        registered = service.register_merchant(session, asked.merchant_id, asked.name, now=now, by=acting.by)
        out = MerchantOut.of(registered)
        if terms is not None:
            offered = offer_new_client(
                session, asked.merchant_id, terms, peppers=peppers, now=now, by=acting.by, restrictions=limits
            )
            return OfferedMerchantOut(**dict(out), **dict(OfferOut.of(offered, office.public_url)))
        if asked.credentials:
            issued = service.issue_credential(
                session, asked.merchant_id, peppers=peppers, now=now, by=acting.by, restrictions=limits
            )
            return RegisteredMerchantOut(**dict(out), client_id=issued.client.id, client_secret=issued.client_secret)
    return out


@router.get("/merchants/{merchantId}", summary="Show a merchant with its clients", openapi_extra=extra(Role.VIEWER))
def get_merchant(
    *, acting: Viewer, database: CurrentDatabase, now: CurrentTime, merchant_id: MerchantId
) -> MerchantWithClientsOut:
    """The merchant, its clients and their secrets' lives."""
    del acting
    with database.read() as session:
        merchant, clients = service.show_merchant(session, merchant_id)
        return MerchantWithClientsOut.with_clients(merchant, clients, now)


@router.post("/merchants/{merchantId}/disable", summary="Disable a merchant", openapi_extra=extra(Role.REPRESENTATIVE))
def disable_merchant(*, acting: Representative, database: CurrentDatabase, merchant_id: MerchantId) -> MerchantOut:
    """No new tokens within 2 seconds, and none of the old ones works within 5."""
    with database.write() as session:
        return MerchantOut.of(service.disable_merchant(session, merchant_id, by=acting.by))


@router.post("/merchants/{merchantId}/enable", summary="Enable a merchant", openapi_extra=extra(Role.REPRESENTATIVE))
def enable_merchant(*, acting: Representative, database: CurrentDatabase, merchant_id: MerchantId) -> MerchantOut:
    """It may ask for tokens again; those from before stay dead."""
    with database.write() as session:
        return MerchantOut.of(service.enable_merchant(session, merchant_id, by=acting.by))
