"""What a client may do, and from where: chosen, looked at by what its traffic was, and confirmed."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from ecross_server.console.desk import PageRoute, Representative, Visit
from ecross_server.console.endpoints.clients import CLIENTS, SHOWN_PATH, ClientId
from ecross_server.console.forms import form_of, limits_of, require_typed
from ecross_server.kit.errors import DomainError, InvalidInputError
from ecross_server.merchants.restrictions import plan_restriction, restrict_client, suggest_restrictions
from ecross_server.merchants.rules import Restrictions
from ecross_server.merchants.schemas import listed
from ecross_server.web.unit_of_work import CurrentDatabase

LIMIT: Final = SHOWN_PATH + "/limit"

router = APIRouter(route_class=PageRoute)


@router.get(LIMIT, response_model=None)
def get_limit(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """The form with the present limits, or with `?suggested=1` with those that its traffic suggests."""
    shown = _suggestion(visit, database, client_id)
    client, suggestion = shown["client"], shown["suggestion"]
    scope, networks = client.scope, listed(client.allowed_networks)
    if "suggested" in visit.request.query_params:
        scope, networks = suggestion.scope or scope, suggestion.networks or networks
    return visit.page("limit", form=form_of(scope, networks), **shown)


@router.post(LIMIT + "/preview", response_model=None)
def post_preview(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """What the limits would have refused; nothing is changed. Or the form again, to change what was chosen."""
    if "edit" in visit.form:
        return visit.page("limit", **_suggestion(visit, database, client_id))
    try:
        shown = _plan(visit, database, client_id, limits_of(visit.form))
    except DomainError as error:
        return visit.refusal("limit", error, **_suggestion(visit, database, client_id))
    return visit.page("limit_preview", **shown)


@router.post(LIMIT, response_model=None)
def post_limit(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """Limit a client whose id was typed."""
    try:
        limits = limits_of(visit.form)
    except InvalidInputError as error:
        return visit.refusal("limit", error, **_suggestion(visit, database, client_id))
    try:
        require_typed(visit.form, client_id)
    except InvalidInputError as error:
        return visit.refusal("limit_preview", error, **_plan(visit, database, client_id, limits))
    with database.write() as session:
        restrict_client(session, client_id, now=visit.now, by=visit.actor, **_limits(limits))
    return visit.redirect(f"{CLIENTS}/{client_id}", "client-limited")


def _limits(limits: Restrictions) -> dict[str, Any]:
    return {"scope": limits.scope, "networks": limits.networks, "any_address": limits.networks is None}


def _suggestion(visit: Visit, database: CurrentDatabase, client_id: str) -> dict[str, Any]:
    with database.read() as session:
        suggestion = suggest_restrictions(session, client_id, now=visit.now)
        client = suggestion.client
        return {"suggestion": suggestion, "client": client, "merchant": client.merchant}


def _plan(visit: Visit, database: CurrentDatabase, client_id: str, limits: Restrictions) -> dict[str, Any]:
    with database.read() as session:
        plan = plan_restriction(session, client_id, now=visit.now, **_limits(limits))
        return {"plan": plan, "limits": limits, "client": plan.client, "merchant": plan.client.merchant}
