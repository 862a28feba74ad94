"""`ecross-server inventory`: counts what merchants cannot, such as the stock of a returns warehouse."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, plain, print_model, say
from ecross_server.cli.setup import opened_database
from ecross_server.inventory import service
from ecross_server.inventory.rules import DEFAULT_WAREHOUSE, InventoryType
from ecross_server.inventory.schemas import SellableOut, make_count
from ecross_server.kit.clock import utc_now
from ecross_server.merchants import service as merchants

app = typer.Typer(no_args_is_help=True, help="Count a merchant's stock, also in returns warehouses.")


@app.command("set")
def set_(
    merchant_id: Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id, such as ACME.")],
    sku_id: Annotated[str, typer.Argument(metavar="SKU", help="The merchant's id of the SKU.")],
    quantity: Annotated[int, typer.Argument(metavar="QUANTITY", help="All pieces that are there, not a difference.")],
    *,
    warehouse: Annotated[int, typer.Option(help="The warehouse's number.")] = DEFAULT_WAREHOUSE,
    type_: Annotated[
        InventoryType, typer.Option("--type", help="Whether the pieces can be sold.")
    ] = InventoryType.AVAILABLE,
    as_json: AsJson = False,
) -> None:
    """Set how many pieces of a SKU lie in any of a merchant's warehouses."""
    count = make_count(sku_id, quantity, warehouse, type_)
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        merchants.show_merchant(session, merchant_id)
        stock = service.count_inventory(session, merchant_id, count, now=utc_now(), by=by)
    if as_json:
        print_model(SellableOut.of(stock))
    else:
        place = f"warehouse {stock.warehouse.id} ({stock.warehouse.name})"
        say(f"SKU {plain(sku_id)} in {place}: {quantity}, {stock.record.inventory_type}.")
