"""The two ways to send, for threads and for asyncio's tasks, over connections that are kept."""

import contextlib
import json
import os
import platform
import ssl
import uuid
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache, partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import version
from typing import Any, Generic, TypeVar

import httpx2

from ecross._auth.answers import TokenAnswer
from ecross._auth.api_errors import REQUEST_ID, clean_text
from ecross._transport.calls import Failure, Hidden
from ecross.errors import ConfigurationError, EcrossError, TransportError
from ecross.types import AccessToken

LONGEST_CONNECT_SECONDS = 10.0
_LONGEST_TOKEN_ANSWER = 64 * 1024
_MOST_DIGITS = 300  # of a whole number
_NO_ANSWER = (httpx2.HTTPError, httpx2.InvalidURL)  # the second of a redirect that is not followed
_UNSENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
)

Body = bytes | Iterable[bytes] | AsyncIterable[bytes]
C = TypeVar("C", bound=httpx2.Client | httpx2.AsyncClient)


@dataclass(frozen=True)
class ApiRequest:
    """A request without its token. `content` is bytes, or a stream that can be sent once.

    `sets_state`: it may be acted upon twice, though its method does not say so.
    """

    method: str
    url: str
    content: Body | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    request_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    sets_state: bool = False

    @property
    def can_be_repeated(self) -> bool:
        """Whether its body can be sent again."""
        return self.content is None or isinstance(self.content, bytes)


@cache
def user_agent() -> str:
    """What the server learns of the program that calls."""
    return f"ecross-python/{version('ecross')} python/{'.'.join(platform.python_version_tuple()[:2])}"


@cache
def _trusted(*_: str | None) -> ssl.SSLContext:
    """Whom TLS trusts. Made once for all clients, as reading the certificates takes longer than a call."""
    return httpx2.create_ssl_context()


def encode_json(value: object) -> bytes:
    """JSON for a request's body; a `Decimal` becomes the number that it is.

    Raises `ConfigurationError` for what has no JSON, also for a `Decimal` of more digits than a double holds.
    """
    try:
        return json.dumps(value, default=encode_decimal, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, ArithmeticError, RecursionError):
        pass
    raise ConfigurationError(
        "json must be made of what JSON has: objects, lists, strings, numbers that a double holds, true, false, null"
    )


def encode_decimal(value: object) -> int | float:
    """The number that JSON has for a `Decimal`. Raises `TypeError` or `ValueError` where it has none as exact."""
    if not isinstance(value, Decimal):
        raise TypeError
    if not value.is_finite() or value.adjusted() > _MOST_DIGITS:
        raise ValueError
    if value == value.to_integral_value():
        return int(value)
    number = float(value)
    if Decimal(repr(number)) != value:
        raise ValueError
    return number


class _Sender(Generic[C]):
    """What both have in common. `connect` opens the HTTP library's own client."""

    def __init__(
        self, connect: Callable[..., C], *, token_url: str, client_id: str, client_secret: str, timeout_seconds: float
    ) -> None:
        self._token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._timeout = httpx2.Timeout(timeout_seconds, connect=min(timeout_seconds, LONGEST_CONNECT_SECONDS))
        self._connect = connect
        self._connections = self._open()
        self._process_id = os.getpid()
        self._inherited: list[C] = []
        self._is_closed = False

    def _open(self) -> C:
        try:
            return self._connect(
                timeout=self._timeout,
                verify=_trusted(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")),
                follow_redirects=False,
                headers={"User-Agent": user_agent(), "Accept": "application/json"},
                # Nothing is remembered from one call to the next but the token.
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            )
        except (httpx2.InvalidURL, ImportError, OSError, ValueError) as error:
            fault = type(error).__name__  # without its text: the address of a proxy may hold a password
        raise ConfigurationError(
            f"No connection can be made with what the environment tells ({fault}): look at HTTP_PROXY, HTTPS_PROXY, "
            "ALL_PROXY, SSL_CERT_FILE and SSL_CERT_DIR."
        )

    def _own_connections(self) -> C:
        if self._is_closed:
            raise EcrossError("The client is closed.")
        if self._process_id != os.getpid():
            # Kept, so that nobody closes them: a child that does so may end what its parent is about to say.
            self._inherited.append(self._connections)
            self._connections = self._open()
            self._process_id = os.getpid()
        return self._connections

    def _end(self) -> C | None:
        """What is to be closed now."""
        is_first, self._is_closed = not self._is_closed, True
        return self._connections if is_first and self._process_id == os.getpid() else None

    def _token_request(self, connections: C) -> httpx2.Request:
        wire = {"clientId": self._client_id, "clientSecret": self._client_secret}
        # An answer of a few hundred bytes needs no compression, and its size can be limited as it comes.
        headers = {
            "Content-Type": "application/json", "Accept-Encoding": "identity", "X-Request-Id": uuid.uuid4().hex
        }  # fmt: skip
        return connections.build_request("POST", self._token_url, content=encode_json(wire), headers=headers)

    def _token_answer(self, response: httpx2.Response, body: bytes | None) -> TokenAnswer:
        # Not made where the body is read: an error raised there would have a token among its local variables.
        if body is None:
            raise TransportError(
                "The token endpoint's answer is too long: does the base URL lead to an e-CROSS server?"
            )
        headers = response.headers
        told = headers.get("X-Request-Id") or response.request.headers["X-Request-Id"]
        request_id = told if REQUEST_ID.fullmatch(told) and self._client_secret not in told else None
        return TokenAnswer(
            response.status_code, body, headers.get("Date"), headers.get("Retry-After"), request_id,
            headers.get("ECross-Credential-Expires"),
        )  # fmt: skip

    def _token_failure(self, error: Exception) -> TransportError:
        return _read_failure(error, self._token_url, Hidden(self._client_secret)).error

    def _failure(self, error: Exception, request: ApiRequest, token: AccessToken) -> Failure:
        return _read_failure(error, request.url, Hidden(self._client_secret, token.value))


def _api_request(connections: C, request: ApiRequest, token: AccessToken) -> httpx2.Request:
    headers = httpx2.Headers(request.headers)
    headers["Authorization"] = f"Bearer {token.value}"
    headers["X-Request-Id"] = request.request_id
    return connections.build_request(request.method, request.url, content=request.content, headers=headers)


def _without_token(response: httpx2.Response) -> httpx2.Response:
    """The response as callers get it: they may log or pickle it, and with it the request that it answers."""
    del response.request.headers["Authorization"]
    return response


def _read_failure(error: Exception, url: str, hidden: Hidden) -> Failure:
    host = httpx2.URL(url).host
    is_timeout = isinstance(error, httpx2.TimeoutException)
    is_unsent = isinstance(error, _UNSENT)
    if isinstance(error, httpx2.ConnectTimeout):
        text = f"{host} could not be reached in time."
    elif isinstance(error, httpx2.PoolTimeout):
        text = "No connection was free in time."
    elif is_timeout:
        text = f"{host} did not answer in time."
    elif is_unsent:
        text = f"{host} could not be reached: {clean_text(str(error), hidden) or type(error).__name__}"
    elif isinstance(error, httpx2.NetworkError):
        text = f"The connection to {host} broke off."
    else:
        text = f"{host} did not speak HTTP as it should ({type(error).__name__})."
    return Failure(TransportError(text, is_timeout=is_timeout), is_unsent=is_unsent)


class Sender(_Sender[httpx2.Client]):
    """Sends for threads."""

    def __init__(self, *, transport: httpx2.BaseTransport | None, **options: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(partial(httpx2.Client, transport=transport), **options)

    def close(self) -> None:
        """Close all connections."""
        connections = self._end()
        if connections is not None:
            connections.close()

    def ask_for_token(self) -> TokenAnswer:
        """Send `POST /token` once. Raises `TransportError`."""
        connections = self._own_connections()
        failure: TransportError
        try:
            response = connections.send(self._token_request(connections), stream=True)
            return self._token_answer(response, _read_short(response))
        except _NO_ANSWER as error:
            failure = self._token_failure(error)
        raise failure

    def send(self, request: ApiRequest, token: AccessToken) -> httpx2.Response | Failure:
        """Send a request once."""
        connections = self._own_connections()
        try:
            return _without_token(connections.send(_api_request(connections, request, token)))
        except _NO_ANSWER as error:
            return self._failure(error, request, token)


class AsyncSender(_Sender[httpx2.AsyncClient]):
    """Sends for asyncio's tasks."""

    def __init__(self, *, transport: httpx2.AsyncBaseTransport | None, **options: Any) -> None:  # noqa: ANN401 - as above
        super().__init__(partial(httpx2.AsyncClient, transport=transport), **options)

    async def aclose(self) -> None:
        """Close all connections."""
        connections = self._end()
        if connections is not None:
            await connections.aclose()

    async def ask_for_token(self) -> TokenAnswer:
        """Send `POST /token` once. Raises `TransportError`."""
        connections = self._own_connections()
        failure: TransportError
        try:
            response = await connections.send(self._token_request(connections), stream=True)
            return self._token_answer(response, await _read_short_async(response))
        except _NO_ANSWER as error:
            failure = self._token_failure(error)
        raise failure

    async def send(self, request: ApiRequest, token: AccessToken) -> httpx2.Response | Failure:
        """Send a request once."""
        connections = self._own_connections()
        try:
            return _without_token(await connections.send(_api_request(connections, request, token)))
        except _NO_ANSWER as error:
            return self._failure(error, request, token)


def _read_short(response: httpx2.Response) -> bytes | None:
    """The body; `None` if it is too long."""
    body = b""
    with contextlib.closing(response):
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > _LONGEST_TOKEN_ANSWER:
                return None
    return body


async def _read_short_async(response: httpx2.Response) -> bytes | None:
    body = b""
    async with contextlib.aclosing(response):
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > _LONGEST_TOKEN_ANSWER:
                return None
    return body
