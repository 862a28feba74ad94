"""What a request costs before it does anything: a Starlette route that answers with a constant.

uvicorn runs with the settings of the server's own workers; `python -m benchmarks.null_server` prints where it listens
and serves until SIGTERM. `--workers` serves with several processes, a socket each. `--raw` leaves out Starlette and has
the traffic of a token request instead: it reads a body, and its answer has as many headers and bytes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
from typing import Final, Literal

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

RAW_BODY: Final = b" " * 515
"""As long as a token's answer."""

RAW_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"content-length", b"%d" % len(RAW_BODY)),
    (b"x-request-id", b"0" * 32),
]


async def nothing(_request: Request) -> Response:
    """Answer with two bytes."""
    return Response(b"{}", media_type="application/json")


async def raw_nothing(_scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer with a constant, as plain ASGI."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": RAW_HEADERS})
    await send({"type": "http.response.body", "body": RAW_BODY})


def main() -> None:
    """Serve on a free port."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.null_server", description=__doc__)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--raw", action="store_true")
    arguments = parser.parse_args()
    is_raw: bool = arguments.raw
    listening = _listen(0)
    port = listening.getsockname()[1]
    others = [_listen(port) for _ in range(arguments.workers - 1)]
    print(json.dumps({"url": f"http://127.0.0.1:{port}"}), flush=True)
    for other in others:
        if os.fork() == 0:
            listening.close()
            listening = other
            break
        other.close()
    app = raw_nothing if is_raw else Starlette(routes=[Route("/null", nothing)])
    serve(app, listening, lifespan="off" if is_raw else "on")


def serve(app: ASGIApp, listening: socket.socket, *, lifespan: Literal["on", "off"] = "on") -> None:
    """Serve until SIGTERM, with the settings of the server's own workers."""
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan=lifespan,
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=5,
        )
    )
    # uvicorn handles SIGTERM and then raises it again, which would end this process with a signal's status.
    signal.signal(signal.SIGTERM, lambda *_: None)
    server.run([listening])


def _listen(port: int) -> socket.socket:
    return socket.create_server(("127.0.0.1", port), backlog=2048, reuse_port=True)


if __name__ == "__main__":
    main()
