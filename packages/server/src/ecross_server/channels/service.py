"""What representatives do with sales channels."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from ecross_server.audit.service import Actor, record_act
from ecross_server.channels import repository
from ecross_server.channels.errors import ChannelExistsError, ChannelNotFoundError
from ecross_server.channels.models import Channel, ChannelConnection
from ecross_server.channels.rules import Connection, ConnectionsChanged, check_channel, is_sandbox
from ecross_server.kit.events import publish
from ecross_server.merchants import service as merchants

__all__ = ["Channel"]  # the value that the functions below give


@dataclass(frozen=True, slots=True)
class ChannelUse:
    """A channel, and how many merchants are told of: connected ones, or on an open channel those that are not."""

    channel: Channel
    connected: int
    disconnected: int


def add_channel(
    session: Session, channel_id: str, *, name: str, country: str, currency: str, now: datetime, by: Actor
) -> Channel:
    """A new channel, on which nobody sells yet.

    Raises:
        InvalidInputError: if something of it cannot be.
        ChannelExistsError: if there is one of this id.
    """
    check_channel(channel_id, name, country, currency)
    repository.begin_writing(session)
    if repository.find_channel(session, channel_id) is not None:
        raise ChannelExistsError(channel_id)
    channel = Channel(id=channel_id, name=name, country=country, currency=currency, is_open=False, created_at=now)
    session.add(channel)
    session.flush()
    record_act(session, actor=by, action="channels.add", now=now, channel=channel_id)
    return channel


def list_channels(session: Session) -> list[ChannelUse]:
    """All channels, by their ids."""
    connected = repository.count_said(session, is_connected=True)
    disconnected = repository.count_said(session, is_connected=False)
    return [
        ChannelUse(channel, connected.get(channel.id, 0), disconnected.get(channel.id, 0))
        for channel in repository.list_channels(session)
    ]


def get_channel(session: Session, channel_id: str) -> Channel:
    """A channel.

    Raises:
        ChannelNotFoundError: if there is none of this id.
    """
    channel = repository.find_channel(session, channel_id)
    if channel is None:
        raise ChannelNotFoundError
    return channel


def list_connections(session: Session, merchant_id: str) -> list[Connection]:
    """The channels on which the merchant sells. For one of the sandbox nobody reviews."""
    return [
        Connection(channel.id, channel.country, bool(needs_review) and not is_sandbox(merchant_id))
        for channel, needs_review in repository.list_connected(session, merchant_id)
    ]


def connect_merchant(
    session: Session, merchant_id: str, channel_id: str, *, needs_review: bool, now: datetime, by: Actor
) -> Channel:
    """Let the merchant sell on the channel, with or without somebody who reviews. What is ready is published there.

    Raises:
        MerchantNotFoundError, ChannelNotFoundError: if there is none of this id.
    """
    return _say(session, (merchant_id, channel_id), is_connected=True, needs_review=needs_review, now=now, by=by)


def disconnect_merchant(session: Session, merchant_id: str, channel_id: str, *, now: datetime, by: Actor) -> Channel:
    """Take all that the merchant sells off the channel.

    Raises:
        MerchantNotFoundError, ChannelNotFoundError: if there is none of this id.
    """
    return _say(session, (merchant_id, channel_id), is_connected=False, needs_review=False, now=now, by=by)


def _say(
    session: Session, pair: tuple[str, str], *, is_connected: bool, needs_review: bool, now: datetime, by: Actor
) -> Channel:
    merchant_id, channel_id = pair
    merchants.show_merchant(session, merchant_id)
    repository.begin_writing(session)
    channel = get_channel(session, channel_id)
    connection = repository.find_connection(session, merchant_id, channel_id)
    if connection is None:
        connection = ChannelConnection(merchant_id=merchant_id, channel_id=channel_id)
        session.add(connection)
    connection.is_connected, connection.needs_review = is_connected, needs_review
    session.flush()
    action = "channels.connect" if is_connected else "channels.disconnect"
    record_act(
        session, actor=by, action=action, merchant_id=merchant_id, now=now, channel=channel_id, review=needs_review
    )
    publish(session, ConnectionsChanged(merchant_id, now))
    return channel
