"""A request to the console: who sends it, with what role, and the page that it is answered with.

Everything that must hold for all pages is here: one place looks at where a form comes from, one at who is signed in,
one at the role, and one makes the answer.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import quote, urlencode

import structlog
from fastapi import Depends, Request
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ecross_server.approvals.service import FindSubject, require_approval
from ecross_server.audit.rules import derive_keys
from ecross_server.audit.service import Actor
from ecross_server.console import words
from ecross_server.console.assets import asset_path
from ecross_server.console.errors import ForeignRequestError, NotAllowedError, NotSignedInError, PageNotFoundError
from ecross_server.console.forms import FIELDS_OF_LIMITS, NUL, Form, faults_of, read_form
from ecross_server.kit.checks import Check
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import DomainError
from ecross_server.merchants.rules import API_GROUPS, Peppers, end_of, shown_status
from ecross_server.merchants.schemas import listed
from ecross_server.operators import service as operators
from ecross_server.operators.errors import TooManySignInsError
from ecross_server.operators.passkeys import RelyingParty
from ecross_server.operators.rules import Role
from ecross_server.operators.service import Caller, Door, Operator, SessionEnds, SignedIn
from ecross_server.web.addresses import CallerAddresses, neighborhood
from ecross_server.web.answers import MESSAGES, RETRY_AFTER_SECONDS, STATUS_OF, UNAVAILABLE
from ecross_server.web.bodies import read_body
from ecross_server.web.context import context_of
from ecross_server.web.own_pages import HTML, comes_from_its_own_page, make_pages, page_headers, shown_instant
from ecross_server.web.unit_of_work import CurrentDatabase, CurrentTime

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from jinja2 import Environment

PATH: Final = "/console"
SIGN_IN: Final = f"{PATH}/sign-in"
HOME: Final = f"{PATH}/merchants"
PAGES: Final = Path(__file__).parent / "pages"

COOKIE: Final = "__Host-ecross-console"
"""The prefix makes browsers refuse it from other hosts, from other paths, and without `Secure` (RFC 6265bis)."""

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'"
)
HEADERS: Final = page_headers(CONTENT_SECURITY_POLICY)

OK, SEE_OTHER, FORBIDDEN, SLOW_DOWN = 200, 303, 403, 429
PAGE_ROWS: Final = 50


log = structlog.get_logger("ecross_server.console")


@dataclass(frozen=True, slots=True)
class Desk:
    """What the pages need of the server."""

    addresses: CallerAddresses
    peppers: Callable[[], Peppers]
    public_url: str
    """What hand-over links begin with."""
    console_url: str
    """What links to the console begin with."""
    relying_party: RelyingParty | None
    """What passkeys are made for, where there can be any."""
    signing_keys_file: Path
    peppers_file: Path
    witness_file: Path
    check: Callable[[], Sequence[Check]]
    """Looks whether all is well, where that is cheap."""
    door: Door
    """What lets operators in."""
    ends: SessionEnds = field(default_factory=SessionEnds)
    issuing_approval: bool = False
    """Whether whatever gives somebody a secret needs a second person's approval."""


class Visit:
    """One request: who sends it, what it says, and the answers that it can get."""

    def __init__(self, request: Request, now: datetime, form: Form) -> None:
        self.request = request
        self.desk: Desk = request.app.state.console_desk
        self.now = now
        self.form = form
        self.address = self.desk.addresses.of(request.scope)
        self.signed_in: SignedIn | None = None

    @property
    def session(self) -> SignedIn:
        """The session of whom is signed in.

        Raises:
            NotSignedInError: if nobody is.
        """
        if self.signed_in is None:
            raise NotSignedInError
        return self.signed_in

    @property
    def operator(self) -> Operator:
        """Who is signed in. Raises as `session` does."""
        return self.session.operator

    @property
    def caller(self) -> Caller:
        """From where the request comes."""
        peppers = self.desk.peppers()
        return Caller(
            derive_keys(peppers.current, peppers.keys),
            self.address,
            context_of(self.request.scope).request_id,
            self.request.headers.get("user-agent"),
            neighborhood(self.address),
        )

    @property
    def actor(self) -> Actor:
        """Who is signed in, as the audit trail names it."""
        return self.caller.actor(self.operator.operator_id)

    @property
    def cookie(self) -> str | None:
        """What the browser shows for its session."""
        return self.request.cookies.get(COOKIE)

    @property
    def session_id(self) -> str | None:
        """The name of the present session."""
        return None if self.signed_in is None else self.signed_in.session_id

    @property
    def is_by_itself(self) -> bool:
        """Whether the page asks again by its own clock: that nobody is there must not go unnoticed for it."""
        return "hx-request" in self.request.headers

    def may(self, role: Role) -> bool:
        """Whether who is signed in has the role."""
        return self.signed_in is not None and self.signed_in.operator.role.includes(role)

    def require_approval(self, session: Session, find_subject: FindSubject) -> None:
        """Use up a second person's approval, where the settings ask for one.

        Raises:
            ApprovalNeededError: if there is none.
        """
        is_needed = self.desk.issuing_approval
        require_approval(session, find_subject, is_needed=is_needed, now=self.now, by=self.actor)

    def page(self, name: str, status: int = OK, **values: object) -> Response:
        """A page."""
        said = words.DONE.get(self.request.query_params.get("done", "")) if self.signed_in else None
        shown = {
            "visit": self, "now": self.now, "form": self.form, "faults": {}, "alert": None, "said": said,
            "here": self.request.scope["path"], **values,
        }  # fmt: skip
        return Response(_pages().get_template(f"{name}.html").render(shown), status, HEADERS, HTML)

    def refusal(self, name: str, error: DomainError, **values: object) -> Response:
        """The page of a form that was not heeded: it says why, at a field where that is it; what was typed stays."""
        context_of(self.request.scope).outcome = error.code
        faults = faults_of(error)
        alert = words.FAULTY if faults else words.refusal(error)
        return _with_wait(error, self.page(name, status_of(error), faults=faults, alert=alert, **values))

    def failure(self, status: int, code: str, message: str) -> Response:
        """The page that says why there is none."""
        context_of(self.request.scope).outcome = code
        return self.page("failure", status, title=words.title_of(status), message=message)

    def redirect(self, path: str, done: str | None = None) -> Response:
        """On to another page of ours, which says what was done."""
        if done is not None:
            path = f"{path}{'&' if '?' in path else '?'}{urlencode({'done': done})}"
        return Response(None, SEE_OTHER, {**HEADERS, "Location": path})


async def get_visit(request: Request, now: CurrentTime) -> Visit:
    """The request as one to the console. No form that comes from elsewhere gets any further.

    Raises:
        PageNotFoundError: for an address with a NUL, which no database takes.
        ForeignRequestError: if it does not say that a page of ours has sent it.
        UnreadableFormError: if it is no form.
    """
    visit = Visit(request, now, {})
    request.state.visit = visit
    if NUL in request.scope["path"] or any(NUL in value for value in request.query_params.values()):
        raise PageNotFoundError
    if request.method != "GET":
        headers = request.headers
        if not comes_from_its_own_page(headers.get("sec-fetch-site"), headers.get("origin"), headers.get("host")):
            raise ForeignRequestError
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        visit.form = read_form(media_type, await read_body(request))
    return visit


CurrentVisit = Annotated[Visit, Depends(get_visit)]
"""What a page asks for that is for everybody."""


class SignedInAs:
    """The dependency of every other page: somebody is signed in, and the role includes this one."""

    def __init__(self, role: Role) -> None:
        self.role = role

    def __call__(self, visit: CurrentVisit, database: CurrentDatabase) -> Visit:
        """The visit of whom is signed in.

        Raises:
            NotSignedInError: if nobody is.
            NotAllowedError: if the role does not include this one.
        """
        visit.signed_in = find_session(visit, database)
        if visit.signed_in is None:
            raise NotSignedInError
        context_of(visit.request.scope).client_id = f"operator:{visit.operator.operator_id}"
        if not visit.may(self.role):
            raise NotAllowedError(self.role)
        return visit


Viewer = Annotated[Visit, Depends(SignedInAs(Role.VIEWER))]
Representative = Annotated[Visit, Depends(SignedInAs(Role.REPRESENTATIVE))]
Owner = Annotated[Visit, Depends(SignedInAs(Role.OWNER))]


def find_session(visit: Visit, database: CurrentDatabase) -> SignedIn | None:
    """Who is signed in, if somebody is. What a page asks by its own clock is no use of the session."""
    if visit.cookie is None:
        return None
    if visit.is_by_itself:
        with database.read() as session:
            return operators.find_session(session, visit.cookie, ends=visit.desk.ends, now=visit.now)
    return operators.use_session(database, visit.cookie, ends=visit.desk.ends, now=visit.now)


def status_of(error: DomainError) -> int:
    """The HTTP status of an error's page."""
    if isinstance(error, (NotAllowedError, ForeignRequestError, NotSignedInError)):
        return FORBIDDEN
    if isinstance(error, TooManySignInsError):
        return SLOW_DOWN
    return next(status for kind, status in STATUS_OF if isinstance(error, kind))


def _with_wait(error: DomainError, answer: Response) -> Response:
    if isinstance(error, TooManySignInsError):
        answer.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    elif answer.status_code == UNAVAILABLE:
        answer.headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return answer


class PageRoute(APIRoute):
    """A route whose errors are pages, too."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with pages for what goes wrong in it."""
        answer = super().get_route_handler()

        async def answer_with_pages(request: Request) -> Response:
            try:
                return await answer(request)
            except NotSignedInError as error:
                return _to_sign_in(request, error)
            except DomainError as error:
                failure = _visit_of(request).failure(status_of(error), error.code, words.refusal(error))
                return _with_wait(error, failure)
            except HTTPException as error:
                code, message = MESSAGES[error.status_code]
                failure = _visit_of(request).failure(error.status_code, code, message)
                failure.headers.update(error.headers or {})
                return failure
            except Exception:
                log.exception("request_failed", request_id=context_of(request.scope).request_id)
                return _visit_of(request).failure(500, *MESSAGES[500])

        return answer_with_pages


def _visit_of(request: Request) -> Visit:
    visit: Visit = request.state.visit
    return visit


def _to_sign_in(request: Request, error: NotSignedInError) -> Response:
    visit = _visit_of(request)
    context_of(request.scope).outcome = error.code
    if request.method != "GET" or visit.is_by_itself:
        # What was typed is lost in any case. A part of a page must not become the page for signing in.
        answer = visit.failure(FORBIDDEN, error.code, error.message)
        answer.headers["HX-Refresh"] = "true"
        return answer
    return visit.redirect(f"{SIGN_IN}?{urlencode({'next': request.scope['path']})}")


@functools.cache
def _pages() -> Environment:
    pages = make_pages(PAGES)
    pages.trim_blocks = pages.lstrip_blocks = True
    pages.filters.update(rfc3339=rfc3339, path=lambda part: quote(str(part), safe=""))
    pages.globals.update(
        asset=asset_path, Role=Role, secret_status=_secret_status, end_of=end_of, instant=shown_instant,
        tone=words.tone_of, scope_in_words=words.scope_in_words, networks_in_words=words.networks_in_words,
        listed=listed, api_groups=API_GROUPS, fields_of_limits=FIELDS_OF_LIMITS,
    )  # fmt: skip
    return pages


def _secret_status(secret: Any, now: datetime) -> str:  # noqa: ANN401 - a secret, whose class is the domain's own
    return shown_status(secret.status, secret.expires_at, secret.retires_at, now)
