"""`ecross skus` and `ecross products`: the merchant's SKUs."""

from typing import Final

from ecross.cli.lists import Kind, parse_instant, print_lines, print_list, print_things
from ecross.cli.output import shown
from ecross.cli.session import open_client
from ecross.types import Sku


def row(sku: Sku) -> tuple[str | None, ...]:
    """The line of a SKU in the table."""
    return (sku.sku_id, sku.product_id, sku.name, sku.ean, sku.localization_status, shown(sku.last_update_date))


SKUS: Final = Kind("SKUs", "SKU", ("SKU", "PRODUCT", "NAME", "EAN", "LOCALIZATION", "UPDATED"), row)


def print_skus(profile: str | None, *, updated_since: str | None, limit: int | None, as_json: bool) -> None:
    """Print the SKUs as a table, or as JSON Lines as they come."""
    since = parse_instant(updated_since)
    with open_client(profile) as client:
        print_list(SKUS, client.skus.list(last_update_date_from=since).pages(), limit=limit, as_json=as_json)


def print_product(profile: str | None, product_id: str, *, as_json: bool) -> None:
    """Print the SKUs of a product as a table, or as JSON Lines."""
    with open_client(profile) as client:
        skus = client.products.get(product_id)
    if as_json:
        print_lines(SKUS, skus)
    else:
        print_things(SKUS, skus)
