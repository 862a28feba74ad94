"""A client of a merchant: its secrets and how they are used, and the acts that give it another one or end one."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from ecross_server.approvals.rules import Act, Subject
from ecross_server.approvals.service import for_client
from ecross_server.audit.schemas import record_out
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.console.charts import draw_uses
from ecross_server.console.desk import PATH, PageRoute, Representative, Viewer, Visit
from ecross_server.console.endpoints.approvals import find_approval
from ecross_server.console.endpoints.merchants import FEW, link_problem, offered_page
from ecross_server.console.forms import optional, require_typed, terms_of
from ecross_server.handover.rules import State
from ecross_server.handover.service import list_newest_hand_overs, offer_second_secret, offer_secret
from ecross_server.kit.errors import DomainError
from ecross_server.merchants import directory, rotation, service
from ecross_server.merchants.grants import get_client
from ecross_server.merchants.service import Client
from ecross_server.merchants.uses import meter_of
from ecross_server.web.unit_of_work import CurrentDatabase

CLIENTS: Final = f"{PATH}/clients"
SHOWN_PATH: Final = CLIENTS + "/{client_id}"
SECRET_PATH: Final = SHOWN_PATH + "/secrets/{secret_id}/retire"

router = APIRouter(route_class=PageRoute)

ClientId = Annotated[str, Path()]
SecretId = Annotated[str, Path()]


@router.get(SHOWN_PATH, response_model=None)
def get_client_page(*, client_id: ClientId, visit: Viewer, database: CurrentDatabase) -> Response:
    """A client: whether its secrets have arrived, how much each is used, what was done to it."""
    shown = _client(visit, database, client_id)
    with database.read() as session:
        uses = directory.list_client_uses(session, client_id, now=visit.now)
        receipts = list_newest_hand_overs(session, client_id=client_id, limit=FEW, now=visit.now)
        chosen = RecordFilter(client_id=client_id, but_issued=True)
        records = [record_out(record) for record in list_records(session, chosen, FEW)][::-1]
    client: Client = shown["client"]
    used = {use.secret_id for use in uses}
    names = [(each.id, each.label or each.id) for each in client.secrets if each.id in used]
    chart = draw_uses(uses, names, directory.first_shown_hour(visit.now))
    is_waiting = any(receipt.state is State.OPEN for receipt in receipts)
    return visit.page("client", chart=chart, hand_overs=receipts, records=records, is_waiting=is_waiting, **shown)


@router.get(SHOWN_PATH + "/rotate", response_model=None)
def get_rotate(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """The form that begins a rotation."""
    return visit.page("rotate", problem=link_problem(visit), **_rotating(visit, database, client_id))


@router.post(SHOWN_PATH + "/rotate", response_model=None)
def post_rotate(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """Make the link that will give a second secret; the first one works on until somebody retires it."""
    try:
        terms = terms_of(visit.form, visit.desk.public_url)
        with database.write() as session:
            visit.require_approval(session, for_client(Act.ROTATE, client_id))
            offered = offer_second_secret(
                session, client_id, terms, peppers=visit.desk.peppers(), now=visit.now, by=visit.actor
            )
    except DomainError as error:
        return visit.refusal("rotate", error, problem=None, **_rotating(visit, database, client_id))
    return offered_page(
        visit, offered, "A second secret is on its way",
        "The present secret works on. Retire it on the client's page, once the new one is used and the old one is not.",
    )  # fmt: skip


@router.get(SHOWN_PATH + "/cancel-rotation", response_model=None)
def get_cancel_rotation(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """The page that asks whether the newer secret is to end."""
    return visit.page("cancel_rotation", **_client(visit, database, client_id))


@router.post(SHOWN_PATH + "/cancel-rotation", response_model=None)
def post_cancel_rotation(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """End the newer of two secrets of a client whose id was typed."""
    try:
        require_typed(visit.form, client_id)
        with database.write() as session:
            rotation.cancel_rotation(session, client_id, now=visit.now, by=visit.actor, force="force" in visit.form)
    except DomainError as error:
        return visit.refusal("cancel_rotation", error, **_client(visit, database, client_id))
    return visit.redirect(f"{CLIENTS}/{client_id}", "rotation-cancelled")


@router.get(SECRET_PATH, response_model=None)
def get_retire(
    *, client_id: ClientId, secret_id: SecretId, visit: Representative, database: CurrentDatabase
) -> Response:
    """What would come of retiring a secret; nothing is changed."""
    return visit.page("retire", **_plan(visit, database, client_id, secret_id))


@router.post(SECRET_PATH, response_model=None)
def post_retire(
    *, client_id: ClientId, secret_id: SecretId, visit: Representative, database: CurrentDatabase
) -> Response:
    """Retire a secret of a client whose id was typed."""
    try:
        require_typed(visit.form, client_id)
        with database.write() as session:
            rotation.retire_secret(
                session, client_id, secret_id, now=visit.now, by=visit.actor, force="force" in visit.form
            )
    except DomainError as error:
        return visit.refusal("retire", error, **_plan(visit, database, client_id, secret_id))
    return visit.redirect(f"{CLIENTS}/{client_id}", "secret-retired")


@router.get(SHOWN_PATH + "/leaked", response_model=None)
def get_leaked(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """The page for a secret that others know."""
    return visit.page("leaked", problem=link_problem(visit), **_client(visit, database, client_id))


@router.post(SHOWN_PATH + "/leaked", response_model=None)
def post_leaked(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """End what has leaked, with every token, and make the link that will give another secret."""
    try:
        terms = terms_of(visit.form, visit.desk.public_url, lambda: require_typed(visit.form, client_id))
        with database.write() as session:
            ended = rotation.end_leaked(
                session, client_id, optional(visit.form, "secret"), now=visit.now, by=visit.actor
            )
            if visit.desk.issuing_approval:  # to end what has leaked does not wait for anybody
                return visit.redirect(f"{CLIENTS}/{client_id}/rotate", "leak-closed")
            offered = offer_secret(
                session, ended.client, terms, peppers=visit.desk.peppers(), now=visit.now, by=visit.actor
            )
    except DomainError as error:
        return visit.refusal("leaked", error, problem=None, **_client(visit, database, client_id))
    ids = ", ".join(secret.id for secret in ended.ended) or "no secret, for none was live"
    return offered_page(
        visit, offered, "The leak is closed",
        f"Ended: {ids}. Every token of the client is dead within 5 seconds. Until the new secret is used, the "
        "merchant's systems are refused.",
    )  # fmt: skip


@router.get(SHOWN_PATH + "/revoke", response_model=None)
def get_revoke(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """The page that asks whether a client is to end for good."""
    return visit.page("revoke", **_client(visit, database, client_id))


@router.post(SHOWN_PATH + "/revoke", response_model=None)
def post_revoke(*, client_id: ClientId, visit: Representative, database: CurrentDatabase) -> Response:
    """Revoke a client whose id was typed."""
    try:
        require_typed(visit.form, client_id)
    except DomainError as error:
        return visit.refusal("revoke", error, **_client(visit, database, client_id))
    with database.write() as session:
        service.revoke_client(session, client_id, by=visit.actor)
    return visit.redirect(f"{CLIENTS}/{client_id}", "client-revoked")


def _client(visit: Visit, database: CurrentDatabase, client_id: str) -> dict[str, Any]:
    with database.read() as session:
        client = get_client(session, client_id)
        meter = meter_of(session, client, now=visit.now)
        live = rotation.live_secrets(client, visit.now)
        return {"client": client, "merchant": client.merchant, "meter": meter, "live": live}


def _rotating(visit: Visit, database: CurrentDatabase, client_id: str) -> dict[str, Any]:
    shown = _client(visit, database, client_id)
    subject = Subject(Act.ROTATE, shown["merchant"].id, client_id)
    return {"approval": find_approval(visit, database, subject), **shown}


def _plan(visit: Visit, database: CurrentDatabase, client_id: str, secret_id: str) -> dict[str, Any]:
    with database.read() as session:
        plan = rotation.plan_retirement(session, client_id, secret_id, now=visit.now)
        return {"plan": plan, "client": plan.client, "merchant": plan.client.merchant, "meter": plan.meter}
