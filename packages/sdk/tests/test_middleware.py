"""The middleware for ASGI and for WSGI: one table of requests for both, then what only one of them has."""

from __future__ import annotations

import asyncio
import base64
import hmac
import inspect
import json
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.validate import validator

import pytest

from ecross.middleware import asgi, wsgi
from ecross.middleware.asgi import InsufficientScopeError, claims_of, current_claims, require_scope
from ecross.verifier import Claims, TokenVerifier

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

SECRET = secrets.token_bytes(32)
NOW = int(time.time())
BARE = 'Bearer realm="e-CROSS"'


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def issue(*, key: bytes = SECRET, **changes: object) -> str:
    claims = {
        "iss": "urn:ecross:auth", "sub": "acme-abcdefghijklm", "aud": "urn:ecross:api", "iat": NOW, "nbf": NOW,
        "exp": NOW + 6000, "jti": "0123456789abcdef", "client_id": "acme-abcdefghijklm", "merchant_id": "ACME",
        "scope": "catalog:read", "epoch": 3, **changes,
    }  # fmt: skip
    signing_input = encode(b'{"alg":"HS256","typ":"JWT"}') + b"." + encode(json.dumps(claims).encode())
    return (signing_input + b"." + encode(hmac.digest(key, signing_input, "sha256"))).decode()


VERIFIER = TokenVerifier(
    keys={"keys": [{"kty": "oct", "k": encode(SECRET).decode()}]}, issuer="urn:ecross:auth", audience="urn:ecross:api"
)
TOKEN = issue()
BEARER = ("Authorization", f"Bearer {TOKEN}")


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def __getitem__(self, name: str) -> str:
        (value,) = [value for each, value in self.headers if each.lower() == name]
        return value

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Headers = Iterable[tuple[str, str]]
Ask = Callable[..., Answer]


def asgi_scope(method: str, target: str, headers: Headers, kind: str = "http") -> dict[str, Any]:
    raw_path = target.partition("?")[0]
    scope: dict[str, Any] = {
        "type": kind, "path": unquote(raw_path), "raw_path": raw_path.encode(),
        "query_string": target.partition("?")[2].encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers],
    }  # fmt: skip
    return scope | ({"method": method} if kind == "http" else {})


def run_asgi(app: asgi.AsgiApp, scope: dict[str, Any]) -> list[dict[str, Any]]:
    """All that the application sends."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raise AssertionError("the body is not asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type] # any awaitable for us, a coroutine in fact
    return sent


def ask_asgi(method: str, target: str, headers: Headers, **options: Any) -> Answer:
    async def service(scope: Any, _receive: object, send: Any) -> None:
        claims = scope["ecross.claims"]
        assert claims is None or claims is claims_of(scope) is current_claims()
        body = b"hello" if claims is None else claims.merchant_id.encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    app = asgi.BearerTokenMiddleware(service, verifier=VERIFIER, **options)
    start, *parts = run_asgi(app, asgi_scope(method, target, headers))
    sent = [(name.decode(), value.decode()) for name, value in start["headers"]]
    return Answer(start["status"], sent, b"".join(part["body"] for part in parts))


def wsgi_environ(method: str, target: str, headers: Headers) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method, "SCRIPT_NAME": "", "PATH_INFO": unquote(target.partition("?")[0], "latin-1"),
        "QUERY_STRING": target.partition("?")[2],
    }  # fmt: skip
    for name, value in headers:  # as a server does
        key = "HTTP_" + name.upper().replace("-", "_")
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    return environ


def call_wsgi(app: Any, environ: dict[str, Any]) -> Answer:
    started: list[Any] = []

    def start_response(status: str, headers: list[tuple[str, str]], _exc_info: object = None) -> Any:
        started.append((status, headers))

    body = b"".join(app(environ, start_response))
    ((status, headers),) = started
    return Answer(int(status[:3]), headers, body)


def wsgi_service(environ: dict[str, Any], start_response: StartResponse) -> list[bytes]:
    claims = environ["ecross.claims"]
    assert claims is None or claims is wsgi.claims_of(environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello" if claims is None else claims.merchant_id.encode()]


def ask_wsgi(method: str, target: str, headers: Headers, **options: Any) -> Answer:
    app = wsgi.BearerTokenMiddleware(wsgi_service, verifier=VERIFIER, **options)
    return call_wsgi(app, wsgi_environ(method, target, headers))


@pytest.fixture(params=[ask_asgi, ask_wsgi], ids=["asgi", "wsgi"])
def ask(request: pytest.FixtureRequest) -> Ask:
    asker: Ask = request.param

    def asking(*headers: tuple[str, str], method: str = "GET", path: str = "/prices", **options: Any) -> Answer:
        return asker(method, path, headers, **options)

    return asking


class TestTokens:
    @pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER   {}", " bEaReR {} "])
    def test_a_good_token_opens_and_its_claims_are_there(self, ask: Ask, form: str) -> None:
        answer = ask(("Authorization", form.format(TOKEN)))

        assert (answer.status, answer.body) == (200, b"ACME")

    @pytest.mark.parametrize(
        "values",
        [(), ("",), ("Basic YTpi",), (TOKEN,), (f"Bearer{TOKEN}",), (f"Bearer\t{TOKEN}",), (f"Token {TOKEN}",),
         ('Digest username="a", realm="b"',)],
        ids=range(8),
    )  # fmt: skip
    def test_no_token_or_another_scheme_gets_the_bare_challenge(self, ask: Ask, values: tuple[str, ...]) -> None:
        answer = ask(*(("Authorization", value) for value in values))

        assert answer.status == 401
        assert answer["www-authenticate"] == BARE
        assert answer.json == {
            "message": "An access token is required: Authorization: Bearer {token}. Get one with POST /token.",
            "code": "missing_token",
        }
        assert answer["content-type"] == "application/json"
        assert answer["content-length"] == str(len(answer.body))
        assert answer["cache-control"] == "no-store"
        assert answer["vary"] == "Accept"

    @pytest.mark.parametrize(
        "values",
        [("Bearer",), ("Bearer ",), (f"Bearer {TOKEN}", f"Bearer {TOKEN}"), (f"Bearer {TOKEN}", "Basic YTpi"),
         ("Basic YTpi", f"bearer {TOKEN}"), ("", f"Bearer {TOKEN}"), (f"Bearer {TOKEN}", ""), ("Bearer", "Bearer"),
         ("Basic YTpi", "Bearer")],
        ids=range(9),
    )  # fmt: skip
    def test_an_empty_bearer_and_two_fields_are_an_invalid_request(self, ask: Ask, values: tuple[str, ...]) -> None:
        answer = ask(*(("Authorization", value) for value in values))

        assert answer.status == 400
        assert answer.json["code"] == "invalid_request"
        message = answer.json["message"]
        assert answer["www-authenticate"] == f'{BARE}, error="invalid_request", error_description="{message}"'

    @pytest.mark.parametrize(
        ("token", "what", "reason"),
        [
            (issue(exp=NOW - 1, iat=NOW - 9, nbf=NOW - 9), "has expired", "expired"),
            (issue(key=bytes(32)), "is not valid", "bad_signature"),
            (issue(aud="urn:other"), "is not valid", "wrong_audience"),
            (issue(nbf=NOW + 5000), "is not valid", "not_yet_valid"),
            ("x" * 9000, "is not valid", "too_long"),
            ("\xff\xfe", "is not valid", "malformed"),
            (f"Bearer {TOKEN}", "is not valid", "malformed"),
        ],
        ids=range(7),
    )
    def test_a_token_that_is_not_good_is_refused_and_the_reason_told_to_logs_alone(
        self, ask: Ask, token: str, what: str, reason: str
    ) -> None:
        told: list[str] = []

        answer = ask(("Authorization", f"Bearer {token}"), on_refusal=told.append)

        message = f"The access token {what}. Get a new one with POST /token."
        assert answer.status == 401
        assert answer.json == {"message": message, "code": "invalid_token"}
        assert answer["www-authenticate"] == f'{BARE}, error="invalid_token", error_description="{message}"'
        assert told == [reason]
        assert type(told[0]) is str

    def test_a_token_in_any_other_place_is_not_looked_at(self, ask: Ask) -> None:
        assert ask(path=f"/prices?access_token={TOKEN}").status == 401
        assert ask(("Cookie", f"access_token={TOKEN}"), ("X-Authorization", f"Bearer {TOKEN}")).status == 401
        assert ask(("Authorizatiom", f"Bearer {TOKEN}")).status == 401

    def test_an_answer_to_head_has_no_body_but_its_length(self, ask: Ask) -> None:
        answer = ask(method="HEAD")

        assert answer.body == b""
        assert answer["content-length"] == ask()["content-length"]

    def test_a_problem_is_sent_to_who_accepts_one(self, ask: Ask) -> None:
        answer = ask(("Accept", "text/html, application/problem+json;q=0.5"))

        assert answer["content-type"] == "application/problem+json"
        assert answer.json["title"] == "Unauthorized"
        assert answer.json["detail"] == answer.json["message"]
        assert answer.json["status"] == 401
        for accept in ("application/json", "*/*", "application/problem+json;q=0", "application/problem+jsonx", ""):
            assert ask(("Accept", accept))["content-type"] == "application/json"


class TestOptions:
    def test_the_realm_is_the_authors(self, ask: Ask) -> None:
        assert ask(realm="prices of ACME")["www-authenticate"] == 'Bearer realm="prices of ACME"'

    @pytest.mark.parametrize("realm", ["", 'a"b', "a\\b", "a\r\nb", "é", "a\x00"])
    def test_a_realm_that_would_break_the_header_is_refused(self, ask: Ask, realm: str) -> None:
        with pytest.raises(ValueError, match="realm"):
            ask(realm=realm)

    def test_a_token_without_the_required_scope_is_refused(self, ask: Ask) -> None:
        answer = ask(BEARER, required_scope="catalog:write")

        message = "The access token does not allow this; it needs the scope catalog:write."
        assert answer.status == 403
        assert answer.json == {"message": message, "code": "insufficient_scope"}
        assert answer["www-authenticate"] == (
            f'{BARE}, error="insufficient_scope", error_description="{message}", scope="catalog:write"'
        )

    @pytest.mark.parametrize("scope", ["catalog:write", "catalog:read catalog:write", "merchant"])
    def test_a_token_with_the_required_scope_opens(self, ask: Ask, scope: str) -> None:
        bearer = ("Authorization", f"Bearer {issue(scope=scope)}")

        assert ask(bearer, required_scope="catalog:write").status == 200
        assert ask(required_scope="catalog:write").status == 401

    @pytest.mark.parametrize("scope", ["", "a b", 'a"', "a\\", "a\n", "é"])
    def test_what_is_no_single_scope_is_refused(self, ask: Ask, scope: str) -> None:
        with pytest.raises(ValueError, match="a scope is one word"):
            ask(required_scope=scope)
        with pytest.raises(ValueError, match="a scope is one word"):
            require_scope(scope)

    def test_revoked_tokens_are_refused_before_their_scope_is_looked_at(self, ask: Ask) -> None:
        told: list[str] = []
        options = {"is_revoked": lambda claims: claims.epoch < 4, "on_refusal": told.append, "required_scope": "x"}

        answer = ask(BEARER, **options)

        assert answer.status == 401
        assert answer.json["message"] == "The access token was revoked. Get a new one with POST /token."
        assert told == ["revoked"]
        assert ask(("Authorization", f"Bearer {issue(epoch=4)}"), **options).status == 403
        assert ask(BEARER, is_revoked=lambda claims: claims.epoch < 3).status == 200
        assert ask(is_revoked=lambda _: False).status == 401

    def test_what_the_hook_for_revocation_raises_lets_nothing_pass(self, ask: Ask) -> None:
        def fail(_: Claims) -> bool:
            raise ConnectionError("the registry is away")

        with pytest.raises(ConnectionError):
            ask(BEARER, is_revoked=fail)

    PREFLIGHT = (("Origin", "https://shop.example"), ("Access-Control-Request-Method", "GET"))

    def test_a_preflight_request_is_private_unless_allowed(self, ask: Ask) -> None:
        assert ask(*self.PREFLIGHT, method="OPTIONS").status == 401
        assert ask(*self.PREFLIGHT, method="OPTIONS", allow_preflight=True).body == b"hello"

    @pytest.mark.parametrize("method", ["GET", "POST", "options", "HEAD"])
    def test_nothing_else_passes_as_a_preflight_request(self, ask: Ask, method: str) -> None:
        assert ask(*self.PREFLIGHT, method=method, allow_preflight=True).status == 401
        for header in self.PREFLIGHT:
            assert ask(header, method="OPTIONS", allow_preflight=True).status == 401


class TestPublicPaths:
    PUBLIC = ("/", "/health", "/docs/*", "/.well-known/keys.json")

    @pytest.mark.parametrize("path", ["/", "/health", "/docs/", "/docs/a", "/docs/a/b.css", "/.well-known/keys.json"])
    def test_a_public_path_needs_no_token_and_gives_no_claims(self, ask: Ask, path: str) -> None:
        assert ask(path=path, public_paths=self.PUBLIC).body == b"hello"
        assert ask(BEARER, path=path, public_paths=self.PUBLIC).body == b"hello"
        assert ask(path=f"{path}?next=/prices", public_paths=self.PUBLIC).body == b"hello"
        assert ask(path=path).status == 401

    @pytest.mark.parametrize(
        "path",
        [
            "/prices", "/docs", "/docsx", "/doc", "/healthz", "/health/", "/health/x", "/Health", "/DOCS/a", "",
            "//", "//health", "/health//", "/docs//a", "//docs/a", "/docs/../prices", "/docs/..", "/docs/./a",
            "/docs/%2e%2e/prices", "/docs/..%2fprices", "/docs%2f..%2fprices", "/docs/%252e%252e/prices",
            "/docs/a;/../prices", "/docs/..;/prices", "/docs/.../prices", "/docs/a%5c..%5c..%5cprices", "/docs/a%00",
            "/docs/a%0a", "/health%0a", "/health%00", "/health;x", "/docs/%c0%ae%c0%ae/prices", "/docs/é",
            "/docs/%EF%BC%8E%EF%BC%8E/prices", "/x/../health", "/./health", "/docs/a%20b", "/docs/%2f/prices",
            "/prices?/docs/a", "/prices/docs/a", "/*", "/docs/*",
        ],
    )  # fmt: skip
    def test_everything_else_is_private_and_so_is_every_other_spelling(self, ask: Ask, path: str) -> None:
        assert ask(path=path, public_paths=self.PUBLIC).status == 401
        assert ask(BEARER, path=path, public_paths=self.PUBLIC).status == 200

    @pytest.mark.parametrize(
        "path", ["", "health", "*", "/docs*", "/docs/**", "/a//b", "/a/../b", "/a%2fb", "/a b", "/é", "/a?b", "//"]
    )
    def test_what_is_no_plain_path_is_refused(self, ask: Ask, path: str) -> None:
        with pytest.raises(ValueError, match="is no plain path"):
            ask(public_paths=[path])

    def test_one_text_is_not_taken_for_many_paths(self, ask: Ask) -> None:
        with pytest.raises(ValueError, match="several paths"):
            ask(public_paths="/health")


class TestAsgi:
    def test_an_escaped_public_path_is_private(self) -> None:
        for path in ("/%68ealth", "/docs/%61", "/docs/a%2fb"):
            assert ask_asgi("GET", path, [], public_paths=["/health", "/docs/*"]).status == 401

    def test_a_server_that_does_not_tell_the_raw_path_is_served(self) -> None:
        async def service(scope: Any, _receive: object, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})

        app = asgi.BearerTokenMiddleware(service, verifier=VERIFIER, public_paths=["/health"])
        scope = asgi_scope("GET", "/health", [])
        del scope["raw_path"]

        assert run_asgi(app, scope)[0]["status"] == 200
        assert run_asgi(app, scope | {"path": "/prices"})[0]["status"] == 401

    def test_what_lies_in_the_claims_place_is_not_believed(self) -> None:
        seen: list[object] = []

        async def service(scope: Any, _receive: object, _send: object) -> None:
            seen.append(scope["ecross.claims"])
            with pytest.raises(LookupError):
                claims_of(scope)
            with pytest.raises(LookupError):
                current_claims()

        app = asgi.BearerTokenMiddleware(service, verifier=VERIFIER, public_paths=["/health"])
        run_asgi(app, asgi_scope("GET", "/health", [BEARER]) | {"ecross.claims": VERIFIER.verify(TOKEN)})

        assert seen == [None]

    def test_the_lifespan_is_passed_on_and_what_is_unknown_is_not(self) -> None:
        passed: list[str] = []

        async def service(scope: Any, _receive: object, _send: object) -> None:
            passed.append(scope["type"])

        app = asgi.BearerTokenMiddleware(service, verifier=VERIFIER, public_paths=["/*"])
        run_asgi(app, {"type": "lifespan"})
        with pytest.raises(RuntimeError, match="requests, websockets and lifespans"):
            run_asgi(app, asgi_scope("GET", "/", [BEARER], kind="channel"))

        assert passed == ["lifespan"]

    def test_an_asynchronous_hook_for_revocation_is_awaited(self) -> None:
        async def is_revoked(claims: Claims) -> bool:
            await asyncio.sleep(0)
            return claims.epoch < 4

        assert ask_asgi("GET", "/", [BEARER], is_revoked=is_revoked).status == 401
        newer = ("Authorization", f"Bearer {issue(epoch=4)}")
        assert ask_asgi("GET", "/", [newer], is_revoked=is_revoked).status == 200

    def test_requests_at_the_same_time_have_their_own_claims(self) -> None:
        both = asyncio.Barrier(2)
        seen: dict[str, str] = {}

        async def service(scope: Any, _receive: object, _send: object) -> None:
            await both.wait()
            seen[scope["path"]] = current_claims().merchant_id
            in_thread = await asyncio.to_thread(lambda: current_claims().merchant_id)
            assert in_thread == seen[scope["path"]]

        async def nothing(*_: object) -> Any:
            raise AssertionError

        async def serve() -> None:
            app = asgi.BearerTokenMiddleware(service, verifier=VERIFIER)
            await asyncio.gather(
                *(
                    app(asgi_scope("GET", f"/{name}", [("Authorization", f"Bearer {token}")]), nothing, nothing)
                    for name, token in (("a", TOKEN), ("b", issue(merchant_id="OTHER")))
                )
            )
            with pytest.raises(LookupError, match="no verified claims"):
                current_claims()

        asyncio.run(serve())
        assert seen == {"/a": "ACME", "/b": "OTHER"}

    def test_the_claims_end_with_their_request(self) -> None:
        async def service(*_: object) -> None:
            current_claims()
            raise ZeroDivisionError

        async def serve() -> None:
            app = asgi.BearerTokenMiddleware(service, verifier=VERIFIER)
            with pytest.raises(ZeroDivisionError):
                await app(asgi_scope("GET", "/", [BEARER]), service, service)  # type: ignore[arg-type] # never called
            with pytest.raises(LookupError):
                current_claims()

        asyncio.run(serve())


class TestScopesOfEndpoints:
    @staticmethod
    def app(act: Callable[[Any], Awaitable[None]], scope: str) -> asgi.AsgiApp:
        async def service(_scope: object, _receive: object, send: Any) -> None:
            await act(send)
            assert require_scope(scope)().merchant_id == "ACME"
            await send({"type": "http.response.start", "status": 204, "headers": []})

        return asgi.BearerTokenMiddleware(service, verifier=VERIFIER)

    @staticmethod
    async def nothing(_send: object) -> None: ...

    def test_an_endpoint_may_ask_for_a_scope(self) -> None:
        scope = asgi_scope("GET", "/", [BEARER])

        assert run_asgi(self.app(self.nothing, "catalog:read"), scope)[0]["status"] == 204
        start, body = run_asgi(self.app(self.nothing, "catalog:write"), scope)
        assert start["status"] == 403
        as_option = ask_asgi("GET", "/", [BEARER], required_scope="catalog:write")
        assert (start["headers"], body["body"]) == (
            [(name.encode(), value.encode()) for name, value in as_option.headers],
            as_option.body,
        )

    def test_an_answer_that_has_begun_is_not_begun_again(self) -> None:
        async def begin(send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})

        with pytest.raises(InsufficientScopeError, match="needs the scope catalog:write"):
            run_asgi(self.app(begin, "catalog:write"), asgi_scope("GET", "/", [BEARER]))

    def test_without_the_middleware_there_is_no_scope_to_have(self) -> None:
        with pytest.raises(LookupError):
            require_scope("catalog:read")()


class TestWebsockets:
    @staticmethod
    async def service(scope: Any, _receive: object, send: Any) -> None:
        assert claims_of(scope).merchant_id == "ACME"
        await send({"type": "websocket.accept"})

    def sent(self, *headers: tuple[str, str], **members: Any) -> list[dict[str, Any]]:
        app = asgi.BearerTokenMiddleware(self.service, verifier=VERIFIER)
        return run_asgi(app, asgi_scope("GET", "/feed", headers, kind="websocket") | members)

    def test_a_good_token_opens_a_websocket(self) -> None:
        assert self.sent(BEARER) == [{"type": "websocket.accept"}]

    @pytest.mark.parametrize("members", [{}, {"extensions": {}}, {"extensions": None}], ids=str)
    def test_without_one_it_is_closed_before_it_is_accepted(self, members: dict[str, Any]) -> None:
        (closed,) = self.sent(**members)

        assert closed == {"type": "websocket.close", "code": 1008, "reason": "missing_token"}

    def test_a_server_that_can_is_given_the_whole_answer(self) -> None:
        start, body = self.sent(("Authorization", "Bearer x"), extensions={"websocket.http.response": {}})

        assert start["type"] == "websocket.http.response.start"
        assert start["status"] == 401
        assert body["type"] == "websocket.http.response.body"
        assert json.loads(body["body"])["code"] == "invalid_token"


class TestWsgi:
    def test_what_lies_in_the_claims_place_is_not_believed(self) -> None:
        environ = wsgi_environ("GET", "/health", [BEARER]) | {"ecross.claims": VERIFIER.verify(TOKEN)}
        app = wsgi.BearerTokenMiddleware(wsgi_service, verifier=VERIFIER, public_paths=["/health"])

        assert call_wsgi(app, environ).body == b"hello"
        with pytest.raises(LookupError, match="no verified claims"):
            wsgi.claims_of(environ)

    def test_the_path_is_what_the_client_asked_for(self) -> None:
        app = wsgi.BearerTokenMiddleware(wsgi_service, verifier=VERIFIER, public_paths=["/api/health"])
        environ = wsgi_environ("GET", "/health", [])

        assert call_wsgi(app, environ | {"SCRIPT_NAME": "/api"}).status == 200
        assert call_wsgi(app, environ).status == 401
        assert call_wsgi(app, environ | {"PATH_INFO": "/api/health"}).status == 200

    def test_an_asynchronous_hook_is_refused_and_one_in_disguise_lets_nothing_pass(self) -> None:
        async def is_revoked(_: Claims) -> bool: ...  # type: ignore[empty-body] # never called

        with pytest.raises(TypeError, match="must not be asynchronous"):
            ask_wsgi("GET", "/", [BEARER], is_revoked=is_revoked)
        assert ask_wsgi("GET", "/", [BEARER], is_revoked=lambda _: object()).status == 401

    def test_a_real_server_s_two_fields_are_seen_and_the_protocol_is_kept(self) -> None:
        class Quiet(WSGIRequestHandler):
            def log_message(self, *_: object) -> None: ...

        app = wsgi.BearerTokenMiddleware(wsgi_service, verifier=VERIFIER)
        with make_server("127.0.0.1", 0, validator(app), handler_class=Quiet) as server:
            serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            serving.start()
            try:
                assert talk(server.server_port, f"Authorization: Bearer {TOKEN}")[0] == 200
                assert talk(server.server_port, *[f"Authorization: Bearer {TOKEN}"] * 2)[0] == 400
                status, rest = talk(server.server_port, "X-Nothing: x")
                assert status == 401
                assert b'WWW-Authenticate: Bearer realm="e-CROSS"\r\n' in rest.partition(b"\r\n\r\n")[0] + b"\r\n"
            finally:
                server.shutdown()
                serving.join()


def talk(port: int, *lines: str) -> tuple[int, bytes]:
    """The status of the answer to a request with these header lines, and all that was sent."""
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall("\r\n".join(["GET / HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""]).encode())
        raw = b""
        while received := connection.recv(65536):
            raw += received
    return int(raw.split()[1]), raw


def test_both_take_the_same_options() -> None:
    assert (
        inspect.signature(asgi.BearerTokenMiddleware).parameters.keys()
        == inspect.signature(wsgi.BearerTokenMiddleware).parameters.keys()
    )


def test_no_framework_is_imported() -> None:
    script = """if True:
        import sys
        before = set(sys.modules)
        import ecross.middleware.asgi, ecross.middleware.wsgi
        loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
        print(sorted(loaded - set(sys.stdlib_module_names)))
    """

    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)

    assert run.stdout.strip() == "['ecross']"
