"""Operators, by owners."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Path

from ecross_server.admin.endpoints.access import CurrentOffice, Owner, extra
from ecross_server.admin.schemas import InviteAsked, RoleAsked, SignOutAsked
from ecross_server.operators import passkeys, service
from ecross_server.operators.rules import Passkey, Role
from ecross_server.operators.schemas import (
    EndedSessionsOut,
    InvitedOperatorOut,
    OperatorListOut,
    OperatorOut,
    PasskeyListOut,
    PasskeyOut,
    SessionListOut,
    SessionOut,
)
from ecross_server.web.bodies import JsonBody, checked, parse_json
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["operators"])

OperatorId = Annotated[str, Path(alias="operatorId", description="The operator's id.", examples=["jane"])]
PasskeyId = Annotated[str, Path(alias="passkeyId", description="The passkey's id.", examples=["psk_q7w4k2m5zt3xa"])]


@router.get("/operators", summary="List operators", openapi_extra=extra(Role.OWNER))
def list_operators(*, acting: Owner, database: CurrentDatabase) -> OperatorListOut:
    """All of them, by id."""
    del acting
    with database.read() as session:
        return OperatorListOut(operators=[OperatorOut.of(each) for each in service.list_operators(session)])


@router.post(
    "/operators",
    summary="Invite an operator",
    status_code=201,
    openapi_extra=extra(Role.OWNER, InviteAsked, {"operatorId": "john", "name": "John Doe", "role": "representative"}),
)
def invite_operator(
    *, acting: Owner, office: CurrentOffice, database: CurrentDatabase, now: CurrentTime, body: JsonBody
) -> InvitedOperatorOut:
    """The invitation is in this answer alone; it works once, for 24 hours."""
    asked = checked(InviteAsked, parse_json(body))
    with database.write() as session:
        invitation = service.invite_operator(
            session, asked.operator_id, asked.name, asked.role, keys=office.door.keys(), now=now, by=acting.by
        )
    return InvitedOperatorOut.of_invitation(invitation)


@router.get("/operators/{operatorId}", summary="Show an operator", openapi_extra=extra(Role.OWNER))
def get_operator(*, acting: Owner, database: CurrentDatabase, operator_id: OperatorId) -> OperatorOut:
    """Who it is, and whether it can sign in."""
    del acting
    with database.read() as session:
        return OperatorOut.of(service.get_operator(session, operator_id))


@router.post("/operators/{operatorId}/reinvite", summary="Invite an operator again", openapi_extra=extra(Role.OWNER))
def reinvite_operator(
    *, acting: Owner, office: CurrentOffice, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId
) -> InvitedOperatorOut:
    """For a new password and authenticator. What was before ends once the invitation is used."""
    with database.write() as session:
        invitation = service.reinvite_operator(session, operator_id, keys=office.door.keys(), now=now, by=acting.by)
    return InvitedOperatorOut.of_invitation(invitation)


@router.post(
    "/operators/{operatorId}/role",
    summary="Give another role",
    openapi_extra=extra(Role.OWNER, RoleAsked, {"role": "viewer"}),
)
def change_role(
    *, acting: Owner, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId, body: JsonBody
) -> OperatorOut:
    """Its administration tokens end; its sessions go on with the new role."""
    asked = checked(RoleAsked, parse_json(body))
    with database.write() as session:
        return OperatorOut.of(service.change_role(session, operator_id, asked.role, now=now, by=acting.by))


@router.post("/operators/{operatorId}/disable", summary="Disable an operator", openapi_extra=extra(Role.OWNER))
def disable_operator(
    *, acting: Owner, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId
) -> OperatorOut:
    """Sessions, tokens and an open invitation end at once."""
    with database.write() as session:
        return OperatorOut.of(service.disable_operator(session, operator_id, now=now, by=acting.by))


@router.post("/operators/{operatorId}/enable", summary="Enable an operator", openapi_extra=extra(Role.OWNER))
def enable_operator(
    *, acting: Owner, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId
) -> OperatorOut:
    """It can sign in again, with the password and authenticator of before."""
    with database.write() as session:
        return OperatorOut.of(service.enable_operator(session, operator_id, now=now, by=acting.by))


@router.get("/operators/{operatorId}/sessions", summary="List an operator's sessions", openapi_extra=extra(Role.OWNER))
def list_sessions(
    *, acting: Owner, office: CurrentOffice, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId
) -> SessionListOut:
    """Its live sessions in the console, the newest last."""
    del acting
    with database.read() as session:
        found = service.list_sessions(session, operator_id, ends=office.ends, now=now)
    return SessionListOut(operator_id=operator_id, sessions=[SessionOut.of(each) for each in found])


@router.post(
    "/operators/{operatorId}/sign-out",
    summary="End an operator's sessions",
    openapi_extra=extra(Role.OWNER, SignOutAsked, {"sessionIds": ["ses_q7w4k2m5zt3xa"]}),
)
def sign_out(
    *, acting: Owner, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId, body: JsonBody
) -> EndedSessionsOut:
    """Those named; or all of them, together with the administration tokens."""
    asked = checked(SignOutAsked, parse_json(body))
    with database.write() as session:
        ended = service.end_sessions(session, operator_id, now=now, by=acting.by, session_ids=asked.session_ids)
    return EndedSessionsOut(operator_id=operator_id, ended=list(ended))


@router.get("/operators/{operatorId}/passkeys", summary="List an operator's passkeys", openapi_extra=extra(Role.OWNER))
def list_passkeys(*, acting: Owner, database: CurrentDatabase, operator_id: OperatorId) -> PasskeyListOut:
    """Those with which it signs in to the console, the newest last."""
    del acting
    with database.read() as session:
        return _passkeys(operator_id, passkeys.list_passkeys(session, operator_id))


@router.post(
    "/operators/{operatorId}/passkeys/{passkeyId}/remove", summary="Remove a passkey", openapi_extra=extra(Role.OWNER)
)
def remove_passkey(
    *, acting: Owner, database: CurrentDatabase, now: CurrentTime, operator_id: OperatorId, passkey_id: PasskeyId
) -> PasskeyListOut:
    """It opens nothing any more; the answer has those that are left. Sessions that it has begun go on."""
    with database.write() as session:
        passkeys.remove_passkey(session, operator_id, passkey_id, now=now, by=acting.by)
        return _passkeys(operator_id, passkeys.list_passkeys(session, operator_id))


def _passkeys(operator_id: str, listed: Sequence[Passkey]) -> PasskeyListOut:
    return PasskeyListOut(operator_id=operator_id, passkeys=[PasskeyOut.of(each) for each in listed])
