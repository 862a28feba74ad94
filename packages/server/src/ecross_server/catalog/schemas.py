"""The wire forms of SKUs: spelled as the API spells them, quirks included (`hscode`, `globalSaleChannelData`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StrictBool,
    StrictStr,
    TypeAdapter,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from ecross_server.catalog import rules
from ecross_server.catalog.rules import SkuDraft
from ecross_server.catalog.service import Sku, SkuPage
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.web.bodies import MOST_FAULTS, checked, parse_json, refusal

LONGEST_ID: Final = 128
LONGEST_TEXT: Final = 500
LONGEST_DESCRIPTION: Final = 50_000
LONGEST_CODE: Final = 32
LONGEST_ADDRESS: Final = 2048
MOST_DIGITS: Final = 15
MOST_PLACES: Final = 6
MOST_IMAGES: Final = 100
MOST_ATTRIBUTES: Final = 200
MOST_SKUS: Final = 2000


def _json_number(value: Decimal) -> int | float:
    # At most 15 digits were taken in, so a float shows each of them again.
    return int(value) if value == value.to_integral_value() else float(value)


def _only_number(value: object) -> object:
    # Elsewhere pydantic takes numbers in strings, too.
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("number_type", "Input should be a number")


def _plain(value: Decimal) -> Decimal:
    # A zero may come with a million places, which a database would keep or refuse; and there is one zero.
    return value.normalize() + 0


# The look at the kind stands last, which is outermost: so pydantic checks all bounds in one go, not in Python.
Price = Annotated[
    Decimal,
    Field(ge=0, max_digits=MOST_DIGITS, decimal_places=MOST_PLACES, allow_inf_nan=False),
    AfterValidator(_plain),
    BeforeValidator(_only_number),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
Measure = Annotated[
    Decimal,
    Field(gt=0, max_digits=MOST_DIGITS, decimal_places=MOST_PLACES, allow_inf_nan=False),
    AfterValidator(_plain),
    BeforeValidator(_only_number),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
]
# What was checked when it came in is not checked again: that took a quarter of a list's time.
ShownNumber = Annotated[Decimal, PlainSerializer(_json_number), WithJsonSchema({"type": "number", "minimum": 0})]


def _without_nul(text: str) -> str:
    # PostgreSQL's text cannot hold it.
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain the NUL character")
    return text


def _only_if(is_so: Callable[[str], bool], message: str) -> AfterValidator:
    def check(text: str) -> str:
        if is_so(text):
            return text
        raise PydanticCustomError("form", message)

    return AfterValidator(check)


Kept = AfterValidator(_without_nul)
Text = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_TEXT), Kept]
Description = Annotated[StrictStr, Field(max_length=LONGEST_DESCRIPTION), Kept]
ArticleNumber = Annotated[
    StrictStr,
    Field(max_length=LONGEST_CODE),
    _only_if(rules.is_article_number, "must be an EAN-8, EAN-13, UPC-A or ISBN with the right check digit"),
]
HsCode = Annotated[StrictStr, _only_if(rules.is_hs_code, "must be an HS code of 6 to 10 digits")]
# No white space and no control characters, which would disturb logs and tables; no slash, which ends a part of a path.
Id = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\s/\x00-\x1f\x7f-\x9f]+$")]
Address = Annotated[
    StrictStr,
    Field(max_length=LONGEST_ADDRESS),
    _only_if(rules.is_public_address, "must be an https address of a public host by its name"),
]


class _WireIn(BaseModel):
    # The API's spelling alone: a field spelled otherwise is an unknown one, and those are ignored.
    model_config = ConfigDict(alias_generator=to_camel)


class _WireOut(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Attribute(_WireIn):
    """A free attribute of a SKU."""

    name: Text = Field(examples=["Connection Type"])
    value: Text = Field(examples=["USB-C"])


class GlobalSaleChannelData(_WireIn):
    """Data mapped to every connected sales channel."""

    active: StrictBool | None = Field(None, description="Whether the SKU is active.", examples=[True])
    brand: Text | None = Field(None, examples=["ChargerW"])
    size: Text | None = Field(None, description="Variation.", examples=["2 meters"])
    color: Text | None = Field(None, description="Variation.", examples=["silver"])
    category: Text | None = Field(
        None,
        description="Path with slashes, from which each channel's category is mapped.",
        examples=["Telefones e Celulares/Acessórios/Carregadores"],
    )
    attributes: list[Attribute] | None = Field(None, max_length=MOST_ATTRIBUTES)


class SkuIn(_WireIn):
    """A SKU as its merchant sends it."""

    sku_id: Id = Field(description="The merchant's id of the SKU, unique in its catalog.", examples=["1234567890"])
    product_id: Id = Field(description="Groups the SKUs of one product.", examples=["1234567"])
    main: StrictBool = Field(
        default=False,
        description="Whether it represents the product in listing pages. One SKU of a product does: if none is said "
        "to, it stays the present one, or is the first; two are refused.",
        examples=[True],
    )
    name: Text = Field(description="Title in the original language.", examples=["USB charger type C"])
    description: Description | None = Field(None, description="Text in the original language; may hold newlines.")
    weight: Measure | None = Field(None, description="In kg.", examples=[0.1])
    height: Measure | None = Field(None, description="In cm.", examples=[4])
    width: Measure | None = Field(None, description="In cm.", examples=[4])
    length: Measure | None = Field(None, description="In cm.", examples=[19])
    ean: ArticleNumber | None = Field(
        None,
        description="EAN-13, EAN-8, UPC-A or ISBN, with its check digit; an ISBN with hyphens or without.",
        examples=["0799439112766"],
    )
    hscode: HsCode | None = Field(None, description="Customs HS code: 6 to 10 digits, no dots.", examples=["850440"])
    localized_list_price_with_taxes: Price | None = Field(
        None, description="Origin list price in the merchant's currency, despite its name.", examples=[9.99]
    )
    localized_sale_price_with_taxes: Price | None = Field(
        None, description="Origin sale price in the merchant's currency, despite its name.", examples=[8.00]
    )
    global_sale_channel_data: GlobalSaleChannelData | None = None
    images: list[Address] = Field(
        [],
        max_length=MOST_IMAGES,
        description="Publicly reachable addresses: https, by the host's name. They are not fetched meanwhile.",
        examples=[["https://img.test/1.jpeg"]],
    )

    def to_draft(self) -> SkuDraft:
        """The SKU free of its wire form."""
        data = self.global_sale_channel_data
        return SkuDraft(
            sku_id=self.sku_id,
            product_id=self.product_id,
            is_main=self.main,
            name=self.name,
            description=self.description,
            weight_kg=self.weight,
            height_cm=self.height,
            width_cm=self.width,
            length_cm=self.length,
            ean=self.ean,
            hs_code=self.hscode,
            origin_list_price=self.localized_list_price_with_taxes,
            origin_sale_price=self.localized_sale_price_with_taxes,
            sale_channel_data=None if data is None else data.model_dump(by_alias=True, exclude_none=True),
            images=tuple(self.images),
        )


class ChannelStatusOut(_WireOut):
    """What one sales channel made of a SKU."""

    status: str = Field(
        description="`SALES_CHANNEL_APPROVED`: the channel has it, and sells it while there is stock. "
        "`SALES_CHANNEL_DENIED`: it may not be shown there. `SALES_CHANNEL_REMOVED`: it was there and is no more.",
        examples=["SALES_CHANNEL_APPROVED"],
    )
    status_message: str = Field(
        description="For people: why, where it is denied or removed.", examples=["Integration successful"]
    )
    status_date: str = Field(examples=["2024-09-06T11:13:30.533Z"])


class SkuOut(_WireOut):
    """A SKU as the API shows it. What its merchant did not send is left out."""

    id: str = Field(description="`{merchantId}-{skuId}`", examples=["ACME-1234567890"])
    merchant_id: str = Field(examples=["ACME"])
    sku_id: str = Field(examples=["1234567890"])
    product_id: str = Field(examples=["1234567"])
    merchant_product_id: str = Field(description="`{merchantId}-{productId}`", examples=["ACME-1234567"])
    main: bool = Field(examples=[True])
    name: str = Field(examples=["USB charger type C"])
    description: str | None = Field(None, examples=["Charges fast."])
    weight: ShownNumber | None = Field(None, description="In kg.", examples=[0.1])
    height: ShownNumber | None = Field(None, description="In cm.", examples=[4])
    width: ShownNumber | None = Field(None, description="In cm.", examples=[4])
    length: ShownNumber | None = Field(None, description="In cm.", examples=[19])
    ean: str | None = Field(None, examples=["0799439112766"])
    hscode: str | None = Field(None, examples=["850440"])
    global_sale_channel_data: GlobalSaleChannelData | None = None
    images: list[str] = Field(examples=[["https://img.test/1.jpeg"]])
    localization_status: str = Field(
        description="How far it is on its way to the sales channels, which it goes by itself within seconds. "
        "`PENDING_LOCALIZATION`: new or changed, to be looked at by rules, and for some merchants by a person; its "
        "channels go on showing what they show. `READY_FOR_SALES_CHANNEL`: published to each connected channel. "
        "`REVIEW_DENIED`: title, description, images, size or the like are incomplete or wrong. "
        "`DENIED_REGULATORY`: it may not be sold to the channels' countries. `LOCALIZATION_SKIPPED`: the "
        "merchant sells on no channel. `DELETED`, in a list by date: its product was sent without it.",
        examples=["PENDING_LOCALIZATION"],
    )
    sales_channel_status: dict[str, ChannelStatusOut] = Field(
        description="By the id of the sales channel, once that has taken the SKU over or refused it. "
        "What `statusMessage` says of a refusal is what has to be mended."
    )
    last_update_date: str = Field(examples=["2024-09-06T11:13:30.533Z"])

    @classmethod
    def of(cls, sku: Sku, no_later_than: datetime | None = None) -> SkuOut:
        """The wire form of a SKU, its date no later than given."""
        data = sku.sale_channel_data
        date = min(sku.last_updated_at, no_later_than or sku.last_updated_at)
        return cls(
            id=f"{sku.merchant_id}-{sku.sku_id}",
            merchant_id=sku.merchant_id,
            sku_id=sku.sku_id,
            product_id=sku.product_id,
            merchant_product_id=f"{sku.merchant_id}-{sku.product_id}",
            main=sku.is_main,
            name=sku.name,
            description=sku.description,
            weight=sku.weight_kg,
            height=sku.height_cm,
            width=sku.width_cm,
            length=sku.length_cm,
            ean=sku.ean,
            hscode=sku.hs_code,
            global_sale_channel_data=None if data is None else GlobalSaleChannelData.model_validate(data),
            images=sku.images,
            localization_status=sku.localization_status,
            sales_channel_status={
                channel: ChannelStatusOut.model_validate(status) for channel, status in sku.sales_channel_status.items()
            },
            last_update_date=rfc3339(date),
        )


class SkuPageOut(_WireOut):
    """A page of SKUs."""

    skus: list[SkuOut]
    next_page_token: str | None = Field(
        None, description="Opaque; send it back for the next page. Absent on the last page."
    )

    @classmethod
    def of(cls, page: SkuPage) -> SkuPageOut:
        """The wire form of a page."""
        skus = [SkuOut.of(sku, page.began_at) for sku in page.skus]
        return cls(skus=skus, next_page_token=page.next_page_token)

    def to_json(self) -> bytes:
        """The body of the answer; what is absent is left out."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)


PRODUCT_IN: Final = Annotated[list[SkuIn], Field(min_length=1, max_length=MOST_SKUS)]
"""The form of an upsert's body. What holds across its SKUs is checked by `read_product`."""

_PRODUCT_OUT: Final = TypeAdapter(list[SkuOut])


def product_json(skus: Sequence[Sku]) -> bytes:
    """The wire form of a product: a bare array of its SKUs."""
    return _PRODUCT_OUT.dump_json([SkuOut.of(sku) for sku in skus], by_alias=True, exclude_none=True)


def read_sku(line: bytes) -> SkuDraft:
    """The SKU that a line of JSON describes.

    Raises:
        InvalidInputError: with every fault of the line, each with its path, never its value.
    """
    return checked(SkuIn, parse_json(line)).to_draft()


def read_product(body: bytes) -> list[SkuDraft]:
    """The SKUs that a body describes: of one product, each once, no more than one of them the main one.

    Raises:
        InvalidInputError: with the faults of all SKUs, each with its path, never its value.
    """
    content = parse_json(body)
    if not isinstance(content, list):
        raise refusal((Fault("", "Input should be an array of SKUs"),))
    if not 1 <= len(content) <= MOST_SKUS:
        raise refusal((Fault("", f"must hold 1 to {MOST_SKUS} SKUs"),))
    drafts = []
    faults = list(_faults_across(content))
    for place, item in enumerate(content):
        try:
            drafts.append(checked(SkuIn, item).to_draft())
        except InvalidInputError as error:
            faults += [Fault(f"{place}.{fault.path}".rstrip("."), fault.message) for fault in error.faults]
        if len(faults) >= MOST_FAULTS:
            break
    if faults:
        raise refusal(tuple(faults))
    return drafts


def _faults_across(content: list[Any]) -> Iterator[Fault]:
    """What one SKU of a body makes a fault of another."""
    skus = [(place, item) for place, item in enumerate(content) if isinstance(item, dict)]
    products = [item["productId"] for _, item in skus if isinstance(item.get("productId"), str)]
    seen: set[str] = set()
    has_main = False
    for place, item in skus:
        sku_id, product_id, main = (item.get(name) for name in ("skuId", "productId", "main"))
        if isinstance(product_id, str) and product_id != products[0]:
            yield Fault(f"{place}.productId", "must be that of the first SKU")
        if isinstance(sku_id, str):
            if sku_id in seen:
                yield Fault(f"{place}.skuId", "is that of a SKU before it")
            seen.add(sku_id)
        if main is True:
            if has_main:
                yield Fault(f"{place}.main", "must be true for one SKU of a product alone")
            has_main = True
