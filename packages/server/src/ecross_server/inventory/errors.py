"""What can be wrong with a request about inventory."""

from __future__ import annotations

from ecross_server.kit.errors import ConflictError, Fault, InvalidInputError, NotFoundError

FIELD = "warehouseId"


class UnknownWarehouseError(InvalidInputError):
    """The merchant has no warehouse of this number."""

    code = "unknown_warehouse"

    def __init__(self) -> None:
        reason = "is none of your warehouses; the default one is 1"
        super().__init__(f"{FIELD} {reason}.", (Fault(FIELD, reason),))


class WarehouseNotWritableError(InvalidInputError):
    """The warehouse takes returns: whoever runs it counts what lies there."""

    code = "warehouse_not_writable"

    def __init__(self) -> None:
        reason = "is a returns warehouse, whose stock is counted by who runs it"
        super().__init__(f"{FIELD} {reason}.", (Fault(FIELD, reason),))


class SkuNotFoundError(NotFoundError):
    """The merchant has no such SKU, neither registered nor in a warehouse."""

    code = "sku_not_found"

    def __init__(self) -> None:
        super().__init__("There is no SKU of this id, and no stock of it.")


class WarehouseNotFoundError(NotFoundError):
    """The merchant has no warehouse of this number to be changed."""

    code = "warehouse_not_found"

    def __init__(self, merchant_id: str) -> None:
        super().__init__(
            f"{merchant_id} has no such warehouse. List them with: ecross-server warehouses list {merchant_id}"
        )


class WarehouseExistsError(ConflictError):
    """The merchant has a warehouse of this number."""

    code = "warehouse_exists"

    def __init__(self, merchant_id: str) -> None:
        super().__init__(
            f"{merchant_id} has this warehouse already. To give it another name or country: "
            "ecross-server warehouses change"
        )
