"""Bodies up to 4 MiB; more is 413, found out before anything of it is kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from starlette.exceptions import HTTPException

from ecross_server.web.answers import http_error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LARGEST_BODY: Final = 4 * 1024 * 1024
LONGEST_LENGTH: Final = 20

# What is left of a refused body is not read, so the connection cannot serve another request.
CLOSE: Final = {"Connection": "close"}


class BodyLimit:
    """ASGI middleware that counts the body, whether or not its length was announced."""

    def __init__(self, app: ASGIApp, largest: int = LARGEST_BODY) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 413, or pass the request on with a body that cannot grow past the limit."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if announced_length(scope["headers"]) > self._largest:
            await http_error_response(scope, 413, CLOSE)(scope, receive, send)
            return
        received = 0

        async def receive_counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._largest:
                raise HTTPException(413, headers=CLOSE)
            return message

        await self._app(scope, receive_counted, send)


def announced_length(headers: list[tuple[bytes, bytes]]) -> float:
    """The `Content-Length`; 0 where there is none. The HTTP parser has refused a faulty one; here it is infinite."""
    for name, value in headers:
        if name == b"content-length":
            return int(value) if value.isdigit() and len(value) <= LONGEST_LENGTH else math.inf
    return 0
