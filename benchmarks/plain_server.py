"""The peer of reads and writes: the same work on the same tables, as plain FastAPI and SQLAlchemy routes do it.

It asks for no token, checks nothing of what it is sent and limits nothing: JSON in and out, the ORM, one commit.
`python -m benchmarks.plain_server` serves the database that BENCH_DATABASE names, for the merchant BENCH_MERCHANT,
with the same settings of uvicorn, the same pool and the same durability as the server's; it prints where it listens.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from fastapi import Body, FastAPI
from fastapi.responses import JSONResponse
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session

from benchmarks.null_server import serve
from ecross_server.catalog.models import Sku
from ecross_server.inventory.models import InventoryRecord
from ecross_server.kit.database import CONNECTIONS
from ecross_server.migrations import tables  # what the two refer to must be known

MERCHANT: Final = os.environ.get("BENCH_MERCHANT", "")
NUMBERS: Final = {
    "weight": "weight_kg", "height": "height_cm", "width": "width_cm", "length": "length_cm",
    "localizedListPriceWithTaxes": "origin_list_price", "localizedSalePriceWithTaxes": "origin_sale_price",
}  # fmt: skip
TEXTS: Final = {
    "productId": "product_id", "name": "name", "description": "description", "ean": "ean", "hscode": "hs_code",
    "globalSaleChannelData": "sale_channel_data", "images": "images",
}  # fmt: skip
SHOWN_NUMBERS: Final = ("weight", "height", "width", "length")

del tables
engine = create_engine(
    os.environ.get("BENCH_DATABASE", "sqlite://"), pool_size=CONNECTIONS, max_overflow=0, pool_timeout=60
)
app = FastAPI()


@event.listens_for(engine, "connect")
def prepare(connection: DBAPIConnection, _entry: object) -> None:
    """SQLite as the server uses it: durable, foreign keys checked, and patient with other writers."""
    if engine.dialect.name == "sqlite":
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "foreign_keys=ON", "busy_timeout=60000"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()


@contextlib.contextmanager
def writing() -> Iterator[Session]:
    """A transaction. One that only reads at first would be refused by SQLite when it writes after another one."""
    with Session(engine, expire_on_commit=False) as session, session.begin():
        if engine.dialect.name == "sqlite":
            session.execute(text("BEGIN IMMEDIATE"))
        yield session


@app.get("/plain/products/{product_id}")
def get_product(product_id: str) -> JSONResponse:
    """All SKUs of a product."""
    with Session(engine) as session:
        query = select(Sku).where(Sku.merchant_id == MERCHANT, Sku.product_id == product_id).order_by(Sku.number)
        return JSONResponse([sku_out(sku) for sku in session.scalars(query)])


@app.post("/plain/products")
def put_product(skus: list[dict[str, Any]] = Body()) -> JSONResponse:  # noqa: B008, FAST002 - FastAPI's plain way
    """Make a product consist of these SKUs."""
    now = datetime.now(UTC)
    with writing() as session:
        query = select(Sku).where(Sku.merchant_id == MERCHANT, Sku.product_id == skus[0]["productId"])
        known = {sku.sku_id: sku for sku in session.scalars(query)}
        kept = []
        for content in skus:
            sku = known.pop(content["skuId"], None)
            if sku is None:
                sku = Sku(
                    merchant_id=MERCHANT, sku_id=content["skuId"], sales_channel_status={},
                    localization_status="PENDING_LOCALIZATION",
                )  # fmt: skip
                session.add(sku)
            sku.is_main = content.get("main", False)
            for name, attribute in TEXTS.items():
                setattr(sku, attribute, content.get(name))
            for name, attribute in NUMBERS.items():
                setattr(sku, attribute, None if content.get(name) is None else Decimal(str(content[name])))
            sku.last_updated_at = now
            kept.append(sku)
        for gone in known.values():
            session.delete(gone)
    return JSONResponse([sku_out(sku) for sku in kept])


@app.get("/plain/stock/{sku_id}")
def get_stock(sku_id: str) -> JSONResponse:
    """All records of a SKU."""
    with Session(engine) as session:
        query = select(InventoryRecord).where(InventoryRecord.merchant_id == MERCHANT, InventoryRecord.sku_id == sku_id)
        records = session.scalars(query).all()
        name = session.scalar(select(Sku.name).where(Sku.merchant_id == MERCHANT, Sku.sku_id == sku_id))
        inventories = [record_out(record, name) for record in records]
    return JSONResponse({"quantity": sum(record.quantity for record in records), "inventories": inventories})


@app.post("/plain/stock")
def put_stock(content: dict[str, Any] = Body()) -> JSONResponse:  # noqa: B008, FAST002 - as above
    """Set what lies in a warehouse."""
    with writing() as session:
        record = session.scalar(
            select(InventoryRecord).where(
                InventoryRecord.merchant_id == MERCHANT,
                InventoryRecord.sku_id == content["skuId"],
                InventoryRecord.warehouse_id == content["warehouseId"],
                InventoryRecord.inventory_type == content["inventoryType"],
            )
        )
        if record is None:
            record = InventoryRecord(
                merchant_id=MERCHANT, sku_id=content["skuId"], warehouse_id=content["warehouseId"],
                inventory_type=content["inventoryType"],
            )  # fmt: skip
            session.add(record)
        record.quantity = content["quantity"]
        record.last_updated_at = datetime.now(UTC)
        name = session.scalar(select(Sku.name).where(Sku.merchant_id == MERCHANT, Sku.sku_id == content["skuId"]))
    return JSONResponse(record_out(record, name))


def sku_out(sku: Sku) -> dict[str, Any]:
    """The fields that the server's answer has."""
    content = {
        "id": f"{MERCHANT}-{sku.sku_id}", "merchantId": MERCHANT, "skuId": sku.sku_id,
        "merchantProductId": f"{MERCHANT}-{sku.product_id}", "main": sku.is_main,
        "localizationStatus": sku.localization_status, "salesChannelStatus": sku.sales_channel_status,
        "lastUpdateDate": sku.last_updated_at.isoformat(),
    }  # fmt: skip
    content |= {name: getattr(sku, attribute) for name, attribute in TEXTS.items()}
    for name in SHOWN_NUMBERS:
        value = getattr(sku, NUMBERS[name])
        content[name] = None if value is None else float(value)
    return {name: value for name, value in content.items() if value is not None}


def record_out(record: InventoryRecord, name: str | None) -> dict[str, Any]:
    """The fields that the server's answer has."""
    return {
        "id": f"{MERCHANT}-{record.sku_id}-{record.warehouse_id}-{record.inventory_type}", "merchantId": MERCHANT,
        "skuId": record.sku_id, "skuName": name, "quantity": record.quantity, "inventoryType": record.inventory_type,
        "warehouseId": record.warehouse_id, "warehouseName": "Default", "warehouseType": "MERCHANT",
        "lastUpdateDate": record.last_updated_at.isoformat(),
    }  # fmt: skip


def main() -> None:
    """Serve on a free port."""
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listening:
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        serve(app, listening)


if __name__ == "__main__":
    main()
