"""Events: heard in their transaction, in order, and by nobody where nobody subscribed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy.orm import Session

from ecross_server.kit.database import Database
from ecross_server.kit.events import publish


@dataclass(frozen=True)
class Happened:
    what: str


@dataclass(frozen=True)
class HappenedElsewhere(Happened):
    pass


def test_subscribers_hear_of_their_kind_alone_in_their_order(database: Database) -> None:
    heard: list[Any] = []
    database.subscriptions.add(Happened, lambda session, event: heard.append((1, session, event.what)))
    database.subscriptions.add(Happened, lambda session, event: heard.append((2, session, event.what)))
    with database.write() as session:
        publish(session, HappenedElsewhere("no"))
        publish(session, Happened("yes"))
    assert heard == [(1, session, "yes"), (2, session, "yes")]


def test_without_subscribers_nothing_happens(database: Database) -> None:
    with database.write() as session:
        publish(session, Happened("it"))
    publish(Session(), Happened("it"))


def test_what_a_subscriber_raises_undoes_the_transaction(database: Database) -> None:
    def refuse(_session: Session, _event: Happened) -> None:
        raise RuntimeError("no")

    database.subscriptions.add(Happened, refuse)
    with pytest.raises(RuntimeError, match="no"), database.write() as session:
        publish(session, Happened("it"))
