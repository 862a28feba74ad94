"""How long, and how much, answers by idempotency key are kept. All else about them is in the tests of the catalog."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import func, select

from ecross_server.kit.database import Database
from ecross_server.web import idempotency
from ecross_server.web.idempotency import LIFE, ROW_BYTES, IdempotentAnswer, KeyedRequest, answer_once

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SECOND = timedelta(seconds=1)
BODY_BYTES = 5000

Ask = Callable[..., bytes]


@pytest.fixture
def ask(database: Database) -> Ask:
    """Sends a request with a key; what is answered is made of chance, so that nothing can be pressed into less."""

    def send(key: str, *, merchant_id: str = "ACME", now: datetime = NOW) -> bytes:
        keyed = KeyedRequest(key, b"d" * 32)
        return answer_once(database, merchant_id, keyed, lambda _: os.urandom(BODY_BYTES), bytes, now=now)

    return send


@pytest.fixture
def room_for_three(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three answers fit, and each new one makes it look."""
    monkeypatch.setattr(idempotency, "MOST_BYTES", 3 * (BODY_BYTES + ROW_BYTES) + ROW_BYTES)
    monkeypatch.setattr(idempotency, "BYTES_A_LOOK", 1)


@pytest.mark.usefixtures("room_for_three")
def test_beyond_what_is_kept_for_a_merchant_its_oldest_keys_are_forgotten(ask: Ask, database: Database) -> None:
    others = ask("0", merchant_id="OTHER")
    first = [ask(str(number), now=NOW + number * SECOND) for number in range(5)]
    again = [ask(str(number), now=NOW + 10 * SECOND) for number in (2, 3, 4)]
    assert again == first[2:]
    assert ask("1", now=NOW + 11 * SECOND) != first[1]
    assert ask("0", merchant_id="OTHER") == others
    with database.read() as session:
        counts = select(IdempotentAnswer.merchant_id, func.count()).group_by(IdempotentAnswer.merchant_id)
        assert {row[0]: row[1] for row in session.execute(counts)} == {"ACME": 3, "OTHER": 1}


def test_it_looks_seldom_where_answers_are_short(ask: Ask, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idempotency, "MOST_BYTES", 0)
    monkeypatch.setattr(idempotency, "BYTES_A_LOOK", 1 << 60)
    for number in range(5):
        ask(str(number))
    with database.read() as session:
        assert session.scalar(select(func.count()).select_from(IdempotentAnswer)) == 5


def test_what_has_expired_goes_with_the_merchants_next_key(ask: Ask, database: Database) -> None:
    for number in range(3):
        ask(str(number), now=NOW + number * SECOND)
    ask("new", now=NOW + SECOND + LIFE)
    with database.read() as session:
        assert set(session.scalars(select(IdempotentAnswer.key))) == {"2", "new"}
