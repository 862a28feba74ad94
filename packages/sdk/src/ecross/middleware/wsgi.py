"""WSGI middleware (PEP 3333) that lets nobody pass without a good access token.

Flask takes it as `app.wsgi_app = BearerTokenMiddleware(app.wsgi_app, verifier=verifier)`, Django as
`application = BearerTokenMiddleware(get_wsgi_application(), verifier=verifier)` in its `wsgi.py`.
"""

import http
import inspect
import re
from collections.abc import Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any

from ecross.middleware.bearer import CLAIMS_KEY, BearerCheck, Refusal, Request, claims_of
from ecross.verifier import Claims, TokenVerifier

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication

__all__ = ["CLAIMS_KEY", "BearerTokenMiddleware", "claims_of"]

# A WSGI server joins two fields of one name with a comma. No token holds one, other schemes' credentials may.
_JOINED = re.compile(rb"\s*bearer(?:\s[^,]*)?,|.*,\s*bearer(?:\s|\Z)", re.IGNORECASE | re.DOTALL)


class BearerTokenMiddleware:
    """Passes on the requests that bring a good access token, and answers all others (RFC 6750).

    The claims lie in `environ["ecross.claims"]`: `claims_of(request.environ)` in Flask, `claims_of(request.META)` in
    Django. Everything is private but `public_paths`: plain paths as the client asks for them, a mount's prefix
    included; with `/*` at its end, one stands for all below it. Other spellings (`//`, `..`) are private.

    `required_scope` is what a token must allow beside being good. `allow_preflight` lets CORS preflight requests
    through, which never carry a token; a CORS middleware that stands before this one answers them itself.
    `is_revoked` is asked about the claims of each good token; what it raises is passed on. `on_refusal` is told why a
    request was refused, in a word that is safe to log.
    """

    def __init__(
        self,
        app: "WSGIApplication",
        *,
        verifier: TokenVerifier,
        realm: str = "e-CROSS",
        required_scope: str | None = None,
        public_paths: Collection[str] = (),
        allow_preflight: bool = False,
        is_revoked: Callable[[Claims], bool] | None = None,
        on_refusal: Callable[[str], object] | None = None,
    ) -> None:
        if inspect.iscoroutinefunction(is_revoked):
            raise TypeError("is_revoked must not be asynchronous in WSGI")
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

    def __call__(self, environ: dict[str, Any], start_response: "StartResponse") -> Iterable[bytes]:
        """Pass the request on with its claims, or answer it."""
        request = _request(environ)
        claims: Claims | None = None
        if not self._check.is_public(request):
            verdict = self._check.check(request)
            if isinstance(verdict, Refusal):
                headers, body = verdict.content(request.accept)
                start_response(f"{verdict.status} {http.HTTPStatus(verdict.status).phrase}", headers)
                return [b"" if request.method == "HEAD" else body]
            claims = verdict
        environ[CLAIMS_KEY] = claims  # for a public path as well: nobody else's may lie there
        return self._app(environ, start_response)


def _request(environ: dict[str, Any]) -> Request:
    method = environ["REQUEST_METHOD"]
    authorization = environ.get("HTTP_AUTHORIZATION")
    values = [] if authorization is None else [authorization.encode("latin-1", errors="replace")]
    if values and _JOINED.match(values[0]):
        values *= 2
    return Request(
        method=method,
        path=environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""),
        is_plain=True,  # WSGI does not tell
        authorization=values,
        accept=[environ.get("HTTP_ACCEPT", "").encode("latin-1", errors="replace")],
        is_preflight=method == "OPTIONS"
        and "HTTP_ORIGIN" in environ
        and "HTTP_ACCESS_CONTROL_REQUEST_METHOD" in environ,
    )
