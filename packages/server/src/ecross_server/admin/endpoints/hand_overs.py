"""What became of the one-time links."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from ecross_server.admin.endpoints.access import Representative, Viewer, extra
from ecross_server.admin.endpoints.merchants import MerchantId
from ecross_server.handover import service
from ecross_server.handover.schemas import HandOverListOut, HandOverOut
from ecross_server.operators.rules import Role
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["hand-overs"])

HandOverId = Annotated[str, Path(alias="handOverId", description="Its id.", examples=["hov_q7w4k2m5zt3xa"])]


@router.get(
    "/merchants/{merchantId}/hand-overs", summary="List a merchant's hand-overs", openapi_extra=extra(Role.VIEWER)
)
def list_hand_overs(
    *, acting: Viewer, database: CurrentDatabase, now: CurrentTime, merchant_id: MerchantId
) -> HandOverListOut:
    """Their receipts, the newest last. No link can be had again."""
    del acting
    with database.read() as session:
        receipts = service.list_hand_overs(session, merchant_id, now=now)
        return HandOverListOut(hand_overs=[HandOverOut.of(receipt) for receipt in receipts])


@router.get("/hand-overs/{handOverId}", summary="Show a hand-over", openapi_extra=extra(Role.VIEWER))
def get_receipt(
    *, acting: Viewer, database: CurrentDatabase, now: CurrentTime, hand_over_id: HandOverId
) -> HandOverOut:
    """Its receipt: created, opened, revealed, and what came after."""
    del acting
    with database.read() as session:
        return HandOverOut.of(service.show_hand_over(session, hand_over_id, now=now))


@router.post("/hand-overs/{handOverId}/cancel", summary="Cancel a hand-over", openapi_extra=extra(Role.REPRESENTATIVE))
def cancel_hand_over(
    *, acting: Representative, database: CurrentDatabase, now: CurrentTime, hand_over_id: HandOverId
) -> HandOverOut:
    """Its link reveals nothing any more."""
    with database.write() as session:
        return HandOverOut.of(service.cancel_hand_over(session, hand_over_id, now=now, by=acting.by))
