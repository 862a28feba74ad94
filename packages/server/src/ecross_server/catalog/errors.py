"""What can be wrong with a request about the catalog."""

from __future__ import annotations

from ecross_server.kit.errors import NotFoundError


class ProductNotFoundError(NotFoundError):
    """The merchant has no product of this id."""

    code = "product_not_found"

    def __init__(self) -> None:
        super().__init__("There is no product of this id.")
