"""Every route of the console by every role, from this page and from others. A new route without its row here fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.console.desk import SignedInAs
from ecross_server.console.endpoints import router
from ecross_server.kit.database import Database
from ecross_server.merchants.service import IssuedCredential
from ecross_server.operators.rules import Role
from packages.server.tests.console.conftest import FORM_HEADERS, FROM_PAGE, Browser, SignIn

EVERYBODY = None
VIEWER, REPRESENTATIVE, OWNER = Role.VIEWER, Role.REPRESENTATIVE, Role.OWNER

MERCHANT = "/console/merchants/{merchant_id}"
CLIENT = "/console/clients/{client_id}"
OPERATOR = "/console/operators/{operator_id}"

ROLES: dict[tuple[str, str], Role | None] = {
    ("GET", "/console"): EVERYBODY,
    ("GET", "/console/static/{name}"): EVERYBODY,
    ("GET", "/console/sign-in"): EVERYBODY,
    ("POST", "/console/sign-in"): EVERYBODY,
    ("POST", "/console/sign-in/passkey"): EVERYBODY,
    ("POST", "/console/sign-out"): EVERYBODY,
    ("GET", "/console/invitations/{token}"): EVERYBODY,
    ("POST", "/console/invitations/{token}"): EVERYBODY,
    ("GET", "/console/sessions"): VIEWER,
    ("POST", "/console/sessions/end"): VIEWER,
    ("GET", "/console/passkeys"): VIEWER,
    ("POST", "/console/passkeys"): VIEWER,
    ("POST", "/console/passkeys/begin"): VIEWER,
    ("POST", "/console/passkeys/remove"): VIEWER,
    ("GET", "/console/merchants"): VIEWER,
    ("GET", MERCHANT): VIEWER,
    ("GET", CLIENT): VIEWER,
    ("GET", "/console/hand-overs"): VIEWER,
    ("GET", "/console/hand-overs/{hand_over_id}"): VIEWER,
    ("GET", "/console/approvals"): VIEWER,
    ("GET", "/console/approvals/{approval_id}"): VIEWER,
    ("POST", "/console/approvals"): REPRESENTATIVE,
    ("POST", "/console/approvals/{approval_id}/grant"): REPRESENTATIVE,
    ("POST", "/console/approvals/{approval_id}/refuse"): REPRESENTATIVE,
    ("GET", "/console/refusals"): VIEWER,
    ("GET", "/console/trail"): VIEWER,
    ("POST", "/console/trail/verify"): VIEWER,
    ("GET", "/console/installation"): VIEWER,
    ("GET", "/console/{rest:path}"): VIEWER,
    ("GET", "/console/register"): REPRESENTATIVE,
    ("POST", "/console/register"): REPRESENTATIVE,
    ("GET", f"{MERCHANT}/issue"): REPRESENTATIVE,
    ("POST", f"{MERCHANT}/issue"): REPRESENTATIVE,
    ("GET", f"{MERCHANT}/disable"): REPRESENTATIVE,
    ("POST", f"{MERCHANT}/disable"): REPRESENTATIVE,
    ("POST", f"{MERCHANT}/enable"): REPRESENTATIVE,
    ("GET", f"{CLIENT}/rotate"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/rotate"): REPRESENTATIVE,
    ("GET", f"{CLIENT}/limit"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/limit"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/limit/preview"): REPRESENTATIVE,
    ("GET", f"{CLIENT}/cancel-rotation"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/cancel-rotation"): REPRESENTATIVE,
    ("GET", f"{CLIENT}/secrets/{{secret_id}}/retire"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/secrets/{{secret_id}}/retire"): REPRESENTATIVE,
    ("GET", f"{CLIENT}/leaked"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/leaked"): REPRESENTATIVE,
    ("GET", f"{CLIENT}/revoke"): REPRESENTATIVE,
    ("POST", f"{CLIENT}/revoke"): REPRESENTATIVE,
    ("POST", "/console/hand-overs/{hand_over_id}/cancel"): REPRESENTATIVE,
    ("POST", "/console/installation/rotate-keys"): OWNER,
    ("GET", "/console/operators"): OWNER,
    ("POST", "/console/operators"): OWNER,
    ("GET", OPERATOR): OWNER,
    ("POST", f"{OPERATOR}/role"): OWNER,
    ("POST", f"{OPERATOR}/disable"): OWNER,
    ("POST", f"{OPERATOR}/enable"): OWNER,
    ("POST", f"{OPERATOR}/reinvite"): OWNER,
    ("POST", f"{OPERATOR}/sign-out"): OWNER,
    ("POST", f"{OPERATOR}/remove-passkey"): OWNER,
}
PRIVATE = sorted((method, path, role) for (method, path), role in ROLES.items() if role is not None)
FORMS = sorted(path for method, path in ROLES if method == "POST")


def routes() -> Iterator[tuple[str, str, Any]]:
    for context in iter_route_contexts(router.routes):
        for method in context.methods or ():
            yield method, context.path or "", context


def role_asked_for(dependant: Dependant) -> list[Role]:
    found = [dependant.call.role] if isinstance(dependant.call, SignedInAs) else []
    return [role for each in dependant.dependencies for role in role_asked_for(each)] + found


@pytest.fixture
def at(credential: IssuedCredential) -> Callable[[str], str]:
    """The path with what there is."""
    values = {
        "merchant_id": "ACME", "client_id": credential.client.id, "secret_id": credential.secret.id,
        "operator_id": "jane-owner", "token": "eoi_x", "hand_over_id": "hov_x", "rest:path": "nothing", "name": "x",
    }  # fmt: skip

    def fill(path: str) -> str:
        for name, value in values.items():
            path = path.replace(f"{{{name}}}", value)
        return path

    return fill


def acts(database: Database) -> int:
    with database.read() as session:
        return len(list(list_records(session, RecordFilter())))


def test_every_route_stands_in_the_table_and_asks_for_its_role_by_the_one_dependency() -> None:
    found = {(method, path): context for method, path, context in routes()}
    assert found.keys() == ROLES.keys()
    for key, role in ROLES.items():
        route = found[key].original_route if hasattr(found[key], "original_route") else found[key].route
        assert isinstance(route, APIRoute)
        assert role_asked_for(route.dependant) == ([] if role is None else [role]), key


def test_a_stranger_is_asked_to_sign_in(browser: Browser, at: Any, database: Database) -> None:
    for method, path, _ in PRIVATE:
        full = at(path)
        before = acts(database)
        answer = browser.client.request(method, full, headers={} if method == "GET" else FORM_HEADERS)
        assert answer.status_code == (303 if method == "GET" else 403), (method, path)
        if method == "GET":
            assert answer.headers["location"].startswith("/console/sign-in?next=")
        assert "ACME" not in answer.text
        assert acts(database) == before


@pytest.mark.parametrize("role", list(Role))
def test_each_role_gets_what_it_may_and_nothing_else(sign_in: SignIn, at: Any, database: Database, role: Role) -> None:
    browsers = {role: sign_in(role)}
    for method, path, asked in PRIVATE:
        if "end" in path.rpartition("/")[2] or path.endswith("sign-out"):
            continue  # would end the session that is tried
        before = acts(database)
        headers = {} if method == "GET" else FORM_HEADERS
        answer = browsers[role].client.request(method, at(path), headers=headers)
        is_refused = answer.status_code == 403
        assert is_refused != role.includes(asked), (method, path, answer.status_code)
        assert answer.status_code < 500
        if is_refused:
            assert f"This needs the role {asked}" in answer.text
            assert acts(database) == before


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Origin": "null"}, {"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site", "Origin": "null"},
        {"Sec-Fetch-Site": "same-site", "Origin": "https://api.example.com"}, {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Origin": "https://console.example.com.evil.example"}, {"Origin": "https://console.example.com:8443"},
    ],
    ids=str,
)  # fmt: skip
def test_no_form_from_elsewhere_does_anything(
    owner: Browser, at: Any, database: Database, headers: dict[str, str]
) -> None:
    paths = [at(path) for path in FORMS]
    before = acts(database)
    for path in paths:
        answer = owner.post(path, headers, confirm="ACME", id="EVIL", name="Evil")
        assert (answer.status_code, "nothing was done" in answer.text) == (403, True), path
        assert "set-cookie" not in answer.headers
    assert acts(database) == before


@pytest.fixture
def owner(sign_in: SignIn) -> Browser:
    return sign_in(Role.OWNER)


def test_a_form_of_this_page_is_heeded_with_either_header(owner: Browser, at: Any) -> None:
    path = at("/console/sessions/end")
    for headers in (
        FROM_PAGE, {"Sec-Fetch-Site": "same-origin"}, {"Origin": "https://console.example.com"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://console.example.com"},
    ):  # fmt: skip
        assert owner.post(path, headers).status_code == 303


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "HEAD", "OPTIONS"])
def test_no_other_method_does_anything(owner: Browser, at: Any, database: Database, method: str) -> None:
    before = acts(database)
    for path in FORMS:
        answer = owner.client.request(method, at(path), headers={**FROM_PAGE, "X-HTTP-Method-Override": "POST"})
        assert answer.status_code in {404, 405}
    assert acts(database) == before


@pytest.mark.parametrize("media_type", ["application/json", "text/plain", "multipart/form-data; boundary=x", ""])
def test_what_other_pages_can_send_without_asking_is_no_form(
    owner: Browser, at: Any, database: Database, media_type: str
) -> None:
    path = at("/console/register")
    before = acts(database)
    headers = {**FROM_PAGE, "Content-Type": media_type}
    answer = owner.client.post(path, content=b"id=EVIL&name=Evil", headers=headers)
    assert (answer.status_code, acts(database)) == (400, before)
