from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from fastapi import Request
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.merchants.service import IssuedCredential

MADE = re.compile("[0-9a-f]{32}")


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def failing(application: Application, client: TestClient) -> TestClient:
    """A client of the application with a route that fails."""

    def fail(request: Request) -> None:
        raise ArithmeticError(f"the cause: {request.headers.get('x-secret')}")

    application.api.add_api_route("/fail", fail)
    return client


REQUESTS = [
    ("GET", "/health/live", {}, 200),
    ("GET", "/nowhere", {}, 404),
    ("POST", "/health/live", {}, 405),
    ("GET", "/fail", {}, 500),
    ("POST", "/health/live", {"Content-Length": "99999999"}, 413),
    ("GET", "/ext/merchant/skus", {}, 401),
    ("GET", "/ext/merchant/skus", {"Authorization": "Bearer"}, 400),
    ("GET", "/ext/merchant/skus", {"Authorization": "Bearer junk"}, 401),
    ("GET", "/token", {}, 405),
    ("POST", "/token", {}, 415),
    ("POST", "/token", {"Content-Type": "application/json"}, 400),
    ("POST", "/token", {"Content-Type": "application/json", "Content-Length": "99999999"}, 413),
    ("GET", "/docs", {}, 200),
    ("GET", "/docs/swagger-ui.css", {}, 200),
]


class TestRequestIds:
    @pytest.mark.parametrize(("method", "path", "headers", "status"), REQUESTS)
    def test_every_answer_carries_one(
        self, failing: TestClient, method: str, path: str, headers: dict[str, str], status: int
    ) -> None:
        answer = failing.request(method, path, headers=headers)
        assert answer.status_code == status
        (made,) = answer.headers.get_list("x-request-id")
        assert MADE.fullmatch(made)
        answer = failing.request(method, path, headers={**headers, "X-Request-Id": "mine-1"})
        assert answer.status_code == status
        assert answer.headers.get_list("x-request-id") == ["mine-1"]

    def test_503_carries_one_too(self, application: Application) -> None:
        client = TestClient(application)
        for path, headers in (
            ("/token", {"Content-Type": "application/json"}),
            ("/ext/x", {"Authorization": "Bearer x"}),
            ("/health/ready", {}),
        ):
            body = b'{"clientId": "a", "clientSecret": "b"}' if path == "/token" else b""
            answer = client.request(
                "POST" if body else "GET", path, content=body, headers={**headers, "X-Request-Id": "mine-1"}
            )
            assert answer.status_code == 503
            assert answer.headers.get_list("x-request-id") == ["mine-1"]

    @pytest.mark.parametrize("sent", ["a", "A.b_c-9", "0" * 128, "0f6b1f0e-8a5d-4d5c-9b1e-6a7c2d3e4f50", "..", "_"])
    def test_a_well_formed_one_is_taken(self, client: TestClient, sent: str) -> None:
        assert client.get("/health/live", headers={"X-Request-Id": sent}).headers["x-request-id"] == sent

    @pytest.mark.parametrize(
        "sent",
        ["", " ", "a b", "a,b", "a;b", "a/b", "a\tb", "0" * 129, "0" * 10_000, '"a"', "<b>", "a\x00", "é", "{}", "%"],
    )
    def test_an_ill_formed_or_too_long_one_is_replaced(self, client: TestClient, sent: str) -> None:
        for path in ("/health/live", "/token"):
            answer = client.get(path, headers=[(b"x-request-id", sent.encode("latin-1"))])
            (made,) = answer.headers.get_list("x-request-id")
            assert MADE.fullmatch(made)

    @pytest.mark.parametrize("sent", [("a", "b"), ("a", "a"), ("a", ""), ("", "b"), ("a b", "c")])
    def test_two_are_none(self, client: TestClient, sent: tuple[str, str]) -> None:
        answer = client.get("/health/live", headers=[("X-Request-Id", value) for value in sent])
        (made,) = answer.headers.get_list("x-request-id")
        assert MADE.fullmatch(made)

    def test_no_two_made_ones_are_the_same(self, client: TestClient) -> None:
        assert len({client.get("/health/live").headers["x-request-id"] for _ in range(50)}) == 50


class TestLog:
    @pytest.mark.parametrize(("method", "path", "headers", "status"), REQUESTS)
    def test_every_request_is_one_line(
        self, *, failing: TestClient, log: Any, method: str, path: str, headers: dict[str, str], status: int
    ) -> None:
        answer = failing.request(method, f"{path}?a=1", headers=headers)
        (line,) = [line for line in log.lines if line["event"] == "request"]
        assert (line["method"], line["path"], line["status"]) == (method, path, status)
        assert line["request_id"] == answer.headers["x-request-id"]
        assert line["duration_ms"] > 0
        assert line["client_id"] is None
        expected = "ok" if status == 200 else answer.json().get("code")
        if path == "/token":
            expected = {405: "method_not_allowed", 415: "unsupported_media_type", 413: "body_too_large"}.get(
                status, "invalid_request"
            )
        assert line["outcome"] == expected

    def test_a_token_request_names_its_client_and_outcome(
        self, client: TestClient, credential: IssuedCredential, log: Any
    ) -> None:
        body = {"clientId": credential.client.id, "clientSecret": credential.client_secret}
        client.post("/token", json=body)
        client.post("/token", json=body | {"clientSecret": "wrong"})
        client.post("/token", json=body | {"clientId": "not a client id"})
        client.post("/token", json=body | {"clientSecret": 7})
        assert [(line["client_id"], line["outcome"], line["status"], line["path"]) for line in log.lines] == [
            (credential.client.id, "issued", 200, "/token"),
            (credential.client.id, "invalid_client", 401, "/token"),
            (None, "invalid_client", 401, "/token"),
            (None, "invalid_request", 400, "/token"),
        ]

    def test_a_call_names_its_client_and_route(
        self, client: TestClient, bearer: dict[str, str], credential: IssuedCredential, log: Any
    ) -> None:
        log.forget()
        client.get("/ext/merchant/skus?nextPageToken=x", headers=bearer)
        client.get("/ext/merchant/skus", headers=bearer)
        client.put("/ext/merchant/skus", headers=bearer)
        client.get("/ext/nope", headers=bearer)
        client.get("/ext/merchant/skus", headers={"Authorization": "Bearer junk"})
        acme = credential.client.id
        facts = [(line["client_id"], line["outcome"], line["path"], line.get("reason")) for line in log.lines]
        assert facts == [
            (acme, "invalid_page_token", "/ext/merchant/skus", None),
            (acme, "ok", "/ext/merchant/skus", None),
            (acme, "method_not_allowed", "/ext/merchant/skus", None),
            (acme, "not_found", "/ext/nope", None),
            (None, "invalid_token", "/ext/merchant/skus", "malformed"),
        ]

    @pytest.mark.parametrize(
        ("path", "shown"),
        [
            ("/a%0Ab", "/a%0Ab"),
            ("/a%0d%0a{%22event%22:%22x%22}", "/a%0D%0A%7B%22event%22%3A%22x%22%7D"),
            ("/%1b[31mred", "/%1B%5B31mred"),
            ("/\N{SNOWMAN}", "/%E2%98%83"),
            ("/%FF%00", "/%EF%BF%BD%00"),
            ("/%3Fsecret=1", "/%3Fsecret%3D1"),
            ("/" + "x" * 5000, "/" + "x" * 199),
            ("/" + "%E2%98%83" * 500, "/" + "%E2%98%83" * 199),
        ],
    )
    @pytest.mark.parametrize("log", ["json", "text"], indirect=True)
    def test_a_path_that_strangers_choose_breaks_no_line(
        self, client: TestClient, log: Any, path: str, shown: str
    ) -> None:
        client.get(path)
        assert log.text.count("\n") == 1
        assert log.text.removesuffix("\n").isprintable()
        assert shown in log.text
        assert "x" * 200 not in log.text

    def test_a_path_that_is_no_text_is_logged_too(
        self, idle_application: Application, exchange: Callable[..., Any], log: Any
    ) -> None:
        # Not what the HTTP server gives, but nothing in ASGI forbids it; only the log line is looked at.
        exchange(idle_application, "/lone\N{REPLACEMENT CHARACTER}", method="GET")
        assert log.lines[0]["path"] == "/lone%EF%BF%BD"


def everywhere(client: TestClient, secret: str) -> None:
    """Send the secret in every place that a request has."""
    encoded = quote(secret, safe="")
    whole = "".join(f"%{character:02X}" for character in secret.encode())
    places: list[tuple[str, str, dict[str, Any]]] = [
        ("POST", "/token", {"json": {"clientId": secret, "clientSecret": secret}}),
        ("POST", "/token", {"json": {secret: secret}}),
        ("POST", "/token", {"content": secret, "headers": {"Content-Type": "application/json"}}),
        ("POST", "/token", {"content": b"", "headers": {"Content-Type": secret}}),
        ("POST", f"/token?clientSecret={encoded}", {"json": {"clientId": [secret]}}),
        ("POST", f"/token/{encoded}", {}),
        ("GET", f"/{encoded}", {}),
        ("GET", f"/{whole}", {}),
        ("GET", f"/x{whole}x", {}),
        ("GET", f"/ext/{whole}", {}),
        ("GET", f"/ext/{encoded}?access_token={encoded}", {}),
        ("GET", f"/docs?{encoded}#{encoded}", {}),
        ("GET", f"/fail?{encoded}", {"headers": {"X-Secret": secret}}),
        ("GET", f"/ext/merchant/skus?nextPageToken={encoded}", {"headers": {"Authorization": f"Bearer {secret}"}}),
        ("GET", "/ext/merchant/skus", {"headers": {"Authorization": f"Basic {secret}"}}),
        ("GET", "/ext/merchant/skus", {"headers": {"Authorization": secret}}),
        ("GET", "/ext/merchant/skus", {"headers": {"Authorization": f"Bearer {secret} x"}}),
        ("GET", "/health/live", {"headers": {"X-Request-Id": secret[:128]}}),
        (
            "GET",
            "/health/live",
            {"headers": {"Cookie": secret, "User-Agent": secret, "Referer": secret, "Accept": secret}},
        ),
        ("GET", "/health/live", {"headers": {"X-Forwarded-For": secret, "Host": secret[:60]}}),
    ]
    for method, path, arguments in places:
        assert client.request(method, path, **arguments).status_code
    assert len(places) == 20


class TestSecrecy:
    @pytest.mark.parametrize("log", ["json", "text"], indirect=True)
    @pytest.mark.parametrize("kind", ["client secret", "token"])
    def test_no_line_ever_holds_a_secret_wherever_it_was_sent(
        self, *, failing: TestClient, credential: IssuedCredential, token: str, log: Any, kind: str
    ) -> None:
        secret = credential.client_secret if kind == "client secret" else token
        log.forget()
        everywhere(failing, secret)
        # One line each; the failing route's has a traceback beside it.
        assert log.text.count("outcome") == 20
        parts = [secret[4:], secret[:30]] if kind == "client secret" else [*secret.split(".")[1:], secret[:60]]
        written = log.text + log.text.replace("%", "")
        for part in parts:
            assert part not in written
            assert quote(part, safe="") not in written
            assert "".join(f"%{character:02X}" for character in part.encode()) not in written
        assert "[redacted]" in log.text

    def test_no_query_string_is_ever_logged(self, failing: TestClient, bearer: dict[str, str], log: Any) -> None:
        log.forget()
        for path in ("/token", "/fail", "/nowhere", "/ext/merchant/skus", "/ext/nope", "/docs"):
            failing.get(f"{path}?marker=tell-tale", headers=bearer)
        assert log.text.count('"outcome"') == 6
        assert "tell-tale" not in log.text
        assert "marker" not in log.text
