"""Reads and writes by key: ours, with token, validation and audit trail, beside plain routes that do the same work.

Both servers have one worker and a database of their own each, and take turns call by call. The figures of writes are
lower bounds: what a disk needs to make a commit durable is the same for both, and does not count as processor time.
Ours queues what goes on in the background, and does not run it meanwhile: plain routes have no such thing, and whatever
a call left to be done would be counted with the next one. What it costs is measured by `jobs` and `catalog`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError

from benchmarks.calls import JSON, Call, answer, filled, get_token
from benchmarks.figures import Spread
from benchmarks.load import Run, Target, run_load, save_call
from benchmarks.processes import Running
from benchmarks.servers import demo_credentials, new_postgresql, serving, serving_plainly
from ecross_server.catalog.endpoints import EXAMPLE
from ecross_server.cli.demo import MERCHANT_ID

TEN: Final = 10
WARM_UP_SECONDS: Final = 1
BULK_WORKERS: Final = 2


@dataclass(frozen=True, slots=True)
class Write:
    """The medians of a call's runs; its rows are SKUs, or stock records.

    `plain` are the plain route's, `ratio` is the processor time beside it in the same turn.
    """

    database: str
    workers: int
    call: str
    cpu_us: float
    per_second: float
    rows_per_second: float
    p50_ms: float
    p99_ms: float
    ratio: Spread | None = None
    plain: Write | None = None


@dataclass(frozen=True, slots=True)
class _Backend:
    name: str
    folder: Path
    ours: str | None
    plain: str | None


@dataclass(frozen=True, slots=True)
class _Pair:
    name: str
    rows: int
    ours: Target
    plain: Target


def measure_writes(folder: Path, rounds: int, seconds: int) -> list[Write]:
    """SQLite, and PostgreSQL if there is one.

    Raises:
        ProcessFailedError: if an answer is not the one expected.
    """
    sqlite = _Backend("SQLite", folder / "sqlite", None, None)
    rows = [*_beside_plain(sqlite, rounds, seconds), *_in_bulk(sqlite, rounds, seconds)]
    with contextlib.suppress(SQLAlchemyError), new_postgresql() as ours, new_postgresql() as plain:
        postgresql = _Backend("PostgreSQL", folder / "postgresql", ours, plain)
        rows += [*_beside_plain(postgresql, rounds, seconds), *_in_bulk(postgresql, rounds, seconds)]
    return rows


def _beside_plain(backend: _Backend, rounds: int, seconds: int) -> list[Write]:
    backend.folder.mkdir()
    with serving(backend.folder / "plain", demo=True, database_url=backend.plain):
        pass  # makes the tables, and the merchant that the plain routes are for
    plain_url = backend.plain or f"sqlite:///{backend.folder / 'plain' / 'ecross.db'}"
    ours: dict[str, list[Run]] = defaultdict(list)
    plain: dict[str, list[Run]] = defaultdict(list)
    with (
        serving(backend.folder / "ours", demo=True, database_url=backend.ours, has_jobs=False) as server,
        serving_plainly(backend.folder, plain_url, MERCHANT_ID) as peer,
    ):
        pairs = list(_pairs(backend.folder, server, peer))
        for pair in pairs:
            run_load(pair.plain, WARM_UP_SECONDS)
            run_load(pair.ours, WARM_UP_SECONDS)
        for _ in range(rounds):
            for pair in pairs:
                plain[pair.name].append(run_load(pair.plain, seconds))
                ours[pair.name].append(run_load(pair.ours, seconds, beside=plain[pair.name][-1]))
    return [
        dataclasses.replace(
            _medians(backend.name, 1, pair.name, pair.rows, ours[pair.name]),
            ratio=Spread.of([run.ratio for run in ours[pair.name]]),
            plain=_medians(backend.name, 1, pair.name, pair.rows, plain[pair.name]),
        )
        for pair in pairs
    ]


def _in_bulk(backend: _Backend, rounds: int, seconds: int) -> Iterator[Write]:
    with serving(backend.folder / "ours", workers=BULK_WORKERS, database_url=backend.ours, has_jobs=False) as server:
        bearer = _bearer(server, backend.folder)
        for name, product_id in (("add a product of 10 SKUs", "bulk-{n}"), ("change a product of 10 SKUs", "ten-{k}")):
            call = Call(name, "POST", "/ext/merchant/skus", 200, bearer, _product(product_id))
            target = Target(server, call, save_call(call, backend.folder / "call-bulk"))
            run_load(target, WARM_UP_SECONDS)
            yield _medians(backend.name, BULK_WORKERS, name, TEN, [run_load(target, seconds) for _ in range(rounds)])


def _bearer(server: Running, folder: Path) -> dict[str, str]:
    token = get_token(server, demo_credentials(folder / "ours"))
    return {**JSON, "Authorization": f"Bearer {token}"}


def _pairs(folder: Path, server: Running, peer: Running) -> Iterator[_Pair]:
    bearer = _bearer(server, folder)
    products, plain_products = "/ext/merchant/skus", "/plain/products"
    stock, plain_stock = "/ext/inventories/", "/plain/stock"
    for number in range(100):
        for path, plain_path, body in ((products, plain_products, _one()), (stock, plain_stock, _stock())):
            answer(server, filled(Call("first", "POST", path, 200, bearer, body), number))
            answer(peer, filled(Call("first", "POST", plain_path, 200, JSON, body), number))
    sellable = "/ext/inventories/sku/one-{k}/country/BR"
    both = [
        ("read a product of 1 SKU", 1, "GET", "/ext/merchant/products/one-{k}", f"{plain_products}/one-{{k}}", b""),
        ("read the stock of a SKU", 1, "GET", sellable, f"{plain_stock}/one-{{k}}", b""),
        ("set the stock of a SKU", 1, "POST", stock, plain_stock, _stock()),
        ("change a product of 1 SKU", 1, "POST", products, plain_products, _one()),
        ("change a product of 10 SKUs", TEN, "POST", products, plain_products, _product("ten-{k}")),
        ("add a product of 10 SKUs", TEN, "POST", products, plain_products, _product("new-{n}")),
    ]
    for number, (name, rows, method, path, plain_path, body) in enumerate(both):
        call = Call(name, method, path, 200, bearer, body)
        plain = Call(f"{name}, plain", method, plain_path, 200, JSON, body)
        yield _Pair(
            name,
            rows,
            Target(server, call, save_call(call, folder / f"call-ours-{number}")),
            Target(peer, plain, save_call(plain, folder / f"call-plain-{number}")),
        )


def _sku(sku_id: str, product_id: str) -> dict[str, Any]:
    return EXAMPLE | {
        "skuId": sku_id,
        "productId": product_id,
        "main": sku_id.endswith("-0"),
        "name": "USB charger type C, {n}",
        "description": "Charges fast.\nHas two ports. " * 10,
        "images": [f"https://img.test/{number}.jpeg" for number in range(3)],
    }


def _product(product_id: str) -> bytes:
    return json.dumps([_sku(f"{product_id}-{number}", product_id) for number in range(TEN)]).encode()


def _one() -> bytes:
    return json.dumps([_sku("one-{k}", "one-{k}")]).encode()


def _stock() -> bytes:
    return b'{"skuId":"one-{k}","quantity":{n},"warehouseId":1,"inventoryType":"AVAILABLE"}'


def _medians(database: str, workers: int, name: str, rows: int, runs: Sequence[Run]) -> Write:
    per_second = statistics.median(run.per_second for run in runs)
    return Write(
        database,
        workers,
        name,
        statistics.median(run.cpu_us for run in runs),
        per_second,
        per_second * rows,
        statistics.median(run.p50_ms for run in runs),
        statistics.median(run.p99_ms for run in runs),
    )
