"""A worker: one process, one event loop, one listening socket."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import uvicorn

from ecross_server.app.assembly import Application
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp

GRACE_SECONDS: Final = 20
"""What is in flight at a stop has so long to be answered."""


class Worker(uvicorn.Server):
    """uvicorn, started and stopped by the supervisor alone."""

    def __init__(self, app: ASGIApp, settings: Settings, on_ready: Callable[[], None], orphaned: int) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=GRACE_SECONDS,
                ssl_certfile=settings.tls_cert_file,
                ssl_keyfile=settings.tls_key_file,
            )
        )
        self._on_ready = on_ready
        self._orphaned = orphaned

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """SIGTERM, which the supervisor sends, stops this worker; all else stays as the supervisor set it."""
        signal.signal(signal.SIGTERM, lambda *_: self._stop())
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then tell the supervisor, and watch for its end."""
        await super().startup(sockets)
        asyncio.get_running_loop().add_reader(self._orphaned, self._stop_as_orphan)
        self._on_ready()

    def _stop(self) -> None:
        self.should_exit = True

    def _stop_as_orphan(self) -> None:
        # A closed pipe stays readable: watched on, it would keep the loop spinning until the last request is answered.
        asyncio.get_running_loop().remove_reader(self._orphaned)
        self._stop()


def run_worker(
    settings: Settings, listening: socket.socket, on_ready: Callable[[], None], orphaned: int, budgets: BudgetTable
) -> None:
    """Serve until SIGTERM, or until the descriptor `orphaned` reads as closed: the supervisor is gone then.

    Raises:
        DomainError: if keys, peppers or the database cannot be used.
    """
    application = Application(settings, budgets=budgets)
    # Before the event loop, where it would be a traceback of the framework's instead of a sentence.
    application.auth.refresh()
    Worker(application, settings, on_ready, orphaned).run([listening])
