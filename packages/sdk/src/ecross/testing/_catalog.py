"""The SKUs of one merchant: what is put in or sent, what becomes of it, and what is shown, in the API's spelling."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import partial
from typing import Any

from ecross.testing._agenda import Agenda
from ecross.testing._changes import Page, Place, next_date, parse_instant, rfc3339, turn_page
from ecross.testing._channel import (
    APPROVED,
    CHANNEL,
    DELETED,
    PENDING,
    READY,
    Showing,
    Verdict,
    content_of,
    decide,
    judged,
)

NUMBERS = ("weight", "height", "width", "length")
UNSHOWN = ("localizedListPriceWithTaxes", "localizedSalePriceWithTaxes")  # the API takes them in and shows neither
DRAFT = ("skuId", "productId", "name", "description", *NUMBERS, "ean", "hscode", *UNSHOWN)
GIVEN = {*DRAFT, "main", "globalSaleChannelData", "images"}
SET_BY_SERVER = {"localizationStatus", "salesChannelStatus", "lastUpdateDate"}
NEW = {"localization_status": PENDING, "channel_status": {}}
GONE = {"localization_status": DELETED, "channel_status": {}, "is_main": False, "content": None, "settles_at": None}
SALE_CHANNEL_DATA = ("active", "brand", "size", "color", "category", "attributes")


@dataclass(slots=True)
class StoredSku:
    """A SKU, or what is left of one. `draft` is what its merchant said, prices as well."""

    number: int
    draft: dict[str, Any]
    is_main: bool
    updated_at: datetime
    localization_status: str = PENDING
    channel_status: dict[str, Any] = field(default_factory=dict)
    reason: str = ""
    """Why it was denied."""
    content: dict[str, Any] | None = None
    """What the sales channel shows of it, if anything."""
    settles_at: datetime | None = None
    """When it is looked at and the channel hears of it; `None` if it is at rest."""

    @property
    def sku_id(self) -> str:
        """The merchant's own id of it."""
        return str(self.draft["skuId"])

    @property
    def product_id(self) -> str:
        """The merchant's own id of its product."""
        return str(self.draft["productId"])

    @property
    def is_living(self) -> bool:
        """Whether its product has it."""
        return self.localization_status != DELETED

    @property
    def showing(self) -> Showing | None:
        """What the sales channel makes of it, once that was told."""
        told = self.channel_status.get(CHANNEL)
        return told and Showing(self.content, told.get("status", ""), told.get("statusMessage", ""))


class Catalog:
    """SKUs in the order in which they were first put in. Whoever asks has let the agenda settle."""

    def __init__(self, merchant_id: str, agenda: Agenda) -> None:
        self._merchant_id = merchant_id
        self._agenda = agenda
        self.on_shown: list[Callable[[str, datetime], None]] = []
        """These hear of each SKU that the sales channel begins to show, or shows otherwise, and when."""
        self._stored: dict[str, StoredSku] = {}
        self._of_product: dict[str, set[str]] = {}
        self._latest: datetime | None = None
        self._denied: dict[str, Verdict] = {}

    def put(self, sku: Mapping[str, Any], now: datetime) -> dict[str, Any]:
        """Add or replace one SKU, and no other; what the list will show."""
        draft, given_at = _read_put(sku)
        known = self._stored.get(draft["skuId"])
        stored = known or self._add(draft, now)
        values = {"draft": draft, "is_main": sku.get("main", False)}
        if not (known and known.is_living):
            values |= NEW
        if "salesChannelStatus" in sku:
            given = dict(sku["salesChannelStatus"])
            is_shown = given.get(CHANNEL, {}).get("status") == APPROVED
            content = content_of(draft, is_main=values["is_main"]) if is_shown else None
            values |= {"channel_status": given, "content": content}
        if "localizationStatus" in sku:
            values["localization_status"] = sku["localizationStatus"]
        date = given_at or self._next_date(now)
        self._alter(stored, date, values, now, is_dated=known is None or given_at is not None)
        if "localizationStatus" in sku:
            stored.settles_at = None
        return self.shown(stored)

    def upsert(self, wire: Sequence[Mapping[str, Any]], now: datetime) -> list[dict[str, Any]]:
        """Make a product consist of these SKUs, which are without faults; what is shown of them."""
        date = self._next_date(now)
        product_id = wire[0]["productId"]
        drafts = {sku["skuId"]: _draft(sku) for sku in wire}
        touched = {product_id, *(self._stored[each].product_id for each in drafts if each in self._stored)}
        mains = {each: next((sku.sku_id for sku in self._living(each) if sku.is_main), None) for each in touched}
        mains[product_id] = next((sku["skuId"] for sku in wire if sku.get("main")), mains[product_id])
        for sku in self._living(product_id):
            if sku.sku_id not in drafts:
                self._change(sku, date, GONE)
        for draft in drafts.values():
            self._save(draft, date, now)
        for each, main in mains.items():
            self._choose_main(each, main, date, now)
        return [self.shown(self._stored[sku_id]) for sku_id in drafts]

    def deny(self, sku_id: str, verdict: Verdict, now: datetime) -> None:
        """Let this be found of a SKU the next time it is looked at, or now if it is not waiting for that."""
        sku = self._stored.get(sku_id)
        if sku is None or not sku.is_living or (sku.localization_status == PENDING and sku.settles_at is not None):
            self._denied[sku_id] = verdict
        else:
            self._publish(sku, verdict, now)

    def is_shown(self, sku_id: str) -> bool:
        """Whether the sales channel shows the SKU."""
        sku = self._stored.get(sku_id)
        return sku is not None and sku.content is not None

    def product(self, product_id: str) -> list[dict[str, Any]]:
        """What is shown of a product's SKUs."""
        return [self.shown(sku) for sku in self._living(product_id)]

    def name(self, sku_id: str) -> str | None:
        """The name of a SKU that is registered."""
        sku = self._stored.get(sku_id)
        return str(sku.draft["name"]) if sku is not None and sku.is_living else None

    def page(self, place: Place, size: int) -> Page[StoredSku]:
        """A page of the list; deleted SKUs are in lists by date alone."""
        is_by_date = place.updated_after is not None
        return turn_page(list(self._stored.values()), place, size, shows=lambda sku: is_by_date or sku.is_living)

    def all(self) -> list[dict[str, Any]]:
        """What the list shows, all pages together."""
        return [self.shown(sku) for sku in self._stored.values() if sku.is_living]

    def shown(self, sku: StoredSku, no_later_than: datetime | None = None) -> dict[str, Any]:
        """A SKU as the API shows it."""
        draft = sku.draft
        return _without_nothing({
            "id": f"{self._merchant_id}-{sku.sku_id}",
            "merchantId": self._merchant_id,
            "skuId": sku.sku_id,
            "productId": sku.product_id,
            "merchantProductId": f"{self._merchant_id}-{sku.product_id}",
            "main": sku.is_main,
            **{name: draft[name] for name in DRAFT[2:] if name not in UNSHOWN},
            "globalSaleChannelData": draft["globalSaleChannelData"],
            "images": draft["images"],
            "localizationStatus": sku.localization_status,
            "salesChannelStatus": dict(sku.channel_status),
            "lastUpdateDate": rfc3339(min(sku.updated_at, no_later_than or sku.updated_at)),
        })  # fmt: skip

    def _add(self, draft: dict[str, Any], date: datetime) -> StoredSku:
        sku = StoredSku(len(self._stored), draft, is_main=False, updated_at=date)
        self._stored[sku.sku_id] = sku
        self._of_product.setdefault(sku.product_id, set()).add(sku.sku_id)
        return sku

    def _save(self, draft: dict[str, Any], date: datetime, now: datetime) -> None:
        sku = self._stored.get(draft["skuId"])
        if sku is None:
            self._alter(self._add(draft, date), date, NEW, now, is_dated=True)
        else:
            self._alter(sku, date, {"draft": draft} if sku.is_living else {"draft": draft, **NEW}, now)

    def _choose_main(self, product_id: str, wanted: str | None, date: datetime, now: datetime) -> None:
        members = self._living(product_id)
        ids = [sku.sku_id for sku in members]
        main = wanted if wanted in ids else next(iter(ids), None)
        for sku in members:
            self._alter(sku, date, {"is_main": sku.sku_id == main}, now)

    def _living(self, product_id: str) -> list[StoredSku]:
        members = (self._stored[sku_id] for sku_id in self._of_product.get(product_id, ()))
        living = (sku for sku in members if sku.product_id == product_id and sku.is_living)
        return sorted(living, key=lambda sku: sku.number)

    def _next_date(self, now: datetime) -> datetime:
        return next_date(now, self._latest)

    def _alter(
        self, sku: StoredSku, date: datetime, values: Mapping[str, Any], now: datetime, *, is_dated: bool = False
    ) -> None:
        """Do what somebody asks; what comes of it follows in a while. Other content has to be looked at again."""
        if "localization_status" not in values and judged(values.get("draft", sku.draft)) != judged(sku.draft):
            values = {**values, "localization_status": PENDING}
        is_changed = self._change(sku, date, values, is_dated=is_dated)
        # One that was put in as waiting waits until its content changes.
        is_moving = "localization_status" in values or sku.localization_status != PENDING
        if is_changed and is_moving and sku.settles_at is None:
            sku.settles_at = self._agenda.add(now, partial(self._look_at, sku))

    def _change(self, sku: StoredSku, date: datetime, values: Mapping[str, Any], *, is_dated: bool = False) -> bool:
        """Give the SKU these values, and the date if one of them is another, or in any case; whether it got it."""
        is_changed = is_dated or any(getattr(sku, name) != value for name, value in values.items())
        if is_changed:
            for name, value in values.items():
                setattr(sku, name, value)
            self._of_product.setdefault(sku.product_id, set()).add(sku.sku_id)
            sku.updated_at = date
            self._latest = max(date, self._latest or date)
        return is_changed

    def _look_at(self, sku: StoredSku, at: datetime) -> None:
        if sku.settles_at != at:
            return
        sku.settles_at = None
        verdict = Verdict(sku.localization_status, sku.reason)
        if verdict.status == PENDING:
            verdict = self._denied.pop(sku.sku_id, Verdict(READY))
        self._publish(sku, verdict, at)

    def _publish(self, sku: StoredSku, verdict: Verdict, now: datetime) -> None:
        date, before = self._next_date(now), sku.showing
        values: dict[str, Any] = {"localization_status": verdict.status, "reason": verdict.reason}
        showing = decide(verdict, sku.draft, is_main=sku.is_main, before=before)
        if showing is not None and showing != before:
            told = {"status": showing.status, "statusMessage": showing.message, "statusDate": rfc3339(date)}
            values |= {"content": showing.content, "channel_status": {**sku.channel_status, CHANNEL: told}}
        if self._change(sku, date, values) and sku.content is not None:
            for hear in self.on_shown:
                hear(sku.sku_id, now)


def _read_put(sku: Mapping[str, Any]) -> tuple[dict[str, Any], datetime | None]:
    sku_id = sku.get("skuId")
    if not isinstance(sku_id, str) or not sku_id:
        raise ValueError("a SKU needs a skuId, a text")
    if unknown := sorted(set(sku) - GIVEN - SET_BY_SERVER):
        raise ValueError(f"a SKU has no field {', '.join(unknown)}; it has {', '.join(sorted(GIVEN))}")
    given_at = parse_instant(str(sku["lastUpdateDate"])) if "lastUpdateDate" in sku else None
    if "lastUpdateDate" in sku and given_at is None:
        raise ValueError("lastUpdateDate is no ISO 8601 date and time with a time zone")
    channels = sku.get("salesChannelStatus", {})
    if not (isinstance(channels, Mapping) and all(isinstance(told, Mapping) for told in channels.values())):
        raise ValueError("salesChannelStatus has an object for each channel")
    return _draft({"productId": sku_id, "name": sku_id, **sku}), given_at


def _draft(sku: Mapping[str, Any]) -> dict[str, Any]:
    """What a merchant says of a SKU, all of it and no more."""
    data = sku.get("globalSaleChannelData")
    draft: dict[str, Any] = {name: sku.get(name) for name in DRAFT}
    draft |= {name: _number(sku.get(name)) for name in (*NUMBERS, *UNSHOWN)}
    draft["globalSaleChannelData"] = None if data is None else _sale_channel_data(data)
    draft["images"] = list(sku.get("images", ()))
    return draft


def _sale_channel_data(data: Mapping[str, Any]) -> dict[str, Any]:
    known = _without_nothing({name: data.get(name) for name in SALE_CHANNEL_DATA})
    if "attributes" in known:
        known["attributes"] = [{"name": pair["name"], "value": pair["value"]} for pair in known["attributes"]]
    return known


def _number(value: Decimal | float | None) -> float | None:
    if value is None:
        return None
    return int(value) if value == int(value) else float(value)


def _without_nothing(content: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in content.items() if value is not None}
