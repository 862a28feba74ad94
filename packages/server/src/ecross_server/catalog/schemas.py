"""The wire forms of SKUs: spelled as the API spells them, quirks included (`hscode`, `globalSaleChannelData`)."""

from __future__ import annotations

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
    ValidationError,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails, PydanticCustomError

from ecross.jws import StrictJsonError, loads_strict
from ecross_server.catalog.rules import SkuDraft
from ecross_server.catalog.service import Sku, SkuPage
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.errors import Fault, InvalidInputError

LONGEST_ID: Final = 128
LONGEST_TEXT: Final = 500
LONGEST_DESCRIPTION: Final = 50_000
LONGEST_CODE: Final = 32
LONGEST_ADDRESS: Final = 2048
MOST_IMAGES: Final = 100
MOST_ATTRIBUTES: Final = 200


def _json_number(value: Decimal) -> int | float:
    # At most 15 digits were taken in, so a float shows each of them again.
    return int(value) if value == value.to_integral_value() else float(value)


def _only_number(value: object) -> object:
    # Elsewhere pydantic takes numbers in strings, too.
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return value
    raise PydanticCustomError("number_type", "Input should be a number")


Number = Annotated[
    Decimal,
    BeforeValidator(_only_number),
    Field(ge=0, max_digits=15, decimal_places=6, allow_inf_nan=False),
    WithJsonSchema({"type": "number", "minimum": 0}),
]
# What was checked when it came in is not checked again: that took a quarter of a list's time.
ShownNumber = Annotated[Decimal, PlainSerializer(_json_number), WithJsonSchema({"type": "number", "minimum": 0})]


def _without_nul(text: str) -> str:
    # PostgreSQL's text cannot hold it.
    if "\0" in text:
        raise PydanticCustomError("nul", "must not contain the NUL character")
    return text


Kept = AfterValidator(_without_nul)
Text = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_TEXT), Kept]
Description = Annotated[StrictStr, Field(max_length=LONGEST_DESCRIPTION), Kept]
Code = Annotated[StrictStr, Field(max_length=LONGEST_CODE), Kept]
Id = Annotated[StrictStr, Field(min_length=1, max_length=LONGEST_ID, pattern=r"^[^\s/]+$"), Kept]
Address = Annotated[StrictStr, Field(max_length=LONGEST_ADDRESS, pattern="^https?://"), Kept]


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
        default=False, description="Whether it represents the product in listing pages.", examples=[True]
    )
    name: Text = Field(description="Title in the original language.", examples=["USB charger type C"])
    description: Description | None = Field(None, description="Text in the original language; may hold newlines.")
    weight: Number | None = Field(None, description="In kg.", examples=[0.1])
    height: Number | None = Field(None, description="In cm.", examples=[4])
    width: Number | None = Field(None, description="In cm.", examples=[4])
    length: Number | None = Field(None, description="In cm.", examples=[19])
    ean: Code | None = Field(None, description="EAN-13 or another standard code.", examples=["0799439112766"])
    hscode: Code | None = Field(None, description="Customs HS code.", examples=["850440"])
    localized_list_price_with_taxes: Number | None = Field(
        None, description="Origin list price in the merchant's currency, despite its name.", examples=[9.99]
    )
    localized_sale_price_with_taxes: Number | None = Field(
        None, description="Origin sale price in the merchant's currency, despite its name.", examples=[8.00]
    )
    global_sale_channel_data: GlobalSaleChannelData | None = None
    images: list[Address] = Field(
        [], max_length=MOST_IMAGES, description="Publicly reachable addresses.", examples=[["https://img.test/1.jpeg"]]
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

    status: str = Field(examples=["SALES_CHANNEL_APPROVED"])
    status_message: str = Field(examples=["Integration successful"])
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
        description="How far it is on its way to the sales channels.", examples=["PENDING_LOCALIZATION"]
    )
    sales_channel_status: dict[str, ChannelStatusOut] = Field(description="By the id of the sales channel.")
    last_update_date: str = Field(examples=["2024-09-06T11:13:30.533Z"])

    @classmethod
    def of(cls, sku: Sku) -> SkuOut:
        """The wire form of a SKU."""
        data = sku.sale_channel_data
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
            last_update_date=rfc3339(sku.last_updated_at),
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
        return cls(skus=[SkuOut.of(sku) for sku in page.skus], next_page_token=page.next_page_token)

    def to_json(self) -> bytes:
        """The body of the answer; what is absent is left out."""
        return self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)


def read_sku(line: bytes) -> SkuDraft:
    """The SKU that a line of JSON describes.

    Raises:
        InvalidInputError: with every fault of the line, each with its path, never its value.
    """
    try:
        content: Any = loads_strict(line)
    except StrictJsonError as error:
        raise InvalidInputError("not acceptable JSON", (Fault("", str(error)),)) from None
    try:
        return SkuIn.model_validate(content).to_draft()
    except ValidationError as error:
        faults = [_fault(item) for item in error.errors(include_input=False, include_url=False)]
        raise InvalidInputError("not a SKU", tuple(faults)) from None


def _fault(item: ErrorDetails) -> Fault:
    # What the library says instead names our classes.
    message = "Input should be an object" if item["type"] == "model_type" else item["msg"]
    return Fault(".".join(map(str, item["loc"])), message)
