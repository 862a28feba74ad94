"""The way to the channels on the real command: a product by HTTP, its states, its stock, and the feed a shop reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import httpx2

if TYPE_CHECKING:
    from processes import StartServer

PRODUCT = [
    {
        "skuId": "1234567890", "productId": "1234567", "main": True, "name": "USB charger type C",
        "description": "Charges fast.\nHas two ports.", "weight": 0.1, "hscode": "850440",
        "images": ["https://img.test/1.jpeg"],
    }
]  # fmt: skip


def test_a_product_is_on_its_channel_within_seconds(start_server: StartServer, wait_for: Callable[..., None]) -> None:
    server = start_server(ECROSS_SERVER_JOB_PROCESSES="1")
    issued = server.json("merchants", "register", "SB_ACME", "--name", "Acme")
    (channel,) = server.json("channels", "list")["channels"]
    wait_for(lambda: server.token(issued).status_code == 200)
    bearer = {"Authorization": f"Bearer {server.token(issued).json()['token']}"}
    with httpx2.Client(base_url=server.url, headers=bearer) as client:

        def states() -> Any:
            (sku,) = client.get("/ext/merchant/products/1234567").json()
            return sku["localizationStatus"], sku["salesChannelStatus"].get("ECOM", {})

        (sku,) = client.post("/ext/merchant/skus", json=PRODUCT).json()
        assert (sku["localizationStatus"], sku["salesChannelStatus"]) == ("PENDING_LOCALIZATION", {})
        wait_for(lambda: states()[1].get("status") == "SALES_CHANNEL_APPROVED")
        assert states()[0] == "READY_FOR_SALES_CHANNEL"
        assert states()[1]["statusMessage"] == "Integration successful"

        def shown() -> Any:
            with open(channel["feed"], encoding="utf-8") as feed:  # noqa: PTH123 - a shop's reader
                lines = [json.loads(line) for line in feed if line.endswith("\n")]
            return {line["id"]: line for line in lines if "id" in line}["SB_ACME-1234567890"]

        assert (shown()["name"], shown()["available"]) == ("USB charger type C", False)
        stock = {"skuId": "1234567890", "quantity": 3, "warehouseId": 1, "inventoryType": "AVAILABLE"}
        client.post("/ext/inventories/", json=stock)
        wait_for(lambda: shown()["available"])
        wait_for(lambda: "lastIntegrationDate" in client.get("/ext/inventories").json()["inventories"][0])
    assert server.stop() == 0
