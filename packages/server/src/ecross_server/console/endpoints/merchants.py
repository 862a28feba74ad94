"""Merchants: looked through, registered, shown with all that is theirs, disabled and enabled."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Path
from starlette.responses import Response

from ecross_server.approvals.rules import Act, Subject
from ecross_server.approvals.service import for_merchant
from ecross_server.audit.schemas import record_out
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.console.charts import draw_uses
from ecross_server.console.desk import HOME, PAGE_ROWS, PATH, PageRoute, Representative, Viewer, Visit
from ecross_server.console.endpoints.approvals import find_approval
from ecross_server.console.forms import limits_of_new, require_typed, terms_of, text_of
from ecross_server.console.words import limits_in_words
from ecross_server.handover.rules import check_base
from ecross_server.handover.schemas import OfferOut
from ecross_server.handover.service import OfferedLink, list_newest_hand_overs, offer_new_client
from ecross_server.kit.errors import DomainError
from ecross_server.merchants import directory, rules, service
from ecross_server.merchants.directory import Hygiene, MerchantSearch
from ecross_server.web.unit_of_work import CurrentDatabase

STATES: Final = frozenset({"active", "disabled"})
FEW: Final = 10
"""So many hand-overs and records stand on a page that is about something else."""

REGISTER: Final = f"{PATH}/register"
SHOWN_PATH: Final = HOME + "/{merchant_id}"

router = APIRouter(route_class=PageRoute)

MerchantId = Annotated[str, Path()]


@router.get(HOME, response_model=None)
def get_merchants(*, visit: Viewer, database: CurrentDatabase) -> Response:
    """The merchants that are searched for, and how many secrets somebody should be asked about."""
    asked = visit.request.query_params
    search = MerchantSearch(
        text=asked.get("q", "").strip(),
        status=asked.get("status") if asked.get("status") in STATES else None,
        hygiene=_hygiene(asked.get("hygiene", "")),
        after=asked.get("after", ""),
    )
    with database.read() as session:
        page = directory.search_merchants(session, search, limit=PAGE_ROWS, now=visit.now)
        hygiene = directory.count_hygiene(session, now=visit.now)
    next_path = None
    if page.next_after is not None:
        kept = {"q": search.text, "status": search.status, "hygiene": search.hygiene, "after": page.next_after}
        next_path = f"{HOME}?{urlencode({name: value for name, value in kept.items() if value})}"
    return visit.page("merchants", search=search, page=page, hygiene=hygiene, next_path=next_path)


@router.get(REGISTER, response_model=None)
def get_register(*, visit: Representative) -> Response:
    """The form that registers a merchant."""
    return visit.page("register", problem=link_problem(visit))


@router.post(REGISTER, response_model=None)
def post_register(*, visit: Representative, database: CurrentDatabase) -> Response:
    """Register a merchant; the link that hands its first secret over is on the page that answers."""
    merchant_id, name = text_of(visit.form, "id"), text_of(visit.form, "name")
    try:
        terms = terms_of(
            visit.form,
            visit.desk.public_url,
            lambda: rules.check_merchant_id(merchant_id),
            lambda: rules.check_text("name", name, rules.NAME_CHARACTERS),
            lambda: limits_of_new(visit.form),
        )
        limits = limits_of_new(visit.form)
        with database.write() as session:
            service.register_merchant(session, merchant_id, name, now=visit.now, by=visit.actor)
            if visit.desk.issuing_approval:
                return visit.redirect(f"{HOME}/{merchant_id}/issue", "merchant-registered")
            offered = offer_new_client(
                session, merchant_id, terms, peppers=visit.desk.peppers(), now=visit.now, by=visit.actor,
                restrictions=limits,
            )  # fmt: skip
    except DomainError as error:
        return visit.refusal("register", error, problem=None)
    return offered_page(
        visit, offered, f"{name} is registered", f"Its first client has no secret yet. {limits_in_words(limits)}"
    )


@router.get(SHOWN_PATH, response_model=None)
def get_merchant(*, merchant_id: MerchantId, visit: Viewer, database: CurrentDatabase) -> Response:
    """A merchant with its clients, its tokens over time, its hand-overs, and what was done to it."""
    with database.read() as session:
        merchant, clients = service.show_merchant(session, merchant_id)
        uses = directory.list_merchant_uses(session, merchant_id, now=visit.now)
        receipts = list_newest_hand_overs(session, merchant_id=merchant_id, limit=FEW, now=visit.now)
        chosen = RecordFilter(merchant_id=merchant_id, acts_only=True)
        records = [record_out(record) for record in list_records(session, chosen, FEW)][::-1]
    used = {use.client_id for use in uses}
    names = [(client.id, client.id) for client in clients if client.id in used]
    chart = draw_uses(uses, names, directory.first_shown_hour(visit.now))
    return visit.page("merchant", merchant=merchant, clients=clients, chart=chart, hand_overs=receipts, records=records)


@router.get(SHOWN_PATH + "/issue", response_model=None)
def get_issue(*, merchant_id: MerchantId, visit: Representative, database: CurrentDatabase) -> Response:
    """The form that issues a client."""
    shown = _issuing(visit, database, merchant_id)
    return visit.page("issue", problem=link_problem(visit), **shown)


@router.post(SHOWN_PATH + "/issue", response_model=None)
def post_issue(*, merchant_id: MerchantId, visit: Representative, database: CurrentDatabase) -> Response:
    """Issue a client; the link that hands its secret over is on the page that answers."""
    shown = _issuing(visit, database, merchant_id)
    try:
        terms = terms_of(visit.form, visit.desk.public_url)
        limits = limits_of_new(visit.form)
        with database.write() as session:
            visit.require_approval(session, for_merchant(Act.ISSUE, merchant_id))
            offered = offer_new_client(
                session, merchant_id, terms, peppers=visit.desk.peppers(), now=visit.now, by=visit.actor,
                restrictions=limits,
            )  # fmt: skip
    except DomainError as error:
        return visit.refusal("issue", error, problem=None, **shown)
    return offered_page(visit, offered, "The client is issued", f"It has no secret yet. {limits_in_words(limits)}")


@router.get(SHOWN_PATH + "/disable", response_model=None)
def get_disable(*, merchant_id: MerchantId, visit: Representative, database: CurrentDatabase) -> Response:
    """The page that asks whether a merchant is to be disabled."""
    return visit.page("disable", **_merchant(database, merchant_id))


@router.post(SHOWN_PATH + "/disable", response_model=None)
def post_disable(*, merchant_id: MerchantId, visit: Representative, database: CurrentDatabase) -> Response:
    """Disable a merchant whose id was typed."""
    shown = _merchant(database, merchant_id)
    try:
        require_typed(visit.form, merchant_id)
    except DomainError as error:
        return visit.refusal("disable", error, **shown)
    with database.write() as session:
        service.disable_merchant(session, merchant_id, by=visit.actor)
    return visit.redirect(f"{HOME}/{merchant_id}", "merchant-disabled")


@router.post(SHOWN_PATH + "/enable", response_model=None)
def post_enable(*, merchant_id: MerchantId, visit: Representative, database: CurrentDatabase) -> Response:
    """Enable a merchant."""
    with database.write() as session:
        service.enable_merchant(session, merchant_id, by=visit.actor)
    return visit.redirect(f"{HOME}/{merchant_id}", "merchant-enabled")


def link_problem(visit: Visit) -> str | None:
    """Why no link could be made, told before a form is filled in for nothing."""
    try:
        check_base(visit.desk.public_url)
    except DomainError as error:
        return error.message
    return None


def offered_page(visit: Visit, offered: OfferedLink, heading: str, sentence: str) -> Response:
    """The page that shows a new link, this once."""
    offer = OfferOut.of(offered, visit.desk.public_url)
    return visit.page(
        "offered", offer=offer, merchant_id=offered.hand_over.merchant_id, heading=heading, sentence=sentence
    )


def _merchant(database: CurrentDatabase, merchant_id: str) -> dict[str, Any]:
    with database.read() as session:
        merchant, clients = service.show_merchant(session, merchant_id)
    return {"merchant": merchant, "clients": clients}


def _issuing(visit: Visit, database: CurrentDatabase, merchant_id: str) -> dict[str, Any]:
    approval = find_approval(visit, database, Subject(Act.ISSUE, merchant_id))
    return {"approval": approval, **_merchant(database, merchant_id)}


def _hygiene(text: str) -> Hygiene | None:
    with suppress(ValueError):
        return Hygiene(text)
    return None
