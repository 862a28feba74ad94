"""Inventory as the API shows it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from ecross.types.mappings import FrozenDict
from ecross.types.wire import WireObject


@dataclass(frozen=True, slots=True)
class ReturnedOrder:
    """An order from which pieces came back to a returns warehouse."""

    order_id: str
    returned_date: datetime | None
    quantity: int | None


@dataclass(frozen=True, slots=True)
class InventoryRecord:
    """The pieces of one SKU and type in one warehouse: all of them.

    `raw` is the whole object as it came, with the wire's names. Equality looks at all but `raw`.
    """

    id: str
    merchant_id: str | None
    sku_id: str
    sku_name: str | None
    """`None` until the SKU is registered."""
    quantity: int
    inventory_type: str | None
    """`AVAILABLE` or `DAMAGED`."""
    warehouse_id: int | None
    warehouse_name: str | None
    warehouse_country: str | None
    warehouse_type: str | None
    """`MERCHANT` or `RETURNS`; told by `get_sellable` alone."""
    last_update_date: datetime | None
    last_integration_date: datetime | None
    """When a sales channel took the quantity over; `None` until then."""
    returned_orders: tuple[ReturnedOrder, ...]
    raw: Mapping[str, object] = field(repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class SellableStock:
    """What of a SKU can be sold to a country, and where it lies. `quantity` is that of all records together."""

    quantity: int
    records: tuple[InventoryRecord, ...]


def read_inventory_record(wire: WireObject) -> InventoryRecord:
    """The record that a JSON object stands for."""
    return InventoryRecord(
        id=wire.required_text("id"),
        merchant_id=wire.text("merchantId"),
        sku_id=wire.required_text("skuId"),
        sku_name=wire.text("skuName"),
        quantity=wire.required_whole_number("quantity"),
        inventory_type=wire.text("inventoryType"),
        warehouse_id=wire.whole_number("warehouseId"),
        warehouse_name=wire.text("warehouseName"),
        warehouse_country=wire.text("warehouseCountry"),
        warehouse_type=wire.text("warehouseType"),
        last_update_date=wire.instant("lastUpdateDate"),
        last_integration_date=wire.instant("lastIntegrationDate"),
        returned_orders=tuple(map(_read_returned_order, wire.objects("returnedOrders"))),
        raw=FrozenDict(wire.members),
    )


def read_sellable_stock(wire: WireObject) -> SellableStock:
    """What a JSON object tells of what can be sold."""
    records = tuple(map(read_inventory_record, wire.required_objects("inventories")))
    return SellableStock(wire.required_whole_number("quantity"), records)


def _read_returned_order(wire: WireObject) -> ReturnedOrder:
    return ReturnedOrder(wire.required_text("orderId"), wire.instant("returnedDate"), wire.whole_number("quantity"))
