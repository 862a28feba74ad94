"""What the sales channel shows of a SKU, and what its merchant is told of that."""

from collections.abc import Mapping
from typing import Any, NamedTuple

CHANNEL = "ECOM"
COUNTRY = "BR"
"""Where the shoppers of the channel are."""

PENDING = "PENDING_LOCALIZATION"
READY = "READY_FOR_SALES_CHANNEL"
DELETED = "DELETED"
DENIALS = ("REVIEW_DENIED", "DENIED_REGULATORY")

APPROVED = "SALES_CHANNEL_APPROVED"

JUDGED = ("name", "description", "weight", "height", "width", "length", "ean", "hscode", "images")


class Verdict(NamedTuple):
    """Where a SKU stands once it was looked at, and why if it was denied."""

    status: str
    reason: str = ""


class Showing(NamedTuple):
    """What the channel shows, if anything, and what its status and message are."""

    content: dict[str, Any] | None
    status: str
    message: str


def judged(draft: Mapping[str, Any]) -> dict[str, Any]:
    """What of a SKU has to be looked at: what shoppers see, without prices."""
    data = draft["globalSaleChannelData"] or {}
    shown_data = {name: value for name, value in data.items() if name != "active"}
    return {**{name: draft[name] for name in JUDGED}, "globalSaleChannelData": shown_data}


def content_of(draft: Mapping[str, Any], *, is_main: bool) -> dict[str, Any]:
    """What a channel shows of a SKU."""
    return {**judged(draft), "productId": draft["productId"], "main": is_main}


def decide(verdict: Verdict, draft: Mapping[str, Any], *, is_main: bool, before: Showing | None) -> Showing | None:
    """What the channel makes of a SKU from now on. One that is looked at again is shown as before."""
    if verdict.status in DENIALS:
        return Showing(None, "SALES_CHANNEL_DENIED", verdict.reason)
    if (draft["globalSaleChannelData"] or {}).get("active") is False:
        return before and Showing(None, "SALES_CHANNEL_REMOVED", "Not active")
    if verdict.status != READY:
        return before
    return Showing(content_of(draft, is_main=is_main), APPROVED, "Integration successful")
