"""Pure decisions: what a channel is to show of a SKU, and what its merchant is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, NamedTuple

from ecross_server.catalog.rules import (
    DELETED,
    DENIED_REGULATORY,
    LOCALIZATION_SKIPPED,
    PENDING_LOCALIZATION,
    REVIEW_DENIED,
    ChannelStatus,
    is_active,
    shown_data,
)
from ecross_server.localization.rules import EVERYWHERE, Reason, described

APPROVED: Final = "SALES_CHANNEL_APPROVED"
INTEGRATED: Final = "Integration successful"
DENIED: Final = "SALES_CHANNEL_DENIED"
REMOVED: Final = "SALES_CHANNEL_REMOVED"
INACTIVE: Final = "Not active"
DISCONNECTED: Final = "Not connected to this sales channel"
GONE: Final = "Deleted"

FIELDS: Final = ("product_id", "is_main", "name", "description", "ean", "hs_code", "images")
MEASURES: Final = ("weight_kg", "height_cm", "width_cm", "length_cm")


class Entry(NamedTuple):
    """A listing as a channel takes it over. One without content is to be taken off."""

    revision: int
    merchant_id: str
    sku_id: str
    content: Mapping[str, Any] | None
    quantity: int


@dataclass(frozen=True, slots=True)
class Showing:
    """What a channel is to show, and why not if it is nothing."""

    content: Mapping[str, Any] | None
    status: str
    message: str


def decide(
    sku: Any,  # noqa: ANN401 - a row of the catalog
    *,
    is_connected: bool,
    country: str,
    reasons: Sequence[Reason],
    now_shown: Showing | None,
) -> Showing | None:
    """What a channel is to show of the SKU from now on; `None`: nothing, and there is nothing to tell.

    While a changed SKU is looked at, its channels go on showing what they show.
    """
    status = sku.localization_status
    if status == DELETED or not is_connected:
        return now_shown and Showing(None, REMOVED, GONE if status == DELETED else DISCONNECTED)
    here = [reason for reason in reasons if reason.country in {EVERYWHERE, country}]
    if status in {REVIEW_DENIED, DENIED_REGULATORY}:
        return Showing(None, DENIED, described(here))
    if not is_active(sku.sale_channel_data):
        return now_shown and Showing(None, REMOVED, INACTIVE)
    if status in {PENDING_LOCALIZATION, LOCALIZATION_SKIPPED}:
        return now_shown
    if here:
        return Showing(None, DENIED, described(here))
    return Showing(content_of(sku), APPROVED, INTEGRATED)


def content_of(sku: Any) -> dict[str, Any]:  # noqa: ANN401 - likewise
    """What is shown of the SKU, as it is kept beside the catalog."""
    measures = {name: getattr(sku, name) for name in MEASURES}
    return {
        **{name: getattr(sku, name) for name in FIELDS},
        **{name: None if value is None else _text(value) for name, value in measures.items()},
        "sale_channel_data": shown_data(sku.sale_channel_data),
    }


def _text(value: Decimal) -> str:
    # The databases keep one number in several spellings.
    return f"{value.normalize():f}"


def is_told(shown: Mapping[str, Any] | None, status: ChannelStatus) -> bool:
    """Whether a SKU shows this of a channel."""
    return shown is not None and (shown["status"], shown["status_message"]) == (status.status, status.message)
