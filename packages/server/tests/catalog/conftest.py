"""What the catalog's tests share: the API's published example, writing SKUs, and pages small enough to turn."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.catalog import service
from ecross_server.catalog.schemas import read_sku
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

PAGE_SIZE = 3

Save = Callable[..., None]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As everywhere, with small pages."""
    return settings.model_copy(update={"page_size": PAGE_SIZE})


@pytest.fixture
def example() -> dict[str, Any]:
    """A SKU with the values of the published page, as its merchant sends it."""
    return {
        "skuId": "1234567890", "productId": "1234567", "main": True, "name": "USB charger type C",
        "description": "Charges fast.\nHas two ports.", "weight": 0.1, "height": 4, "width": 4, "length": 19,
        "ean": "0799439112766", "hscode": "850440", "localizedListPriceWithTaxes": 9.99,
        "localizedSalePriceWithTaxes": 8.00,
        "globalSaleChannelData": {
            "active": True, "brand": "ChargerW", "size": "2 meters", "color": "silver",
            "category": "Telefones e Celulares/Acessórios/Carregadores",
            "attributes": [{"name": "Connection Type", "value": "USB-C"}],
        },
        "images": ["https://img.test/1.jpeg", "https://img.test/2.jpeg"],
    }  # fmt: skip


@pytest.fixture
def save(database: Database) -> Save:
    """Saves SKUs given in the API's form; `skuId`, `productId` and `name` have defaults."""

    def save_skus(merchant_id: str, *skus: dict[str, Any], now: datetime | None = None) -> None:
        defaults = {"skuId": "1", "productId": "p", "name": "n"}
        drafts = [read_sku(json.dumps(defaults | sku).encode()) for sku in skus]
        with database.write() as session:
            service.save_skus(session, merchant_id, drafts, now=now or utc_now())

    return save_skus


@pytest.fixture
def other_bearer(
    client: TestClient, application: Application, register: Callable[..., IssuedCredential]
) -> dict[str, str]:
    """The header that opens the API to the merchant OTHER."""
    issued = register("OTHER")
    application.auth.refresh()
    answer = client.post("/token", json={"clientId": issued.client.id, "clientSecret": issued.client_secret})
    return {"Authorization": f"Bearer {answer.json()['token']}"}
