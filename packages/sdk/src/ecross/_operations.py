"""Calls of the API as plain values: written once, performed by both clients."""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Generic, TypeVar
from urllib.parse import quote

from ecross._transport.calls import Answer
from ecross.errors import ConfigurationError, ServerError
from ecross.types import InventoryRecord, Page, SellableStock, Sku, SkuDraft
from ecross.types.inventory import read_inventory_record, read_sellable_stock
from ecross.types.sku_drafts import UnwritableError, write_sku
from ecross.types.skus import read_sku
from ecross.types.wire import UnexpectedFormError, WireObject

T = TypeVar("T")

IDEMPOTENCY_KEY = re.compile("[!-~]{1,255}")


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One call: what to send, and how to read what comes back.

    The body is `json`, or `content`, which is JSON already. `sets_state`: acted upon twice, it leaves what it left when
    it was acted upon once.
    """

    method: str
    path: str
    service: str
    read: Callable[[object], T]
    params: Mapping[str, str] = field(default_factory=dict)
    json: object = field(default=None, repr=False)
    content: bytes | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict)
    sets_state: bool = False

    def result(self, answer: Answer, request_id: str) -> T:
        """What the answer says. Raises `ServerError` for one that is not what the API promises."""
        try:
            return self.read(_parse(answer.content))
        except UnexpectedFormError as error:
            fault = str(error)
        message = f"The answer is not what the API promises: {fault}."
        raise ServerError(answer.status_code, message, None, request_id)


def list_skus(last_update_date_from: datetime | str | None) -> Callable[[str | None], Operation[Page[Sku]]]:
    """What gives, for a page token, the call that reads that page of the merchant's SKUs.

    Raises `ConfigurationError` for a moment without a time zone.
    """
    return list_changes("/ext/merchant/skus", "skus", read_sku, last_update_date_from)


def upsert_skus(skus: Iterable[SkuDraft | Mapping[str, object]], idempotency_key: str | None) -> Operation[list[Sku]]:
    """The call that makes a product consist of these SKUs; without a key, if none is told.

    Raises `ConfigurationError` for SKUs or a key that cannot be sent.
    """
    return Operation(
        "POST", "/ext/merchant/skus", "product", _read_skus,
        json=_write_skus(skus), headers=_keyed(idempotency_key), sets_state=True,
    )  # fmt: skip


def get_product(product_id: str) -> Operation[list[Sku]]:
    """The call that reads a product's SKUs. Raises `ConfigurationError` for an id that cannot stand in a path."""
    return Operation("GET", f"/ext/merchant/products/{_segment(product_id, 'product_id')}", "product", _read_skus)


def set_inventory(
    sku_id: str, quantity: int, *, warehouse_id: int, inventory_type: str, idempotency_key: str | None
) -> Operation[InventoryRecord]:
    """The call that sets what lies in a warehouse. Raises `ConfigurationError` for a key that cannot be sent."""
    wire = {"skuId": sku_id, "quantity": quantity, "warehouseId": warehouse_id, "inventoryType": inventory_type}
    return Operation(
        "POST", "/ext/inventories/", "product", lambda answer: read_inventory_record(WireObject(answer)),
        json=wire, headers=_keyed(idempotency_key), sets_state=True,
    )  # fmt: skip


def list_inventory(
    last_update_date_from: datetime | str | None,
) -> Callable[[str | None], Operation[Page[InventoryRecord]]]:
    """As `list_skus`, of the merchant's stock records."""
    return list_changes("/ext/inventories", "inventories", read_inventory_record, last_update_date_from)


def get_sellable(sku_id: str, country: str) -> Operation[SellableStock]:
    """The call that reads what can be sold to a country. Raises `ConfigurationError` as `get_product` does."""
    path = f"/ext/inventories/sku/{_segment(sku_id, 'sku_id')}/country/{_segment(country, 'country')}"
    return Operation("GET", path, "product", lambda answer: read_sellable_stock(WireObject(answer)))


def told_or_new_key(idempotency_key: str | None) -> str:
    """The key that was told, else one that no other call has."""
    return str(uuid.uuid4()) if idempotency_key is None else idempotency_key


def list_changes(
    path: str, name: str, read: Callable[[WireObject], T], last_update_date_from: datetime | str | None
) -> Callable[[str | None], Operation[Page[T]]]:
    """What gives, for a page token, the call that reads that page of a list by date, each thing in it by `read`."""
    params = {}
    if last_update_date_from is not None:
        params["lastUpdateDateFrom"] = _write_instant(last_update_date_from, "last_update_date_from")

    def read_answer(answer: object) -> Page[T]:
        wire = WireObject(answer)
        # Some samples of the API show an empty token on the last page.
        return Page(tuple(map(read, wire.required_objects(name))), wire.text("nextPageToken") or None)

    def read_page(page_token: str | None) -> Operation[Page[T]]:
        told = params if page_token is None else params | {"nextPageToken": page_token}
        return Operation("GET", path, "product", read_answer, told)

    return read_page


def _write_skus(skus: Iterable[SkuDraft | Mapping[str, object]]) -> list[dict[str, object]]:
    if isinstance(skus, (SkuDraft, Mapping, str)):
        raise ConfigurationError("skus must be a list of all SKUs of a product, also where it has one")
    wire: list[dict[str, object]] = []
    try:
        wire.extend(map(write_sku, skus))
    except UnwritableError as error:
        fault = str(error)
    else:
        return wire
    raise ConfigurationError(f"skus[{len(wire)}] cannot be sent: {fault}")


def _read_skus(answer: object) -> list[Sku]:
    if not isinstance(answer, list):
        raise UnexpectedFormError("the answer is not a list")
    return [read_sku(WireObject(value, f"[{index}]")) for index, value in enumerate(answer)]


def _keyed(idempotency_key: object) -> dict[str, str]:
    if idempotency_key is None:
        return {}
    if not isinstance(idempotency_key, str) or not IDEMPOTENCY_KEY.fullmatch(idempotency_key):
        raise ConfigurationError("idempotency_key must be 1 to 255 characters of printable ASCII without spaces")
    return {"Idempotency-Key": idempotency_key}


def _segment(value: object, name: str) -> str:
    """The text as one segment of a path."""
    try:
        # Dots alone mean other paths, and cannot be escaped.
        if isinstance(value, str) and value not in {"", ".", ".."}:
            return quote(value, safe="")
    except UnicodeEncodeError:
        pass
    raise ConfigurationError(f"{name} must be a text that can stand in a path: not empty, not dots alone")


def _write_instant(value: datetime | str, name: str) -> str:
    try:
        instant = datetime.fromisoformat(value) if isinstance(value, str) else value
        # One without a zone could be any hour, and is refused here and not taken for this machine's.
        if instant.utcoffset() is not None:
            return value if isinstance(value, str) else instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, AttributeError):
        pass
    raise ConfigurationError(
        f"{name} must be a datetime with a time zone, or such a text of ISO 8601 as 2023-10-27T19:10:00Z"
    )


def _parse(body: bytes) -> object:
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, ArithmeticError, RecursionError):
        pass
    raise UnexpectedFormError("it is not JSON")


def _refuse_constant(_: str) -> object:
    raise ValueError
