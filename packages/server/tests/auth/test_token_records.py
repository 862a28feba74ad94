from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.audit import service as audit
from ecross_server.audit.service import RecordFilter
from ecross_server.audit.tasks import AuditRecorder
from ecross_server.kit.database import Database
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import new_client_secret
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings


def ask(client: TestClient, client_id: str, secret: str, request_id: str) -> Any:
    body = {"clientId": client_id, "clientSecret": secret}
    return client.post("/token", json=body, headers={"X-Request-Id": request_id})


def records(database: Database) -> list[dict[str, Any]]:
    with database.read() as session:
        found = audit.list_records(session, RecordFilter(action="token.issue"))
        return [record.draft._asdict() for record in found]


def test_every_token_and_every_failure_is_recorded_by_the_time_the_server_has_stopped(
    settings: Settings, database: Database, credential: IssuedCredential
) -> None:
    application = Application(settings)
    wrong = new_client_secret()
    with TestClient(application, client=("198.51.100.7", 4711)) as client:
        token = ask(client, credential.client.id, credential.client_secret, "first").json()["token"]
        assert ask(client, credential.client.id, wrong, "second").status_code == 401
        assert ask(client, "a secret in the wrong place", wrong, "third").status_code == 401
        assert client.post("/token", content=b"{", headers={"X-Request-Id": "fourth"}).status_code == 415
    issued, refused, unknown, faulty = records(database)
    assert (issued["outcome"], issued["actor"], issued["merchant_id"]) == ("issued", credential.client.id, "ACME")
    assert (issued["client_id"], issued["secret_id"]) == (credential.client.id, credential.secret.id)
    assert (issued["address"], issued["request_id"]) == ("198.51.100.7", "first")
    assert len(issued["token_id"]) == 32
    assert (refused["outcome"], refused["client_id"], refused["request_id"]) == (
        "invalid_client", credential.client.id, "second",
    )  # fmt: skip
    assert (unknown["actor"], unknown["client_id"]) == ("anonymous", None)
    # The same wrong secret can be told from another one, and nobody can test a guess without the pepper.
    fingerprints = [json.loads(each["details"])["secretFingerprint"] for each in (refused, unknown)]
    assert fingerprints[0] == fingerprints[1]
    assert (faulty["outcome"], faulty["client_id"]) == ("unsupported_media_type", None)
    shown = json.dumps([issued, refused, unknown, faulty])
    for secret in (token, wrong, credential.client_secret, "wrong place"):
        assert secret not in shown
    with database.read() as session:
        (client_now,) = merchants.list_credentials(session, "ACME")
        assert client_now.secrets[0].last_used_address == "198.51.100.7"
        assert client_now.secrets[0].last_used_at is not None
    assert isinstance(application.recorder, AuditRecorder)
    assert application.recorder.written == 4


def test_records_come_under_a_new_pepper_with_everything_else(settings: Settings, credential: IssuedCredential) -> None:
    application = Application(settings)
    assert isinstance(application.recorder, AuditRecorder)
    before = application.recorder.keys
    made = merchants.rotate_peppers(settings.peppers_file, now=credential.secret.created_at)
    application.auth.refresh()
    assert application.recorder.keys.current == made.pepper_id != before.current
    assert set(application.recorder.keys.chain) == {made.pepper_id, before.current}
    application.database.close()


@pytest.mark.parametrize("backend", ["sqlite"])
def test_a_flood_of_refusals_leaves_few_records(
    settings: Settings, database: Database, credential: IssuedCredential
) -> None:
    with TestClient(Application(settings), client=("198.51.100.7", 4711)) as client:
        for _ in range(200):
            ask(client, credential.client.id, new_client_secret(), "flood")
    found = records(database)
    assert {each["outcome"] for each in found} == {"invalid_client", "rate_limited"}
    assert len(found) <= 8
    counts = [json.loads(each["details"] or "{}").get("count", 1) for each in found]
    assert sum(counts) == 200
