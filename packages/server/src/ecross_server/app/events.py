"""Which domains hear of which others: the one place that knows."""

from __future__ import annotations

from ecross_server.catalog.rules import ProductsChanged
from ecross_server.channels.rules import ConnectionsChanged
from ecross_server.inventory.rules import StockChanged
from ecross_server.kit.database import Database
from ecross_server.localization import service as localization
from ecross_server.localization.rules import SkusJudged
from ecross_server.publication import service as publication


def subscribe_domains(database: Database) -> None:
    """Let the domains hear of each other in this database's transactions."""
    told = database.subscriptions
    told.add(ProductsChanged, localization.queue_product_checks)
    told.add(ConnectionsChanged, localization.queue_catalog_check)
    told.add(SkusJudged, publication.publish_judged)
    told.add(StockChanged, publication.queue_stock)
