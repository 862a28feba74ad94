"""Two merchants, each with everything that belongs to the other."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from tests.attacks.conftest import SaveSku

MERCHANTS = ("ACME", "OTHER")


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Pages of two, so that there are page tokens."""
    return settings.model_copy(update={"page_size": 2})


@dataclass
class Tenant:
    """A merchant, and a client that calls for it."""

    merchant_id: str
    client: TestClient
    credential: IssuedCredential
    headers: dict[str, str]

    def get(self, path: str, **params: str) -> Any:
        return self.client.get(path, params=params, headers=self.headers)


@pytest.fixture
def tenants(
    client: TestClient, application: Application, credential: IssuedCredential,
    register: Callable[..., IssuedCredential], save_sku: SaveSku,
) -> list[Tenant]:  # fmt: skip
    """Both with SKUs of the same ids and names of their own."""
    credentials = [credential, register("OTHER")]
    application.auth.refresh()
    made = []
    for merchant_id, issued in zip(MERCHANTS, credentials, strict=True):
        for number in range(5):
            save_sku(merchant_id, str(number))
        body = {"clientId": issued.client.id, "clientSecret": issued.client_secret}
        token = client.post("/token", json=body).json()["token"]
        made.append(Tenant(merchant_id, client, issued, {"Authorization": f"Bearer {token}"}))
    return made


def list_skus(caller: Tenant, other: Tenant) -> None:
    """All pages hold the caller's own; the other's page tokens are none, whole or in parts."""
    params: dict[str, str] = {}
    count = 0
    while True:
        page = caller.get("/ext/merchant/skus", **params).json()
        count += len(page["skus"])
        assert {sku["merchantId"] for sku in page["skus"]} == {caller.merchant_id}
        assert other.merchant_id not in json.dumps(page)
        if "nextPageToken" not in page:
            break
        params = {"nextPageToken": page["nextPageToken"]}
    assert count == 5
    foreign = other.get("/ext/merchant/skus").json()["nextPageToken"]
    own = caller.get("/ext/merchant/skus").json()["nextPageToken"]
    foreign_bytes, own_bytes = (base64.urlsafe_b64decode(token + "==") for token in (foreign, own))
    mixed = base64.urlsafe_b64encode(own_bytes[:16] + foreign_bytes[16:-1] + b"9").decode().rstrip("=")
    for token in (foreign, mixed, foreign[:22] + own[22:]):
        if token != own:
            answer = caller.get("/ext/merchant/skus", nextPageToken=token)
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")
    for name in ("merchantId", "merchant_id", "merchant", "clientId", "tenant"):
        answer = caller.get("/ext/merchant/skus", **{name: other.merchant_id})
        assert other.merchant_id not in answer.text
    for header in ("X-Merchant-Id", "X-Tenant", "X-Client-Id"):
        answer = caller.client.get("/ext/merchant/skus", headers={**caller.headers, header: other.merchant_id})
        assert other.merchant_id not in answer.text


ROUTES: dict[tuple[str, str], Callable[[Tenant, Tenant], None]] = {("GET", "/ext/merchant/skus"): list_skus}


def test_every_private_route_has_its_attack(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    private = {
        (method.upper(), path)
        for path, methods in document["paths"].items()
        for method in methods
        if path.startswith("/ext")
    }
    assert private == set(ROUTES)


@pytest.mark.parametrize("route", ROUTES)
def test_no_merchant_sees_what_is_anothers(tenants: list[Tenant], route: tuple[str, str]) -> None:
    first, second = tenants
    ROUTES[route](first, second)
    ROUTES[route](second, first)


def test_the_secret_of_one_does_not_open_the_other(tenants: list[Tenant]) -> None:
    for mine, other in (tenants, tenants[::-1]):
        body = {"clientId": other.credential.client.id, "clientSecret": mine.credential.client_secret}
        assert mine.client.post("/token", json=body).status_code == 401


def test_a_merchant_that_its_token_only_claims_is_not_believed(tenants: list[Tenant], application: Application) -> None:
    acme, other = tenants
    now = int(time.time())
    token = application.auth._keys.content.sign(
        client_id=acme.credential.client.id, merchant_id=other.merchant_id, scope="merchant", epoch=1,
        token_id="0" * 32, issued_at=now, expires_at=now + 60,
    )  # fmt: skip
    answer = acme.client.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {token}"})
    assert other.merchant_id not in answer.text
