from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from ecross_server.approvals import service
from ecross_server.approvals.errors import (
    ApprovalDecidedError,
    ApprovalNeededError,
    ApprovalNotFoundError,
    OwnApprovalError,
)
from ecross_server.approvals.rules import Act, State, Subject
from ecross_server.audit import service as audit
from ecross_server.audit.service import Actor, RecordFilter
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import InvalidInputError
from ecross_server.merchants.errors import ClientNotFoundError, MerchantNotFoundError
from ecross_server.merchants.service import IssuedCredential

if TYPE_CHECKING:
    from conftest import Register

NEW_CLIENT = Subject(Act.ISSUE, "ACME")
WHY = "The ERP needs its own."


@pytest.fixture(autouse=True)
def _merchant(credential: IssuedCredential) -> None:
    """ACME is registered."""


@pytest.fixture
def ann(operator: Actor) -> Actor:
    return Actor("operator:ann", operator.keys)


@pytest.fixture
def bob(operator: Actor) -> Actor:
    return Actor("operator:bob", operator.keys)


def ask(database: Database, by: Actor, *, subject: Subject = NEW_CLIENT, at: datetime | None = None) -> str:
    with database.write() as session:
        return service.ask_approval(session, subject, WHY, now=at or utc_now(), by=by).id


def decide(
    database: Database, approval_id: str, by: Actor, *, is_granted: bool = True, at: datetime | None = None
) -> State:
    now = at or utc_now()
    with database.write() as session:
        approval = service.decide_approval(session, approval_id, is_granted=is_granted, now=now, by=by)
        return service.state_of(approval, now)


def use(database: Database, by: Actor, *, subject: Subject = NEW_CLIENT, at: datetime | None = None) -> str:
    with database.write() as session:
        return service.use_approval(session, subject, now=at or utc_now(), by=by).id


def actions(database: Database) -> list[tuple[str, str, str]]:
    with database.read() as session:
        drafts = [record.draft for record in audit.list_records(session, RecordFilter())]
    return [(each.actor, each.action, each.outcome) for each in drafts if each.action.startswith("approvals.")]


class TestAsking:
    def test_an_act_that_was_granted_by_somebody_else_can_be_done_once(
        self, database: Database, ann: Actor, bob: Actor
    ) -> None:
        asked = ask(database, ann)
        with pytest.raises(ApprovalNeededError):
            use(database, ann)
        assert decide(database, asked, bob) is State.GRANTED
        assert use(database, ann) == asked
        with pytest.raises(ApprovalNeededError):
            use(database, ann)
        with database.read() as session:
            assert service.state_of(service.show_approval(session, asked), utc_now()) is State.USED
        assert actions(database) == [
            ("operator:ann", "approvals.ask", "done"),
            ("operator:bob", "approvals.grant", "done"),
            ("operator:ann", "approvals.use", "done"),
        ]

    def test_it_is_for_this_act_of_this_person_on_this_client(
        self, database: Database, ann: Actor, bob: Actor, credential: IssuedCredential
    ) -> None:
        client_id = credential.client.id
        decide(database, ask(database, ann), bob)
        for subject in (Subject(Act.ROTATE, "ACME"), Subject(Act.ISSUE, "ACME", client_id), Subject(Act.ISSUE, "BETA")):
            with pytest.raises(ApprovalNeededError):
                use(database, ann, subject=subject)
        with pytest.raises(ApprovalNeededError):
            use(database, bob)
        rotation = Subject(Act.ROTATE, "ACME", client_id)
        decide(database, ask(database, ann, subject=rotation), bob)
        assert use(database, ann, subject=rotation) != use(database, ann)

    def test_asking_again_gives_the_question_that_is_open(self, database: Database, ann: Actor, bob: Actor) -> None:
        first = ask(database, ann)
        assert ask(database, ann) == first
        assert ask(database, bob) != first
        decide(database, first, bob)
        assert ask(database, ann) == first
        use(database, ann)
        assert ask(database, ann) != first

    def test_there_must_be_somebody_to_do_it_to_and_a_reason(self, database: Database, ann: Actor) -> None:
        with pytest.raises(MerchantNotFoundError):
            ask(database, ann, subject=Subject(Act.ISSUE, "NOBODY"))
        with pytest.raises(ClientNotFoundError):
            ask(database, ann, subject=Subject(Act.ROTATE, "ACME", "acme-nobody"))
        with pytest.raises(InvalidInputError) as refused, database.write() as session:
            service.ask_approval(session, NEW_CLIENT, "", now=utc_now(), by=ann)
        assert [fault.path for fault in refused.value.faults] == ["reason"]
        assert actions(database) == []

    def test_a_client_of_another_merchant_is_nobody(self, database: Database, ann: Actor, register: Register) -> None:
        other = register("BETA").client.id
        with pytest.raises(ClientNotFoundError):
            ask(database, ann, subject=Subject(Act.ROTATE, "ACME", other))


class TestDeciding:
    def test_nobody_grants_their_own(self, database: Database, ann: Actor) -> None:
        asked = ask(database, ann)
        with pytest.raises(OwnApprovalError):
            decide(database, asked, ann)
        with pytest.raises(ApprovalNeededError):
            use(database, ann)

    def test_who_asked_takes_it_back_by_refusing_it(self, database: Database, ann: Actor, bob: Actor) -> None:
        asked = ask(database, ann)
        assert decide(database, asked, ann, is_granted=False) is State.REFUSED
        with pytest.raises(ApprovalDecidedError, match="refused"):
            decide(database, asked, bob)

    def test_what_was_refused_cannot_be_used_nor_granted(self, database: Database, ann: Actor, bob: Actor) -> None:
        asked = ask(database, ann)
        assert decide(database, asked, bob, is_granted=False) is State.REFUSED
        with pytest.raises(ApprovalNeededError):
            use(database, ann)
        with pytest.raises(ApprovalDecidedError):
            decide(database, asked, bob)

    @pytest.mark.parametrize("is_granted", [True, False])
    def test_to_say_the_same_twice_changes_nothing(
        self,
        database: Database,
        ann: Actor,
        bob: Actor,
        is_granted: bool,  # noqa: FBT001 - a parameter
    ) -> None:
        asked = ask(database, ann)
        first = decide(database, asked, bob, is_granted=is_granted)
        assert decide(database, asked, bob, is_granted=is_granted) is first
        assert [outcome for *_, outcome in actions(database)] == ["done", "done", "unchanged"]

    def test_what_is_not_there_is_told(self, database: Database, bob: Actor) -> None:
        with pytest.raises(ApprovalNotFoundError):
            decide(database, "apr_nothing", bob)


class TestTime:
    def test_a_day_after_the_question_nothing_is_to_be_said_or_done(
        self, database: Database, ann: Actor, bob: Actor
    ) -> None:
        now = utc_now()
        late = now + timedelta(days=1)
        asked = ask(database, ann, at=now)
        with pytest.raises(ApprovalDecidedError, match="expired"):
            decide(database, asked, bob, at=late)
        assert decide(database, asked, bob, at=late - timedelta(seconds=1)) is State.GRANTED
        with pytest.raises(ApprovalNeededError):
            use(database, ann, at=late)
        assert use(database, ann, at=late - timedelta(seconds=1)) == asked

    def test_an_older_state_that_is_put_in_place_opens_nothing_again(
        self, database: Database, ann: Actor, bob: Actor
    ) -> None:
        decide(database, ask(database, ann), bob)
        with database.write() as session:
            service.end_open_approvals(session, now=utc_now())
        with pytest.raises(ApprovalNeededError):
            use(database, ann)


def test_the_list_tells_the_newest_first_and_those_that_are_open(database: Database, ann: Actor, bob: Actor) -> None:
    now = utc_now()
    old = ask(database, ann, at=now - timedelta(days=2))
    refused = ask(database, ann, at=now - timedelta(hours=2))
    decide(database, refused, bob, is_granted=False)
    granted = ask(database, ann, at=now - timedelta(hours=1))
    decide(database, granted, bob)
    with database.read() as session:
        listed = service.list_approvals(session, now=now)
        waiting = service.list_approvals(session, now=now, only_open=True)
        states = [service.state_of(each, now) for each in listed]
    assert [each.id for each in listed] == [granted, refused, old]
    assert states == [State.GRANTED, State.REFUSED, State.EXPIRED]
    assert [each.id for each in waiting] == [granted]


def test_of_many_who_use_it_at_once_one_does(database: Database, ann: Actor, bob: Actor) -> None:
    decide(database, ask(database, ann), bob)

    def try_it() -> bool:
        try:
            use(database, ann)
        except ApprovalNeededError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: try_it(), range(8))) == 1
