"""Two merchants, each with everything that belongs to the other."""

from __future__ import annotations

import base64
import dataclasses
import itertools
import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from tests.attacks.conftest import SaveSku


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

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.client.post(path, json=body, headers=self.headers | headers)

    def skus(self) -> dict[str, Any]:
        """Its catalog, as it is shown."""
        shown: dict[str, Any] = {}
        page: dict[str, Any] = {"nextPageToken": ""}
        while "nextPageToken" in page:
            page = self.get("/ext/merchant/skus", nextPageToken=page["nextPageToken"]).json()
            shown |= {sku["skuId"]: sku for sku in page["skus"]}
        return shown


@pytest.fixture
def enter(
    client: TestClient, application: Application, register: Callable[..., IssuedCredential], save_sku: SaveSku
) -> Callable[..., Tenant]:
    """Makes a merchant, unless it has credentials, with five SKUs, and a client for it."""

    def make(merchant_id: str, issued: IssuedCredential | None = None) -> Tenant:
        issued = issued or register(merchant_id)
        application.auth.refresh()
        for number in range(5):
            save_sku(merchant_id, str(number))
        body = {"clientId": issued.client.id, "clientSecret": issued.client_secret}
        token = client.post("/token", json=body).json()["token"]
        return Tenant(merchant_id, client, issued, {"Authorization": f"Bearer {token}"})

    return make


@pytest.fixture
def tenants(enter: Callable[..., Tenant], credential: IssuedCredential) -> list[Tenant]:
    """Both with SKUs of the same ids and names of their own."""
    return [enter("ACME", credential), enter("OTHER")]


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


def get_product(caller: Tenant, other: Tenant) -> None:
    """A product of both is the caller's own, one of the other alone is not found, whatever is said beside it."""
    product = caller.get("/ext/merchant/products/p").json()
    assert {sku["merchantId"] for sku in product} == {caller.merchant_id}
    assert other.merchant_id not in json.dumps(product)
    only = f"only-{other.merchant_id}"
    assert other.post("/ext/merchant/skus", [{"skuId": only, "productId": only, "name": "n"}]).status_code == 200
    for path in (only, f"{other.merchant_id}-{only}", f"{other.merchant_id}-p", "%2E%2E%2Fp", f"{only}%00"):
        answer = caller.get(f"/ext/merchant/products/{path}", merchantId=other.merchant_id)
        assert answer.status_code == 404
        assert other.merchant_id not in answer.text
    nowhere = caller.get("/ext/merchant/products/nowhere")
    assert caller.get(f"/ext/merchant/products/{only}").content == nowhere.content


def upsert_skus(caller: Tenant, other: Tenant) -> None:
    """Whatever the caller sends, the other's catalog stays as it is, and its keys answer nobody else."""
    path = "/ext/merchant/skus"
    key = {"Idempotency-Key": f"of-{caller.merchant_id}"}
    assert other.post(path, [{"skuId": "k", "productId": "k", "name": "n"}], **key).status_code == 200
    before = other.skus()
    sent = {
        "skuId": "0", "productId": "p", "name": f"by {caller.merchant_id}", "merchantId": other.merchant_id,
        "id": f"{other.merchant_id}-0", "merchantProductId": f"{other.merchant_id}-p",
    }  # fmt: skip
    (answered,) = caller.post(path, [sent], **key, **{"X-Merchant-Id": other.merchant_id}).json()
    assert (answered["id"], answered["merchantId"]) == (f"{caller.merchant_id}-0", caller.merchant_id)
    assert set(caller.skus()) - {"k"} == {"0"}  # its own product lost the rest
    assert other.skus() == before


def count(number: int, sku_id: str = "0") -> dict[str, Any]:
    return {"skuId": sku_id, "quantity": number, "warehouseId": 1, "inventoryType": "AVAILABLE"}


def set_inventory(path: str) -> Callable[[Tenant, Tenant], None]:
    def attack(caller: Tenant, other: Tenant) -> None:
        """Whatever the caller counts, the other's numbers stay, and its keys answer nobody else."""
        key = {"Idempotency-Key": f"count-of-{caller.merchant_id}"}
        theirs = other.post(path, count(7), **key).json()
        mine = caller.post(path, count(8) | {"merchantId": other.merchant_id, "id": theirs["id"]}, **key).json()
        assert (mine["id"], mine["quantity"]) == (f"{caller.merchant_id}-0-1-AVAILABLE", 8)
        assert other.post(path, count(7), **key).json() == theirs
        (kept,) = other.get("/ext/inventories/sku/0/country/BR").json()["inventories"]
        assert (kept["merchantId"], kept["quantity"]) == (other.merchant_id, 7)

    return attack


def list_inventory(caller: Tenant, other: Tenant) -> None:
    """All pages hold the caller's own; the other's page tokens are none."""
    for tenant in (caller, other):
        for number in range(3):
            assert tenant.post("/ext/inventories/", count(number + 1, str(number))).status_code == 200
    first = caller.get("/ext/inventories", merchantId=other.merchant_id).json()
    second = caller.get("/ext/inventories", nextPageToken=first["nextPageToken"]).json()
    for page in (first, second):
        assert {record["merchantId"] for record in page["inventories"]} == {caller.merchant_id}
        assert other.merchant_id not in json.dumps(page)
    for token in (other.get("/ext/inventories").json(), caller.get("/ext/merchant/skus").json()):
        answer = caller.get("/ext/inventories", nextPageToken=token["nextPageToken"])
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_page_token")


def get_sellable_stock(caller: Tenant, other: Tenant) -> None:
    """Stock of the other alone, and its name of a SKU, are not there."""
    only = f"only-{other.merchant_id}"
    assert other.post("/ext/inventories/", count(5, only)).status_code == 200
    nowhere = caller.get("/ext/inventories/sku/nowhere/country/BR")
    for path in (only, f"{other.merchant_id}-{only}", f"{only}%00"):
        answer = caller.get(f"/ext/inventories/sku/{path}/country/BR", merchantId=other.merchant_id)
        assert (answer.status_code, answer.content) == (404, nowhere.content)
    named = f"named-{other.merchant_id}"
    assert other.post("/ext/merchant/skus", [{"skuId": named, "productId": named, "name": "n"}]).status_code == 200
    assert "skuName" not in caller.post("/ext/inventories/", count(1, named)).json()


ROUTES: dict[tuple[str, str], Callable[[Tenant, Tenant], None]] = {
    ("GET", "/ext/merchant/skus"): list_skus,
    ("GET", "/ext/merchant/products/{productId}"): get_product,
    ("POST", "/ext/merchant/skus"): upsert_skus,
    ("POST", "/ext/inventories/"): set_inventory("/ext/inventories/"),
    ("POST", "/ext/inventories"): set_inventory("/ext/inventories"),
    ("GET", "/ext/inventories"): list_inventory,
    ("GET", "/ext/inventories/sku/{skuId}/country/{country}"): get_sellable_stock,
}


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


SKU_IDS = st.sets(st.sampled_from("0123"), min_size=1, max_size=3)
UPSERTS = st.tuples(st.just("/ext/merchant/skus"), st.sampled_from("pq"), SKU_IDS)
COUNTS = st.tuples(
    st.sampled_from(["/ext/inventories", "/ext/inventories/"]), st.sampled_from("0123x"), st.integers(0, 3)
)
KEYS = st.sampled_from([None, None, "k", "l"])
WRITES = st.tuples(st.booleans(), UPSERTS | COUNTS, KEYS)
VALUES = {"productId": "pq", "skuId": "0123x", "country": ["BR"]}
INSTANT = re.compile(r'"[0-9-]{10}T[0-9:.]{8,12}Z"')


def write(tenant: Tenant, path: str, subject: str, rest: Any, key: str | None) -> tuple[int, str]:
    """What a merchant is answered; nothing in the request depends on who it is."""
    if isinstance(rest, int):
        body: Any = count(rest, subject)
    else:
        body = [{"skuId": sku_id, "productId": subject, "name": f"{subject}{sku_id}"} for sku_id in sorted(rest)]
    answer = tenant.post(path, body, **({} if key is None else {"Idempotency-Key": key}))
    return answer.status_code, anonymous(tenant, answer.text)


def anonymous(tenant: Tenant, text: str) -> str:
    """The answer without all that may differ between two merchants that did the same: who it is, and when."""
    return INSTANT.sub("now", text.replace(tenant.merchant_id, "ME"))


def read_all(tenant: Tenant, routes: Sequence[str]) -> list[tuple[int, str]]:
    """What a merchant gets from every route that only reads, with every value, all pages, by date and without."""
    answers = []
    for route in routes:
        names = re.findall("{(.*?)}", route)
        for values in itertools.product(*(VALUES[name] for name in names)):
            path = route.format(**dict(zip(names, values, strict=True)))
            for instant in ("", "2000-01-01T00:00:00Z") if not names else ("",):
                token: str | None = ""
                while token is not None:
                    answer = tenant.get(path, lastUpdateDateFrom=instant, nextPageToken=token)
                    content = answer.json()
                    token = content.pop("nextPageToken", None) if isinstance(content, dict) else None
                    answers.append((answer.status_code, anonymous(tenant, json.dumps(content))))
    return answers


def test_each_sees_what_it_would_see_if_it_were_alone(
    tenants: list[Tenant], enter: Callable[[str], Tenant], client: TestClient
) -> None:
    """Any writes of two merchants in any order, with the same ids and keys; and each one's writes by a third, alone."""
    alone = [enter(f"ALONE_{number}") for number in range(2)]
    paths: Any = client.get("/openapi.json").json()["paths"]
    routes = [path for path, methods in paths.items() if "get" in methods and path.startswith("/ext/")]

    @examples(max_examples=10, deadline=None)
    @given(st.lists(WRITES, min_size=1, max_size=8))
    def check(writes: list[tuple[bool, tuple[str, str, Any], str | None]]) -> None:
        together = [(number, write(tenants[number], *what, key)) for number, what, key in writes]
        for number, (mine, lonely) in enumerate(zip(tenants, alone, strict=True)):
            answers = [write(lonely, *what, key) for whose, what, key in writes if whose == number]
            assert [answer for whose, answer in together if whose == number] == answers
            seen = read_all(mine, routes)
            assert seen == read_all(lonely, routes)
            assert tenants[1 - number].merchant_id not in str(seen)

    check()


def test_parts_of_two_good_tokens_open_nothing(tenants: list[Tenant]) -> None:
    first, second = (tenant.headers["Authorization"].removeprefix("Bearer ").split(".") for tenant in tenants)
    for parts in itertools.product(*zip(first, second, strict=True)):
        mixed = ".".join(parts)
        is_whole = parts in (tuple(first), tuple(second))
        caller = dataclasses.replace(tenants[0], headers={"Authorization": f"Bearer {mixed}"})
        for path in ("/ext/merchant/skus", "/ext/merchant/products/p", "/ext/inventories"):
            assert caller.get(path).status_code == (200 if is_whole else 401)
        for path in ("/ext/merchant/skus", "/ext/inventories/"):
            assert caller.post(path, "").status_code == (400 if is_whole else 401)


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
