"""How resources get their calls performed: by the client that has them."""

from collections.abc import Awaitable
from typing import Protocol, TypeVar

from ecross._operations import Operation

T = TypeVar("T")


class Perform(Protocol):
    """Performs a call, for threads."""

    def __call__(self, operation: Operation[T], /) -> T:
        """What its answer says."""


class AsyncPerform(Protocol):
    """Performs a call, for asyncio's tasks."""

    def __call__(self, operation: Operation[T], /) -> Awaitable[T]:
        """What its answer says."""
