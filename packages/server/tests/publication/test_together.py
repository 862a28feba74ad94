"""Products that wait are looked at together: how many at once, when, and beside whoever changes them meanwhile."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text

from ecross_server.catalog import service as catalog
from ecross_server.localization import service as localization

World = Any
"""What the fixture `world` gives."""

CHECKS = ("localization.check_product", "done")
READY = "READY_FOR_SALES_CHANNEL"


def look(world: World) -> int:
    """Let all checks that are due be done; how many runs they took."""
    runner = world.runner()
    runner.run_due()
    count: int = runner.runs[CHECKS]
    return count


def test_what_changes_is_looked_at_after_a_second_and_in_the_sandbox_at_once(world: World) -> None:
    world.register("SB_ACME")
    for merchant_id in ("ACME", "SB_ACME"):
        world.upsert(world.sku(), merchant_id=merchant_id)
    assert look(world) == 1
    assert world.status(merchant_id="SB_ACME")[0] == READY
    world.now += timedelta(milliseconds=999)
    world.upsert(world.sku(name="USB charger type D"))  # again, which puts nothing off
    assert look(world) == 0
    world.now += timedelta(milliseconds=1)
    assert look(world) == 1
    assert world.status()[0] == READY


def test_so_many_products_are_looked_at_in_one_run_as_have_not_too_many_skus(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(localization, "SKUS_AT_ONCE", 4)
    for product, skus in enumerate((1, 2, 1, 5, 3, 1)):
        world.upsert(*(world.sku(f"{product}-{number}", f"P{product}") for number in range(skus)))
    world.now += timedelta(seconds=1)
    assert look(world) == 3  # the first three; the one that has too many for others; the rest
    with world.acting() as session:
        statuses = session.execute(text("SELECT localization_status FROM skus")).scalars().all()
    assert statuses == [READY] * 13


def test_deleted_skus_count_and_lose_what_was_found_of_them(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for product in "PQ":
        world.upsert(*(world.sku(f"{product}{number}", product) for number in range(3)))
    world.pass_time()
    for product in "PQ":
        world.upsert(world.sku(f"{product}0", product))
    monkeypatch.setattr(localization, "SKUS_AT_ONCE", 5)
    world.now += timedelta(seconds=1)
    assert look(world) == 2
    with world.acting() as session:
        judged = session.execute(text("SELECT sku_id FROM judgements ORDER BY sku_id")).scalars().all()
    assert judged == ["P0", "Q0"]


def test_merchants_are_looked_at_apart(world: World) -> None:
    world.register("ACME_2")
    for number in range(2):
        for merchant_id in ("ACME", "ACME_2", "OTHER"):
            world.upsert(world.sku(str(number), f"P{number}"), merchant_id=merchant_id)
    world.now += timedelta(seconds=1)
    assert look(world) == 3
    assert {world.status(str(number), it)[0] for number in range(2) for it in ("ACME", "ACME_2", "OTHER")} == {READY}


def test_a_product_that_is_being_changed_meanwhile_is_waited_for_and_seen_as_it_is_then(world: World) -> None:
    """The check and the change both take the merchant's turn, then the job: neither waits for the other in turn."""
    for product_id in ("P", "Q"):
        world.upsert(world.sku(product_id, product_id))
    world.now += timedelta(seconds=1)
    with ThreadPoolExecutor() as pool:

        def begin(_session: object) -> None:
            looking.append(pool.submit(look, world))
            time.sleep(0.2)  # until it waits for the turn, or beyond it, if it took none

        looking: list[Any] = []
        with world.acting() as session:
            catalog.upsert_skus(
                session, "ACME", world.drafts(world.sku("Q", "Q", description="lorem ipsum")), now=world.now
            )
            event.listen(session, "before_commit", begin, insert=True)  # before the job is queued again
        assert looking[0].result(20) >= 1
    world.now += timedelta(seconds=1)
    look(world)
    assert (world.status("P")[0], world.status("Q")[0]) == (READY, "REVIEW_DENIED")
