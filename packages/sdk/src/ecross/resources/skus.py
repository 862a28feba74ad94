"""The merchant's SKUs."""

import builtins
from collections.abc import Iterable, Mapping
from datetime import datetime

from ecross._operations import list_skus, told_or_new_key, upsert_skus
from ecross.resources.pages import AsyncPages, Pages
from ecross.resources.performing import AsyncPerform, Perform
from ecross.types import Sku, SkuDraft


class Skus:
    """SKUs, for threads."""

    def __init__(self, perform: Perform) -> None:
        self._perform = perform

    def list(self, *, last_update_date_from: datetime | str | None = None) -> Pages[Sku]:
        """The merchant's SKUs, or those updated after an instant: an aware datetime, or ISO 8601 with a time zone.

        Deleted SKUs are in lists by date alone, `DELETED` in `localization_status`. Raises `ConfigurationError` for an
        instant without a time zone. Nothing is asked for before the first is read.
        """
        return Pages(self._perform, list_skus(last_update_date_from))

    def upsert(
        self, skus: Iterable[SkuDraft | Mapping[str, object]], /, *, idempotency_key: str | None = None
    ) -> builtins.list[Sku]:
        """Make a product consist of these SKUs and no others; the SKUs as the API has them now, in the same order.

        All are of one product. One that the product had and that is left out is deleted. A mapping is a SKU as the wire
        spells it. The whole product changes, or nothing: `ValidationError` then tells each fault in `errors`. It is
        sent again as a `GET` is, always with the same key; give one of your own to repeat the call yourself.
        """
        return self._perform(upsert_skus(skus, told_or_new_key(idempotency_key)))


class AsyncSkus:
    """SKUs, for asyncio's tasks."""

    def __init__(self, perform: AsyncPerform) -> None:
        self._perform = perform

    def list(self, *, last_update_date_from: datetime | str | None = None) -> AsyncPages[Sku]:
        """The merchant's SKUs, or those updated after an instant: an aware datetime, or ISO 8601 with a time zone.

        Deleted SKUs are in lists by date alone, `DELETED` in `localization_status`. Raises `ConfigurationError` for an
        instant without a time zone. Nothing is asked for before the first is read.
        """
        return AsyncPages(self._perform, list_skus(last_update_date_from))

    async def upsert(
        self, skus: Iterable[SkuDraft | Mapping[str, object]], /, *, idempotency_key: str | None = None
    ) -> builtins.list[Sku]:
        """Make a product consist of these SKUs and no others; the SKUs as the API has them now, in the same order.

        All are of one product. One that the product had and that is left out is deleted. A mapping is a SKU as the wire
        spells it. The whole product changes, or nothing: `ValidationError` then tells each fault in `errors`. It is
        sent again as a `GET` is, always with the same key; give one of your own to repeat the call yourself.
        """
        return await self._perform(upsert_skus(skus, told_or_new_key(idempotency_key)))
