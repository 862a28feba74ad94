"""One page of a list."""

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some of a list's things, and the opaque token of the next page; `None` on the last."""

    items: tuple[T, ...]
    next_page_token: str | None = None
