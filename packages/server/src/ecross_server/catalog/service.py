"""What merchants and representatives do with the catalog."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.catalog import repository
from ecross_server.catalog.models import Sku
from ecross_server.catalog.rules import PENDING_LOCALIZATION, PagePosition, SkuDraft
from ecross_server.kit.clock import parse_instant, rfc3339
from ecross_server.kit.errors import Fault, InvalidInputError
from ecross_server.kit.page_tokens import InvalidPageTokenError, PageTokens

__all__ = ["Sku"]  # the value that the functions below give

LIST_NAME: Final = "skus"
FROM_FIELD: Final = "lastUpdateDateFrom"


@dataclass(frozen=True, slots=True)
class SkuPage:
    """A page of SKUs, and the token of the next one, if there is one."""

    skus: Sequence[Sku]
    next_page_token: str | None


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

    `updated_after` (ISO 8601) keeps to SKUs updated after that instant; a page token carries it along.

    Raises:
        InvalidInputError: if the instant is none, or not the one that the page token began with.
        InvalidPageTokenError: if the token is not one that this list gave this merchant.
    """
    position = _position(merchant_id, updated_after, page_token, page_tokens)
    skus = repository.list_skus(session, merchant_id, position, page_size + 1)
    if len(skus) <= page_size:
        return SkuPage(skus, None)
    shown = skus[:page_size]
    began = "" if position.updated_after is None else rfc3339(position.updated_after)
    token = page_tokens.make(merchant_id=merchant_id, list_name=LIST_NAME, position=f"{shown[-1].number} {began}")
    return SkuPage(shown, token)


def save_skus(session: Session, merchant_id: str, drafts: Sequence[SkuDraft], *, now: datetime) -> None:
    """Add the SKUs that are new and update those that differ from what is kept; an equal one is left untouched.

    Of two drafts with one id the later counts. The merchant must exist. Writers of one catalog take turns.
    """
    repository.begin_writing(session, merchant_id)
    latest = {draft.sku_id: draft for draft in drafts}
    known = repository.find_skus(session, merchant_id, latest.keys())
    added = []
    for draft in latest.values():
        values = dataclasses.asdict(draft) | {"images": list(draft.images)}
        sku = known.get(draft.sku_id)
        if sku is None:
            added.append(
                Sku(
                    merchant_id=merchant_id,
                    localization_status=PENDING_LOCALIZATION,
                    sales_channel_status={},
                    last_updated_at=now,
                    **values,
                )
            )
        elif any(getattr(sku, name) != value for name, value in values.items()):
            for name, value in values.items():
                setattr(sku, name, value)
            sku.last_updated_at = now
    repository.add_skus(session, added)


def _position(
    merchant_id: str, updated_after: str | None, page_token: str | None, page_tokens: PageTokens
) -> PagePosition:
    asked = _instant(updated_after) if updated_after else None
    if not page_token:
        return PagePosition(0, asked)
    number, _, began = page_tokens.read(page_token, merchant_id=merchant_id, list_name=LIST_NAME).partition(" ")
    position = PagePosition(int(number), parse_instant(began) if began else None)
    if asked is not None and asked != position.updated_after:
        raise InvalidPageTokenError
    return position


def _instant(text: str) -> datetime:
    try:
        instant = parse_instant(text)
    except InvalidInputError as error:
        fault = Fault(FROM_FIELD, error.message)
        raise InvalidInputError(f"{FROM_FIELD} {error.message}", (fault,)) from None
    # What is kept has milliseconds; a finer instant would not survive the way through a page token.
    return instant.replace(microsecond=instant.microsecond // 1000 * 1000)
