"""A product read back, stock set and listed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from ecross.testing import Answer, FakeServer, Merchant

Cli = Callable[..., Any]
STOCK = "/ext/inventories"


def lines(ended: Any) -> list[dict[str, Any]]:
    assert (ended.code, ended.err) == (0, "")
    return [json.loads(line) for line in ended.out.splitlines()]


def test_a_product_is_a_table_of_its_skus_or_json_lines(cli: Cli, told: Merchant) -> None:
    for sku_id in ("a", "b"):
        told.put_sku({"skuId": sku_id, "productId": "P 1?"})
    told.put_sku({"skuId": "c", "productId": "other"})

    assert lines(cli("products", "get", "P 1?", "--json")) == told.skus[:2]
    ended = cli("products", "get", "P 1?")
    assert [line.split()[0] for line in ended.out.splitlines()] == ["SKU", "a", "b"]
    assert "PENDING_LOCALIZATION" in ended.out


@pytest.mark.usefixtures("told")
def test_a_product_that_there_is_not_is_refused(cli: Cli) -> None:
    ended = cli("products", "get", "x", "--json")
    assert (ended.code, ended.error["code"]) == (6, "product_not_found")


def test_stock_is_set_and_told(cli: Cli, told: Merchant) -> None:
    told.add_warehouse(2, name="Barcelona")

    assert cli("inventory", "set", "1", "5").out == "1: 5 AVAILABLE in warehouse 1 Default.\n"
    ended = cli("inventory", "set", "1", "0", "--warehouse", "2", "--type", "DAMAGED", "--json")
    assert lines(ended) == [told.inventories[1]]
    assert [(each["quantity"], each["warehouseId"]) for each in told.inventories] == [(5, 1), (0, 2)]


def test_all_pages_of_stock_are_one_list(cli: Cli, told: Merchant, ecross_server: FakeServer) -> None:
    ecross_server.page_size = 2
    told.put_sku({"skuId": "SKU-0", "name": "Mug"})
    for number in range(3):
        told.put_inventory(f"SKU-{number}", number)

    assert lines(cli("inventory", "list", "--json")) == told.inventories
    assert lines(cli("inventory", "list", "--json", "--limit", "1")) == told.inventories[:1]
    ended = cli("inventory", "list")
    assert ended.out.splitlines()[1].split()[:-2] == ["SKU-0", "Mug", "0", "AVAILABLE", "1", "Default"]
    assert len(ended.out.splitlines()) == 4
    assert ecross_server.count(STOCK) == 5


def test_stock_that_changed_since(cli: Cli, told: Merchant) -> None:
    for day in (1, 3):
        told.put_inventory(str(day), 1, last_update_date=f"2026-01-0{day}T00:00:00Z")
    ended = cli("inventory", "list", "--json", "--updated-since", "2026-01-02T00:00:00Z")
    assert [record["skuId"] for record in lines(ended)] == ["3"]


@pytest.mark.usefixtures("told")
def test_no_stock_is_a_sentence(cli: Cli) -> None:
    assert cli("inventory", "list").out == "There are no stock records.\n"


@pytest.mark.parametrize("quantity", ["1.5", "many", "-1"])
@pytest.mark.usefixtures("told")
def test_a_quantity_that_is_none_is_refused(cli: Cli, ecross_server: FakeServer, quantity: str) -> None:
    assert cli("inventory", "set", "1", "--", quantity).code == 2
    assert ecross_server.requests == []


@pytest.mark.usefixtures("told")
def test_every_fault_is_told_with_its_path(cli: Cli) -> None:
    ended = cli("inventory", "set", "a b", "1", "--type", "SOLD")
    assert (ended.code, ended.out) == (6, "")
    assert [line.split(":")[0].strip() for line in ended.err.splitlines()] == ["error", "skuId", "inventoryType"]


@pytest.mark.usefixtures("told")
def test_what_a_server_leaves_out_is_a_dash(cli: Cli, ecross_server: FakeServer) -> None:
    record = {"id": "1", "skuId": "x\x1b[2J", "quantity": 1}
    ecross_server.script(STOCK, Answer(200, {"inventories": [record]}))
    ecross_server.script(f"{STOCK}/", Answer(200, record))

    assert cli("inventory", "list").out.splitlines()[1].split() == ["x\\x1b[2J", "-", "1", "-", "-", "-"]
    assert "\x1b" not in cli("inventory", "set", "1", "1").out
