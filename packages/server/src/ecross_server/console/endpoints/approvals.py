"""A second person's word before somebody gets a secret: asked for where the act is done, granted or refused here."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from ecross_server.approvals import service
from ecross_server.approvals.rules import Act, Subject
from ecross_server.approvals.service import Approval
from ecross_server.console.desk import PATH, PageRoute, Representative, Viewer, Visit
from ecross_server.console.errors import UnreadableFormError
from ecross_server.console.forms import optional, text_of
from ecross_server.web.unit_of_work import CurrentDatabase

APPROVALS: Final = f"{PATH}/approvals"
SHOWN_PATH: Final = APPROVALS + "/{approval_id}"

router = APIRouter(route_class=PageRoute)

ApprovalId = Annotated[str, Path()]


@router.get(APPROVALS, response_model=None)
def get_approvals(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """What waits for somebody's word, and what became of the rest."""
    with database.read() as session:
        listed = [(each, service.state_of(each, visit.now)) for each in service.list_approvals(session, now=visit.now)]
    return visit.page("approvals", approvals=listed)


@router.post(APPROVALS, response_model=None)
def post_ask(*, visit: Representative, database: CurrentDatabase) -> Response:
    """Ask for an approval."""
    subject = Subject(_act(visit), text_of(visit.form, "merchant"), optional(visit.form, "client"))
    with database.write() as session:
        approval = service.ask_approval(session, subject, text_of(visit.form, "reason"), now=visit.now, by=visit.actor)
        approval_id = approval.id
    return visit.redirect(f"{APPROVALS}/{approval_id}", "approval-asked")


@router.get(SHOWN_PATH, response_model=None)
def get_approval(*, approval_id: ApprovalId, visit: Viewer, database: CurrentDatabase) -> Response:
    """An approval: who asked for what and why, and what was said."""
    with database.read() as session:
        approval = service.show_approval(session, approval_id)
    return visit.page(
        "approval", approval=approval, state=service.state_of(approval, visit.now), is_own=_is_own(visit, approval)
    )


@router.post(SHOWN_PATH + "/grant", response_model=None)
def post_grant(*, approval_id: ApprovalId, visit: Representative, database: CurrentDatabase) -> Response:
    """Grant it, if somebody else has asked."""
    return _decide(visit, database, approval_id, is_granted=True)


@router.post(SHOWN_PATH + "/refuse", response_model=None)
def post_refuse(*, approval_id: ApprovalId, visit: Representative, database: CurrentDatabase) -> Response:
    """Refuse it; whoever asked takes it back so."""
    return _decide(visit, database, approval_id, is_granted=False)


def find_approval(visit: Visit, database: CurrentDatabase, subject: Subject) -> Approval | None:
    """What the operator has asked for and can still do, or wait for; nothing where nobody has to be asked."""
    if not visit.desk.issuing_approval:
        return None
    with database.read() as session:
        return service.find_approval(session, subject, now=visit.now, by=visit.actor.name)


def _decide(visit: Visit, database: CurrentDatabase, approval_id: str, *, is_granted: bool) -> Response:
    with database.write() as session:
        service.decide_approval(session, approval_id, is_granted=is_granted, now=visit.now, by=visit.actor)
    return visit.redirect(f"{APPROVALS}/{approval_id}", "approval-granted" if is_granted else "approval-refused")


def _is_own(visit: Visit, approval: Approval) -> bool:
    return approval.asked_by == visit.actor.name


def _act(visit: Visit) -> Act:
    with suppress(ValueError):
        return Act(text_of(visit.form, "act"))
    raise UnreadableFormError
