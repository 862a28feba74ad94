"""gunicorn's settings for Authlib: threads, which keep connections open, and a socket for each process."""

from __future__ import annotations

import json
import multiprocessing
import os
from typing import Any

bind = f"127.0.0.1:{os.environ['PEER_PORT']}"
workers = int(os.environ["PEER_WORKERS"])
worker_class = "gthread"
threads = int(os.environ.get("PEER_THREADS", "4"))
keepalive = 60
reuse_port = True
http_parser = "fast"
loglevel = "warning"

_ready = multiprocessing.Value("i", 0)


def post_worker_init(_worker: Any) -> None:  # noqa: ANN401 - gunicorn is not in the environment that is checked
    """Print `{"url": ...}` once all processes listen."""
    with _ready.get_lock():
        _ready.value += 1
        if _ready.value == workers:
            print(json.dumps({"url": f"http://{bind}"}), flush=True)
