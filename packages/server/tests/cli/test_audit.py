"""Reading and checking the audit trail by command."""

from __future__ import annotations

import json
import os
import pwd
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import text

from ecross_server.audit.tasks import AuditRecorder, TokenEvent
from ecross_server.cli.acting import audit_keys
from ecross_server.cli.demo import ensure_demo_merchant
from ecross_server.kit.database import Database
from ecross_server.settings import Settings, load_settings

Cli = Callable[..., Any]

KEYS = [
    "seq", "at", "actor", "action", "merchantId", "clientId", "outcome", "address", "requestId", "tokenId", "secretId",
    "secretFingerprint", "count", "details", "hash",
]  # fmt: skip


@pytest.fixture
def trail(cli: Cli, prepared: Settings, database: Database) -> dict[str, Any]:
    """ACME registered, one token issued to it, three failures; on each database."""
    assert cli("merchants", "register", "ACME", "--name", "Acme\u202e").code == 2  # nothing is recorded of it
    made: dict[str, Any] = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result
    recorder = AuditRecorder(database, keys=audit_keys(prepared.peppers_file))
    recorder.start()
    client_id = made["clientId"]
    recorder.record(TokenEvent(1e9, "issued", client_id, "ACME", "203.0.113.7", "r-1", "sec_1", "t-1", None))
    for _ in range(3):
        recorder.record(TokenEvent(1e9 + 60, "invalid_client", None, None, "::1", "r-2", None, None, b"digest"))
    recorder.stop()
    return made


def listed(cli: Cli, *arguments: str) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = cli("audit", "list", *arguments, "--json").result["records"]
    return records


def test_the_list_holds_acts_tokens_and_failures(cli: Cli, trail: dict[str, Any]) -> None:
    records = listed(cli)
    assert all(list(record) == KEYS for record in records)
    user = f"operator:{pwd.getpwuid(os.getuid()).pw_name}"
    client_id = trail["clientId"]
    assert [(out["actor"], out["action"], out["outcome"], out["count"]) for out in records] == [
        (user, "merchants.register", "done", 1), (user, "credentials.issue", "done", 1),
        (client_id, "token.issue", "issued", 1), ("anonymous", "token.issue", "invalid_client", 1),
        ("anonymous", "token.issue", "invalid_client", 2),
    ]  # fmt: skip
    assert [out["seq"] for out in records] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("arguments", "seqs"),
    [
        (["--merchant", "ACME"], [1, 2, 3]),
        (["--action", "token.issue"], [3, 4, 5]),
        (["--outcome", "invalid_client"], [4, 5]),
        (["--limit", "1"], [5]),
        (["--since", "2001-09-09T01:47:00Z"], [1, 2, 4, 5]),
        (["--client", "nobody"], []),
    ],
)
@pytest.mark.usefixtures("trail")
def test_the_list_and_the_export_are_filtered(cli: Cli, arguments: list[str], seqs: list[int]) -> None:
    assert [out["seq"] for out in listed(cli, *arguments)] == seqs
    if "--limit" not in arguments:
        for as_json in ([], ["--json"]):
            lines = cli("audit", "export", *arguments, *as_json).out.splitlines()
            assert [json.loads(line)["seq"] for line in lines] == seqs


def test_a_clients_records_are_found(cli: Cli, trail: dict[str, Any]) -> None:
    assert [out["seq"] for out in listed(cli, "--client", trail["clientId"])] == [2, 3]


@pytest.mark.usefixtures("trail")
def test_people_get_a_table(cli: Cli) -> None:
    lines = cli("audit", "list").out.splitlines()
    assert lines[0].split() == [
        "SEQ", "AT", "ACTOR", "ACTION", "MERCHANT", "CLIENT", "ID", "OUTCOME", "COUNT", "ADDRESS", "DETAILS",
    ]  # fmt: skip
    assert len(lines) == 6
    assert "merchants.register" in lines[1]
    assert lines[1].endswith("name Acme")
    assert cli("audit", "list", "--client", "nobody").out == "No records.\n"


@pytest.mark.parametrize("command", ["list", "export"])
@pytest.mark.usefixtures("trail")
def test_a_time_that_is_none_is_refused(cli: Cli, command: str) -> None:
    ended = cli("audit", command, "--since", "yesterday", "--json")
    assert ended.code == 2
    assert ended.error["errors"][0]["path"] == "since"
    assert "yesterday" not in ended.error["message"]


@pytest.mark.usefixtures("trail")
def test_a_whole_trail_is_called_so(cli: Cli, prepared: Settings) -> None:
    assert cli("audit", "verify", "--json").result == {
        "ok": True, "count": 5, "firstBad": None, "reason": None, "prunedThrough": None, "unchecked": 0,
        "missingKeys": [], "witness": True,
    }  # fmt: skip
    assert cli("audit", "verify").out == "The audit trail is as it was written: 5 records.\n"
    prepared.audit_witness_file.unlink()
    assert "has no witness yet" in cli("audit", "verify").out


@pytest.mark.usefixtures("trail")
def test_a_changed_record_ends_with_its_own_exit_code(cli: Cli, database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE audit_records SET address = '::2' WHERE seq = 3"))
    ended = cli("audit", "verify", "--json")
    assert (ended.code, ended.result["ok"], ended.result["firstBad"]) == (6, False, 3)
    people = cli("audit", "verify")
    assert people.code == 6
    assert people.out.startswith("The audit trail is NOT as it was written, from record 3 on: ")


@pytest.mark.usefixtures("trail")
def test_an_older_state_of_the_database_is_noticed(cli: Cli, prepared: Settings, database: Database) -> None:
    assert cli("merchants", "disable", "ACME").code == 0
    assert json.loads(prepared.audit_witness_file.read_text())["number"] == 3
    prepared.audit_witness_file.write_text('{"number": 9, "hash": "00"}')
    assert "behind the witness" in cli("audit", "verify", "--json").result["reason"]
    assert cli("merchants", "enable", "ACME").code == 0  # nobody is kept from acting
    assert '"number": 9' in prepared.audit_witness_file.read_text()
    del database


@pytest.mark.usefixtures("trail")
def test_what_was_pruned_and_what_cannot_be_checked_is_told(cli: Cli, prepared: Settings, database: Database) -> None:
    recorder = AuditRecorder(database, keys=audit_keys(prepared.peppers_file), retention_days=1, clock=lambda: 4e9)
    recorder._prune()
    content = json.loads(prepared.peppers_file.read_text())
    cli("merchants", "disable", "ACME")
    content["peppers"].insert(0, {"id": "newer", "value": "A" * 43 + "="})
    prepared.peppers_file.write_text(json.dumps(content))
    cli("merchants", "enable", "ACME")
    content["peppers"].pop()
    prepared.peppers_file.write_text(json.dumps(content))
    out = cli("audit", "verify").out
    assert "is as it was written: 2 records" in out
    assert "Pruned through record 5" in out
    assert "Not checked, for want of the peppers" in out
    assert out.rstrip().endswith(": 1 record.")


def test_an_empty_trail_is_listed_and_checked(cli: Cli, on_sqlite: Settings) -> None:
    assert listed(cli) == []
    assert cli("audit", "export").out == ""
    assert cli("audit", "verify").out.startswith("The audit trail is as it was written: 0 records.")
    del on_sqlite


def test_the_user_is_the_processes_own_not_what_the_environment_says(
    cli: Cli, on_sqlite: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER", "somebody")
    monkeypatch.setenv("LOGNAME", "somebody")
    cli("merchants", "register", "ACME", "--name", "Acme")
    [first, _] = listed(cli)
    assert first["actor"] != "operator:somebody"
    monkeypatch.setattr("os.getuid", lambda: 54321)  # a user that this system does not know
    cli("merchants", "disable", "ACME")
    assert listed(cli)[-1]["actor"] == "operator:54321"
    del on_sqlite


def test_imported_skus_and_the_demo_merchant_are_recorded(cli: Cli, acme: dict[str, str], tmp_path: Any) -> None:
    file = tmp_path / "skus.jsonl"
    file.write_text('{"skuId": "1", "productId": "1", "main": true, "name": "One"}\n')
    assert cli("skus", "import", "ACME", str(file)).code == 0
    last = listed(cli)[-1]
    assert (last["action"], last["merchantId"], last["count"]) == ("skus.import", acme["merchantId"], 1)
    assert ensure_demo_merchant(load_settings())
    found = [(out["action"], out["count"]) for out in listed(cli, "--merchant", "DEMO")]
    assert found == [("merchants.register", 1), ("skus.import", 12), ("credentials.issue", 1)]
