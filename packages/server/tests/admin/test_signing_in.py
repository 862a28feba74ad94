"""`POST /admin/token`, and what a caller learns of itself. On both databases."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.app.administration import Administration
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.key_files import turn_to_change
from ecross_server.merchants.service import rotate_peppers
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from packages.server.tests.admin.conftest import Desk, Enrolled

REFUSED = {"message": "Incorrect operator, password or code.", "code": "sign_in_refused"}


def acts(database: Database) -> list[tuple[str, str, str, str | None]]:
    with database.read() as session:
        return [
            (each.draft.actor, each.draft.action, each.draft.outcome, each.draft.address)
            for each in list_records(session, RecordFilter())
        ]


def test_password_and_code_give_a_token_that_opens_the_rest(
    administration: Administration, stranger: Desk, jane: Enrolled, database: Database
) -> None:
    answer = stranger.call("POST", "/admin/token", json=jane.typed())
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    content = answer.json()
    assert list(content) == ["token", "tokenType", "expiresIn"]
    assert (content["tokenType"], content["expiresIn"]) == ("Bearer", 3600)
    me = type(stranger)(administration, content["token"]).get("/admin/me")
    assert (me["operatorId"], me["role"], me["may"]) == ("jane", "owner", ["viewer", "representative", "owner"])
    assert me["lastSignedInAt"] is not None
    assert acts(database)[-1] == ("operator:jane", "operators.issue_token", "done", "203.0.113.7")


@pytest.mark.parametrize(
    "other", [{"password": "another four words"}, {"code": "000000"}, {"operator": "john"}, {"operator": "a b"}]
)
def test_whatever_is_wrong_is_answered_alike(
    stranger: Desk, jane: Enrolled, database: Database, other: dict[str, Any]
) -> None:
    answer = stranger.call("POST", "/admin/token", json=jane.typed(**other))
    assert (answer.status_code, answer.json()) == (401, REFUSED)
    assert answer.headers["www-authenticate"] == 'Bearer realm="e-CROSS"'
    assert answer.headers["cache-control"] == "no-store"
    assert acts(database)[-1] == ("anonymous", "operators.sign_in", "refused", "203.0.113.7")


def test_a_code_gives_one_token(stranger: Desk, jane: Enrolled) -> None:
    typed = jane.typed()
    assert stranger.call("POST", "/admin/token", json=typed).status_code == 200
    assert stranger.call("POST", "/admin/token", json=typed).status_code == 401


def test_who_guesses_is_slowed_down_and_keeps_nobody_out(
    administration: Administration, stranger: Desk, jane: Enrolled
) -> None:
    for _ in range(5):
        assert stranger.call("POST", "/admin/token", json=jane.typed(password="wrong")).status_code == 401
    answer = stranger.call("POST", "/admin/token", json=jane.typed())
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_sign_ins")
    assert 0 < int(answer.headers["retry-after"]) <= 30
    elsewhere = type(stranger)(administration, None, "198.51.100.1")
    assert elsewhere.call("POST", "/admin/token", json=jane.typed()).status_code == 200


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({}, "operator"), ({"operator": "jane", "password": "p", "code": 123456}, "code"),
        ({"operator": "jane", "password": "p" * 1025, "code": "1"}, "password"),
        ({"operator": "jane", "password": "p", "code": "1", "role": "owner"}, "role"),
        ({"operator": "", "password": "p", "code": "1"}, "operator"),
    ],
)  # fmt: skip
def test_a_fault_is_named_and_nothing_is_repeated(stranger: Desk, body: dict[str, Any], path: str) -> None:
    answer = stranger.call("POST", "/admin/token", json=body)
    assert answer.status_code == 400
    assert path in [fault["path"] for fault in answer.json()["errors"]]
    assert "123456" not in answer.text
    assert "ppp" not in answer.text


def test_another_content_type_or_method_is_refused(stranger: Desk) -> None:
    assert stranger.call("POST", "/admin/token", content=b"operator=jane").status_code == 415
    assert stranger.call("GET", "/admin/token").status_code == 405


def test_passwords_follow_a_new_pepper(stranger: Desk, jane: Enrolled, settings: Settings) -> None:
    rotate_peppers(settings.peppers_file, now=utc_now())
    assert stranger.call("POST", "/admin/token", json=jane.typed()).status_code == 200
    with turn_to_change(settings.peppers_file) as file:
        content = file.read()
        file.replace({**content, "peppers": content["peppers"][:1]})
    answer = stranger.call("POST", "/admin/token", json=jane.typed(timedelta(seconds=30)))
    assert answer.status_code == 200, "the old pepper is needed no more"


class TestHealth:
    def test_all_is_in_order(self, viewer: Desk) -> None:
        health = viewer.get("/admin/health")
        assert health["ok"] is True
        assert [(each["name"], each["status"], each["fix"]) for each in health["checks"]] == [
            (name, "ok", None) for name in ("signing keys", "database", "peppers", "jobs", "limits")
        ]
        assert health["checks"][1]["detail"].endswith(", 0 clients, 0 secrets")

    def test_what_is_not_is_told(self, viewer: Desk, settings: Settings) -> None:
        settings.signing_keys_file.write_text("{")
        health = viewer.get("/admin/health")
        assert (health["ok"], health["checks"][0]["status"]) == (False, "failed")
