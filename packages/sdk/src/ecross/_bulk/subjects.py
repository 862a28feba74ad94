"""What can be brought to the server as a whole: the catalog, product by product, and stock, record by record."""

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final, Protocol

from ecross._bulk import tables
from ecross._bulk.entries import Seen, UnwritableError, digest_of, read_object, write
from ecross._bulk.tables import Cell
from ecross._catalog_rules import ID, LONGEST_ID, check_product
from ecross._operations import Operation, list_changes
from ecross.errors import FieldError
from ecross.types import Page, SkuDraft, sku_drafts
from ecross.types.sku_drafts import write_sku
from ecross.types.wire import UnexpectedFormError, WireObject

DELETED: Final = "DELETED"
MOST_BYTES: Final = 4 * 1024 * 1024
MOST_PIECES: Final = 1_000_000_000
INVENTORY_TYPES: Final = ("AVAILABLE", "DAMAGED")
LONGEST_KEY: Final = 1000

Placed = tuple[str | None, str, list[tuple[str, str]]]
"""What an object is sent with, what it is called itself, and what of both is at fault."""


class Subject(Protocol):
    """One thing that can be brought to the server: how it is written, grouped, sent, and shown by the server."""

    @property
    def columns(self) -> Mapping[str, Cell]:
        """The names that a header of CSV may have, and how their cells are read."""

    @property
    def required(self) -> Sequence[str]:
        """Those that it must have."""

    def plain(self, item: object) -> object:
        """What a caller's own object is written as."""

    def place(self, content: Mapping[str, object]) -> Placed:
        """Where an object belongs."""

    def complete(self, content: Mapping[str, object]) -> Mapping[str, object]:
        """The object as it is sent."""

    def send(self, bodies: Sequence[bytes]) -> Operation[list[Seen]]:
        """The call that brings all that belongs together."""

    def check(self, bodies: Sequence[bytes]) -> Sequence[FieldError]:
        """What the server would refuse it for, as far as that can be told here."""

    def list(self, since: str | None, page_token: str | None) -> Operation[Page[Seen]]:
        """The call that reads a page of what the server has, or of what changed there since."""

    def locate(self, path: str) -> tuple[int, str]:
        """Which of the bodies a fault is of that the server tells, and where in it; -1 for none."""


_SKU_COLUMNS: Final[Mapping[str, Cell]] = {
    "skuId": tables.text,
    "productId": tables.text,
    "main": tables.truth,
    "name": tables.text,
    "description": tables.text,
    "weight": tables.number,
    "height": tables.number,
    "width": tables.number,
    "length": tables.number,
    "ean": tables.text,
    "hscode": tables.text,
    "localizedListPriceWithTaxes": tables.number,
    "localizedSalePriceWithTaxes": tables.number,
    "globalSaleChannelData.active": tables.truth,
    "globalSaleChannelData.brand": tables.text,
    "globalSaleChannelData.size": tables.text,
    "globalSaleChannelData.color": tables.text,
    "globalSaleChannelData.category": tables.text,
    "globalSaleChannelData.attributes": tables.attributes,
    "images": tables.images,
}
_STOCK_COLUMNS: Final[Mapping[str, Cell]] = {
    "skuId": tables.text,
    "quantity": tables.number,
    "warehouseId": tables.number,
    "inventoryType": tables.text,
}


class _Catalog:
    columns = _SKU_COLUMNS
    required = ("skuId", "productId")

    def plain(self, item: object) -> object:
        if not isinstance(item, SkuDraft):
            return item
        try:
            return write_sku(item)
        except sku_drafts.UnwritableError as error:
            fault = str(error)
        raise UnwritableError(fault)

    def place(self, content: Mapping[str, object]) -> Placed:
        key, key_faults = _name(content, "productId")
        id_, id_faults = _name(content, "skuId")
        return key, id_ or "", [*key_faults, *id_faults]

    def complete(self, content: Mapping[str, object]) -> Mapping[str, object]:
        return content

    def send(self, bodies: Sequence[bytes]) -> Operation[list[Seen]]:
        return Operation(
            "POST", "/ext/merchant/skus", "product", _read_product,
            content=b"[" + b",".join(bodies) + b"]", sets_state=True,
        )  # fmt: skip

    def check(self, bodies: Sequence[bytes]) -> Sequence[FieldError]:
        return check_product([read_object(body) for body in bodies])

    def list(self, since: str | None, page_token: str | None) -> Operation[Page[Seen]]:
        return list_changes("/ext/merchant/skus", "skus", _read_sku, since)(page_token)

    def locate(self, path: str) -> tuple[int, str]:
        place, _, rest = path.partition(".")
        return (int(place), rest) if place.isascii() and place.isdigit() else (-1, path)


class _Stock:
    columns = _STOCK_COLUMNS
    required = ("skuId", "quantity")

    def plain(self, item: object) -> object:
        return item

    def place(self, content: Mapping[str, object]) -> Placed:
        sku_id, faults = _name(content, "skuId")
        told = self.complete(content)
        warehouse, kind = told["warehouseId"], told["inventoryType"]
        if content.get("quantity") is None:
            faults.append(("quantity", "is missing"))
        if isinstance(warehouse, bool) or not isinstance(warehouse, (int, Decimal)) or warehouse != int(warehouse):
            faults.append(("warehouseId", "must be a whole number"))
        elif not isinstance(kind, str):
            faults.append(("inventoryType", "must be a text"))
        elif sku_id is not None:
            key = f"{sku_id}/{int(warehouse)}/{kind}"
            return key, key, faults
        return None, "", faults

    def complete(self, content: Mapping[str, object]) -> Mapping[str, object]:
        return {"warehouseId": 1, "inventoryType": "AVAILABLE", **content}

    def send(self, bodies: Sequence[bytes]) -> Operation[list[Seen]]:
        (body,) = bodies
        return Operation(
            "POST", "/ext/inventories/", "product", lambda answer: [_read_record(WireObject(answer))],
            content=body, sets_state=True,
        )  # fmt: skip

    def check(self, bodies: Sequence[bytes]) -> Sequence[FieldError]:
        (record,) = map(read_object, bodies)
        return [FieldError(path, message) for path, message in _check_record(record)]

    def list(self, since: str | None, page_token: str | None) -> Operation[Page[Seen]]:
        return list_changes("/ext/inventories", "inventories", _read_record, since)(page_token)

    def locate(self, path: str) -> tuple[int, str]:
        return 0, path


SUBJECTS: Final[Mapping[str, Subject]] = {"catalog": _Catalog(), "stock": _Stock()}


def _name(content: Mapping[str, object], field: str) -> tuple[str | None, list[tuple[str, str]]]:
    value = content.get(field)
    if isinstance(value, str) and 0 < len(value) <= LONGEST_KEY and "\0" not in value:
        return value, []
    return None, [(field, "is missing" if value is None else f"must be a text of 1 to {LONGEST_KEY} characters")]


def _read_product(answer: object) -> list[Seen]:
    if not isinstance(answer, list):
        raise UnexpectedFormError("the answer is not a list")
    return [_read_sku(WireObject(value, f"[{index}]")) for index, value in enumerate(answer)]


def _read_sku(wire: WireObject) -> Seen:
    return Seen(
        wire.required_text("skuId"),
        wire.required_text("productId"),
        wire.instant("lastUpdateDate"),
        is_deleted=wire.text("localizationStatus") == DELETED,
    )


def _read_record(wire: WireObject) -> Seen:
    told = {name: wire.members.get(name) for name in _STOCK_COLUMNS}
    key = f"{wire.required_text('skuId')}/{told['warehouseId']}/{wire.required_text('inventoryType')}"
    try:
        digest = digest_of([write(told)])
    except UnwritableError:
        digest = None
    return Seen(key, key, wire.instant("lastUpdateDate"), digest=digest)


def _check_record(record: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    sku_id, quantity, warehouse_id = record["skuId"], record["quantity"], record["warehouseId"]
    if not isinstance(sku_id, str) or len(sku_id) > LONGEST_ID or not ID.fullmatch(sku_id):
        yield "skuId", f"must be at most {LONGEST_ID} characters without spaces and slashes"
    if not isinstance(quantity, int) or isinstance(quantity, bool) or not 0 <= quantity <= MOST_PIECES:
        yield "quantity", f"must be a whole number, 0 to {MOST_PIECES}"
    if not isinstance(warehouse_id, int) or warehouse_id < 1:
        yield "warehouseId", "must be 1 or more"
    if record["inventoryType"] not in INVENTORY_TYPES:
        yield "inventoryType", f"must be {' or '.join(INVENTORY_TYPES)}"
