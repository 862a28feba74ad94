"""What a client may do, and from where."""

from __future__ import annotations

from fastapi import APIRouter

from ecross_server.admin.endpoints.access import Representative, Viewer, extra
from ecross_server.admin.endpoints.credentials import ClientId
from ecross_server.admin.schemas import LimitAsked
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.merchants.restrictions import plan_restriction, restrict_client, suggest_restrictions
from ecross_server.merchants.schemas import RestrictionOut, SuggestionOut
from ecross_server.operators.rules import Role
from ecross_server.web.bodies import JsonBody, checked, parse_json
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

router = APIRouter(prefix="/admin", tags=["credentials"])


@router.post(
    "/credentials/{clientId}/limit",
    summary="Limit what a client may do, and from where",
    openapi_extra=extra(
        Role.REPRESENTATIVE, LimitAsked, {"scope": "catalog:read", "allowedNetworks": ["198.51.100.0/24"]}
    ),
)
def limit_client(
    *, acting: Representative, database: CurrentDatabase, now: CurrentTime, client_id: ClientId, body: JsonBody
) -> RestrictionOut:
    """Within 2 seconds; what is not said stays. With `dryRun` only what of two weeks that would have refused."""
    asked = checked(LimitAsked, parse_json(body))
    any_address = "allowed_networks" in asked.model_fields_set and asked.allowed_networks is None
    if asked.scope is None and asked.allowed_networks is None and not any_address:
        message = "is missing, and so is allowedNetworks: name what is to be changed"
        raise InvalidInputError(f"scope {message}", (Fault("scope", message),))
    limits = asked.restrictions()
    scope = None if asked.scope is None else limits.scope
    with database.read() as session:
        planned = plan_restriction(
            session, client_id, now=now, scope=scope, networks=limits.networks, any_address=any_address
        )
        out = RestrictionOut.of_restriction(planned, now)
    if asked.dry_run:
        return out
    with database.write() as session:
        client = restrict_client(
            session, client_id, now=now, by=acting.by, scope=scope, networks=limits.networks, any_address=any_address
        )
        return out.as_kept(client)


@router.get(
    "/credentials/{clientId}/suggestion", summary="What would be enough for a client?", openapi_extra=extra(Role.VIEWER)
)
def get_suggestion(
    *, acting: Viewer, database: CurrentDatabase, now: CurrentTime, client_id: ClientId
) -> SuggestionOut:
    """The scope and the networks that its traffic of the last two weeks needed."""
    del acting
    with database.read() as session:
        return SuggestionOut.of(suggest_restrictions(session, client_id, now=now))
