"""What clients may do, and from where, over HTTP: as by the commands. On both databases."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.audit import service as audit
from ecross_server.audit.rules import Actor, Draft
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.kit.database import Database
from ecross_server.merchants.service import IssuedCredential
from ecross_server.merchants.uses import CallKind, note_calls

if TYPE_CHECKING:
    from packages.server.tests.admin.conftest import Desk

LIMITS: dict[str, Any] = {"scope": "inventory:write catalog:read", "allowedNetworks": ["198.51.100.0/24", "10.0.0.1"]}
SHOWN = {"scope": "catalog:read inventory:write", "allowedNetworks": ["10.0.0.1/32", "198.51.100.0/24"]}
UNLIMITED = {"scope": "merchant", "allowedNetworks": None}

WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({"scope": "all"}, ["scope"]), ({"scope": ""}, ["scope"]), ({"scope": "merchant catalog:read"}, ["scope"]),
    ({"scope": ["catalog:read"]}, ["scope"]), ({"allowedNetworks": []}, ["allowedNetworks"]),
    ({"allowedNetworks": "198.51.100.0/24"}, ["allowedNetworks"]), ({"allowedNetworks": [1]}, ["allowedNetworks.0"]),
    (
        {"allowedNetworks": ["198.51.100.7/24", "10.0.0.1", "0.0.0.0/0"]},
        ["allowedNetworks.0", "allowedNetworks.2"],
    ),
    ({"allowedNetworks": [f"10.0.0.{place}" for place in range(65)]}, ["allowedNetworks"]),
    ({"allow": ["10.0.0.1"]}, ["allow"]),
]  # fmt: skip


def limits(out: dict[str, Any]) -> dict[str, Any]:
    return {name: out[name] for name in UNLIMITED}


def paths(out: dict[str, Any]) -> list[str]:
    return [each["path"] for each in out["errors"]]


@pytest.fixture
def client(credential: IssuedCredential) -> str:
    return f"/admin/credentials/{credential.client.id}"


@pytest.fixture
def see(database: Database, operator: Actor, credential: IssuedCredential) -> Callable[..., None]:
    """A token and a call of the client from an address."""

    def note(address: str, scope: str) -> None:
        client_id, now = credential.client.id, time.time()
        at = int(now * 1_000_000)
        draft = Draft(at, client_id, "token.issue", "ACME", client_id, "issued", address, "r", "t", "s", None)
        with database.write() as session:
            note_calls(session, {CallKind(client_id, scope, address): 1}, at=now)
            audit.append(session, [draft], operator.keys, now=at)

    return note


class TestNewClients:
    def test_they_are_limited_by_link_or_in_clear(self, representative: Desk, database: Database) -> None:
        representative.post("/admin/merchants", 201, merchantId="ACME", name="Acme", **LIMITS)
        representative.post("/admin/merchants", 201, merchantId="OTHER", name="Other", handOver=False, **LIMITS)
        representative.post("/admin/merchants/ACME/credentials", 201, label="by link", **LIMITS)
        clear = representative.post("/admin/merchants/ACME/credentials", 201, handOver=False, **LIMITS)
        assert limits(clear) == SHOWN
        representative.post("/admin/merchants/ACME/credentials", 201, scope="merchant", allowedNetworks=None)
        listed = representative.get("/admin/merchants/ACME/credentials")["credentials"]
        assert [limits(each) for each in listed].count(SHOWN) == 3
        assert [limits(each) for each in listed].count(UNLIMITED) == 1
        (other,) = representative.get("/admin/merchants/OTHER/credentials")["credentials"]
        assert limits(other) == SHOWN
        with database.read() as session:
            issued = next(iter(list_records(session, RecordFilter(merchant_id="OTHER", action="credentials.issue"))))
        assert "catalog:read inventory:write" in (issued.draft.details or "")

    @pytest.mark.parametrize(("body", "wrong"), WRONG, ids=str)
    def test_nobody_is_registered_or_issued_with_wrong_ones(
        self, representative: Desk, credential: IssuedCredential, body: dict[str, Any], wrong: list[str]
    ) -> None:
        for hand_over in (True, False):
            told = {**body, "handOver": hand_over}
            answer = representative.post("/admin/merchants", 400, merchantId="NEW", name="New", **told)
            assert paths(answer) == wrong
            assert paths(representative.post("/admin/merchants/ACME/credentials", 400, **told)) == wrong
        assert [each["merchantId"] for each in representative.get("/admin/merchants")["merchants"]] == ["ACME"]
        listed = representative.get("/admin/merchants/ACME/credentials")["credentials"]
        assert [each["clientId"] for each in listed] == [credential.client.id]

    def test_without_credentials_there_is_nothing_to_limit(self, representative: Desk) -> None:
        body = {"merchantId": "ACME", "name": "Acme", "credentials": False}
        answer = representative.post("/admin/merchants", 400, **body, **LIMITS)
        assert answer["errors"] == [
            {"path": name, "message": "needs credentials"} for name in ("scope", "allowedNetworks")
        ]
        empties: list[dict[str, Any]] = [{"allowedNetworks": []}, {"scope": ""}]
        for empty in empties:
            assert paths(representative.post("/admin/merchants", 400, **body, **empty)) == list(empty)
        representative.post("/admin/merchants", 201, **body)


class TestLimiting:
    def test_what_is_not_said_stays_and_null_means_from_anywhere(self, representative: Desk, client: str) -> None:
        out = representative.post(f"{client}/limit", **LIMITS)
        assert list(out) == [
            "clientId", "merchantId", "status", *UNLIMITED, "createdAt", "secrets", "trafficSince", "refused",
        ]  # fmt: skip
        assert (limits(out), limits(representative.get(client))) == (SHOWN, SHOWN)
        for body, changed in (
            ({"scope": "merchant:read"}, {"scope": "merchant:read"}),
            ({"allowedNetworks": ["2001:db8::/48"]}, {"allowedNetworks": ["2001:db8::/48"]}),
            ({"allowedNetworks": None}, {"allowedNetworks": None}),
            ({"scope": None, "allowedNetworks": ["10.0.0.1/32"]}, {"allowedNetworks": ["10.0.0.1/32"]}),
            (UNLIMITED, UNLIMITED),
        ):
            expected = {**limits(representative.get(client)), **changed}
            assert limits(representative.post(f"{client}/limit", **body)) == expected
            assert limits(representative.get(client)) == expected

    def test_it_stands_in_the_trail_under_the_operators_name(
        self, representative: Desk, client: str, database: Database
    ) -> None:
        representative.post(f"{client}/limit", **LIMITS)
        with database.read() as session:
            *_, record = list_records(session, RecordFilter())
        assert (record.draft.actor, record.draft.action, record.draft.outcome, record.draft.address) == (
            "operator:representative", "credentials.limit", "done", "203.0.113.7",
        )  # fmt: skip

    def test_a_dry_run_tells_what_of_the_traffic_it_would_refuse_and_changes_nothing(
        self, representative: Desk, client: str, see: Any, database: Database
    ) -> None:
        see("198.51.100.7", "catalog:read")
        see("203.0.113.9", "inventory:write")
        out = representative.post(f"{client}/limit", dryRun=True, scope="catalog:read", allowedNetworks=["203.0.113.9"])
        assert {(each["address"], each["scope"], each["tokens"], each["calls"]) for each in out["refused"]} == {
            ("198.51.100.7", None, 1, 0), ("198.51.100.7", "catalog:read", 0, 1),
            ("203.0.113.9", "inventory:write", 0, 1),
        }  # fmt: skip
        assert limits(representative.get(client)) == UNLIMITED
        with database.read() as session:
            assert list(list_records(session, RecordFilter(action="credentials.limit"))) == []

    @pytest.mark.parametrize("dry_run", [True, False])
    @pytest.mark.parametrize(("body", "wrong"), [*WRONG, ({}, ["scope"]), ({"scope": None}, ["scope"])], ids=str)
    def test_wrong_ones_are_refused_with_the_field_and_change_nothing(
        self, representative: Desk, client: str, body: dict[str, Any], wrong: list[str], dry_run: Any
    ) -> None:
        assert paths(representative.post(f"{client}/limit", 400, dryRun=dry_run, **body)) == wrong
        assert limits(representative.get(client)) == UNLIMITED

    def test_a_client_that_is_revoked_or_none_is_not_limited(self, representative: Desk, client: str) -> None:
        nobody = "/admin/credentials/acme-aaaaaaaaaaaaa"
        assert representative.post(f"{nobody}/limit", 404, **LIMITS)["code"] == "client_not_found"
        assert representative.call("GET", f"{nobody}/suggestion").status_code == 404
        representative.post(f"{client}/revoke")
        for dry_run in (True, False):
            assert representative.post(f"{client}/limit", 409, dryRun=dry_run, **LIMITS)["code"] == "client_revoked"


class TestSuggestion:
    def test_a_viewer_sees_what_would_be_enough_and_it_can_be_set_as_it_is(
        self, viewer: Desk, representative: Desk, client: str, see: Any
    ) -> None:
        assert viewer.get(f"{client}/suggestion")["suggestedNetworks"] is None
        see("198.51.100.7", "catalog:read")
        out = viewer.get(f"{client}/suggestion")
        assert (out["tokens"], out["calls"], out["suggestedScope"], out["suggestedNetworks"]) == (
            1, 1, "catalog:read", ["198.51.100.7/32"],
        )  # fmt: skip
        done = representative.post(
            f"{client}/limit", scope=out["suggestedScope"], allowedNetworks=out["suggestedNetworks"]
        )
        assert (limits(done), done["refused"]) == (
            {"scope": "catalog:read", "allowedNetworks": ["198.51.100.7/32"]}, [],
        )  # fmt: skip
