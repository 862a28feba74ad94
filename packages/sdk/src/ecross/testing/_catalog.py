"""The SKUs of one merchant: what is put in, and the pages that come out, in the API's spelling."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

TEXTS = ("skuId", "productId", "name", "description", "ean", "hscode")
NUMBERS = ("weight", "height", "width", "length")
UNSHOWN = {"localizedListPriceWithTaxes", "localizedSalePriceWithTaxes"}  # the list takes them in and shows neither
GIVEN = {*TEXTS, *NUMBERS, *UNSHOWN, "main", "globalSaleChannelData", "images"}
SET_BY_SERVER = {"localizationStatus", "salesChannelStatus", "lastUpdateDate"}

INSTANT = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)(Z|[ +-]\d\d(?::?\d\d)?)", re.ASCII | re.IGNORECASE
)


@dataclass(slots=True)
class StoredSku:
    """A SKU and when it last changed."""

    wire: dict[str, Any]
    updated_at: datetime


class Catalog:
    """Lists SKUs in the order in which they were first put in."""

    def __init__(self, merchant_id: str) -> None:
        self._merchant_id = merchant_id
        self._stored: dict[str, StoredSku] = {}

    def put(self, sku: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """Add or replace; what the list will show."""
        wire, updated_at = self._shown(sku, now)
        sku_id = wire["skuId"]
        known = self._stored.get(sku_id)
        if known is not None and "lastUpdateDate" not in sku:
            same = {**wire, "lastUpdateDate": known.wire["lastUpdateDate"]}
            if same == known.wire:
                wire, updated_at = known.wire, known.updated_at
        self._stored[sku_id] = StoredSku(wire, updated_at)
        return dict(wire)

    def page(self, after: int, size: int, updated_after: datetime | None) -> tuple[list[dict[str, Any]], int | None]:
        """The SKUs behind the first so many of all, and how many of all the page has passed if there are more."""
        found: list[dict[str, Any]] = []
        passed = after
        for number, stored in enumerate(list(self._stored.values())[after:], after + 1):
            if updated_after is not None and stored.updated_at <= updated_after:
                continue
            if len(found) == size:
                return found, passed
            found.append(stored.wire)
            passed = number
        return found, None

    def all(self) -> list[dict[str, Any]]:
        """What the list shows, all pages together."""
        return [dict(stored.wire) for stored in self._stored.values()]

    def _shown(self, sku: Mapping[str, Any], now: datetime) -> tuple[dict[str, Any], datetime]:
        sku_id = sku.get("skuId")
        if not isinstance(sku_id, str) or not sku_id:
            raise ValueError("a SKU needs a skuId, a text")
        if unknown := sorted(set(sku) - GIVEN - SET_BY_SERVER):
            raise ValueError(f"a SKU has no field {', '.join(unknown)}; it has {', '.join(sorted(GIVEN))}")
        known = self._stored[sku_id].wire if sku_id in self._stored else {}
        product_id = sku.get("productId", sku_id)
        updated_at = parse_instant(str(sku["lastUpdateDate"])) if "lastUpdateDate" in sku else now
        if updated_at is None:
            raise ValueError("lastUpdateDate is no ISO 8601 date and time with a time zone")
        data = sku.get("globalSaleChannelData")
        wire = {
            "id": f"{self._merchant_id}-{sku_id}",
            "merchantId": self._merchant_id,
            "skuId": sku_id,
            "productId": product_id,
            "merchantProductId": f"{self._merchant_id}-{product_id}",
            "main": sku.get("main", False),
            "name": sku.get("name", sku_id),
            "description": sku.get("description"),
            **{name: _number(sku.get(name)) for name in NUMBERS},
            "ean": sku.get("ean"),
            "hscode": sku.get("hscode"),
            "globalSaleChannelData": None if data is None else _without_nothing(data),
            "images": list(sku.get("images", ())),
            "localizationStatus": sku.get(
                "localizationStatus", known.get("localizationStatus", "PENDING_LOCALIZATION")
            ),
            "salesChannelStatus": dict(sku.get("salesChannelStatus", known.get("salesChannelStatus", {}))),
            "lastUpdateDate": rfc3339(updated_at),
        }
        return _without_nothing(wire), updated_at


def rfc3339(instant: datetime) -> str:
    """An instant in UTC to the millisecond: `2023-10-27T19:18:54.301Z`."""
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_instant(text: str) -> datetime | None:
    """The instant to the millisecond that an ISO 8601 text with a time zone names; `None` for any other text."""
    form = INSTANT.fullmatch(text.strip())
    if form is None:
        return None
    zone = form[3].upper().replace(" ", "+")  # a "+" that was not percent-encoded in a query arrives as a space
    try:
        instant = datetime.fromisoformat(f"{form[1]}T{form[2]}{zone}").astimezone(UTC)
    except (OverflowError, ValueError):
        return None
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)


def _number(value: float | None) -> float | None:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _without_nothing(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
