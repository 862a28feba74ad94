from __future__ import annotations

import base64
import json
import re
import secrets
from collections.abc import Callable
from typing import Annotated, Any

import httpx2
import pytest
import structlog
from fastapi import Depends
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from ecross_server.app.assembly import Application
from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.auth.endpoints import is_private, require
from ecross_server.auth.service import Caller
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings
from ecross_server.web.context import SCOPE_KEY, RequestContext

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

Register = Callable[..., IssuedCredential]
Sign = Callable[..., str]

PATH = "/ext/merchant/skus"
BARE = 'Bearer realm="e-CROSS"'
CHALLENGE = re.compile(
    r'Bearer realm="e-CROSS"(?:, error="([a-z_]+)", error_description="([\x20\x21\x23-\x5b\x5d-\x7e]+)")?'
    r'(?:, scope="([\x21\x23-\x5b\x5d-\x7e]+(?: [\x21\x23-\x5b\x5d-\x7e]+)*)")?'
)
"""RFC 6750 section 3, in the one order that we write."""


@pytest.fixture
def backend() -> str:
    """SQLite alone: the bearer check never asks the database."""
    return "sqlite"


def get(client: TestClient, *values: str, path: str = PATH, **arguments: Any) -> httpx2.Response:
    """A request with so many Authorization headers."""
    return client.get(path, headers=[("Authorization", value) for value in values], **arguments)


def assert_challenge(
    answer: httpx2.Response, status: int, code: str, error: str | None = None, scope: str | None = None
) -> str:
    """A refusal with its challenge in the form of RFC 6750; gives its message."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert list(content) == ["message", "code"]
    assert content["code"] == code
    (challenge,) = answer.headers.get_list("www-authenticate")
    parsed = CHALLENGE.fullmatch(challenge)
    assert parsed is not None, challenge
    assert parsed[1] == error
    assert parsed[2] == (None if error is None else content["message"])
    assert parsed[3] == scope
    assert answer.headers["cache-control"] == "no-store"
    message: str = content["message"]
    return message


def assert_invalid(answer: httpx2.Response) -> str:
    return assert_challenge(answer, 401, "invalid_token", "invalid_token")


class TestWithoutAToken:
    @pytest.mark.parametrize(
        "values",
        [
            (),
            ("Basic YWNtZTpzZWNyZXQ=",),
            ("Digest username=acme",),
            ("",),
            (" ",),
            ("{token}",),
            ("Token {token}",),
            ("Bearers {token}",),
            ("Bearer{token}",),
            ("Bearer\t{token}",),
            ("Bearer:{token}",),
            ("JWT {token}",),
        ],
    )
    def test_no_token_or_another_scheme_gets_the_bare_challenge(
        self, client: TestClient, token: str, values: tuple[str, ...]
    ) -> None:
        answer = get(client, *(value.format(token=token) for value in values))
        message = assert_challenge(answer, 401, "missing_token")
        assert answer.headers["www-authenticate"] == BARE
        assert message == "An access token is required: Authorization: Bearer {token}. Get one with POST /token."

    @pytest.mark.parametrize("values", [("Bearer",), ("Bearer ",), ("bearer   ",), ("  BEARER  ",)])
    def test_an_empty_bearer_is_an_invalid_request(self, client: TestClient, values: tuple[str, ...]) -> None:
        assert_challenge(get(client, *values), 400, "invalid_request", "invalid_request")

    @pytest.mark.parametrize(
        "values",
        [
            ("Bearer {token}", "Bearer {token}"),
            ("Bearer {token}", "Basic YWNtZTpzZWNyZXQ="),
            ("Basic YWNtZTpzZWNyZXQ=", "Bearer {token}"),
            ("", "Bearer {token}"),
        ],
    )
    def test_two_headers_are_an_invalid_request(self, client: TestClient, token: str, values: tuple[str, ...]) -> None:
        answer = get(client, *(value.format(token=token) for value in values))
        assert_challenge(answer, 400, "invalid_request", "invalid_request")

    @pytest.mark.parametrize("place", ["query", "body", "form", "cookie", "other headers"])
    def test_a_token_in_any_other_place_is_not_looked_at(self, client: TestClient, token: str, place: str) -> None:
        arguments: dict[str, Any] = {
            "query": {"params": {"access_token": token, "token": token, "Authorization": f"Bearer {token}"}},
            "body": {"json": {"access_token": token, "token": token}},
            "form": {"data": {"access_token": token}},
            "cookie": {"headers": {"Cookie": f"access_token={token}; Authorization=Bearer {token}"}},
            "other headers": {
                "headers": {"X-Authorization": f"Bearer {token}", "Proxy-Authorization": f"Bearer {token}"}
            },
        }[place]
        answer = client.request("GET", PATH, **arguments)
        assert_challenge(answer, 401, "missing_token")
        assert token not in answer.text


class TestGoodTokens:
    @pytest.mark.parametrize("form", ["Bearer {}", "bearer {}", "BEARER {}", "bEaReR {}", "Bearer   {}", " Bearer {} "])
    def test_the_scheme_s_case_and_spaces_around_do_not_matter(self, client: TestClient, token: str, form: str) -> None:
        assert get(client, form.format(token)).status_code == 200

    def test_a_token_that_we_sign_opens(self, client: TestClient, sign: Sign) -> None:
        answer = get(client, f"Bearer {sign()}")
        assert (answer.status_code, answer.json()) == (200, {"skus": []})

    def test_a_token_opens_again_and_again(self, client: TestClient, bearer: dict[str, str]) -> None:
        assert [client.get(PATH, headers=bearer).status_code for _ in range(3)] == [200, 200, 200]


CLAIMS = ("iss", "sub", "aud", "iat", "nbf", "exp", "jti", "client_id", "merchant_id", "scope", "epoch")
FOREIGN_KEY = secrets.token_bytes(32)


class TestBadTokens:
    @pytest.mark.parametrize(
        "token",
        [
            "x",
            "x.y.z",
            "..",
            "a.b",
            "a.b.c.d",
            "null",
            "undefined",
            "{token}",
            "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..",
            "%00",
            "\x80\xff",
            "'; DROP TABLE clients; --",
            "../../etc/passwd",
            "a" * 8192,
            "a" * 8193,
            "a" * 100_000,
            "." * 50_000,
        ],
    )
    def test_junk_is_invalid_and_never_shown(self, client: TestClient, token: str) -> None:
        answer = client.get(PATH, headers=[(b"authorization", b"Bearer " + token.encode("latin-1"))])
        message = assert_invalid(answer)
        assert message == "The access token is not valid. Get a new one with POST /token."

    @pytest.mark.parametrize(
        "spoil", ["{}x", "{}=", "x{}", "{} x", "{}.", ".{}", "{0} {0}", "{0},{0}", '"{}"', "{}\x7f"]
    )
    def test_a_token_with_anything_added_is_invalid(self, client: TestClient, token: str, spoil: str) -> None:
        assert_invalid(get(client, f"Bearer {spoil.format(token)}"))

    def test_a_token_with_any_character_changed_is_invalid(self, client: TestClient, token: str) -> None:
        for place in range(0, len(token), 7):
            changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            assert_invalid(get(client, f"Bearer {changed}"))

    def test_a_token_whose_last_character_decodes_to_the_same_bytes_is_invalid(
        self, client: TestClient, token: str
    ) -> None:
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
        sibling = alphabet[alphabet.index(token[-1]) ^ 1]
        assert base64.urlsafe_b64decode(token.split(".")[2] + "=") == base64.urlsafe_b64decode(
            token.split(".")[2][:-1] + sibling + "="
        )
        assert_invalid(get(client, f"Bearer {token[:-1]}{sibling}"))

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"key": FOREIGN_KEY}, "bad_signature"),
            ({"key": b""}, "bad_signature"),
            ({"header": {"alg": "none", "typ": "JWT"}}, "bad_header"),
            ({"header": {"alg": "None", "typ": "JWT"}}, "bad_header"),
            ({"header": {"alg": "HS512", "typ": "JWT"}}, "bad_header"),
            ({"header": {"alg": "HS512", "typ": "JWT"}, "digest": "sha512"}, "bad_signature"),
            ({"header": {"alg": "RS256", "typ": "JWT"}}, "bad_header"),
            ({"header": {"alg": "HS256", "typ": "at+jwt"}}, "bad_header"),
            ({"header": {"typ": "JWT"}}, "bad_header"),
            ({"header": {"alg": "HS256", "typ": "JWT", "crit": ["exp"]}}, "bad_header"),
            ({"header": {"alg": "HS256", "jwk": {"kty": "oct", "k": "AAAA"}}, "key": FOREIGN_KEY}, "bad_signature"),
            ({"iss": "urn:another"}, "wrong_issuer"),
            ({"aud": "urn:another"}, "wrong_audience"),
            ({"aud": ["urn:another"]}, "wrong_audience"),
            ({"exp": 1, "iat": 0, "nbf": 0}, "expired"),
            ({"nbf": 9_000_000_000}, "not_yet_valid"),
            ({"iat": 9_000_000_000, "exp": 9_000_000_001}, "not_yet_valid"),
            ({"exp": "9000000000"}, "bad_claim"),
            ({"exp": 9e9}, "bad_claim"),
            ({"exp": 1e400}, "malformed"),
            ({"exp": True}, "bad_claim"),
            ({"exp": None}, "bad_claim"),
            ({"exp": -1}, "bad_claim"),
            ({"exp": 2**63}, "bad_claim"),
            ({"epoch": 0}, "revoked"),
            ({"epoch": 2}, "revoked"),
            ({"epoch": "1"}, "bad_claim"),
            ({"epoch": True}, "bad_claim"),
            ({"epoch": 1.0}, "bad_claim"),
            ({"client_id": "acme-aaaaaaaaaaaaa", "sub": "acme-aaaaaaaaaaaaa"}, "revoked"),
            ({"sub": "acme-aaaaaaaaaaaaa"}, "bad_claim"),
            ({"client_id": ["x"]}, "bad_claim"),
            ({"scope": ["merchant"]}, "bad_claim"),
            *(({"without": name}, "missing_claim") for name in CLAIMS),
        ],
    )
    def test_what_we_would_not_issue_is_invalid_and_its_reason_is_logged(
        self, client: TestClient, sign: Sign, changes: dict[str, Any], reason: str
    ) -> None:
        token = sign(**changes)
        with structlog.testing.capture_logs() as events:
            message = assert_invalid(get(client, f"Bearer {token}"))
        assert [event["reason"] for event in events] == [reason]
        assert ("expired" in message) == (reason == "expired")
        assert token not in str(events)

    def test_an_unsigned_token_is_invalid(self, client: TestClient, token: str) -> None:
        payload = token.split(".")[1]
        for header in ('{"alg":"none"}', '{"alg":"none","typ":"JWT"}', '{"alg":"HS256","typ":"JWT"}'):
            encoded = base64.urlsafe_b64encode(header.encode()).rstrip(b"=").decode()
            assert_invalid(get(client, f"Bearer {encoded}.{payload}."))

    def test_a_page_token_is_no_access_token(self, client: TestClient, application: Application) -> None:
        position = application.auth.page_tokens.make(merchant_id="ACME", list_name="skus", position="1")
        assert_invalid(get(client, f"Bearer {position}"))

    def test_the_client_secret_is_no_access_token(self, client: TestClient, credential: IssuedCredential) -> None:
        answer = get(client, f"Bearer {credential.client_secret}")
        assert_invalid(answer)
        assert credential.client_secret not in answer.text


class TestRevoking:
    @pytest.mark.parametrize("act", ["disable", "revoke", "disable and enable"])
    def test_a_live_token_dies(
        self, *, client: TestClient, application: Application, bearer: dict[str, str], credential: IssuedCredential,
        database: Database, act: str,
    ) -> None:  # fmt: skip
        assert client.get(PATH, headers=bearer).status_code == 200
        with database.write() as session:
            if act == "revoke":
                merchants.revoke_client(session, credential.client.id, by=BY)
            else:
                merchants.disable_merchant(session, "ACME", by=BY)
            if act == "disable and enable":
                merchants.enable_merchant(session, "ACME", by=BY)
        application.auth.refresh()
        message = assert_invalid(client.get(PATH, headers=bearer))
        assert message.startswith("The access token was revoked.")

    def test_another_merchant_s_tokens_live_on(
        self, client: TestClient, application: Application, bearer: dict[str, str], register: Register,
        database: Database,
    ) -> None:  # fmt: skip
        register("OTHER")
        with database.write() as session:
            merchants.disable_merchant(session, "OTHER", by=BY)
        application.auth.refresh()
        assert client.get(PATH, headers=bearer).status_code == 200


class TestScope:
    @pytest.mark.parametrize("scope", ["", "orders:read", "catalog", "catalog:write", "Merchant", "merchant:x"])
    def test_a_good_token_that_does_not_allow_it_is_403(self, client: TestClient, sign: Sign, scope: str) -> None:
        answer = get(client, f"Bearer {sign(scope=scope)}")
        assert_challenge(answer, 403, "insufficient_scope", "insufficient_scope", "catalog:read")

    @pytest.mark.parametrize("scope", ["catalog:read", "merchant", "orders:read catalog:read", "catalog:read merchant"])
    def test_a_scope_that_allows_it_opens(self, client: TestClient, sign: Sign, scope: str) -> None:
        assert get(client, f"Bearer {sign(scope=scope)}").status_code == 200

    def test_the_server_s_own_signing_makes_the_same(
        self, client: TestClient, key_set: Any, claims: dict[str, Any]
    ) -> None:
        token = key_set.sign(
            client_id=claims["sub"], merchant_id="ACME", scope="orders:read", epoch=1, token_id="0" * 32,
            issued_at=claims["iat"], expires_at=claims["exp"],
        )  # fmt: skip
        assert get(client, f"Bearer {token}").status_code == 403


class TestPaths:
    @pytest.mark.parametrize(
        "path",
        ["/ext", "/ext/", "/ext/nope", "/ext//x", "/ext/merchant/skus/", "/ext/%2e%2e/health/live", "/%65xt/nope",
         "/ext%2Fnope", "/ext/%E2%98%83", "/ext/%FF", "/ext/%00", "/ext/x?y=1", "/ext/ext"],
    )  # fmt: skip
    def test_what_does_not_exist_is_told_only_to_callers(
        self, client: TestClient, bearer: dict[str, str], path: str
    ) -> None:
        url = httpx2.URL("http://testserver").copy_with(raw_path=path.encode())
        for method in ("GET", "POST", "HEAD", "OPTIONS", "DELETE", "PROPFIND"):
            stranger = client.request(method, url)
            assert stranger.status_code == 401
            assert stranger.headers["www-authenticate"] == BARE
            caller = client.request(method, url, headers=bearer)
            assert caller.status_code == 404
            if method != "HEAD":
                assert_challenge(stranger, 401, "missing_token")
                assert caller.json()["code"] == "not_found"

    @pytest.mark.parametrize("path", [PATH, "/%65%78%74/merchant/skus", "/ext%2fmerchant%2Fskus"])
    def test_what_exists_opens_to_callers_in_every_spelling(
        self, client: TestClient, bearer: dict[str, str], path: str
    ) -> None:
        assert client.get(path).status_code == 401
        assert client.get(path, headers=bearer).status_code == 200

    def test_a_stranger_cannot_tell_what_exists_from_what_does_not(self, client: TestClient) -> None:
        def facts(path: str) -> tuple[int, bytes, dict[str, str]]:
            answer = client.post(path)
            return answer.status_code, answer.content, {**answer.headers, "x-request-id": ""}

        assert facts(PATH) == facts("/ext/nope") == facts("/ext")

    @pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE"])
    def test_another_method_is_401_to_strangers_and_405_to_callers(
        self, client: TestClient, bearer: dict[str, str], method: str
    ) -> None:
        assert client.request(method, PATH).status_code == 401
        answer = client.request(method, PATH, headers=bearer)
        assert answer.status_code == 405
        assert answer.headers["allow"] == "GET, POST"
        if method != "HEAD":
            assert answer.json()["code"] == "method_not_allowed"

    @pytest.mark.parametrize("path", ["/extra", "/external/x", "/ex", "/", "/x/ext/merchant/skus", "/EXT/x", "/ext;x"])
    def test_paths_that_only_look_private_are_not(self, client: TestClient, path: str) -> None:
        answer = client.get(path)
        assert answer.status_code == 404
        assert "www-authenticate" not in answer.headers
        assert not is_private(path)


class TestEveryRoute:
    PUBLIC = frozenset(
        {
            "/health/live", "/health/ready", "/openapi.json", "/docs", "/docs/start.js", "/docs/swagger-ui.css",
            "/docs/swagger-ui-bundle.js", "/hand-over/{token}", "/hand-over/{rest:path}", "/hand-over.css",
        }
    )  # fmt: skip

    def test_a_route_is_private_or_in_the_list_of_public_ones(self, application: Application) -> None:
        paths = {context.path for context in iter_route_contexts(application.api.routes)}
        assert {path for path in paths if not is_private(path or "")} == self.PUBLIC
        assert PATH in paths

    def test_a_private_route_refuses_even_where_the_gate_is_missing(self, application: Application) -> None:
        async def without_gate(scope: Any, receive: Any, send: Any) -> None:
            scope[SCOPE_KEY] = RequestContext(scope["headers"])
            await application.api(scope, receive, send)

        client = TestClient(without_gate)
        private = [
            (method, context.path)
            for context in iter_route_contexts(application.api.routes)
            for method in context.methods or ()
            if context.path is not None and is_private(context.path)
        ]
        assert ("GET", PATH) in private
        for method, path in private:
            answer = client.request(method, path, headers={"Authorization": "Bearer x"})
            assert_challenge(answer, 401, "missing_token")

    def test_a_public_route_that_asks_for_the_caller_refuses_everybody(
        self, application: Application, client: TestClient, bearer: dict[str, str]
    ) -> None:
        async def whoami(caller: Annotated[Caller, Depends(require("catalog:read"))]) -> str:
            return caller.client_id

        application.api.add_api_route("/whoami", whoami)
        assert_challenge(client.get("/whoami", headers=bearer), 401, "missing_token")

    def test_a_private_route_knows_its_caller(
        self, application: Application, client: TestClient, bearer: dict[str, str], credential: IssuedCredential
    ) -> None:
        async def whoami(caller: Annotated[Caller, Depends(require("catalog:read"))]) -> list[str]:
            return [caller.client_id, caller.merchant_id]

        application.api.add_api_route("/ext/whoami", whoami)
        assert client.get("/ext/whoami", headers=bearer).json() == [credential.client.id, "ACME"]

    def test_a_websocket_finds_nothing(self, client: TestClient, bearer: dict[str, str]) -> None:
        for path in (PATH, "/token", "/ext/nope"):
            with pytest.raises(WebSocketDisconnect), client.websocket_connect(path, headers=bearer):
                pass


class TestForms:
    @pytest.mark.parametrize("values", [(), ("Bearer",), ("Bearer junk",)])
    def test_a_refusal_is_a_problem_where_that_is_accepted(self, client: TestClient, values: tuple[str, ...]) -> None:
        plain = get(client, *values)
        headers = [("Authorization", value) for value in values] + [("Accept", "application/problem+json")]
        problem = client.get(PATH, headers=headers)
        assert problem.headers["content-type"] == "application/problem+json"
        assert problem.headers["www-authenticate"] == plain.headers["www-authenticate"]
        assert problem.json() == {
            "type": "about:blank",
            "title": {400: "Bad Request", 401: "Unauthorized"}[plain.status_code],
            "status": plain.status_code,
            "detail": plain.json()["message"],
            **plain.json(),
        }

    def test_stale_knowledge_is_503_with_a_time_to_wait_and_no_challenge(
        self, settings: Settings, sign: Sign, monotonic_clock: Any
    ) -> None:
        application = Application(settings, monotonic=monotonic_clock)
        client = TestClient(application)
        token = sign()
        application.auth.refresh()
        assert get(client, f"Bearer {token}").status_code == 200
        monotonic_clock.now += 5.1
        for value in (f"Bearer {token}", "Bearer junk"):
            answer = get(client, value)
            assert answer.status_code == 503
            assert answer.json()["code"] == "temporarily_unavailable"
            assert answer.headers["retry-after"] == "1"
            assert "www-authenticate" not in answer.headers
        application.auth.refresh()
        assert get(client, f"Bearer {token}").status_code == 200
        application.database.close()

    def test_a_token_expires_over_http_with_its_second(
        self, settings: Settings, credential: IssuedCredential, wall_clock: Any
    ) -> None:
        application = Application(settings.model_copy(update={"token_lifetime_seconds": 60}), clock=wall_clock)
        client = TestClient(application)
        application.auth.refresh()
        wall_clock.now = 2_000_000_000.0
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        token = client.post("/token", json=body).json()["token"]
        wall_clock.now += 59.9
        assert get(client, f"Bearer {token}").status_code == 200
        wall_clock.now += 0.1
        assert "expired" in assert_invalid(get(client, f"Bearer {token}"))
        application.database.close()

    def test_the_answer_to_a_caller_shows_nothing_of_the_token(
        self, client: TestClient, bearer: dict[str, str]
    ) -> None:
        answer = client.get(PATH, headers=bearer)
        assert "eyJ" not in answer.text + json.dumps(dict(answer.headers))
