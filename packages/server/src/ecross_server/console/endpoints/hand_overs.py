"""What became of the links that hand secrets over."""

from __future__ import annotations

from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path
from starlette.responses import Response

from ecross_server.console.desk import PAGE_ROWS, PATH, PageRoute, Representative, Viewer
from ecross_server.handover import service
from ecross_server.web.unit_of_work import CurrentDatabase

HAND_OVERS: Final = f"{PATH}/hand-overs"
SHOWN_PATH: Final = HAND_OVERS + "/{hand_over_id}"

router = APIRouter(route_class=PageRoute)

HandOverId = Annotated[str, Path()]


@router.get(HAND_OVERS, response_model=None)
def get_hand_overs(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """All hand-overs or one merchant's, the newest first."""
    merchant_id = visit.request.query_params.get("merchant") or None
    before = visit.request.query_params.get("before") or None
    with database.read() as session:
        receipts = service.list_newest_hand_overs(
            session, merchant_id=merchant_id, before=before, limit=PAGE_ROWS + 1, now=visit.now
        )
    kept = {} if merchant_id is None else {"merchant": merchant_id}
    next_path = None
    if len(receipts) > PAGE_ROWS:
        receipts = receipts[:PAGE_ROWS]
        next_path = f"{HAND_OVERS}?{urlencode({**kept, 'before': receipts[-1].hand_over.id})}"
    return visit.page(
        "hand_overs", receipts=receipts, merchant_id=merchant_id, next_path=next_path, is_first=before is None,
        first_path=f"{HAND_OVERS}?{urlencode(kept)}",
    )  # fmt: skip


@router.get(SHOWN_PATH, response_model=None)
def get_hand_over(*, hand_over_id: HandOverId, visit: Viewer, database: CurrentDatabase) -> Response:
    """The receipt of a hand-over."""
    with database.read() as session:
        receipt = service.show_hand_over(session, hand_over_id, now=visit.now)
    return visit.page("hand_over", receipt=receipt)


@router.post(SHOWN_PATH + "/cancel", response_model=None)
def post_cancel(*, hand_over_id: HandOverId, visit: Representative, database: CurrentDatabase) -> Response:
    """Let a link reveal nothing any more."""
    with database.write() as session:
        service.cancel_hand_over(session, hand_over_id, now=visit.now, by=visit.actor)
    return visit.redirect(f"{HAND_OVERS}/{hand_over_id}", "hand-over-cancelled")
