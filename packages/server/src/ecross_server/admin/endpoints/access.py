"""Who may call what: the gate before all of `/admin`, and the one dependency that gives endpoints who acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer
from sqlalchemy.orm import Session
from starlette.responses import Response

from ecross_server.admin.errors import InsufficientRoleError, InvalidAdminTokenError, MissingAdminTokenError
from ecross_server.admin.tokens import AdminClaims, AdminTokens
from ecross_server.approvals.service import FindSubject, require_approval
from ecross_server.audit.rules import Actor, AuditKeys, derive_keys
from ecross_server.auth.endpoints import CHALLENGE, bearer_token
from ecross_server.auth.errors import BearerError, MissingTokenError
from ecross_server.kit.checks import Check
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants.rules import Peppers
from ecross_server.operators import service as operators
from ecross_server.operators.rules import Operator, Role, SessionEnds, Status
from ecross_server.operators.service import Caller, Door
from ecross_server.web.addresses import CallerAddresses, neighborhood
from ecross_server.web.answers import error_response
from ecross_server.web.context import context_of
from ecross_server.web.unit_of_work import CurrentDatabase

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

PREFIX: Final = "/admin"
TOKEN_PATH: Final = "/admin/token"  # noqa: S105 - a path
OPEN_PATHS: Final = (TOKEN_PATH, "/admin/openapi.json", "/admin/docs")
"""What needs no token: where it is given, and what describes all of this."""

CLAIMS_KEY: Final = "ecross.administration"
NO_STORE: Final = (b"cache-control", b"no-store")


@dataclass(frozen=True, slots=True)
class Office:
    """What administration needs of the server."""

    door: Door
    tokens: AdminTokens
    addresses: CallerAddresses
    peppers: Callable[[], Peppers]
    ends: SessionEnds
    public_url: str
    signing_keys_file: Path
    witness_file: Path
    check: Callable[[], Sequence[Check]]
    """Looks whether all is well, where that is cheap."""
    issuing_approval: bool = False
    """Whether whatever gives somebody a secret needs a second person's approval."""

    def audit_keys(self) -> AuditKeys:
        """The keys of the audit trail."""
        peppers = self.peppers()
        return derive_keys(peppers.current, peppers.keys)

    def require_approval(self, session: Session, find_subject: FindSubject, *, now: datetime, by: Actor) -> None:
        """Use up a second person's approval, where the settings ask for one.

        Raises:
            ApprovalNeededError: if there is none.
        """
        require_approval(session, find_subject, is_needed=self.issuing_approval, now=now, by=by)

    def caller(self, request: Request) -> Caller:
        """From where a request comes."""
        address = self.addresses.of(request.scope)
        return Caller(
            self.audit_keys(),
            address,
            context_of(request.scope).request_id,
            request.headers.get("user-agent"),
            neighborhood(address),
        )


@dataclass(frozen=True, slots=True)
class Acting:
    """Who calls, and how the audit trail names who acts."""

    operator: Operator
    by: Actor


class AdminGate:
    """ASGI middleware before everything under `/admin`: no request gets further without an authentic token.

    It stands before routing and asks no database. Whether the operator may still act is asked by `require_role`.
    """

    def __init__(self, app: ASGIApp, tokens: AdminTokens) -> None:
        self._app = app
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note what the token says in the scope and pass the request on, or answer it with a challenge."""
        if scope["type"] != "http" or not is_administration(scope["path"]):
            await self._app(scope, receive, send)
            return

        async def send_without_store(message: Message) -> None:
            if message["type"] == "http.response.start" and not any(
                name == NO_STORE[0] for name, _ in message["headers"]
            ):
                message["headers"] = [*message["headers"], NO_STORE]
            await send(message)

        if not is_open(scope["path"]):
            try:
                scope[CLAIMS_KEY] = self._tokens.read(bearer_token(scope["headers"]))
            except MissingTokenError:
                await access_error_response(scope, MissingAdminTokenError())(scope, receive, send_without_store)
                return
            except BearerError as error:
                await access_error_response(scope, error)(scope, receive, send_without_store)
                return
        await self._app(scope, receive, send_without_store)


def is_administration(path: str) -> bool:
    """Whether a path lies under `/admin`."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def is_open(path: str) -> bool:
    """Whether a path needs no token."""
    return path in OPEN_PATHS or path.startswith("/admin/docs/")


def access_error_response(scope: Scope, error: BearerError) -> Response:
    """The answer to a request without an acceptable token or role, with its challenge (RFC 6750 section 3)."""
    challenge = CHALLENGE
    if isinstance(error, InvalidAdminTokenError):
        context_of(scope).reason = error.reason
    if error.challenge_error is not None:
        challenge += f', error="{error.challenge_error}"'
    headers = {"WWW-Authenticate": challenge, "Cache-Control": "no-store"}
    return error_response(scope, error.status, error.code, error.message, headers=headers)


bearer_scheme = HTTPBearer(
    scheme_name="administration", bearerFormat="JWT", auto_error=False,
    description="The token of `POST /admin/token`, as `Authorization: Bearer {token}`.",
)  # fmt: skip


def require_role(role: Role) -> Callable[..., Acting]:
    """A dependency that gives who acts: an operator whose role includes this one, as the database has it now.

    Raises:
        MissingAdminTokenError: if the route stands outside the gate: then nobody gets in.
        InvalidAdminTokenError: if the operator was disabled or changed since the token was made.
        InsufficientRoleError: if the role does not do.
    """

    def get_acting(
        request: Request,
        database: CurrentDatabase,
        office: CurrentOffice,
        _shown: Annotated[object, Security(bearer_scheme)],
    ) -> Acting:
        claims: AdminClaims | None = request.scope.get(CLAIMS_KEY)
        if claims is None:
            raise MissingAdminTokenError
        with database.read() as session:
            operator = operators.find_operator(session, claims.operator_id)
        if operator is None or operator.status is not Status.ACTIVE or operator.epoch != claims.epoch:
            raise InvalidAdminTokenError("revoked")
        by = office.caller(request).actor(operator.operator_id)
        context_of(request.scope).client_id = by.name
        if not operator.role.includes(role):
            raise InsufficientRoleError(role)
        return Acting(operator, by)

    return get_acting


async def get_office(request: Request) -> Office:
    """What administration needs of the server."""
    office: Office = request.app.state.office
    return office


CurrentOffice = Annotated[Office, Depends(get_office)]


async def get_admin_page_tokens(office: CurrentOffice) -> PageTokens:
    """What signs page tokens."""
    return office.tokens.page_tokens


AdminPageTokens = Annotated[PageTokens, Depends(get_admin_page_tokens)]

Viewer = Annotated[Acting, Depends(require_role(Role.VIEWER))]
Representative = Annotated[Acting, Depends(require_role(Role.REPRESENTATIVE))]
Owner = Annotated[Acting, Depends(require_role(Role.OWNER))]


def extra(role: Role, form: Any = None, example: object = None) -> dict[str, Any]:  # noqa: ANN401 - a form or nothing
    """What the document says of an operation beside its answers: who may call it, and with what."""
    from ecross_server.web.bodies import json_request  # noqa: PLC0415

    return {"x-required-role": role.value, **({} if form is None else json_request(form, example))}
