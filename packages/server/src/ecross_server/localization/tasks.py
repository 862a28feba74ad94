"""What is done of localization in the background."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from ecross_server.jobs.tasks import Finish, Job, Kind, Policy
from ecross_server.localization import service
from ecross_server.localization.rules import RuleBook

POLICY: Final = Policy(limit_seconds=60.0)


def make_kinds(books: Collection[RuleBook]) -> Mapping[str, Kind]:
    """The jobs of localization, by whichever of the rules are in force then."""

    def check_product(job: Job, finish: Finish) -> None:
        merchant_id, product_id = str(job.payload["merchant"]), str(job.payload["product"])
        with finish() as session:
            service.check_product(session, merchant_id, product_id, books=books, now=finish.clock())

    def check_catalog(job: Job, finish: Finish) -> None:
        merchant_id, after = str(job.payload["merchant"]), int(job.payload["after"] or 0)
        with finish() as session:
            service.check_catalog(session, merchant_id, after=after, books=books, now=finish.clock())

    return {service.CHECK_PRODUCT: Kind(check_product, POLICY), service.CHECK_CATALOG: Kind(check_catalog, POLICY)}
