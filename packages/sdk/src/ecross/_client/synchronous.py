"""The client for threads."""

from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self, TypeVar

import httpx2

from ecross._auth.sources import TokenSource
from ecross._auth.steps import Pause
from ecross._client.api_client import ApiClient
from ecross._client.requests import Params
from ecross._client.setup import set_up
from ecross._operations import Operation
from ecross._token_cache import TokenCache
from ecross._transport.calls import GetToken, ReplaceToken, Send, Step
from ecross._transport.senders import ApiRequest, Sender
from ecross.resources import Catalog, Inventory, Products, Skus, Syncing
from ecross.types import AccessToken

T = TypeVar("T")


class Client(ApiClient[TokenSource]):
    """The e-CROSS API for one merchant's credentials; may be shared among threads.

    Credentials come from `client_id` and `client_secret`, else from the environment, else from a profile. No server is
    a default: `base_url` names one for all services, `base_urls` one each (`auth`, `product`, `order`, `hermes`), and
    `environment="production"` the published ones.

    `token_cache` keeps the access token; by default an encrypted file that all processes of the user share.
    `timeout_seconds` is how long one attempt waits for the server at each of its steps (10 seconds at most to
    connect), and how long a call waits for another thread's or process's token, or for a rate limit to end.
    `max_retries` is how often a request that may be repeated is sent again. `clock` gives the time in seconds since the
    epoch; if it has a `sleep` (for `AsyncClient`: `sleep_async`), pauses before retries wait by that. `transport`
    replaces the HTTP library's own way to send; a forked child goes on with the same one.

    Raises `ConfigurationError` where something is missing. All calls raise `EcrossError`s only: see `ecross.errors`.
    """

    _is_async = False

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
        transport: httpx2.BaseTransport | None = None,
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
        self._sender = Sender(transport=transport, **setup.sender_options)
        source = TokenSource(ask=self._sender.ask_for_token, sleep=setup.sleep, **setup.source_options)
        super().__init__(setup, source)
        self.skus = Skus(self._perform)
        self.products = Products(self._perform)
        syncing = Syncing(self._perform, setup.sync_place, setup.sleep)
        self.inventory = Inventory(self._perform, syncing)
        self.catalog = Catalog(syncing)

    def access_token(self, *, force_refresh: bool = False) -> AccessToken:
        """A token that is good now: the cached one while it lives, unless `force_refresh` asks for another."""
        return self._open_source.token(is_forced=force_refresh)

    def token_for(self, url: str) -> AccessToken:
        """A good token for a request to this address, sent by other means than this client.

        Raises `ConfigurationError` for an address that is not under one of the base URLs.
        """
        self._setup.addresses.check(url)
        return self._open_source.token()

    def token_after(self, rejected: AccessToken) -> AccessToken | None:
        """Another token than the one that the server has just refused with a 401, to send the request once more with.

        `None` where that would not help: the last token that was asked for because of a 401 was refused as well.
        """
        source = self._open_source
        if not source.may_replace_rejected():
            return None
        return source.token(rejected=rejected)

    def request(
        self,
        method: str,
        path: str,
        *,
        service: str = "product",
        params: Params | None = None,
        json: object = None,
        content: bytes | str | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response:
        """The answer to a request that this client has no method for; `path` begins with a slash.

        `content` is a body that is not JSON. One that is neither bytes nor text is sent once: no retry, not even after
        a 401. An `Authorization` among `headers` gives way to the access token.
        """
        return self._call(
            self._make_request(
                method, path, service=service, params=params, json=json, content=content, headers=headers
            )
        )

    def close(self) -> None:
        """Close all connections. Waits up to 2 seconds for a token's renewal that is under way."""
        self._is_closed = True
        self._source.close()
        self._sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _perform(self, operation: Operation[T]) -> T:
        request = self._request_of(operation)
        return operation.result(self._call(request), request.request_id)

    def _call(self, request: ApiRequest) -> httpx2.Response:
        flow = self._begin(request)
        result: object = None
        while True:
            try:
                step = flow.send(result)
            except StopIteration as stop:
                response: httpx2.Response = stop.value
                return response
            result = self._do(step, request)

    def _do(self, step: Step, request: ApiRequest) -> object:
        match step:
            case GetToken():
                return self._open_source.token()
            case ReplaceToken(rejected):
                return self.token_after(rejected)
            case Send(token):
                return self._sender.send(request, token)
            case Pause(seconds):
                self._setup.sleep(seconds)
                return None
            case _:
                self._source.note_rejection(step.token, is_second=step.is_second)
                return None
