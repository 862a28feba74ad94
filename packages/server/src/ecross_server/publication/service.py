"""How what is ready reaches the sales channels, and leaves them again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy.orm import Session

from ecross_server.audit.service import Actor, record_act
from ecross_server.catalog import service as catalog
from ecross_server.catalog.rules import DELETED, ChannelStatus
from ecross_server.catalog.service import Sku
from ecross_server.channels import service as channels
from ecross_server.channels.rules import Connection
from ecross_server.channels.service import Channel
from ecross_server.inventory import service as inventory
from ecross_server.inventory.rules import StockChanged, StockLevel
from ecross_server.jobs.service import Urgency, queue_job
from ecross_server.localization import service as localization
from ecross_server.localization.rules import Reason, SkusJudged
from ecross_server.publication import repository, rules
from ecross_server.publication.feeds import feed_path
from ecross_server.publication.models import Feed, Listing, StockPosition
from ecross_server.publication.rules import Entry, Showing

WRITE_FEED: Final = "publication.write_feed"
TAKE_STOCK: Final = "publication.take_stock"

FEED_DELAY: Final = timedelta(seconds=1)
"""What changes within it reaches a channel together."""

ROWS_AT_ONCE: Final = 500

NOTHING: Final = -1
"""What a channel has taken over whose feed is to be written anew, whatever it is found to have."""

WASTE: Final = 1000
"""So many lines that do not count any more may a feed have, beside as many as it had at first."""


@dataclass(frozen=True, slots=True)
class FeedState:
    """A channel, the last revision that was given, the last that it took over; and whether its feed is mostly waste."""

    channel: Channel
    last_revision: int
    taken_revision: int
    is_wasteful: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What a channel took over: up to which revision, in how many lines, and whether these are all that it has."""

    revision: int
    lines: int = 0
    is_all: bool = False


def publish_judged(session: Session, event: SkusJudged) -> None:
    """Let the channels show what is ready, and nothing that is not."""
    update_listings(session, event.merchant_id, event.skus, now=event.at)


def queue_stock(session: Session, event: StockChanged) -> None:
    """Let the channels hear of stock, in the background."""
    _queue_stock(session, event.merchant_id, event.at)


def renew_feed(session: Session, channel_id: str, *, now: datetime, by: Actor) -> Channel:
    """Let a channel's feed be written anew, in the background.

    Raises:
        ChannelNotFoundError: if there is no such channel.
    """
    channel = channels.get_channel(session, channel_id)
    record_act(session, actor=by, action="channels.refresh", now=now, channel=channel_id)
    repository.lock_feed(session, channel_id).taken_revision = NOTHING
    _queue_feed(session, channel_id, now, now)
    return channel


def forget_feeds(session: Session) -> None:
    """Let no feed count as written: after a restore, what lies there is of another time."""
    repository.forget_feeds(session, NOTHING)


def queue_lost_feeds(session: Session, folder: Path, *, now: datetime) -> None:
    """Let those feeds be written that were forgotten, or are not in the folder."""
    for feed in repository.list_feeds(session):
        if feed.taken_revision == NOTHING or not feed_path(folder, feed.channel_id).exists():
            _queue_feed(session, feed.channel_id, now, now)


def update_listings(session: Session, merchant_id: str, skus: Collection[Sku], *, now: datetime) -> None:
    """Decide anew what the merchant's channels are to show of SKUs, which are locked; they hear of it later."""
    sku_ids = {sku.sku_id for sku in skus}
    connections = {it.channel_id: it for it in channels.list_connections(session, merchant_id)}
    listings = repository.find_listings(session, merchant_id, sku_ids)
    reasons = localization.find_reasons(session, merchant_id, sku_ids)
    untold: dict[Sku, dict[str, ChannelStatus]] = defaultdict(dict)
    # In their order: two that change listings of several channels must not wait for each other.
    for channel_id in sorted({*connections, *(channel_id for channel_id, _ in listings)}):
        update = _ChannelUpdate(session, merchant_id, channel_id, connections.get(channel_id), now)
        update.take_levels(sku_ids)
        with session.no_autoflush:  # a listing is written once, when all is known of it
            for sku in skus:
                told = update.take(sku, listings.get((channel_id, sku.sku_id)), reasons.get(sku.sku_id, []))
                if told is not None:
                    untold[sku][channel_id] = told
    catalog.set_channel_statuses(session, merchant_id, untold, now=now)


def take_stock(session: Session, merchant_id: str, *, now: datetime) -> None:
    """Bring a merchant's listings up to date with some of its inventory's changes; the rest follows as another job."""
    position = repository.lock_position(session, merchant_id)
    seen_to = None if position is None else position.seen_to
    sku_ids, date = inventory.list_changed_skus(session, merchant_id, seen_to, ROWS_AT_ONCE)
    if date is None:
        return
    update_listings(session, merchant_id, catalog.lock_skus(session, merchant_id, sku_ids), now=now)
    session.merge(StockPosition(merchant_id=merchant_id, seen_to=date))
    _queue_stock(session, merchant_id, now)


def read_feed_state(session: Session, channel_id: str) -> FeedState:
    """How far a channel is."""
    channel = channels.get_channel(session, channel_id)
    feed = repository.get_feed(session, channel_id)
    is_wasteful = feed.lines > 2 * feed.first_lines + WASTE
    return FeedState(channel, feed.last_revision, feed.taken_revision, is_wasteful)


def stream_shown(session: Session, channel_id: str) -> Generator[Entry]:
    """All that a channel is to show. To be closed."""
    return repository.stream_shown(session, channel_id)


def stream_changes(session: Session, channel_id: str, after: int) -> Generator[Entry]:
    """All that a channel is to show otherwise since a revision. To be closed."""
    return repository.stream_changes(session, channel_id, after)


def note_taken(session: Session, channel_id: str, taken: Taken, *, now: datetime) -> None:
    """Note what a channel took over, and tell some of the merchants; the rest follows as another job."""
    after = repository.get_feed(session, channel_id).told_revision
    listings = repository.list_taken(session, channel_id, after, taken.revision, ROWS_AT_ONCE)
    country = channels.get_channel(session, channel_id).country
    by_merchant: dict[str, list[Listing]] = defaultdict(list)
    for listing in listings:
        by_merchant[listing.merchant_id].append(listing)
    for merchant_id in sorted(by_merchant):
        _tell(session, merchant_id, country, by_merchant[merchant_id], after=after, now=now)
    session.flush()
    feed = repository.lock_feed(session, channel_id)
    if taken.is_all or feed.taken_revision != NOTHING:  # which somebody may have asked for meanwhile
        feed.taken_revision = taken.revision
    feed.lines = taken.lines if taken.is_all else feed.lines + taken.lines
    feed.first_lines = taken.lines if taken.is_all else feed.first_lines
    feed.told_revision = listings[-1].revision if len(listings) == ROWS_AT_ONCE else taken.revision
    if feed.told_revision < taken.revision:
        _queue_feed(session, channel_id, now, now)


def _tell(
    session: Session, merchant_id: str, country: str, listings: Collection[Listing], *, after: int, now: datetime
) -> None:
    """Tell a merchant what a channel took over of its SKUs since a revision."""
    skus = {sku.sku_id: sku for sku in catalog.lock_skus(session, merchant_id, [it.sku_id for it in listings])}
    statuses: dict[Sku, dict[str, ChannelStatus]] = {}
    dates: dict[str, datetime] = {}
    for listing in listings:
        sku = skus[listing.sku_id]
        if sku.localization_status == DELETED:
            if listing.content is None:
                repository.remove_taken(session, listing)
        elif listing.news_revision > after:
            statuses[sku] = {listing.channel_id: ChannelStatus(listing.status, listing.message)}
        if listing.content is not None and listing.stock_dated is not None:
            dates[listing.sku_id] = listing.stock_dated
    catalog.set_channel_statuses(session, merchant_id, statuses, now=now)
    inventory.note_integration(session, merchant_id, dates, country, now=now)


def _queue_stock(session: Session, merchant_id: str, now: datetime) -> None:
    queue_job(session, TAKE_STOCK, {"merchant": merchant_id}, key=merchant_id, urgency=Urgency.URGENT, now=now)


def _queue_feed(session: Session, channel_id: str, now: datetime, run_at: datetime) -> None:
    payload = {"channel": channel_id}
    queue_job(session, WRITE_FEED, payload, key=channel_id, run_at=run_at, urgency=Urgency.URGENT, now=now)


@dataclass(slots=True)
class _ChannelUpdate:
    """What one channel is to show of a merchant's SKUs from now on; `connection` is missing where it sells no more."""

    session: Session
    merchant_id: str
    channel_id: str
    connection: Connection | None
    now: datetime
    _levels: Mapping[str, StockLevel] = field(default_factory=dict)
    _feed: Feed | None = None

    def take_levels(self, sku_ids: Collection[str]) -> None:
        if self.connection is not None:
            self._levels = inventory.stock_levels(self.session, self.merchant_id, sku_ids, self.connection.country)

    def take(self, sku: Sku, listing: Listing | None, reasons: list[Reason]) -> ChannelStatus | None:
        """Change the SKU's listing as it has to be; what the merchant is to be told at once."""
        now_shown = None if listing is None else Showing(listing.content, listing.status, listing.message)
        wanted = rules.decide(
            sku,
            is_connected=self.connection is not None,
            country="" if self.connection is None else self.connection.country,
            reasons=reasons,
            now_shown=now_shown,
        )
        if wanted is None:
            return None
        listing = self._add(sku) if listing is None else listing
        status = ChannelStatus(wanted.status, wanted.message)
        is_told = rules.is_told(sku.sales_channel_status.get(self.channel_id), status)
        if wanted.content is None and listing.content is None:
            listing.status, listing.message = wanted.status, wanted.message
            if sku.localization_status == DELETED:
                self._forget(listing)
                return None
            return None if is_told else status
        level = self._levels.get(sku.sku_id, StockLevel())
        is_news = wanted != now_shown or not is_told
        if is_news or level != StockLevel(listing.quantity, listing.stock_dated):
            listing.content, listing.status, listing.message = wanted.content, wanted.status, wanted.message
            listing.quantity, listing.stock_dated = level.quantity, level.dated
            self._number(listing, is_news=is_news)
        return None

    def _add(self, sku: Sku) -> Listing:
        listing = Listing(
            merchant_id=self.merchant_id, sku_id=sku.sku_id, channel_id=self.channel_id, content=None, quantity=0,
            stock_dated=None, status="", message="", revision=0, news_revision=0,
        )  # fmt: skip
        self.session.add(listing)
        return listing

    def _forget(self, listing: Listing) -> None:
        # One that the channel has yet to take off stays until it has.
        feed = repository.find_feed(self.session, self.channel_id)
        if feed is None or listing.revision <= feed.told_revision:
            self.session.delete(listing)

    def _number(self, listing: Listing, *, is_news: bool) -> None:
        if self._feed is None:
            self._feed = repository.lock_feed(self.session, self.channel_id)
            _queue_feed(self.session, self.channel_id, self.now, self.now + FEED_DELAY)
        self._feed.last_revision += 1
        listing.revision = self._feed.last_revision
        if is_news:
            listing.news_revision = listing.revision
