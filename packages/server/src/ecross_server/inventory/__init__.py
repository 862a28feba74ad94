"""How many pieces of each SKU lie in which warehouse. SKUs themselves belong to the catalog, which knows no stock."""
