"""How many pieces of each SKU lie in which of one merchant's warehouses, in the API's spelling."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any, Protocol

from ecross._catalog_rules import LONGEST_ID, id_fault
from ecross.errors import FieldError
from ecross.testing._agenda import Agenda
from ecross.testing._changes import Page, Place, next_date, rfc3339, turn_page
from ecross.testing._channel import COUNTRY

DEFAULT_WAREHOUSE = 1
MOST_PIECES = 1_000_000_000
LARGEST_WAREHOUSE_ID = 2**31 - 1
AVAILABLE = "AVAILABLE"
TYPES = (AVAILABLE, "DAMAGED")
MERCHANT, RETURNS = "MERCHANT", "RETURNS"


@dataclass(frozen=True, slots=True)
class Warehouse:
    """A place that holds inventory."""

    name: str = "Default"
    country: str | None = None
    type: str = MERCHANT


@dataclass(slots=True)
class Stock:
    """The pieces of one SKU and type in one warehouse."""

    sku_id: str
    warehouse_id: int
    type: str
    quantity: int
    updated_at: datetime
    integrated_at: datetime | None = None
    """When the sales channel took over a quantity of it."""
    is_integrated: bool = False
    """Whether that was the present one."""
    settles_at: datetime | None = None
    """When the channel hears of the present one; `None` if it has."""


class Skus(Protocol):
    """What is to be known of the merchant's SKUs."""

    def name(self, sku_id: str, /) -> str | None:
        """The name of one that is registered."""

    def is_shown(self, sku_id: str, /) -> bool:
        """Whether the sales channel shows it."""


class Inventory:
    """Stock records in the order in which they were first written. Whoever asks has let the agenda settle."""

    def __init__(self, merchant_id: str, skus: Skus, agenda: Agenda) -> None:
        self._merchant_id = merchant_id
        self._skus = skus
        self._agenda = agenda
        self.warehouses: dict[int, Warehouse] = {DEFAULT_WAREHOUSE: Warehouse()}
        self._stocks: dict[tuple[str, int, str], Stock] = {}
        self._of_sku: dict[str, list[Stock]] = {}
        self._latest: datetime | None = None

    def set(
        self, sku_id: str, warehouse_id: int, type_: str, quantity: int, *, now: datetime, dated: datetime | None = None
    ) -> Stock:
        """Set what lies there, as of now or another date. The warehouse is there. An equal quantity keeps its date."""
        stock = self._stocks.get((sku_id, warehouse_id, type_))
        if stock is None or stock.quantity != quantity:
            self._latest = date = next_date(dated or now, self._latest)
            if stock is None:
                stock = Stock(sku_id, warehouse_id, type_, quantity, date)
                self._stocks[sku_id, warehouse_id, type_] = stock
                self._of_sku.setdefault(sku_id, []).append(stock)
            stock.quantity, stock.updated_at, stock.is_integrated = quantity, date, False
            stock.settles_at = self._agenda.add(now, partial(self._tell, stock))
        return stock

    def take_over(self, sku_id: str, at: datetime) -> None:
        """Let the sales channel, which begins to show a SKU, take over what it has heard of its stock."""
        for stock in self._of_sku.get(sku_id, ()):
            if stock.settles_at is None:
                self._integrate(stock, at)

    def page(self, place: Place, size: int) -> Page[Stock]:
        """A page of the list."""
        return turn_page(list(self._stocks.values()), place, size, shows=lambda _: True)

    def all(self) -> list[dict[str, Any]]:
        """What the list shows, all pages together."""
        return [self.shown(stock) for stock in self._stocks.values()]

    def sellable(self, sku_id: str, country: str) -> dict[str, Any] | None:
        """What can be sold to a country; `None` for a SKU that is neither registered nor in a warehouse."""
        stocks = self._of_sku.get(sku_id, [])
        if not stocks and self._skus.name(sku_id) is None:
            return None
        near = [each for each in stocks if self._is_sold_to(country, each)]
        return {
            "quantity": sum(each.quantity for each in near),
            "inventories": [
                self.shown(each) | {"warehouseType": self.warehouses[each.warehouse_id].type} for each in near
            ],
        }

    def shown(self, stock: Stock, no_later_than: datetime | None = None) -> dict[str, Any]:
        """A record as the API shows it."""
        warehouse = self.warehouses[stock.warehouse_id]
        wire = {
            "id": f"{self._merchant_id}-{stock.sku_id}-{stock.warehouse_id}-{stock.type}",
            "merchantId": self._merchant_id,
            "skuId": stock.sku_id,
            "skuName": self._skus.name(stock.sku_id),
            "quantity": stock.quantity,
            "inventoryType": stock.type,
            "warehouseId": stock.warehouse_id,
            "warehouseName": warehouse.name,
            "warehouseCountry": warehouse.country,
            "lastUpdateDate": rfc3339(min(stock.updated_at, no_later_than or stock.updated_at)),
            "lastIntegrationDate": stock.integrated_at and rfc3339(stock.integrated_at),
        }
        return {name: value for name, value in wire.items() if value is not None}

    def _tell(self, stock: Stock, at: datetime) -> None:
        if stock.settles_at == at:
            stock.settles_at = None
            if self._skus.is_shown(stock.sku_id):
                self._integrate(stock, at)

    def _integrate(self, stock: Stock, at: datetime) -> None:
        if self._is_sold_to(COUNTRY, stock) and not stock.is_integrated:
            stock.is_integrated, stock.integrated_at = True, at

    def _is_sold_to(self, country: str, stock: Stock) -> bool:
        warehouse = self.warehouses[stock.warehouse_id]
        return stock.type == AVAILABLE and (warehouse.type == MERCHANT or warehouse.country == country)


def check_inventory(body: object) -> list[FieldError]:
    """The faults of a body, in the server's order."""
    if not isinstance(body, Mapping):
        return [FieldError("", "Input should be an object")]
    checks: dict[str, Callable[[object], str | None]] = {
        "skuId": _sku_id,
        "quantity": lambda value: _whole_within(value, 0, MOST_PIECES),
        "warehouseId": lambda value: _whole_within(value, 1, LARGEST_WAREHOUSE_ID),
        "inventoryType": lambda value: None if value in TYPES else "Input should be 'AVAILABLE' or 'DAMAGED'",
    }
    told = ((name, check(body[name]) if name in body else "Field required") for name, check in checks.items())
    return [FieldError(name, fault) for name, fault in told if fault is not None]


def as_whole(value: object) -> int | None:
    """The whole number that a number of JSON is: 3.0 is as whole as 3."""
    if isinstance(value, Decimal):
        # Short ones alone, for the exponent may be a large one.
        is_whole = value.adjusted() < len(str(MOST_PIECES)) and value == value.to_integral_value()
        return int(value) if is_whole else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _whole_within(value: object, least: int, most: int) -> str | None:
    number = as_whole(value)
    if number is None:
        return "Input should be a valid integer"
    if number > most:
        return f"Input should be less than or equal to {most}"
    return f"Input should be greater than or equal to {least}" if number < least else None


def _sku_id(value: object) -> str | None:
    if not isinstance(value, str):
        return "Input should be a valid string"
    if len(value) > LONGEST_ID:
        return f"String should have at most {LONGEST_ID} characters"
    if not value:
        return "String should have at least 1 character"
    return id_fault(value)
