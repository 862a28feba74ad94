"""A process that serves: one event loop, one listening socket. Workers serve the API; one more serves the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import structlog
import uvicorn
from uvicorn.config import STARTUP_FAILURE

from ecross_server.app import reloading
from ecross_server.app.assembly import Application
from ecross_server.app.channel import EventSender
from ecross_server.app.chores import Chores
from ecross_server.app.listening import BACKLOG
from ecross_server.app.metrics import FigurePages
from ecross_server.app.protocol import MOST_CONNECTIONS, Connections, HttpProtocol
from ecross_server.app.shared import Page
from ecross_server.app.tls import Certificates
from ecross_server.auth.endpoints import TOKEN_PATH
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.kit.logs import configure_logs, request_log
from ecross_server.settings import Settings
from ecross_server.web.counts import RequestCounts

if TYPE_CHECKING:
    from starlette.types import ASGIApp

GRACE_SECONDS: Final = 20
"""What is in flight at a stop has so long to be answered."""
HANDSHAKE_SECONDS: Final = 10
CLOSING_SECONDS: Final = 5
"""So long has a client to take part in the beginning and in the end of TLS."""
OTHER_DESCRIPTORS: Final = 128
"""Of the database, the log and whatever else is no connection."""
SWITCH_SECONDS: Final = 0.0005
"""So long a thread computes before another one may: who has waited for the database holds up all that wait for it.

Python's own ten times as much made bulk pushes to PostgreSQL a third slower.
"""
TICKS_PER_SWEEP: Final = 10
"""uvicorn ticks ten times a second."""

log = structlog.get_logger("ecross_server.worker")


@dataclass(frozen=True, slots=True)
class Links:
    """What ties a process to its supervisor."""

    listening: Sequence[socket.socket]
    """Empty for a process that nobody calls."""
    settings: Page
    """The settings that can be reloaded, as they are now; SIGHUP says that they have changed."""
    on_ready: Callable[[], None]
    orphaned: int
    """A descriptor that reads as closed when the supervisor is gone."""


class Worker(uvicorn.Server):
    """uvicorn, started and stopped by the supervisor alone, with our own protocol."""

    def __init__(
        self,
        app: ASGIApp,
        links: Links,
        on_reload: Callable[[], None],
        *,
        counts: RequestCounts,
        certificates: Certificates | None = None,
        lifespan: Literal["on", "off"] = "on",
        grace_seconds: int = GRACE_SECONDS,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=HttpProtocol,
                ws="none",
                lifespan=lifespan,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=grace_seconds,
            )
        )
        self._links = links
        self._on_reload = on_reload
        self._certificates = certificates
        most = _most_connections(half=certificates is not None)
        self.connections = Connections(self.server_state.connections, counts, most)

    def serve_until_told(self) -> None:
        """Serve until SIGTERM, or until the supervisor is gone."""
        sys.setswitchinterval(SWITCH_SECONDS)
        self.run(list(self._links.listening))

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM, which the supervisor sends, stops this worker; all else stays as the supervisor set it."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell the supervisor, and watch for its end and for new settings."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILURE)
        loop = asyncio.get_running_loop()
        # Not the loop's own handler: when the loop ends, it would leave the default one, which ends the process.
        signal.signal(signal.SIGHUP, lambda *_: loop.is_closed() or loop.call_soon_threadsafe(self._reload))
        self._reload()  # what came before the handler was there
        loop.add_reader(self._links.orphaned, self._stop_as_orphan)
        tls: dict[str, Any] = {}
        if self._certificates is not None:
            tls = {
                "ssl": self._certificates.context,
                "ssl_handshake_timeout": HANDSHAKE_SECONDS,
                "ssl_shutdown_timeout": CLOSING_SECONDS,
            }
        self.servers = [
            await loop.create_server(self._new_connection, sock=listening, backlog=BACKLOG, **tls)
            for listening in sockets or ()
        ]
        self.started = True
        request_log.gather(loop.call_soon)
        self._links.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer what is in flight, end, and write the last lines of the log."""
        await super().shutdown(sockets)
        request_log.gather(None)

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections once a second."""
        if counter % TICKS_PER_SWEEP == 0:
            self.connections.sweep()
        return await super().on_tick(counter)

    def _new_connection(self) -> HttpProtocol:
        return HttpProtocol(
            self.connections, self.config, self.server_state, self.lifespan.state, quick_path=TOKEN_PATH
        )

    def _reload(self) -> None:
        try:
            self._on_reload()
        except Exception:  # what works goes on
            log.exception("reload_failed")

    def _stop(self) -> None:
        self.should_exit = True

    def _stop_as_orphan(self) -> None:
        # A closed pipe stays readable: watched on, it would keep the loop spinning until the last request is answered.
        asyncio.get_running_loop().remove_reader(self._links.orphaned)
        self._stop()


def _most_connections(*, half: bool) -> int:
    """As many as there are descriptors for. Under TLS half of them: those at the beginning of TLS are not counted."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else max(1, soft - OTHER_DESCRIPTORS)
    return min(MOST_CONNECTIONS, descriptors // 2 if half else descriptors)


def run_worker(settings: Settings, links: Links, figures: Page, budgets: BudgetTable, sender: EventSender) -> None:
    """Serve the API, and tell the figures once a second, from those on the page on.

    Raises:
        DomainError: if keys, peppers, certificates or the database cannot be used.
    """
    application = Application(settings, budgets=budgets, sender=sender)
    # Before the event loop, where it would be a traceback of the framework's instead of a sentence.
    application.auth.refresh()
    certificates = _certificates(settings)

    def reload() -> None:
        nonlocal settings
        new = reloading.read(settings, links.settings)
        if new == settings:
            return
        configure_logs(new.log_format, new.log_level)
        if certificates is not None and new.tls_cert_file is not None and new.tls_key_file is not None:
            certificates.use(new.tls_cert_file, new.tls_key_file)
        application.reload(new)
        settings = new

    metrics = application.metrics
    metrics.restore(figures)
    worker = Worker(application, links, reload, counts=metrics.requests, certificates=certificates)
    metrics.add("ecross_connections", lambda: len(worker.connections.opened))
    metrics.add("ecross_connections_cut_total", lambda: dict(worker.connections.cut))
    chores = [lambda: metrics.write(figures)]
    if certificates is not None:
        chores.append(certificates.refresh)
    with Chores(chores):
        worker.serve_until_told()


def run_administration(settings: Settings, links: Links) -> None:
    """Serve the administration.

    Raises:
        DomainError: if keys, peppers or certificates cannot be used.
    """
    from ecross_server.app.administration import Administration  # noqa: PLC0415 - memory: workers need none of it

    administration = Administration(settings)
    certificates = _certificates(settings)

    def reload() -> None:
        nonlocal settings
        new = reloading.read(settings, links.settings)
        configure_logs(new.log_format, new.log_level)
        if certificates is not None and new.tls_cert_file is not None and new.tls_key_file is not None:
            certificates.use(new.tls_cert_file, new.tls_key_file)
        administration.reload(new)
        settings = new

    worker = Worker(administration, links, reload, counts=administration.counts, certificates=certificates)
    with Chores([] if certificates is None else [certificates.refresh]):
        worker.serve_until_told()


def run_exposition(settings: Settings, links: Links, pages: FigurePages) -> None:
    """Serve the figures of all pages."""
    from ecross_server.app.exposition import Figures, MetricsEndpoint  # noqa: PLC0415 - memory: workers need none of it

    def reload() -> None:
        new = reloading.read(settings, links.settings)
        configure_logs(new.log_format, new.log_level)

    endpoint = MetricsEndpoint(Figures(pages))
    worker = Worker(endpoint, links, reload, counts=RequestCounts(), lifespan="off", grace_seconds=1)
    worker.serve_until_told()


def _certificates(settings: Settings) -> Certificates | None:
    if settings.tls_cert_file is None or settings.tls_key_file is None:
        return None
    return Certificates(settings.tls_cert_file, settings.tls_key_file)
