"""The form of a feed's lines, spelled as the API spells SKUs."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, Final

from ecross_server.channels.service import Channel
from ecross_server.kit.clock import rfc3339
from ecross_server.publication.rules import Entry

FORM: Final = 1

SPELLED: Final = {
    "product_id": "productId", "is_main": "main", "name": "name", "description": "description", "ean": "ean",
    "hs_code": "hscode", "images": "images", "sale_channel_data": "globalSaleChannelData",
}  # fmt: skip
MEASURES: Final = {"weight_kg": "weight", "height_cm": "height", "width_cm": "width", "length_cm": "length"}

LINE_ENDS: Final = {ord(one): f"\\u{ord(one):04x}" for one in "\x85\u2028\u2029"}
"""JSON lets them stand in a text, but some readers of lines take them for an end."""

_dumps = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def first_line(channel: Channel) -> dict[str, Any]:
    """What a feed says of its channel."""
    return {
        "form": FORM,
        "channelId": channel.id,
        "name": channel.name,
        "country": channel.country,
        "currency": channel.currency,
        "createdAt": rfc3339(channel.created_at),
    }


def last_line(revision: int) -> dict[str, Any]:
    """What stands at the end of a feed that was written anew."""
    return {"revision": revision}


def entry_line(entry: Entry) -> dict[str, Any]:
    """What a feed says of a SKU. What its merchant did not send is left out."""
    named = {"revision": entry.revision, "id": f"{entry.merchant_id}-{entry.sku_id}"}
    if entry.content is None:
        return named | {"removed": True}
    content = entry.content
    texts = {spelled: content[name] for name, spelled in SPELLED.items() if content[name] is not None}
    measures = {spelled: _number(content[name]) for name, spelled in MEASURES.items() if content[name] is not None}
    ids = {"merchantId": entry.merchant_id, "skuId": entry.sku_id}
    return named | ids | texts | measures | {"available": entry.quantity > 0, "quantity": entry.quantity}


def to_line(content: dict[str, Any]) -> bytes:
    """The JSON of a line, with its end."""
    return _dumps(content).translate(LINE_ENDS).encode() + b"\n"


def _number(text: str) -> int | float:
    # At most 15 digits were taken in, so a float shows each of them again.
    value = Decimal(text)
    return int(value) if value == value.to_integral_value() else float(value)
