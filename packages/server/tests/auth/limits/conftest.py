"""What the tests of limits share: a line to Redis that can be slow, dead or cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from ecross_server.auth.limits import shared


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no slow Redis: what is not about the deadline does not meet it."""
    monkeypatch.setattr(shared, "DEADLINE_SECONDS", 5.0)


class Line:
    """A TCP line to Redis with a delay; cut, it refuses and drops; dead, it takes all and answers nothing."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.delay_seconds = 0.0
        self.is_dead = False
        self.trips = 0
        self._server: asyncio.Server | None = None
        self._writers: list[asyncio.StreamWriter] = []
        self.listens_on = 0

    async def connect(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.listens_on)
        self.listens_on = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()
        await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_redis_reader, to_redis = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers += [writer, to_redis]
        await asyncio.gather(self._pass_on(reader, to_redis, counts=True), self._pass_on(to_redis_reader, writer))

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counts: bool = False
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                self.trips += counts
                if counts:
                    await asyncio.sleep(self.delay_seconds)
                if not self.is_dead:
                    writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def _line_to(url: str) -> AsyncIterator[tuple[Line, str]]:
    """A line to the Redis at the address, and its own address."""
    address, number = url.rsplit("/", 1)
    line = Line(int(address.rsplit(":", 1)[1]))
    await line.connect()
    try:
        yield line, f"redis://127.0.0.1:{line.listens_on}/{number}"
    finally:
        await line.cut()


@pytest.fixture
def line_to() -> Callable[[str], AbstractAsyncContextManager[tuple[Line, str]]]:
    """Gives a line to the Redis at an address, and the line's own address."""
    return _line_to
