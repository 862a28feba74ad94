"""A small server that counts, and clients of it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pickle
import socket
import ssl
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ecross import AsyncClient, Client, MemoryCache

SECRET = "s3cret-of-the-merchant"
TOKEN_PREFIX = "tok-"


@dataclass
class Answer:
    """What the server says once; `before` runs first."""

    status: int = 200
    body: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], object] | None = None
    breaks_off: bool = False


@dataclass
class Received:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    peer: tuple[str, int]


class CountingServer:
    """Answers on 127.0.0.1 what it was told to, else tokens that number themselves and an empty object."""

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self.requests: list[Received] = []
        self.lifetime_seconds = 28800
        self.token_delay: Callable[[], object] = lambda: None
        self._scripts: dict[str, list[Answer]] = defaultdict(list)
        self._mutex = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                server.answer(self)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_PATCH = _answer  # noqa: N815 - the names the library calls

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128
            daemon_threads = True

        self._http = Server(("127.0.0.1", 0), Handler)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_port}"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*tls)
            self._http.socket = context.wrap_socket(self._http.socket, server_side=True)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def script(self, path: str, *answers: Answer) -> None:
        self._scripts[path] += answers

    def requests_to(self, path: str) -> list[Received]:
        return [request for request in self.requests if request.path.partition("?")[0] == path]

    @property
    def tokens_asked(self) -> int:
        return sum(request.path.endswith("/token") for request in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = _read_body(handler)
        path = handler.path.partition("?")[0]
        with self._mutex:
            self.requests.append(
                Received(handler.command, handler.path, dict(handler.headers), body, handler.client_address)
            )
            number = self.tokens_asked
            answer = self._scripts[path].pop(0) if self._scripts[path] else None
        if answer is None:
            answer = Answer()
            if path.endswith("/token"):
                self.token_delay()
                answer.body = token_body(f"{TOKEN_PREFIX}{number}", self.lifetime_seconds)
        if answer.before is not None:
            answer.before()
        if answer.breaks_off:
            handler.close_connection = True
            return
        content = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        with contextlib.suppress(OSError):
            handler.send_response(answer.status)
            for name, value in answer.headers.items():
                handler.send_header(name, value)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)


def _read_body(handler: BaseHTTPRequestHandler) -> bytes:
    if handler.headers.get("Transfer-Encoding") != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline() or b"0", 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def token_body(value: str, lifetime: int) -> dict[str, object]:
    return {"token": value, "tokenType": "Bearer", "expiresIn": lifetime}


@pytest.fixture
def answer() -> type[Answer]:
    """Makes an answer for `server.script`."""
    return Answer


@pytest.fixture
def server() -> Iterator[CountingServer]:
    """A server of this test's own."""
    started = CountingServer()
    yield started
    started.close()


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A wall clock that the test sets."""
    return Clock()


def _told(server: CountingServer) -> dict[str, Any]:
    return {"client_id": "acme-1", "client_secret": SECRET, "base_url": server.url, "token_cache": MemoryCache()}


@pytest.fixture
def make_client(server: CountingServer) -> Iterator[Callable[..., Client]]:
    """Makes clients of the server, each with a cache of its own unless told one."""
    made: list[Client] = []

    def make(**options: Any) -> Client:
        client = Client(**(_told(server) | options))
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()


@pytest.fixture
def make_async_client(server: CountingServer) -> Callable[..., Any]:
    """Makes asynchronous clients of the server, to be used with `async with`."""

    @contextlib.asynccontextmanager
    async def make(**options: Any) -> AsyncIterator[AsyncClient]:
        async with AsyncClient(**(_told(server) | options)) as client:
            yield client

    return make


@pytest.fixture(autouse=True)
def _nothing_of_the_persons_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("ECROSS_", "XDG_")) or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "keyring.backends.fail.Keyring")


class Threaded:
    """A `Client`, as tests of both kinds of clients use it."""

    kind = Client

    def __init__(self, **options: Any) -> None:
        self.client = Client(**options)
        _without_pauses(self.client)

    def request(self, method: str, path: str, *, stream: list[bytes] | None = None, **options: Any) -> Any:
        if stream is not None:
            options["content"] = iter(stream)
        return self.client.request(method, path, **options)

    def access_token(self, **options: Any) -> Any:
        return self.client.access_token(**options)

    def do(self, call: Callable[[Any], Any]) -> Any:
        return call(self.client)

    def skus(self, **options: Any) -> list[Any]:
        return list(self.client.skus.list(**options))

    def pages(self, *, page_token: str | None = None, **options: Any) -> list[Any]:
        return list(self.client.skus.list(**options).pages(page_token=page_token))

    def inventory(self, **options: Any) -> list[Any]:
        return list(self.client.inventory.list(**options))

    def first_sku(self) -> Any:
        return next(iter(self.client.skus.list()))

    def close(self) -> None:
        self.client.close()


class Tasked:
    """An `AsyncClient`, as tests of both kinds of clients use it."""

    kind = AsyncClient

    def __init__(self, **options: Any) -> None:
        self._runner = asyncio.Runner()
        try:
            self.client = AsyncClient(**options)
        except BaseException:
            self._runner.close()
            raise
        _without_pauses(self.client)

    def request(self, method: str, path: str, *, stream: list[bytes] | None = None, **options: Any) -> Any:
        async def chunks() -> AsyncIterator[bytes]:
            for chunk in stream or ():
                yield chunk

        if stream is not None:
            options["content"] = chunks()
        return self._runner.run(self.client.request(method, path, **options))

    def access_token(self, **options: Any) -> Any:
        return self._runner.run(self.client.access_token(**options))

    def do(self, call: Callable[[Any], Any]) -> Any:
        return self._runner.run(call(self.client))

    def skus(self, **options: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [sku async for sku in self.client.skus.list(**options)]

        return self._runner.run(read())

    def pages(self, *, page_token: str | None = None, **options: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [page async for page in self.client.skus.list(**options).pages(page_token=page_token)]

        return self._runner.run(read())

    def inventory(self, **options: Any) -> list[Any]:
        async def read() -> list[Any]:
            return [record async for record in self.client.inventory.list(**options)]

        return self._runner.run(read())

    def first_sku(self) -> Any:
        async def read() -> Any:
            return await anext(aiter(self.client.skus.list()))

        return self._runner.run(read())

    def close(self) -> None:
        self._runner.run(self.client.aclose())
        self._runner.close()


def _without_pauses(client: Client | AsyncClient) -> None:
    setup = client._setup
    client._setup = replace(setup, retries=replace(setup.retries, random=lambda: 0.0))


Caller = Threaded | Tasked


@pytest.fixture(params=[Threaded, Tasked], ids=["threads", "tasks"])
def make_caller(server: CountingServer, request: pytest.FixtureRequest) -> Iterator[Callable[..., Caller]]:
    """Makes callers of the server over each kind of client in turn. What is retried is so without a pause."""
    made: list[Caller] = []

    def make(**options: Any) -> Caller:
        caller: Caller = request.param(**(_told(server) | options))
        made.append(caller)
        return caller

    yield make
    for caller in made:
        caller.close()


@pytest.fixture
def caller(make_caller: Callable[..., Caller]) -> Caller:
    """A caller of the server over each kind of client in turn."""
    return make_caller()


@pytest.fixture
def other_server() -> Iterator[CountingServer]:
    """A stranger."""
    started = CountingServer()
    yield started
    started.close()


@pytest.fixture
def tls_server(tls_files: tuple[Path, Path]) -> Iterator[CountingServer]:
    """A server whose certificate nobody has signed."""
    started = CountingServer(tls_files)
    yield started
    started.close()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@pytest.fixture
def raw_server() -> Iterator[Callable[[bytes], str]]:
    """Starts servers that say the same bytes to everybody, whatever was asked, and hang up; gives their addresses."""
    listeners: list[socket.socket] = []

    def start(said: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(said)

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _frames_of(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        if "/tests/" not in trace.tb_frame.f_code.co_filename:  # a test knows what it has told
            yield repr(trace.tb_frame.f_locals)
        trace = trace.tb_next


@pytest.fixture
def shown_by() -> Callable[[BaseException], str]:
    """All that a log, a pickle or a report of crashes shows of an error: also its causes and local variables."""

    def show(error: BaseException) -> str:
        shown, left = [], [error]
        while left:
            one = left.pop()
            frames = list(_frames_of(one))
            assert frames or one is not error
            shown += [str(one), repr(one), repr(one.args), repr(vars(one)), repr(pickle.dumps(one)), *frames]
            left += [chained for chained in (one.__cause__, one.__context__) if chained is not None]
        return "\n".join(shown)

    return show
