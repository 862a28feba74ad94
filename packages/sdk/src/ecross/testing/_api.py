"""What the API answers, request by request, from memory. `tests/contract` holds it against the real server."""

from collections.abc import Iterable, Sequence
from email.utils import formatdate
from math import ceil
from typing import Any, Final, Protocol

from ecross.errors import FieldError, InvalidTokenError
from ecross.jws import StrictJsonError, loads_strict
from ecross.testing._endpoints import ENDPOINTS, Call, Endpoint, find
from ecross.testing._merchants import Merchant, World
from ecross.testing._messages import Fields, RecordedRequest, Response, json_bytes, phrase
from ecross.testing._refusals import RefusedError
from ecross.testing._script import TOO_MANY, Refusal
from ecross.verifier import Claims

TOKEN_PATH: Final = "/token"  # noqa: S105 - a path
READY_PATH: Final = "/health/ready"
HEALTH_PATHS: Final = ("/health/live", READY_PATH)
HEALTH_METHODS: Final = ("GET", "HEAD")
PATHS: Final = (TOKEN_PATH, *HEALTH_PATHS, *ENDPOINTS)
"""As the OpenAPI document has them."""
LARGEST_TOKEN_BODY: Final = 64 * 1024
LARGEST_BODY: Final = 4 * 1024 * 1024
LONGEST: Final = {"clientId": 128, "clientSecret": 256}
CHALLENGE: Final = 'Bearer realm="e-CROSS"'
LIMIT_SECONDS: Final = 60

WRONG_CREDENTIALS: Final = Refusal(
    401, "invalid_client", "Incorrect username or password.", {"WWW-Authenticate": CHALLENGE}
)
NOT_FOUND: Final = Refusal(404, "not_found", "There is nothing at this path. The API is described at /docs.")
TOO_LARGE: Final = Refusal(413, "body_too_large", "The body is too large.", {"Connection": "close"})
UNREADABLE: Final = Refusal(400, "invalid_request", "This is no HTTP/1.1 request.", {"Connection": "close"})


class Settings(Protocol):
    """How the server behaves; may change while it serves."""

    token_lifetime_seconds: int
    page_size: int
    tokens_per_minute: int | None


class Api:
    """Answers requests. Whoever calls it holds the world's lock."""

    def __init__(self, world: World, settings: Settings) -> None:
        self._settings = settings
        self.merchants: dict[str, Merchant] = {}
        self._world = world
        self._whole_at: dict[str, float] = {}

    def answer(self, request: RecordedRequest) -> Response:
        """The answer to a request."""
        if not request.method.isupper():
            return self.unreadable()
        limits: Fields = []
        try:
            if request.path == TOKEN_PATH:
                return self._issue(request, limits)
            return self._rest(request)
        except RefusedError as error:
            return self.refusal(request, error.refusal, faults=error.faults, fields=limits)

    def refusal(
        self, request: RecordedRequest, refusal: Refusal, *, faults: Sequence[FieldError] = (),
        fields: Fields | None = None,
    ) -> Response:  # fmt: skip
        """An error in the form of its path: `/token` says no more than was published."""
        headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers.items()]
        if request.path == TOKEN_PATH:
            return self.finish(
                request, refusal.status,
                [*_json_type(), *_no_store(), *headers, *(fields or [])],
                json_bytes({"message": refusal.message}, ascii_only=True),
            )  # fmt: skip
        content: dict[str, Any] = {"message": refusal.message, "code": refusal.code}
        if faults:
            content["errors"] = [{"path": fault.path, "message": fault.message} for fault in faults]
        media_type = "application/json"
        if _accepts_problems(request):
            media_type = "application/problem+json"
            head = {
                "type": "about:blank",
                "title": phrase(refusal.status),
                "status": refusal.status,
                "detail": refusal.message,
            }
            content = {**head, **content}
        return self.finish(
            request, refusal.status,
            [*headers, (b"vary", b"Accept"), (b"content-type", media_type.encode())],
            json_bytes(content, ascii_only=True),
        )  # fmt: skip

    def unreadable(self) -> Response:
        """The answer to what is no request: nothing of it counts, not even its id."""
        return self.refusal(RecordedRequest.received("", b"/", [], b"", self._world.clock()), UNREADABLE)

    def unauthorized(self, request: RecordedRequest) -> Refusal:
        """The 401 of a path."""
        if request.path == TOKEN_PATH:
            return WRONG_CREDENTIALS
        return _challenge(401, "invalid_token", "The access token is not valid. Get a new one with POST /token.")

    @staticmethod
    def forbidden(scope: str) -> Refusal:
        """The 403 of a token that lacks a scope."""
        message = f"The access token does not allow this; it needs the scope {scope}."
        return _challenge(403, "insufficient_scope", message, f', scope="{scope}"')

    def finish(self, request: RecordedRequest, status: int, fields: Fields, content: bytes) -> Response:
        """An answer with what every answer has."""
        is_last = request.values("connection") == [b"close"] and (b"connection", b"close") not in fields
        general = [
            *([(b"connection", b"close")] * is_last),
            (b"content-length", b"%d" % len(content)),
            (b"x-request-id", request.request_id.encode()),
            (b"date", formatdate(self._world.clock(), usegmt=True).encode()),
        ]
        return Response(status, [*fields, *general], content)

    def _issue(self, request: RecordedRequest, limits: Fields) -> Response:
        _look_at_head(request)
        client_id, client_secret = _read_credentials(request.content)
        merchant = self._client(client_id)
        if merchant is None or not merchant.knows(client_secret):
            raise RefusedError(WRONG_CREDENTIALS)
        self._charge(client_id, limits)
        lifetime = self._settings.token_lifetime_seconds
        told: Fields = []
        if (ends_at := merchant.end_of(client_secret)) is not None:
            lifetime = min(lifetime, int(ends_at) - int(self._world.clock()))
            told.append((b"ecross-credential-expires", formatdate(int(ends_at), usegmt=True).encode()))
        token = merchant.issue_token(lifetime_seconds=lifetime)
        content = {"token": token, "tokenType": "Bearer", "expiresIn": lifetime}
        return self.finish(request, 200, [*_json_type(), *_no_store(), *told, *limits], json_bytes(content))

    def _charge(self, client_id: str, limits: Fields) -> None:
        budget = self._settings.tokens_per_minute
        if budget is None:
            return
        now, interval = self._world.clock(), LIMIT_SECONDS / budget
        whole_at = max(self._whole_at.get(client_id, now), now) + interval
        left = (now + LIMIT_SECONDS - whole_at) / interval + 1e-6  # for what floats lose on the way
        wait = ceil(whole_at - now - LIMIT_SECONDS)
        until_whole = ceil((budget - int(left)) * interval) if left >= 0 else wait
        limits += (
            (b"ratelimit-policy", b'"client";q=%d;w=%d' % (budget, LIMIT_SECONDS)),
            (b"ratelimit", b'"client";r=%d;t=%d' % (max(0, int(left)), until_whole)),
        )
        if left < 0:
            raise RefusedError(Refusal(429, "rate_limited", TOO_MANY, {"Retry-After": str(wait)}))
        self._whole_at[client_id] = whole_at

    def _rest(self, request: RecordedRequest) -> Response:
        is_private = request.path == "/ext" or request.path.startswith("/ext/")
        caller = self._authenticate(request) if is_private else None
        if _announced_length(request) > LARGEST_BODY:
            raise RefusedError(TOO_LARGE)
        if request.path in HEALTH_PATHS:
            _look_at_method(request, HEALTH_METHODS)
            return self._health(request)
        found = find(request.path)
        if found is None or caller is None:  # all paths that are found are private
            raise RefusedError(NOT_FOUND)
        endpoints, values = found
        _look_at_method(request, endpoints)
        return self._act(request, endpoints[request.method], caller, values)

    def _act(
        self,
        request: RecordedRequest,
        endpoint: Endpoint,
        caller: tuple[Merchant, Claims],
        values: dict[str, str],
    ) -> Response:
        merchant, claims = caller
        if not claims.may(endpoint.scope):
            raise RefusedError(self.forbidden(endpoint.scope))
        content = endpoint.answer(Call(request, merchant, self._world, self._settings.page_size, values))
        return self.finish(request, 200, _json_type(), content)

    def _authenticate(self, request: RecordedRequest) -> tuple[Merchant, Claims]:
        try:
            claims = self._world.issuer.verify(_bearer_token(request))
        except InvalidTokenError as error:
            what = "has expired" if error.reason == "expired" else "is not valid"
        else:
            merchant = self._client(claims.client_id)
            if merchant is not None and merchant.honors(claims.epoch):
                return merchant, claims
            what = "was revoked"
        raise RefusedError(
            _challenge(401, "invalid_token", f"The access token {what}. Get a new one with POST /token.")
        )

    def _client(self, client_id: str) -> Merchant | None:
        return next((each for each in self.merchants.values() if each.client_id == client_id), None)

    def _health(self, request: RecordedRequest) -> Response:
        checks = ["registry"] if request.path == READY_PATH else []
        looked_at = [{"name": name, "status": "ok", "detail": "read 0.0 s ago"} for name in checks]
        return self.finish(request, 200, _json_type(), json_bytes({"status": "ok", "checks": looked_at}))


def _look_at_method(request: RecordedRequest, methods: Iterable[str]) -> None:
    if request.method not in methods:
        message = "This path does not know the method; the Allow header names those it knows."
        raise RefusedError(Refusal(405, "method_not_allowed", message, {"Allow": ", ".join(methods)}))


def _look_at_head(request: RecordedRequest) -> None:
    if request.method != "POST":
        raise RefusedError(Refusal(405, "method_not_allowed", "Use POST.", {"Allow": "POST"}))
    content_type = next(iter(request.values("content-type")), b"")
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise RefusedError(Refusal(415, "unsupported_media_type", "Send JSON with Content-Type: application/json."))
    if max(_announced_length(request), len(request.content)) > LARGEST_TOKEN_BODY:
        message = f"The body is too large: at most {LARGEST_TOKEN_BODY} bytes."
        raise RefusedError(Refusal(413, "body_too_large", message, {"Connection": "close"}))


def _read_credentials(body: bytes) -> tuple[str, str]:
    try:
        content = loads_strict(body)
        if not isinstance(content, dict):
            raise _bad_request('The body must be a JSON object: {"clientId": "...", "clientSecret": "..."}.')
    except StrictJsonError as error:
        fault = f"The body is not acceptable JSON: {error}."
    else:
        return _text(content, "clientId"), _text(content, "clientSecret")
    raise _bad_request(fault)


def _text(content: dict[str, object], name: str) -> str:
    value = content.get(name)
    if value is None:
        raise _bad_request(f"{name} is required.")
    if not isinstance(value, str):
        raise _bad_request(f"{name} must be a string.")
    if not value:
        raise _bad_request(f"{name} must not be empty.")
    if len(value) > LONGEST[name]:
        raise _bad_request(f"{name} must have at most {LONGEST[name]} characters.")
    return value


def _bad_request(message: str) -> RefusedError:
    return RefusedError(Refusal(400, "invalid_request", message))


def _bearer_token(request: RecordedRequest) -> str:
    values = request.values("authorization")
    if len(values) > 1:
        raise RefusedError(_challenge(400, "invalid_request", "The request has more than one Authorization header."))
    scheme, _, token = values[0].strip().partition(b" ") if values else (b"", b"", b"")
    if scheme.lower() != b"bearer":
        message = "An access token is required: Authorization: Bearer {token}. Get one with POST /token."
        headers = {"WWW-Authenticate": CHALLENGE, "Cache-Control": "no-store"}
        raise RefusedError(Refusal(401, "missing_token", message, headers))
    token = token.strip()
    if not token:
        raise RefusedError(_challenge(400, "invalid_request", "The Authorization header holds no token."))
    return token.decode("latin-1")


def _challenge(status: int, code: str, message: str, more: str = "") -> Refusal:
    challenge = f'{CHALLENGE}, error="{code}", error_description="{message}"{more}'
    return Refusal(status, code, message, {"WWW-Authenticate": challenge, "Cache-Control": "no-store"})


def _announced_length(request: RecordedRequest) -> int:
    values = request.values("content-length")
    return int(values[0]) if values and values[0].isdigit() else 0


def _accepts_problems(request: RecordedRequest) -> bool:
    for media_range in b",".join(request.values("accept")).lower().split(b","):
        media_type, *parameters = (part.strip() for part in media_range.split(b";"))
        weights = [part.partition(b"=")[2].strip(b"0.") for part in parameters if part.startswith(b"q=")]
        if media_type == b"application/problem+json" and b"" not in weights:
            return True
    return False


def _json_type() -> Fields:
    return [(b"content-type", b"application/json")]


def _no_store() -> Fields:
    return [(b"cache-control", b"no-store")]
