"""The fake server as a test sees it."""

import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from ecross._token_cache import MemoryCache
from ecross.testing._api import Api
from ecross.testing._clock import VirtualClock
from ecross.testing._delivery import Delivery, Fault, deliver
from ecross.testing._endpoints import SCOPES
from ecross.testing._merchants import MERCHANT_SCOPE, Merchant, World
from ecross.testing._messages import RecordedRequest, Response
from ecross.testing._script import PASS, Scripted
from ecross.testing._serving import SocketServer
from ecross.testing._tokens import Issuer
from ecross.testing._transport import FakeTransport

DEFAULT_MERCHANT = "ACME"
OTHER_VARIABLES = (
    "ECROSS_AUTH_URL", "ECROSS_PRODUCT_URL", "ECROSS_ORDER_URL", "ECROSS_HERMES_URL", "ECROSS_ENVIRONMENT",
    "ECROSS_CLIENT_SECRET_FILE", "ECROSS_PROFILE",
)  # fmt: skip


class FakeServer:
    """An e-CROSS server in memory, for tests: it answers as the real one does, at once, on a clock that tests move.

    Reach it through `transport`, in process and without sockets, or at `url`, from anywhere on this machine.

    Without a `clock` (seconds since the epoch) its time begins at the present second and moves only by `advance`, by
    answers and timeouts that take time in process, and by the pauses of clients that wait by it. It has no rate limit
    unless `tokens_per_minute` sets one for each client. That, `token_lifetime_seconds` and `page_size` may be set anew
    at any time.

    May be used from any thread.
    """

    base_url = "https://ecross.test"
    """An address for clients that are given `transport`; any other would do. It leads nowhere by itself."""

    token_lifetime_seconds: int
    """The life of the tokens it issues from now on."""

    page_size: int
    """How many entries a page of a list holds."""

    tokens_per_minute: int | None
    """How many tokens each client may ask for; `None` for any number."""

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        *,
        token_lifetime_seconds: int = 28_800,
        page_size: int = 100,
        tokens_per_minute: int | None = None,
        issuer: str = "urn:ecross:auth",
        audience: str = "urn:ecross:api",
    ) -> None:
        self.token_lifetime_seconds = token_lifetime_seconds
        self.page_size = page_size
        self.tokens_per_minute = tokens_per_minute
        self.clock = VirtualClock(clock)
        self.issuer = issuer
        self.audience = audience
        self.transport = FakeTransport(self._receive, self.advance)
        self._lock = threading.RLock()
        self._issuer = Issuer(issuer=issuer, audience=audience, clock=self.clock)
        self._world = World(self.clock, self._issuer, self._lock)
        self._api = Api(self._world, self)
        self._token_cache = MemoryCache()
        self._scripts: dict[str, deque[Scripted]] = {}
        self._requests: list[RecordedRequest] = []
        self._outages = 0
        self._socket_server: SocketServer | None = None
        self._is_closed = False

    def __repr__(self) -> str:
        return f"FakeServer(merchants={sorted(self._api.merchants)}, requests={len(self._requests)})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop: every further request finds no server. May be called more than once."""
        with self._lock:
            self._is_closed = True
            socket_server, self._socket_server = self._socket_server, None
        if socket_server is not None:
            socket_server.close()

    @property
    def url(self) -> str:
        """Where it listens, such as `http://127.0.0.1:40123`; it begins to when this is first asked."""
        with self._lock:
            if self._is_closed:
                raise RuntimeError("the fake server is closed")
            if self._socket_server is None:
                self._socket_server = SocketServer(self._receive, self._api.unreadable)
            return self._socket_server.url

    @property
    def keys(self) -> dict[str, object]:
        """The JWK Set under which its tokens verify: for `TokenVerifier(keys=..., clock=server.clock, ...)`."""
        return self._issuer.jwk_set()

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass; negative ones set the clock back."""
        self.clock.advance(seconds)

    # Merchants

    def add_merchant(
        self,
        merchant_id: str,
        *,
        client_id: str | None = None,
        client_secret: str | None = None,
        scope: str = MERCHANT_SCOPE,
    ) -> Merchant:
        """Register a merchant, with credentials made up unless they are given.

        With a scope, such as `merchant:read` or `catalog:read inventory:write`, its credentials allow that alone.
        `ValueError` if the merchant is registered, or for a scope that no endpoint asks for.
        """
        if not set(scope.split(" ")) <= SCOPES:
            raise ValueError(f"a scope is made of these, with a space between: {', '.join(sorted(SCOPES))}")
        with self._lock:
            if merchant_id in self._api.merchants:
                raise ValueError(f"{merchant_id} is registered already")
            merchant = Merchant(merchant_id, client_id, client_secret, self._world, scope)
            if any(merchant.client_id == other.client_id for other in self._api.merchants.values()):
                raise ValueError("another merchant has this client id")
            self._api.merchants[merchant_id] = merchant
            return merchant

    def merchant(self, merchant_id: str = DEFAULT_MERCHANT) -> Merchant:
        """The merchant, registered now if it was not."""
        with self._lock:
            return self._api.merchants.get(merchant_id) or self.add_merchant(merchant_id)

    def client_options(self, merchant_id: str = DEFAULT_MERCHANT) -> dict[str, Any]:
        """Arguments of a `Client` or `AsyncClient` that acts for the merchant, in process and on the server's clock.

        All clients made so share a token cache in memory, as those of a machine share theirs.
        """
        merchant = self.merchant(merchant_id)
        return {
            "client_id": merchant.client_id,
            "client_secret": merchant.client_secret,
            "base_url": self.base_url,
            "token_cache": self._token_cache,
            "transport": self.transport,
            "clock": self.clock,
        }

    def environment(
        self, cache_directory: str | os.PathLike[str], merchant_id: str = DEFAULT_MERCHANT
    ) -> dict[str, str]:
        """Environment variables under which any `Client()` and the command `ecross` act for the merchant, at `url`.

        Tokens are kept in `cache_directory`, so that none gets among those of the user. All else that the client reads
        from the environment is empty, which counts as not told.
        """
        merchant = self.merchant(merchant_id)
        return {
            **dict.fromkeys(OTHER_VARIABLES, ""),
            "ECROSS_BASE_URL": self.url,
            "ECROSS_CLIENT_ID": merchant.client_id,
            "ECROSS_CLIENT_SECRET": merchant.client_secret,
            "ECROSS_CACHE_DIR": os.fspath(cache_directory),
        }

    # How it behaves

    def script(self, path: str, *answers: Scripted) -> None:
        """Give the next requests to the path these answers, in this order, and then the usual ones again.

        `path` is exact, without a query, and may have a method before it: `/token`, `GET /ext/merchant/skus`. What was
        scripted with the method comes first. A later call adds to what is left of earlier ones. Each answer is given
        once, whoever asks at the same time.
        """
        method, _, rest = path.rpartition(" ")
        if not rest.startswith("/") or "?" in rest or (method and not method.isupper()):
            raise ValueError('a path is scripted as "/token" or "POST /token"')
        if not answers or not all(isinstance(answer, Scripted) for answer in answers):
            raise TypeError("script(path, *answers) takes one or more answers of ecross.testing, such as Answer(500)")
        with self._lock:
            self._scripts.setdefault(path, deque()).extend(answers)

    @property
    def unused_answers(self) -> dict[str, int]:
        """How many scripted answers have not been given yet, by path. Empty at the end of a test that used them all."""
        with self._lock:
            return {path: len(answers) for path, answers in self._scripts.items() if answers}

    def clear_scripts(self) -> None:
        """Drop the scripted answers that have not been given yet."""
        with self._lock:
            self._scripts.clear()

    @contextlib.contextmanager
    def outage(self) -> Iterator[None]:
        """For a while no request finds a server. Those that try are recorded; scripted answers wait.

        In process the connection is refused. At `url`, where the operating system has made it already, it is reset;
        after `close` it is refused there, too.
        """
        with self._lock:
            self._outages += 1
        try:
            yield
        finally:
            with self._lock:
                self._outages -= 1

    # What came

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request until now, in the order in which they came."""
        with self._lock:
            return list(self._requests)

    def requests_to(self, path: str) -> list[RecordedRequest]:
        """The requests to a path, written as for `script`."""
        method, _, rest = path.rpartition(" ")
        return [each for each in self.requests if each.path == rest and method in {"", each.method}]

    def count(self, path: str) -> int:
        """How many requests came to a path, written as for `script`."""
        return len(self.requests_to(path))

    def _receive(self, method: str, target: bytes, fields: Iterable[tuple[bytes, bytes]], content: bytes) -> Delivery:
        with self._lock:
            request = RecordedRequest.received(method, target, fields, content, self.clock())
            self._requests.append(request)
            if self._outages or self._is_closed:
                return Delivery(Response(0), fault=Fault.REFUSED)
            return deliver(request, self._next_scripted(request), self._api)

    def _next_scripted(self, request: RecordedRequest) -> Scripted:
        for path in (f"{request.method} {request.path}", request.path):
            if answers := self._scripts.get(path):
                return answers.popleft()
        return PASS
