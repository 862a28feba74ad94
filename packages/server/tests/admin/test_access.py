"""Every route of the administration, called by everybody: who gets in is said here once, and a new route fails."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.routing import iter_route_contexts
from starlette.testclient import TestClient

from ecross.verifier import InvalidTokenError, TokenVerifier
from ecross_server.admin import tokens
from ecross_server.admin.endpoints.access import CLAIMS_KEY, is_administration
from ecross_server.admin.tokens import HEADER, TYPE, AdminTokens
from ecross_server.app.administration import Administration, make_admin_api
from ecross_server.auth.tokens import exported_keys, live_secrets, rotate_signing_keys
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.logs import configure_logs
from ecross_server.merchants.service import rotate_peppers
from ecross_server.operators import service
from ecross_server.operators.rules import Operator, Role, Status
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from ecross_server.audit.service import Actor
    from packages.server.tests.admin.conftest import AdminClock, Desk

VIEWER, REPRESENTATIVE, OWNER = Role

ROUTES: dict[tuple[str, str], Role] = {
    ("GET", "/admin/me"): VIEWER,
    ("GET", "/admin/health"): VIEWER,
    ("GET", "/admin/merchants"): VIEWER,
    ("POST", "/admin/merchants"): REPRESENTATIVE,
    ("GET", "/admin/merchants/{merchantId}"): VIEWER,
    ("POST", "/admin/merchants/{merchantId}/disable"): REPRESENTATIVE,
    ("POST", "/admin/merchants/{merchantId}/enable"): REPRESENTATIVE,
    ("GET", "/admin/merchants/{merchantId}/credentials"): VIEWER,
    ("POST", "/admin/merchants/{merchantId}/credentials"): REPRESENTATIVE,
    ("GET", "/admin/merchants/{merchantId}/hand-overs"): VIEWER,
    ("GET", "/admin/credentials/{clientId}"): VIEWER,
    ("GET", "/admin/credentials/{clientId}/meter"): VIEWER,
    ("POST", "/admin/credentials/{clientId}/limit"): REPRESENTATIVE,
    ("GET", "/admin/credentials/{clientId}/suggestion"): VIEWER,
    ("POST", "/admin/credentials/{clientId}/rotate"): REPRESENTATIVE,
    ("POST", "/admin/credentials/{clientId}/cancel-rotation"): REPRESENTATIVE,
    ("POST", "/admin/credentials/{clientId}/secrets/{secretId}/retire"): REPRESENTATIVE,
    ("POST", "/admin/credentials/{clientId}/revoke"): REPRESENTATIVE,
    ("POST", "/admin/credentials/{clientId}/leaked"): REPRESENTATIVE,
    ("POST", "/admin/secrets/check"): REPRESENTATIVE,
    ("GET", "/admin/hand-overs/{handOverId}"): VIEWER,
    ("POST", "/admin/hand-overs/{handOverId}/cancel"): REPRESENTATIVE,
    ("GET", "/admin/approvals"): VIEWER,
    ("POST", "/admin/approvals"): REPRESENTATIVE,
    ("GET", "/admin/approvals/{approvalId}"): VIEWER,
    ("POST", "/admin/approvals/{approvalId}/grant"): REPRESENTATIVE,
    ("POST", "/admin/approvals/{approvalId}/refuse"): REPRESENTATIVE,
    ("GET", "/admin/audit"): VIEWER,
    ("GET", "/admin/audit/verify"): VIEWER,
    ("GET", "/admin/keys"): VIEWER,
    ("POST", "/admin/keys/rotate"): OWNER,
    ("GET", "/admin/operators"): OWNER,
    ("POST", "/admin/operators"): OWNER,
    ("GET", "/admin/operators/{operatorId}"): OWNER,
    ("POST", "/admin/operators/{operatorId}/reinvite"): OWNER,
    ("POST", "/admin/operators/{operatorId}/role"): OWNER,
    ("POST", "/admin/operators/{operatorId}/disable"): OWNER,
    ("POST", "/admin/operators/{operatorId}/enable"): OWNER,
    ("GET", "/admin/operators/{operatorId}/sessions"): OWNER,
    ("POST", "/admin/operators/{operatorId}/sign-out"): OWNER,
    ("GET", "/admin/operators/{operatorId}/passkeys"): OWNER,
    ("POST", "/admin/operators/{operatorId}/passkeys/{passkeyId}/remove"): OWNER,
}
OPEN = {
    ("POST", "/admin/token"), ("GET", "/admin/openapi.json"), ("GET", "/admin/docs"), ("GET", "/admin/docs/start.js"),
    ("GET", "/admin/docs/swagger-ui.css"), ("GET", "/admin/docs/swagger-ui-bundle.js"),
}  # fmt: skip


@pytest.fixture
def backend() -> str:
    """Who gets in does not hang on the database."""
    return "sqlite"


def test_who_may_call_a_route_is_said_for_every_route() -> None:
    api = make_admin_api()
    served = {
        (method, context.path)
        for context in iter_route_contexts(api.routes)
        for method in context.methods or ()
        if method != "HEAD" and is_administration(context.path or "")
    }
    # Those of the console stand in a table of its own tests.
    assert {route for route in served if not is_page(str(route[1]))} == set(ROUTES) | OPEN


def is_page(path: str) -> bool:
    """Whether a route is one of the console's."""
    return path == "/console" or path.startswith("/console/")


def test_the_document_says_the_same(stranger: Desk) -> None:
    paths = stranger.get("/admin/openapi.json")["paths"]
    said = {
        (method.upper(), path): operation.get("x-required-role")
        for path, operations in paths.items()
        for method, operation in operations.items()
    }
    assert said == {("POST", "/admin/token"): None, **ROUTES}


def call_all(desk: Desk) -> dict[tuple[str, str], tuple[int, str | None]]:
    """The status and code of a call of each route: of nothing that exists, with a body that is refused."""
    found = {}
    for method, path in ROUTES:
        options: dict[str, Any] = {"json": {"no": "such thing"}} if method == "POST" else {}
        answer = desk.call(method, re.sub(r"\{\w+\}", "NOBODY", path), **options)
        found[method, path] = (answer.status_code, answer.json().get("code"))
    return found


class TestRoles:
    @pytest.mark.parametrize("role", Role)
    def test_a_role_may_call_what_it_includes_and_nothing_else(self, request: Any, role: Role) -> None:
        desk = request.getfixturevalue(role.value)
        answers = call_all(desk)
        refused = {route for route, answer in answers.items() if answer == (403, "insufficient_role")}
        assert refused == {route for route, needed in ROUTES.items() if not role.includes(needed)}
        others = {status for route, (status, _) in answers.items() if route not in refused}
        assert others <= {200, 400, 404}

    def test_strangers_get_nowhere(self, stranger: Desk) -> None:
        assert set(call_all(stranger).values()) == {(401, "missing_admin_token")}

    def test_a_merchants_token_opens_nothing(
        self, administration: Administration, token: str, make_desk: Callable[..., Desk]
    ) -> None:
        assert set(call_all(make_desk(administration, token)).values()) == {(401, "invalid_admin_token")}

    @pytest.mark.parametrize("end", ["disable", "role", "sign_out", "restore"])
    def test_a_token_dies_with_what_it_stands_for(
        self, representative: Desk, database: Database, operator: Actor, end: str
    ) -> None:
        now = utc_now()
        with database.write() as session:
            if end == "disable":
                service.disable_operator(session, "representative", now=now, by=operator)
                service.enable_operator(session, "representative", now=now, by=operator)
            elif end == "role":
                service.change_role(session, "representative", "owner", now=now, by=operator)
            elif end == "sign_out":
                service.end_sessions(session, "representative", now=now, by=operator)
            else:
                service.end_all_access(session, now=now)
        assert set(call_all(representative).values()) == {(401, "invalid_admin_token")}

    def test_a_disabled_operator_is_out(self, viewer: Desk, database: Database, operator: Actor) -> None:
        with database.write() as session:
            service.disable_operator(session, "viewer", now=utc_now(), by=operator)
        answer = viewer.call("GET", "/admin/me")
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"] == 'Bearer realm="e-CROSS", error="invalid_token"'

    def test_a_token_lives_for_an_hour(self, viewer: Desk, clock: AdminClock) -> None:
        clock.ahead = timedelta(minutes=59)
        assert viewer.get("/admin/me")["operatorId"] == "viewer"
        clock.ahead = timedelta(minutes=60)
        assert set(call_all(viewer).values()) == {(401, "invalid_admin_token")}
        clock.ahead = -timedelta(minutes=1)
        assert viewer.call("GET", "/admin/me").status_code == 401

    def test_a_rotation_keeps_tokens_and_a_dropped_key_ends_them(self, viewer: Desk, settings: Settings) -> None:
        rotate_signing_keys(settings.signing_keys_file, now=utc_now())
        rotate_peppers(settings.peppers_file, now=utc_now())
        assert viewer.get("/admin/me")["role"] == "viewer"
        rotate_signing_keys(settings.signing_keys_file, now=utc_now(), drop_old=True)
        assert viewer.call("GET", "/admin/me").status_code == 401


@pytest.fixture
def make_desk(viewer: Desk) -> Callable[..., Desk]:
    """Lets somebody call with any token."""
    return type(viewer)


def forged(key: bytes, claims: dict[str, Any], *, typ: str | None = TYPE, alg: str = "HS256") -> str:
    header = {"alg": alg, **({} if typ is None else {"typ": typ})}
    parts = [json.dumps(each, separators=(",", ":")).encode() for each in (header, claims)]
    signing_input = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = base64.urlsafe_b64encode(hmac.digest(key, signing_input, hashlib.sha256)).rstrip(b"=")
    return f"{signing_input.decode()}.{signature.decode()}"


class TestForgeries:
    @pytest.fixture
    def claims(self, settings: Settings) -> dict[str, Any]:
        now = int(utc_now().timestamp())
        return {
            "iss": settings.issuer, "sub": "viewer", "aud": settings.admin_audience, "iat": now, "nbf": now,
            "exp": now + 60, "jti": "a", "role": "viewer", "epoch": 1,
        }  # fmt: skip

    @pytest.fixture
    def derived(self, administration: Administration) -> bytes:
        return administration.office.tokens._present().signing

    def test_what_is_forged_here_as_it_is_issued_gets_in(
        self, administration: Administration, make_desk: Callable[..., Desk], derived: bytes, claims: dict[str, Any]
    ) -> None:
        assert make_desk(administration, forged(derived, claims)).get("/admin/me")["operatorId"] == "viewer"

    @pytest.mark.parametrize(
        "change",
        [
            {"aud": "urn:ecross:api"}, {"aud": ["urn:ecross:admin"]}, {"iss": "urn:other"}, {"sub": "nobody"},
            {"sub": 1}, {"sub": None}, {"role": "root"}, {"role": None}, {"epoch": 2}, {"epoch": 0}, {"epoch": "1"},
            {"epoch": None},
            {"exp": 1}, {"exp": "9999999999"}, {"exp": None}, {"nbf": 9999999999}, {"nbf": None}, {"jti": None},
            {"iss": None}, {"aud": None}, {"exp": True},
        ],
    )  # fmt: skip
    def test_every_claim_counts(
        self,
        administration: Administration,
        make_desk: Callable[..., Desk],
        derived: bytes,
        claims: dict[str, Any],
        change: dict[str, Any],
    ) -> None:
        changed = {name: value for name, value in {**claims, **change}.items() if value is not None}
        assert make_desk(administration, forged(derived, changed)).call("GET", "/admin/me").status_code == 401

    @pytest.mark.parametrize("typ", ["JWT", "at+jwt", "ecross-admin+JWT", None])
    def test_another_type_is_no_administration_token(
        self, administration: Administration, derived: bytes, claims: dict[str, Any], make_desk: Any, typ: str | None
    ) -> None:
        answer = make_desk(administration, forged(derived, claims, typ=typ)).call("GET", "/admin/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_admin_token")

    def test_the_signing_key_itself_signs_none(
        self, administration: Administration, settings: Settings, claims: dict[str, Any], make_desk: Any
    ) -> None:
        jwks = json.loads(settings.signing_keys_file.read_text())
        (key,) = live_secrets(jwks, utc_now().timestamp())
        for typ in (TYPE, "JWT"):
            token = forged(key, claims, typ=typ)
            assert make_desk(administration, token).call("GET", "/admin/me").status_code == 401

    def test_who_has_the_exported_keys_alone_can_make_none(
        self, administration: Administration, settings: Settings, claims: dict[str, Any], make_desk: Any
    ) -> None:
        exported = json.loads(exported_keys(settings.signing_keys_file, now=utc_now()))
        (key,) = live_secrets(exported, utc_now().timestamp())
        for pepper in (bytes(32), key, b"\0"):
            token = forged(tokens._derived(key, pepper), claims)
            assert make_desk(administration, token).call("GET", "/admin/me").status_code == 401

    @pytest.mark.parametrize("token", ["", "x", "a.b.c", HEADER.decode() + "..", "é" * 10, "x" * 9000])
    def test_what_is_no_token_is_none(self, administration: Administration, make_desk: Any, token: str) -> None:
        sent = {"Authorization": b"Bearer " + token.encode()}
        answer = make_desk(administration, None).call("GET", "/admin/me", headers=sent)
        assert answer.status_code in {400, 401}

    @pytest.mark.parametrize("payload", ["[]", '{"sub":"a","sub":"b"}', "{", '"x"'])
    def test_claims_are_read_strictly(
        self, administration: Administration, derived: bytes, make_desk: Any, payload: str
    ) -> None:
        signing_input = HEADER + b"." + base64.urlsafe_b64encode(payload.encode()).rstrip(b"=")
        signature = base64.urlsafe_b64encode(hmac.digest(derived, signing_input, "sha256")).rstrip(b"=")
        token = f"{signing_input.decode()}.{signature.decode()}"
        assert make_desk(administration, token).call("GET", "/admin/me").status_code == 401

    def test_no_verifier_of_merchants_takes_one(
        self, administration: Administration, settings: Settings, viewer: Desk, client: TestClient
    ) -> None:
        del administration
        jwks = json.loads(settings.signing_keys_file.read_text())
        for audience in (settings.audience, settings.admin_audience):
            verifier = TokenVerifier(keys=jwks, issuer=settings.issuer, audience=audience)
            with pytest.raises(InvalidTokenError):
                verifier.verify(viewer.token or "")
        answer = client.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {viewer.token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_token")

    def test_keys_and_tokens_are_not_shown(self, administration: Administration, viewer: Desk) -> None:
        made: AdminTokens = administration.office.tokens
        assert repr(made._present()) == "AdminKeys(1 keys)"
        operator = Operator("jo", "Jo", Role.VIEWER, Status.ACTIVE, utc_now(), None, False, False, 1)  # noqa: FBT003 - of the form
        assert "eyJ" not in repr(made.issue(operator))
        assert viewer.token


class TestListener:
    def test_nothing_of_the_public_one_is_here(self, owner: Desk, stranger: Desk) -> None:
        for desk in (owner, stranger):
            assert desk.call("POST", "/token", json={}).status_code == 404
            assert desk.call("GET", "/ext/merchant/skus").status_code == 404
            assert desk.call("GET", "/openapi.json").status_code == 404

    @pytest.mark.parametrize("path", ["/admin/token", "/admin/me", "/admin/openapi.json", "/admin/docs", "/admin"])
    def test_nothing_of_it_is_on_the_public_one(self, client: TestClient, path: str) -> None:
        assert client.get(path).status_code == 404
        assert client.post(path, json={}).status_code == 404

    @pytest.mark.parametrize("path", ["/admin", "/admin/", "/admin/no/such/thing", "/admin/docs2", "/admin/tokens"])
    def test_strangers_cannot_tell_what_exists(self, viewer: Desk, stranger: Desk, path: str) -> None:
        assert stranger.call("GET", path).status_code == 401
        assert viewer.call("GET", path).status_code == 404

    @pytest.mark.parametrize("header", [("Bearer",), ("Bearer ",), ("Bearer a", "Bearer b"), ("Basic eDp5",)])
    def test_a_misshapen_header_is_refused(self, stranger: Desk, header: tuple[str, ...]) -> None:
        sent = [("Authorization", value) for value in header]
        assert stranger.call("GET", "/admin/me", headers=sent).status_code in {400, 401}

    def test_no_answer_is_stored(self, viewer: Desk, stranger: Desk) -> None:
        for desk, path in ((viewer, "/admin/me"), (stranger, "/admin/me"), (viewer, "/admin/none")):
            assert desk.call("GET", path).headers["cache-control"] == "no-store"
        assert stranger.call("GET", "/admin/docs/swagger-ui.css").headers["cache-control"] == "max-age=86400"

    def test_the_page_shows_the_document_and_nothing_from_elsewhere(self, stranger: Desk) -> None:
        answer = stranger.call("GET", "/admin/docs")
        assert "<title>e-CROSS administration</title>" in answer.text
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_a_bug_is_one_of_ours_and_has_the_requests_id(self, administration: Administration, owner: Desk) -> None:
        del administration.api.state.page_size
        configure_logs("json", "info", io.StringIO())
        answer = owner.call("GET", "/admin/merchants", headers={"X-Request-Id": "mine"})
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert answer.headers["x-request-id"] == "mine"

    def test_a_route_outside_of_the_gate_lets_nobody_in(self, administration: Administration) -> None:
        answer = TestClient(_WithContext(administration.api)).get("/admin/me")
        assert (answer.status_code, answer.json()["code"]) == (401, "missing_admin_token")

    def test_while_the_keys_cannot_be_read_those_known_serve(self, viewer: Desk, settings: Settings) -> None:
        settings.signing_keys_file.write_text("{")
        assert viewer.get("/admin/me")["operatorId"] == "viewer"


class _WithContext:
    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from ecross_server.web.context import SCOPE_KEY, RequestContext  # noqa: PLC0415

        if scope["type"] == "http":
            scope[SCOPE_KEY] = RequestContext(scope["headers"])
        assert CLAIMS_KEY not in scope
        await self._app(scope, receive, send)


def test_the_lifespan_closes_the_database(administration: Administration) -> None:
    with TestClient(administration) as started:
        assert started.get("/admin/docs").status_code == 200


def test_a_reload_trusts_other_proxies(administration: Administration, settings: Settings) -> None:
    scope = {"client": ("10.0.0.1", 1), "headers": [(b"x-forwarded-for", b"198.51.100.1")]}
    assert administration.addresses.of(scope) == "10.0.0.1"
    administration.reload(settings.model_copy(update={"trusted_proxies": ("10.0.0.0/8",)}))
    assert administration.addresses.of(scope) == "198.51.100.1"
