"""The client for asyncio."""

from collections.abc import AsyncIterable, Callable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from ecross._auth.sources import AsyncTokenSource
from ecross._auth.steps import Pause
from ecross._client.api_client import ApiClient
from ecross._client.requests import Params
from ecross._client.setup import set_up
from ecross._operations import Operation
from ecross._token_cache import TokenCache
from ecross._transport.calls import GetToken, ReplaceToken, Send, Step
from ecross._transport.senders import ApiRequest, AsyncSender
from ecross.resources import AsyncCatalog, AsyncInventory, AsyncProducts, AsyncSkus, AsyncSyncing
from ecross.types import AccessToken

T = TypeVar("T")


class AsyncClient(ApiClient[AsyncTokenSource]):
    """The e-CROSS API for one merchant's credentials, for tasks of asyncio; its settings are those of `Client`.

    It belongs to the event loop in which it is first used. Files of the token cache are read in other threads.
    """

    _is_async = True

    def __init__(  # noqa: PLR0913 - each is a setting of its own
        self,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        base_url: str | None = None,
        base_urls: Mapping[str, str] | None = None,
        environment: str | None = None,
        profile: str | None = None,
        token_cache: TokenCache | None = None,
        timeout_seconds: float = 30.0,
        max_retries: int = 2,
        transport: httpx2.AsyncBaseTransport | None = None,
        clock: Callable[[], float] | None = None,
    ) -> None:
        setup = set_up(
            client_id=client_id,
            client_secret=client_secret,
            base_url=base_url,
            base_urls=base_urls,
            environment=environment,
            profile=profile,
            token_cache=token_cache,
            timeout_seconds=timeout_seconds,
            max_retries=max_retries,
            clock=clock,
        )
        self._sender = AsyncSender(transport=transport, **setup.sender_options)
        source = AsyncTokenSource(ask=self._sender.ask_for_token, sleep=setup.sleep_async, **setup.source_options)
        super().__init__(setup, source)
        self.skus = AsyncSkus(self._perform)
        self.products = AsyncProducts(self._perform)
        syncing = AsyncSyncing(self._perform, setup.sync_place, setup.sleep_async)
        self.inventory = AsyncInventory(self._perform, syncing)
        self.catalog = AsyncCatalog(syncing)

    async def access_token(self, *, force_refresh: bool = False) -> AccessToken:
        """A token that is good now: the cached one while it lives, unless `force_refresh` asks for another."""
        return await self._open_source.token(is_forced=force_refresh)

    async def token_for(self, url: str) -> AccessToken:
        """A good token for a request to this address, sent by other means than this client.

        Raises `ConfigurationError` for an address that is not under one of the base URLs.
        """
        self._setup.addresses.check(url)
        return await self._open_source.token()

    async def token_after(self, rejected: AccessToken) -> AccessToken | None:
        """Another token than the one that the server has just refused with a 401, to send the request once more with.

        `None` where that would not help: the last token that was asked for because of a 401 was refused as well.
        """
        source = self._open_source
        if not source.may_replace_rejected():
            return None
        return await source.token(rejected=rejected)

    async def request(
        self,
        method: str,
        path: str,
        *,
        service: str = "product",
        params: Params | None = None,
        json: object = None,
        content: bytes | str | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The answer to a request that this client has no method for; `path` begins with a slash.

        `content` is a body that is not JSON. One that is neither bytes nor text is sent once: no retry, not even after
        a 401. An `Authorization` among `headers` gives way to the access token.
        """
        return await self._call(
            self._make_request(
                method, path, service=service, params=params, json=json, content=content, headers=headers
            )
        )

    async def aclose(self) -> None:
        """Close all connections. Waits up to 2 seconds for a token's renewal that is under way."""
        self._is_closed = True
        await self._source.aclose()
        await self._sender.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _perform(self, operation: Operation[T]) -> T:
        request = self._request_of(operation)
        return operation.result(await self._call(request), request.request_id)

    async def _call(self, request: ApiRequest) -> httpx2.Response:
        flow = self._begin(request)
        result: object = None
        while True:
            try:
                step = flow.send(result)
            except StopIteration as stop:
                response: httpx2.Response = stop.value
                return response
            result = await self._do(step, request)

    async def _do(self, step: Step, request: ApiRequest) -> object:
        match step:
            case GetToken():
                return await self._open_source.token()
            case ReplaceToken(rejected):
                return await self.token_after(rejected)
            case Send(token):
                return await self._sender.send(request, token)
            case Pause(seconds):
                await self._setup.sleep_async(seconds)
                return None
            case _:
                self._source.note_rejection(step.token, is_second=step.is_second)
                return None
