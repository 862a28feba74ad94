"""The forms in which commands show reviews, and what was found of SKUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from ecross_server.kit.clock import rfc3339
from ecross_server.localization.service import Judgement, Review


class _Wire(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class ReviewOut(_Wire):
    """What a person is asked about a SKU, and what the person said."""

    review_id: int
    merchant_id: str
    sku_id: str
    product_id: str
    name: str
    status: str
    asked_at: str
    decided_at: str | None
    decided_by: str | None
    reason: str | None

    @classmethod
    def of(cls, review: Review) -> ReviewOut:
        """The form of a review."""
        return cls(
            review_id=review.id,
            merchant_id=review.merchant_id,
            sku_id=review.sku_id,
            product_id=review.product_id,
            name=review.name,
            status=review.status,
            asked_at=rfc3339(review.asked_at),
            decided_at=None if review.decided_at is None else rfc3339(review.decided_at),
            decided_by=review.decided_by,
            reason=review.reason,
        )


class ReviewListOut(_Wire):
    """Some reviews."""

    reviews: list[ReviewOut]


class JudgementOut(_Wire):
    """What the rules of a version found of a SKU, and what people were asked about it."""

    merchant_id: str
    sku_id: str
    status: str
    rules_version: str
    judged_at: str
    reasons: list[dict[str, Any]]
    reviews: list[ReviewOut]

    @classmethod
    def of(cls, judgement: Judgement, reviews: Sequence[Review]) -> JudgementOut:
        """The form of it."""
        return cls(
            merchant_id=judgement.merchant_id,
            sku_id=judgement.sku_id,
            status=judgement.status,
            rules_version=judgement.rules_version,
            judged_at=rfc3339(judgement.judged_at),
            reasons=[dict(reason) for reason in judgement.reasons],
            reviews=[ReviewOut.of(review) for review in reviews],
        )
