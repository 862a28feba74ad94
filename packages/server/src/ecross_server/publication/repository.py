"""Every query about listings, each for one merchant or one channel."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence

from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from ecross_server.kit.database import among, take_turns
from ecross_server.publication.models import Feed, Listing, StockPosition
from ecross_server.publication.rules import Entry

ROWS_AT_ONCE = 500

ENTRY = (Listing.revision, Listing.merchant_id, Listing.sku_id, Listing.content, Listing.quantity)


def find_listings(session: Session, merchant_id: str, sku_ids: Collection[str]) -> dict[tuple[str, str], Listing]:
    """By channel and SKU."""
    query = select(Listing).where(Listing.merchant_id == merchant_id, among(session, Listing.sku_id, sku_ids))
    return {(listing.channel_id, listing.sku_id): listing for listing in session.scalars(query)}


def stream_shown(session: Session, channel_id: str) -> Generator[Entry]:
    """All that the channel is to show, in the order of revisions; not all in memory."""
    return _stream(session, channel_id, Listing.content.is_not(None))


def stream_changes(session: Session, channel_id: str, after: int) -> Generator[Entry]:
    """All that has changed on the channel since a revision, in the order of revisions; not all in memory."""
    return _stream(session, channel_id, Listing.revision > after)


def _stream(session: Session, channel_id: str, chosen: ColumnElement[bool]) -> Generator[Entry]:
    query = select(*ENTRY).where(Listing.channel_id == channel_id, chosen).order_by(Listing.revision)
    with session.execute(query.execution_options(yield_per=ROWS_AT_ONCE)) as rows:
        for row in rows:
            yield Entry._make(row)


def list_taken(session: Session, channel_id: str, after: int, through: int, limit: int) -> Sequence[Listing]:
    query = select(Listing).where(
        Listing.channel_id == channel_id, Listing.revision > after, Listing.revision <= through
    )
    return session.scalars(query.order_by(Listing.revision).limit(limit)).all()


def remove_taken(session: Session, listing: Listing) -> None:
    """Remove a listing, unless it has changed again."""
    key = (Listing.merchant_id, Listing.sku_id, Listing.channel_id, Listing.revision)
    values = (listing.merchant_id, listing.sku_id, listing.channel_id, listing.revision)
    session.execute(delete(Listing).where(*(column == value for column, value in zip(key, values, strict=True))))


def list_feeds(session: Session) -> Sequence[Feed]:
    return session.scalars(select(Feed).order_by(Feed.channel_id)).all()


def forget_feeds(session: Session, taken_revision: int) -> None:
    session.execute(update(Feed).values(taken_revision=taken_revision))


def find_feed(session: Session, channel_id: str) -> Feed | None:
    return session.get(Feed, channel_id)


def get_feed(session: Session, channel_id: str) -> Feed:
    """Who writes one was queued by whoever made its row."""
    return session.get_one(Feed, channel_id)


def lock_feed(session: Session, channel_id: str) -> Feed:
    """The channel's feed, which nobody else changes until the transaction ends; so revisions grow with the commits."""
    take_turns(session, f"feed of {channel_id}")
    feed = session.get(Feed, channel_id, populate_existing=True)
    if feed is None:
        feed = Feed(channel_id=channel_id, last_revision=0, taken_revision=0, told_revision=0, lines=0, first_lines=0)
        session.add(feed)
        session.flush()
    return feed


def lock_position(session: Session, merchant_id: str) -> StockPosition | None:
    """How far the merchant's stock was looked at; nobody else does meanwhile."""
    take_turns(session, f"stock position of {merchant_id}")
    return session.get(StockPosition, merchant_id)
