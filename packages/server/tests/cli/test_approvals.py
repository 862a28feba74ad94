"""`ecross-server approvals`, and the acts that need one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from ecross_server.settings import Settings

Cli = Callable[..., Any]
WHY = ("--reason", "Go-live on Monday.")


@pytest.fixture
def as_user(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets another user of the machine run the commands that follow."""
    return lambda number: monkeypatch.setattr(os, "getuid", lambda: number)


@pytest.fixture
def merchant(on_sqlite: Settings, cli: Cli) -> str:
    """The id of a merchant's only client; from now on new secrets need an approval."""
    del on_sqlite
    client_id: str = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result["clientId"]
    return client_id


@pytest.fixture(autouse=True)
def _needed(merchant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    del merchant
    monkeypatch.setenv("ECROSS_SERVER_ISSUING_APPROVAL", "true")


def test_what_one_asks_for_another_grants_and_the_first_does_it_once(cli: Cli, as_user: Callable[[int], None]) -> None:
    as_user(41_001)
    refused = cli("credentials", "issue", "ACME", "--json")
    assert (refused.code, refused.error["code"]) == (4, "approval_needed")
    assert "approvals ask credentials.issue ACME --reason" in refused.error["message"]
    asked = cli("approvals", "ask", "credentials.issue", "ACME", *WHY, "--json").result
    assert list(asked) == [
        "approvalId", "act", "merchantId", "clientId", "reason", "state", "askedAt", "askedBy", "expiresAt",
        "decidedAt", "decidedBy", "usedAt",
    ]  # fmt: skip
    assert (asked["state"], asked["askedBy"], asked["clientId"]) == ("asked", "operator:41001", None)
    approval_id = asked["approvalId"]
    own = cli("approvals", "grant", approval_id, "--json")
    assert (own.code, own.error["code"]) == (4, "own_approval")

    as_user(41_002)
    granted = cli("approvals", "grant", approval_id, "--json").result
    assert (granted["state"], granted["decidedBy"]) == ("granted", "operator:41002")
    assert cli("credentials", "issue", "ACME").code == 4

    as_user(41_001)
    assert cli("credentials", "issue", "ACME", "--json").result["clientSecret"].startswith("ecs_")
    assert cli("credentials", "issue", "ACME").code == 4
    assert cli("approvals", "show", approval_id, "--json").result["state"] == "used"
    assert cli("approvals", "list", "--open", "--json").result == {"approvals": []}


@pytest.mark.parametrize(
    ("act", "command"),
    [
        ("credentials.issue", ("credentials", "issue", "ACME", "--hand-over")),
        ("credentials.rotate", ("credentials", "rotate")),
        ("credentials.rotate", ("credentials", "rotate", "--hand-over")),
        ("credentials.leaked", ("credentials", "leaked")),
    ],
)
def test_every_way_to_a_secret_needs_one(
    cli: Cli, as_user: Callable[[int], None], merchant: str, act: str, command: tuple[str, ...]
) -> None:
    if act != "credentials.issue":
        command = (*command, merchant)
    as_user(41_001)
    refused = cli(*command, "--json")
    assert (refused.code, refused.error["code"]) == (4, "approval_needed")
    words = refused.error["message"].partition("ecross-server ")[2].partition(" --reason")[0].split()
    assert words[2] == act
    approval_id = cli(*words, *WHY, "--json").result["approvalId"]
    as_user(41_002)
    assert cli("approvals", "grant", approval_id).code == 0
    as_user(41_001)
    assert cli(*command).code == 0


def test_an_act_that_fails_leaves_the_approval(cli: Cli, as_user: Callable[[int], None], merchant: str) -> None:
    as_user(41_001)
    approval_id = cli("approvals", "ask", "credentials.issue", "ACME", *WHY, "--json").result["approvalId"]
    as_user(41_002)
    cli("approvals", "grant", approval_id)
    as_user(41_001)
    cli("merchants", "disable", "ACME")
    assert cli("credentials", "issue", "ACME", "--json").error["code"] == "merchant_disabled"
    assert cli("approvals", "show", approval_id, "--json").result["state"] == "granted"
    assert cli("credentials", "revoke", merchant).code == 0  # to end access needs nobody


def test_a_new_merchant_is_registered_without_credentials(cli: Cli) -> None:
    for options in ((), ("--hand-over",)):
        refused = cli("merchants", "register", "BETA", "--name", "Beta", *options, "--json")
        assert (refused.code, refused.error["code"]) == (4, "approval_needed")
        assert "--no-credentials" in refused.error["message"]
    assert cli("merchants", "register", "BETA", "--name", "Beta", "--no-credentials").code == 0


def test_people_are_told_what_comes_next(cli: Cli, as_user: Callable[[int], None]) -> None:
    assert "approvals ask" in cli("approvals", "list").out
    as_user(41_001)
    asked = cli("approvals", "ask", "credentials.issue", "ACME", *WHY).out
    approval_id = cli("approvals", "list", "--json").result["approvals"][0]["approvalId"]
    assert f"approvals grant {approval_id}" in asked
    as_user(41_002)
    assert "operator:41001 may do it once" in cli("approvals", "grant", approval_id).out
    shown = cli("approvals", "show", approval_id).out
    assert "Go-live on Monday." in shown
    assert "by operator:41002" in shown
    assert approval_id in cli("approvals", "list").out
    other = cli("approvals", "ask", "credentials.issue", "ACME", *WHY, "--json").result["approvalId"]
    assert "decided    -" in cli("approvals", "show", other).out
    assert cli("approvals", "refuse", other).out == "Refused: credentials.issue for ACME.\n"
