"""Administration tokens, and what a caller learns of itself."""

from __future__ import annotations

import math
from typing import Any, Final

from fastapi import APIRouter, Request

from ecross_server.admin.endpoints.access import CurrentOffice, Viewer, extra
from ecross_server.admin.schemas import AdminTokenOut, AdminTokenRequest, CheckOut, HealthOut, MeOut
from ecross_server.auth.endpoints import CHALLENGE
from ecross_server.operators import service
from ecross_server.operators.errors import SignInRefusedError, TooManySignInsError
from ecross_server.operators.rules import Role
from ecross_server.operators.schemas import OperatorOut
from ecross_server.operators.service import Attempt
from ecross_server.web.answers import error_response
from ecross_server.web.bodies import JsonBody, checked, json_request, parse_json
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["signing in"])

EXAMPLE: Final = {"operator": "jane", "password": "four words of yours", "code": "123456"}


@router.post(
    "/token",
    summary="Get an administration token",
    response_model=AdminTokenOut,
    openapi_extra={"security": [], **json_request(AdminTokenRequest, EXAMPLE)},
)
def issue_administration_token(
    *, request: Request, office: CurrentOffice, database: CurrentDatabase, now: CurrentTime, body: JsonBody
) -> Any:  # noqa: ANN401 - a token or a refusal
    """Turns a password and a code of the authenticator into a token for all other calls. A code works once."""
    asked = checked(AdminTokenRequest, parse_json(body))
    caller = office.caller(request)
    attempt = Attempt(asked.operator, asked.password, asked.code)
    try:
        proof = service.check_sign_in(database, attempt, door=office.door, caller=caller, now=now)
        with database.write() as session:
            operator = service.claim_sign_in(session, proof, now=now)
            issued = office.tokens.issue(operator)
            by = caller.actor(operator.operator_id)
            service.record_token(session, operator, issued.token_id, now=now, by=by)
    except SignInRefusedError as error:
        return error_response(request.scope, 401, error.code, error.message, headers={"WWW-Authenticate": CHALLENGE})
    except TooManySignInsError as error:
        wait = {"Retry-After": str(math.ceil(error.retry_after_seconds))}
        return error_response(request.scope, 429, error.code, error.message, headers=wait)
    return AdminTokenOut(token=issued.token, token_type="Bearer", expires_in=issued.expires_in)  # noqa: S106 - a type


@router.get("/me", summary="Who am I?", openapi_extra=extra(Role.VIEWER))
def get_me(*, acting: Viewer) -> MeOut:
    """The operator that the token names, and what it may."""
    may = [role for role in Role if acting.operator.role.includes(role)]
    return MeOut(**OperatorOut.of(acting.operator).model_dump(mode="python"), may=may)


@router.get("/health", summary="Is everything in order?", openapi_extra=extra(Role.VIEWER))
def get_health(*, acting: Viewer, office: CurrentOffice) -> HealthOut:
    """What `doctor` looks at and costs little: always 200, `ok` tells."""
    del acting
    checks = [CheckOut.model_validate(check._asdict()) for check in office.check()]
    return HealthOut(ok=all(check.status != "failed" for check in checks), checks=checks)
