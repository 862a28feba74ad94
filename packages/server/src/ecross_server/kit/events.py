"""What a domain tells those above it, which it does not know: within the transaction in which it happened.

Who subscribes is said in one place, for a database; a session of a database without subscriptions tells nobody.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, Final, TypeVar

from sqlalchemy.orm import Session

SUBSCRIPTIONS: Final = "ecross_server.events"

Event = TypeVar("Event")


class Subscriptions:
    """Who is told of what. Subscribers are called in the order in which they came."""

    def __init__(self) -> None:
        self._by_kind: dict[type, list[Callable[[Session, Any], None]]] = defaultdict(list)

    def add(self, kind: type[Event], subscriber: Callable[[Session, Event], None]) -> None:
        """Let the subscriber be told of every event of the kind.

        What it raises undoes the transaction in which the event happened.
        """
        self._by_kind[kind].append(subscriber)

    def tell(self, session: Session, event: object) -> None:
        """Tell those who subscribed."""
        for subscriber in self._by_kind.get(type(event), ()):
            subscriber(session, event)


def publish(session: Session, event: object) -> None:
    """Tell those who subscribed to the session's database; what they do is part of the session's transaction."""
    subscriptions: Subscriptions | None = session.info.get(SUBSCRIPTIONS)
    if subscriptions is not None:
        subscriptions.tell(session, event)
