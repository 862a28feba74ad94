"""The server's gate and the SDK's middleware give the same answer to the same request, whole."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from starlette.testclient import TestClient

from ecross.middleware import asgi, wsgi
from ecross.verifier import Claims, TokenVerifier
from ecross_server.app.assembly import Application

if TYPE_CHECKING:
    from ecross_server.merchants.service import IssuedCredential
    from ecross_server.settings import Settings

PATH = "/ext/merchant/skus"
SCOPE = "catalog:read"

Headers = list[tuple[str, str]]


class Answer(NamedTuple):
    """Of an answer, what both must agree on. Of one that lets the request pass, the status alone."""

    status: int
    headers: tuple[str | None, ...] = ()
    body: bytes = b""

    @classmethod
    def of(cls, status: int, headers: dict[str, str], body: bytes) -> Answer:
        if status == 200:
            return cls(200)
        names = ("www-authenticate", "content-type", "content-length", "cache-control", "vary")
        return cls(status, tuple(headers.get(name) for name in names), body)


def encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Mint:
    """Makes tokens under the server's own key."""

    def __init__(self, settings: Settings, credential: IssuedCredential) -> None:
        self._key = base64.urlsafe_b64decode(json.loads(settings.signing_keys_file.read_text())["keys"][0]["k"] + "=")
        now = int(time.time())
        self.claims: dict[str, Any] = {
            "iss": settings.issuer, "sub": credential.client.id, "aud": settings.audience, "iat": now, "nbf": now,
            "exp": now + 6000, "jti": "0123456789abcdef", "client_id": credential.client.id, "merchant_id": "ACME",
            "scope": "merchant", "epoch": credential.client.epoch,
        }  # fmt: skip

    def token(self, header: str = '{"alg":"HS256","typ":"JWT"}', key: bytes | None = None, **changes: Any) -> str:
        claims = json.dumps({name: value for name, value in (self.claims | changes).items() if value is not None})
        signing_input = encode(header.encode()) + b"." + encode(claims.encode())
        return (signing_input + b"." + encode(hmac.digest(key or self._key, signing_input, "sha256"))).decode()


Values = Callable[[Mint], list[str]]


def one(form: str, **changes: Any) -> Values:
    """A single field with a token in it."""
    return lambda mint: [form.format(mint.token(**changes))]


FIELDS: dict[str, Values] = {
    "a good token": one("Bearer {}"),
    "another case": one("bEARER   {}"),
    "spaces around": one("  Bearer {}  "),
    "a scope that is enough": one("Bearer {}", scope="x catalog:read"),
    "a scope for all that reads": one("Bearer {}", scope="merchant:read"),
    "nothing": lambda _: [],
    "an empty field": lambda _: [""],
    "another scheme": lambda _: ["Basic YWNtZTpzZWNyZXQ="],
    "a scheme with commas": lambda _: ['Digest username="a", realm="b", nonce="c"'],
    "no scheme": one("{}"),
    "no space": one("Bearer{}"),
    "a tab": one("Bearer\t{}"),
    "a colon": one("Bearer: {}"),
    "an empty bearer": lambda _: ["Bearer"],
    "a bearer of spaces": lambda _: ["bearer    "],
    "two fields": lambda mint: [f"Bearer {mint.token()}"] * 2,
    "two fields, the second of another scheme": lambda mint: [f"Bearer {mint.token()}", "Basic YTpi"],
    "two fields, the first of another scheme": lambda mint: ["Basic YTpi", f"Bearer {mint.token()}"],
    "two fields, the first empty": lambda mint: ["", f"Bearer {mint.token()}"],
    "two fields, both empty bearers": lambda _: ["Bearer", "Bearer"],
    "the scheme twice": one("Bearer Bearer {}"),
    "junk": lambda _: ["Bearer junk"],
    "junk that is no ASCII": lambda _: ["Bearer \xe9.\xe9.\xe9"],
    "quotes": one('Bearer "{}"'),
    "too long": lambda _: ["Bearer " + "x" * 8193],
    "cut off": lambda mint: [f"Bearer {mint.token()[:-1]}"],
    "unsigned": lambda mint: [f"Bearer {mint.token().rpartition('.')[0]}."],
    "another key": one("Bearer {}", key=bytes(32)),
    "another algorithm": one("Bearer {}", header='{"alg":"HS512","typ":"JWT"}'),
    "another type": one("Bearer {}", header='{"alg":"HS256","typ":"at+jwt"}'),
    "no type": one("Bearer {}", header='{"alg":"HS256"}'),
    "an extension": one("Bearer {}", header='{"alg":"HS256","crit":["exp"]}'),
    "expired": one("Bearer {}", iat=1, nbf=1, exp=2),
    "not valid yet": one("Bearer {}", nbf=int(time.time()) + 900),
    "another issuer": one("Bearer {}", iss="urn:other"),
    "another audience": one("Bearer {}", aud="urn:other"),
    "a claim missing": one("Bearer {}", jti=None),
    "a claim of another type": one("Bearer {}", epoch="1"),
    "revoked": one("Bearer {}", epoch=0),
    "revoked, and without the scope": one("Bearer {}", epoch=0, scope="other"),
    "without the scope": one("Bearer {}", scope="other"),
    "to write, not to read": one("Bearer {}", scope="catalog:write inventory:read"),
    "a scope that only begins so": one("Bearer {}", scope="catalog:readers catalog"),
    "no scope at all": one("Bearer {}", scope=""),
}
ACCEPTS = [None, "*/*", "application/problem+json", "text/html, Application/Problem+JSON; q=0.4",
           "application/problem+json;q=0"]  # fmt: skip


@pytest.fixture
def backend() -> str:
    """SQLite alone: the bearer check never asks the database."""
    return "sqlite"


@pytest.fixture
def mint(settings: Settings, credential: IssuedCredential) -> Mint:
    return Mint(settings, credential)


@pytest.fixture
def options(settings: Settings, mint: Mint) -> dict[str, Any]:
    """What makes the middleware guard as the server does before its SKUs."""

    def is_revoked(claims: Claims) -> bool:
        return claims.epoch != int(mint.claims["epoch"])

    verifier = TokenVerifier(keys=settings.signing_keys_file, issuer=settings.issuer, audience=settings.audience)
    return {"verifier": verifier, "required_scope": SCOPE, "is_revoked": is_revoked}


@pytest.fixture
def server(application: Application) -> Iterator[TestClient]:
    with TestClient(application, raise_server_exceptions=False) as started:
        yield started


def ask_server(client: TestClient, headers: Headers) -> Answer:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    client.headers.pop("Accept", None)  # its own
    answer = client.get(PATH, headers=raw)
    return Answer.of(answer.status_code, dict(answer.headers), answer.content)


def ask_asgi(options: dict[str, Any], headers: Headers) -> Answer:
    async def service(_scope: object, _receive: object, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    sent: list[Any] = []

    async def receive() -> Any:
        raise AssertionError("the body is not asked for")

    async def send(message: Any) -> None:
        sent.append(message)

    raw = [(name.lower().encode(), value.strip().encode("latin-1")) for name, value in headers]
    scope = {"type": "http", "method": "GET", "path": PATH, "raw_path": PATH.encode(), "headers": raw}
    app = asgi.BearerTokenMiddleware(service, **options)
    asyncio.run(app(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Answer.of(sent[0]["status"], told, sent[1]["body"])


def ask_wsgi(options: dict[str, Any], headers: Headers) -> Answer:
    def service(_environ: object, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return []

    environ: dict[str, Any] = {"REQUEST_METHOD": "GET", "SCRIPT_NAME": "", "PATH_INFO": PATH}
    for name, value in headers:
        key = f"HTTP_{name.upper()}"
        environ[key] = f"{environ[key]},{value}" if key in environ else value
    started: list[Any] = []
    app = wsgi.BearerTokenMiddleware(service, **options)
    body = b"".join(app(environ, lambda *arguments: started.append(arguments)))  # type: ignore[arg-type] # no write function: nobody uses one
    told = {name.lower(): value for name, value in started[0][1]}
    return Answer.of(int(started[0][0][:3]), told, body)


def test_all_three_give_the_same_answers(server: TestClient, options: dict[str, Any], mint: Mint) -> None:
    statuses = set()
    for name, values in FIELDS.items():
        for accept in ACCEPTS:
            headers = [("Authorization", value) for value in values(mint)]
            headers += [] if accept is None else [("Accept", accept)]
            expected = ask_server(server, headers)
            assert ask_asgi(options, headers) == expected, name
            assert ask_wsgi(options, headers) == expected, name
            statuses.add(expected.status)
    assert statuses == {200, 400, 401, 403}


def test_where_two_fields_have_become_one_only_wsgi_takes_it_for_two(
    server: TestClient, options: dict[str, Any], mint: Mint
) -> None:
    headers = [("Authorization", f"Bearer {mint.token()}, Bearer {mint.token()}")]

    assert ask_server(server, headers) == ask_asgi(options, headers)
    assert ask_asgi(options, headers).status == 401
    assert ask_wsgi(options, headers).status == 400
