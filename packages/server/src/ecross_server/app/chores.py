"""What a process does once a second beside its requests, in a thread that does not end by itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

INTERVAL_SECONDS: Final = 1.0
STOP_SECONDS: Final = 2.0

log = structlog.get_logger("ecross_server.chores")


class Chores:
    """Runs each of the acts once a second, and a last time at the end."""

    def __init__(self, acts: Sequence[Callable[[], None]], interval: float = INTERVAL_SECONDS) -> None:
        self._acts = acts
        self._interval = interval
        self._failing: set[int] = set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stopping.wait(self._interval)
            for number, act in enumerate(self._acts):
                try:
                    act()
                except Exception:  # a thread that ended would leave a service that looks healthy
                    if number not in self._failing:
                        log.exception("chore_failed")
                    self._failing.add(number)
                else:
                    self._failing.discard(number)
