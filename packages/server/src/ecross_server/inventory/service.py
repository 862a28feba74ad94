"""What merchants and representatives do with inventory."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.audit.service import Actor, record_act
from ecross_server.catalog import service as catalog
from ecross_server.inventory import repository
from ecross_server.inventory.errors import (
    SkuNotFoundError,
    UnknownWarehouseError,
    WarehouseExistsError,
    WarehouseNotFoundError,
    WarehouseNotWritableError,
)
from ecross_server.inventory.models import InventoryRecord, Warehouse
from ecross_server.inventory.rules import (
    COUNTRY,
    DEFAULT_NAME,
    DEFAULT_WAREHOUSE,
    LONGEST_NAME,
    Count,
    InventoryType,
    StockChanged,
    StockLevel,
    WarehouseType,
)
from ecross_server.kit.change_lists import PageRequest, next_date, turn_page
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.events import publish
from ecross_server.merchants.rules import check_text

__all__ = ["Warehouse"]  # the value that the functions below give

LIST_NAME: Final = "inventories"


@dataclass(frozen=True, slots=True)
class Stock:
    """A record with what is known of its SKU and its warehouse. The name is missing until the SKU is registered."""

    record: InventoryRecord
    warehouse: Warehouse
    sku_name: str | None


@dataclass(frozen=True, slots=True)
class StockPage:
    """A page of records, and the token of the next one, if there is one; no date later than `began_at` is shown."""

    stocks: Sequence[Stock]
    next_page_token: str | None
    began_at: datetime | None


@dataclass(frozen=True, slots=True)
class SellableStock:
    """What can be sold to a country, and where it lies."""

    quantity: int
    stocks: Sequence[Stock]


def list_warehouses(session: Session, merchant_id: str) -> list[Warehouse]:
    """The merchant's warehouses in the order of their numbers; the default one is always among them."""
    known = list(repository.list_warehouses(session, merchant_id))
    if known and known[0].id == DEFAULT_WAREHOUSE:
        return known
    return [_default_warehouse(merchant_id), *known]


def add_warehouse(
    session: Session,
    merchant_id: str,
    warehouse_id: int,
    *,
    name: str,
    country: str | None,
    type_: WarehouseType,
    by: Actor,
) -> Warehouse:
    """Add a warehouse to a merchant's. Representatives do; merchants never.

    Raises:
        InvalidInputError: for a name or country of the wrong form, or a returns warehouse without a country.
        WarehouseExistsError: if the merchant has one of this number.
    """
    _check(name, country)
    if country is None and type_ is WarehouseType.RETURNS:
        raise _invalid("country", "is needed for a returns warehouse, whose stock is sold there")
    repository.begin_writing(session, merchant_id)
    if _find_warehouse(session, merchant_id, warehouse_id) is not None:
        raise WarehouseExistsError(merchant_id)
    warehouse = Warehouse(merchant_id=merchant_id, id=warehouse_id, name=name, country=country, type=type_.value)
    session.add(warehouse)
    _tell(session, "warehouses.add", warehouse, by)
    return warehouse


def change_warehouse(
    session: Session, merchant_id: str, warehouse_id: int, *, name: str | None, country: str | None, by: Actor
) -> Warehouse:
    """Give a warehouse, also the default one, another name or country; what is not told stays as it is.

    Raises:
        InvalidInputError: for a name or country of the wrong form.
        WarehouseNotFoundError: if the merchant has no such warehouse.
    """
    repository.begin_writing(session, merchant_id)
    warehouse = _find_warehouse(session, merchant_id, warehouse_id)
    if warehouse is None:
        raise WarehouseNotFoundError(merchant_id)
    name = warehouse.name if name is None else name
    country = warehouse.country if country is None else country
    _check(name, country)
    warehouse.name, warehouse.country = name, country
    session.add(warehouse)
    _tell(session, "warehouses.change", warehouse, by)
    return warehouse


def count_inventory(session: Session, merchant_id: str, count: Count, *, now: datetime, by: Actor) -> Stock:
    """As `set_inventory`, by a representative: in any of the merchant's warehouses.

    Raises:
        UnknownWarehouseError: if the merchant has no such warehouse.
    """
    stock = _save(session, merchant_id, count, now=now)
    record_act(
        session,
        actor=by,
        action="inventory.set",
        merchant_id=merchant_id,
        now=now,
        skuId=count.sku_id,
        warehouseId=count.warehouse_id,
        inventoryType=count.inventory_type.value,
        quantity=count.quantity,
    )
    return stock


def set_inventory(session: Session, merchant_id: str, count: Count, *, now: datetime) -> Stock:
    """Set what lies in one of the merchant's own warehouses; an equal quantity keeps its date.

    The SKU need not be registered yet. Writers of one merchant's inventory take turns: the last one wins.

    Raises:
        UnknownWarehouseError: if the merchant has no such warehouse.
        WarehouseNotWritableError: if it is a returns warehouse.
    """
    return _save(session, merchant_id, count, now=now, of=WarehouseType.MERCHANT)


def list_inventory(session: Session, merchant_id: str, request: PageRequest) -> StockPage:
    """A page of the merchant's records, in the order in which they were first written.

    Raises:
        InvalidInputError: if the instant is none, or not the one that the page token began with.
        InvalidPageTokenError: if the token is not one that this list gave this merchant.
    """
    page = turn_page(
        request,
        merchant_id=merchant_id,
        list_name=LIST_NAME,
        find_latest=lambda: repository.find_latest_date(session, merchant_id),
        list_rows=lambda position, limit: repository.list_records(session, merchant_id, position, limit),
    )
    return StockPage(_with_facts(session, merchant_id, page.rows), page.next_page_token, page.began_at)


def sellable_stock(session: Session, merchant_id: str, sku_id: str, country: str) -> SellableStock:
    """What of a SKU can be sold to a country: all that is available at the origin, and returns in that country.

    Where this is 0, the SKU is off sale: whoever publishes to a sales channel asks here.

    Raises:
        SkuNotFoundError: if the SKU is neither registered nor in any warehouse.
    """
    if "\0" in sku_id:
        raise SkuNotFoundError
    stocks = _with_facts(session, merchant_id, repository.list_of_sku(session, merchant_id, sku_id))
    if not stocks and not catalog.find_sku_names(session, merchant_id, [sku_id]):
        raise SkuNotFoundError
    available = [it for it in stocks if it.record.inventory_type == InventoryType.AVAILABLE]
    near = [it for it in available if it.warehouse.type == WarehouseType.MERCHANT or it.warehouse.country == country]
    return SellableStock(sum(it.record.quantity for it in near), near)


def _save(session: Session, merchant_id: str, count: Count, *, now: datetime, of: WarehouseType | None = None) -> Stock:
    repository.begin_writing(session, merchant_id)
    warehouse, record, latest = repository.find_place(session, merchant_id, count)
    if warehouse is None and count.warehouse_id == DEFAULT_WAREHOUSE:
        warehouse = _default_warehouse(merchant_id)
    if warehouse is None:
        raise UnknownWarehouseError
    if of is not None and warehouse.type != of:
        raise WarehouseNotWritableError
    names = catalog.find_sku_names(session, merchant_id, [count.sku_id])
    if record is None:
        record = InventoryRecord(
            merchant_id=merchant_id,
            sku_id=count.sku_id,
            warehouse_id=count.warehouse_id,
            inventory_type=count.inventory_type.value,
        )
        session.add(record)
    if record.quantity != count.quantity:
        record.quantity = count.quantity
        record.last_updated_at = next_date(now, latest)
        publish(session, StockChanged(merchant_id, now))
    return Stock(record, warehouse, names.get(count.sku_id))


def stock_levels(session: Session, merchant_id: str, sku_ids: Collection[str], country: str) -> dict[str, StockLevel]:
    """What of SKUs can be sold to a country, as `sellable_stock` counts it; those without any record are left out."""
    levels: dict[str, StockLevel] = {}
    for record in _near_records(session, merchant_id, sku_ids, country):
        level = levels.get(record.sku_id, StockLevel())
        dated = max(record.last_updated_at, level.dated or record.last_updated_at)
        levels[record.sku_id] = StockLevel(level.quantity + record.quantity, dated)
    return levels


def list_changed_skus(
    session: Session, merchant_id: str, after: datetime | None, limit: int
) -> tuple[set[str], datetime | None]:
    """The SKUs of the first changes of stock after an instant, and the date of the last of them; `None` for none."""
    records = repository.list_changed(session, merchant_id, after, limit)
    return {record.sku_id for record in records}, records[-1].last_updated_at if records else None


def note_integration(
    session: Session, merchant_id: str, dates: Mapping[str, datetime], country: str, *, now: datetime
) -> None:
    """Note that a channel of a country took over the stock of SKUs, each as it was counted up to a date."""
    for record in _near_records(session, merchant_id, dates.keys(), country):
        since = record.last_integrated_at
        if record.last_updated_at <= dates[record.sku_id] and (since is None or since < record.last_updated_at):
            record.last_integrated_at = now


def _near_records(
    session: Session, merchant_id: str, sku_ids: Collection[str], country: str
) -> Iterator[InventoryRecord]:
    """What can be sold to a country: what lies at the origin, and returns in that country."""
    default = _default_warehouse(merchant_id)
    for record, known in repository.list_available(session, merchant_id, sku_ids):
        warehouse = known or default
        if warehouse.type == WarehouseType.MERCHANT or warehouse.country == country:
            yield record


def _with_facts(session: Session, merchant_id: str, rows: Sequence[repository.Kept]) -> list[Stock]:
    names = catalog.find_sku_names(session, merchant_id, {row.record.sku_id for row in rows})
    default = _default_warehouse(merchant_id)
    return [Stock(row.record, row.warehouse or default, names.get(row.record.sku_id)) for row in rows]


def _find_warehouse(session: Session, merchant_id: str, warehouse_id: int) -> Warehouse | None:
    known = repository.find_warehouse(session, merchant_id, warehouse_id)
    return _default_warehouse(merchant_id) if known is None and warehouse_id == DEFAULT_WAREHOUSE else known


def _default_warehouse(merchant_id: str) -> Warehouse:
    return Warehouse(
        merchant_id=merchant_id,
        id=DEFAULT_WAREHOUSE,
        name=DEFAULT_NAME,
        country=None,
        type=WarehouseType.MERCHANT.value,
    )


def _check(name: str, country: str | None) -> None:
    check_text("name", name, LONGEST_NAME)
    if country is not None and not COUNTRY.fullmatch(country):
        raise _invalid("country", "must be two capitals of ISO 3166-1, such as ES")


def _invalid(path: str, reason: str) -> InvalidInputError:
    return InvalidInputError(f"{path} {reason}", (Fault(path, reason),))


def _tell(session: Session, action: str, warehouse: Warehouse, by: Actor) -> None:
    record_act(
        session,
        actor=by,
        action=action,
        merchant_id=warehouse.merchant_id,
        warehouseId=warehouse.id,
        name=warehouse.name,
        country=warehouse.country or "",
        type=warehouse.type,
    )
