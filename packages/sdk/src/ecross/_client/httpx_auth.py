"""Authentication for those who send with `httpx2` themselves."""

from collections.abc import AsyncGenerator, Generator
from typing import NoReturn

import httpx2

from ecross._client.asynchronous import AsyncClient
from ecross._client.synchronous import Client
from ecross.errors import ConfigurationError
from ecross.types import AccessToken

_UNAUTHORIZED = 401


class EcrossAuth(httpx2.Auth):
    """Adds a client's access token to the requests of an `httpx2.Client`, or of an `httpx2.AsyncClient`.

    `client` is a `Client` for the first, an `AsyncClient` for the second. After a 401 the request is sent once more
    with a new token, if its body can be. A request that goes elsewhere than the client's base URLs is not sent:
    `ConfigurationError`. Leave redirects off, as `httpx2` does: it takes the token along to all paths of the same host.
    """

    def __init__(self, client: Client | AsyncClient) -> None:
        self._client = client

    def __repr__(self) -> str:
        return f"EcrossAuth({self._client!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an EcrossAuth is neither copied nor pickled: it holds a client")

    def sync_auth_flow(self, request: httpx2.Request) -> Generator[httpx2.Request, httpx2.Response, None]:
        """The steps for threads."""
        if not isinstance(self._client, Client):
            raise ConfigurationError("An AsyncClient authenticates an httpx2.AsyncClient; give a Client here.")
        token = self._client.token_for(str(request.url))
        response = yield _authorized(request, token)
        if not _is_refusal(response, request):
            return
        if not _can_be_repeated(request):
            self._client.note_rejected(token)
            return
        newer = self._client.token_after(token)
        if newer is None:
            return
        response.read()
        second = yield _authorized(request, newer)
        if second.status_code == _UNAUTHORIZED:
            self._client.note_rejected(newer, is_second=True)

    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        """The steps for asyncio's tasks."""
        if not isinstance(self._client, AsyncClient):
            raise ConfigurationError("A Client authenticates an httpx2.Client; give an AsyncClient here.")
        token = await self._client.token_for(str(request.url))
        response = yield _authorized(request, token)
        if not _is_refusal(response, request):
            return
        if not _can_be_repeated(request):
            self._client.note_rejected(token)
            return
        newer = await self._client.token_after(token)
        if newer is None:
            return
        await response.aread()
        second = yield _authorized(request, newer)
        if second.status_code == _UNAUTHORIZED:
            self._client.note_rejected(newer, is_second=True)


def _authorized(request: httpx2.Request, token: AccessToken) -> httpx2.Request:
    request.headers["Authorization"] = f"Bearer {token.value}"
    return request


def _is_refusal(response: httpx2.Response, request: httpx2.Request) -> bool:
    # A 401 of where a redirect led to says nothing about the token.
    return response.status_code == _UNAUTHORIZED and response.url == request.url


def _can_be_repeated(request: httpx2.Request) -> bool:
    return isinstance(request.stream, httpx2.ByteStream)
