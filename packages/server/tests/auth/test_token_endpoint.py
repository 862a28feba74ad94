from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rotation import rotate_credential
from ecross_server.merchants.rules import Peppers, new_client_secret
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))

Register = Callable[..., IssuedCredential]

LIMIT = 64 * 1024
REFUSED = b'{"message":"Incorrect username or password."}'

arbitrary = hypothesis_settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def backend() -> str:
    """SQLite alone: the endpoint never asks the database."""
    return "sqlite"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Limits that these tests do not reach."""
    many = "1000000/minute"
    changes = {"token_volume_limit": many, "token_failure_limit": many, "token_address_limit": many}
    return settings.model_copy(update=changes)


def body_of(credential: IssuedCredential, **changes: Any) -> dict[str, Any]:
    return {"clientId": credential.client.id, "clientSecret": credential.client_secret} | changes


def post(client: TestClient, content: bytes | str, content_type: str = "application/json") -> httpx2.Response:
    return client.post("/token", content=content, headers={"Content-Type": content_type})


def claims_of(token: str) -> dict[str, Any]:
    encoded = token.split(".")[1]
    claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=="))
    return claims


def assert_refusal(answer: httpx2.Response, status: int) -> str:
    """A refusal of the endpoint's: one key, JSON, not to be stored, with the request's id."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert list(content) == ["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.headers["x-request-id"]
    message: str = content["message"]
    return message


class TestSuccess:
    def test_the_body_is_the_published_one(self, client: TestClient, credential: IssuedCredential) -> None:
        answer = client.post("/token", json=body_of(credential))
        assert answer.status_code == 200
        token = answer.json()["token"]
        assert answer.content == b'{"token":"%b","tokenType":"Bearer","expiresIn":28800}' % token.encode()
        assert token.startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")
        assert token.count(".") == 2
        assert list(answer.headers) == [
            "content-type", "cache-control", "content-length", "x-request-id", "ratelimit-policy", "ratelimit",
        ]  # fmt: skip
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert int(answer.headers["content-length"]) == len(answer.content)

    def test_the_claims_are_the_documented_ones(
        self, client: TestClient, credential: IssuedCredential, settings: Settings
    ) -> None:
        claims = claims_of(client.post("/token", json=body_of(credential)).json()["token"])
        assert list(claims.items()) == [
            ("iss", settings.issuer),
            ("sub", credential.client.id),
            ("aud", settings.audience),
            ("iat", claims["iat"]),
            ("nbf", claims["iat"]),
            ("exp", claims["iat"] + 28800),
            ("jti", claims["jti"]),
            ("client_id", credential.client.id),
            ("merchant_id", "ACME"),
            ("scope", "merchant"),
            ("epoch", 1),
        ]
        assert all(type(claims[name]) is int for name in ("iat", "nbf", "exp", "epoch"))

    @pytest.mark.parametrize("seconds", [60, 3600, 86400])
    def test_a_configured_life_is_the_one_that_is_said(
        self, settings: Settings, credential: IssuedCredential, seconds: int
    ) -> None:
        changed = settings.model_copy(update={"token_lifetime_seconds": seconds, "issuer": "urn:mine", "audience": "a"})
        with TestClient(Application(changed)) as client:
            answer = client.post("/token", json=body_of(credential)).json()
        claims = claims_of(answer["token"])
        assert answer["expiresIn"] == claims["exp"] - claims["iat"] == seconds
        assert (claims["iss"], claims["aud"]) == ("urn:mine", "a")

    def test_who_shows_a_secret_that_ends_learns_when(
        self, settings: Settings, credential: IssuedCredential, database: Database, peppers: Peppers
    ) -> None:
        ends_at = utc_now() + timedelta(hours=1)
        with database.write() as session:
            rotated = rotate_credential(
                session, credential.client.id, peppers=peppers, now=utc_now(), by=BY, retire_old_at=ends_at
            )
        with TestClient(Application(settings)) as client:
            old = client.post("/token", json=body_of(credential))
            new = client.post("/token", json=body_of(rotated))
            wrong = client.post("/token", json=body_of(rotated, clientSecret=new_client_secret()))
        told = old.headers.pop("ecross-credential-expires")
        assert re.fullmatch(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT", told)
        assert parsedate_to_datetime(told) == ends_at.replace(microsecond=0)
        assert list(old.headers) == list(new.headers)
        assert "ecross-credential-expires" not in wrong.headers
        assert 3590 <= old.json()["expiresIn"] <= 3600 < new.json()["expiresIn"]
        assert claims_of(old.json()["token"])["exp"] == int(ends_at.timestamp())

    def test_two_requests_get_two_tokens(self, client: TestClient, credential: IssuedCredential) -> None:
        tokens = {client.post("/token", json=body_of(credential)).json()["token"] for _ in range(20)}
        assert len({claims_of(token)["jti"] for token in tokens}) == 20

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/json",
            "application/json; charset=utf-8",
            "application/json;charset=UTF-8",
            "APPLICATION/JSON",
            "Application/Json ; charset=utf-8",
        ],
    )
    def test_json_may_be_announced_in_any_of_its_spellings(
        self, client: TestClient, credential: IssuedCredential, content_type: str
    ) -> None:
        assert post(client, json.dumps(body_of(credential)), content_type).status_code == 200

    def test_unknown_fields_order_space_and_escapes_do_not_matter(
        self, client: TestClient, credential: IssuedCredential
    ) -> None:
        escaped = "".join(f"\\u{ord(character):04x}" for character in credential.client_secret)
        content = (
            f'\r\n\t {{"grant": [1, {{"deep": null}}], "clientSecret": "{escaped}", "\\u0063lientId": '
            f'"{credential.client.id}", "client_id": "other", "ClientId": 7, "": "\\ud83d\\ude00"}} \n'
        )
        assert post(client, content).status_code == 200

    def test_a_body_of_exactly_the_limit_is_read(self, client: TestClient, credential: IssuedCredential) -> None:
        content = json.dumps(body_of(credential)).encode()
        assert post(client, content + b" " * (LIMIT - len(content))).status_code == 200

    @pytest.mark.parametrize("path", ["/token?x=1", "/%74oken", "/token?clientId=nobody&clientSecret=nothing"])
    def test_the_query_and_the_spelling_of_the_path_do_not_matter(
        self, client: TestClient, credential: IssuedCredential, path: str
    ) -> None:
        assert client.post(path, json=body_of(credential)).status_code == 200


class TestWrongCredentials:
    @pytest.fixture
    def causes(
        self, client: TestClient, application: Application, credential: IssuedCredential, register: Register,
        database: Database,
    ) -> dict[str, dict[str, Any]]:  # fmt: skip
        del client  # started before the changes, as in life
        other, disabled, revoked = register("OTHER"), register("DISABLED"), register("REVOKED")
        expired = register("EXPIRED", expires_in=timedelta(seconds=-1))
        with database.write() as session:
            merchants.disable_merchant(session, "DISABLED", by=BY)
            merchants.revoke_client(session, revoked.client.id, by=BY)
            digest = session.get_one(merchants.Secret, credential.secret.id).digest
        application.auth.refresh()
        return {
            "wrong secret": body_of(credential, clientSecret=new_client_secret()),
            "last character": body_of(credential, clientSecret=credential.client_secret[:-1] + "!"),
            "other case": body_of(credential, clientSecret=credential.client_secret.swapcase()),
            "with a space": body_of(credential, clientSecret=credential.client_secret + " "),
            "with a NUL": body_of(credential, clientSecret=credential.client_secret + "\0"),
            "not ours by its form": body_of(credential, clientSecret="hunter2"),
            "unknown client": body_of(credential, clientId="acme-aaaaaaaaaaaaa"),
            "client in upper case": body_of(credential, clientId=credential.client.id.upper()),
            "not a client id": body_of(credential, clientId="\N{SNOWMAN}\n\0"),
            "disabled merchant": body_of(disabled),
            "revoked client": body_of(revoked),
            "expired secret": body_of(expired),
            "another merchant's secret": body_of(credential, clientSecret=other.client_secret),
            "the digest in hex": body_of(credential, clientSecret=digest.hex()),
            "the digest in base64": body_of(credential, clientSecret=base64.b64encode(digest).decode()),
            "the digest in base64url": body_of(credential, clientSecret=base64.urlsafe_b64encode(digest).decode()),
            "the digest raw": body_of(credential, clientSecret=digest.decode("latin-1")),
            "swapped": {"clientId": credential.client_secret, "clientSecret": credential.client.id}
            | {"clientId": credential.client_secret},
        }

    def test_every_cause_gets_the_very_same_answer(self, client: TestClient, causes: dict[str, dict[str, Any]]) -> None:
        for cause, body in causes.items():
            answer = client.post("/token", json=body)
            assert answer.status_code == 401, cause
            assert answer.content == REFUSED, cause
            assert [
                (name, value) for name, value in answer.headers.items() if name not in {"x-request-id", "ratelimit"}
            ] == [
                ("content-type", "application/json"),
                ("cache-control", "no-store"),
                ("www-authenticate", 'Bearer realm="e-CROSS"'),
                ("content-length", str(len(REFUSED))),
                ("ratelimit-policy", '"address";q=1000000;w=60'),
            ], cause
            assert "x-request-id" in answer.headers, cause

    def test_a_client_that_is_enabled_again_gets_tokens_again(
        self, client: TestClient, application: Application, credential: IssuedCredential, database: Database
    ) -> None:
        for act, status in ((merchants.disable_merchant, 401), (merchants.enable_merchant, 200)):
            with database.write() as session:
                act(session, "ACME", by=BY)
            application.auth.refresh()
            assert client.post("/token", json=body_of(credential)).status_code == status

    @pytest.mark.parametrize("service", ["query", "basic", "form", "headers", "cookie"])
    def test_credentials_anywhere_but_in_the_body_are_not_looked_at(
        self, client: TestClient, credential: IssuedCredential, service: str
    ) -> None:
        body = body_of(credential)
        basic = base64.b64encode(f"{credential.client.id}:{credential.client_secret}".encode()).decode()
        arguments: dict[str, Any] = {
            "query": {"params": body, "json": {}},
            "basic": {"headers": {"Authorization": f"Basic {basic}"}, "json": {}},
            "form": {"data": body},
            "headers": {"headers": body, "json": {}},
            "cookie": {"headers": {"Cookie": "; ".join(f"{k}={v}" for k, v in body.items())}, "json": {}},
        }[service]
        answer = client.post("/token", **arguments)
        assert_refusal(answer, 415 if service == "form" else 400)


MISSING = object()


class TestFaultyBodies:
    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (MISSING, "is required."),
            (None, "is required."),
            ("", "must not be empty."),
            (7, "must be a string."),
            (7.5, "must be a string."),
            (True, "must be a string."),
            (False, "must be a string."),
            (0, "must be a string."),
            (["ecs_in_a_list"], "must be a string."),
            ({"value": "ecs_in_an_object"}, "must be a string."),
            ("x" * 1000, "must have at most"),
            ("\N{SNOWMAN}" * 257, "must have at most"),
        ],
    )
    def test_the_field_at_fault_is_named_and_its_value_never(
        self, client: TestClient, credential: IssuedCredential, value: Any, said: str
    ) -> None:
        for name in ("clientId", "clientSecret"):
            body = body_of(credential, **{name: value})
            if value is MISSING:
                del body[name]
            message = assert_refusal(client.post("/token", json=body), 400)
            assert message.startswith(f"{name} {said}")
            for secret in ("xxx", "\N{SNOWMAN}", "ecs_", credential.client.id, "7"):
                assert secret not in message

    @pytest.mark.parametrize(("name", "longest"), [("clientId", 128), ("clientSecret", 256)])
    def test_the_longest_value_is_read_and_one_more_character_is_not(
        self, client: TestClient, credential: IssuedCredential, name: str, longest: int
    ) -> None:
        assert_refusal(client.post("/token", json=body_of(credential, **{name: "x" * longest})), 401)
        message = assert_refusal(client.post("/token", json=body_of(credential, **{name: "x" * (longest + 1)})), 400)
        assert message == f"{name} must have at most {longest} characters."

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b" ",
            b"{",
            b"}",
            b"{}{}",
            b"clientId=a&clientSecret=b",
            b"{'clientId': 'a', 'clientSecret': 'b'}",
            b'{"clientId": "a", "clientSecret": "b",}',
            b'{"clientId": "a", "clientSecret": "b"} trailing',
            b'{"clientId": "a" "clientSecret": "b"}',
            b'{"clientId": "a\n", "clientSecret": "b"}',
            b'{"clientId": "a", "clientSecret": "b", "clientId": "a"}',
            b'{"clientId": "a", "clientSecret": "b", "\\u0063lientId": "a"}',
            b'{"clientId": "a", "clientSecret": "b", "x": {"y": 1, "y": 1}}',
            b'{"clientId": "a", "clientSecret": "b", "x": NaN}',
            b'{"clientId": "a", "clientSecret": "b", "x": [Infinity]}',
            b'{"clientId": "a", "clientSecret": "b", "x": -Infinity}',
            b'{"clientId": "a", "clientSecret": "b", "x": 1e999}',
            b'{"clientId": "a", "clientSecret": "b", "x": ' + b"9" * 5000 + b"}",
            b'{"clientId": "\\ud800", "clientSecret": "b"}',
            b'{"clientId": "a", "clientSecret": "\\udfff\\ud800"}',
            b'{"clientId": "a", "clientSecret": "b", "\\ud800": 1}',
            b'{"clientId": "a", "clientSecret": "\xff"}',
            b'{"clientId": "a", "clientSecret": "\xc0\x80"}',
            b'{"clientId": "a", "clientSecret": "\xed\xa0\x80"}',
            b'\xef\xbb\xbf{"clientId": "a", "clientSecret": "b"}',
            '{"clientId": "a", "clientSecret": "b"}'.encode("utf-16"),
            '{"clientId": "a", "clientSecret": "b"}'.encode("utf-16-le"),
            '{"clientId": "a", "clientSecret": "b"}'.encode("utf-32"),
            b"[" * 60_000,
            b'{"a":' * 12_000,
            b'{"clientId": "a", "clientSecret": "b", "x": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
            b"\0" * 100,
        ],
    )
    def test_what_is_not_strict_json_is_refused(self, client: TestClient, content: bytes) -> None:
        message = assert_refusal(post(client, content), 400)
        assert message.startswith("The body is not acceptable JSON: ")

    @pytest.mark.parametrize("content", [b"null", b"[]", b'"text"', b"7", b"true", b'[{"clientId":"a"}]'])
    def test_what_is_no_object_is_refused_with_the_right_form_shown(self, client: TestClient, content: bytes) -> None:
        message = assert_refusal(post(client, content), 400)
        assert message == 'The body must be a JSON object: {"clientId": "...", "clientSecret": "..."}.'

    def test_a_faulty_body_shows_nothing_of_itself(self, client: TestClient, credential: IssuedCredential) -> None:
        secret = credential.client_secret
        for content in (
            f'{{"clientSecret": "{secret}"',
            f"{secret}",
            f'{{"{secret}": 1, "{secret}": 2}}',
            f'"{secret}"',
        ):
            answer = post(client, content)
            assert_refusal(answer, 400)
            assert secret not in answer.text
            assert secret not in str(answer.headers)

    @arbitrary
    @given(st.binary(max_size=300))
    def test_no_bytes_at_all_make_it_fail_or_open(self, client: TestClient, content: bytes) -> None:
        assert_refusal(post(client, content), 400)

    @arbitrary
    @given(data=st.data())
    def test_no_json_object_at_all_makes_it_fail_or_open(
        self, client: TestClient, credential: IssuedCredential, data: st.DataObject
    ) -> None:
        text = st.text(st.characters(exclude_categories=[]), max_size=40)
        values = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), text, st.lists(text, max_size=3))
        fields = st.one_of(values, st.just(credential.client.id), st.just(credential.client.id.encode().hex()))
        body = data.draw(st.dictionaries(text, values, max_size=4))
        body |= data.draw(st.fixed_dictionaries({}, optional={"clientId": fields, "clientSecret": fields}))
        answer = post(client, json.dumps(body))
        assert answer.status_code in {400, 401}
        assert_refusal(answer, answer.status_code)


class TestHttp:
    @pytest.mark.parametrize(
        "content_type",
        [
            None,
            "",
            "text/plain",
            "text/json",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/jsonp",
            "application/json-patch+json",
            "application/problem+json",
            "application/json, text/plain",
            "; application/json",
            "*/*",
        ],
    )
    def test_any_other_content_type_is_415(
        self, client: TestClient, credential: IssuedCredential, content_type: str | None
    ) -> None:
        headers = {} if content_type is None else {"Content-Type": content_type}
        answer = client.post("/token", content=json.dumps(body_of(credential)).encode(), headers=headers)
        message = assert_refusal(answer, 415)
        assert message == "Send JSON with Content-Type: application/json."

    def test_of_two_content_types_the_first_counts(self, client: TestClient, credential: IssuedCredential) -> None:
        headers = [("Content-Type", "text/plain"), ("Content-Type", "application/json")]
        content = json.dumps(body_of(credential))
        assert_refusal(client.post("/token", content=content, headers=headers), 415)

    @pytest.mark.parametrize(
        "method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND", "post"]
    )
    def test_any_other_method_is_405(self, client: TestClient, credential: IssuedCredential, method: str) -> None:
        answer = client.build_request(method.upper(), "/token", json=body_of(credential))
        if method == "post":  # methods are case-sensitive (RFC 9110 section 9.1)
            answer.method = "post"
        sent = client.send(answer)
        assert sent.headers["allow"] == "POST"
        if method == "HEAD":
            assert (sent.status_code, sent.content) == (405, b"")
        else:
            assert assert_refusal(sent, 405) == "Use POST."

    @pytest.mark.parametrize("path", ["/token/", "/Token", "//token", "/token/x", "/tokens", "/token;x"])
    def test_paths_that_only_look_like_it_are_not_found(
        self, client: TestClient, credential: IssuedCredential, path: str
    ) -> None:
        answer = client.post(f"http://testserver{path}", json=body_of(credential))
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"

    def test_before_the_registry_was_read_it_is_503_and_never_401(
        self, application: Application, credential: IssuedCredential
    ) -> None:
        client = TestClient(application)  # not entered: nothing was started
        for body in (body_of(credential), body_of(credential, clientId="acme-aaaaaaaaaaaaa")):
            answer = client.post("/token", json=body)
            assert assert_refusal(answer, 503) == "Credentials cannot be checked at the moment. Try again shortly."
            assert answer.headers["retry-after"] == "1"
            assert "www-authenticate" not in answer.headers

    def test_when_the_registry_is_stale_it_is_503_until_it_is_read_again(
        self, settings: Settings, credential: IssuedCredential, monotonic_clock: Any
    ) -> None:
        application = Application(settings, monotonic=monotonic_clock)
        client = TestClient(application)
        application.auth.refresh()
        assert client.post("/token", json=body_of(credential)).status_code == 200
        monotonic_clock.now += 5.1
        assert_refusal(client.post("/token", json=body_of(credential)), 503)
        assert_refusal(client.post("/token", content=b"{", headers={"Content-Type": "application/json"}), 400)
        application.auth.refresh()
        assert client.post("/token", json=body_of(credential)).status_code == 200
        application.database.close()
