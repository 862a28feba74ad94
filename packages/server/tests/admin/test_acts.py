"""What operators do over HTTP: the acts of the commands, under their own names. On both databases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import bindparam, text

from ecross_server.app.administration import Administration, make_admin_api
from ecross_server.app.documentation import admin_document
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.auth.tokens import KeySet
from ecross_server.cli.main import run
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database, UtcDateTime
from ecross_server.merchants.rules import new_client_secret
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from packages.server.tests.admin.conftest import Desk

COMMITTED = Path(__file__).parents[4] / "docs" / "admin-openapi.json"


def last_act(database: Database) -> tuple[str, str, str, str | None]:
    with database.read() as session:
        *_, record = list_records(session, RecordFilter())
    return record.draft.actor, record.draft.action, record.draft.outcome, record.draft.address


def test_the_committed_document_is_up_to_date() -> None:
    made = json.loads(json.dumps(admin_document(make_admin_api())))
    assert json.loads(COMMITTED.read_text()) == made, "docs/admin-openapi.json is out of date: run make openapi"
    for path, operations in made["paths"].items():
        for operation in operations.values():
            assert operation["summary"], path
            assert operation["description"], path
            assert {"401", "503"} <= set(operation["responses"]), path


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    for option, title in (("--admin", "e-CROSS administration"), ("--json", "e-CROSS Merchant Integration API")):
        assert run(["openapi", option]) == 0
        assert json.loads(capsys.readouterr().out)["info"]["title"] == title


class TestMerchants:
    def test_one_is_registered_with_a_link_unless_asked_otherwise(
        self, representative: Desk, database: Database
    ) -> None:
        linked = representative.post("/admin/merchants", 201, merchantId="ACME", name="Acme")
        assert linked["handOverUrl"].startswith("http://127.0.0.1:8000/hand-over/eho_")
        assert "clientSecret" not in linked
        assert last_act(database) == ("operator:representative", "hand-overs.create", "done", "203.0.113.7")
        clear = representative.post("/admin/merchants", 201, merchantId="OTHER", name="Other", handOver=False)
        assert clear["clientSecret"].startswith("ecs_")
        assert list(clear) == ["merchantId", "name", "status", "createdAt", "clientId", "clientSecret"]
        bare = representative.post("/admin/merchants", 201, merchantId="BARE", name="Bare", credentials=False)
        assert list(bare) == ["merchantId", "name", "status", "createdAt"]
        again = representative.post("/admin/merchants", 409, merchantId="ACME", name="Acme")
        assert again["code"] == "merchant_exists"

    def test_a_link_may_ask_for_a_code_and_has_its_life(self, representative: Desk) -> None:
        made = representative.post(
            "/admin/merchants", 201, merchantId="ACME", name="Acme", handOverCode=True, handOverExpiresIn="1h"
        )
        assert len(made["handOverCode"]) == 11
        for wrong in ({"handOverExpiresIn": "60d"}, {"handOverExpiresIn": "x"}, {"handover": False}, {"handOver": 0}):
            representative.post("/admin/merchants", 400, merchantId="WRONG", name="Wrong", **wrong)
        for name, value in (("handOverExpiresIn", "1h"), ("handOverCode", True)):
            told = {"merchantId": "WRONG", "name": "Wrong", "handOver": False, name: value}
            answer = representative.post("/admin/merchants", 400, **told)
            assert answer["errors"] == [{"path": name, "message": "needs handOver"}]
        representative.post("/admin/merchants", 400, merchantId="lower", name="Wrong")
        assert [each["merchantId"] for each in representative.get("/admin/merchants")["merchants"]] == ["ACME"]

    def test_pages_follow_each_other_and_a_search_finds(self, sit: Any, register: Any) -> None:
        from ecross_server.operators.rules import Role  # noqa: PLC0415

        viewer, other = sit(Role.VIEWER), sit(Role.OWNER)
        for name in ("A1", "A2", "A3", "A4", "B_1"):
            register(name)
        first = viewer.get("/admin/merchants")
        assert [each["merchantId"] for each in first["merchants"]] == ["A1", "A2", "A3"]
        token = first["nextPageToken"]
        second = viewer.get("/admin/merchants", nextPageToken=token)
        assert ([each["merchantId"] for each in second["merchants"]], second["nextPageToken"]) == (["A4", "B_1"], None)
        for desk, query in ((other, {}), (viewer, {"search": "a"}), (viewer, {"status": "active"})):
            answer = desk.call("GET", "/admin/merchants", params={"nextPageToken": token, **query})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")
        for words, found in (("b_", ["B_1"]), ("merchant b", ["B_1"]), ("%", []), ("_", ["B_1"]), ("zz", [])):
            assert [each["merchantId"] for each in viewer.get("/admin/merchants", search=words)["merchants"]] == found
        assert viewer.get("/admin/merchants", status="disabled")["merchants"] == []
        assert viewer.call("GET", "/admin/merchants", params={"status": "lost"}).status_code == 400

    def test_one_is_disabled_and_enabled(
        self, representative: Desk, database: Database, credential: IssuedCredential
    ) -> None:
        assert representative.post("/admin/merchants/ACME/disable")["status"] == "disabled"
        assert last_act(database) == ("operator:representative", "merchants.disable", "done", "203.0.113.7")
        shown = representative.get("/admin/merchants/ACME")
        assert (shown["status"], shown["clients"][0]["clientId"]) == ("disabled", credential.client.id)
        assert representative.post("/admin/merchants/ACME/credentials", 409)["code"] == "merchant_disabled"
        assert representative.post("/admin/merchants/ACME/enable")["status"] == "active"
        assert representative.post("/admin/merchants/NOBODY/enable", 404)["code"] == "merchant_not_found"


class TestCredentials:
    def test_a_client_is_issued_by_link_or_in_clear(self, representative: Desk, credential: IssuedCredential) -> None:
        linked = representative.post("/admin/merchants/ACME/credentials", 201, label="ERP", expiresIn="2d")
        assert (linked["label"], linked["secretId"]) == ("ERP", None)
        assert linked["handOverExpiresAt"] <= linked["expiresAt"]
        clear = representative.post(
            "/admin/merchants/ACME/credentials", 201, label="PIM", expiresIn="90d", handOver=False
        )
        assert (clear["label"], clear["clientSecret"][:4]) == ("PIM", "ecs_")
        wrong = representative.post("/admin/merchants/ACME/credentials", 400, expiresIn="x")
        assert [each["path"] for each in wrong["errors"]] == ["expiresIn"]
        listed = representative.get("/admin/merchants/ACME/credentials")["credentials"]
        assert {each["clientId"] for each in listed} == {credential.client.id, linked["clientId"], clear["clientId"]}
        assert "clientSecret" not in json.dumps(listed)
        shown = representative.get(f"/admin/credentials/{clear['clientId']}")
        assert shown["secrets"][0]["secretId"] == clear["secretId"]
        (receipt,) = representative.get("/admin/merchants/ACME/hand-overs")["handOvers"]
        assert (receipt["state"], receipt["createdBy"]) == ("open", "operator:representative")
        assert representative.get(f"/admin/hand-overs/{receipt['handOverId']}") == receipt
        cancelled = representative.post(f"/admin/hand-overs/{receipt['handOverId']}/cancel")
        assert (cancelled["state"], cancelled["cancelledBy"]) == ("cancelled", "operator:representative")

    def test_a_secret_is_rotated_metered_and_retired(self, representative: Desk, credential: IssuedCredential) -> None:
        client, old = f"/admin/credentials/{credential.client.id}", credential.secret.id
        made = representative.post(f"{client}/rotate", 201, handOver=False, overlap="1d", label="new")
        assert (made["oldSecretId"], made["clientSecret"][:4]) == (old, "ecs_")
        assert representative.post(f"{client}/rotate", 409)["code"] == "too_many_secrets"
        assert [each["secretId"] for each in representative.get(f"{client}/meter")["secrets"]] == [
            old,
            made["secretId"],
        ]
        plan = representative.post(f"{client}/secrets/{old}/retire", dryRun=True)
        assert plan["wouldBreak"] is False
        back = representative.post(f"{client}/cancel-rotation", force=True)
        assert [each["status"] for each in back["secrets"]] == ["active", "retired"]
        assert representative.post(f"{client}/cancel-rotation", 409)["code"] == "no_rotation"
        refused = representative.post(f"{client}/secrets/{old}/retire", 409)
        assert refused["code"] == "last_secret"
        ended = representative.post(f"{client}/secrets/{old}/retire", force=True)
        assert ended["secrets"][0]["status"] == "retired"
        later = representative.post(f"{client}/rotate", 201, handOver=False, retireOldAt="2999-01-01T00:00:00Z")
        assert later["oldSecretId"] is None
        assert representative.post(f"{client}/rotate", 201, label="by link")["handOverUrl"]

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"overlap": "1d"}, "overlap"),
            ({"retireOldAt": "2999-01-01T00:00:00Z"}, "retireOldAt"),
            ({"handOver": False, "overlap": "1d", "retireOldAt": "2999-01-01T00:00:00Z"}, "overlap"),
            ({"handOver": False, "overlap": "x"}, "overlap"),
            ({"handOver": False, "retireOldAt": "soon"}, "retireOldAt"),
        ],
    )
    def test_what_contradicts_itself_is_refused(
        self, representative: Desk, credential: IssuedCredential, body: dict[str, Any], path: str
    ) -> None:
        answer = representative.post(f"/admin/credentials/{credential.client.id}/rotate", 400, **body)
        assert [fault["path"] for fault in answer["errors"]] == [path]

    def test_a_client_is_revoked(self, representative: Desk, credential: IssuedCredential) -> None:
        assert representative.post(f"/admin/credentials/{credential.client.id}/revoke")["status"] == "revoked"
        assert representative.post("/admin/credentials/nobody/revoke", 404)["code"] == "client_not_found"

    def test_a_leak_is_found_and_answered(self, representative: Desk, credential: IssuedCredential) -> None:
        strange = new_client_secret()
        text = f"a\n  {credential.client_secret} \U0001f600 {strange}\n"
        found = representative.post("/admin/secrets/check", text=text)["findings"]
        assert found[0] == {
            "line": 2, "column": 3, "ours": True, "live": True, "clientId": credential.client.id,
            "secretId": credential.secret.id,
        }  # fmt: skip
        assert (found[1]["ours"], found[1]["live"], found[1]["clientId"], found[1]["secretId"]) == (
            False, False, None, None,
        )  # fmt: skip
        receipt = representative.post(
            f"/admin/credentials/{credential.client.id}/leaked", secretId=credential.secret.id, label="after the leak"
        )
        assert [each["secretId"] for each in receipt["ended"]] == [credential.secret.id]
        again = representative.post("/admin/secrets/check", text=text)
        assert again["findings"][0]["live"] is False
        assert credential.client_secret not in json.dumps(again)


class TestTrail:
    def test_pages_go_back_from_the_newest(self, viewer: Desk, owner: Desk, register: Any, database: Database) -> None:
        for name in ("A1", "A2"):
            register(name)
        with database.read() as session:
            seqs = [record.seq for record in list_records(session, RecordFilter())]
        seen: list[int] = []
        token = None
        while True:
            page = viewer.get("/admin/audit", **({} if token is None else {"nextPageToken": token}))
            seen = [record["seq"] for record in page["records"]] + seen
            if (token := page["nextPageToken"]) is None:
                break
            assert owner.call("GET", "/admin/audit", params={"nextPageToken": token}).status_code == 400
        assert seen == seqs

    def test_records_are_found_by_what_they_tell(self, owner: Desk, register: Any) -> None:
        register("A1")
        owner.call("POST", "/admin/merchants/A1/disable", headers={"X-Request-Id": "the-request"})
        (found,) = owner.get("/admin/audit", requestId="the-request")["records"]
        assert (found["action"], found["actor"], found["requestId"]) == (
            "merchants.disable", "operator:owner", "the-request",
        )  # fmt: skip
        assert [each["action"] for each in owner.get("/admin/audit", merchantId="A1")["records"]] == [
            "merchants.register", "credentials.issue", "merchants.disable",
        ]  # fmt: skip
        assert owner.get("/admin/audit", since="2999-01-01T00:00:00Z")["records"] == []
        assert len(owner.get("/admin/audit", since="2000-01-01T00:00:00Z", action="merchants.register")["records"]) == 1
        assert owner.call("GET", "/admin/audit", params={"since": "soon"}).json()["errors"][0]["path"] == "since"

    def test_the_whole_is_checked(self, viewer: Desk, register: Any) -> None:
        register("A1")
        verdict = viewer.get("/admin/audit/verify")
        assert (verdict["ok"], verdict["firstBad"], verdict["witness"]) == (True, None, False)


class TestKeys:
    def test_a_new_key_signs_and_both_records_are_there(self, owner: Desk, settings: Settings) -> None:
        (old,) = owner.get("/admin/keys")["keys"]
        made = owner.post("/admin/keys/rotate")
        assert [each["keyId"] for each in owner.get("/admin/keys")["keys"]] == [made["keyId"], old["keyId"]]
        assert len(KeySet.from_file(settings.signing_keys_file, issuer="any", audience="any")) == 2
        records = owner.get("/admin/audit", action="keys.rotate")["records"]
        assert [(each["outcome"], each["actor"]) for each in records] == [
            ("begun", "operator:owner"), ("done", "operator:owner"),
        ]  # fmt: skip

    def test_it_may_wait_and_a_leaked_one_is_dropped(self, owner: Desk) -> None:
        assert owner.post("/admin/keys/rotate", after="10m")["status"] == "waiting"
        for body, path in (({"after": "8d"}, "after"), ({"after": "1h", "dropOld": True}, "after")):
            assert owner.post("/admin/keys/rotate", 400, **body)["errors"][0]["path"] == path
        assert owner.post("/admin/keys/rotate", dropOld=True)["status"] == "active"
        assert owner.call("GET", "/admin/me").status_code == 401, "the caller's token ends with it"

    def test_a_failure_is_recorded_and_told(self, owner: Desk) -> None:
        owner.post("/admin/keys/rotate")
        owner.post("/admin/keys/rotate")
        assert owner.post("/admin/keys/rotate", 409)["code"] == "too_many_keys"


class TestPeople:
    def test_an_operator_is_invited_changed_and_ended(self, owner: Desk, database: Database) -> None:
        invited = owner.post("/admin/operators", 201, operatorId="john", name="John Doe", role="viewer")
        assert invited["invitationToken"].startswith("eoi_")
        assert last_act(database)[:2] == ("operator:owner", "operators.add")
        assert owner.post("/admin/operators", 409, operatorId="john", name="J", role="viewer")["code"] == (
            "operator_exists"
        )
        owner.post("/admin/operators", 400, operatorId="jo", name="J", role="root")
        assert owner.post("/admin/operators/john/reinvite")["invitationToken"] != invited["invitationToken"]
        assert owner.post("/admin/operators/john/role", role="representative")["role"] == "representative"
        assert owner.post("/admin/operators/john/disable")["status"] == "disabled"
        assert owner.post("/admin/operators/john/enable")["status"] == "invited"
        assert owner.get("/admin/operators/john")["name"] == "John Doe"
        assert [each["operatorId"] for each in owner.get("/admin/operators")["operators"]] == ["john", "owner"]
        assert owner.get("/admin/operators/john/sessions") == {"operatorId": "john", "sessions": []}
        assert owner.post("/admin/operators/john/sign-out") == {"operatorId": "john", "ended": []}
        assert owner.post("/admin/operators/john/sign-out", 404, sessionIds=["ses_x"])["code"] == "session_not_found"

    def test_passkeys_are_listed_and_removed(self, owner: Desk, database: Database) -> None:
        path = "/admin/operators/owner/passkeys"
        assert owner.get(path) == {"operatorId": "owner", "passkeys": []}
        with database.write() as session:
            for name in ("psk_1", "psk_2"):
                values = {"name": name, "digest": name.encode() * 4, "now": utc_now()}
                session.execute(
                    text(
                        "INSERT INTO operator_passkeys "
                        "VALUES (:name, 'owner', 'Laptop', :digest, :digest, 'pep_1', :digest, 0, :now, NULL)"
                    ).bindparams(bindparam("now", type_=UtcDateTime)),
                    values,
                )
        assert [each["passkeyId"] for each in owner.get(path)["passkeys"]] == ["psk_1", "psk_2"]
        assert [each["label"] for each in owner.post(f"{path}/psk_1/remove")["passkeys"]] == ["Laptop"]
        assert last_act(database)[:2] == ("operator:owner", "operators.remove_passkey")
        assert owner.post(f"{path}/psk_1/remove", 404)["code"] == "passkey_not_found"
        assert owner.call("GET", "/admin/operators/nobody/passkeys").json()["code"] == "operator_not_found"

    def test_the_last_owner_stays(self, owner: Desk) -> None:
        assert owner.post("/admin/operators/owner/disable", 409)["code"] == "last_owner"
        assert owner.post("/admin/operators/owner/role", 409, role="viewer")["code"] == "last_owner"


def test_without_an_address_that_a_link_could_have_none_is_made(
    settings: Settings, sit: Any, administration: Administration, representative: Desk
) -> None:
    del settings, sit
    object.__setattr__(administration.office, "public_url", "http://api.example.com")
    answer = representative.post("/admin/merchants", 409, merchantId="ACME", name="Acme")
    assert answer["code"] == "unusable_public_url"
    assert representative.get("/admin/merchants")["merchants"] == []
