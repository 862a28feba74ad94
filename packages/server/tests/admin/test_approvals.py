"""A second person over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.merchants.service import IssuedCredential
from ecross_server.operators.rules import Role
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from packages.server.tests.admin.conftest import Desk, Sit

REASON = "Go-live on Monday."


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"issuing_approval": True, "public_url": "https://api.example.com"})


@pytest.fixture
def bob(sit: Sit) -> Desk:
    """A second representative."""
    return sit(Role.REPRESENTATIVE, "bob")


def routes(client_id: str) -> list[tuple[dict[str, Any], str]]:
    client = {"merchantId": "ACME", "clientId": client_id}
    return [
        ({"act": "credentials.issue", "merchantId": "ACME"}, "/admin/merchants/ACME/credentials"),
        ({"act": "credentials.rotate", **client}, f"/admin/credentials/{client_id}/rotate"),
        ({"act": "credentials.leaked", **client}, f"/admin/credentials/{client_id}/leaked"),
    ]


def test_whatever_gives_a_secret_is_done_once_it_was_granted(
    representative: Desk, bob: Desk, credential: IssuedCredential
) -> None:
    for subject, path in routes(credential.client.id):
        assert representative.post(path, 409)["code"] == "approval_needed"
        asked = representative.post("/admin/approvals", 201, reason=REASON, **subject)
        assert (asked["state"], asked["askedBy"]) == ("asked", "operator:representative")
        approval = f"/admin/approvals/{asked['approvalId']}"
        assert representative.post(f"{approval}/grant", 409)["code"] == "own_approval"
        assert bob.post(f"{approval}/grant")["decidedBy"] == "operator:bob"
        assert bob.post(path, 409)["code"] == "approval_needed"
        done = representative.call("POST", path, json={})
        assert done.status_code < 300, done.text
        assert representative.get(approval)["state"] == "used"
        assert representative.post(path, 409)["code"] in {"approval_needed", "too_many_secrets"}
    assert representative.get("/admin/approvals", open="true") == {"approvals": []}
    assert len(representative.get("/admin/approvals")["approvals"]) == 3


def test_what_was_refused_is_not_done(representative: Desk, bob: Desk, credential: IssuedCredential) -> None:
    subject, path = routes(credential.client.id)[0]
    asked = representative.post("/admin/approvals", 201, reason=REASON, **subject)
    assert bob.post(f"/admin/approvals/{asked['approvalId']}/refuse")["state"] == "refused"
    assert representative.post(path, 409)["code"] == "approval_needed"


def test_a_new_merchant_gets_no_credentials_at_once(representative: Desk) -> None:
    beta = {"merchantId": "BETA", "name": "Beta"}
    assert representative.post("/admin/merchants", 409, **beta)["code"] == "approval_needed"
    assert representative.post("/admin/merchants", 201, credentials=False, **beta)["merchantId"] == "BETA"


@pytest.mark.usefixtures("credential")
def test_what_is_no_question_names_the_field(representative: Desk) -> None:
    for body, path in (
        ({"act": "merchants.disable", "merchantId": "ACME", "reason": REASON}, "act"),
        ({"act": "credentials.issue", "merchantId": "ACME", "reason": ""}, "reason"),
    ):
        refused = representative.post("/admin/approvals", 400, **body)
        assert [fault["path"] for fault in refused["errors"]] == [path]
