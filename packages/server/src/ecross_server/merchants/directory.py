"""Merchants as a representative looks through them: by a text, by state, by what is wrong with their secrets.

Whatever is asked, the number of queries is fixed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, and_
from sqlalchemy.orm import Session

from ecross_server.merchants import repository, rules
from ecross_server.merchants.models import Merchant, Secret
from ecross_server.merchants.repository import HourlyUse, Standing

__all__ = ["HourlyUse", "Standing"]  # what the functions below give

IDLE_AFTER: Final = timedelta(days=90)
SHOWN_HOURS: Final = 7 * 24
UNKNOWN_STANDING: Final = Standing(0, 0, None)


class Hygiene(StrEnum):
    """What a representative should ask the merchant about: each is a way in that nobody may be watching."""

    NEVER_USED = "never-used"
    IDLE = "idle"
    NEVER_EXPIRES = "never-expires"


@dataclass(frozen=True, slots=True)
class MerchantSearch:
    """Which merchants are asked for. `after` is the id behind which the page begins."""

    text: str = ""
    status: str | None = None
    hygiene: Hygiene | None = None
    after: str = ""


class MerchantEntry(NamedTuple):
    """A merchant as a list shows it."""

    merchant: Merchant
    standing: Standing


class MerchantPage(NamedTuple):
    """Some merchants, and where the next page begins, if there is one."""

    entries: list[MerchantEntry]
    next_after: str | None


class HygieneCounts(NamedTuple):
    """So many live secrets there are, and so many of them are of each kind of hygiene."""

    live: int
    of: dict[Hygiene, int]


def search_merchants(session: Session, search: MerchantSearch, *, limit: int, now: datetime) -> MerchantPage:
    """The merchants that were asked for, in the order of their ids, so many at most."""
    condition = None if search.hygiene is None else _condition(search.hygiene, now)
    found = repository.search_merchants(
        session, text=search.text.strip(), status=search.status, condition=condition, after=search.after,
        limit=limit + 1,
    )  # fmt: skip
    merchants = found[:limit]
    standings = repository.read_standings(session, [merchant.id for merchant in merchants], now)
    entries = [MerchantEntry(merchant, standings.get(merchant.id, UNKNOWN_STANDING)) for merchant in merchants]
    return MerchantPage(entries, merchants[-1].id if len(found) > limit else None)


def count_hygiene(session: Session, *, now: datetime) -> HygieneCounts:
    """How many live secrets there are, and how many of them somebody should be asked about."""
    live, *counts = repository.count_secrets(
        session, [repository.is_live(now), *(_condition(each, now) for each in Hygiene)]
    )
    return HygieneCounts(live, dict(zip(Hygiene, counts, strict=True)))


def list_client_uses(session: Session, client_id: str, *, now: datetime) -> Sequence[HourlyUse]:
    """How many tokens were given for each secret of a client, by the hour, in the last week."""
    return repository.list_hourly_uses(session, first_shown_hour(now), client_id=client_id)


def list_merchant_uses(session: Session, merchant_id: str, *, now: datetime) -> Sequence[HourlyUse]:
    """How many tokens were given for each secret of a merchant, by the hour, in the last week."""
    return repository.list_hourly_uses(session, first_shown_hour(now), merchant_id=merchant_id)


def first_shown_hour(now: datetime) -> int:
    """The number of the hour with which that week begins. The present hour is its last."""
    return rules.hour_of(now.timestamp()) - SHOWN_HOURS + 1


def _condition(hygiene: Hygiene, now: datetime) -> ColumnElement[bool]:
    is_live = repository.is_live(now)
    if hygiene is Hygiene.NEVER_USED:
        return and_(is_live, Secret.last_used_at.is_(None))
    if hygiene is Hygiene.IDLE:
        return and_(is_live, Secret.last_used_at <= now - IDLE_AFTER)
    return and_(is_live, Secret.expires_at.is_(None), Secret.retires_at.is_(None))
