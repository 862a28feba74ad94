"""The values of inventory, free of tables and wire forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

DEFAULT_WAREHOUSE: Final = 1
"""The warehouse that every merchant has."""

DEFAULT_NAME: Final = "Default"
LARGEST_WAREHOUSE_ID: Final = 2**31 - 1
LONGEST_NAME: Final = 200
COUNTRY: Final = re.compile("[A-Z]{2}")


class InventoryType(StrEnum):
    """Whether pieces can be sold."""

    AVAILABLE = "AVAILABLE"
    DAMAGED = "DAMAGED"


class WarehouseType(StrEnum):
    """Who runs a warehouse: the merchant at the origin, or a partner who takes returns in a destination country."""

    MERCHANT = "MERCHANT"
    RETURNS = "RETURNS"


@dataclass(frozen=True, slots=True)
class Count:
    """So many pieces of a SKU lie in a warehouse: all of them, not a difference."""

    sku_id: str
    warehouse_id: int
    inventory_type: InventoryType
    quantity: int


@dataclass(frozen=True, slots=True)
class StockLevel:
    """So many pieces can be sold, by what was counted up to that date; of what was never counted there are none."""

    quantity: int = 0
    dated: datetime | None = None


@dataclass(frozen=True, slots=True)
class StockChanged:
    """A quantity of the merchant's has changed. Told to whoever subscribed."""

    merchant_id: str
    at: datetime
