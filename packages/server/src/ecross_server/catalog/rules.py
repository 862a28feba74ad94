"""The values of the catalog and what they must be, free of tables and wire forms."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from stdnum import ean, isbn

PENDING_LOCALIZATION: Final = "PENDING_LOCALIZATION"
"""Where every new SKU begins its way to the sales channels."""

DELETED: Final = "DELETED"
"""Where it ends: its product was sent without it. The row stays, so that a list by date can tell."""

READY_FOR_SALES_CHANNEL: Final = "READY_FOR_SALES_CHANNEL"
REVIEW_DENIED: Final = "REVIEW_DENIED"
DENIED_REGULATORY: Final = "DENIED_REGULATORY"
LOCALIZATION_SKIPPED: Final = "LOCALIZATION_SKIPPED"
"""Nobody looked at it, for its merchant sells on no channel."""

JUDGED: Final = frozenset(
    {"name", "description", "weight_kg", "height_cm", "width_cm", "length_cm", "ean", "hs_code", "images"}
)
"""What is looked at before a SKU is shown to shoppers, beside what `shown_data` gives."""

ARTICLE_NUMBER: Final = re.compile(r"[0-9]{8}|[0-9]{12,13}")
BOOK_NUMBER: Final = re.compile(r"[0-9]+(?:-[0-9]+)*-?[0-9X]")
HS_CODE: Final = re.compile(r"(?!00)[0-9]{6,10}")

LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
ADDRESS: Final = re.compile(
    rf"https://(?P<host>(?i:(?:{LABEL}\.)+(?P<top>[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9]))))"
    r"(?::(?P<port>[0-9]{0,5}))?(?:[/?#][!-\[\]-~]*)?",
    re.ASCII,
)
"""No user stands before the host, and no backslash anywhere: parsers differ on where a host ends beside them."""

LONGEST_HOST_NAME: Final = 253
HTTPS_PORT: Final = 443
LAST_PORT: Final = 65_535
INSIDE: Final = frozenset(
    {"arpa", "corp", "home", "internal", "intranet", "lan", "local", "localdomain", "localhost", "onion", "private"}
)
"""Names that end so mean something within a network or a machine only."""


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
class ProductsChanged:
    """Something changed in these products of a merchant, be it that a SKU left them. Told to whoever subscribed."""

    merchant_id: str
    product_ids: frozenset[str]
    at: datetime


@dataclass(frozen=True, slots=True)
class ChannelStatus:
    """What a sales channel made of a SKU."""

    status: str
    message: str


def is_active(sale_channel_data: Mapping[str, Any] | None) -> bool:
    """Whether the merchant wants the SKU on sale; who says nothing does."""
    return (sale_channel_data or {}).get("active") is not False


def shown_data(sale_channel_data: Mapping[str, Any] | None) -> dict[str, Any]:
    """What of a SKU's data shoppers are shown: all but whether it is active."""
    return {name: value for name, value in (sale_channel_data or {}).items() if name != "active"}


def main_sku(members: Sequence[str], asked: str | None, present: str | None) -> str:
    """Which of a product's SKUs represents it: the one that is asked for, else the present one, else the first."""
    if asked is not None:
        return asked
    return present if present is not None and present in members else members[0]


def is_article_number(text: str) -> bool:
    """Whether it is an EAN-8, EAN-13, UPC-A or ISBN whose check digit is right; hyphens may stand in an ISBN alone."""
    if ARTICLE_NUMBER.fullmatch(text):
        return ean.is_valid(text)
    return BOOK_NUMBER.fullmatch(text) is not None and isbn.is_valid(text)


def is_hs_code(text: str) -> bool:
    """Whether it looks like a customs HS code: 6 digits that all countries share, and up to 4 of one country."""
    return HS_CODE.fullmatch(text) is not None


def is_public_address(text: str) -> bool:
    """Whether it is an https address of a host by a public name.

    No host is given by its number, and no name of inner networks passes. Where a public name leads is not known before
    it is looked up: who fetches the address has to look at that again.
    """
    parts = ADDRESS.fullmatch(text)
    return (
        parts is not None
        and len(parts["host"]) <= LONGEST_HOST_NAME
        and parts["top"].lower() not in INSIDE
        and int(parts["port"] or HTTPS_PORT) <= LAST_PORT
    )
