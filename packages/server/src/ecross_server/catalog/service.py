"""What merchants and representatives do with the catalog."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy.orm import Session

from ecross_server.catalog import repository
from ecross_server.catalog.errors import ProductNotFoundError
from ecross_server.catalog.models import Sku
from ecross_server.catalog.rules import (
    DELETED,
    JUDGED,
    PENDING_LOCALIZATION,
    ChannelStatus,
    ProductsChanged,
    SkuDraft,
    main_sku,
    shown_data,
)
from ecross_server.kit.change_lists import PageRequest, next_date, turn_page
from ecross_server.kit.clock import rfc3339
from ecross_server.kit.events import publish
from ecross_server.kit.page_tokens import PageTokens

__all__ = ["Sku"]  # the value that the functions below give

LIST_NAME: Final = "skus"

DESCRIBED: Final = tuple(field.name for field in dataclasses.fields(SkuDraft))
NEW: Final[Mapping[str, Any]] = {"localization_status": PENDING_LOCALIZATION, "sales_channel_status": {}}
GONE: Final[Mapping[str, Any]] = {"localization_status": DELETED, "sales_channel_status": {}, "is_main": False}


@dataclass(frozen=True, slots=True)
class SkuPage:
    """A page of SKUs, and the token of the next one, if there is one.

    `began_at` is the newest date of the catalog when the list began; no later one is to be shown.
    """

    skus: Sequence[Sku]
    next_page_token: str | None
    began_at: datetime | None = None


def list_skus(
    session: Session,
    merchant_id: str,
    *,
    updated_after: str | None,
    page_token: str | None,
    page_size: int,
    page_tokens: PageTokens,
) -> SkuPage:
    """A page of the merchant's SKUs, in the order of their first registration, which no later write changes.

    `updated_after` (ISO 8601) keeps to SKUs updated after that instant, and adds those deleted after it; a page token
    carries it along.

    Raises:
        InvalidInputError: if the instant is none, or not the one that the page token began with.
        InvalidPageTokenError: if the token is not one that this list gave this merchant.
    """
    page = turn_page(
        PageRequest(updated_after, page_token, page_size, page_tokens),
        merchant_id=merchant_id,
        list_name=LIST_NAME,
        find_latest=lambda: repository.find_latest_date(session, merchant_id),
        list_rows=lambda position, limit: repository.list_skus(session, merchant_id, position, limit),
    )
    return SkuPage(page.rows, page.next_page_token, page.began_at)


def list_product_skus(session: Session, merchant_id: str, product_id: str) -> Sequence[Sku]:
    """All SKUs of one of the merchant's products, in the order of their first registration.

    Raises:
        ProductNotFoundError: if the merchant has no such product.
    """
    skus = repository.list_product(session, merchant_id, product_id) if "\0" not in product_id else ()
    if not skus:
        raise ProductNotFoundError
    return skus


def find_sku_names(session: Session, merchant_id: str, sku_ids: Collection[str]) -> dict[str, str]:
    """The names of those of the merchant's SKUs that are registered, by their ids."""
    return repository.find_names(session, merchant_id, sku_ids)


def upsert_skus(session: Session, merchant_id: str, drafts: Sequence[SkuDraft], *, now: datetime) -> list[Sku]:
    """Make a product consist of these SKUs and no others; the SKUs, in the order of the drafts.

    The drafts are of one product, at least one, each SKU once. One that the product had and that is not among them is
    deleted; one of another product leaves that one. What is as it was keeps its date. The merchant must exist. Writers
    of one catalog take turns.
    """
    (product_id,) = {draft.product_id for draft in drafts}
    saved = _save(session, merchant_id, drafts, replaced=product_id, now=now)
    return [saved[draft.sku_id] for draft in drafts]


def save_skus(session: Session, merchant_id: str, drafts: Sequence[SkuDraft], *, now: datetime) -> None:
    """Add the SKUs that are new and update those that differ from what is kept; an equal one is left untouched.

    Of two drafts with one id the later counts, and so does the later of two that are to be their product's main one.
    The merchant must exist. Writers of one catalog take turns.
    """
    _save(session, merchant_id, drafts, replaced=None, now=now)


def count_product_skus(session: Session, merchant_id: str, product_ids: Collection[str]) -> dict[str, int]:
    """How many SKUs each of the merchant's products has."""
    return repository.count_by_product(session, merchant_id, product_ids)


def lock_catalog(session: Session, merchant_id: str) -> None:
    """Nobody else writes to the catalog from now on, until the transaction ends."""
    repository.begin_writing(session, merchant_id)


def lock_products(session: Session, merchant_id: str, product_ids: Collection[str]) -> Sequence[Sku]:
    """The SKUs of products, and those that were deleted from them; nobody else writes to the catalog meanwhile."""
    repository.begin_writing(session, merchant_id)
    return repository.list_skus_of_products(session, merchant_id, product_ids)


def count_kept_skus(session: Session, merchant_id: str, product_ids: Collection[str]) -> dict[str, int]:
    """How many SKUs each of the merchant's products has, with those that were deleted from it."""
    return repository.count_kept(session, merchant_id, product_ids)


def lock_living_skus(session: Session, merchant_id: str, *, after: int, limit: int) -> Sequence[Sku]:
    """So many of the merchant's SKUs after that number; nobody else writes to the catalog meanwhile."""
    repository.begin_writing(session, merchant_id)
    return repository.list_living(session, merchant_id, after, limit)


def lock_skus(session: Session, merchant_id: str, sku_ids: Collection[str]) -> Sequence[Sku]:
    """The named SKUs, deleted or not; nobody else writes to the catalog meanwhile."""
    repository.begin_writing(session, merchant_id)
    return repository.list_named(session, merchant_id, sku_ids)


def set_localization_statuses(
    session: Session, merchant_id: str, statuses: Mapping[Sku, str], *, now: datetime
) -> None:
    """Move SKUs that were locked on their way to the channels; one that is there already keeps its date."""
    changed = {sku: status for sku, status in statuses.items() if sku.localization_status != status}
    for sku, date in _dated(session, merchant_id, changed, now):
        sku.localization_status = changed[sku]
        sku.last_updated_at = date


def set_channel_statuses(
    session: Session, merchant_id: str, statuses: Mapping[Sku, Mapping[str, ChannelStatus]], *, now: datetime
) -> None:
    """Note what channels, by their ids, made of SKUs that were locked."""
    for sku, date in _dated(session, merchant_id, statuses, now):
        shown = {
            channel_id: {"status": status.status, "status_message": status.message, "status_date": rfc3339(date)}
            for channel_id, status in statuses[sku].items()
        }
        sku.sales_channel_status = {**sku.sales_channel_status, **shown}
        sku.last_updated_at = date


def _dated(session: Session, merchant_id: str, skus: Collection[Sku], now: datetime) -> Iterator[tuple[Sku, datetime]]:
    if skus:
        date = next_date(now, repository.find_latest_date(session, merchant_id))
        for sku in skus:
            yield sku, date


def _save(
    session: Session, merchant_id: str, drafts: Iterable[SkuDraft], *, replaced: str | None, now: datetime
) -> dict[str, Sku]:
    """Save the drafts; every SKU of the products that they touch, by id. `replaced` is a product that loses all others.

    Each of those products has exactly one main SKU afterwards.
    """
    latest = {draft.sku_id: draft for draft in drafts}
    repository.begin_writing(session, merchant_id)
    products = {draft.product_id for draft in latest.values()}
    affected, newest = repository.find_affected(session, merchant_id, latest.keys(), products)
    date = next_date(now, newest)
    changed: set[str] = set()
    skus = {sku.sku_id: sku for sku in affected}
    present = {sku.product_id: sku_id for sku_id, sku in skus.items() if sku.is_main}
    asked = {draft.product_id: draft.sku_id for draft in latest.values() if draft.is_main}
    added = []
    for product_id, members in _members(skus, latest, replaced).items():
        main = main_sku(members, asked.get(product_id), present.get(product_id))
        for sku_id in members:
            values = _values(latest.get(sku_id)) | {"is_main": sku_id == main}
            if sku_id in skus:
                changed |= _change(skus[sku_id], values, date)
            else:
                skus[sku_id] = Sku(merchant_id=merchant_id, last_updated_at=date, **NEW, **values)
                added.append(skus[sku_id])
                changed.add(product_id)
    for sku_id, sku in skus.items():
        if sku.product_id == replaced and sku_id not in latest:
            changed |= _change(sku, GONE, date)
    repository.add_skus(session, added)
    if changed:
        publish(session, ProductsChanged(merchant_id, frozenset(changed), now))
    return skus


def _members(skus: Mapping[str, Sku], drafts: Mapping[str, SkuDraft], replaced: str | None) -> dict[str, list[str]]:
    """The ids of each product's SKUs once the drafts are saved, those that are new last."""
    members: dict[str, list[str]] = {}
    for sku_id in dict.fromkeys((*skus, *drafts)):
        product_id = drafts[sku_id].product_id if sku_id in drafts else skus[sku_id].product_id
        if sku_id in drafts or product_id != replaced:
            members.setdefault(product_id, []).append(sku_id)
    return members


def _values(draft: SkuDraft | None) -> dict[str, Any]:
    # Not `asdict`, which copies all that is within: that took a quarter of an upsert.
    return {} if draft is None else {name: getattr(draft, name) for name in DESCRIBED} | {"images": list(draft.images)}


def _change(sku: Sku, values: Mapping[str, Any], date: datetime) -> set[str]:
    """Give the SKU these values; the products in which this changed something.

    One that has them all stays as it is, with its date. One whose content is another has to be looked at again.
    """
    if sku.localization_status == DELETED:
        values = {**values, **NEW}
    changed = {name: value for name, value in values.items() if getattr(sku, name) != value}
    if not changed:
        return set()
    products = {sku.product_id, values.get("product_id", sku.product_id)}
    if "localization_status" not in changed and _is_other_content(sku, changed):
        changed["localization_status"] = PENDING_LOCALIZATION
    for name, value in changed.items():
        setattr(sku, name, value)
    sku.last_updated_at = date
    return products


def _is_other_content(sku: Sku, changed: Mapping[str, Any]) -> bool:
    if JUDGED & changed.keys():
        return True
    data = changed.get("sale_channel_data", sku.sale_channel_data)
    return shown_data(data) != shown_data(sku.sale_channel_data)
