"""What is known of a request while it is answered, and the one line that is logged of it."""

from __future__ import annotations

import re
import time
from collections.abc import MutableMapping
from typing import Any, Final
from urllib.parse import quote

from ecross_server.kit.identifiers import random_hex
from ecross_server.kit.logs import request_log
from ecross_server.web.counts import RequestCounts

REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
SCOPE_KEY: Final = "ecross"
LONGEST_SHOWN_PATH: Final = 200


class RequestContext:
    """The request's id, and what its log line will say: who called, what came of it."""

    __slots__ = ("address", "client_id", "outcome", "path", "reason", "request_id", "started_at", "status")

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.request_id = _request_id(headers)
        self.started_at = time.perf_counter()
        self.address = ""
        self.client_id: str | None = None
        self.outcome: str | None = None
        self.path: str | None = None
        self.reason: str | None = None
        self.status = 0

    def conclude(self, scope: MutableMapping[str, Any], counts: RequestCounts) -> None:
        """Count and log the request: its route as declared, or where none matched its path, never its query string."""
        seconds = time.perf_counter() - self.started_at
        route = self.path or getattr(scope.get("route"), "path", None)
        counts.add(route, scope["method"], self.status, self.outcome, seconds)
        request_log.info(
            method=scope["method"],
            path=route or _shown_path(scope),
            status=self.status,
            outcome=self.outcome or "ok",
            reason=self.reason,
            client_id=self.client_id,
            request_id=self.request_id,
            duration_ms=seconds * 1000,
        )


def context_of(scope: Any) -> RequestContext:  # noqa: ANN401 - Starlette and plain ASGI type a scope differently
    """The context of the request that this ASGI scope belongs to."""
    context: RequestContext = scope[SCOPE_KEY]
    return context


def _request_id(headers: list[tuple[bytes, bytes]]) -> str:
    sent = [value for name, value in headers if name == b"x-request-id"]
    if len(sent) == 1 and REQUEST_ID.fullmatch(sent[0]):
        return sent[0].decode("ascii")
    return random_hex()


def _shown_path(scope: MutableMapping[str, Any]) -> str:
    # Encoded anew: it cannot break a line then, and the guard of the logs knows a secret that was sent percent-encoded.
    # Cut, since strangers choose it.
    return quote(scope["path"][:LONGEST_SHOWN_PATH], errors="replace")
