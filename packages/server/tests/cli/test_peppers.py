"""`ecross-server peppers`."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import text

from ecross_server.kit.database import Database
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Register

Cli = Callable[..., Any]

ROW = ["pepperId", "status", "createdAt", "secrets", "operators"]


def test_through_a_life_of_peppers(cli: Cli, prepared: Settings, register: Register) -> None:
    register("ACME")
    (old,) = cli("peppers", "list", "--json").result["peppers"]
    assert list(old) == ROW
    assert (old["status"], old["secrets"]) == ("active", 1)
    made = cli("peppers", "rotate", "--json").result
    assert list(made) == ROW
    assert (made["status"], made["secrets"]) == ("active", 0)
    assert cli("peppers", "list", "--json").result["peppers"] == [made, {**old, "status": "older"}]

    refused = cli("peppers", "retire", old["pepperId"], "--json")
    assert (refused.code, refused.error["code"]) == (4, "pepper_in_use")
    assert refused.error["message"].startswith("1 live secret is still kept")
    retired = cli("peppers", "retire", old["pepperId"], "--force", "--json").result
    assert retired == {**old, "status": "retired"}
    assert cli("peppers", "list", "--json").result["peppers"] == [made]
    assert cli("credentials", "list", "--json").result["credentials"][0]["secrets"][0]["status"] == "revoked"
    assert cli("peppers", "retire", old["pepperId"], "--json").code == 3
    assert len(json.loads(prepared.peppers_file.read_text())["peppers"]) == 1


@pytest.mark.usefixtures("on_sqlite")
class TestPeople:
    def test_see_a_table_and_no_pepper(self, cli: Cli, on_sqlite: Settings) -> None:
        out = cli("peppers", "rotate").out
        new, old = json.loads(on_sqlite.peppers_file.read_text())["peppers"]
        assert out.startswith(f"The pepper {new['id']} is used now.\nSecrets come under it at their next use.")
        table = cli("peppers", "list").out
        header, first, second = table.splitlines()
        assert header.split() == ["PEPPER", "STATUS", "CREATED", "USED", "FROM", "SECRETS", "OPERATORS"]
        assert (first.split()[:2], second.split()[:2]) == ([new["id"], "active"], [old["id"], "older"])
        for entry in (new, old):
            assert entry["value"] not in out + table
        assert cli("peppers", "retire", old["id"]).out == f"Retired the pepper {old['id']}.\n"

    @pytest.mark.parametrize(("count", "words"), [(1, "1 secret"), (2, "2 secrets")])
    def test_learn_how_many_secrets_a_force_has_cost(self, cli: Cli, count: int, words: str) -> None:
        for number in range(count):
            cli("merchants", "register", f"ACME_{number}", "--name", "Acme")
        old = cli("peppers", "list", "--json").result["peppers"][0]["pepperId"]
        cli("peppers", "rotate")
        assert cli("peppers", "retire", old, "--force").out.splitlines()[1] == (
            f"Revoked {words} that only it could check."
        )

    @pytest.mark.parametrize(("count", "words"), [(1, "1 operator"), (2, "2 operators")])
    def test_learn_how_many_operators_a_force_has_cost(
        self, cli: Cli, on_sqlite: Settings, count: int, words: str
    ) -> None:
        old = cli("peppers", "list", "--json").result["peppers"][0]["pepperId"]
        for number in range(count):
            cli("operators", "add", f"op{number}", "--name", "Jane", "--role", "viewer")
        with closing(Database(on_sqlite.database_url.get_secret_value())) as database, database.write() as session:
            session.execute(text("UPDATE operators SET password_hash = 'x', pepper_id = :old"), {"old": old})
        cli("peppers", "rotate")
        assert cli("peppers", "retire", old, "--json").error["code"] == "pepper_in_use"
        assert cli("peppers", "retire", old, "--force").out.splitlines()[1] == f"To be invited again: {words}."

    def test_may_let_it_wait(self, cli: Cli) -> None:
        assert " is used from 2" in cli("peppers", "rotate", "--after", "10m").out
        listed = cli("peppers", "list", "--json").result["peppers"]
        assert [pepper["status"] for pepper in listed] == ["waiting", "active"]
        assert cli("peppers", "rotate", "--after", "8d", "--json").code == 2
