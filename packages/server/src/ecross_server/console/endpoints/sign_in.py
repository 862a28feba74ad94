"""Signing in and out, the invitation with which one begins, and the sessions that one has."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from sqlalchemy.orm import Session
from starlette.responses import Response

from ecross_server.console.desk import (
    COOKIE,
    HOME,
    PATH,
    SIGN_IN,
    CurrentVisit,
    PageRoute,
    Viewer,
    Visit,
    find_session,
)
from ecross_server.console.errors import PasswordsDifferError
from ecross_server.console.forms import optional, text_of
from ecross_server.kit.errors import DomainError
from ecross_server.operators import service
from ecross_server.operators.passkeys import ask_for_passkey
from ecross_server.operators.service import Attempt, SignedIn
from ecross_server.web.context import context_of
from ecross_server.web.unit_of_work import CurrentDatabase

INVITATION: Final = f"{PATH}/invitations/"
SHOWN_INVITATION: Final = f"{PATH}/invitations/{{token}}"
"""What logs and metrics say instead of a path that holds an invitation."""

router = APIRouter(route_class=PageRoute)

Token = Annotated[str, Path()]


@router.get(SIGN_IN, response_model=None)
def get_sign_in(*, visit: CurrentVisit, database: CurrentDatabase) -> Response:
    """The page for signing in; who is signed in goes on."""
    next_path = next_path_of(visit.request.query_params)
    if find_session(visit, database) is not None:
        return visit.redirect(next_path)
    return visit.page("sign_in", **sign_in_values(visit, next_path))


@router.post(SIGN_IN, response_model=None)
def post_sign_in(*, visit: CurrentVisit, database: CurrentDatabase) -> Response:
    """A new session each time; one that the browser had before ends."""
    attempt = Attempt(text_of(visit.form, "operator"), visit.form.get("password", ""), text_of(visit.form, "code"))
    try:
        proof = service.check_sign_in(database, attempt, door=visit.desk.door, caller=visit.caller, now=visit.now)
        return enter(
            visit,
            database,
            lambda session: service.open_session(
                session, proof, ends=visit.desk.ends, caller=visit.caller, now=visit.now
            ),
        )
    except DomainError as error:
        return visit.refusal("sign_in", error, **sign_in_values(visit, next_path_of(visit.form)))


def enter(visit: Visit, database: CurrentDatabase, open_session: Callable[[Session], tuple[str, SignedIn]]) -> Response:
    """Where the operator goes who has just been let in, with the cookie of the new session; the one before ends."""
    with database.write() as session:
        value, _ = open_session(session)
        _end_session(visit, session)
    answer = visit.redirect(next_path_of(visit.form))
    answer.set_cookie(COOKIE, value, secure=True, httponly=True, samesite="strict", path="/")
    return answer


def sign_in_values(visit: Visit, next_path: str) -> dict[str, Any]:
    """What the page for signing in needs: also what a browser asks for a passkey with, if there can be any."""
    party = visit.desk.relying_party
    options = None if party is None else ask_for_passkey(party, keys=visit.desk.door.keys(), now=visit.now)
    return {"next": next_path, "party": party, "options": json.dumps(options)}


@router.post(f"{PATH}/sign-out", response_model=None)
def post_sign_out(*, visit: CurrentVisit, database: CurrentDatabase) -> Response:
    """End the session, whatever it was."""
    with database.write() as session:
        _end_session(visit, session)
    answer = visit.redirect(SIGN_IN)
    answer.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
    answer.headers["Clear-Site-Data"] = '"cache", "storage"'
    return answer


@router.get(SHOWN_INVITATION, response_model=None)
def get_invitation(*, token: Token, visit: CurrentVisit, database: CurrentDatabase) -> Response:
    """What somebody with an invitation sets the authenticator up with. Uses nothing up."""
    return visit.page("invitation", **_enrolment(visit, database, token))


@router.post(SHOWN_INVITATION, response_model=None)
def post_invitation(*, token: Token, visit: CurrentVisit, database: CurrentDatabase) -> Response:
    """Use the invitation up with a password and the authenticator's first code."""
    shown = _enrolment(visit, database, token)
    password, code = visit.form.get("password", ""), text_of(visit.form, "code")
    try:
        if password != visit.form.get("again", ""):
            raise PasswordsDifferError
        operator = service.finish_enrolment(
            database, token, password, code, door=visit.desk.door, caller=visit.caller, now=visit.now
        )
    except DomainError as error:
        return visit.refusal("invitation", error, **shown)
    return visit.page("enrolled", operator=operator)


@router.get(f"{PATH}/sessions", response_model=None)
def get_sessions(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """Where one is signed in."""
    with database.read() as session:
        sessions = service.list_sessions(session, visit.operator.operator_id, ends=visit.desk.ends, now=visit.now)
    return visit.page("sessions", sessions=sessions[::-1])


@router.post(f"{PATH}/sessions/end", response_model=None)
def post_end_sessions(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """End one of one's sessions, or all but this one."""
    mine = visit.operator.operator_id
    named = optional(visit.form, "session")
    with database.write() as session:
        listed = service.list_sessions(session, mine, ends=visit.desk.ends, now=visit.now)
        others = [each.session_id for each in listed if each.session_id != visit.session_id]
        ids = others if named is None else [named]
        service.end_sessions(session, mine, now=visit.now, by=visit.actor, session_ids=ids)
    return visit.redirect(f"{PATH}/sessions", "sessions-ended")


def _end_session(visit: Visit, session: Session) -> None:
    if visit.cookie is not None:
        service.end_session(session, visit.cookie, caller=visit.caller, now=visit.now)


def _enrolment(visit: Visit, database: CurrentDatabase, token: str) -> dict[str, Any]:
    context_of(visit.request.scope).path = SHOWN_INVITATION
    visit.desk.door.guard.charge_address(visit.caller.neighborhood)
    with database.read() as session:
        enrolment = service.begin_enrolment(session, token, keys=visit.desk.door.keys(), now=visit.now)
    return {"enrolment": enrolment, "qr": _qr(enrolment.totp_uri)}


def _qr(text: str) -> str:
    """The text as a QR code in SVG. It is dark on light in both color schemes: cameras need it so."""
    import segno  # noqa: PLC0415 - only who enrolls needs it

    return segno.make(text, error="m").svg_inline(border=2, light="#fff", svgclass=None, lineclass=None, omitsize=True)


def next_path_of(said: Mapping[str, str]) -> str:
    """Where to go after signing in: nowhere but to a page of the console."""
    path = said.get("next", "")
    is_ours = path.startswith(f"{PATH}/") and path.isascii() and path.isprintable() and not set(path) & set('\\?#"')
    return path if is_ours and not path.startswith((SIGN_IN, f"{PATH}/sign-out")) else HOME
