"""`ecross-server warehouses`: where a merchant's inventory lies. Merchants have no other way to another warehouse."""

from __future__ import annotations

from typing import Annotated

import typer

from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_model, print_table, say
from ecross_server.cli.setup import opened_database
from ecross_server.inventory import service
from ecross_server.inventory.rules import LARGEST_WAREHOUSE_ID, WarehouseType
from ecross_server.inventory.schemas import WarehouseListOut, WarehouseOut
from ecross_server.merchants import service as merchants

app = typer.Typer(no_args_is_help=True, help="Tell where a merchant's inventory lies.")

MerchantId = Annotated[str, typer.Argument(metavar="MERCHANT", help="The merchant's id, such as ACME.")]
WarehouseId = Annotated[int, typer.Argument(metavar="ID", min=1, max=LARGEST_WAREHOUSE_ID, help="Its number.")]


@app.command()
def add(
    merchant_id: MerchantId,
    warehouse_id: WarehouseId,
    name: Annotated[str, typer.Option(help="Its name, as the merchant sees it.")],
    *,
    country: Annotated[str | None, typer.Option(help="ISO 3166-1 alpha-2; a returns warehouse needs one.")] = None,
    type_: Annotated[
        WarehouseType, typer.Option("--type", help="Who counts what lies there: its merchant, or who takes returns.")
    ] = WarehouseType.MERCHANT,
    as_json: AsJson = False,
) -> None:
    """Add a warehouse to a merchant's. Every merchant has warehouse 1."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        merchants.show_merchant(session, merchant_id)
        warehouse = service.add_warehouse(
            session, merchant_id, warehouse_id, name=name, country=country, type_=type_, by=by
        )
    if as_json:
        print_model(WarehouseOut.of(warehouse))
    else:
        say(f"Added warehouse {warehouse.id} ({warehouse.name}) to {merchant_id}.")


@app.command()
def change(
    merchant_id: MerchantId,
    warehouse_id: WarehouseId,
    *,
    name: Annotated[str | None, typer.Option(help="Its new name.")] = None,
    country: Annotated[str | None, typer.Option(help="Its country, ISO 3166-1 alpha-2.")] = None,
    as_json: AsJson = False,
) -> None:
    """Change a warehouse's name or country, also those of warehouse 1."""
    with opened_database() as (database, settings), acting(database, settings) as (session, by):
        merchants.show_merchant(session, merchant_id)
        warehouse = service.change_warehouse(session, merchant_id, warehouse_id, name=name, country=country, by=by)
    if as_json:
        print_model(WarehouseOut.of(warehouse))
    else:
        say(f"Warehouse {warehouse.id} of {merchant_id} is {warehouse.name}, {warehouse.country or 'no country told'}.")


@app.command("list")
def list_(merchant_id: MerchantId, *, as_json: AsJson = False) -> None:
    """List a merchant's warehouses."""
    with opened_database() as (database, _), database.read() as session:
        merchants.show_merchant(session, merchant_id)
        warehouses = service.list_warehouses(session, merchant_id)
    if as_json:
        print_model(WarehouseListOut(warehouses=[WarehouseOut.of(warehouse) for warehouse in warehouses]))
        return
    print_table(
        ("ID", "NAME", "COUNTRY", "TYPE"),
        [(str(warehouse.id), warehouse.name, warehouse.country, warehouse.type) for warehouse in warehouses],
        empty="",  # there is always the first one
    )
