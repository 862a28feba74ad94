"""Hand-overs as a page lists them."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import event

from ecross_server.handover import service
from ecross_server.handover.errors import HandOverNotFoundError
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database


def test_the_newest_come_first_page_by_page_and_of_whom_was_asked_for(database: Database, offer: Any) -> None:
    links = [offer(merchant_id=merchant_id).hand_over for merchant_id in ("ACME", "OTHER", "ACME")]

    def listed(limit: int = 9, **chosen: Any) -> list[str]:
        with database.read() as session:
            found = service.list_newest_hand_overs(session, limit=limit, now=utc_now(), **chosen)
            return [receipt.hand_over.id for receipt in found]

    newest = [link.id for link in sorted(links, key=lambda link: (link.created_at, link.id), reverse=True)]
    assert listed() == newest
    assert listed(2) + listed(2, before=newest[1]) == newest
    assert set(listed(merchant_id="ACME")) == {links[0].id, links[2].id}
    assert listed(client_id=links[1].client_id) == [links[1].id]
    with pytest.raises(HandOverNotFoundError):
        listed(before="hov_0")


def test_the_number_of_questions_does_not_grow(database: Database, offer: Any) -> None:
    for _ in range(4):
        offer()
    made: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *told: made.append(told[2]))
    with database.read() as session:
        receipts = service.list_hand_overs(session, None, now=utc_now())
    assert [receipt.merchant_name for receipt in receipts] == ["Acme"] * 4
    assert len([each for each in made if not each.startswith("BEGIN")]) == 3
