"""What the client for threads and the one for asyncio have in common: all that neither waits nor sends."""

from collections.abc import AsyncIterable, Generator, Iterable, Mapping
from dataclasses import replace
from typing import Any, Generic, NoReturn, TypeVar

import httpx2

from ecross._auth.sources import AsyncTokenSource, TokenSource
from ecross._client.requests import Params, make_request
from ecross._client.setup import Setup
from ecross._operations import Operation
from ecross._transport.calls import Step, call
from ecross._transport.senders import ApiRequest
from ecross.errors import EcrossError
from ecross.types import AccessToken

JSON = {"Content-Type": "application/json"}

S = TypeVar("S", bound=TokenSource | AsyncTokenSource)
T = TypeVar("T")


class ApiClient(Generic[S]):
    """One merchant's credentials, and the source of their tokens."""

    _is_async: bool

    def __init__(self, setup: Setup, source: S) -> None:
        self._setup = setup
        self._source = source
        self._is_closed = False

    def note_rejected(self, token: AccessToken, *, is_second: bool = False) -> None:
        """The server refused the token with a 401, and the request is not sent again: the next one asks for another.

        `is_second`: it came from `token_after`. Then no other is asked for because of a 401 for 10 seconds.
        """
        self._source.note_rejection(token, is_second=is_second)

    def __repr__(self) -> str:
        setup = self._setup
        return f"{type(self).__name__}(client_id={setup.credentials.client_id!r}, auth_url={setup.auth_url!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} objects are neither copied nor pickled: they hold a secret")

    @property
    def _open_source(self) -> S:
        # Asked here and not where tokens are sent for: others who wait for the same token would get the error, too.
        if self._is_closed:
            raise EcrossError("The client is closed.")
        return self._source

    def _make_request(
        self,
        method: str,
        path: str,
        *,
        service: str,
        params: Params | None = None,
        json: object = None,
        content: bytes | str | Iterable[bytes] | AsyncIterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> ApiRequest:
        return make_request(
            self._setup.addresses, method, path, service=service, params=params, json=json, content=content,
            headers=headers, is_async=self._is_async,
        )  # fmt: skip

    def _begin(self, request: ApiRequest) -> Generator[Step, Any, httpx2.Response]:
        return call(
            request.method,
            request.request_id,
            self._setup.retries,
            can_be_repeated=request.can_be_repeated,
            sets_state=request.sets_state,
            hidden=self._setup.hidden,
        )

    def _request_of(self, operation: Operation[T]) -> ApiRequest:
        request = self._make_request(
            operation.method,
            operation.path,
            service=operation.service,
            params=operation.params,
            json=operation.json,
            content=operation.content,
            headers=operation.headers if operation.content is None else {**JSON, **operation.headers},
        )
        return replace(request, sets_state=operation.sets_state)
