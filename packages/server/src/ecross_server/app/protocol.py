"""HTTP/1.1 for clients of every kind: slow ones, greedy ones, and those that do not speak it.

Built on uvicorn's protocol for httptools; docs/decisions/0019 says which parts of it this hangs on.
"""

from __future__ import annotations

import asyncio
import functools
import time
import types
from collections import Counter, OrderedDict
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import unquote

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ecross_server.web.answers import error_response
from ecross_server.web.context import SCOPE_KEY, RequestContext
from ecross_server.web.counts import RequestCounts

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

LARGEST_HEAD: Final = 64 * 1024
MOST_HEADERS: Final = 100
LONGEST_TARGET: Final = 8 * 1024
SLICE: Final = 8 * 1024
"""So much is parsed at a time. It may hold hundreds of requests, and everybody else waits meanwhile."""

HEAD_SECONDS: Final = 10.0
IDLE_SECONDS: Final = 75.0
"""Longer than proxies keep theirs, so that it is they who close them, and no request meets a closing one."""
BODY_SECONDS: Final = 20.0
SLOWEST_BODY: Final = 1024
"""A body may take `BODY_SECONDS`, and one second more for each so many bytes that came."""
STUCK_SECONDS: Final = 30.0
"""So long may a client read nothing of what it was sent."""
LINGER_SECONDS: Final = 2.0
"""So long is read what a client still sends after its last answer: else it might never see that."""
MOST_CONNECTIONS: Final = 4096

CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])
BODILESS: Final = frozenset({204, 304})

NOTHING, HEAD, BODY, LEFTOVERS = range(4)
"""What a connection is receiving; leftovers are thrown away."""


class Refusal(NamedTuple):
    """The answer to what cannot be given to the application. Counted, and not logged: strangers send such things."""

    status: int
    code: str
    message: str


UNREADABLE: Final = Refusal(400, "invalid_request", "This is no HTTP/1.1 request.")
TOO_SLOW: Final = Refusal(408, "request_timeout", f"The headers took longer than {HEAD_SECONDS:.0f} seconds.")
TARGET_TOO_LONG: Final = Refusal(414, "target_too_long", f"The address is longer than {LONGEST_TARGET} bytes.")
HEAD_TOO_LARGE: Final = Refusal(
    431, "headers_too_large", f"There are more than {MOST_HEADERS} headers, or {LARGEST_HEAD} bytes of them."
)


class RefusedError(Exception):
    """Makes the parser stop."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


class Connections:
    """All connections of a process: how many there may be, and which have waited longest for their clients."""

    def __init__(self, opened: set[Any], counts: RequestCounts, most: int) -> None:
        self.opened = opened
        self.counts = counts
        self.most = most
        self.cut: Counter[str] = Counter()
        self.waiting: OrderedDict[HttpProtocol, None] = OrderedDict()
        """Those whose client is to send a request or the rest of one, the longest first."""
        self.now = time.monotonic()
        """Of the last sweep: to ask for the time at every request would cost more."""

    def admit(self, connection: HttpProtocol) -> None:
        """Take in a new one; if there are too many, in the place of the one that has waited longest."""
        if len(self.opened) > self.most:
            if not self.waiting:
                connection.cut("refused")
                return
            longest, _ = self.waiting.popitem(last=False)
            longest.cut("displaced")
        self.waiting[connection] = None

    def sweep(self) -> None:
        """Cut off those that take too long; to be called once a second."""
        self.now = time.monotonic()
        for connection in list(self.opened):
            connection.check(self.now)


class Flow(FlowControl):
    """While requests are held back nothing more is read, whoever asks for it: they would grow without end."""

    is_held = False

    def resume_reading(self) -> None:
        """Read on, if nothing is held back."""
        if not self.is_held:
            super().resume_reading()


class Cycle(RequestResponseCycle):
    """A request and its answer. An answer that is known whole is written at once, head and body together."""

    protocol: HttpProtocol
    _start: Message | None = None
    _is_body_given = False

    async def receive(self) -> Any:  # noqa: ANN401 - uvicorn has types of its own for messages
        """The body or a part of it, then the client's end."""
        if self.more_body or self._is_body_given or self.disconnected or self.response_complete:
            return await super().receive()
        self._is_body_given = True
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(self, message: Any) -> None:  # noqa: ANN401 - likewise
        """Write the answer. As ASGI asks, its head waits for the first part of its body."""
        start = self._start
        if start is None:
            if message["type"] == "http.response.start" and not self.response_started:
                self._start = message
            else:
                await super().send(message)
            return
        self._start = None
        if not self._sent_whole(start, message):
            await super().send(start)  # type: ignore[arg-type] # likewise
            await super().send(message)

    def _sent_whole(self, start: Message, message: Message) -> bool:
        """Write head and body if both are here and simple; whether it was so."""
        status, body = start["status"], message.get("body", b"")
        if (
            message.get("more_body") or self.scope["method"] == "HEAD" or status in BODILESS
            or self.disconnected or self.flow.write_paused
        ):  # fmt: skip
            return False
        length, is_last, says_so = None, not self.keep_alive, False
        headers = self.default_headers + list(start["headers"])
        parts = [STATUS_LINE[status]]
        for name, value in headers:
            parts += (name, b": ", value, b"\r\n")
            if name == b"content-length":
                length = value
            elif name == b"connection":
                is_last = says_so = True
            elif name == b"transfer-encoding":
                return False
        if length != b"%d" % len(body) or (says_so and (b"connection", b"close") not in headers):
            return False
        lines = len(headers) + 2
        if is_last and not says_so:
            parts.append(b"connection: close\r\n")
            lines += 1
        parts.append(b"\r\n")
        head = b"".join(parts)
        if len(head) - len(head.translate(None, CONTROLS)) != 2 * lines:  # only our own ends of lines may be in it
            return False  # uvicorn says which header it is
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        self.transport.write(head + body)
        self.message_event.set()
        if is_last:
            self.keep_alive = False
            self.protocol.end()
        self.on_response()
        return True


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    flow: Flow
    scope: Any  # none before the first request
    cycle: Any  # likewise

    def __init__(self, connections: Connections, *arguments: Any, quick_path: str = "", **options: Any) -> None:  # noqa: ANN401 - uvicorn's own
        """`quick_path` is one whose answers hardly ever have to wait for anything."""
        super().__init__(*arguments, **options)
        self._all = connections
        self._quick_path = quick_path
        self._quick: tuple[Cycle, Any] | None = None
        self._receiving = NOTHING
        self._running: Cycle | None = None
        self._since = connections.now
        self._head_size = 0  # and after the head, what came since the last bytes of a body
        self._body_size = 0
        self._held = b""
        self._is_ending = False
        self._unsent = 0
        self._unsent_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn does
        """Take in the connection."""
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._all.admit(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        if self._running is not None and not self._running.response_complete:  # with others behind it
            self._running.disconnected = True
            self._running.message_event.set()
        self.cycle = self._running = None  # which refer to this: nothing is left for the collector to find
        self._all.waiting.pop(self, None)
        self._held = b""

    def data_received(self, data: bytes) -> None:
        """Parse what came, unless requests before it are still to be answered."""
        if self._receiving == LEFTOVERS:
            return
        if self._held or self.flow.is_held:
            self._held += data
        elif len(data) <= SLICE:
            self._parse_slice(data)
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        for begin in range(0, len(data), SLICE):
            if self._receiving == LEFTOVERS:
                return
            if self.flow.is_held:
                self._held = data[begin:]
                return
            self._parse_slice(data[begin : begin + SLICE])

    def _parse_held(self) -> None:
        held, self._held = self._held, b""
        if held and not self.transport.is_closing():
            self._parse(held)

    def _parse_slice(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:  # to a protocol that is not spoken here; the request itself is answered
            self.cycle.keep_alive = False
            self._receiving = LEFTOVERS
            self._start_quick()
        except httptools.HttpParserError as error:
            self._start_quick()
            cause = error.__context__
            self._refuse(cause.refusal if isinstance(cause, RefusedError) else UNREADABLE)
        else:
            if self._quick is not None:
                self._start_quick(at_once=not self._quick[0].more_body)
            if self._receiving != NOTHING:
                self._head_size += len(data)
                if self._head_size > LARGEST_HEAD:
                    self._refuse(HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._receiving = HEAD
        self._since = self._all.now
        self._head_size = 0

    def on_headers_complete(self) -> None:
        """The head is whole: give the request to the application, or put it in the line."""
        if len(self.url) > LONGEST_TARGET:
            raise RefusedError(TARGET_TOO_LONG)
        if len(self.headers) > MOST_HEADERS:
            raise RefusedError(HEAD_TOO_LARGE)
        target = httptools.parse_url(self.url)
        path = target.path.decode("ascii")
        version = self.parser.get_http_version()
        self.scope.update(
            method=self.parser.get_method().decode("ascii"),
            http_version=version,
            path=unquote(path) if "%" in path else path,
            raw_path=target.path,
            query_string=target.query or b"",
        )
        self._receiving = BODY
        self._since = self._all.now
        self._head_size = self._body_size = 0
        self.headers = []  # what may stand behind the body is none of the request's
        self._give(
            self.scope, self.app, keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            is_quick=self.scope["path"] == self._quick_path,
        )  # fmt: skip

    def _give(self, scope: Any, app: Any, *, keep_alive: bool, is_quick: bool = False) -> None:  # noqa: ANN401 - as above
        before = self.cycle
        self.cycle = cycle = Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.protocol = self
        if before is None or before.response_complete or before.disconnected:
            if is_quick:
                self._quick = (cycle, app)  # once it is known what else has come: most often all of it
            else:
                self._start(cycle, app)
        else:
            self.flow.pause_reading()
            self.flow.is_held = True
            self.pipeline.appendleft((cycle, app))

    def _start_quick(self, *, at_once: bool = False) -> None:
        """Start the request that was put aside; at once if it need not wait for its body.

        A task for it, and the loop's turn until that begins, would cost as much as half of the answer.
        """
        if self._quick is None:
            return
        (cycle, app), self._quick = self._quick, None
        if not at_once:
            self._start(cycle, app)
            return
        self._running = cycle
        answering = cycle.run_asgi(app)
        try:
            waits_for = answering.send(None)
        except StopIteration:
            return
        task = self.loop.create_task(_go_on(answering, waits_for))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _start(self, cycle: Any, app: Any) -> None:  # noqa: ANN401 - likewise
        self._running = cycle
        self._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """A part of the body has come."""
        self._head_size = 0
        self._body_size += len(body)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is here as a whole."""
        self._receiving = NOTHING
        if self.cycle.response_complete:
            self._since = self._all.now
            return
        self._all.waiting.pop(self, None)
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def on_response_complete(self) -> None:
        """An answer was written: on with the next request, if one is in the line."""
        self.server_state.total_requests += 1
        if self._is_ending or self.transport.is_closing():
            return
        if self.pipeline:
            self._start(*self.pipeline.pop())
        if not self.pipeline:
            self._since = self._all.now
            if self._receiving == BODY or self.cycle.response_complete:
                self._all.waiting[self] = None
            self.flow.is_held = False
            self.flow.resume_reading()
            if self._held:
                self.loop.call_soon(self._parse_held)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in the line of requests, then end."""
        cycle = self.cycle
        is_in_body = self._receiving == BODY and not cycle.response_complete
        self._receiving = LEFTOVERS
        self._held = b""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            scope[SCOPE_KEY] = context = RequestContext(scope["headers"])
            headers = {"Connection": "close", "X-Request-Id": context.request_id}
            self._all.counts.add(None, "", refusal.status, refusal.code, 0.0)
            await error_response(scope, *refusal, headers=headers)(scope, receive, send)

        scope = {"type": "http", "method": "", "headers": self.scope["headers"] if self.scope else []}
        self.expect_100_continue = False
        if is_in_body and self.pipeline:  # it has not begun: it is refused in its place
            cycle.scope.update(scope)
            cycle.more_body = cycle.keep_alive = False
            self.pipeline[0] = (cycle, answer)  # type: ignore[assignment] # uvicorn has types of its own
            return
        if is_in_body:
            if cycle.response_started:
                self.cut("unreadable")
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self._give(scope, answer, keep_alive=False)
        self.cycle.more_body = False

    def end(self) -> None:
        """Close once what was written is on its way. What the client is still sending is read and thrown away."""
        if self._receiving == NOTHING or not self.transport.can_write_eof():
            self.transport.close()
            return
        self._receiving = LEFTOVERS
        self._is_ending = True
        self._since = self._all.now
        self.transport.write_eof()
        self.flow.is_held = False
        self.flow.resume_reading()

    def cut(self, cause: str) -> None:
        """Close at once, whatever is under way."""
        self._all.cut[cause] += 1
        self.transport.abort()

    def check(self, now: float) -> None:
        """Cut off a client that takes too long."""
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._unsent_since = unsent, now
        if unsent:
            if now - self._unsent_since > STUCK_SECONDS:
                self.cut("stuck")
        elif self.flow.read_paused:  # it is the client that waits
            self._since = now
        else:
            self._check_receiving(now - self._since)

    def _check_receiving(self, waited: float) -> None:
        if self._receiving == HEAD:
            if waited > HEAD_SECONDS:
                self._all.cut["slow_head"] += 1
                self._refuse(TOO_SLOW)
        elif self._receiving == BODY:
            if waited > BODY_SECONDS + self._body_size / SLOWEST_BODY:
                self.cut("slow_body")
        elif self._is_ending:
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self in self._all.waiting and waited > IDLE_SECONDS:
            self.transport.close()


async def _go_on(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> None:  # noqa: ANN401 - what coroutines yield
    """The rest of a coroutine that was begun without a task, as a task's own."""
    await _resumed(coroutine, waits_for)


@types.coroutine
def _resumed(coroutine: Coroutine[Any, Any, None], waits_for: Any) -> Generator[Any, Any, None]:  # noqa: ANN401 - likewise
    while True:
        try:
            given = yield waits_for
        except BaseException as error:  # noqa: BLE001 - it is the coroutine's, as everything that comes
            step = functools.partial(coroutine.throw, error)
        else:
            step = functools.partial(coroutine.send, given)
        try:
            waits_for = step()
        except StopIteration:
            return
