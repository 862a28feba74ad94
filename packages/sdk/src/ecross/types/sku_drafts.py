"""SKUs as a merchant describes them, on their way to the API."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from ecross.types.skus import SaleChannelData

NUMBERS = (
    "weight_kg", "height_cm", "width_cm", "length_cm", "origin_list_price", "origin_sale_price",
)  # fmt: skip
_LARGEST_EXPONENT = 300

Number = Decimal | float
"""A `float` is sent as it is shown: 9.99 as 9.99. A `Decimal` is sent exactly or refused."""


@dataclass(frozen=True, slots=True)
class SkuDraft:
    """A SKU as its merchant describes it, all of it: what is `None` is not kept from what was sent before.

    The prices are in the merchant's currency. One SKU of a product is its main one: where none is said to be, the
    present one stays it, or the first becomes it.
    """

    sku_id: str
    product_id: str
    name: str
    is_main: bool = False
    description: str | None = None
    weight_kg: Number | None = None
    height_cm: Number | None = None
    width_cm: Number | None = None
    length_cm: Number | None = None
    ean: str | None = None
    hs_code: str | None = None
    origin_list_price: Number | None = None
    origin_sale_price: Number | None = None
    sale_channel_data: SaleChannelData | None = None
    images: tuple[str, ...] = ()


class UnwritableError(Exception):
    """A SKU that no object of the wire stands for; the message names the field."""


def write_sku(sku: SkuDraft | Mapping[str, object]) -> dict[str, object]:
    """The object of the wire that stands for the SKU; a mapping is one already, and goes as it is.

    Raises `UnwritableError`.
    """
    if isinstance(sku, Mapping):
        return dict(sku)
    if not isinstance(sku, SkuDraft):
        raise UnwritableError("it is neither a SkuDraft nor a mapping")
    for name in NUMBERS:
        if not _is_exact(getattr(sku, name)):
            raise UnwritableError(f"{name} is not a number that a double holds exactly as it is written")
    wire: dict[str, object] = {
        "skuId": sku.sku_id,
        "productId": sku.product_id,
        "main": sku.is_main,
        "name": sku.name,
        "description": sku.description,
        "weight": sku.weight_kg,
        "height": sku.height_cm,
        "width": sku.width_cm,
        "length": sku.length_cm,
        "ean": sku.ean,
        "hscode": sku.hs_code,
        "localizedListPriceWithTaxes": sku.origin_list_price,
        "localizedSalePriceWithTaxes": sku.origin_sale_price,
        "globalSaleChannelData": None if sku.sale_channel_data is None else _write_data(sku.sale_channel_data),
        "images": list(sku.images),
    }
    return {name: value for name, value in wire.items() if value is not None}


def _is_exact(value: object) -> bool:
    if not isinstance(value, Decimal):
        return True
    return value.is_finite() and abs(value.adjusted()) < _LARGEST_EXPONENT and Decimal(repr(float(value))) == value


def _write_data(data: SaleChannelData) -> dict[str, object]:
    wire: dict[str, object] = {
        "active": data.is_active,
        "brand": data.brand,
        "size": data.size,
        "color": data.color,
        "category": data.category,
        "attributes": [{"name": pair.name, "value": pair.value} for pair in data.attributes],
    }
    return {name: value for name, value in wire.items() if value is not None}
