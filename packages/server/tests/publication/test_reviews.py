"""People who decide what may be published: who is asked, about what, and what comes of it."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from ecross_server.audit.rules import Actor, derive_keys
from ecross_server.audit.service import RecordFilter, list_records
from ecross_server.kit.errors import InvalidInputError
from ecross_server.localization import service
from ecross_server.localization.errors import ReviewClosedError, ReviewNotFoundError
from ecross_server.localization.rules import ReviewStatus
from ecross_server.localization.service import Review

BY = Actor("operator:test", derive_keys("test", {"test": bytes(32)}))
READY = ("READY_FOR_SALES_CHANNEL", {"ECOM": ("SALES_CHANNEL_APPROVED", "Integration successful")})
PENDING: tuple[str, dict[str, Any]] = ("PENDING_LOCALIZATION", {})

World = Any
"""What the fixture `world` gives."""


@pytest.fixture
def reviewed(world: World) -> World:
    """A world in which ACME is reviewed."""
    world.connect("ECOM", review=True)
    world.pass_time(1)
    return world


def reviews(world: World, status: ReviewStatus | None = ReviewStatus.WAITING, **chosen: Any) -> list[Review]:
    with world.acting() as session:
        return list(service.list_reviews(session, status=status, **{"limit": 100} | chosen))


def decide(world: World, review_id: int, *, approves: bool = True, reason: str | None = None) -> Review:
    with world.acting() as session:
        return service.decide_review(session, review_id, approves=approves, reason=reason, now=world.now, by=BY)


def test_a_review_waits_without_any_job(reviewed: World) -> None:
    reviewed.upsert(reviewed.sku())
    reviewed.pass_time()
    assert reviewed.status() == PENDING
    assert reviewed.waiting() == 0
    (review,) = reviews(reviewed)
    assert (review.merchant_id, review.sku_id, review.product_id, review.name, review.status) == (
        "ACME", "1", "P", "USB charger type C", "waiting",
    )  # fmt: skip
    assert (review.decided_at, review.decided_by, review.reason) == (None, None, None)
    assert reviews(reviewed, merchant_id="OTHER") == []
    assert reviews(reviewed, after=review.id) == []


def test_what_is_approved_is_published(reviewed: World) -> None:
    reviewed.upsert(reviewed.sku())
    reviewed.pass_time()
    review = decide(reviewed, reviews(reviewed)[0].id, reason="seen")
    assert (review.status, review.decided_by, review.reason) == ("approved", "operator:test", "seen")
    reviewed.pass_time()
    assert reviewed.status() == READY
    assert reviews(reviewed) == []


def test_what_is_denied_stays_off_with_the_reason_until_it_changes(reviewed: World) -> None:
    reviewed.upsert(reviewed.sku())
    reviewed.pass_time()
    decide(reviewed, reviews(reviewed)[0].id, approves=False, reason="The title is a brand's.")
    reviewed.pass_time()
    denied = ("REVIEW_DENIED", {"ECOM": ("SALES_CHANNEL_DENIED", "The title is a brand's.")})
    assert reviewed.status() == denied
    with reviewed.acting() as session:
        service.recheck_catalog(session, "ACME", now=reviewed.now)
    reviewed.pass_time()
    assert reviewed.status() == denied
    reviewed.upsert(reviewed.sku(name="Another title"))
    reviewed.pass_time()
    assert reviewed.status()[0] == "PENDING_LOCALIZATION"
    decide(reviewed, reviews(reviewed)[0].id)
    reviewed.pass_time()
    assert reviewed.status() == READY


def test_both_acts_are_audited(reviewed: World) -> None:
    reviewed.upsert(reviewed.sku("1"), reviewed.sku("2"))
    reviewed.pass_time()
    first, second = reviews(reviewed)
    decide(reviewed, first.id)
    decide(reviewed, second.id, approves=False, reason="no")
    with reviewed.database.read() as session:
        records = [it.draft for it in list_records(session, RecordFilter()) if it.draft.action.startswith("reviews.")]
    assert [(it.action, it.actor, it.merchant_id) for it in records] == [
        ("reviews.approve", "operator:test", "ACME"), ("reviews.deny", "operator:test", "ACME"),
    ]  # fmt: skip
    assert [it.details for it in records] == [
        f'{{"review":{first.id},"sku":"1"}}', f'{{"reason":"no","review":{second.id},"sku":"2"}}',
    ]  # fmt: skip


class TestWhatWasLookedAt:
    def test_a_changed_sku_asks_anew_and_the_old_review_decides_nothing(self, reviewed: World) -> None:
        reviewed.upsert(reviewed.sku())
        reviewed.pass_time()
        (old,) = reviews(reviewed)
        reviewed.upsert(reviewed.sku(name="Something else"))
        with pytest.raises(ReviewClosedError, match="superseded"):
            decide(reviewed, old.id)
        reviewed.pass_time()
        (new,) = reviews(reviewed)
        assert (new.name, new.id > old.id) == ("Something else", True)
        assert [it.id for it in reviews(reviewed, ReviewStatus.SUPERSEDED)] == [old.id]
        with pytest.raises(ReviewClosedError, match="superseded"):
            decide(reviewed, old.id)
        assert reviewed.status() == PENDING

    def test_a_sku_that_changes_again_and_again_leaves_one_review_behind(self, reviewed: World) -> None:
        for number in range(4):
            reviewed.upsert(reviewed.sku(name=f"Charger {number}"))
            reviewed.pass_time(1)
        assert [(it.name, it.status) for it in reviews(reviewed, None)] == [
            ("Charger 2", "superseded"), ("Charger 3", "waiting"),
        ]  # fmt: skip

    def test_a_deleted_sku_is_nobodys_to_decide(self, reviewed: World) -> None:
        reviewed.upsert(reviewed.sku("1"), reviewed.sku("2"))
        reviewed.pass_time()
        review = reviews(reviewed)[0]
        reviewed.upsert(reviewed.sku("2"))
        with pytest.raises(ReviewClosedError):
            decide(reviewed, review.id)
        reviewed.pass_time()
        assert [it.sku_id for it in reviews(reviewed)] == ["2"]

    def test_what_is_decided_is_decided(self, reviewed: World) -> None:
        reviewed.upsert(reviewed.sku())
        reviewed.pass_time()
        review = decide(reviewed, reviews(reviewed)[0].id)
        with pytest.raises(ReviewClosedError, match="approved"):
            decide(reviewed, review.id, approves=False, reason="no")
        reviewed.pass_time()
        with pytest.raises(ReviewClosedError, match="approved"):
            decide(reviewed, review.id)

    def test_a_sku_that_moved_to_another_product_is_decided_all_the_same(self, reviewed: World) -> None:
        reviewed.upsert(reviewed.sku("1"), reviewed.sku("2"))
        reviewed.pass_time()
        reviewed.upsert(reviewed.sku("1", "Q"))
        reviewed.pass_time()
        review = reviews(reviewed)[0]
        assert (review.sku_id, review.product_id) == ("1", "P")
        decide(reviewed, review.id)
        reviewed.pass_time()
        assert reviewed.status("1") == READY

    def test_an_unknown_one_is_not_found(self, world: World) -> None:
        with pytest.raises(ReviewNotFoundError):
            decide(world, 1)

    @pytest.mark.parametrize("reason", [None, "", " ", "x" * 501, "a\nb", "\x1b[31m"])
    def test_a_denial_needs_a_reason_that_can_be_shown(self, world: World, reason: str | None) -> None:
        with pytest.raises(InvalidInputError, match="reason must have 1 to 500 printable characters") as caught:
            decide(world, 1, approves=False, reason=reason)
        assert [fault.path for fault in caught.value.faults] == ["reason"]


class TestWho:
    def test_by_default_nobody_is_waited_for(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        assert reviews(world, None) == []

    def test_a_merchant_of_the_sandbox_is_checked_and_never_reviewed(self, world: World) -> None:
        world.register("SB_ACME")
        world.connect("ECOM", "SB_ACME", review=True)
        world.upsert(world.sku(), merchant_id="SB_ACME")
        world.upsert(world.sku("2", "Q", images=[]), merchant_id="SB_ACME")
        world.pass_time(4)
        assert world.status("1", "SB_ACME") == READY
        assert world.status("2", "SB_ACME")[0] == "REVIEW_DENIED"
        assert reviews(world, None) == []

    def test_what_was_published_before_stays_when_reviews_are_asked_for(self, world: World) -> None:
        world.upsert(world.sku())
        world.pass_time()
        world.connect("ECOM", review=True)
        world.pass_time()
        assert (world.status(), reviews(world)) == (READY, [])
        world.upsert(world.sku(name="Another title"))
        world.pass_time()
        assert len(reviews(world)) == 1
        assert world.feed()["ACME-1"]["name"] == "USB charger type C"

    def test_what_waits_goes_on_when_nobody_is_asked_any_more(self, reviewed: World) -> None:
        reviewed.upsert(reviewed.sku())
        reviewed.pass_time()
        reviewed.connect("ECOM", review=False)
        reviewed.pass_time()
        assert reviewed.status() == READY
        assert [it.status for it in reviews(reviewed, None)] == ["superseded"]

    def test_looking_again_asks_nobody_twice(self, reviewed: World) -> None:
        reviewed.upsert(reviewed.sku())
        reviewed.pass_time()
        asked = [it.id for it in reviews(reviewed)]
        reviewed.connect("ECOM", review=True)
        reviewed.pass_time()
        assert [it.id for it in reviews(reviewed, None)] == asked


def test_new_rules_count_from_their_day_and_for_the_rest_when_it_is_looked_at_again(world: World) -> None:
    (book,) = world.books
    content = book.content.model_copy(update={"shortest_title": 30})
    world.books = (book, book.model_copy(update={"version": date(2026, 12, 1), "content": content}))
    world.upsert(world.sku("1"))
    world.pass_time()
    world.now += timedelta(days=7)
    world.upsert(world.sku("2", "Q"))
    world.pass_time()
    assert world.status("1") == READY
    assert world.status("2")[0] == "REVIEW_DENIED"
    with world.acting() as session:
        versions = [service.show_judgement(session, "ACME", it)[0].rules_version for it in ("1", "2")]
        service.recheck_catalog(session, "ACME", now=world.now)
    assert versions == ["2026-11-25", "2026-12-01"]
    world.pass_time()
    assert world.status("1")[0] == "REVIEW_DENIED"
    assert world.feed() == {}
