"""What is answered to those who have a good token, path by path."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from ecross._catalog_rules import check_product
from ecross.errors import FieldError
from ecross.jws import StrictJsonError, loads_strict
from ecross.testing._changes import Page, Place, Row, parse_instant, rfc3339
from ecross.testing._idempotency import check_key
from ecross.testing._inventory import MERCHANT, as_whole, check_inventory
from ecross.testing._merchants import Merchant, World
from ecross.testing._messages import RecordedRequest, json_bytes
from ecross.testing._refusals import RefusedError, fault_of, faulty
from ecross.testing._script import Refusal

FROM: Final = "lastUpdateDateFrom"
PAGE_TOKEN: Final = "nextPageToken"  # noqa: S105 - a field's name
SKU_LIST, STOCK_LIST = "skus", "inventories"

NO_JSON: Final = Refusal(415, "unsupported_media_type", "Send JSON with Content-Type: application/json.")
NO_PRODUCT: Final = Refusal(404, "product_not_found", "There is no product of this id.")
NO_SKU: Final = Refusal(404, "sku_not_found", "There is no SKU of this id, and no stock of it.")
COUNTRY: Final = re.compile("[A-Z]{2}")
PARAMETER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Call:
    """A request of a merchant to a path that exists; `values` are those in the path."""

    request: RecordedRequest
    merchant: Merchant
    world: World
    page_size: int
    values: Mapping[str, str]

    @property
    def now(self) -> datetime:
        """The time by the server's clock."""
        return datetime.fromtimestamp(self.world.clock(), UTC)


class Endpoint(NamedTuple):
    """What answers a method of a path, and the scope that it needs."""

    scope: str
    answer: Callable[[Call], bytes]


def find(path: str) -> tuple[Mapping[str, Endpoint], dict[str, str]] | None:
    """The methods of a path, and the values in it; `None` if there is no such path."""
    for form, template in _FORMS:
        if found := form.fullmatch(path):
            return ENDPOINTS[template], found.groupdict()
    return None


def list_skus(call: Call) -> bytes:
    """A page of SKUs."""
    catalog = call.merchant.catalog
    page = catalog.page(_place(call, SKU_LIST), call.page_size)
    return _page_json(call, SKU_LIST, page, catalog.shown)


def upsert_skus(call: Call) -> bytes:
    """A product with all its SKUs."""

    def act() -> bytes:
        return json_bytes(call.merchant.catalog.upsert(body, call.now))

    body: Any = _read_body(call.request)
    if faults := check_product(body):
        raise faulty(faults)
    return call.merchant.kept_answers.answer_once(call.request, call.world.clock(), act)


def get_product(call: Call) -> bytes:
    """The SKUs of a product."""
    skus = call.merchant.catalog.product(call.values["productId"])
    if not skus:
        raise RefusedError(NO_PRODUCT)
    return json_bytes(skus)


def set_inventory(call: Call) -> bytes:
    """What lies in a warehouse."""
    inventory = call.merchant.inventory

    def act() -> bytes:
        number = as_whole(body["warehouseId"]) or 0
        warehouse = inventory.warehouses.get(number)
        if warehouse is None:
            reason = "is none of your warehouses; the default one is 1"
            raise fault_of("warehouseId", reason, "unknown_warehouse", ending=".")
        if warehouse.type != MERCHANT:
            reason = "is a returns warehouse, whose stock is counted by who runs it"
            raise fault_of("warehouseId", reason, "warehouse_not_writable", ending=".")
        quantity = as_whole(body["quantity"]) or 0
        return json_bytes(
            inventory.shown(inventory.set(body["skuId"], number, body["inventoryType"], quantity, now=call.now))
        )

    body: Any = _read_body(call.request)
    if faults := check_inventory(body):
        raise faulty(faults)
    return call.merchant.kept_answers.answer_once(call.request, call.world.clock(), act)


def list_inventory(call: Call) -> bytes:
    """A page of stock records."""
    inventory = call.merchant.inventory
    return _page_json(call, STOCK_LIST, inventory.page(_place(call, STOCK_LIST), call.page_size), inventory.shown)


def get_sellable(call: Call) -> bytes:
    """What can be sold to a country."""
    country = call.values["country"]
    if not COUNTRY.fullmatch(country):
        raise faulty([FieldError("country", "String should match pattern '^[A-Z]{2}$'")])
    sellable = call.merchant.inventory.sellable(call.values["skuId"], country)
    if sellable is None:
        raise RefusedError(NO_SKU)
    return json_bytes(sellable)


SKUS_PATH: Final = "/ext/merchant/skus"
ENDPOINTS: Final[Mapping[str, Mapping[str, Endpoint]]] = {
    SKUS_PATH: {"GET": Endpoint("catalog:read", list_skus), "POST": Endpoint("catalog:write", upsert_skus)},
    "/ext/merchant/products/{productId}": {"GET": Endpoint("catalog:read", get_product)},
    "/ext/inventories/": {"POST": Endpoint("inventory:write", set_inventory)},
    "/ext/inventories": {
        "GET": Endpoint("inventory:read", list_inventory),
        "POST": Endpoint("inventory:write", set_inventory),
    },
    "/ext/inventories/sku/{skuId}/country/{country}": {"GET": Endpoint("inventory:read", get_sellable)},
}
"""By the paths of the OpenAPI document; methods in the order of the alphabet."""

SCOPES: Final = {"merchant", "merchant:read"} | {
    each.scope for methods in ENDPOINTS.values() for each in methods.values()
}
"""All that the scope of credentials can be made of."""


_FORMS: Final = [(re.compile(PARAMETER.sub(r"(?P<\1>[^/]*[^/\\n])", template)), template) for template in ENDPOINTS]
"""A path that ends in a newline is none of the server's."""


def _read_body(request: RecordedRequest) -> object:
    check_key(request, lambda: _look_at_type(request))
    try:
        return loads_strict(request.content, exact=True)
    except StrictJsonError as error:
        fault = FieldError("", str(error))
    raise RefusedError(Refusal(400, "invalid_input", "The body is not acceptable JSON."), [fault])


def _look_at_type(request: RecordedRequest) -> None:
    content_type = next(iter(request.values("content-type")), b"")
    if content_type.partition(b";")[0].strip().lower() != b"application/json":
        raise RefusedError(NO_JSON)


def _place(call: Call, list_name: str) -> Place:
    asked = None
    if text := call.request.parameter(FROM):
        asked = parse_instant(text)
        if asked is None:
            raise fault_of(FROM, "must be an ISO 8601 date and time with a time zone, such as 2023-10-27T19:10:00Z")
    token = call.request.parameter(PAGE_TOKEN)
    if not token:
        return Place(updated_after=asked)
    told = call.world.issuer.read_page_token(token, call.merchant.id, list_name)
    place = None if told is None else Place(told[0], _instant(told[1]), _instant(told[2]))
    if place is None or (asked is not None and asked != place.updated_after):
        reason = "is not one that this list gave. Begin again without it."
        raise fault_of(PAGE_TOKEN, reason, "invalid_page_token")
    return place


def _instant(text: str) -> datetime | None:
    return parse_instant(text) if text else None


def _page_json(call: Call, name: str, page: Page[Row], show: Callable[[Row, datetime | None], dict[str, Any]]) -> bytes:
    content: dict[str, Any] = {name: [show(row, page.began_at) for row in page.rows]}
    if (following := page.following) is not None:
        dates = ("" if date is None else rfc3339(date) for date in (following.updated_after, following.began_at))
        content[PAGE_TOKEN] = call.world.issuer.page_token(call.merchant.id, name, following.after, *dates)
    return json_bytes(content)
