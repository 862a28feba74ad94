"""What the tests of HTTP share: a caller that speaks ASGI itself, and the log as it is written."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
import structlog

from ecross_server.app.assembly import Application
from ecross_server.kit.logs import configure_logs


@pytest.fixture
def idle_application(application: Application) -> Iterator[Application]:
    """The application without its thread, its registry read once."""
    application.auth.refresh()
    yield application
    application.database.close()


@dataclass
class Exchange:
    """An answer, and how much of the request was read for it."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    is_complete: bool
    chunks_read: int

    def header(self, name: str) -> str:
        (value,) = (value for known, value in self.headers if known == name)
        return value

    def json(self) -> Any:
        return json.loads(self.body)


Chunks = Iterable[bytes | Exception]
AsgiApp = Callable[[Any, Any, Any], Awaitable[None]]
SendRequest = Callable[..., Exchange]


@pytest.fixture
def exchange() -> SendRequest:
    """One request, spoken in ASGI: its chunks are counted as they are read, and an exception among them is raised.

    Where the chunks end early, the client is gone.
    """

    def send_request(
        app: AsgiApp,
        path: str,
        chunks: Chunks = (b"",),
        *,
        method: str = "POST",
        headers: Iterable[tuple[str, str]] = (),
        is_cut_off: bool = False,
    ) -> Exchange:
        sent: list[Any] = []
        chunks_read = 0

        async def receive_all() -> AsyncIterator[Any]:
            nonlocal chunks_read
            waiting = list(chunks)
            for number, chunk in enumerate(waiting, 1):
                chunks_read = number
                if isinstance(chunk, Exception):
                    raise chunk
                more = is_cut_off or number < len(waiting)
                yield {"type": "http.request", "body": chunk, "more_body": more}
            while True:
                yield {"type": "http.disconnect"}

        messages = receive_all()

        async def receive() -> Any:
            return await anext(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", 50000),
            "server": ("127.0.0.1", 8000),
        }

        async def call() -> None:
            await app(scope, receive, send)

        anyio.run(call)
        start, *bodies = sent
        assert start["type"] == "http.response.start"
        assert all(message["type"] == "http.response.body" for message in bodies)
        answer_headers = [(name.decode(), value.decode()) for name, value in start["headers"]]
        body = b"".join(message.get("body", b"") for message in bodies)
        is_complete = not bodies[-1].get("more_body", False)
        return Exchange(start["status"], answer_headers, body, is_complete, chunks_read)

    return send_request


class Log:
    """What was written, as text and as its JSON lines."""

    def __init__(self, stream: io.StringIO) -> None:
        self._stream = stream

    @property
    def text(self) -> str:
        return self._stream.getvalue()

    def forget(self) -> None:
        """Leave out what the making of a test's fixtures has written."""
        self._stream.truncate(0)
        self._stream.seek(0)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@pytest.fixture(autouse=True)
def log(request: pytest.FixtureRequest) -> Iterator[Log]:
    """The log as the server writes it, into memory."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    stream = io.StringIO()
    configure_logs(getattr(request, "param", "json"), "info", stream)
    yield Log(stream)
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
