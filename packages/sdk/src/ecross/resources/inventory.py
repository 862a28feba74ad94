"""The merchant's inventory."""

import os
from collections.abc import AsyncIterable, Callable
from datetime import datetime

from ecross._bulk import Source
from ecross._operations import get_sellable, list_inventory, set_inventory, told_or_new_key
from ecross.resources.pages import AsyncPages, Pages
from ecross.resources.performing import AsyncPerform, Perform
from ecross.resources.syncing import AsyncSyncing, OnProgress, Syncing
from ecross.types import InventoryRecord, SellableStock, SyncReport


class Inventory:
    """Stock records, for threads."""

    def __init__(self, perform: Perform, syncing: Syncing) -> None:
        self._perform = perform
        self._syncing = syncing

    def set(
        self,
        sku_id: str,
        quantity: int,
        *,
        warehouse_id: int = 1,
        inventory_type: str = "AVAILABLE",
        idempotency_key: str | None = None,
    ) -> InventoryRecord:
        """So many pieces there are: the number is set, not added, and the last call wins. 0 takes the SKU off sale.

        The SKU need not be registered yet. `inventory_type` is `AVAILABLE` or `DAMAGED`. It is sent again as a `GET`
        is, always with the same key; give one of your own to repeat the call yourself.
        """
        operation = set_inventory(
            sku_id,
            quantity,
            warehouse_id=warehouse_id,
            inventory_type=inventory_type,
            idempotency_key=told_or_new_key(idempotency_key),
        )
        return self._perform(operation)

    def list(self, *, last_update_date_from: datetime | str | None = None) -> Pages[InventoryRecord]:
        """The merchant's records, or those whose quantity changed after an instant, told as for SKUs."""
        return Pages(self._perform, list_inventory(last_update_date_from))

    def get_sellable(self, sku_id: str, country: str) -> SellableStock:
        """What of a SKU can be sold to a country, such as `BR`: what is available at the origin, and returns to there.

        Raises `NotFoundError` for a SKU that is neither registered nor in a warehouse.
        """
        return self._perform(get_sellable(sku_id, country))

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
        """Set the stock that the source tells, record by record; what it does not tell is left alone.

        `source` is what `catalog.sync` takes, with objects or columns of `skuId`, `quantity`, and where they are not 1
        and `AVAILABLE`, `warehouseId` and `inventoryType`. Quantities are absolute. All else is as with
        `catalog.sync`, each record in the place of a product.
        """
        return self._syncing.run(
            "stock",
            source,
            workers=workers,
            is_dry_run=dry_run,
            is_full=full,
            state_directory=state_directory,
            should_stop=should_stop,
            on_progress=on_progress,
        )


class AsyncInventory:
    """Stock records, for asyncio's tasks."""

    def __init__(self, perform: AsyncPerform, syncing: AsyncSyncing) -> None:
        self._perform = perform
        self._syncing = syncing

    async def set(
        self,
        sku_id: str,
        quantity: int,
        *,
        warehouse_id: int = 1,
        inventory_type: str = "AVAILABLE",
        idempotency_key: str | None = None,
    ) -> InventoryRecord:
        """So many pieces there are: the number is set, not added, and the last call wins. 0 takes the SKU off sale.

        The SKU need not be registered yet. `inventory_type` is `AVAILABLE` or `DAMAGED`. It is sent again as a `GET`
        is, always with the same key; give one of your own to repeat the call yourself.
        """
        operation = set_inventory(
            sku_id,
            quantity,
            warehouse_id=warehouse_id,
            inventory_type=inventory_type,
            idempotency_key=told_or_new_key(idempotency_key),
        )
        return await self._perform(operation)

    def list(self, *, last_update_date_from: datetime | str | None = None) -> AsyncPages[InventoryRecord]:
        """The merchant's records, or those whose quantity changed after an instant, told as for SKUs."""
        return AsyncPages(self._perform, list_inventory(last_update_date_from))

    async def get_sellable(self, sku_id: str, country: str) -> SellableStock:
        """What of a SKU can be sold to a country, such as `BR`: what is available at the origin, and returns to there.

        Raises `NotFoundError` for a SKU that is neither registered nor in a warehouse.
        """
        return await self._perform(get_sellable(sku_id, country))

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
        """Set the stock that the source tells, record by record; what it does not tell is left alone.

        `source` is what `catalog.sync` takes, with objects or columns of `skuId`, `quantity`, and where they are not 1
        and `AVAILABLE`, `warehouseId` and `inventoryType`. Quantities are absolute. All else is as with
        `catalog.sync`, each record in the place of a product.
        """
        return await self._syncing.run(
            "stock",
            source,
            workers=workers,
            is_dry_run=dry_run,
            is_full=full,
            state_directory=state_directory,
            should_stop=should_stop,
            on_progress=on_progress,
        )
