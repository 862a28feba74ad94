"""The clock of the fake server."""

import asyncio
import threading
import time
from collections.abc import Callable


class VirtualClock:
    """Wall-clock time in seconds since the epoch, that moves when it is told to.

    Without a clock of its own to stand on it begins at the present whole second and stands still. A client that is
    given it waits by it, too: a pause before a retry moves the clock, and takes no time.
    """

    def __init__(self, base: Callable[[], float] | None = None) -> None:
        self._base = base
        self._moved = float(int(time.time())) if base is None else 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """What time it is."""
        return self._moved if self._base is None else self._base() + self._moved

    def __repr__(self) -> str:
        return f"VirtualClock(at {self()})"

    def advance(self, seconds: float) -> None:
        """Move by so many seconds; back, if negative."""
        with self._lock:
            self._moved += seconds

    def sleep(self, seconds: float) -> None:
        """Wait so long, by this clock. Other threads get their turn."""
        self.advance(seconds)
        time.sleep(0)

    async def sleep_async(self, seconds: float) -> None:
        """Wait so long, by this clock. Other tasks get their turn."""
        self.advance(seconds)
        await asyncio.sleep(0)
