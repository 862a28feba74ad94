"""Merchants as a representative looks through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event

from ecross_server.audit.rules import Actor, TokenEvent
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.merchants import directory, rotation, service, uses
from ecross_server.merchants.directory import Hygiene, MerchantSearch
from ecross_server.merchants.rules import Peppers
from ecross_server.merchants.service import IssuedCredential

Search = Callable[..., list[str]]
Use = Callable[..., None]


class Issuing(NamedTuple):
    """What issuing a secret needs."""

    database: Database
    peppers: Peppers
    operator: Actor


@pytest.fixture
def issuing(database: Database, peppers: Peppers, operator: Actor) -> Issuing:
    return Issuing(database, peppers, operator)


@pytest.fixture
def search(database: Database) -> Search:
    """The ids of the merchants that are found."""

    def find(*, limit: int = 50, **asked: Any) -> list[str]:
        with database.read() as session:
            page = directory.search_merchants(session, MerchantSearch(**asked), limit=limit, now=utc_now())
        return [entry.merchant.id for entry in page.entries]

    return find


@pytest.fixture
def use(database: Database) -> Use:
    """Notes that tokens were given for a secret."""

    def note(issued: IssuedCredential, at: datetime, count: int = 1, address: str = "203.0.113.7") -> None:
        told = TokenEvent(
            at.timestamp(),
            "issued",
            issued.client.id,
            issued.client.merchant_id,
            address,
            "r",
            issued.secret.id,
            "t",
            None,
        )
        with database.write() as session:
            uses.note_secret_uses(session, [told] * count)

    return note


@pytest.fixture
def statements(database: Database) -> Iterator[list[str]]:
    """All that the database is asked from now on, but for the beginnings of transactions."""
    made: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if not statement.startswith("BEGIN"):
            made.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    yield made
    event.remove(database.engine, "before_cursor_execute", note)


class TestSearch:
    def test_a_text_is_found_in_id_and_name_and_at_the_beginning_of_a_client_id(
        self, search: Search, register: Any
    ) -> None:
        issued = register("ACME")
        register("OTHER")
        assert search() == ["ACME", "OTHER"]
        assert search(text=" acm ") == search(text="merchant ACM") == search(text=issued.client.id.upper()) == ["ACME"]
        assert search(text=issued.client.id[6:]) == []

    def test_what_has_a_meaning_in_a_pattern_is_looked_for_as_it_stands(self, search: Search, register: Any) -> None:
        register("ACME")
        register("AC_E")
        assert search(text="%") == []
        assert search(text="C_E") == ["AC_E"]
        assert search(text="'; DROP TABLE merchants --") == []

    def test_a_state_chooses(self, search: Search, register: Any, database: Database, operator: Actor) -> None:
        register("ACME")
        register("OTHER")
        with database.write() as session:
            service.disable_merchant(session, "OTHER", by=operator)
        assert search(status="active") == ["ACME"]
        assert search(status="disabled") == ["OTHER"]

    def test_pages_follow_each_other(self, database: Database, register: Any) -> None:
        for merchant_id in ("AA", "BB", "CC"):
            register(merchant_id)
        with database.read() as session:
            first = directory.search_merchants(session, MerchantSearch(), limit=2, now=utc_now())
            second = directory.search_merchants(
                session, MerchantSearch(after=first.next_after or ""), limit=2, now=utc_now()
            )
        assert [entry.merchant.id for entry in first.entries] == ["AA", "BB"]
        assert first.next_after == "BB"
        assert [entry.merchant.id for entry in second.entries] == ["CC"]
        assert second.next_after is None

    def test_each_merchant_comes_with_how_it_stands(
        self, database: Database, register: Any, peppers: Peppers, operator: Actor, use: Use
    ) -> None:
        used = register("ACME")
        now = utc_now()
        with database.write() as session:
            service.register_merchant(session, "EMPTY", "Empty", now=now, by=operator)
            rotation.rotate_credential(session, used.client.id, peppers=peppers, now=now, by=operator)
            gone = service.issue_credential(session, "ACME", peppers=peppers, now=now, by=operator)
            service.revoke_client(session, gone.client.id, by=operator)
        use(used, now)
        with database.read() as session:
            page = directory.search_merchants(session, MerchantSearch(), limit=9, now=now)
        standings = {entry.merchant.id: entry.standing for entry in page.entries}
        assert standings == {
            "ACME": directory.Standing(clients=1, live_secrets=2, last_used_at=now),
            "EMPTY": directory.Standing(0, 0, None),
        }

    def test_the_number_of_questions_does_not_grow(self, database: Database, register: Any, statements: Any) -> None:
        for number in range(5):
            register(f"M{number}")
        statements.clear()
        with database.read() as session:
            directory.search_merchants(session, MerchantSearch(), limit=50, now=utc_now())
            directory.count_hygiene(session, now=utc_now())
        assert len(statements) == 3


class TestHygiene:
    def test_live_secrets_are_counted_by_what_is_wrong_with_them(
        self, issuing: Issuing, register: Any, use: Use, search: Search
    ) -> None:
        database, peppers, operator = issuing
        now = utc_now()
        never_used = register("NEVER", expires_in=timedelta(days=1))
        idle = register("IDLE", expires_in=timedelta(days=1))
        fresh = register("FRESH")
        register("DISABLED")
        use(idle, now - timedelta(days=90))
        use(fresh, now)
        with database.write() as session:
            service.disable_merchant(session, "DISABLED", by=operator)
            ended = service.issue_credential(
                session,
                "FRESH",
                peppers=peppers,
                now=now - timedelta(days=2),
                by=operator,
                expires_in=timedelta(days=1),
            )
        assert ended.secret.expires_at == now - timedelta(days=1)
        with database.read() as session:
            counts = directory.count_hygiene(session, now=now)
        assert counts == (3, {Hygiene.NEVER_USED: 1, Hygiene.IDLE: 1, Hygiene.NEVER_EXPIRES: 1})
        assert never_used.client.merchant_id == "NEVER"
        assert [search(hygiene=each) for each in Hygiene] == [["NEVER"], ["IDLE"], ["FRESH"]]

    def test_there_may_be_no_secret_at_all(self, database: Database) -> None:
        with database.read() as session:
            assert directory.count_hygiene(session, now=utc_now()) == (0, dict.fromkeys(Hygiene, 0))


class TestUses:
    def test_they_come_by_the_hour_and_secret_for_a_client_or_a_merchant(
        self, database: Database, register: Any, peppers: Peppers, operator: Actor, use: Use
    ) -> None:
        now = datetime(2026, 11, 26, 10, 30, tzinfo=UTC)
        one, other = register("ACME"), register("OTHER")
        with database.write() as session:
            two = service.issue_credential(session, "ACME", peppers=peppers, now=now, by=operator)
        use(one, now, 3)
        use(one, now - timedelta(hours=1))
        use(two, now, 2)
        use(other, now)
        use(one, now - timedelta(hours=168))
        hour = int(now.timestamp()) // 3600
        with database.read() as session:
            of_client = directory.list_client_uses(session, one.client.id, now=now)
            of_merchant = directory.list_merchant_uses(session, "ACME", now=now)
        assert directory.first_shown_hour(now) == hour - 167
        assert of_client == [(one.client.id, one.secret.id, hour - 1, 1), (one.client.id, one.secret.id, hour, 3)]
        assert sorted(of_merchant) == sorted([*of_client, (two.client.id, two.secret.id, hour, 2)])

    def test_the_first_use_stays_what_it_was(self, database: Database, register: Any, use: Use) -> None:
        issued = register("ACME")
        first = utc_now()
        use(issued, first, address="203.0.113.1")
        use(issued, first + timedelta(hours=1), address="203.0.113.2")
        with database.read() as session:
            secret = service.list_credentials(session)[0].secrets[0]
        assert (secret.first_used_at, secret.first_used_address) == (first, "203.0.113.1")
        assert (secret.last_used_at, secret.last_used_address) == (first + timedelta(hours=1), "203.0.113.2")

    def test_of_uses_that_are_told_together_the_earliest_is_the_first(self, database: Database, register: Any) -> None:
        issued = register("ACME")
        at = utc_now()
        told = [
            TokenEvent(
                (at + timedelta(seconds=ahead)).timestamp(), "issued", issued.client.id, "ACME", f"203.0.113.{ahead}",
                "r", issued.secret.id, "t", None,
            )
            for ahead in (2, 1, 3)
        ]  # fmt: skip
        with database.write() as session:
            uses.note_secret_uses(session, told)
        with database.read() as session:
            secret = service.list_credentials(session)[0].secrets[0]
        assert (secret.first_used_address, secret.last_used_address) == ("203.0.113.1", "203.0.113.3")

    def test_of_a_secret_that_was_used_before_this_was_kept_no_first_use_is_made_up(
        self, database: Database, register: Any, use: Use
    ) -> None:
        issued = register("ACME")
        with database.write() as session:
            service.list_credentials(session)[0].secrets[0].last_used_at = utc_now() - timedelta(days=1)
        use(issued, utc_now())
        with database.read() as session:
            secret = service.list_credentials(session)[0].secrets[0]
        assert (secret.first_used_at, secret.first_used_address) == (None, None)
