"""What is done of localization in the background."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from typing import Final

from ecross_server.jobs.tasks import Finish, Job, Kind, Policy
from ecross_server.localization import service
from ecross_server.localization.rules import RuleBook

POLICY: Final = Policy(limit_seconds=60.0)
PRODUCT_POLICY: Final = Policy(limit_seconds=60.0, most_along=100, rush=20)
"""While a catalog is being pushed, its checks would take the push's turns to write, and its processors."""


def make_kinds(books: Collection[RuleBook]) -> Mapping[str, Kind]:
    """The jobs of localization, by whichever of the rules are in force then."""

    def check_product(job: Job, finish: Finish) -> None:
        merchant_id, product_id = str(job.payload["merchant"]), str(job.payload["product"])
        with finish() as session:
            take_along = functools.partial(finish.take_along, session)
            service.check_products(
                session, merchant_id, product_id, take_along=take_along, books=books, now=finish.clock()
            )

    def check_catalog(job: Job, finish: Finish) -> None:
        merchant_id, after = str(job.payload["merchant"]), int(job.payload["after"] or 0)
        with finish() as session:
            service.check_catalog(session, merchant_id, after=after, books=books, now=finish.clock())

    return {
        service.CHECK_PRODUCT: Kind(check_product, PRODUCT_POLICY),
        service.CHECK_CATALOG: Kind(check_catalog, POLICY),
    }
