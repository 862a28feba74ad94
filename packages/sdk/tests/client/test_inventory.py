"""`inventory`: quantities that are set, records that are read."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest

from ecross.errors import ConfigurationError, NotFoundError, ServerError
from ecross.types import ReturnedOrder

PATH = "/ext/inventories"
SELLABLE = f"{PATH}/sku/1234567891/country/BR"
RECORD = {
    "id": "ACME-1234567891-1-AVAILABLE", "merchantId": "ACME", "skuId": "1234567891", "skuName": "T-Shirt",
    "quantity": 3, "inventoryType": "AVAILABLE", "warehouseId": 1, "warehouseName": "Default",
    "warehouseCountry": "ES", "lastUpdateDate": "2024-01-17T19:58:53.270Z",
    "lastIntegrationDate": "2024-01-17T19:59:00Z",
}  # fmt: skip
RETURNED = RECORD | {
    "id": "ACME-1234567891-1000-AVAILABLE", "quantity": 1, "warehouseId": 1000, "warehouseName": "Returns partner BR",
    "warehouseCountry": "BR", "warehouseType": "RETURNS",
    "returnedOrders": [{"orderId": "ACME-ECOM-TEST-003", "returnedDate": "2024-01-17T19:58:53.270Z", "quantity": 1}],
}  # fmt: skip
AT = datetime(2024, 1, 17, 19, 58, 53, 270_000, tzinfo=UTC)


def test_the_default_warehouse_and_pieces_that_can_be_sold_are_meant(server: Any, caller: Any, answer: Any) -> None:
    server.script(f"{PATH}/", answer(body=RECORD))
    record = caller.do(lambda client: client.inventory.set("1234567891", 3))

    (request,) = server.requests_to(f"{PATH}/")
    assert request.method == "POST"
    assert json.loads(request.body) == {
        "skuId": "1234567891", "quantity": 3, "warehouseId": 1, "inventoryType": "AVAILABLE",
    }  # fmt: skip
    assert (record.id, record.merchant_id, record.sku_id) == ("ACME-1234567891-1-AVAILABLE", "ACME", "1234567891")
    assert (record.sku_name, record.quantity, record.inventory_type) == ("T-Shirt", 3, "AVAILABLE")
    assert (record.warehouse_id, record.warehouse_name, record.warehouse_country) == (1, "Default", "ES")
    assert record.last_update_date == AT
    assert record.last_integration_date == datetime(2024, 1, 17, 19, 59, tzinfo=UTC)
    assert (record.warehouse_type, record.returned_orders) == (None, ())
    assert record.raw == RECORD
    assert pickle.loads(pickle.dumps(record)) == record  # noqa: S301 - its own


def test_a_quantity_is_sent_again_with_the_same_key(server: Any, caller: Any, answer: Any) -> None:
    server.script(f"{PATH}/", answer(breaks_off=True), answer(504), answer(body=RECORD))
    caller.do(lambda client: client.inventory.set("1", 0, warehouse_id=7, inventory_type="DAMAGED"))

    requests = server.requests_to(f"{PATH}/")
    assert json.loads(requests[0].body) == {
        "skuId": "1", "quantity": 0, "warehouseId": 7, "inventoryType": "DAMAGED",
    }  # fmt: skip
    assert len(requests) == 3
    assert len({(request.body, request.headers["Idempotency-Key"]) for request in requests}) == 1


def test_a_key_of_the_callers_own_is_sent_as_it_is(server: Any, caller: Any, answer: Any) -> None:
    server.script(f"{PATH}/", answer(body=RECORD))
    caller.do(lambda client: client.inventory.set("1", 0, idempotency_key="mine"))

    assert server.requests_to(f"{PATH}/")[0].headers["Idempotency-Key"] == "mine"


def test_all_pages_of_records_are_read_in_turn(server: Any, caller: Any, answer: Any) -> None:
    server.script(
        PATH, answer(body={"inventories": [RECORD], "nextPageToken": "a"}), answer(body={"inventories": [RETURNED]})
    )
    records = caller.inventory(last_update_date_from="2024-01-01T00:00:00Z")

    assert [record.quantity for record in records] == [3, 1]
    assert records[1].returned_orders == (ReturnedOrder("ACME-ECOM-TEST-003", AT, 1),)
    queries = [dict(httpx2.QueryParams(each.path.partition("?")[2])) for each in server.requests_to(PATH)]
    since = {"lastUpdateDateFrom": "2024-01-01T00:00:00Z"}
    assert queries == [since, since | {"nextPageToken": "a"}]


def test_what_can_be_sold_to_a_country_has_its_records(server: Any, caller: Any, answer: Any) -> None:
    server.script(SELLABLE, answer(body={"quantity": 4, "inventories": [RECORD, RETURNED]}))
    sellable = caller.do(lambda client: client.inventory.get_sellable("1234567891", "BR"))

    assert sellable.quantity == 4
    assert [(each.warehouse_type, each.quantity) for each in sellable.records] == [(None, 3), ("RETURNS", 1)]


def test_an_unknown_sku_is_not_found(server: Any, caller: Any, answer: Any) -> None:
    server.script(f"{PATH}/sku/a%2Fb/country/BR", answer(404, {"message": "None.", "code": "sku_not_found"}))
    with pytest.raises(NotFoundError, match=r"None\."):
        caller.do(lambda client: client.inventory.get_sellable("a/b", "BR"))


@pytest.mark.parametrize(("sku_id", "country", "name"), [("", "BR", "sku_id"), ("1", "", "country"), ("..", "", "sku")])
def test_what_no_path_can_hold_is_refused(sku_id: str, country: str, name: str, caller: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name}.* must be a text that can stand in a path"):
        caller.do(lambda client: client.inventory.get_sellable(sku_id, country))


@pytest.mark.parametrize(
    ("quantity", "fault"),
    [
        (None, "quantity is missing"), ("3", "quantity is not a number"), (3.5, "quantity is not a whole number"),
        (1e30, "quantity is not a whole number"), (True, "quantity is not a number"),
    ],
)  # fmt: skip
def test_an_answer_without_a_quantity_is_the_servers_fault(
    quantity: Any, fault: str, server: Any, caller: Any, answer: Any
) -> None:
    server.script(f"{PATH}/", answer(body=RECORD | {"quantity": quantity}))
    with pytest.raises(ServerError, match=fault):
        caller.do(lambda client: client.inventory.set("1", 1))


def test_a_quantity_with_a_fraction_of_nothing_is_whole(server: Any, caller: Any, answer: Any) -> None:
    server.script(f"{PATH}/", answer(body=RECORD | {"quantity": 3.0}))

    assert caller.do(lambda client: client.inventory.set("1", 3)).quantity == 3
