"""The values of the catalog, free of tables and wire forms."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

PENDING_LOCALIZATION: Final = "PENDING_LOCALIZATION"
"""Where every new SKU begins its way to the sales channels."""


@dataclass(frozen=True, slots=True)
class SkuDraft:
    """A SKU as its merchant describes it. Weights are in kg, sizes in cm, prices in the merchant's currency.

    `sale_channel_data` is what every connected sales channel gets, kept as it was sent.
    """

    sku_id: str
    product_id: str
    is_main: bool
    name: str
    description: str | None
    weight_kg: Decimal | None
    height_cm: Decimal | None
    width_cm: Decimal | None
    length_cm: Decimal | None
    ean: str | None
    hs_code: str | None
    origin_list_price: Decimal | None
    origin_sale_price: Decimal | None
    sale_channel_data: dict[str, Any] | None
    images: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PagePosition:
    """Where a page of a list begins: after the row of this number, among those updated after the instant."""

    after: int
    updated_after: datetime | None
