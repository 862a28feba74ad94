"""What becomes of SKUs and stock by themselves: on the fake server as by the real one's jobs.

One clock drives both. One story is told to both, and after each step it is compared what is seen at once and at rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st
from starlette.testclient import TestClient

from ecross.testing import FakeServer
from ecross_server.app.assembly import Application
from ecross_server.app.jobs import make_kinds
from ecross_server.audit.service import Actor
from ecross_server.inventory import service as inventory
from ecross_server.inventory.rules import Count, InventoryType, WarehouseType
from ecross_server.jobs.tasks import Runner
from ecross_server.merchants.service import IssuedCredential
from ecross_server.settings import Settings

pytestmark = pytest.mark.measured

SECONDS = 4
"""Within so many both are at rest."""

RETURNS = {1000: "BR", 1001: "MX"}
"""Warehouses for returns, and their countries."""

PLACEHOLDER = "lorem ipsum"
ARMS = "930200"
READY = "READY_FOR_SALES_CHANNEL"
APPROVED = {"ECOM": ("SALES_CHANNEL_APPROVED", "Integration successful")}
INACTIVE = {"ECOM": ("SALES_CHANNEL_REMOVED", "Not active")}
UNFINISHED = {"ECOM": ("SALES_CHANNEL_DENIED", "description: is a placeholder")}


@pytest.fixture
def backend() -> str:
    """SQLite alone: that both databases move SKUs alike is shown where the jobs are tested."""
    return "sqlite"


def sku(sku_id: str = "1", product_id: str = "P", *, active: bool | None = None, **others: Any) -> dict[str, Any]:
    """A SKU that the server's rules let pass, but for what is said of it."""
    return {
        "skuId": sku_id, "productId": product_id, "name": "USB charger", "description": "Charges fast.",
        "images": ["https://img.test/1.jpeg"],
        "globalSaleChannelData": {"color": sku_id} if active is None else {"color": sku_id, "active": active},
    } | others  # fmt: skip


def verdict_on(sent: dict[str, Any]) -> dict[str, str] | None:
    """What the server's rules find in a SKU of these stories."""
    if sent.get("hscode") == ARMS:
        return {"status": "DENIED_REGULATORY", "reason": "HS code: arms and ammunition may not be sold"}
    if sent["description"] == PLACEHOLDER:
        return {"status": "REVIEW_DENIED", "reason": "description: is a placeholder"}
    return None


@dataclass
class Told:
    """A server that is told a story, as the merchant sees it. Its own ids begin with a text, which is not in `seen`."""

    client: httpx2.Client | TestClient
    bearer: dict[str, str]
    prefix: str = ""
    since: str = "2000-01-01T00:00:00Z"
    dates: dict[str, str] = field(default_factory=dict)

    def upsert(self, skus: tuple[dict[str, Any], ...]) -> Any:
        """Send a product; the answer."""
        own = [{**it, "skuId": self.prefix + it["skuId"], "productId": self.prefix + it["productId"]} for it in skus]
        answer = self.client.post("/ext/merchant/skus", headers=self.bearer, json=own)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def seen(self) -> dict[str, Any]:
        """Where each SKU and stock record stands, and what got another date since this was last asked."""
        seen: dict[str, Any] = {}
        dates: dict[str, str] = {}
        for sku_id, entry in self._entries("merchant/skus", "skus"):
            channels = entry["salesChannelStatus"]
            told = {name: (it["status"], it["statusMessage"]) for name, it in channels.items()}
            seen[sku_id] = (entry["localizationStatus"], told)
            dates[sku_id] = entry["lastUpdateDate"]
            dates |= {f"{sku_id} {name}": it["statusDate"] for name, it in channels.items()}
        for sku_id, entry in self._entries("inventories", "inventories"):
            name = f"{sku_id} in {entry['warehouseId']} {entry['inventoryType']}"
            seen[name] = "lastIntegrationDate" in entry
            dates[name] = entry.get("lastIntegrationDate", "")
        changed = {name for name, date in dates.items() if self.dates.get(name) != date}
        self.dates = dates
        return seen | {"changed": changed}

    def _entries(self, path: str, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
        content = self.client.get(f"/ext/{path}?lastUpdateDateFrom={self.since}", headers=self.bearer).json()
        assert list(content) == [name], "there is one page"
        for entry in content[name]:
            yield entry["skuId"].removeprefix(self.prefix), entry


@dataclass
class Both:
    """The two servers, and what drives them."""

    real: Told
    fake: Told
    server: FakeServer
    application: Application
    settings: Settings
    operator: Actor

    def __post_init__(self) -> None:
        kinds = make_kinds(self.settings)
        self.runner = Runner(self.application.database, kinds, worker="w", clock=self.now)

    def begin(self, prefix: str) -> None:
        """Begin another story; what was told before is left out."""
        since = f"{self.now() - timedelta(seconds=0.5):%Y-%m-%dT%H:%M:%S.%fZ}"
        for told in (self.real, self.fake):
            told.prefix, told.since, told.dates = prefix, since, {}

    def upsert(self, *skus: dict[str, Any]) -> dict[str, Any]:
        """Send a product; what is seen at rest. The fake, which has no rules, is told what they will find."""
        self.real.upsert(skus)
        for sent, shown in zip(skus, self.fake.upsert(skus), strict=True):
            verdict = verdict_on(sent)
            if verdict is not None and shown["localizationStatus"] == "PENDING_LOCALIZATION":
                self.server.merchant().deny_sku(shown["skuId"], **verdict)
        return self.at_rest()

    def stock(self, sku_id: str, quantity: int, warehouse_id: int = 1, type_: str = "AVAILABLE") -> dict[str, Any]:
        """Set stock; what is seen at rest."""
        own = self.real.prefix + sku_id
        with self.application.database.write() as session:
            count = Count(own, warehouse_id, InventoryType(type_), quantity)
            inventory.count_inventory(session, "ACME", count, now=self.now(), by=self.operator)
        self.server.merchant().put_inventory(own, quantity, warehouse_id=warehouse_id, inventory_type=type_)
        return self.at_rest()

    def at_rest(self) -> dict[str, Any]:
        """What is seen of both when nothing moves any more."""
        assert self.fake.seen() == self.real.seen()
        for _ in range(SECONDS):
            self.runner.run_due()
            self.server.advance(1)
        assert self.runner.run_due() == 0
        seen = self.real.seen()
        assert self.fake.seen() == seen
        return seen

    def now(self) -> datetime:
        """The time of both."""
        return datetime.fromtimestamp(self.server.clock(), UTC)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    """The fake server, by whose clock all goes."""
    with FakeServer() as made:
        yield made


@pytest.fixture
def application(settings: Settings, credential: IssuedCredential, server: FakeServer) -> Application:
    """The real server; ACME is registered."""
    del credential  # its registry is read when the client starts it
    return Application(settings, clock=server.clock)


@pytest.fixture
def real(client: TestClient, bearer: dict[str, str]) -> Told:
    """The real server as ACME sees it."""
    return Told(client, bearer)


@pytest.fixture
def both(
    real: Told, server: FakeServer, application: Application, settings: Settings, operator: Actor
) -> Iterator[Both]:
    """The two servers, with ACME and its warehouses on each."""
    merchant = server.merchant()
    with application.database.write() as session:
        for number, country in RETURNS.items():
            merchant.add_warehouse(number, name="Returns", country=country, type="RETURNS")
            inventory.add_warehouse(
                session, "ACME", number, name="Returns", country=country, type_=WarehouseType.RETURNS, by=operator
            )
    fakes_bearer = {"Authorization": f"Bearer {merchant.issue_token()}"}
    with httpx2.Client(transport=server.transport, base_url=server.base_url) as http:
        yield Both(real, Told(http, fakes_bearer), server, application, settings, operator)


def test_a_sku_and_its_stock_from_the_first_day_to_the_last(both: Both) -> None:
    assert not both.stock("1", 3)["1 in 1 AVAILABLE"]
    seen = both.upsert(sku())
    assert seen["1"] == (READY, APPROVED)
    assert seen["1 in 1 AVAILABLE"]
    seen = both.upsert(sku(name="Another"))
    assert (seen["1"], seen["changed"]) == ((READY, APPROVED), {"1", "1 ECOM"})
    assert both.upsert(sku(name="Another"))["changed"] == set()
    assert both.upsert(sku(name="Another", localizedListPriceWithTaxes=5))["changed"] == set(), "but at once"
    assert both.stock("1", 4)["changed"] == {"1 in 1 AVAILABLE"}

    assert both.upsert(sku(name="Another", active=False))["1"] == (READY, INACTIVE)
    assert both.stock("1", 0)["changed"] == set()
    seen = both.upsert(sku(active=True))
    assert (seen["1"], seen["changed"]) == ((READY, APPROVED), {"1", "1 ECOM", "1 in 1 AVAILABLE"})

    assert both.upsert(sku("2"))["1"] == ("DELETED", {})
    assert both.stock("1", 9)["changed"] == set()
    assert both.upsert(sku(active=False), sku("2"))["1"] == (READY, {})
    assert both.upsert(sku(), sku("2"))["1"] == (READY, APPROVED)


def test_what_is_denied_comes_back_when_it_is_mended(both: Both) -> None:
    assert both.upsert(sku(description=PLACEHOLDER))["1"] == ("REVIEW_DENIED", UNFINISHED)
    assert not both.stock("1", 1)["1 in 1 AVAILABLE"]
    assert both.upsert(sku(description=PLACEHOLDER, active=False))["1"] == ("REVIEW_DENIED", UNFINISHED)
    seen = both.upsert(sku())
    assert seen["1"] == (READY, APPROVED)
    assert seen["1 in 1 AVAILABLE"]
    assert both.upsert(sku(hscode=ARMS))["1"][0] == "DENIED_REGULATORY"
    assert both.upsert(sku(active=False))["1"] == (READY, INACTIVE)


def test_a_channel_takes_over_what_it_may_sell(both: Both) -> None:
    both.upsert(sku())
    both.stock("1", 1, type_="DAMAGED")
    both.stock("1", 1, 1000)
    seen = both.stock("1", 1, 1001)
    assert {name for name, it in seen.items() if it is True} == {"1 in 1000 AVAILABLE"}


CHANGES: list[dict[str, Any]] = [
    {"name": "Another"}, {"description": "Charges very fast."}, {"weight": 1}, {"height": 1}, {"width": 1},
    {"length": 1}, {"ean": "0799439112766"}, {"hscode": "850440"}, {"images": ["https://img.test/2.jpeg"]},
    *({"globalSaleChannelData": {name: "x"}} for name in ("brand", "size", "color", "category")),
    {"globalSaleChannelData": {"attributes": [{"name": "n", "value": "v"}]}}, {"globalSaleChannelData": None},
    {"localizedListPriceWithTaxes": 5}, {"localizedSalePriceWithTaxes": 4}, {"productId": "Q"},
]  # fmt: skip
"""One for each field; the rules let all of them pass where a product has one SKU."""


def test_a_change_of_any_field_has_the_same_consequences(both: Both) -> None:
    sent = sku()
    both.upsert(sent)
    for change in CHANGES:
        sent |= change
        assert both.upsert(sent)["1"] == (READY, APPROVED)
    both.upsert(sku("1"), sku("2"))
    assert both.upsert(sku("1"), sku("2", main=True))["changed"] == {"1", "1 ECOM", "2", "2 ECOM"}


STORIES = itertools.count()
FIELDS = st.fixed_dictionaries({}, optional={
    "name": st.just("Another"), "active": st.booleans(), "description": st.just(PLACEHOLDER), "weight": st.just(2),
    "localizedSalePriceWithTaxes": st.just(3), "hscode": st.just(ARMS),
})  # fmt: skip
PRODUCT = st.builds(
    lambda product_id, main, members: [sku(it, product_id, main=it == main, **members[it]) for it in members],
    st.sampled_from("PQ"),
    st.sampled_from("120"),
    st.dictionaries(st.sampled_from("12"), FIELDS, min_size=1),
)
COUNT = st.tuples(st.sampled_from("12"), st.integers(0, 2), st.sampled_from([1, *RETURNS]))


@examples(max_examples=7, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(PRODUCT | COUNT, min_size=3, max_size=5))
def test_any_steps_lead_to_the_same(steps: list[Any], both: Both) -> None:
    both.begin(f"s{next(STORIES)}-")
    for step in steps:
        if isinstance(step, tuple):
            both.stock(*step)
        else:
            both.upsert(*step)
