"""Every query about channels, and about who sells on them, the latter for one merchant or one channel."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from ecross_server.channels.models import Channel, ChannelConnection
from ecross_server.kit.database import take_turns


def begin_writing(session: Session) -> None:
    """Wait for whoever else changes channels or connections: two must not add the same one at once."""
    take_turns(session, "channels")


def list_channels(session: Session) -> Sequence[Channel]:
    return session.scalars(select(Channel).order_by(Channel.id)).all()


def find_channel(session: Session, channel_id: str) -> Channel | None:
    return session.get(Channel, channel_id)


def find_connection(session: Session, merchant_id: str, channel_id: str) -> ChannelConnection | None:
    return session.get(ChannelConnection, (merchant_id, channel_id))


def count_said(session: Session, *, is_connected: bool) -> dict[str, int]:
    """Of how many merchants it is said, by channel."""
    query = select(ChannelConnection.channel_id, func.count()).where(ChannelConnection.is_connected.is_(is_connected))
    return {row[0]: row[1] for row in session.execute(query.group_by(ChannelConnection.channel_id))}


def list_connected(session: Session, merchant_id: str) -> Sequence[tuple[Channel, bool | None]]:
    """The channels on which the merchant sells, with whether somebody has to review it; `None`: nothing is said."""
    said = and_(ChannelConnection.channel_id == Channel.id, ChannelConnection.merchant_id == merchant_id)
    is_connected = ChannelConnection.is_connected
    query = select(Channel, ChannelConnection.needs_review).outerjoin(ChannelConnection, said)
    query = query.where(or_(is_connected, and_(Channel.is_open, is_connected.is_(None))))
    return [(channel, needs_review) for channel, needs_review in session.execute(query.order_by(Channel.id))]
