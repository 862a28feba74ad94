"""What a merchant does, by subject. Each subject has a form for threads and one for asyncio's tasks."""

from ecross.resources.pages import AsyncPages, Pages
from ecross.resources.skus import AsyncSkus, Skus

__all__ = ["AsyncPages", "AsyncSkus", "Pages", "Skus"]
