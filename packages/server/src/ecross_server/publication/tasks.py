"""What is done of publication in the background."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, closing
from typing import Final

from ecross_server.jobs.tasks import Finish, Job, Kind, Policy
from ecross_server.publication import service
from ecross_server.publication.feeds import SalesChannel
from ecross_server.publication.schemas import entry_line, first_line, last_line, to_line
from ecross_server.publication.service import Taken

STOCK_POLICY: Final = Policy(limit_seconds=60.0)
FEED_POLICY: Final = Policy(limit_seconds=600.0)
"""A feed may have to be written anew."""

OpenChannel = Callable[[str], AbstractContextManager[SalesChannel]]
"""Opens the channel of an id, alone."""


def make_kinds(open_channel: OpenChannel) -> Mapping[str, Kind]:
    """The jobs of publication, to channels that are opened so."""

    def take_stock(job: Job, finish: Finish) -> None:
        with finish() as session:
            service.take_stock(session, str(job.payload["merchant"]), now=finish.clock())

    def write_feed(job: Job, finish: Finish) -> None:
        channel_id = str(job.payload["channel"])
        with open_channel(channel_id) as channel:
            taken = _bring_up_to_date(channel, channel_id, finish)
            with finish() as session:
                service.note_taken(session, channel_id, taken, now=finish.clock())

    return {service.TAKE_STOCK: Kind(take_stock, STOCK_POLICY), service.WRITE_FEED: Kind(write_feed, FEED_POLICY)}


def _bring_up_to_date(channel: SalesChannel, channel_id: str, finish: Finish) -> Taken:
    """Give the channel what it lacks, or everything, if what it has is not what was noted of it."""
    with finish.read() as session:
        state = service.read_feed_state(session, channel_id)
        revision = state.last_revision
        if channel.revision() != state.taken_revision or state.is_wasteful:
            with closing(service.stream_shown(session, channel_id)) as shown:
                lines = itertools.chain([first_line(state.channel)], map(entry_line, shown), [last_line(revision)])
                return Taken(revision, channel.replace(map(to_line, lines)), is_all=True)
        if revision == state.taken_revision:
            return Taken(revision)
        with closing(service.stream_changes(session, channel_id, state.taken_revision)) as changes:
            return Taken(revision, channel.add(map(to_line, map(entry_line, changes))))
