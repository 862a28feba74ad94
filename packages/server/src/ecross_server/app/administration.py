"""Administration over HTTP and the console: an application, a listener and a process apart from what merchants reach.

Nothing of it is on the public listener, nor `/token` and `/ext` on this one.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
from fastapi import FastAPI

from ecross_server.admin.endpoints import ROUTERS
from ecross_server.admin.endpoints.access import AdminGate, Office, access_error_response
from ecross_server.admin.tokens import AdminTokens
from ecross_server.app import documentation
from ecross_server.app.assembly import answer, make_framework, open_database
from ecross_server.app.checks import look_after
from ecross_server.auth.errors import BearerError
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.console.desk import Desk
from ecross_server.console.endpoints import router as console
from ecross_server.console.endpoints.sign_in import INVITATION, SHOWN_INVITATION
from ecross_server.kit.clock import to_milliseconds
from ecross_server.kit.key_files import WatchedFile
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import read_peppers
from ecross_server.operators.passkeys import RelyingParty
from ecross_server.operators.passwords import Passwords
from ecross_server.operators.rules import OperatorKeys, SessionEnds
from ecross_server.operators.service import Door, SignInGuard
from ecross_server.settings import Settings
from ecross_server.web.addresses import CallerAddresses
from ecross_server.web.body_limit import BodyLimit
from ecross_server.web.context import SCOPE_KEY, RequestContext
from ecross_server.web.counts import RequestCounts
from ecross_server.web.whole_paths import WholePaths

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

THREADS: Final = 8
ATTEMPT_ROWS: Final = 2**12
"""Whoever is refused stands in one for half a minute, each address in another."""


class Administration:
    """The administration as one ASGI application, made from the settings."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `DomainError` if keys or peppers cannot be used."""
        self.database = open_database(settings)
        self.counts = RequestCounts()
        self.addresses = CallerAddresses(settings.trusted_proxies)
        self._peppers = WatchedFile(
            settings.peppers_file,
            lambda content, now: read_peppers(content, settings.peppers_file, now),
            name="peppers",
            clock=clock,
        )
        tokens = AdminTokens(
            settings.signing_keys_file,
            self._present_peppers,
            issuer=settings.issuer,
            audience=settings.admin_audience,
            lifetime_seconds=settings.admin_token_lifetime_seconds,
            clock=clock,
        )
        self.office = Office(
            door=Door(
                keys=self._operator_keys,
                passwords=Passwords(),
                guard=SignInGuard(BudgetTable(ATTEMPT_ROWS), monotonic),
            ),
            tokens=tokens,
            addresses=self.addresses,
            peppers=self._present_peppers,
            ends=SessionEnds.of_seconds(settings.operator_session_idle_seconds, settings.operator_session_seconds),
            public_url=settings.base_url,
            signing_keys_file=settings.signing_keys_file,
            witness_file=settings.audit_witness_file,
            check=lambda: look_after(settings, self.database),
            issuing_approval=settings.issuing_approval,
        )
        self.desk = Desk(
            addresses=self.addresses,
            peppers=self._present_peppers,
            public_url=settings.base_url,
            console_url=settings.console_base_url or "",
            relying_party=RelyingParty.of(settings.console_base_url or ""),
            signing_keys_file=settings.signing_keys_file,
            peppers_file=settings.peppers_file,
            witness_file=settings.audit_witness_file,
            issuing_approval=settings.issuing_approval,
            check=self.office.check,
            door=self.office.door,
            ends=self.office.ends,
        )
        self.api = make_admin_api(lifespan=self._lifespan)
        self.api.state.database = self.database
        self.api.state.office = self.office
        self.api.state.console_desk = self.desk
        self.api.state.page_size = settings.page_size
        self.api.state.clock = lambda: to_milliseconds(datetime.fromtimestamp(clock(), UTC))
        self._app: ASGIApp = AdminGate(BodyLimit(WholePaths(self.api)), tokens)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with its id on the answer and one line of it in the log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context = scope[SCOPE_KEY] = RequestContext(scope["headers"])
        try:
            if scope["path"].startswith(INVITATION):
                context.path = SHOWN_INVITATION  # before anybody can refuse it: the path holds a secret
            await answer(self._app, context, scope, receive, send)
        finally:
            context.conclude(scope, self.counts)

    def reload(self, settings: Settings) -> None:
        """Take over the settings that may change while it serves."""
        self.addresses.trust(settings.trusted_proxies)

    def _present_peppers(self) -> Peppers:
        self._peppers.take_changes()
        return self._peppers.content

    def _operator_keys(self) -> OperatorKeys:
        peppers = self._present_peppers()
        return OperatorKeys(peppers.current, peppers.keys)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _api: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        try:
            yield
        finally:
            self.database.close()


def make_admin_api(lifespan: Any = None) -> FastAPI:  # noqa: ANN401 - FastAPI's own type is generic
    """The administration as a FastAPI application; also what its OpenAPI document is made from."""
    api = make_framework(documentation.ADMIN_TITLE, documentation.ADMIN_DESCRIPTION, lifespan)

    async def on_bearer_error(request: Request, error: BearerError) -> Response:
        return access_error_response(request.scope, error)

    api.add_exception_handler(BearerError, on_bearer_error)  # type: ignore[arg-type] # Starlette types the base class
    for router in ROUTERS:
        api.include_router(router, responses=documentation.ADMIN_ERRORS)
    api.include_router(console)
    documentation.install(api, documentation.admin_document, "/admin")
    return api
