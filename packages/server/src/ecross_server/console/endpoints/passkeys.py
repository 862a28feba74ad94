"""Passkeys: one's own, added and removed, and signing in with one. Browsers make and use them by a script."""

from __future__ import annotations

import json
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from ecross_server.console.desk import PATH, SIGN_IN, CurrentVisit, PageRoute, Viewer, Visit
from ecross_server.console.endpoints.sign_in import enter, next_path_of, sign_in_values
from ecross_server.console.forms import text_of
from ecross_server.kit.errors import DomainError
from ecross_server.operators import passkeys, service
from ecross_server.operators.errors import PasskeysNeedANameError
from ecross_server.operators.passkeys import RelyingParty
from ecross_server.operators.service import Attempt
from ecross_server.web.unit_of_work import CurrentDatabase

PASSKEYS: Final = f"{PATH}/passkeys"

router = APIRouter(route_class=PageRoute)


@router.post(f"{SIGN_IN}/passkey", response_model=None)
def post_passkey_sign_in(*, visit: CurrentVisit, database: CurrentDatabase) -> Response:
    """A new session by a passkey's answer; one that the browser had before ends."""
    try:
        proof = passkeys.check_passkey(
            database, visit.form.get("answer", ""), party=_party(visit), door=visit.desk.door, caller=visit.caller,
            now=visit.now,
        )  # fmt: skip
        return enter(
            visit,
            database,
            lambda session: passkeys.open_session(
                session, proof, ends=visit.desk.ends, caller=visit.caller, now=visit.now
            ),
        )
    except DomainError as error:
        return visit.refusal("sign_in", error, **sign_in_values(visit, next_path_of(visit.form)))


@router.get(PASSKEYS, response_model=None)
def get_passkeys(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """One's passkeys, and the form that begins another one."""
    return visit.page("passkeys", **_passkeys(visit, database))


@router.post(f"{PASSKEYS}/begin", response_model=None)
def post_begin(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """With password and code again, the page on which the browser makes a passkey."""
    label = text_of(visit.form, "label")
    attempt = Attempt(visit.operator.operator_id, visit.form.get("password", ""), text_of(visit.form, "code"))
    try:
        party = _party(visit)
        proof = service.check_sign_in(database, attempt, door=visit.desk.door, caller=visit.caller, now=visit.now)
        with database.write() as session:
            options = passkeys.begin_passkey(
                session, proof, label, session_id=visit.session.session_id, party=party, keys=visit.desk.door.keys(),
                now=visit.now,
            )  # fmt: skip
    except DomainError as error:
        return visit.refusal("passkeys", error, **_passkeys(visit, database))
    return visit.page("passkey", label=label, options=json.dumps(options), party=party)


@router.post(PASSKEYS, response_model=None)
def post_passkeys(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """Keep the passkey that the browser has made."""
    try:
        with database.write() as session:
            passkeys.add_passkey(
                session, visit.session, text_of(visit.form, "label"), visit.form.get("answer", ""),
                party=_party(visit), keys=visit.desk.door.keys(), now=visit.now, by=visit.actor,
            )  # fmt: skip
    except DomainError as error:
        return visit.refusal("passkeys", error, **_passkeys(visit, database))
    return visit.redirect(PASSKEYS, "passkey-added")


@router.post(f"{PASSKEYS}/remove", response_model=None)
def post_remove(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """Remove one of one's passkeys."""
    with database.write() as session:
        passkeys.remove_passkey(
            session, visit.operator.operator_id, text_of(visit.form, "passkey"), now=visit.now, by=visit.actor
        )
    return visit.redirect(PASSKEYS, "passkey-removed")


def _party(visit: Visit) -> RelyingParty:
    if visit.desk.relying_party is None:
        raise PasskeysNeedANameError
    return visit.desk.relying_party


def _passkeys(visit: Visit, database: CurrentDatabase) -> dict[str, Any]:
    with database.read() as session:
        listed = passkeys.list_passkeys(session, visit.operator.operator_id)
    return {"passkeys": listed[::-1], "party": visit.desk.relying_party}
