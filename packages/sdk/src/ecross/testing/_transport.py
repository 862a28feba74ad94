"""The way into the fake server without sockets, and without waiting."""

from collections.abc import AsyncIterator, Callable, Iterator
from typing import NoReturn

import httpx2
from anyio.lowlevel import checkpoint  # httpx2 brings it

from ecross.testing._delivery import Delivery, Fault
from ecross.testing._messages import Response

Receive = Callable[[str, bytes, list[tuple[bytes, bytes]], bytes], Delivery]

BODILESS = frozenset({204, 304})


class FakeTransport(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """Hands requests to the fake server, whatever host they are for, from threads and from tasks.

    Time passes on the server's clock alone: late answers and timeouts move it, and nobody waits.
    """

    def __init__(self, receive: Receive, advance: Callable[[float], None]) -> None:
        self._receive = receive
        self._advance = advance

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request."""
        return self._answer(request, request.read())

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer one request. Other tasks get their turn before and after, as with a network."""
        content = await request.aread()
        await checkpoint()
        response = self._answer(request, content)
        await checkpoint()
        return response

    def _answer(self, request: httpx2.Request, content: bytes) -> httpx2.Response:
        delivery = self._receive(request.method, request.url.raw_path, request.headers.raw, content)
        patience: float | None = request.extensions.get("timeout", {}).get("read")
        if patience is not None and delivery.delay_seconds > patience:
            self._time_out(request, patience)
        self._advance(delivery.delay_seconds)
        if delivery.fault is Fault.SILENCE:
            self._time_out(request, patience or 0.0)
        if delivery.fault is Fault.REFUSED:
            raise httpx2.ConnectError("The connection was refused.", request=request)
        if delivery.fault is Fault.LOST:
            raise httpx2.ReadError("The connection was reset.", request=request)
        response = delivery.response
        extensions = {"http_version": b"HTTP/1.1"}
        if delivery.fault is Fault.CUT:
            return httpx2.Response(
                response.status, headers=cut_headers(response), stream=CutStream(response.content),
                extensions=extensions, request=request,
            )  # fmt: skip
        is_bodiless = request.method == "HEAD" or response.status in BODILESS
        return httpx2.Response(
            response.status, headers=response.headers, content=b"" if is_bodiless else response.content,
            extensions=extensions, request=request,
        )  # fmt: skip

    def _time_out(self, request: httpx2.Request, seconds: float) -> NoReturn:
        self._advance(seconds)
        raise httpx2.ReadTimeout("The answer did not come in time.", request=request)


class CutStream(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body that breaks off."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __iter__(self) -> Iterator[bytes]:
        yield self._content
        raise _cut_off()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content
        raise _cut_off()


def cut_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """The head of an answer that promises more than will come."""
    promised = 2 * len(response.content) + 1
    others = [field for field in response.headers if field[0] != b"content-length"]
    return [*others, (b"content-length", b"%d" % promised)]


def _cut_off() -> httpx2.RemoteProtocolError:
    return httpx2.RemoteProtocolError("The connection ended before the whole body had come.")
