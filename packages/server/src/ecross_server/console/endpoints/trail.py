"""The audit trail: why a caller was refused, who did what, and whether anybody has changed that."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter
from starlette.responses import Response

from ecross_server.audit import service
from ecross_server.audit.schemas import record_out
from ecross_server.audit.service import RecordFilter
from ecross_server.auth.refusals import find_refusals
from ecross_server.console.desk import PAGE_ROWS, PATH, PageRoute, Viewer
from ecross_server.console.forms import faults_of, optional
from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants.rules import CLIENT_ID
from ecross_server.web.unit_of_work import CurrentDatabase

REFUSALS: Final = f"{PATH}/refusals"
TRAIL: Final = f"{PATH}/trail"
SHOWN_REFUSALS: Final = 20
RECORD_NUMBER: Final = re.compile(r"[0-9]{1,18}")
CHOICES: Final = ("merchant", "client", "action", "outcome", "request", "since", "tokens")

router = APIRouter(route_class=PageRoute)


@router.get(REFUSALS, response_model=None)
def get_refusals(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """Why a caller was refused, by the id of its request or of its client."""
    text = optional(visit.request.query_params, "q")
    refusals = []
    if text is not None:
        asked = {"client_id": text} if CLIENT_ID.fullmatch(text) else {"request_id": text}
        with database.read() as session:
            refusals = find_refusals(session, **asked, limit=SHOWN_REFUSALS)
    shown = [(each, record_out(each.record), [record_out(act) for act in each.acts_before]) for each in refusals]
    return visit.page("refusals", text=text, refusals=shown, most=SHOWN_REFUSALS)


@router.get(TRAIL, response_model=None)
def get_trail(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """Records of the trail, the newest first."""
    chosen = {name: value for name in CHOICES if (value := optional(visit.request.query_params, name)) is not None}
    before = visit.request.query_params.get("before", "")
    faults, since = {}, None
    try:
        since = service.read_since(chosen.get("since"))
    except InvalidInputError as error:
        faults = faults_of(error)
    asked = RecordFilter(
        since=since,
        merchant_id=chosen.get("merchant"),
        client_id=chosen.get("client"),
        action=chosen.get("action"),
        outcome=chosen.get("outcome"),
        request_id=chosen.get("request"),
        before=int(before) if RECORD_NUMBER.fullmatch(before) else None,
        but_issued="tokens" not in chosen,
    )
    with database.read() as session:
        records = [] if faults else list(service.list_records(session, asked, PAGE_ROWS + 1))[::-1]
    next_path = None
    if len(records) > PAGE_ROWS:
        records = records[:PAGE_ROWS]
        next_path = f"{TRAIL}?{urlencode({**chosen, 'before': records[-1].seq})}"
    return visit.page(
        "trail", records=[record_out(record) for record in records], form=chosen, faults=faults, next_path=next_path,
        first_path=f"{TRAIL}?{urlencode(chosen)}", is_first=not before,
    )  # fmt: skip


@router.post(TRAIL + "/verify", response_model=None)
def post_verify(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """Check every record and every link of the trail. Reads all of it, so by a button alone."""
    keys = visit.caller.keys
    witness = service.read_witness(visit.desk.witness_file)
    with database.read() as session:
        verdict = service.verify(session, keys, witness)
    return visit.page("verdict", verdict=verdict)
