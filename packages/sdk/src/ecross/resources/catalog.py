"""The merchant's catalog as a whole."""

import os
from collections.abc import AsyncIterable, Callable

from ecross._bulk import Source
from ecross.resources.syncing import AsyncSyncing, OnProgress, Syncing
from ecross.types import SyncReport


class Catalog:
    """The whole catalog, for threads."""

    def __init__(self, syncing: Syncing) -> None:
        self._syncing = syncing

    def sync(
        self,
        source: Source,
        *,
        workers: int = 4,
        dry_run: bool = False,
        full: bool = False,
        state_directory: str | os.PathLike[str] | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_progress: OnProgress | None = None,
    ) -> SyncReport:
        """Make each product of the source consist of the SKUs that the source has of it.

        `source` is a path or an open file (JSON Lines of the API's objects, or CSV with its names), or an iterable
        of such objects or `SkuDraft`s. A product's SKUs may be scattered over it. A SKU that a product has at the
        server and not in the source is deleted; products that the source lacks are left alone. Of a product with a
        faulty line nothing is sent, and while a line cannot be read at all, nothing that would delete a SKU.

        Only what differs from what the server has is sent, `workers` products at a time. What was taken over is
        remembered beside the token cache, or in `state_directory`: the next run goes on where one was stopped or
        killed. `full` sends everything; `dry_run` sends nothing and tells what would be. `should_stop` is asked between
        products, `on_progress` is told how far it is.

        What the report tells as refused raises nothing. Raises `EcrossError` where nothing can be sent: wrong
        credentials, no such file, or `SyncRunningError` while another run goes on.
        """
        return self._syncing.run(
            "catalog",
            source,
            workers=workers,
            is_dry_run=dry_run,
            is_full=full,
            state_directory=state_directory,
            should_stop=should_stop,
            on_progress=on_progress,
        )


class AsyncCatalog:
    """The whole catalog, for asyncio's tasks."""

    def __init__(self, syncing: AsyncSyncing) -> None:
        self._syncing = syncing

    async def sync(
        self,
        source: Source | AsyncIterable[object],
        *,
        workers: int = 4,
        dry_run: bool = False,
        full: bool = False,
        state_directory: str | os.PathLike[str] | None = None,
        should_stop: Callable[[], bool] | None = None,
        on_progress: OnProgress | None = None,
    ) -> SyncReport:
        """Make each product of the source consist of the SKUs that the source has of it.

        `source` is a path or an open file (JSON Lines of the API's objects, or CSV with its names), or an iterable,
        asynchronous or not, of such objects or `SkuDraft`s. A product's SKUs may be scattered over it. A SKU that a
        product has at the server and not in the source is deleted; products that the source lacks are left alone. Of a
        product with a faulty line nothing is sent, and while a line cannot be read at all, nothing that would delete a
        SKU.

        Only what differs from what the server has is sent, `workers` products at a time. What was taken over is
        remembered beside the token cache, or in `state_directory`: the next run goes on where one was stopped or
        killed. `full` sends everything; `dry_run` sends nothing and tells what would be. `should_stop` is asked between
        products, `on_progress` is told how far it is.

        What the report tells as refused raises nothing. Raises `EcrossError` where nothing can be sent: wrong
        credentials, no such file, or `SyncRunningError` while another run goes on.
        """
        return await self._syncing.run(
            "catalog",
            source,
            workers=workers,
            is_dry_run=dry_run,
            is_full=full,
            state_directory=state_directory,
            should_stop=should_stop,
            on_progress=on_progress,
        )
