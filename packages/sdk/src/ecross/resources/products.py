"""The merchant's products."""

from ecross._operations import get_product
from ecross.resources.performing import AsyncPerform, Perform
from ecross.types import Sku


class Products:
    """Products, for threads."""

    def __init__(self, perform: Perform) -> None:
        self._perform = perform

    def get(self, product_id: str) -> list[Sku]:
        """All SKUs of a product, by the merchant's own id of it.

        Prices are not among what the API shows: what is read here cannot be sent as it is.
        """
        return self._perform(get_product(product_id))


class AsyncProducts:
    """Products, for asyncio's tasks."""

    def __init__(self, perform: AsyncPerform) -> None:
        self._perform = perform

    async def get(self, product_id: str) -> list[Sku]:
        """All SKUs of a product, by the merchant's own id of it.

        Prices are not among what the API shows: what is read here cannot be sent as it is.
        """
        return await self._perform(get_product(product_id))
