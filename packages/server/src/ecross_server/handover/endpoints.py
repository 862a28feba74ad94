"""Hand-over links over HTTP: pages that work without scripts, and the same as JSON for `ecross redeem`.

Strangers learn nothing here: every token that was not given out gets the same answer. See docs/decisions/0066 to 0068.
"""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, Path, Request
from starlette.responses import FileResponse, Response

from ecross_server.audit.rules import derive_keys
from ecross_server.audit.service import Actor
from ecross_server.auth.endpoints import CurrentPageTokens
from ecross_server.handover import rules, service
from ecross_server.handover.errors import HandOverNotFoundError, HandOverSpentError
from ecross_server.handover.rules import Act, State
from ecross_server.handover.schemas import LinkAct, OpenLinkOut, read_act, spent_facts
from ecross_server.handover.service import CodeGuard, HandOver, Receipt
from ecross_server.kit.errors import ConflictError
from ecross_server.kit.page_tokens import InvalidPageTokenError, PageTokens
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.schemas import IssuedCredentialOut
from ecross_server.merchants.service import IssuedCredential
from ecross_server.web.addresses import CallerAddresses, neighborhood
from ecross_server.web.answers import JSON, UNAVAILABLE
from ecross_server.web.bodies import read_body
from ecross_server.web.context import context_of
from ecross_server.web.own_pages import FORM, HTML, comes_from_its_own_page, make_pages, page_headers
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

if TYPE_CHECKING:
    from jinja2 import Environment

PATH: Final = "/hand-over/"
SHOWN_PATH: Final = "/hand-over/{token}"
"""What logs and metrics say instead of a path that holds a token."""

PAGES: Final = FilePath(__file__).parent / "pages"

# Nothing from elsewhere, no script at all, and a form that can be sent to nobody else.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {**page_headers(CONTENT_SECURITY_POLICY), "Vary": "Accept"}

OK, FORBIDDEN, GONE, SLOW_DOWN = 200, 403, 404, 429
"""What is unknown, spent or expired has one status, so that the log of a proxy cannot tell them apart."""

UNKNOWN_MESSAGE: Final = "This link is not known here."
FOREIGN_MESSAGE: Final = (
    "The request did not say that it comes from this page, so nothing was done. Press the button on this page. "
    "Browsers older than 2023 may not say it; then use the command: ecross redeem"
)
STALE_MESSAGE: Final = "This page had been open for too long, so nothing was done. Press the button again."
WRONG_CODE_MESSAGE: Final = "This is not the code. The link still works; look at the code again."
TOO_MANY_MESSAGE: Final = "Too many wrong codes came from your address. The link still works; try again in {} seconds."

SPENT_MESSAGES: Final = {
    State.OPEN: "No secret can be had now: client or merchant were disabled, or there are two secrets already.",
    State.REVEALED: "The secret was shown already, and cannot be shown again.",
    State.DENIED: "The secret was ended: somebody with this link said that somebody else had seen it.",
    State.CANCELLED: "This link was cancelled.",
    State.EXPIRED: "This link has expired.",
}

router = APIRouter(tags=["hand-over"])


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages need of the server."""

    guard: CodeGuard
    addresses: CallerAddresses
    peppers: Callable[[], Peppers]
    public_url: str


class Visit:
    """One request about one link: who asks, in which form, and what it is answered."""

    def __init__(self, request: Request, page_tokens: PageTokens, now: datetime) -> None:
        self.request = request
        self.desk: Desk = request.app.state.hand_over_desk
        self.now = now
        self._page_tokens = page_tokens
        self._address = self.desk.addresses.of(request.scope)
        accept = request.headers.get("accept", "")
        self._is_json = JSON in accept and HTML not in accept

    @property
    def neighborhood(self) -> str:
        """What counts as one address."""
        return neighborhood(self._address)

    def actor(self, hand_over_id: str) -> Actor:
        """Who holds the link, as the audit trail names it."""
        peppers = self.desk.peppers()
        keys = derive_keys(peppers.current, peppers.keys)
        return Actor(f"hand-over:{hand_over_id}", keys, self._address, context_of(self.request.scope).request_id)

    def is_from_its_own_page(self) -> bool:
        """Whether the request says so."""
        headers = self.request.headers
        return comes_from_its_own_page(
            headers.get("sec-fetch-site"), headers.get("origin"), headers.get("host"), self.desk.public_url
        )

    def nonce(self, hand_over: HandOver, act: Act) -> str:
        """What only who has seen the page can send."""
        position = str(int(self.now.timestamp()))
        return self._page_tokens.make(merchant_id=hand_over.id, list_name=f"hand-over {act}", position=position)

    def is_good_nonce(self, hand_over: HandOver, asked: LinkAct) -> bool:
        """Whether it is this link's, for this act, and not too old."""
        try:
            position = self._page_tokens.read(asked.nonce, merchant_id=hand_over.id, list_name=f"hand-over {asked.act}")
        except InvalidPageTokenError:
            return False
        return 0 <= self.now.timestamp() - int(position) < rules.NONCE_LIFE.total_seconds()

    def unknown(self) -> Response:
        """The one answer to every token that was not given out."""
        return self._answer(GONE, HandOverNotFoundError.code, "unknown", {"message": UNKNOWN_MESSAGE})

    def opened(self, receipt: Receipt, status: int = OK, alert: str | None = None, code: str = "ok") -> Response:
        """The page with the button; with an alert it says why nothing was done."""
        it = receipt.hand_over
        nonce = self.nonce(it, Act.REVEAL)
        content = (
            OpenLinkOut.of(receipt, nonce).model_dump(mode="json", by_alias=True)
            if alert is None
            else {"message": alert, "nonce": nonce}
        )
        return self._answer(
            status, code, "open", content, it=it, merchant_name=receipt.merchant_name, nonce=nonce, alert=alert
        )

    def spent(self, receipt: Receipt, status: int = GONE, alert: str | None = None, code: str = "") -> Response:
        """What the holder of a link learns that shows nothing any more."""
        it, state = receipt.hand_over, receipt.state
        may_deny = state is State.REVEALED and service.may_deny(it, self.now)
        nonce = self.nonce(it, Act.DENY) if may_deny else None
        content = {"message": alert or SPENT_MESSAGES[state], **spent_facts(receipt, nonce)}
        return self._answer(
            status, code or HandOverSpentError.code, "spent", content, it=it, state=state, nonce=nonce, alert=alert
        )

    def revealed(self, issued: IssuedCredential) -> Response:
        """The secret, this once."""
        content = IssuedCredentialOut.of(issued).model_dump(mode="json", by_alias=True)
        return self._answer(OK, "revealed", "revealed", content, issued=issued, public_url=self.desk.public_url)

    def too_many(self, receipt: Receipt, seconds: int) -> Response:
        """Somebody at this address guesses."""
        answer = self.opened(receipt, SLOW_DOWN, TOO_MANY_MESSAGE.format(seconds), "too_many_codes")
        answer.headers["Retry-After"] = str(seconds)
        return answer

    def _answer(self, status: int, code: str, page: str, content: dict[str, Any], **values: object) -> Response:
        context_of(self.request.scope).outcome = code
        if self._is_json:
            if status != OK:
                content = {"message": content.pop("message"), "code": code, **content}
            return Response(json.dumps(content, separators=(",", ":")), status, HEADERS, JSON)
        text = (
            _pages()
            .get_template(f"{page}.html")
            .render({"prefix": urlsplit(self.desk.public_url).path, "alert": None, **values})
        )
        return Response(text, status, HEADERS, HTML)


async def get_visit(request: Request, page_tokens: CurrentPageTokens, now: CurrentTime) -> Visit:
    """The request as one about a link."""
    return Visit(request, page_tokens, now)


async def get_body(request: Request) -> bytes:
    """The bytes of the body."""
    return await read_body(request)


CurrentVisit = Annotated[Visit, Depends(get_visit)]
Token = Annotated[str, Path(description="The end of the link.", examples=["eho_0123456789abcdefghijABCDEFGHIJ01"])]


def _content(schema: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    page = {"schema": {"type": "string"}, "example": "<!doctype html> ..."}
    return {JSON: {"schema": schema, "example": example}, HTML: page}


def _refusal(description: str, code: str, message: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON is anything
    schema = {"$ref": "#/components/schemas/Error"}
    return {"description": description, "content": _content(schema, {"message": message, "code": code, **more})}


SPENT: Final = _refusal(
    "The link is unknown, spent, expired or cancelled. Its holder learns when and from where it was used; a stranger "
    "that it is not known.",
    HandOverNotFoundError.code,
    UNKNOWN_MESSAGE,
)
AWAY: Final = {
    "description": "Not at the moment.",
    "headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}},
    "content": {
        JSON: {
            "schema": {"$ref": "#/components/schemas/Error"},
            "example": {"message": "The database does not answer. Try again shortly.", "code": "database_away"},
        }
    },
}
GET_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    OK: {"description": "The link can be used.", "content": {HTML: _content({}, {})[HTML]}},
    GONE: SPENT,
    UNAVAILABLE: AWAY,
}
POST_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    OK: {
        "description": "The secret, this once.",
        "content": _content(
            {"$ref": "#/components/schemas/IssuedCredentialOut"},
            {
                "merchantId": "ACME", "clientId": "acme-q7w4k2m5zt3xa", "secretId": "sec_q7w4k2m5zt3xa",
                "clientSecret": "your-client-secret", "label": "ERP", "createdAt": "2026-11-25T10:00:00.000Z",
                "expiresAt": "2027-02-23T10:00:00.000Z",
            },
        ),
    },
    FORBIDDEN: _refusal(
        "The request does not come from the page, the page is too old, or the code is wrong. The link stays as it was.",
        "wrong_code",
        WRONG_CODE_MESSAGE,
        nonce="VGhpcyBpcyBub3Qgb25l",
    ),
    GONE: SPENT,
    413: _refusal("A body of more than 4 MiB.", "body_too_large", "The body is too large."),
    SLOW_DOWN: _refusal("Too many wrong codes from this address.", "too_many_codes", TOO_MANY_MESSAGE.format(60))
    | {"headers": {"Retry-After": {"$ref": "#/components/headers/RetryAfter"}}},
    UNAVAILABLE: AWAY,
}  # fmt: skip
LINK_ACT: Final = LinkAct.model_json_schema(ref_template="#/components/schemas/{model}")
REQUEST_BODY: Final = {
    "requestBody": {
        "required": True,
        "content": {
            media_type: {"schema": LINK_ACT, "example": {"act": "reveal", "nonce": "..."}}
            for media_type in (FORM, JSON)
        },
    }
}  # fmt: skip


# HEAD in a route of its own: the document need not name it.
@router.get(SHOWN_PATH, summary="Look at a hand-over link", response_model=OpenLinkOut, responses=GET_RESPONSES)
@router.api_route(SHOWN_PATH, methods=["GET", "HEAD"], include_in_schema=False)
def get_hand_over(*, token: Token, visit: CurrentVisit, database: CurrentDatabase) -> Any:  # noqa: ANN401 - a page or JSON
    """Uses nothing up, however often.

    A page for people; for programs that accept `application/json`, the same facts.
    """
    try:
        with database.read() as session:
            receipt = service.look_at_link(session, token, now=visit.now)
    except HandOverNotFoundError:
        return visit.unknown()
    it = receipt.hand_over
    if it.opened_at is None and visit.request.method == "GET":
        with database.write() as session:
            service.note_opening(session, it.id, now=visit.now, by=visit.actor(it.id))
    return visit.opened(receipt) if receipt.is_usable else visit.spent(receipt)


@router.post(
    SHOWN_PATH,
    summary="Reveal the secret of a link, or end it",
    response_model=IssuedCredentialOut,
    responses=POST_RESPONSES,
    openapi_extra=REQUEST_BODY,
)
def act_on_hand_over(
    *, token: Token, visit: CurrentVisit, database: CurrentDatabase, body: Annotated[bytes, Depends(get_body)]
) -> Any:  # noqa: ANN401 - a page or JSON
    """Works once, for a request that says that it comes from the link's own page and has its nonce."""
    try:
        with database.read() as session:
            receipt = service.look_at_link(session, token, now=visit.now)
    except HandOverNotFoundError:
        return visit.unknown()
    media_type = visit.request.headers.get("content-type", "").partition(";")[0].strip().lower()
    asked = read_act(media_type, body) or LinkAct.model_validate({})
    if not receipt.is_usable and not (asked.act is Act.DENY and receipt.state is State.REVEALED):
        return visit.spent(receipt)
    refuse = visit.opened if receipt.is_usable else visit.spent
    if not visit.is_from_its_own_page():
        return refuse(receipt, FORBIDDEN, FOREIGN_MESSAGE, "foreign_request")
    if not visit.is_good_nonce(receipt.hand_over, asked):
        return refuse(receipt, FORBIDDEN, STALE_MESSAGE, "stale_page")
    if asked.act is Act.DENY:
        return _deny(visit, database, token, receipt)
    return _refuse_code(visit, receipt, asked.code) or _reveal(visit, database, token, receipt)


@router.api_route("/hand-over/{rest:path}", methods=["GET", "HEAD", "POST"], include_in_schema=False)
def get_no_hand_over(*, visit: CurrentVisit) -> Any:  # noqa: ANN401 - a page or JSON
    """What has not even the form of a link is answered as any unknown one."""
    return visit.unknown()


@router.api_route("/hand-over.css", methods=["GET", "HEAD"], include_in_schema=False)
def get_style() -> Any:  # noqa: ANN401 - a file
    """How the pages look."""
    headers = {"Cache-Control": "max-age=3600", "X-Content-Type-Options": "nosniff"}
    return FileResponse(PAGES / "style.css", media_type="text/css", headers=headers)


def _refuse_code(visit: Visit, receipt: Receipt, code: str) -> Response | None:
    it = receipt.hand_over
    if it.code_digest is None:
        return None
    if not code.strip():  # a machine that presses buttons: no guess
        return visit.opened(receipt, FORBIDDEN, WRONG_CODE_MESSAGE, "wrong_code")
    if seconds := visit.desk.guard.charge(it.id, visit.neighborhood):
        return visit.too_many(receipt, math.ceil(seconds))
    if not service.is_right_code(it, code, visit.desk.peppers()):
        return visit.opened(receipt, FORBIDDEN, WRONG_CODE_MESSAGE, "wrong_code")
    return None


def _reveal(visit: Visit, database: CurrentDatabase, token: str, receipt: Receipt) -> Response:
    it = receipt.hand_over
    try:
        with database.write() as session:
            issued = service.reveal_secret(
                session, it.id, peppers=visit.desk.peppers(), now=visit.now, by=visit.actor(it.id)
            )
    except ConflictError:  # somebody was faster, or the representative
        with database.read() as session:
            return visit.spent(service.look_at_link(session, token, now=visit.now))
    return visit.revealed(issued)  # after the commit


def _deny(visit: Visit, database: CurrentDatabase, token: str, receipt: Receipt) -> Response:
    it = receipt.hand_over
    try:
        with database.write() as session:
            service.deny_reveal(session, it.id, now=visit.now, by=visit.actor(it.id))
    except HandOverSpentError:
        return visit.spent(receipt)
    with database.read() as session:
        return visit.spent(service.look_at_link(session, token, now=visit.now), OK, code="denied")


@functools.cache
def _pages() -> Environment:
    return make_pages(PAGES)
