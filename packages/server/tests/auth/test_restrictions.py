"""What a client is limited to, as the token path and the bearer check see it; tests/attacks tries it from outside."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit import service as audit
from ecross_server.audit.service import Actor, RecordFilter
from ecross_server.auth.errors import InvalidClientError
from ecross_server.auth.service import AuthService
from ecross_server.auth.tokens import Caller
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.networks import AllowedNetworks, parse_network
from ecross_server.merchants import restrictions
from ecross_server.merchants.rules import Restrictions
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

OFFICE, ELSEWHERE = "198.51.100.7", "203.0.113.9"
PATH = "/ext/merchant/skus"

Register = Callable[..., IssuedCredential]
MakeService = Callable[..., AuthService]


@pytest.fixture
def backend() -> str:
    """SQLite alone: neither check asks the database."""
    return "sqlite"


@pytest.fixture
def limited(register: Register) -> IssuedCredential:
    return register("LIMITED", restrictions=Restrictions("catalog:read", ["198.51.100.0/24"]))


@pytest.fixture
def knowing(make_service: MakeService, limited: IssuedCredential) -> AuthService:
    del limited
    made = make_service()
    made.refresh()
    return made


class TestService:
    def test_a_token_has_the_client_s_scope(self, knowing: AuthService, limited: IssuedCredential) -> None:
        issued = knowing.issue_access_token(limited.client.id, limited.client_secret, OFFICE)
        caller = knowing.authenticate(issued.token)
        assert caller.scopes == {"catalog:read"}
        assert (caller.may("catalog:read"), caller.may("catalog:write")) == (True, False)
        assert (caller.may_call_from(OFFICE), caller.may_call_from(ELSEWHERE)) == (True, False)

    @pytest.mark.parametrize("address", [ELSEWHERE, "unknown", ""])
    def test_from_elsewhere_a_right_secret_is_a_wrong_one(
        self, knowing: AuthService, limited: IssuedCredential, address: str
    ) -> None:
        with pytest.raises(InvalidClientError) as caught:
            knowing.check_credentials(limited.client.id, limited.client_secret, address)
        assert caught.value.message == InvalidClientError().message
        assert caught.value.shown == ("LIMITED", limited.secret.id)

    def test_who_names_no_address_is_nowhere(self, knowing: AuthService, limited: IssuedCredential) -> None:
        with pytest.raises(InvalidClientError):
            knowing.issue_access_token(limited.client.id, limited.client_secret)

    def test_a_remembered_token_follows_its_client(
        self, knowing: AuthService, limited: IssuedCredential, database: Database, operator: Actor
    ) -> None:
        issued = knowing.issue_access_token(limited.client.id, limited.client_secret, OFFICE)
        before = knowing.authenticate(issued.token)
        assert knowing.authenticate(issued.token) is before
        with database.write() as session:
            restrictions.restrict_client(
                session, limited.client.id, now=utc_now(), by=operator, networks=[ELSEWHERE], scope="catalog:read"
            )
        knowing.refresh()
        after = knowing.authenticate(issued.token)
        assert (after.may_call_from(OFFICE), after.may_call_from(ELSEWHERE)) == (False, True)

    def test_a_caller_without_a_list_may_call_from_anywhere(self) -> None:
        assert Caller("c", "ACME", frozenset()).may_call_from("unknown")
        networks = AllowedNetworks.of([parse_network("10.0.0.0/8")])
        assert not Caller("c", "ACME", frozenset({"merchant"}), networks).may_call_from("unknown")


def test_refusals_tell_callers_and_representatives_what_each_may_know(
    settings: Settings, database: Database, limited: IssuedCredential
) -> None:
    application = Application(settings)
    body = {"clientId": limited.client.id, "clientSecret": limited.client_secret}

    def at(address: str) -> TestClient:
        return TestClient(application, client=(address, 1), raise_server_exceptions=False)

    with at(OFFICE) as office, structlog.testing.capture_logs() as events:
        token = office.post("/token", json=body).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        refused = at(ELSEWHERE).post("/token", json=body)
        assert (refused.status_code, refused.json()) == (401, {"message": "Incorrect username or password."})
        answers = [
            office.get(PATH, headers=headers),
            office.post(PATH, headers=headers),
            at(ELSEWHERE).get(PATH, headers=headers),
        ]
    assert [answer.status_code for answer in answers] == [200, 403, 403]
    assert answers[1].json() == {
        "message": "The access token does not allow this; it needs the scope catalog:write.",
        "code": "insufficient_scope",
    }
    assert answers[2].json() == {
        "message": "These credentials may not be used from this address. Your e-CROSS representative can allow it.",
        "code": "address_not_allowed",
    }
    told = [(event["status"], event["outcome"], event.get("reason")) for event in events if event["event"] == "request"]
    assert told == [
        (200, "issued", None),
        (401, "address_not_allowed", None),
        (200, "ok", None),
        (403, "insufficient_scope", "insufficient_scope"),
        (403, "address_not_allowed", "address_not_allowed"),
    ]
    with database.read() as session:
        issued, other = audit.list_records(session, RecordFilter(action="token.issue"))
        suggestion = restrictions.suggest_restrictions(session, limited.client.id, now=utc_now())
    assert (issued.draft.outcome, other.draft.outcome) == ("issued", "address_not_allowed")
    assert (other.draft.merchant_id, other.draft.secret_id, other.draft.token_id) == (
        "LIMITED", limited.secret.id, None,
    )  # fmt: skip
    assert list(json.loads(other.draft.details or "{}")) == ["secretFingerprint"]
    # One token and one call: what was refused is not counted.
    assert (suggestion.tokens, suggestion.calls, suggestion.scope) == (1, 1, "catalog:read")
    assert suggestion.networks == (f"{OFFICE}/32",)


def test_a_wrong_secret_from_anywhere_is_answered_alike(
    settings: Settings, limited: IssuedCredential, register: Register
) -> None:
    open_to_all = register("OPEN")
    application = Application(settings)
    application.auth.refresh()
    answers: list[Any] = []
    for address in (OFFICE, ELSEWHERE):
        client = TestClient(application, client=(address, 1))
        answers += [
            client.post("/token", json={"clientId": client_id, "clientSecret": "x"})
            for client_id in (limited.client.id, open_to_all.client.id, "limited-aaaaaaaaaaaaa")
        ]
    assert {answer.content for answer in answers} == {b'{"message":"Incorrect username or password."}'}


def test_a_refused_secret_is_held_by_nothing_once_it_was_answered(
    settings: Settings, limited: IssuedCredential
) -> None:
    application = Application(settings)
    application.auth.refresh()
    body = {"clientId": limited.client.id, "clientSecret": limited.client_secret}
    client = TestClient(application, client=(ELSEWHERE, 1))
    client.post("/token", json=body)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            assert client.post("/token", json=body).status_code == 401
        kept = [each for each in gc.get_objects() if isinstance(each, InvalidClientError)]
    finally:
        gc.enable()
    assert kept == []
