"""The whole way to the channels, driven by a clock of its own: a catalog, stock, and a runner of all domains' jobs."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from ecross_server.app.events import subscribe_domains
from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.catalog import service as catalog
from ecross_server.catalog.rules import ProductsChanged, SkuDraft
from ecross_server.catalog.schemas import SkuOut, read_product
from ecross_server.channels import service as channels
from ecross_server.inventory import service as inventory
from ecross_server.inventory.rules import Count, InventoryType
from ecross_server.jobs.service import count_jobs
from ecross_server.jobs.tasks import Kind, Runner
from ecross_server.kit.database import Database
from ecross_server.localization import service as localization
from ecross_server.localization import tasks as localization_tasks
from ecross_server.localization.rules import RuleBook
from ecross_server.merchants import service as merchants
from ecross_server.publication import tasks as publication_tasks
from ecross_server.publication.feeds import FeedFile, feed_path

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)

EXAMPLE: dict[str, Any] = {
    "skuId": "1", "productId": "P", "name": "USB charger type C", "description": "Charges fast.\nHas two ports.",
    "weight": 0.1, "height": 4, "hscode": "850440", "images": ["https://img.test/1.jpeg"],
    "globalSaleChannelData": {"active": True, "brand": "ChargerW", "size": "2 meters", "color": "silver"},
}  # fmt: skip


@dataclass
class World:
    """A server without its processes: what merchants and operators do, and time that passes."""

    database: Database
    folder: Path
    now: datetime = NOW
    books: tuple[RuleBook, ...] = field(default_factory=localization.load_rule_books)

    @staticmethod
    def sku(sku_id: str = "1", product_id: str = "P", *, data: dict[str, Any] | None = None, **others: Any) -> Any:
        """A SKU that every rule lets pass, but for what is said of it."""
        data = EXAMPLE["globalSaleChannelData"] | (data or {})
        return EXAMPLE | {"skuId": sku_id, "productId": product_id, "globalSaleChannelData": data} | others

    @staticmethod
    def drafts(*skus: dict[str, Any]) -> list[SkuDraft]:
        """A product as the catalog takes it."""
        return read_product(json.dumps(skus).encode())

    @property
    def publishing(self) -> Mapping[str, Kind]:
        """The jobs of publication."""
        return publication_tasks.make_kinds(functools.partial(FeedFile.opened, self.folder))

    @property
    def checking(self) -> Mapping[str, Kind]:
        """The jobs of localization."""
        return localization_tasks.make_kinds(self.books)

    @property
    def kinds(self) -> dict[str, Kind]:
        """The jobs of all domains."""
        return {**self.checking, **self.publishing}

    @contextmanager
    def acting(self) -> Iterator[Session]:
        """A transaction of a merchant or an operator."""
        with self.database.write() as session:
            yield session

    def register(self, merchant_id: str) -> None:
        """Register a merchant."""
        with self.acting() as session:
            merchants.register_merchant(session, merchant_id, merchant_id, now=self.now, by=BY)

    def upsert(self, *skus: dict[str, Any], merchant_id: str = "ACME") -> None:
        """Send a product."""
        with self.acting() as session:
            catalog.upsert_skus(session, merchant_id, self.drafts(*skus), now=self.now)

    def stock(self, sku_id: str, quantity: int, merchant_id: str = "ACME") -> None:
        """Set stock."""
        with self.acting() as session:
            count = Count(sku_id, 1, InventoryType.AVAILABLE, quantity)
            inventory.set_inventory(session, merchant_id, count, now=self.now)

    def connect(self, channel_id: str, merchant_id: str = "ACME", *, review: bool = False) -> None:
        """Connect a merchant."""
        with self.acting() as session:
            channels.connect_merchant(session, merchant_id, channel_id, needs_review=review, now=self.now, by=BY)

    def disconnect(self, channel_id: str, merchant_id: str = "ACME") -> None:
        """Disconnect a merchant."""
        with self.acting() as session:
            channels.disconnect_merchant(session, merchant_id, channel_id, now=self.now, by=BY)

    def add_channel(self, channel_id: str, country: str, currency: str) -> None:
        """Add a channel."""
        with self.acting() as session:
            channels.add_channel(
                session, channel_id, name=channel_id, country=country, currency=currency, now=self.now, by=BY
            )

    def runner(self, worker: str = "w") -> Runner:
        """What runs jobs."""
        return Runner(self.database, self.kinds, worker=worker, clock=lambda: self.now)

    def pass_time(self, seconds: int = 5) -> None:
        """Let seconds pass, and all that is due be done."""
        runner = self.runner()
        for _ in range(seconds):
            runner.run_due()
            self.now += timedelta(seconds=1)
        while runner.run_due():
            pass

    def waiting(self) -> int:
        """How many jobs there are."""
        with self.database.read() as session:
            counts = count_jobs(session, now=self.now)
        return counts.due + counts.to_come + counts.dead

    def run(self, runs: int) -> None:
        """Let so many jobs be run."""
        runner = self.runner()
        runner.run_until(lambda _: runner.runs.total() >= runs)

    def queue_checks(self, count: int, merchant_id: str = "OTHER") -> None:
        """Let so many products be looked at; they are gone by then, so this takes no time."""
        with self.acting() as session:
            product_ids = frozenset(f"gone {number}" for number in range(count))
            localization.queue_product_checks(session, ProductsChanged(merchant_id, product_ids, self.now))

    def shown(self, sku_id: str = "1", merchant_id: str = "ACME") -> dict[str, Any]:
        """What the merchant sees of a SKU."""
        with self.database.write() as session:
            (kept,) = catalog.lock_skus(session, merchant_id, [sku_id])
            return SkuOut.of(kept).model_dump(by_alias=True, exclude_none=True)

    def status(self, sku_id: str = "1", merchant_id: str = "ACME") -> tuple[str, dict[str, tuple[str, str]]]:
        """Where a SKU stands: its localization, and each channel's status and message."""
        out = self.shown(sku_id, merchant_id)
        told = out["salesChannelStatus"]
        return out["localizationStatus"], {it: (told[it]["status"], told[it]["statusMessage"]) for it in told}

    def is_integrated(self, sku_id: str, merchant_id: str = "ACME") -> bool | None:
        """Whether a channel has taken over what was counted last; `None`: it never took any."""
        with self.acting() as session:
            (stock,) = inventory.sellable_stock(session, merchant_id, sku_id, "BR").stocks
        integrated_at = stock.record.last_integrated_at
        return None if integrated_at is None else integrated_at > stock.record.last_updated_at

    def lines(self, channel_id: str = "ECOM") -> list[dict[str, Any]]:
        """A feed as it stands in its file."""
        path = feed_path(self.folder, channel_id)
        return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []

    def feed(self, channel_id: str = "ECOM") -> dict[str, dict[str, Any]]:
        """What a reader of a feed makes of it: by id, what is to be shown."""
        shown: dict[str, dict[str, Any]] = {}
        for line in self.lines(channel_id):
            shown.pop(line.get("id", ""), None)
            if "id" in line and not line.get("removed"):
                shown[line["id"]] = line
        return shown


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    """A server in which ACME and OTHER are registered."""
    subscribe_domains(database)
    made = World(database, tmp_path / "feeds")
    made.register("ACME")
    made.register("OTHER")
    return made
