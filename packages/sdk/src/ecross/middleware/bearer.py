"""What a request gets that must show an access token (RFC 6750), free of ASGI and WSGI."""

import http
import inspect
import json
import re
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ecross.errors import EcrossError, InvalidTokenError, InvalidTokenReason
from ecross.verifier import Claims, TokenVerifier

__all__ = [
    "CLAIMS_KEY",
    "NO_CLAIMS",
    "BearerCheck",
    "InsufficientScopeError",
    "Refusal",
    "Request",
    "check_scope",
    "claims_of",
]

CLAIMS_KEY = "ecross.claims"
"""Where the claims lie in an ASGI scope and in a WSGI environment."""

# RFC 9110 section 5.6.4 and RFC 6749 section 3.3: what needs no escaping inside a quoted string.
_QUOTABLE = re.compile(r"[\x20\x21\x23-\x5b\x5d-\x7e]+")
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")

# Segments of unreserved characters (RFC 3986 section 2.3), none of them empty or made of dots alone, and at most a
# slash at the end: what is spelled so, nobody along the way reads as another path.
_PLAIN_PATH = re.compile(r"(?:/(?!\.+(?:/|\Z))[A-Za-z0-9._~-]+)*/?")
_ANYTHING_BELOW = "/*"

NO_CLAIMS = "This request has no verified claims: its path is public, or no BearerTokenMiddleware stands before it."

_JSON = "application/json"
_PROBLEM = "application/problem+json"
_ACCEPTS_PROBLEMS = re.compile(rb"\s*application/problem\+json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_ACCEPTS_NOT = re.compile(rb";\s*q=0(\.0*)?\s*(;|$)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Request:
    """What the decision needs of a request."""

    method: str
    path: str
    """Decoded, as the service behind reads it; a mount's prefix included."""
    is_plain: bool
    """Whether the client spelled the path as it is, as far as that is known."""
    authorization: Collection[bytes]
    """The value of each `Authorization` field."""
    accept: Iterable[bytes]
    is_preflight: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that takes the place of the service's own."""

    status: int
    code: str
    message: str
    challenge: str
    reason: str
    """For logs: the code, or why the token is not valid. Nothing of the request is in it."""

    def content(self, accept: Iterable[bytes]) -> tuple[list[tuple[str, str]], bytes]:
        """Headers and body, in the form that the client accepts."""
        is_problem = _accepts_problems(accept)
        told: dict[str, object] = {"message": self.message, "code": self.code}
        if is_problem:
            title = http.HTTPStatus(self.status).phrase
            about = {"type": "about:blank", "title": title, "status": self.status, "detail": self.message}
            told = {**about, **told}
        body = json.dumps(told, separators=(",", ":")).encode()
        headers = [
            ("Content-Type", _PROBLEM if is_problem else _JSON),
            ("Content-Length", str(len(body))),
            ("WWW-Authenticate", self.challenge),
            ("Cache-Control", "no-store"),
            ("Vary", "Accept"),
        ]
        return headers, body


class InsufficientScopeError(EcrossError):
    """The request's token is good, but does not allow this; the ASGI middleware answers it with 403."""

    def __init__(self, scope: str) -> None:
        super().__init__(scope)
        self.scope = scope

    def __str__(self) -> str:
        return f"The access token does not allow this; it needs the scope {self.scope}."


class BearerCheck:
    """Decides on requests: the claims of those that may pass, or the answer to those that may not.

    Raises `ValueError` for what is no realm, scope or path.
    """

    __slots__ = (
        "_allows_preflight", "_challenge", "_is_revoked", "_on_refusal", "_paths", "_prefixes", "_required_scope",
        "_verifier",
    )  # fmt: skip

    def __init__(
        self,
        verifier: TokenVerifier,
        *,
        realm: str,
        required_scope: str | None,
        public_paths: Collection[str],
        allow_preflight: bool,
        is_revoked: Callable[[Claims], bool | Awaitable[bool]] | None,
        on_refusal: Callable[[str], object] | None,
    ) -> None:
        if not _QUOTABLE.fullmatch(realm):
            raise ValueError("realm must be printable ASCII without quotes and backslashes")
        if required_scope is not None:
            check_scope(required_scope)
        if isinstance(public_paths, (str, bytes)):
            raise ValueError("public_paths must be several paths, not one text")  # noqa: TRY004 - one class for all
        for path in public_paths:
            plain = path.removesuffix("*") if path.endswith(_ANYTHING_BELOW) else path
            if not plain.startswith("/") or not _PLAIN_PATH.fullmatch(plain):
                raise ValueError(f"{path!r} is no plain path, nor one with /* at its end")
        self._verifier = verifier
        self._challenge = f'Bearer realm="{realm}"'
        self._required_scope = required_scope
        self._paths = frozenset(path for path in public_paths if not path.endswith(_ANYTHING_BELOW))
        self._prefixes = tuple(path[:-1] for path in public_paths if path.endswith(_ANYTHING_BELOW))
        self._allows_preflight = allow_preflight
        self._is_revoked = is_revoked
        self._on_refusal = on_refusal

    def is_public(self, request: Request) -> bool:
        """Whether the request passes without a token."""
        if self._allows_preflight and request.is_preflight:
            return True
        path = request.path
        if path not in self._paths and not path.startswith(self._prefixes):
            return False
        return request.is_plain and _PLAIN_PATH.fullmatch(path) is not None

    def check(self, request: Request) -> Claims | Refusal:
        """The claims of the request's token if it opens what is behind."""
        verdict = self._authenticate(request)
        if isinstance(verdict, Claims) and self._is_revoked is not None:
            # What an asynchronous hook gives here is true: it lets nothing pass.
            return self._revoked() if self._is_revoked(verdict) else self._authorize(verdict)
        return self._authorize(verdict)

    async def check_async(self, request: Request) -> Claims | Refusal:
        """Like `check`, where `is_revoked` may be asynchronous."""
        verdict = self._authenticate(request)
        if isinstance(verdict, Claims) and self._is_revoked is not None:
            is_revoked = self._is_revoked(verdict)
            if inspect.isawaitable(is_revoked):
                is_revoked = await is_revoked
            if is_revoked:
                return self._revoked()
        return self._authorize(verdict)

    def refuse_scope(self, scope: str) -> Refusal:
        """The answer to a good token that does not allow what needs the scope."""
        message = str(InsufficientScopeError(scope))
        return self._refuse(403, "insufficient_scope", message, scope=scope)

    def _authenticate(self, request: Request) -> Claims | Refusal:
        values = list(request.authorization)
        if len(values) > 1:
            return self._refuse(400, "invalid_request", "The request has more than one Authorization header.")
        scheme, _, token = values[0].strip().partition(b" ") if values else (b"", b"", b"")
        if scheme.lower() != b"bearer":
            return self._refuse(
                401, "missing_token",
                "An access token is required: Authorization: Bearer {token}. Get one with POST /token.",
                has_error=False,
            )  # fmt: skip
        token = token.strip()
        if not token:
            return self._refuse(400, "invalid_request", "The Authorization header holds no token.")
        try:
            return self._verifier.verify(token)
        except InvalidTokenError as error:
            reason = error.reason
        what = "has expired" if reason == InvalidTokenReason.EXPIRED else "is not valid"
        return self._invalid(what, reason.value)

    def _authorize(self, verdict: Claims | Refusal) -> Claims | Refusal:
        scope = self._required_scope
        if scope is None or isinstance(verdict, Refusal) or verdict.may(scope):
            return verdict
        return self.refuse_scope(scope)

    def _revoked(self) -> Refusal:
        return self._invalid("was revoked", "revoked")

    def _invalid(self, what: str, reason: str) -> Refusal:
        message = f"The access token {what}. Get a new one with POST /token."
        return self._refuse(401, "invalid_token", message, reason=reason)

    def _refuse(
        self, status: int, code: str, message: str, *, has_error: bool = True, reason: str = "", scope: str = ""
    ) -> Refusal:
        challenge = self._challenge
        if has_error:
            challenge += f', error="{code}", error_description="{message}"'
        if scope:
            challenge += f', scope="{scope}"'
        refusal = Refusal(status, code, message, challenge, reason or code)
        if self._on_refusal is not None:
            self._on_refusal(refusal.reason)
        return refusal


def check_scope(scope: str) -> None:
    """`ValueError` for what is no single scope (RFC 6749 section 3.3)."""
    if not _SCOPE.fullmatch(scope):
        raise ValueError("a scope is one word of printable ASCII without quotes and backslashes")


def claims_of(request: Mapping[str, Any]) -> Claims:
    """The claims of a request that the middleware let pass, from its ASGI scope or its WSGI environment.

    Raises `LookupError` if there are none: the path is public, or the middleware does not stand before it.
    """
    claims: Claims | None = request.get(CLAIMS_KEY)
    if claims is None:
        raise LookupError(NO_CLAIMS)
    return claims


def _accepts_problems(accept: Iterable[bytes]) -> bool:
    return any(
        _ACCEPTS_PROBLEMS.fullmatch(media_range) and not _ACCEPTS_NOT.search(media_range)
        for value in accept
        for media_range in value.split(b",")
    )
