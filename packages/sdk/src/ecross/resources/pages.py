"""Lists that are read page by page, each page when it is needed."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Generic, TypeVar

from ecross._operations import Operation
from ecross.errors import ServerError
from ecross.types import Page

T = TypeVar("T")
GetPage = Callable[[str | None], Operation[Page[T]]]


class Pages(Generic[T]):
    """Iterates over all things of a list. Each iteration begins anew; nothing is kept.

    Iterating raises what the calls raise, and `ServerError` where the server leads in a circle.
    """

    def __init__(self, perform: Callable[[Operation[Page[T]]], Page[T]], operation: GetPage[T]) -> None:
        self._perform = perform
        self._operation = operation

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.items

    def pages(self, *, page_token: str | None = None) -> Iterator[Page[T]]:
        """The pages one by one, from the one that `page_token` of an earlier page leads to."""
        way = _Way(page_token)
        while True:
            page = self._perform(self._operation(way.page_token))
            yield page
            if not way.goes_on(page.next_page_token):
                return


class AsyncPages(Generic[T]):
    """Iterates over all things of a list, as `Pages` does, in an event loop."""

    def __init__(self, perform: Callable[[Operation[Page[T]]], Awaitable[Page[T]]], operation: GetPage[T]) -> None:
        self._perform = perform
        self._operation = operation

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.items:
                yield item

    async def pages(self, *, page_token: str | None = None) -> AsyncIterator[Page[T]]:
        """The pages one by one, from the one that `page_token` of an earlier page leads to."""
        way = _Way(page_token)
        while True:
            page = await self._perform(self._operation(way.page_token))
            yield page
            if not way.goes_on(page.next_page_token):
                return


class _Way:
    def __init__(self, page_token: str | None) -> None:
        self.page_token = page_token
        self._seen = {page_token}

    def goes_on(self, page_token: str | None) -> bool:
        if page_token is None:
            return False
        if page_token in self._seen:
            raise ServerError(200, "The list leads in a circle: a page names one that was read already as the next.")
        self._seen.add(page_token)
        self.page_token = page_token
        return True
