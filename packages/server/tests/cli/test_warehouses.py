"""`ecross-server warehouses` and `ecross-server inventory`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from conftest import Register

Cli = Callable[..., Any]

FIRST = {"merchantId": "ACME", "warehouseId": 1, "name": "Default", "country": None, "type": "MERCHANT"}
RETURNS = {"merchantId": "ACME", "warehouseId": 1000, "name": "Returns BR", "country": "BR", "type": "RETURNS"}


def add_returns(cli: Cli) -> Any:
    options = ("--name", "Returns BR", "--country", "BR", "--type", "RETURNS", "--json")
    return cli("warehouses", "add", "ACME", "1000", *options)


def warehouses(cli: Cli) -> Any:
    return cli("warehouses", "list", "ACME", "--json").result["warehouses"]


@pytest.mark.usefixtures("prepared")
class TestOnBothDatabases:
    @pytest.fixture(autouse=True)
    def _registered(self, register: Register) -> None:
        register("ACME")
        register("BETA")

    def test_a_warehouse_is_added_to_the_one_that_every_merchant_has(self, cli: Cli) -> None:
        assert add_returns(cli).result == RETURNS
        assert warehouses(cli) == [FIRST, RETURNS]
        assert cli("warehouses", "list", "BETA", "--json").result == {
            "warehouses": [FIRST | {"merchantId": "BETA"}],
        }

    def test_a_warehouse_is_there_once(self, cli: Cli) -> None:
        add_returns(cli)
        for number in ("1", "1000"):
            ended = cli("warehouses", "add", "ACME", number, "--name", "Another", "--json")
            assert (ended.code, ended.error["code"]) == (4, "warehouse_exists")
        assert warehouses(cli) == [FIRST, RETURNS]

    def test_only_what_is_told_changes(self, cli: Cli) -> None:
        add_returns(cli)
        cli("warehouses", "change", "ACME", "1", "--country", "ES")
        assert cli("warehouses", "change", "ACME", "1", "--name", "Madrid", "--json").result == (
            FIRST | {"name": "Madrid", "country": "ES"}
        )
        cli("warehouses", "change", "ACME", "1000", "--name", "Partner")
        assert warehouses(cli) == [FIRST | {"name": "Madrid", "country": "ES"}, RETURNS | {"name": "Partner"}]

    def test_who_runs_a_returns_warehouse_counts_its_stock(self, cli: Cli) -> None:
        add_returns(cli)
        first = cli("inventory", "set", "ACME", "S1", "3", "--warehouse", "1000", "--json").result
        del first["lastUpdateDate"]
        assert first == {
            "id": "ACME-S1-1000-AVAILABLE", "merchantId": "ACME", "skuId": "S1", "skuName": None, "quantity": 3,
            "inventoryType": "AVAILABLE", "warehouseId": 1000, "warehouseName": "Returns BR", "warehouseCountry": "BR",
            "lastIntegrationDate": None, "returnedOrders": None, "warehouseType": "RETURNS",
        }  # fmt: skip
        damaged = cli("inventory", "set", "ACME", "S1", "2", "--warehouse", "1000", "--type", "DAMAGED", "--json")
        assert damaged.result["id"] == "ACME-S1-1000-DAMAGED"
        ended = cli("inventory", "set", "ACME", "S1", "1", "--warehouse", "2", "--json")
        assert (ended.code, ended.error["code"]) == (2, "unknown_warehouse")

    def test_all_of_it_is_in_the_audit_trail(self, cli: Cli) -> None:
        add_returns(cli)
        cli("warehouses", "change", "ACME", "1", "--name", "Madrid")
        cli("inventory", "set", "ACME", "S1", "3", "--warehouse", "1000")
        cli("warehouses", "add", "ACME", "1000", "--name", "Again")
        records = cli("audit", "list", "--merchant", "ACME", "--json").result["records"][-3:]
        assert [(record["action"], record["details"]) for record in records] == [
            ("warehouses.add", {"country": "BR", "name": "Returns BR", "type": "RETURNS", "warehouseId": 1000}),
            ("warehouses.change", {"country": "", "name": "Madrid", "type": "MERCHANT", "warehouseId": 1}),
            ("inventory.set", {"inventoryType": "AVAILABLE", "quantity": 3, "skuId": "S1", "warehouseId": 1000}),
        ]


@pytest.mark.usefixtures("acme")
class TestForPeople:
    def test_sentences_and_a_table(self, cli: Cli) -> None:
        added = cli("warehouses", "add", "ACME", "2", "--name", "Second")
        changed = cli("warehouses", "change", "ACME", "2", "--country", "ES")
        renamed = cli("warehouses", "change", "ACME", "1", "--name", "Madrid")
        counted = cli("inventory", "set", "ACME", "S\x1b1", "3", "--warehouse", "2")
        assert [ended.code for ended in (added, changed, renamed)] == [0, 0, 0]
        assert added.out == "Added warehouse 2 (Second) to ACME.\n"
        assert changed.out == "Warehouse 2 of ACME is Second, ES.\n"
        assert renamed.out == "Warehouse 1 of ACME is Madrid, no country told.\n"
        assert counted.code == 2
        counted = cli("inventory", "set", "ACME", "S\u202e1", "3", "--warehouse", "2")
        assert counted.out == "SKU S\\u202e1 in warehouse 2 (Second): 3, AVAILABLE.\n"
        assert [line.split() for line in cli("warehouses", "list", "ACME").out.splitlines()] == [
            ["ID", "NAME", "COUNTRY", "TYPE"], ["1", "Madrid", "-", "MERCHANT"], ["2", "Second", "ES", "MERCHANT"],
        ]  # fmt: skip

    @pytest.mark.parametrize(
        ("options", "path"),
        [
            (("--name", ""), "name"), (("--name", "a\nb"), "name"), (("--name", "x" * 201), "name"),
            (("--name", "n", "--country", "br"), "country"), (("--name", "n", "--country", "BRA"), "country"),
            (("--name", "n", "--country", ""), "country"), (("--name", "n", "--type", "RETURNS"), "country"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_is_refused_by_its_name(self, cli: Cli, options: tuple[str, ...], path: str) -> None:
        ended = cli("warehouses", "add", "ACME", "2", *options, "--json")
        assert (ended.code, ended.error["code"]) == (2, "invalid_input")
        assert [fault["path"] for fault in ended.error["errors"]] == [path]
        if "--type" not in options:
            ended = cli("warehouses", "change", "ACME", "1", *options, "--json")
            assert (ended.code, [fault["path"] for fault in ended.error["errors"]]) == (2, [path])
        assert warehouses(cli) == [FIRST]

    @pytest.mark.parametrize("number", ["0", "-1", "2147483648", "two"])
    def test_a_number_that_is_none_is_a_usage_error(self, cli: Cli, number: str) -> None:
        ended = cli("warehouses", "add", "ACME", number, "--name", "n", "--json")
        assert (ended.code, ended.error["code"]) == (2, "usage")

    @pytest.mark.parametrize(
        ("arguments", "path"),
        [(("a/b", "1"), "skuId"), (("S1", "1000000001"), "quantity"), (("S1", "1", "--warehouse", "0"), "warehouseId")],
    )
    def test_a_count_is_as_good_as_one_of_the_api(self, cli: Cli, arguments: tuple[str, ...], path: str) -> None:
        ended = cli("inventory", "set", "ACME", *arguments, "--json")
        assert (ended.code, [fault["path"] for fault in ended.error["errors"]]) == (2, [path])

    def test_what_is_not_there_is_not_found(self, cli: Cli) -> None:
        for arguments, code in (
            (("warehouses", "change", "ACME", "2", "--name", "n"), "warehouse_not_found"),
            (("warehouses", "change", "BETA", "1", "--name", "n"), "merchant_not_found"),
            (("warehouses", "add", "BETA", "2", "--name", "n"), "merchant_not_found"),
            (("warehouses", "list", "BETA"), "merchant_not_found"),
            (("inventory", "set", "BETA", "S1", "1"), "merchant_not_found"),
        ):
            ended = cli(*arguments, "--json")
            assert (ended.code, ended.error["code"]) == (3, code)
