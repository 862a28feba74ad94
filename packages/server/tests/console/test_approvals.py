"""A second person on the console: what is offered, asked, granted and then done, once."""

from __future__ import annotations

import re

import pytest

from ecross_server.merchants.service import IssuedCredential
from ecross_server.operators.rules import Role
from ecross_server.settings import Settings
from packages.server.tests.console.conftest import Browser, SignIn

LINK = re.compile(r"https://api\.example\.com/hand-over/eho_")
EVIL = "<script>alert(1)</script>"


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"issuing_approval": True})


@pytest.fixture
def ann(sign_in: SignIn, credential: IssuedCredential) -> Browser:
    """A representative; ACME is registered."""
    del credential
    return sign_in(Role.REPRESENTATIVE, "ann")


@pytest.fixture
def bob(sign_in: SignIn) -> Browser:
    """Another one."""
    return sign_in(Role.REPRESENTATIVE, "bob")


def ask(browser: Browser, **fields: str) -> str:
    """The page of the new question."""
    asked = {"act": "credentials.issue", "merchant": "ACME", "reason": f"For the ERP {EVIL}", **fields}
    answer = browser.post("/console/approvals", **asked)
    assert answer.status_code == 303, answer.text
    path, _, done = answer.headers["location"].partition("?")
    assert done == "done=approval-asked"
    return path


def test_an_act_is_offered_once_somebody_else_has_granted_it(ann: Browser, bob: Browser) -> None:
    page = ann.get("/console/merchants/ACME/issue").text
    assert "Ask for approval" in page
    assert "Issue and make the link" not in page
    refused = ann.post("/console/merchants/ACME/issue")
    assert refused.status_code == 409
    assert "needs the approval of a second person" in refused.text

    path = ask(ann)
    waiting = ann.get(path).text
    assert "Take it back" in waiting
    assert "Grant it" not in waiting
    assert EVIL not in waiting
    assert path in ann.get("/console/merchants/ACME/issue").text
    assert ann.post(f"{path}/grant").status_code == 409

    assert path in bob.get("/console/approvals").text
    assert "Grant it" in bob.get(path).text
    assert bob.post(f"{path}/grant").headers["location"].endswith("done=approval-granted")
    assert "Issue and make the link" not in bob.get("/console/merchants/ACME/issue").text

    assert 'href="/console/merchants/ACME/issue">Do it now' in ann.get(path).text
    assert "Issue and make the link" in ann.get("/console/merchants/ACME/issue").text
    assert LINK.search(ann.post("/console/merchants/ACME/issue").text)
    assert ann.post("/console/merchants/ACME/issue").status_code == 409
    assert ">used<" in ann.get(path).text


def test_another_secret_of_a_client_needs_it_likewise(ann: Browser, bob: Browser, credential: IssuedCredential) -> None:
    client_path = f"/console/clients/{credential.client.id}"
    assert "Ask for approval" in ann.get(f"{client_path}/rotate").text
    assert ann.post(f"{client_path}/rotate").status_code == 409
    path = ask(ann, act="credentials.rotate", client=credential.client.id)
    bob.post(f"{path}/grant")
    assert f'href="{client_path}/rotate">Do it now' in ann.get(path).text
    assert LINK.search(ann.post(f"{client_path}/rotate").text)


def test_what_was_refused_is_not_offered(ann: Browser, bob: Browser) -> None:
    path = ask(ann)
    assert bob.post(f"{path}/refuse").headers["location"].endswith("done=approval-refused")
    shown = ann.get(path).text
    assert "Refused" in shown
    assert "Do it now" not in shown
    assert bob.post(f"{path}/grant").status_code == 409
    assert ann.post("/console/merchants/ACME/issue").status_code == 409


def test_a_merchant_is_registered_and_its_credentials_wait(ann: Browser) -> None:
    answer = ann.post("/console/register", id="BETA", name="Beta", hand_over_expires_in="3d")
    assert answer.headers["location"] == "/console/merchants/BETA/issue?done=merchant-registered"
    assert "No client" in ann.get("/console/merchants/BETA").text


def test_to_close_a_leak_waits_for_nobody(ann: Browser, credential: IssuedCredential) -> None:
    client_path = f"/console/clients/{credential.client.id}"
    assert "whom you ask next" in ann.get(f"{client_path}/leaked").text
    answer = ann.post(f"{client_path}/leaked", confirm=credential.client.id, hand_over_expires_in="3d")
    assert answer.headers["location"] == f"{client_path}/rotate?done=leak-closed"
    assert ">revoked<" in ann.get(client_path).text


def test_what_is_no_question_is_refused(ann: Browser) -> None:
    for fields, status in (
        ({"act": "merchants.disable"}, 400), ({"reason": ""}, 400), ({"merchant": "NOBODY"}, 404),
    ):  # fmt: skip
        asked = {"act": "credentials.issue", "merchant": "ACME", "reason": "Why", **fields}
        assert ann.post("/console/approvals", **asked).status_code == status
    assert ann.get("/console/approvals/apr_none").status_code == 404
    assert "Nothing was asked for" in ann.get("/console/approvals").text
