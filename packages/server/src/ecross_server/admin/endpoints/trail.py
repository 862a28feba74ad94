"""The audit trail."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Query

from ecross_server.admin.endpoints.access import AdminPageTokens, CurrentOffice, Viewer, extra
from ecross_server.admin.schemas import RecordOut, RecordPageOut, VerdictOut
from ecross_server.audit import service
from ecross_server.audit.schemas import record_out, verdict_out
from ecross_server.audit.service import RecordFilter
from ecross_server.operators.rules import Role
from ecross_server.web.listing import PageSize
from ecross_server.web.unit_of_work import CurrentDatabase

router = APIRouter(prefix="/admin", tags=["audit trail"])

LIST_NAME: Final = "audit trail"


@router.get("/audit", summary="List records", openapi_extra=extra(Role.VIEWER))
def list_records(  # noqa: PLR0913 - what a query may hold
    *,
    acting: Viewer,
    database: CurrentDatabase,
    page_tokens: AdminPageTokens,
    page_size: PageSize,
    since: Annotated[str | None, Query(description="Only from then on.", examples=["2026-11-25T00:00:00Z"])] = None,
    merchant_id: Annotated[str | None, Query(alias="merchantId", max_length=200, examples=["ACME"])] = None,
    client_id: Annotated[str | None, Query(alias="clientId", max_length=200, examples=["acme-q7w4k2m5zt3xa"])] = None,
    request_id: Annotated[
        str | None, Query(alias="requestId", max_length=200, description="As `X-Request-Id` of an answer said.")
    ] = None,
    action: Annotated[str | None, Query(max_length=200, examples=["merchants.register"])] = None,
    outcome: Annotated[str | None, Query(max_length=200, examples=["invalid_client"])] = None,
    next_page_token: Annotated[
        str | None, Query(alias="nextPageToken", description="The token of the page before, asked for alike.")
    ] = None,
) -> RecordPageOut:
    """The newest records, the newest last; the next page has the ones before them."""
    asked = (since, merchant_id, client_id, request_id, action, outcome)
    name = " ".join((LIST_NAME, *(each or "-" for each in asked)))
    me = acting.operator.operator_id
    before = None
    if next_page_token:
        before = int(page_tokens.read(next_page_token, merchant_id=me, list_name=name))
    chosen = RecordFilter(service.read_since(since), merchant_id, client_id, action, outcome, request_id, before)
    with database.read() as session:
        records = [
            RecordOut.model_validate(record_out(each)) for each in service.list_records(session, chosen, page_size)
        ]
    token = None
    if len(records) == page_size:
        token = page_tokens.make(merchant_id=me, list_name=name, position=str(records[0].seq))
    return RecordPageOut(records=records, next_page_token=token)


@router.get("/audit/verify", summary="Is the trail as it was written?", openapi_extra=extra(Role.VIEWER))
def verify_trail(*, acting: Viewer, office: CurrentOffice, database: CurrentDatabase) -> VerdictOut:
    """Looks at every record: a million take some ten seconds."""
    del acting
    witness = service.read_witness(office.witness_file)
    with database.read() as session:
        return VerdictOut.model_validate(verdict_out(service.verify(session, office.audit_keys(), witness)))
