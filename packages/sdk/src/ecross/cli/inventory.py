"""`ecross inventory`: how many pieces lie where."""

from typing import Final

from ecross.cli.lists import Kind, parse_instant, print_lines, print_list
from ecross.cli.output import plain, say, shown
from ecross.cli.session import open_client
from ecross.types import InventoryRecord


def place(record: InventoryRecord) -> str | None:
    """The warehouse of a record for people: number and name."""
    told = (None if record.warehouse_id is None else str(record.warehouse_id), record.warehouse_name)
    return " ".join(filter(None, told)) or None


def row(record: InventoryRecord) -> tuple[str | None, ...]:
    """The line of a record in the table."""
    return (
        record.sku_id, record.sku_name, str(record.quantity), record.inventory_type, place(record),
        shown(record.last_update_date),
    )  # fmt: skip


RECORDS: Final = Kind("stock records", "stock record", ("SKU", "NAME", "QUANTITY", "TYPE", "WAREHOUSE", "UPDATED"), row)


def print_inventory(profile: str | None, *, updated_since: str | None, limit: int | None, as_json: bool) -> None:
    """Print the stock records as a table, or as JSON Lines as they come."""
    since = parse_instant(updated_since)
    with open_client(profile) as client:
        pages = client.inventory.list(last_update_date_from=since).pages()
        print_list(RECORDS, pages, limit=limit, as_json=as_json)


def set_inventory(
    profile: str | None, sku_id: str, quantity: int, *, warehouse_id: int, inventory_type: str, as_json: bool
) -> None:
    """Set what lies in a warehouse, and print what the API has now."""
    with open_client(profile) as client:
        record = client.inventory.set(sku_id, quantity, warehouse_id=warehouse_id, inventory_type=inventory_type)
    if as_json:
        print_lines(RECORDS, [record])
    else:
        say(plain(f"{record.sku_id}: {record.quantity} {record.inventory_type} in warehouse {place(record)}."))
