"""`POST /token` and the check of bearer tokens as plain ASGI, and the dependency that gives endpoints the caller.

`POST /token` stands in front of the framework because the framework's own work would cost more than the token's:
see docs/decisions/0004.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from ecross_server.auth import schemas
from ecross_server.auth.errors import (
    BearerError,
    InsufficientScopeError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidRequestError,
    MissingTokenError,
    RegistryStaleError,
)
from ecross_server.auth.service import AuthService, Caller
from ecross_server.kit.errors import InvalidInputError, UnavailableError
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants.rules import CLIENT_ID
from ecross_server.web.answers import MESSAGES, RETRY_AFTER_SECONDS, domain_error_response, error_response
from ecross_server.web.body_limit import announced_length
from ecross_server.web.context import RequestContext, context_of

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
LARGEST_TOKEN_BODY: Final = 64 * 1024
PRIVATE_PATH: Final = "/ext"
CHALLENGE: Final = 'Bearer realm="e-CROSS"'
CALLER_KEY: Final = "ecross.caller"

Headers = list[tuple[bytes, bytes]]

log = structlog.get_logger("ecross_server.auth")


class _Refusal(Exception):  # noqa: N818 - an answer, not an error of ours
    def __init__(self, status: int, outcome: str, message: str, *headers: tuple[bytes, bytes]) -> None:
        super().__init__(message)
        self.status = status
        self.outcome = outcome
        self.message = message
        self.headers = headers


class TokenEndpoint:
    """`POST /token`: client credentials against an access token."""

    def __init__(self, service: AuthService) -> None:
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every answer is JSON, is not to be stored, and carries the request's id."""
        context = context_of(scope)
        context.path = TOKEN_PATH
        headers: Headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
        try:
            status, body = 200, await self._issue(context, scope, receive)
            context.outcome = "issued"
        except _Refusal as refusal:
            context.outcome = refusal.outcome
            status, body = refusal.status, schemas.error_answer(refusal.message)
            headers += refusal.headers
        except Exception:
            log.exception("request_failed", request_id=context.request_id)
            status = 500
            context.outcome, message = MESSAGES[status]
            body = schemas.error_answer(message)
        context.status = status
        headers.append((b"content-length", b"%d" % len(body)))
        headers.append((b"x-request-id", context.request_id.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _issue(self, context: RequestContext, scope: Scope, receive: Receive) -> bytes:
        if scope["method"] != "POST":
            raise _Refusal(405, "method_not_allowed", "Use POST.", (b"allow", b"POST"))
        _require_json(scope["headers"])
        body = await _read_body(scope, receive)
        try:
            client_id, client_secret = schemas.parse_token_request(body)
            if CLIENT_ID.fullmatch(client_id):  # anything else may be a secret in the wrong place
                context.client_id = client_id
            issued = self._service.issue_access_token(client_id, client_secret)
        except InvalidInputError as error:
            raise _Refusal(400, "invalid_request", error.message) from None
        except InvalidClientError as error:
            raise _Refusal(401, error.code, error.message, (b"www-authenticate", CHALLENGE.encode())) from None
        except RegistryStaleError as error:
            raise _Refusal(503, error.code, error.message, (b"retry-after", b"%d" % RETRY_AFTER_SECONDS)) from None
        return schemas.token_answer(issued.token, issued.expires_in)


class BearerGate:
    """ASGI middleware before everything private: no request gets further without a good token.

    It stands before routing, so a path that does not exist cannot be told from one that does by a stranger.
    """

    def __init__(self, app: ASGIApp, service: AuthService) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the caller in the scope and pass the request on, or answer it with a challenge."""
        if scope["type"] == "http" and is_private(scope["path"]):
            try:
                caller = self._service.authenticate(bearer_token(scope["headers"]))
            except (BearerError, UnavailableError) as error:
                await bearer_error_response(scope, error)(scope, receive, send)
                return
            context_of(scope).client_id = caller.client_id
            scope[CALLER_KEY] = caller
        await self._app(scope, receive, send)


def is_private(path: str) -> bool:
    """Whether a path lies under `/ext/`."""
    return path.startswith(PRIVATE_PATH) and path[len(PRIVATE_PATH) :][:1] in {"", "/"}


def bearer_token(headers: Headers) -> str:
    """The token that the request carries (RFC 6750 section 2.1; no other place is looked at).

    Raises:
        MissingTokenError: if there is none, or another scheme is used.
        InvalidRequestError: if it is empty or there are two.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise MissingTokenError
    if len(values) > 1:
        raise InvalidRequestError("The request has more than one Authorization header.")
    scheme, _, token = values[0].strip().partition(b" ")
    if scheme.lower() != b"bearer":
        raise MissingTokenError
    token = token.strip()
    if not token:
        raise InvalidRequestError("The Authorization header holds no token.")
    return token.decode("latin-1")


def bearer_error_response(scope: Scope, error: BearerError | UnavailableError) -> Response:
    """The answer to a request without an acceptable token, with its challenge (RFC 6750 section 3)."""
    if not isinstance(error, BearerError):
        return domain_error_response(scope, error)
    if isinstance(error, InvalidAccessTokenError):
        context_of(scope).reason = error.reason
    challenge = CHALLENGE
    if error.challenge_error is not None:
        challenge += f', error="{error.challenge_error}", error_description="{error.message}"'
    if isinstance(error, InsufficientScopeError):
        challenge += f', scope="{error.scope}"'
    return error_response(
        scope, error.status, error.code, error.message,
        headers={"WWW-Authenticate": challenge, "Cache-Control": "no-store"},
    )  # fmt: skip


bearer_scheme = HTTPBearer(
    scheme_name="bearer", bearerFormat="JWT", auto_error=False,
    description="The token of `POST /token`, as `Authorization: Bearer {token}`.",
)  # fmt: skip


def require(scope: str) -> Callable[..., Any]:
    """A dependency that gives the caller, whose token must allow the scope."""

    async def get_caller(request: Request, _shown: Annotated[object, Security(bearer_scheme)]) -> Caller:
        # Missing only if the route stands outside the gate: then nobody gets in.
        caller: Caller | None = request.scope.get(CALLER_KEY)
        if caller is None:
            raise MissingTokenError
        if not caller.may(scope):
            raise InsufficientScopeError(scope)
        return caller

    return get_caller


async def get_page_tokens(request: Request) -> PageTokens:
    """What signs page tokens."""
    service: AuthService = request.app.state.auth
    return service.page_tokens


CurrentPageTokens = Annotated[PageTokens, Depends(get_page_tokens)]


def _require_json(headers: Headers) -> None:
    for name, value in headers:
        if name == b"content-type":
            if value.partition(b";")[0].strip().lower() == b"application/json":
                return
            break
    raise _Refusal(415, "unsupported_media_type", "Send JSON with Content-Type: application/json.")


async def _read_body(scope: Scope, receive: Receive) -> bytes:
    if announced_length(scope["headers"]) > LARGEST_TOKEN_BODY:
        raise _too_large()
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refusal(400, "disconnected", "The request was cut off.")
        body += message.get("body", b"")
        if len(body) > LARGEST_TOKEN_BODY:
            raise _too_large()
        if not message.get("more_body"):
            return bytes(body)


def _too_large() -> _Refusal:
    # What is left of the body is not read, so the connection cannot serve another request.
    message = f"The body is too large: at most {LARGEST_TOKEN_BODY} bytes."
    return _Refusal(413, "body_too_large", message, (b"connection", b"close"))
