"""ASGI middleware that lets nobody pass without a good access token, and how endpoints get its claims.

Starlette takes it as `Middleware(BearerTokenMiddleware, verifier=verifier)`, FastAPI as
`app.add_middleware(BearerTokenMiddleware, verifier=verifier)` with `Depends(current_claims)` in the endpoints.
"""

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from contextvars import ContextVar
from typing import Any

from ecross.middleware.bearer import (
    CLAIMS_KEY,
    NO_CLAIMS,
    BearerCheck,
    InsufficientScopeError,
    Refusal,
    Request,
    check_scope,
    claims_of,
)
from ecross.verifier import Claims, TokenVerifier

__all__ = [
    "CLAIMS_KEY",
    "BearerTokenMiddleware",
    "InsufficientScopeError",
    "claims_of",
    "current_claims",
    "require_scope",
]

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_POLICY_VIOLATION = 1008  # RFC 6455 section 7.4.1
_DENIAL = "websocket.http.response"

_current: ContextVar[Claims | None] = ContextVar("ecross.claims", default=None)


class BearerTokenMiddleware:
    """Passes on the requests and websockets that bring a good access token, and answers all others (RFC 6750).

    The claims lie in `scope["ecross.claims"]`; `current_claims()` gives them anywhere in the request. Everything is
    private but `public_paths`: plain paths as the client asks for them, a mount's prefix included; with `/*` at its
    end, one stands for all below it. Other spellings of them (escapes, `//`, `..`) are private.

    `required_scope` is what a token must allow beside being good. `allow_preflight` lets CORS preflight requests
    through, which never carry a token; a CORS middleware that stands before this one answers them itself.
    `is_revoked` is asked about the claims of each good token, and may be asynchronous; what it raises is passed on.
    `on_refusal` is told why a request was refused, in a word that is safe to log.
    """

    def __init__(
        self,
        app: AsgiApp,
        *,
        verifier: TokenVerifier,
        realm: str = "e-CROSS",
        required_scope: str | None = None,
        public_paths: Collection[str] = (),
        allow_preflight: bool = False,
        is_revoked: Callable[[Claims], bool | Awaitable[bool]] | None = None,
        on_refusal: Callable[[str], object] | None = None,
    ) -> None:
        self._app = app
        self._check = BearerCheck(
            verifier,
            realm=realm,
            required_scope=required_scope,
            public_paths=public_paths,
            allow_preflight=allow_preflight,
            is_revoked=is_revoked,
            on_refusal=on_refusal,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with its claims, or answer it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] not in {"http", "websocket"}:
            raise RuntimeError("BearerTokenMiddleware knows requests, websockets and lifespans only")
        request = _request(scope)
        claims: Claims | None = None
        if not self._check.is_public(request):
            verdict = await self._check.check_async(request)
            if isinstance(verdict, Refusal):
                await _refuse(scope, send, request, verdict)
                return
            claims = verdict
        scope[CLAIMS_KEY] = claims  # for a public path as well: nobody else's may lie there
        await self._pass_on(scope, receive, send, request)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, request: Request) -> None:
        has_started = False

        async def watched_send(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        missing = None
        before = _current.set(scope[CLAIMS_KEY])
        try:
            await self._app(scope, receive, watched_send)
        except InsufficientScopeError as error:
            if has_started:
                raise
            missing = error.scope
        finally:
            _current.reset(before)
        if missing is not None:
            await _refuse(scope, send, request, self._check.refuse_scope(missing))


def current_claims() -> Claims:
    """The claims of the token that the current request came with: a dependency for FastAPI, a plain call elsewhere.

    Raises `LookupError` outside of a request that `BearerTokenMiddleware` let pass with a token.
    """
    claims = _current.get()
    if claims is None:
        raise LookupError(NO_CLAIMS)
    return claims


def require_scope(scope: str) -> Callable[[], Claims]:
    """A dependency that gives the current claims, if their scope allows this one.

    It raises `InsufficientScopeError`, which `BearerTokenMiddleware` answers with 403 and its challenge, and
    `LookupError` as `current_claims` does. Raises `ValueError` for what is no single scope.
    """
    check_scope(scope)

    def claims_with_scope() -> Claims:
        claims = current_claims()
        if not claims.may(scope):
            raise InsufficientScopeError(scope)
        return claims

    return claims_with_scope


def _request(scope: Scope) -> Request:
    def values(name: bytes) -> list[bytes]:
        return [value for each, value in scope["headers"] if each == name]

    path = scope["path"]
    method = scope.get("method", "GET")  # a websocket has none
    raw_path = scope.get("raw_path")
    return Request(
        method=method,
        path=path,
        is_plain=raw_path is None or raw_path.partition(b"?")[0] == path.encode(errors="replace"),
        authorization=values(b"authorization"),
        accept=values(b"accept"),
        is_preflight=method == "OPTIONS" and bool(values(b"origin")) and bool(values(b"access-control-request-method")),
    )


async def _refuse(scope: Scope, send: Send, request: Request, refusal: Refusal) -> None:
    answer = "http.response"
    if scope["type"] == "websocket":
        answer = _DENIAL
        if _DENIAL not in (scope.get("extensions") or {}):
            # Before it was accepted: the server answers the handshake with 403.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": refusal.code})
            return
    headers, body = refusal.content(request.accept)
    if request.method == "HEAD":
        body = b""
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": f"{answer}.start", "status": refusal.status, "headers": encoded})
    await send({"type": f"{answer}.body", "body": body})
