"""Bringing a whole source to the server: what the subjects that can be brought have in common."""

import os
from collections.abc import AsyncIterable, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from ecross._bulk import Place, Source
from ecross.errors import ConfigurationError
from ecross.resources.performing import AsyncPerform, Perform
from ecross.types import SyncProgress, SyncReport

MOST_WORKERS = 64
OnProgress = Callable[[SyncProgress], object]


class Syncing:
    """The way with threads. `place` tells whose catalog it is, and where what was sent is remembered."""

    def __init__(self, perform: Perform, place: Place, sleep: Callable[[float], None]) -> None:
        self._perform = perform
        self._place = place
        self._sleep = sleep

    def run(
        self,
        subject: str,
        source: Source,
        *,
        workers: int,
        is_dry_run: bool,
        is_full: bool,
        state_directory: str | os.PathLike[str] | None,
        should_stop: Callable[[], bool] | None,
        on_progress: OnProgress | None,
    ) -> SyncReport:
        """Bring the source."""
        from ecross._bulk.drivers import run_in_threads
        from ecross._bulk.flow import Order, synchronize

        order = Order(
            subject, source, _placed(self._place, state_directory), at_once=2 * _checked(workers),
            is_dry_run=is_dry_run, is_full=is_full, should_stop=should_stop or _never,
        )  # fmt: skip
        flow = synchronize(order)
        return run_in_threads(flow, self._perform, workers=workers, sleep=self._sleep, on_progress=on_progress)


class AsyncSyncing:
    """The way with asyncio's tasks."""

    def __init__(self, perform: AsyncPerform, place: Place, sleep: Callable[[float], Awaitable[None]]) -> None:
        self._perform = perform
        self._place = place
        self._sleep = sleep

    async def run(
        self,
        subject: str,
        source: Source | AsyncIterable[object],
        *,
        workers: int,
        is_dry_run: bool,
        is_full: bool,
        state_directory: str | os.PathLike[str] | None,
        should_stop: Callable[[], bool] | None,
        on_progress: OnProgress | None,
    ) -> SyncReport:
        """Bring the source."""
        from ecross._bulk.drivers import run_async
        from ecross._bulk.flow import Order, synchronize

        order = Order(
            subject, source, _placed(self._place, state_directory), at_once=_checked(workers),
            is_dry_run=is_dry_run, is_full=is_full, should_stop=should_stop or _never,
        )  # fmt: skip
        pull = aiter(source) if isinstance(source, AsyncIterable) else None
        return await run_async(synchronize(order), self._perform, pull=pull, sleep=self._sleep, on_progress=on_progress)


def _placed(place: Place, directory: str | os.PathLike[str] | None) -> Place:
    return place if directory is None else replace(place, directory=Path(directory).absolute())


def _checked(workers: object) -> int:
    if isinstance(workers, int) and 1 <= workers <= MOST_WORKERS:
        return workers
    raise ConfigurationError(f"workers must be a whole number, 1 to {MOST_WORKERS}")


def _never() -> bool:
    return False
