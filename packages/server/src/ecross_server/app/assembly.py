"""The application: the token endpoint in front, the gate before everything private, the framework behind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import anyio.to_thread
import structlog
from fastapi import FastAPI

from ecross_server.app import documentation, health
from ecross_server.app.channel import EventSender
from ecross_server.app.events import subscribe_domains
from ecross_server.app.metrics import Metrics
from ecross_server.audit.rules import AuditKeys, derive_keys
from ecross_server.audit.tasks import AuditRecorder
from ecross_server.auth.endpoints import TOKEN_PATH, BearerGate, TokenEndpoint, bearer_error_response
from ecross_server.auth.errors import BearerError
from ecross_server.auth.limits.limiter import Limiter, Rates
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.auth.limits.shared import SharedBudgets
from ecross_server.auth.registry import Registry
from ecross_server.auth.service import AuthService
from ecross_server.auth.uses import CallMeter
from ecross_server.catalog import endpoints as catalog
from ecross_server.handover import endpoints as handover
from ecross_server.handover.service import CodeGuard
from ecross_server.inventory import endpoints as inventory
from ecross_server.kit import logs
from ecross_server.kit.clock import to_milliseconds
from ecross_server.kit.database import Database
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.uses import UseMeter
from ecross_server.settings import Settings
from ecross_server.web.addresses import CallerAddresses
from ecross_server.web.answers import http_error_response, install_error_answers
from ecross_server.web.body_limit import BodyLimit
from ecross_server.web.context import SCOPE_KEY, RequestContext
from ecross_server.web.whole_paths import WholePaths

if TYPE_CHECKING:
    from fastapi import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

THREADS: Final = 16
"""So many endpoints wait for the database at once: fewer than the pool has connections, so the registry has one too."""

SILENCE_SECONDS: Final = 5.0
"""Who waits for a database that says nothing is answered within the grace of a stop. Nor does it bear more of us."""

log = structlog.get_logger("ecross_server.app")


class Application:
    """The server as one ASGI application, made from its settings. Each process makes its own."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        budgets: BudgetTable | None = None,
        sender: EventSender | None = None,
    ) -> None:
        """Without a sender to a process that writes the token path's records, it writes them itself, in a thread."""
        self.database = open_database(settings)
        self.auth = AuthService(
            registry=Registry(self.database, monotonic),
            peppers_file=settings.peppers_file,
            signing_keys_file=settings.signing_keys_file,
            issuer=settings.issuer,
            audience=settings.audience,
            lifetime_seconds=settings.token_lifetime_seconds,
            calls=CallMeter(self.database, clock=clock),
            clock=clock,
        )
        self.metrics = Metrics()
        self.recorder: AuditRecorder | EventSender
        if sender is None:
            self.recorder = self._own_recorder(settings, clock)
        else:
            self.recorder = sender
        self.metrics.add("ecross_audit_backlog_records", lambda: self.recorder.backlog)
        self.metrics.add("ecross_audit_lost_records_total", lambda: self.recorder.lost)
        self.metrics.add("ecross_log_lines_lost_total", lambda: logs.lost_lines.count)
        self.metrics.add("ecross_registry_age_seconds", lambda: self.auth.registry.age_seconds)
        self.metrics.add("ecross_registry_clients", lambda: len(self.auth.registry))
        table = budgets or BudgetTable()
        self.limiter, self._shared_budgets = _make_limiter(settings, table)
        self.addresses = CallerAddresses(settings.trusted_proxies)
        self.metrics.add("ecross_token_limited_total", lambda: dict(self.limiter.beyond))
        if (shared := self._shared_budgets) is not None:
            self.metrics.add("ecross_limits_overshoot_total", lambda: shared.overshoot)
            self.metrics.add("ecross_limits_store_up", lambda: int(shared.is_up))
        self.on_reload: list[Callable[[Settings], None]] = [
            lambda new: self.limiter.reload(limit_rates(new)),
            lambda new: self.addresses.trust(new.trusted_proxies),
        ]
        self._token = (
            TokenEndpoint(self.auth, self.limiter, self.addresses, self.recorder.record)
            if "auth" in settings.services
            else None
        )
        self.api = make_api(settings, lifespan=self._lifespan)
        self.api.state.database = self.database
        self.api.state.auth = self.auth
        self.api.state.page_size = settings.page_size
        self.api.state.clock = lambda: to_milliseconds(datetime.fromtimestamp(clock(), UTC))
        self.api.state.hand_over_desk = handover.Desk(
            CodeGuard(table, monotonic), self.addresses, lambda: self.auth.peppers, settings.base_url
        )
        self._rest: ASGIApp = BearerGate(BodyLimit(WholePaths(self.api)), self.auth, self.addresses)

    def _own_recorder(self, settings: Settings, clock: Callable[[], float]) -> AuditRecorder:
        recorder = make_recorder(settings, self.database, self.auth.peppers, clock)

        def sign_under_new_peppers() -> None:
            recorder.keys = audit_keys(self.auth.peppers)

        self.auth.on_peppers.append(sign_under_new_peppers)
        self.metrics.add("ecross_audit_written_records_total", lambda: recorder.written)
        return recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, with its id on the answer and one line of it in the log."""
        if scope["type"] != "http":
            await self._rest(scope, receive, send)
            return
        context = scope[SCOPE_KEY] = RequestContext(scope["headers"])
        try:
            if scope["path"] == TOKEN_PATH and self._token is not None:
                await self._token(scope, receive, send)
            else:
                if scope["path"].startswith(handover.PATH):
                    context.path = handover.SHOWN_PATH  # before anybody can refuse it: the path holds a secret
                await answer(self._rest, context, scope, receive, send)
        finally:
            context.conclude(scope, self.metrics.requests)

    def reload(self, settings: Settings) -> None:
        """Take over the settings that may change while it serves: each part that has some stands in `on_reload`."""
        for take_over in self.on_reload:
            take_over(settings)

    @contextlib.asynccontextmanager
    async def _lifespan(self, _api: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        try:
            self.auth.start()
            self.recorder.start()
            if self._shared_budgets is not None:
                self._shared_budgets.start()
            yield
        finally:
            if self._shared_budgets is not None:
                await self._shared_budgets.stop()
            await anyio.to_thread.run_sync(self.auth.stop)
            await anyio.to_thread.run_sync(self.recorder.stop)
            self.database.close()


async def answer(app: ASGIApp, context: RequestContext, scope: Scope, receive: Receive, send: Send) -> None:
    """Let the application answer: the request's id is on the answer, and a bug is one of 500."""

    async def send_with_request_id(message: Message) -> None:
        if message["type"] == "http.response.start":
            context.status = message["status"]
            message["headers"] = [*message["headers"], (b"x-request-id", context.request_id.encode())]
        await send(message)

    try:
        await app(scope, receive, send_with_request_id)
    except Exception:
        log.exception("request_failed", request_id=context.request_id)
        if not context.status:
            await http_error_response(scope, 500, None)(scope, receive, send_with_request_id)


def open_database(settings: Settings) -> Database:
    """The database that the settings name, as processes that serve use it."""
    database = Database(
        settings.database_url.get_secret_value(),
        silence_seconds=SILENCE_SECONDS,
        idle_seconds=SILENCE_SECONDS,
        may_create=False,
    )
    subscribe_domains(database)
    return database


def make_recorder(
    settings: Settings, database: Database, peppers: Peppers, clock: Callable[[], float] = time.time
) -> AuditRecorder:
    """What writes the token path's records, as the settings say."""
    return AuditRecorder(
        database,
        keys=audit_keys(peppers),
        witness_file=settings.audit_witness_file,
        retention_days=settings.audit_retention_days,
        subscribers=[UseMeter().note],
        clock=clock,
    )


def audit_keys(peppers: Peppers) -> AuditKeys:
    """The audit trail's keys under these peppers."""
    return derive_keys(peppers.current, peppers.keys)


def limit_rates(settings: Settings) -> Rates:
    """The limits that the settings set."""
    return Rates(
        address=settings.token_address_limit,
        client=settings.token_volume_limit,
        failure=settings.token_failure_limit,
        total=settings.token_global_limit,
        mode=settings.limits_mode,
    )


def _make_limiter(settings: Settings, table: BudgetTable) -> tuple[Limiter, SharedBudgets | None]:
    shared = None if settings.redis_url is None else SharedBudgets.at(settings.redis_url.get_secret_value(), table)
    return Limiter(limit_rates(settings), table, shared), shared


def make_framework(title: str, description: str, lifespan: Any) -> FastAPI:  # noqa: ANN401 - FastAPI's own type is generic
    """A FastAPI application without routes, its errors in our form."""
    api = FastAPI(
        title=title,
        version=documentation.VERSION,
        description=description,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    install_error_answers(api)
    return api


def make_api(settings: Settings, lifespan: Any = None) -> FastAPI:  # noqa: ANN401 - FastAPI's own type is generic
    """Everything but the token endpoint, as a FastAPI application; also what the OpenAPI document is made from."""
    api = make_framework(documentation.TITLE, documentation.DESCRIPTION, lifespan)

    async def on_bearer_error(request: Request, error: BearerError) -> Response:
        return bearer_error_response(request.scope, error)

    api.add_exception_handler(BearerError, on_bearer_error)  # type: ignore[arg-type] # Starlette types the base class
    api.include_router(health.router)
    if "auth" in settings.services:
        api.include_router(handover.router)
    if "product" in settings.services:
        for router in (catalog.router, inventory.router):
            api.include_router(router, responses=documentation.PRIVATE_ERRORS)
    with_token = "auth" in settings.services
    documentation.install(api, lambda api: documentation.openapi_document(api, with_token=with_token))
    return api
