"""The merchant's SKUs."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from ecross._operations import Operation, list_skus
from ecross.resources.pages import AsyncPages, Pages
from ecross.types import Page, Sku


class Skus:
    """SKUs, for threads."""

    def __init__(self, perform: Callable[[Operation[Page[Sku]]], Page[Sku]]) -> None:
        self._perform = perform

    def list(self, *, last_update_date_from: datetime | str | None = None) -> Pages[Sku]:
        """The merchant's SKUs, or those updated after an instant: an aware datetime, or ISO 8601 with a time zone.

        Raises `ConfigurationError` for one without a time zone. Nothing is asked for before the first is read.
        """
        return Pages(self._perform, list_skus(last_update_date_from))


class AsyncSkus:
    """SKUs, for asyncio's tasks."""

    def __init__(self, perform: Callable[[Operation[Page[Sku]]], Awaitable[Page[Sku]]]) -> None:
        self._perform = perform

    def list(self, *, last_update_date_from: datetime | str | None = None) -> AsyncPages[Sku]:
        """The merchant's SKUs, or those updated after an instant: an aware datetime, or ISO 8601 with a time zone.

        Raises `ConfigurationError` for one without a time zone. Nothing is asked for before the first is read.
        """
        return AsyncPages(self._perform, list_skus(last_update_date_from))
