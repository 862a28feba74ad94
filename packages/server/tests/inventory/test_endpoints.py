from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.kit.database import Database

PATH = "/ext/inventories"
NOW = datetime(2024, 1, 17, 19, 58, 53, 270_000, tzinfo=UTC)
EXAMPLE: dict[str, Any] = {"skuId": "1234567891", "quantity": 3, "warehouseId": 1, "inventoryType": "AVAILABLE"}


def send(client: TestClient, bearer: dict[str, str], body: Any, path: str = f"{PATH}/", **headers: str) -> Any:
    return client.post(path, json=body, headers=bearer | headers)


@pytest.mark.parametrize("path", [PATH, f"{PATH}/"])
def test_the_published_example_is_answered_in_the_documented_form(
    client: TestClient, bearer: dict[str, str], application: Application, path: str
) -> None:
    application.api.state.clock = lambda: NOW
    record = {
        "id": "ACME-1234567891-1-AVAILABLE", "merchantId": "ACME", "skuId": "1234567891", "quantity": 3,
        "inventoryType": "AVAILABLE", "warehouseId": 1, "warehouseName": "Default",
        "lastUpdateDate": "2024-01-17T19:58:53.270Z",
    }  # fmt: skip
    answer = send(client, bearer, EXAMPLE, path)
    assert (answer.status_code, answer.json()) == (200, record)
    assert client.get(f"{PATH}?lastUpdateDateFrom=&nextPageToken=", headers=bearer).json() == {"inventories": [record]}
    sellable = client.get(f"{PATH}/sku/1234567891/country/BR", headers=bearer)
    assert sellable.json() == {"quantity": 3, "inventories": [record | {"warehouseType": "MERCHANT"}]}
    assert sellable.headers["content-type"] == "application/json"


def test_the_name_of_a_registered_sku_is_shown(client: TestClient, bearer: dict[str, str]) -> None:
    sku = {"skuId": "1234567891", "productId": "1", "name": "T-Shirt"}
    assert client.post("/ext/merchant/skus", json=[sku], headers=bearer).status_code == 200
    assert send(client, bearer, EXAMPLE).json()["skuName"] == "T-Shirt"


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"skuId": ""}, "skuId"), ({"skuId": 31337}, "skuId"), ({"skuId": "31337/x"}, "skuId"),
        ({"skuId": "x" * 129}, "skuId"), ({"skuId": "a\0"}, "skuId"), ({"quantity": -1}, "quantity"),
        ({"quantity": 1.5}, "quantity"), ({"quantity": "31337"}, "quantity"), ({"quantity": True}, "quantity"),
        ({"quantity": 1_000_000_001}, "quantity"), ({"quantity": 1e30}, "quantity"), ({"quantity": None}, "quantity"),
        ({"warehouseId": 0}, "warehouseId"), ({"warehouseId": "1"}, "warehouseId"),
        ({"warehouseId": 2**31}, "warehouseId"), ({"warehouseId": 31337}, "warehouseId"),
        ({"inventoryType": "available"}, "inventoryType"), ({"inventoryType": 31337}, "inventoryType"),
        ({"inventoryType": None}, "inventoryType"),
    ],
)  # fmt: skip
def test_another_body_is_refused_with_the_path_of_its_fault(
    client: TestClient, bearer: dict[str, str], changes: dict[str, Any], path: str
) -> None:
    answer = send(client, bearer, EXAMPLE | changes)
    assert answer.status_code == 400
    assert [fault["path"] for fault in answer.json()["errors"]] == [path]
    assert "31337" not in answer.text


def test_all_faults_are_in_one_answer(client: TestClient, bearer: dict[str, str]) -> None:
    faults = send(client, bearer, {}).json()["errors"]
    assert [fault["path"] for fault in faults] == ["skuId", "quantity", "warehouseId", "inventoryType"]
    assert send(client, bearer, []).json()["errors"] == [{"path": "", "message": "Input should be an object"}]


def test_a_whole_number_may_be_written_with_a_fraction_of_nothing(
    client: TestClient, bearer: dict[str, str], database: Database
) -> None:
    del database
    body = b'{"skuId":"1","quantity":3.0,"warehouseId":1e0,"inventoryType":"DAMAGED"}'
    answer = client.post(f"{PATH}/", content=body, headers=bearer | {"Content-Type": "application/json"})
    assert (answer.status_code, answer.json()["quantity"]) == (200, 3)
    assert answer.json()["id"] == "ACME-1-1-DAMAGED"


def test_a_repeat_with_its_key_does_not_undo_what_came_between(client: TestClient, bearer: dict[str, str]) -> None:
    key = {"Idempotency-Key": "k"}
    first = send(client, bearer, EXAMPLE, **key)
    send(client, bearer, EXAMPLE | {"quantity": 2})
    assert send(client, bearer, EXAMPLE, **key).content == first.content
    assert client.get(PATH, headers=bearer).json()["inventories"][0]["quantity"] == 2
    assert send(client, bearer, EXAMPLE | {"quantity": 2}, **key).status_code == 409


@pytest.mark.parametrize("country", ["br", "B", "BRA", "B1", "%00", "BR%0B"])
def test_a_country_has_two_capitals(client: TestClient, bearer: dict[str, str], country: str) -> None:
    answer = client.get(f"{PATH}/sku/1/country/{country}", headers=bearer)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, "country")


def test_a_sku_of_nobody_is_not_found(client: TestClient, bearer: dict[str, str]) -> None:
    for sku_id in ("1", "%00", "%FF"):
        answer = client.get(f"{PATH}/sku/{sku_id}/country/BR", headers=bearer)
        assert (answer.status_code, answer.json()["code"]) == (404, "sku_not_found")


@pytest.mark.parametrize("query", ["lastUpdateDateFrom=yesterday", "nextPageToken=nonsense"])
def test_a_bad_query_names_its_field(client: TestClient, bearer: dict[str, str], query: str) -> None:
    answer = client.get(f"{PATH}?{query}", headers=bearer)
    assert (answer.status_code, answer.json()["errors"][0]["path"]) == (400, query.partition("=")[0])
