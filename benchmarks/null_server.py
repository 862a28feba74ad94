"""What a request costs before it does anything: a Starlette route that answers with a constant.

uvicorn runs with the settings of the server's own workers, in one process; `python -m benchmarks.null_server` prints
where it listens and serves until SIGTERM.
"""

from __future__ import annotations

import json
import signal
import socket

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route


async def nothing(_request: Request) -> Response:
    """Answer with two bytes."""
    return Response(b"{}", media_type="application/json")


def main() -> None:
    """Serve on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        server = uvicorn.Server(
            uvicorn.Config(
                Starlette(routes=[Route("/null", nothing)]),
                loop="uvloop",
                http="httptools",
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=5,
            )
        )
        # uvicorn handles SIGTERM and then raises it again, which would end this process with a signal's status.
        signal.signal(signal.SIGTERM, lambda *_: None)
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        server.run([listening])


if __name__ == "__main__":
    main()
