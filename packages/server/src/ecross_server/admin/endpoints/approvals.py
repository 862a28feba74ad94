"""A second person's word before somebody gets a secret."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Path, Query

from ecross_server.admin.endpoints.access import Representative, Viewer, extra
from ecross_server.admin.schemas import ApprovalAsked
from ecross_server.approvals import service
from ecross_server.approvals.rules import Subject
from ecross_server.approvals.schemas import ApprovalListOut, ApprovalOut
from ecross_server.operators.rules import Role
from ecross_server.web.bodies import JsonBody, checked, parse_json
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["approvals"])

EXAMPLE: Final = {"act": "credentials.issue", "merchantId": "ACME", "reason": "The warehouse system gets its own."}
ApprovalId = Annotated[str, Path(alias="approvalId", description="Its id.", examples=["apr_q7w4k2m5zt3xa"])]


@router.get("/approvals", summary="List approvals", openapi_extra=extra(Role.VIEWER))
def list_approvals(
    *,
    acting: Viewer,
    database: CurrentDatabase,
    now: CurrentTime,
    only_open: Annotated[
        bool, Query(alias="open", description="Only those that wait for an answer or for their act.", examples=[True])
    ] = False,
) -> ApprovalListOut:
    """The newest 200, the newest first."""
    del acting
    with database.read() as session:
        found = service.list_approvals(session, now=now, only_open=only_open)
        return ApprovalListOut(approvals=[ApprovalOut.of(each, now) for each in found])


@router.post(
    "/approvals",
    summary="Ask for an approval",
    status_code=201,
    openapi_extra=extra(Role.REPRESENTATIVE, ApprovalAsked, EXAMPLE),
)
def ask_approval(*, acting: Representative, database: CurrentDatabase, now: CurrentTime, body: JsonBody) -> ApprovalOut:
    """For one act, once, within a day. Who has an open one for the same act gets that."""
    asked = checked(ApprovalAsked, parse_json(body))
    subject = Subject(asked.act, asked.merchant_id, asked.client_id)
    with database.write() as session:
        return ApprovalOut.of(service.ask_approval(session, subject, asked.reason, now=now, by=acting.by), now)


@router.get("/approvals/{approvalId}", summary="Show an approval", openapi_extra=extra(Role.VIEWER))
def get_approval(
    *, acting: Viewer, database: CurrentDatabase, now: CurrentTime, approval_id: ApprovalId
) -> ApprovalOut:
    """Who asked for what and why, and what was said."""
    del acting
    with database.read() as session:
        return ApprovalOut.of(service.show_approval(session, approval_id), now)


@router.post("/approvals/{approvalId}/grant", summary="Grant an approval", openapi_extra=extra(Role.REPRESENTATIVE))
def grant_approval(
    *, acting: Representative, database: CurrentDatabase, now: CurrentTime, approval_id: ApprovalId
) -> ApprovalOut:
    """Whoever asked may do it, once. Nobody grants their own."""
    with database.write() as session:
        decided = service.decide_approval(session, approval_id, is_granted=True, now=now, by=acting.by)
        return ApprovalOut.of(decided, now)


@router.post("/approvals/{approvalId}/refuse", summary="Refuse an approval", openapi_extra=extra(Role.REPRESENTATIVE))
def refuse_approval(
    *, acting: Representative, database: CurrentDatabase, now: CurrentTime, approval_id: ApprovalId
) -> ApprovalOut:
    """Whoever asked takes it back so."""
    with database.write() as session:
        decided = service.decide_approval(session, approval_id, is_granted=False, now=now, by=acting.by)
        return ApprovalOut.of(decided, now)
