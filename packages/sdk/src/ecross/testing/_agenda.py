"""What will happen by itself to what one merchant has."""

import heapq
import itertools
from collections.abc import Callable
from datetime import datetime, timedelta

DELAY = timedelta(seconds=3)
"""How long what is sent takes to the sales channel, by the server's clock."""

Act = Callable[[datetime], None]


class Agenda:
    """Acts that wait for their time; each is told when that was."""

    def __init__(self) -> None:
        self._coming: list[tuple[datetime, int, Act]] = []
        self._numbers = itertools.count()

    def add(self, now: datetime, act: Act) -> datetime:
        """Let something happen in a while; when."""
        at = now + DELAY
        heapq.heappush(self._coming, (at, next(self._numbers), act))
        return at

    def settle(self, now: datetime) -> None:
        """Let happen what is due until now, in the order of time."""
        while self._coming and self._coming[0][0] <= now:
            at, _, act = heapq.heappop(self._coming)
            act(at)
