"""`ecross skus`: the merchant's SKUs."""

import sys
from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Final

from ecross.cli.failures import UsageError
from ecross.cli.output import exact_json, print_table, say_lines, shown
from ecross.cli.session import open_client
from ecross.errors import ServerError
from ecross.types import Page, Sku

COLUMNS: Final = ("SKU", "PRODUCT", "NAME", "EAN", "LOCALIZATION", "UPDATED")
ERASE: Final = "\r\033[K"


def print_skus(profile: str | None, *, updated_since: str | None, limit: int | None, as_json: bool) -> None:
    """Print the SKUs as a table, or as JSON Lines as they come."""
    since = None if updated_since is None else parse_instant(updated_since)
    with open_client(profile) as client:
        pages = limited(client.skus.list(last_update_date_from=since).pages(), limit)
        if as_json:
            for page in with_progress(pages):
                print_lines(page)
        else:
            rows = [row(sku) for page in with_progress(pages) for sku in page]
            print_table(COLUMNS, rows, empty="There are no SKUs.")


def parse_instant(text: str) -> datetime:
    """The instant that a person means.

    Raises:
        UsageError: if it is none, or could be any hour.
    """
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        instant = None
    if instant is None or instant.tzinfo is None:
        raise UsageError("--updated-since must be a date and time with a time zone, as 2026-01-31T08:00:00Z.")
    return instant


def limited(pages: Iterator[Page[Sku]], limit: int | None) -> Iterator[tuple[Sku, ...]]:
    """The SKUs page by page, and no page more than the limit needs."""
    left = limit
    for page in pages:
        skus = page.items if left is None else tuple(islice(page.items, left))
        yield skus
        if left is not None:
            left -= len(skus)
            if left == 0:
                return


def with_progress(pages: Iterator[tuple[Sku, ...]]) -> Iterator[tuple[Sku, ...]]:
    """The same pages; meanwhile a person sees how many there were, unless the list itself runs over the screen."""
    if not sys.stderr.isatty() or sys.stdout.isatty():
        yield from pages
        return
    count = 0
    try:
        for page in pages:
            count += len(page)
            sys.stderr.write(f"{ERASE}{count} SKUs ...")
            sys.stderr.flush()
            yield page
    finally:
        sys.stderr.write(ERASE)
        sys.stderr.flush()


def print_lines(skus: tuple[Sku, ...]) -> None:
    """Print each SKU on a line."""
    try:
        lines = [exact_json(sku.raw) for sku in skus]
    except RecursionError:
        lines = None
    if lines is None:
        raise ServerError(200, "A SKU is nested too deeply to be printed.")
    say_lines(lines)


def row(sku: Sku) -> tuple[str | None, ...]:
    """The line of a SKU in the table."""
    return (sku.sku_id, sku.product_id, sku.name, sku.ean, sku.localization_status, shown(sku.last_update_date))
