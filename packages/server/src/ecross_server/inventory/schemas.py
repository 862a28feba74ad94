"""The wire forms of inventory, spelled as the API spells them."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt
from pydantic.alias_generators import to_camel

from ecross_server.catalog.schemas import Id
from ecross_server.inventory.rules import LARGEST_WAREHOUSE_ID, Count, InventoryType
from ecross_server.inventory.service import SellableStock, Stock, StockPage, Warehouse
from ecross_server.kit.clock import rfc3339
from ecross_server.web.bodies import checked, parse_json

MOST_PIECES = 1_000_000_000


def _whole(value: object) -> object:
    # JSON has one kind of number: 3.0 is as whole as 3. Short ones alone, for the exponent may be a large one.
    if isinstance(value, Decimal) and value.adjusted() < len(str(MOST_PIECES)) and value == value.to_integral_value():
        return int(value)
    return value


WholeNumber = Annotated[StrictInt, BeforeValidator(_whole)]


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class InventoryIn(BaseModel):
    """What lies in a warehouse: all of it, not a difference."""

    model_config = ConfigDict(alias_generator=to_camel)

    sku_id: Id = Field(
        description="The merchant's id of the SKU, which need not be registered yet.", examples=["1234567891"]
    )
    quantity: Annotated[WholeNumber, Field(ge=0, le=MOST_PIECES)] = Field(
        description="Pieces that are there; 0 takes the SKU off sale.", examples=[3]
    )
    warehouse_id: Annotated[WholeNumber, Field(ge=1, le=LARGEST_WAREHOUSE_ID)] = Field(
        description="1 unless told otherwise.", examples=[1]
    )
    inventory_type: InventoryType = Field(description="Whether the pieces can be sold.", examples=["AVAILABLE"])

    def to_count(self) -> Count:
        """The count free of its wire form."""
        return Count(self.sku_id, self.warehouse_id, self.inventory_type, self.quantity)


class ReturnedOrderOut(_Wire):
    """An order from which pieces came back."""

    order_id: str = Field(examples=["ACME-ECOM-TEST-003"])
    returned_date: str = Field(examples=["2024-01-17T19:58:53.270Z"])
    quantity: int = Field(examples=[1])


class InventoryOut(_Wire):
    """The pieces of one SKU and type in one warehouse. What is not known is left out."""

    id: str = Field(
        description="`{merchantId}-{skuId}-{warehouseId}-{inventoryType}`", examples=["ACME-1234567891-1-AVAILABLE"]
    )
    merchant_id: str = Field(examples=["ACME"])
    sku_id: str = Field(examples=["1234567891"])
    sku_name: str | None = Field(None, description="Absent until the SKU is registered.", examples=["T-Shirt"])
    quantity: int = Field(examples=[3])
    inventory_type: str = Field(examples=["AVAILABLE"])
    warehouse_id: int = Field(examples=[1])
    warehouse_name: str = Field(examples=["Default"])
    warehouse_country: str | None = Field(None, description="ISO 3166-1 alpha-2.", examples=["ES"])
    last_update_date: str = Field(
        description="When it was created or its quantity changed.", examples=["2024-01-17T19:58:53.270Z"]
    )
    last_integration_date: str | None = Field(
        None, description="When a sales channel took the quantity over.", examples=["2024-01-17T19:58:53.270Z"]
    )
    returned_orders: list[ReturnedOrderOut] | None = Field(None, description="On returns warehouses.")

    @classmethod
    def of(cls, stock: Stock, no_later_than: datetime | None = None) -> InventoryOut:
        """The wire form of a record, its date no later than given."""
        return cls(**_fields(stock, no_later_than))


class SellableOut(InventoryOut):
    """A record that counts for a country."""

    warehouse_type: str = Field(description="`MERCHANT` or `RETURNS`.", examples=["MERCHANT"])

    @classmethod
    def of(cls, stock: Stock, no_later_than: datetime | None = None) -> SellableOut:
        """The wire form of a record, with its warehouse's type."""
        return cls(**_fields(stock, no_later_than), warehouse_type=stock.warehouse.type)


class InventoryPageOut(_Wire):
    """A page of records."""

    inventories: list[InventoryOut]
    next_page_token: str | None = Field(
        None, description="Opaque; send it back for the next page. Absent on the last page."
    )

    @classmethod
    def of(cls, page: StockPage) -> InventoryPageOut:
        """The wire form of a page."""
        return cls(
            inventories=[InventoryOut.of(stock, page.began_at) for stock in page.stocks],
            next_page_token=page.next_page_token,
        )


class SellableStockOut(_Wire):
    """What can be sold to a country."""

    quantity: int = Field(description="Of all the records.", examples=[10])
    inventories: list[SellableOut]

    @classmethod
    def of(cls, sellable: SellableStock) -> SellableStockOut:
        """The wire form of it."""
        return cls(quantity=sellable.quantity, inventories=[SellableOut.of(stock) for stock in sellable.stocks])


class WarehouseOut(_Wire):
    """A warehouse as operators see it."""

    merchant_id: str
    warehouse_id: int
    name: str
    country: str | None
    type: str

    @classmethod
    def of(cls, warehouse: Warehouse) -> WarehouseOut:
        """The wire form of it."""
        return cls(
            merchant_id=warehouse.merchant_id,
            warehouse_id=warehouse.id,
            name=warehouse.name,
            country=warehouse.country,
            type=warehouse.type,
        )


class WarehouseListOut(_Wire):
    """A merchant's warehouses."""

    warehouses: list[WarehouseOut]


def to_json(answer: BaseModel) -> bytes:
    """The body of an answer; what is absent is left out."""
    return answer.model_dump_json(by_alias=True, exclude_none=True).encode()


def read_inventory(body: bytes) -> Count:
    """The count that a body describes.

    Raises:
        InvalidInputError: with every fault, each with its path, never its value.
    """
    return checked(InventoryIn, parse_json(body)).to_count()


def make_count(sku_id: str, quantity: int, warehouse_id: int, inventory_type: InventoryType) -> Count:
    """The count, as good as one of the API's.

    Raises:
        InvalidInputError: as `read_inventory`.
    """
    content = {"skuId": sku_id, "quantity": quantity, "warehouseId": warehouse_id, "inventoryType": inventory_type}
    return checked(InventoryIn, content).to_count()


def _fields(stock: Stock, no_later_than: datetime | None) -> dict[str, object]:
    record, warehouse = stock.record, stock.warehouse
    integrated_at = record.last_integrated_at
    return {
        "id": f"{record.merchant_id}-{record.sku_id}-{record.warehouse_id}-{record.inventory_type}",
        "merchant_id": record.merchant_id,
        "sku_id": record.sku_id,
        "sku_name": stock.sku_name,
        "quantity": record.quantity,
        "inventory_type": record.inventory_type,
        "warehouse_id": record.warehouse_id,
        "warehouse_name": warehouse.name,
        "warehouse_country": warehouse.country,
        "last_update_date": rfc3339(min(record.last_updated_at, no_later_than or record.last_updated_at)),
        "last_integration_date": None if integrated_at is None else rfc3339(integrated_at),
    }
