"""Paths are looked for as they stand, to their last character."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ecross_server.web.answers import http_error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send


class WholePaths:
    """ASGI middleware before the router, which ends its patterns with `$`: that passes over a newline at the end."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 404 at a path that ends so, as none of ours does, or pass the request on."""
        if scope["type"] == "http" and scope["path"].endswith("\n"):
            await http_error_response(scope, 404, None)(scope, receive, send)
        else:
            await self._app(scope, receive, send)
