"""The forms in which commands show channels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from ecross_server.channels.rules import Connection
from ecross_server.channels.service import Channel, ChannelUse
from ecross_server.kit.clock import rfc3339


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ChannelOut(_Wire):
    """A channel, and where its feed lies."""

    channel_id: str
    name: str
    country: str
    currency: str
    is_open: bool
    created_at: str
    feed: str

    @classmethod
    def of(cls, channel: Channel, feed: Path) -> ChannelOut:
        """The form of a channel."""
        return cls(
            channel_id=channel.id,
            name=channel.name,
            country=channel.country,
            currency=channel.currency,
            is_open=channel.is_open,
            created_at=rfc3339(channel.created_at),
            feed=str(feed),
        )


class ChannelUseOut(ChannelOut):
    """A channel, and how many merchants were connected to it or disconnected from it by name."""

    connected: int
    disconnected: int

    @classmethod
    def of_use(cls, use: ChannelUse, feed: Path) -> ChannelUseOut:
        """The form of it."""
        counts = {"connected": use.connected, "disconnected": use.disconnected}
        return cls(**ChannelOut.of(use.channel, feed).model_dump(), **counts)


class ChannelListOut(_Wire):
    """All channels."""

    channels: list[ChannelUseOut]


class ConnectionOut(_Wire):
    """A merchant that sells on a channel, or no more."""

    merchant_id: str
    channel_id: str
    connected: bool
    needs_review: bool


class ConnectionListOut(_Wire):
    """The channels on which a merchant sells."""

    connections: list[ConnectionOut]

    @classmethod
    def of(cls, merchant_id: str, connections: Sequence[Connection]) -> ConnectionListOut:
        """The form of them."""
        return cls(
            connections=[
                ConnectionOut(
                    merchant_id=merchant_id, channel_id=it.channel_id, connected=True, needs_review=it.needs_review
                )
                for it in connections
            ]
        )
