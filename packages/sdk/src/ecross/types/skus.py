"""SKUs as the API shows them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from ecross.types.mappings import FrozenDict
from ecross.types.wire import WireObject


@dataclass(frozen=True, slots=True)
class SkuAttribute:
    """A free attribute of a SKU."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class SaleChannelData:
    """Data mapped to every connected sales channel."""

    is_active: bool | None = None
    brand: str | None = None
    size: str | None = None
    color: str | None = None
    category: str | None = None
    """A path with slashes, from which each channel's category is mapped."""
    attributes: tuple[SkuAttribute, ...] = ()


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What one sales channel made of a SKU."""

    status: str
    message: str | None
    at: datetime | None


@dataclass(frozen=True, slots=True)
class Sku:
    """A sellable variant of a product. What its merchant did not send is `None`.

    `raw` is the whole object as it came, with the wire's names, for fields that this version does not know. Equality
    looks at all but `raw`. A SKU can be hashed, copied and pickled.
    """

    id: str
    merchant_id: str | None
    sku_id: str
    product_id: str | None
    merchant_product_id: str | None
    is_main: bool | None
    name: str | None
    description: str | None
    weight_kg: Decimal | None
    height_cm: Decimal | None
    width_cm: Decimal | None
    length_cm: Decimal | None
    ean: str | None
    hs_code: str | None
    origin_list_price: Decimal | None
    """In the merchant's currency. The API may leave it out."""
    origin_sale_price: Decimal | None
    """In the merchant's currency. The API may leave it out."""
    sale_channel_data: SaleChannelData | None
    images: tuple[str, ...]
    localization_status: str | None
    """How far it is on its way to the sales channels; `DELETED` in a list by date: its product was sent without it."""
    sales_channel_status: Mapping[str, ChannelStatus] = field(hash=False)
    """By the id of the sales channel."""
    last_update_date: datetime | None
    raw: Mapping[str, object] = field(repr=False, compare=False)


def read_sku(wire: WireObject) -> Sku:
    """The SKU that a JSON object stands for."""
    data = wire.nested("globalSaleChannelData")
    return Sku(
        id=wire.required_text("id"),
        merchant_id=wire.text("merchantId"),
        sku_id=wire.required_text("skuId"),
        product_id=wire.text("productId"),
        merchant_product_id=wire.text("merchantProductId"),
        is_main=wire.truth("main"),
        name=wire.text("name"),
        description=wire.text("description"),
        weight_kg=wire.number("weight"),
        height_cm=wire.number("height"),
        width_cm=wire.number("width"),
        length_cm=wire.number("length"),
        ean=wire.text("ean"),
        hs_code=wire.text("hscode"),
        origin_list_price=wire.number("localizedListPriceWithTaxes"),
        origin_sale_price=wire.number("localizedSalePriceWithTaxes"),
        sale_channel_data=None if data is None else _read_sale_channel_data(data),
        images=wire.texts("images"),
        localization_status=wire.text("localizationStatus"),
        sales_channel_status=FrozenDict(
            (channel, _read_channel_status(status)) for channel, status in wire.entries("salesChannelStatus")
        ),
        last_update_date=wire.instant("lastUpdateDate"),
        raw=FrozenDict(wire.members),
    )


def _read_sale_channel_data(wire: WireObject) -> SaleChannelData:
    return SaleChannelData(
        is_active=wire.truth("active"),
        brand=wire.text("brand"),
        size=wire.text("size"),
        color=wire.text("color"),
        category=wire.text("category"),
        attributes=tuple(
            SkuAttribute(pair.required_text("name"), pair.required_text("value")) for pair in wire.objects("attributes")
        ),
    )


def _read_channel_status(wire: WireObject) -> ChannelStatus:
    return ChannelStatus(wire.required_text("status"), wire.text("statusMessage"), wire.instant("statusDate"))
