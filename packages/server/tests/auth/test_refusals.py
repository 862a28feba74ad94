"""Why a caller got no token, as the trail has it."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ecross_server.audit import service as audit
from ecross_server.audit.rules import Actor, Draft
from ecross_server.auth import endpoints, refusals
from ecross_server.auth.errors import AddressNotAllowedError, InvalidClientError, RegistryStaleError
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import IssuedCredential

Refuse = Callable[..., None]


@pytest.fixture
def refuse(database: Database, operator: Actor) -> Refuse:
    """Records a refusal."""

    def record(client_id: str | None, outcome: str = "invalid_client", request_id: str = "req-1") -> None:
        draft = Draft(
            1_764_072_000_000_000, client_id or "anonymous", "token.issue", None, client_id, outcome, "203.0.113.7",
            request_id, None, None, None,
        )  # fmt: skip
        with database.write() as session:
            audit.append(session, [draft], operator.keys, now=draft.at)

    return record


@pytest.fixture
def find(database: Database) -> Callable[..., list[refusals.Refusal]]:
    def read(limit: int = 50, **chosen: Any) -> list[refusals.Refusal]:
        with database.read() as session:
            return refusals.find_refusals(session, limit=limit, **chosen)

    return read


def test_there_are_words_for_every_outcome_of_the_token_endpoint() -> None:
    source = Path(endpoints.__file__).read_text()
    outcomes = set(re.findall(r'_refusal\(\s*\d+, "(\w+)"', source))
    outcomes |= {InvalidClientError.code, AddressNotAllowedError.code, RegistryStaleError.code, "internal_error"}
    assert "rate_limited" in outcomes
    assert refusals.EXPLANATIONS.keys() == outcomes
    assert refusals.explain("of_tomorrow") == refusals.UNKNOWN


def test_a_refusal_is_found_by_its_request_and_by_its_client(
    find: Any, refuse: Refuse, credential: IssuedCredential
) -> None:
    refuse(credential.client.id)
    refuse("other-q7w4k2m5zt3xa", "rate_limited", "req-2")
    refuse(None, "invalid_request", "req-3")
    refuse(credential.client.id, "issued", "req-4")
    by_request, by_client = find(request_id="req-1"), find(client_id=credential.client.id)
    assert [each.record.draft.request_id for each in by_request] == ["req-1"]
    assert [each.record for each in by_client] == [each.record for each in by_request]
    assert by_client[0].explanation == refusals.EXPLANATIONS["invalid_client"]
    assert by_client[0].client.id == credential.client.id
    assert [secret.id for secret in by_client[0].client.secrets] == [credential.secret.id]
    assert by_client[0].client.merchant.status == "active"
    assert find(request_id="req-2")[0].client is None
    assert find(request_id="req-3")[0].explanation == refusals.EXPLANATIONS["invalid_request"]
    assert find(request_id="req-4") == []
    assert find() == []


def test_what_was_done_before_stands_beside_it_and_not_what_came_after(
    find: Any, refuse: Refuse, credential: IssuedCredential, database: Database, operator: Actor
) -> None:
    with database.write() as session:
        merchants.disable_merchant(session, "ACME", by=operator)
    refuse(credential.client.id)
    with database.write() as session:
        merchants.revoke_client(session, credential.client.id, by=operator)
    refuse(credential.client.id, request_id="req-2")
    newest, oldest = find(client_id=credential.client.id)
    acts = [[act.draft.action for act in each.acts_before] for each in (newest, oldest)]
    assert acts[1] == ["merchants.disable", "credentials.issue", "merchants.register"]
    assert acts[0] == ["credentials.revoke", *acts[1]]


def test_the_newest_come_first_and_no_more_than_were_asked_for(
    find: Any, refuse: Refuse, credential: IssuedCredential
) -> None:
    for number in range(3):
        refuse(credential.client.id, request_id=f"req-{number}")
    found = find(client_id=credential.client.id, limit=2)
    assert [each.record.draft.request_id for each in found] == ["req-2", "req-1"]
