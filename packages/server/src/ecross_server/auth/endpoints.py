"""`POST /token` and the check of bearer tokens as plain ASGI, and the dependency that gives endpoints the caller.

`POST /token` stands in front of the framework because the framework's own work would cost more than the token's:
see docs/decisions/0004.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPBearer

from ecross_server.audit.tasks import TokenEvent
from ecross_server.auth import schemas
from ecross_server.auth.errors import (
    AddressNotAllowedError,
    BearerError,
    InsufficientScopeError,
    InvalidAccessTokenError,
    InvalidClientError,
    InvalidRequestError,
    MissingTokenError,
    RegistryStaleError,
)
from ecross_server.auth.limits.limiter import Limiter
from ecross_server.auth.limits.policies import Policy
from ecross_server.auth.service import AuthService, Caller, CheckedClient, IssuedToken
from ecross_server.auth.uses import CallMeter
from ecross_server.kit.errors import InvalidInputError, UnavailableError
from ecross_server.kit.page_tokens import PageTokens
from ecross_server.merchants.rules import CLIENT_ID
from ecross_server.web.addresses import CallerAddresses, neighborhood
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
TOO_MANY: Final = "Too many token requests. Keep each token in a cache and use it until it expires."
CALLER_KEY: Final = "ecross.caller"

CONTENT_TYPE: Final = (b"content-type", b"application/json")
NO_STORE: Final = (b"cache-control", b"no-store")
CREDENTIAL_EXPIRES: Final = b"ecross-credential-expires"
"""When the secret that was shown ends, if that is set: nobody else's business, so it comes with a token alone."""

BARE_CHALLENGE: Final = (b"www-authenticate", CHALLENGE.encode())

Headers = list[tuple[bytes, bytes]]

log = structlog.get_logger("ecross_server.auth")


@dataclass(slots=True)
class _Answer:
    """What `POST /token` answers, apart from what every answer of it has."""

    status: int
    outcome: str
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()
    issued: IssuedToken | None = None
    evidence: bytes | None = None
    """The peppered digest of a secret that was refused."""
    shown: tuple[str, str] | None = None
    """The merchant's and the secret's id, where a right secret was refused."""


class TokenEndpoint:
    """`POST /token`: client credentials against an access token.

    Limits are charged in this order: the address and the whole service before anything is read; then, once it is known
    whether the secret is right, the client's volume for a right one, and for a wrong one the failures of this client
    id from this address. So nobody who does not know the secret can use up what its client may have.
    """

    def __init__(
        self,
        service: AuthService,
        limiter: Limiter,
        addresses: CallerAddresses,
        record: Callable[[TokenEvent], None],
    ) -> None:
        self._service = service
        self._limiter = limiter
        self._addresses = addresses
        self._record = record

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Every answer is JSON, is not to be stored, and carries the request's id."""
        context = context_of(scope)
        context.path = TOKEN_PATH
        context.address = self._addresses.of(scope)
        quotas: list[bytes] = []
        try:
            answer = await self._answer(context, scope, receive, quotas)
        except Exception:
            log.exception("request_failed", request_id=context.request_id)
            answer = _refusal(500, *MESSAGES[500])
        context.status = answer.status
        context.outcome = answer.outcome
        self._tell(context, answer)
        headers: Headers = [
            CONTENT_TYPE, NO_STORE, *answer.headers,
            (b"content-length", b"%d" % len(answer.body)), (b"x-request-id", context.request_id.encode()),
        ]  # fmt: skip
        if quotas:
            headers += (
                (b"ratelimit-policy", self._limiter.shown_policies[len(quotas) - 1]),
                (b"ratelimit", b", ".join(quotas)),
            )
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    def _tell(self, context: RequestContext, answer: _Answer) -> None:
        issued = answer.issued
        merchant_id = secret_id = token_id = None
        if issued is not None:
            merchant_id, secret_id, token_id = issued.merchant_id, issued.secret_id, issued.token_id
        elif answer.shown is not None:
            merchant_id, secret_id = answer.shown
        self._record(
            TokenEvent._make((
                time.time(), answer.outcome, context.client_id, merchant_id, context.address, context.request_id,
                secret_id, token_id, answer.evidence,
            ))
        )  # fmt: skip

    async def _answer(self, context: RequestContext, scope: Scope, receive: Receive, quotas: list[bytes]) -> _Answer:
        limiter = self._limiter
        address = neighborhood(context.address)
        refusal = (
            await self._charge(context, limiter.address, address, quotas)
            or await self._charge(context, limiter.total, "")
            or _look_at_head(scope)
        )
        if refusal is not None:
            return refusal
        body = await _read_body(receive)
        if isinstance(body, _Answer):
            return body
        try:
            client_id, client_secret = schemas.parse_token_request(body)
        except InvalidInputError as error:
            return _refusal(400, "invalid_request", error.message)
        if CLIENT_ID.fullmatch(client_id):  # anything else may be a secret in the wrong place
            context.client_id = client_id
        try:
            checked = self._service.check_credentials(client_id, client_secret, context.address)
        except InvalidClientError as error:
            outcome = error.code if error.shown is None else AddressNotAllowedError.code
            refusal = await self._charge(context, limiter.failure, f"{client_id} {address}") or _refusal(
                401, outcome, error.message, BARE_CHALLENGE
            )
            # Not the error itself, which holds this frame and the secret in it.
            refusal.evidence = error.evidence
            refusal.shown = error.shown
            return refusal
        except RegistryStaleError as error:
            return _refusal(503, error.code, error.message, (b"retry-after", b"%d" % RETRY_AFTER_SECONDS))
        return await self._charge(context, limiter.client, client_id, quotas) or self._issue(checked)

    def _issue(self, checked: CheckedClient) -> _Answer:
        issued = self._service.sign(checked)
        ends_at = issued.secret_ends_at
        headers = () if ends_at is None else ((CREDENTIAL_EXPIRES, schemas.http_date(int(ends_at))),)
        return _Answer(200, "issued", schemas.token_answer(issued.token, issued.expires_in), headers, issued=issued)

    async def _charge(
        self, context: RequestContext, policy: Policy | None, key: str, quotas: list[bytes] | None = None
    ) -> _Answer | None:
        """Charge the request to a limit; the answer if that refuses it. `quotas` takes what the caller may know."""
        if policy is None:
            return None
        left = self._limiter.spend(policy, key)
        if left is None:
            left = await self._limiter.ask(policy, key)
        if quotas is not None:
            quotas.append(policy.shown_state(left))
        if left >= 0 or not self._limiter.refuses(policy):
            return None
        context.reason = policy.name
        return _refusal(429, "rate_limited", TOO_MANY, (b"retry-after", b"%d" % math.ceil(-left)))


class BearerGate:
    """ASGI middleware before everything private: no request gets further without a good token.

    It notes the caller, and from where he calls, for the dependency that decides what he may do.

    It stands before routing, so a path that does not exist cannot be told from one that does by a stranger.
    """

    def __init__(self, app: ASGIApp, service: AuthService, addresses: CallerAddresses) -> None:
        self._app = app
        self._service = service
        self._addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Note the caller in the scope and pass the request on, or answer it with a challenge."""
        if scope["type"] == "http" and is_private(scope["path"]):
            try:
                caller = self._service.authenticate(bearer_token(scope["headers"]))
            except (BearerError, UnavailableError) as error:
                await bearer_error_response(scope, error)(scope, receive, send)
                return
            context = context_of(scope)
            context.client_id = caller.client_id
            context.address = self._addresses.of(scope)
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
    elif isinstance(error, AddressNotAllowedError | InsufficientScopeError):
        context_of(scope).reason = error.code
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
    description="The token of `POST /token`, as `Authorization: Bearer {token}`. Each operation names the scope that "
    "it needs. A client has the scope `merchant`, which allows all of them, unless your representative has limited it: "
    "to `merchant:read`, which allows all that end with `:read`, or to some of them.",
)  # fmt: skip


def require(scope: str) -> Callable[..., Any]:
    """A dependency that gives the caller, whose token must allow the scope, and whose client may call from there.

    The address is looked at first: who uses a token from elsewhere learns no more of it.
    """
    asked = Security(bearer_scheme, scopes=[scope])  # stands in the OpenAPI document

    async def get_caller(request: Request, _shown: object = asked) -> Caller:
        # Missing only if the route stands outside the gate: then nobody gets in.
        caller: Caller | None = request.scope.get(CALLER_KEY)
        if caller is None:
            raise MissingTokenError
        address = context_of(request.scope).address
        if not caller.may_call_from(address):
            raise AddressNotAllowedError
        if not caller.may(scope):
            raise InsufficientScopeError(scope)
        meter: CallMeter = request.app.state.auth.calls
        meter.note(caller.client_id, scope, address)
        return caller

    return get_caller


async def get_page_tokens(request: Request) -> PageTokens:
    """What signs page tokens."""
    service: AuthService = request.app.state.auth
    return service.page_tokens


CurrentPageTokens = Annotated[PageTokens, Depends(get_page_tokens)]


def _refusal(status: int, outcome: str, message: str, *headers: tuple[bytes, bytes]) -> _Answer:
    return _Answer(status, outcome, schemas.error_answer(message), headers)


def _look_at_head(scope: Scope) -> _Answer | None:
    """The answer to a request that need not be read."""
    if scope["method"] != "POST":
        return _refusal(405, "method_not_allowed", "Use POST.", (b"allow", b"POST"))
    if not _is_json(scope["headers"]):
        return _refusal(415, "unsupported_media_type", "Send JSON with Content-Type: application/json.")
    return _too_large() if announced_length(scope["headers"]) > LARGEST_TOKEN_BODY else None


def _is_json(headers: Headers) -> bool:
    for name, value in headers:
        if name == b"content-type":
            return value.partition(b";")[0].strip().lower() == b"application/json"
    return False


async def _read_body(receive: Receive) -> bytes | _Answer:
    """The body, or the answer to one that is too large or ends too early."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return _refusal(400, "disconnected", "The request was cut off.")
        part: bytes = message.get("body", b"")
        body = body + part if body else part
        if len(body) > LARGEST_TOKEN_BODY:
            return _too_large()
        if not message.get("more_body"):
            return body


def _too_large() -> _Answer:
    # What is left of the body is not read, so the connection cannot serve another request.
    message = f"The body is too large: at most {LARGEST_TOKEN_BODY} bytes."
    return _refusal(413, "body_too_large", message, (b"connection", b"close"))
