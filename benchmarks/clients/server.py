"""A server that counts: it issues tokens in the forms of all clients, and answers a call that carries a live one.

`python -m benchmarks.clients.server` prints where it listens and serves until SIGTERM. A token takes 50 ms, as it
may over the sea; a call takes what a do-nothing route takes.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import signal
import socket
from typing import Final

import uvicorn
from starlette.types import Receive, Scope, Send

from benchmarks.clients.contestants import AUTHORITY

TOKEN_SECONDS: Final = 0.05
LIFETIME_SECONDS: Final = 28800


class CountingServer:
    """Answers as plain ASGI."""

    def __init__(self) -> None:
        self._live: set[str] = set()
        self._count = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        while (await receive()).get("more_body"):
            pass
        status, body = await self._answer(scope["path"], dict(scope["headers"]))
        content = json.dumps(body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _answer(self, path: str, headers: dict[bytes, bytes]) -> tuple[int, dict[str, object]]:
        match path:
            case "/call":
                is_live = headers.get(b"authorization", b"").removeprefix(b"Bearer ").decode() in self._live
                return (200, {}) if is_live else (401, {"message": "The access token is invalid."})
            case "/token":
                return 200, {"token": await self._issue(), "tokenType": "Bearer", "expiresIn": LIFETIME_SECONDS}
            case "/oauth/token":
                issued = await self._issue()
                return 200, {"access_token": issued, "token_type": "Bearer", "expires_in": LIFETIME_SECONDS}
            case "/reset":
                self._live.clear()
                count, self._count = self._count, 0
                return 200, {"tokens": count}
            case _:  # what MSAL looks up first
                endpoints = dict.fromkeys(("token_endpoint", "authorization_endpoint"), AUTHORITY + "/oauth/token")
                return 200, {"issuer": AUTHORITY, **endpoints}

    async def _issue(self) -> str:
        self._count += 1
        await asyncio.sleep(TOKEN_SECONDS)
        issued = secrets.token_urlsafe(200)
        self._live.add(issued)
        return issued


def main() -> None:
    """Serve on a free port."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    config = uvicorn.Config(
        CountingServer(), loop="uvloop", http="httptools", ws="none", lifespan="off", log_config=None, access_log=False
    )
    # uvicorn handles SIGTERM and then raises it again, which would end this process with a signal's status.
    signal.signal(signal.SIGTERM, lambda *_: None)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main()
