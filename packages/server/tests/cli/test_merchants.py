"""`ecross-server merchants`."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ecross_server.kit.database import Base, Database
from ecross_server.merchants.rules import is_client_secret
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from conftest import Register

Cli = Callable[..., Any]

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
SECRET = re.compile(r"ecs_[0-9A-Za-z]{49}")


@pytest.mark.usefixtures("prepared")
class TestRegister:
    def test_prints_the_merchant_with_its_first_credentials(self, cli: Cli) -> None:
        out = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result
        assert list(out) == ["merchantId", "name", "status", "createdAt", "clientId", "clientSecret"]
        assert (out["merchantId"], out["name"], out["status"]) == ("ACME", "Acme", "active")
        assert INSTANT.fullmatch(out["createdAt"])
        assert re.fullmatch(r"acme-[a-z2-7]{13}", out["clientId"])
        assert is_client_secret(out["clientSecret"])

    def test_tells_people_the_credentials_once(self, cli: Cli) -> None:
        ended = cli("merchants", "register", "ACME", "--name", "Acme")
        assert (ended.code, ended.err) == (0, "")
        assert len(SECRET.findall(ended.out)) == 1
        lines = ended.out.splitlines()
        assert lines[0] == "Registered ACME (Acme)."
        assert re.fullmatch(r"  clientId      acme-[a-z2-7]{13}", lines[2])
        assert lines[3].startswith("  clientSecret  ecs_")
        assert lines[-1].startswith("The secret is shown this once")
        assert max(map(len, lines)) <= 80

    def test_without_credentials_none_are_issued(self, cli: Cli) -> None:
        out = cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials", "--json").result
        assert list(out) == ["merchantId", "name", "status", "createdAt"]
        assert cli("credentials", "list", "--json").result == {"credentials": []}

    def test_without_credentials_people_learn_how_to_issue_some(self, cli: Cli) -> None:
        ended = cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
        assert ended.out.splitlines() == [
            "Registered ACME (Acme).",
            "Issue credentials with: ecross-server credentials issue ACME",
        ]

    def test_twice_is_refused_and_changes_nothing(self, cli: Cli) -> None:
        cli("merchants", "register", "ACME", "--name", "Acme")
        before = cli("merchants", "show", "ACME", "--json").result
        ended = cli("merchants", "register", "ACME", "--name", "Another", "--json")
        assert ended.code == 4
        assert ended.error["code"] == "merchant_exists"
        assert cli("merchants", "show", "ACME", "--json").result == before


@pytest.mark.parametrize("merchant_id", ["acme", "A", "A" * 33, "AC ME", "AC-ME", "AÇME", "ACME\n", "", "\x1b[31m"])
def test_an_id_of_another_form_is_refused(on_sqlite: Settings, cli: Cli, merchant_id: str) -> None:
    del on_sqlite
    ended = cli("merchants", "register", merchant_id, "--name", "Acme", "--json")
    assert ended.code == 2
    assert ended.error["code"] == "invalid_input"
    assert ended.error["errors"] == [{"path": "id", "message": "must be 2 to 32 of A-Z, 0-9 and _, such as ACME"}]
    assert cli("merchants", "list", "--json").result == {"merchants": []}


@pytest.mark.parametrize("name", ["", " ", "A\x1b[2J", "A\nB", "A\x7f", "A\u202eB", "A" * 201])
def test_a_name_that_would_disturb_a_terminal_is_refused(on_sqlite: Settings, cli: Cli, name: str) -> None:
    del on_sqlite
    ended = cli("merchants", "register", "ACME", "--name", name)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: name must be 1 to 200 printable characters\n"
    assert cli("merchants", "list", "--json").result == {"merchants": []}


@pytest.mark.parametrize("name", ["A" * 200, "São João & Filhos, Ltda.", "株式会社", 'O\'Neill "Quoted" \\ %s {x}'])
def test_any_readable_name_is_kept_as_it_is(on_sqlite: Settings, cli: Cli, name: str) -> None:
    del on_sqlite
    assert cli("merchants", "register", "ACME", "--name", name, "--json").result["name"] == name
    assert cli("merchants", "list", "--json").result["merchants"][0]["name"] == name
    assert name in cli("merchants", "list").out


def test_registering_on_an_empty_folder_makes_all_that_it_needs(cli: Cli, tmp_path: Path) -> None:
    cli("merchants", "register", "ACME", "--name", "Acme", "--json").result  # noqa: B018 - fails if it failed
    names = {path.name for path in (tmp_path / "data").iterdir()}
    assert names >= {"ecross.db", "signing-keys.json", "peppers.json"}


@pytest.mark.usefixtures("prepared")
class TestListAndShow:
    def test_without_any_merchant_there_is_a_way_on(self, cli: Cli) -> None:
        assert cli("merchants", "list", "--json").result == {"merchants": []}
        assert cli("merchants", "list").out == (
            "No merchant is registered. Register one: ecross-server merchants register ACME --name 'Acme'\n"
        )

    def test_merchants_are_listed_in_the_order_of_their_ids(self, cli: Cli, register: Register) -> None:
        for merchant_id in ("BETA", "ALFA", "GAMA_1"):
            register(merchant_id)
        merchants = cli("merchants", "list", "--json").result["merchants"]
        assert [merchant["merchantId"] for merchant in merchants] == ["ALFA", "BETA", "GAMA_1"]
        assert all(list(merchant) == ["merchantId", "name", "status", "createdAt"] for merchant in merchants)

    def test_people_get_a_table(self, cli: Cli, register: Register) -> None:
        register("ALFA")
        register("BETA")
        header, first, second = cli("merchants", "list").out.splitlines()
        assert header.split() == ["ID", "NAME", "STATUS", "REGISTERED"]
        assert re.fullmatch(r"ALFA  Merchant ALFA  active  \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ", first)
        assert second.startswith("BETA  Merchant BETA  active  ")
        assert len(first) <= 80

    def test_a_merchant_is_shown_with_its_clients(self, cli: Cli, register: Register) -> None:
        issued = register("ACME", label="ERP")
        out = cli("merchants", "show", "ACME", "--json").result
        assert list(out) == ["merchantId", "name", "status", "createdAt", "clients"]
        assert [client["clientId"] for client in out["clients"]] == [issued.client.id]
        assert SECRET.search(str(out)) is None

    def test_people_see_a_merchant_with_its_clients(self, cli: Cli, register: Register) -> None:
        issued = register("ACME")
        ended = cli("merchants", "show", "ACME")
        assert "Merchant ACME" in ended.out
        assert issued.client.id in ended.out
        assert f"{issued.secret.id} active" in ended.out
        assert SECRET.search(ended.out) is None

    def test_a_merchant_without_clients_says_how_to_issue_one(self, cli: Cli) -> None:
        cli("merchants", "register", "ACME", "--name", "Acme", "--no-credentials")
        assert "No clients. Issue one: ecross-server credentials issue ACME\n" in cli("merchants", "show", "ACME").out


@pytest.mark.usefixtures("prepared")
class TestDisableAndEnable:
    def test_each_prints_the_merchant_as_it_is_then(self, cli: Cli, register: Register) -> None:
        register("ACME")
        for act, status in (
            ("disable", "disabled"),
            ("disable", "disabled"),
            ("enable", "active"),
            ("enable", "active"),
        ):
            out = cli("merchants", act, "ACME", "--json").result
            assert list(out) == ["merchantId", "name", "status", "createdAt"]
            assert out["status"] == status
            assert cli("merchants", "show", "ACME", "--json").result["status"] == status

    def test_people_learn_what_it_means(self, cli: Cli, register: Register) -> None:
        register("ACME")
        assert cli("merchants", "disable", "ACME").out == "Disabled ACME. Its tokens stop working within 5 seconds.\n"
        enabled = cli("merchants", "enable", "ACME").out
        assert enabled == "Enabled ACME. It can ask for new tokens within 2 seconds; its old ones stay dead.\n"

    def test_disabling_raises_every_clients_epoch_and_enabling_does_not_lower_it(
        self, cli: Cli, register: Register, database: Database
    ) -> None:
        register("ACME")
        before = _epochs(database)
        cli("merchants", "disable", "ACME")
        disabled = _epochs(database)
        cli("merchants", "enable", "ACME")
        assert all(disabled[client] > epoch for client, epoch in before.items())
        assert _epochs(database) == disabled


def _epochs(database: Database) -> dict[str, int]:
    with database.engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, epoch FROM clients").all()
    return {row[0]: row[1] for row in rows}


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("act", ["show", "disable", "enable"])
@pytest.mark.parametrize("merchant_id", ["NOBODY", "acme", "", "x" * 1000, "\x1b[31m"])
def test_an_unknown_merchant_is_not_found(cli: Cli, act: str, merchant_id: str) -> None:
    ended = cli("merchants", act, merchant_id, "--json")
    assert ended.code == 3
    assert ended.error["code"] == "merchant_not_found"
    people = cli("merchants", act, merchant_id)
    assert (people.code, people.out) == (3, "")
    assert people.err.startswith("error: There is no merchant ")
    assert people.err.rstrip("\n").isprintable()
    assert "Traceback" not in people.err


def test_the_secret_is_nowhere_but_in_what_was_printed(cli: Cli, prepared: Settings, database: Database) -> None:
    secret = cli("merchants", "register", "ACME", "--name", "Acme", "--json").result["clientSecret"]
    with database.engine.connect() as connection:
        for table in sorted(Base.metadata.tables):
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}"):  # noqa: S608 - names from above
                assert all(secret.encode() not in _as_bytes(value) for value in row)
    for path in prepared.data_dir.iterdir():
        assert secret.encode() not in path.read_bytes()
    for command in (["merchants", "list"], ["merchants", "show", "ACME"], ["credentials", "list"], ["doctor"]):
        for ended in (cli(*command), cli(*command, "--json")):
            assert secret not in ended.out + ended.err


def _as_bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
