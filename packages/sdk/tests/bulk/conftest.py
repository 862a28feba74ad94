"""A server in memory, as far as a sync sees one: it takes products and stock, dates them, and lists what changed."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import pytest

from ecross._bulk import Place
from ecross._bulk.drivers import run_in_threads
from ecross._bulk.flow import Order, synchronize
from ecross._operations import Operation
from ecross.types import SyncProgress, SyncReport

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)
PAGE_SIZE = 3


@dataclass
class World:
    """The server. `sent` are the bodies of writing calls, `listed` the instants that lists were asked from."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    sent: list[Any] = field(default_factory=list)
    listed: list[str | None] = field(default_factory=list)
    shows_dates: bool = True
    errors: dict[str, list[Exception]] = field(default_factory=lambda: defaultdict(list))
    """What to raise, by the id of the first SKU that is sent, before it is taken."""
    answer: Any = None
    """What a writing call is answered with instead."""
    before: Callable[[], object] = lambda: None
    """What happens before each writing call."""
    _ticks: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def perform(self, operation: Operation[T]) -> T:
        """Answer a call."""
        self.before()
        with self._lock:
            answer = self._list(operation) if operation.method == "GET" else self.answer or self._take(operation)
            content = json.dumps(answer).encode()
            return operation.result(httpx2.Response(200, content=content), "r-1")

    def upsert(self, skus: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """As any writer does."""
        date = self._now()
        for row in self.rows.values():
            if row["productId"] == skus[0]["productId"] and row["skuId"] not in {sku["skuId"] for sku in skus}:
                self._change(row["skuId"], {**row, "localizationStatus": "DELETED"}, date)
        for sku in skus:
            self._change(sku["skuId"], {**sku, "localizationStatus": "PENDING_LOCALIZATION"}, date)
        return [self.rows[sku["skuId"]] for sku in skus]

    def living(self) -> dict[str, dict[str, Any]]:
        """The SKUs that are there, as they were sent."""
        return {
            sku_id: {name: value for name, value in row.items() if name not in {"localizationStatus", "lastUpdateDate"}}
            for sku_id, row in self.rows.items()
            if row.get("localizationStatus") != "DELETED"
        }

    def move_on(self, sku_id: str) -> None:
        """The server itself changes what it shows of a SKU."""
        self._change(sku_id, {**self.rows[sku_id], "localizationStatus": "READY_FOR_SALES_CHANNEL"}, self._now())

    def _take(self, operation: Operation[Any]) -> Any:
        body = json.loads(operation.content or b"")
        self.sent.append(body)
        first = (body[0] if isinstance(body, list) else body)["skuId"]
        if self.errors[first]:
            raise self.errors[first].pop(0)
        if operation.path == "/ext/merchant/skus":
            return list(map(self._shown, self.upsert(body)))
        key = f"{body['skuId']}/{body['warehouseId']}/{body['inventoryType']}"
        self._change(key, body, self._now())
        return self._shown(self.rows[key])

    def _list(self, operation: Operation[Any]) -> Any:
        since, page_token = operation.params.get("lastUpdateDateFrom"), operation.params.get("nextPageToken", "0")
        if page_token == "0":
            self.listed.append(since)
        rows = [
            row
            for row in self.rows.values()
            if (row.get("localizationStatus") != "DELETED" if since is None else row["lastUpdateDate"] > since)
        ]
        begin = int(page_token)
        name = operation.path.rsplit("/", 1)[1]
        page: dict[str, Any] = {name: list(map(self._shown, rows[begin : begin + PAGE_SIZE]))}
        if begin + PAGE_SIZE < len(rows):
            page["nextPageToken"] = str(begin + PAGE_SIZE)
        return page

    def _now(self) -> str:
        self._ticks += 1
        return (START + timedelta(seconds=self._ticks)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _change(self, key: str, row: dict[str, Any], date: str) -> None:
        known = self.rows.get(key, {})
        if any(known.get(name) != value for name, value in row.items() if name != "lastUpdateDate"):
            self.rows[key] = {**row, "lastUpdateDate": date}

    def _shown(self, row: dict[str, Any]) -> dict[str, Any]:
        # Prices are taken and not shown.
        hidden = {"localizedListPriceWithTaxes", *([] if self.shows_dates else ["lastUpdateDate"])}
        return {name: value for name, value in row.items() if name not in hidden}


@pytest.fixture
def world() -> World:
    """An empty server."""
    return World()


Bring = Callable[..., SyncReport]


@pytest.fixture
def bring(world: World, tmp_path: Path) -> Bring:
    """Brings a source to the server, with one state for all runs of a client id."""

    def run(
        source: Any,
        *,
        subject: str = "catalog",
        client_id: str = "acme",
        directory: Path | None = tmp_path / "cache",
        workers: int = 2,
        sleep: Callable[[float], None] = lambda _: None,
        on_progress: Callable[[SyncProgress], object] | None = None,
        **options: Any,
    ) -> SyncReport:
        order = Order(subject, source, Place(directory, "https://api.test", client_id), at_once=workers, **options)
        return run_in_threads(synchronize(order), world.perform, workers=workers, sleep=sleep, on_progress=on_progress)

    return run
