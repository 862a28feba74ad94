"""Operators, for owners: invited, given roles, disabled, signed out."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from ecross_server.console.desk import PATH, Owner, PageRoute, Visit
from ecross_server.console.endpoints.sign_in import INVITATION
from ecross_server.console.forms import optional, require_typed, text_of
from ecross_server.kit.errors import DomainError
from ecross_server.operators import passkeys, service
from ecross_server.operators.service import Invitation
from ecross_server.web.unit_of_work import CurrentDatabase

OPERATORS: Final = f"{PATH}/operators"
SHOWN_PATH: Final = OPERATORS + "/{operator_id}"

router = APIRouter(route_class=PageRoute)

OperatorId = Annotated[str, Path()]


@router.get(OPERATORS, response_model=None)
def get_operators(*, visit: Owner, database: CurrentDatabase) -> Response:
    """All operators, and the form that invites one."""
    return visit.page("operators", **_operators(database))


@router.post(OPERATORS, response_model=None)
def post_operators(*, visit: Owner, database: CurrentDatabase) -> Response:
    """Invite an operator; the invitation is on the page that answers."""
    operator_id, name, role = (text_of(visit.form, field) for field in ("id", "name", "role"))
    try:
        with database.write() as session:
            invitation = service.invite_operator(
                session, operator_id, name, role, keys=visit.desk.door.keys(), now=visit.now, by=visit.actor
            )
    except DomainError as error:
        return visit.refusal("operators", error, **_operators(database))
    return _invitation_page(visit, invitation)


@router.get(SHOWN_PATH, response_model=None)
def get_operator(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """An operator with its sessions."""
    return visit.page("operator", **_operator(visit, database, operator_id))


@router.post(SHOWN_PATH + "/role", response_model=None)
def post_role(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """Give an operator another role."""
    try:
        with database.write() as session:
            service.change_role(session, operator_id, text_of(visit.form, "role"), now=visit.now, by=visit.actor)
    except DomainError as error:
        return visit.refusal("operator", error, **_operator(visit, database, operator_id))
    return visit.redirect(f"{OPERATORS}/{operator_id}", "role-changed")


@router.post(SHOWN_PATH + "/disable", response_model=None)
def post_disable(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """Disable an operator whose id was typed."""
    try:
        require_typed(visit.form, operator_id)
        with database.write() as session:
            service.disable_operator(session, operator_id, now=visit.now, by=visit.actor)
    except DomainError as error:
        return visit.refusal("operator", error, **_operator(visit, database, operator_id))
    return visit.redirect(f"{OPERATORS}/{operator_id}", "operator-disabled")


@router.post(SHOWN_PATH + "/enable", response_model=None)
def post_enable(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """Let a disabled operator sign in again."""
    with database.write() as session:
        service.enable_operator(session, operator_id, now=visit.now, by=visit.actor)
    return visit.redirect(f"{OPERATORS}/{operator_id}", "operator-enabled")


@router.post(SHOWN_PATH + "/reinvite", response_model=None)
def post_reinvite(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """Another invitation, for who has forgotten the password or lost the authenticator."""
    try:
        with database.write() as session:
            invitation = service.reinvite_operator(
                session, operator_id, keys=visit.desk.door.keys(), now=visit.now, by=visit.actor
            )
    except DomainError as error:
        return visit.refusal("operator", error, **_operator(visit, database, operator_id))
    return _invitation_page(visit, invitation)


@router.post(SHOWN_PATH + "/sign-out", response_model=None)
def post_sign_out(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """End one of an operator's sessions, or all of them with its administration tokens."""
    named = optional(visit.form, "session")
    with database.write() as session:
        service.end_sessions(
            session, operator_id, now=visit.now, by=visit.actor, session_ids=None if named is None else [named]
        )
    return visit.redirect(f"{OPERATORS}/{operator_id}", "sessions-ended")


@router.post(SHOWN_PATH + "/remove-passkey", response_model=None)
def post_remove_passkey(*, operator_id: OperatorId, visit: Owner, database: CurrentDatabase) -> Response:
    """Remove one of an operator's passkeys."""
    with database.write() as session:
        passkeys.remove_passkey(session, operator_id, text_of(visit.form, "passkey"), now=visit.now, by=visit.actor)
    return visit.redirect(f"{OPERATORS}/{operator_id}", "passkey-removed")


def _invitation_page(visit: Visit, invitation: Invitation) -> Response:
    url = f"{visit.desk.console_url}{INVITATION}{invitation.token}"
    return visit.page("invited", invitation=invitation, url=url)


def _operators(database: CurrentDatabase) -> dict[str, Any]:
    with database.read() as session:
        return {"operators": service.list_operators(session)}


def _operator(visit: Visit, database: CurrentDatabase, operator_id: str) -> dict[str, Any]:
    with database.read() as session:
        operator = service.get_operator(session, operator_id)
        sessions = service.list_sessions(session, operator_id, ends=visit.desk.ends, now=visit.now)
        listed = passkeys.list_passkeys(session, operator_id)
    return {"operator": operator, "sessions": sessions[::-1], "passkeys": listed[::-1]}
