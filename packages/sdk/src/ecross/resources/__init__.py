"""What a merchant does, by subject. Each subject has a form for threads and one for asyncio's tasks."""

from ecross.resources.catalog import AsyncCatalog, Catalog
from ecross.resources.inventory import AsyncInventory, Inventory
from ecross.resources.pages import AsyncPages, Pages
from ecross.resources.performing import AsyncPerform, Perform
from ecross.resources.products import AsyncProducts, Products
from ecross.resources.skus import AsyncSkus, Skus
from ecross.resources.syncing import AsyncSyncing, Syncing

__all__ = [
    "AsyncCatalog",
    "AsyncInventory",
    "AsyncPages",
    "AsyncPerform",
    "AsyncProducts",
    "AsyncSkus",
    "AsyncSyncing",
    "Catalog",
    "Inventory",
    "Pages",
    "Perform",
    "Products",
    "Skus",
    "Syncing",
]
