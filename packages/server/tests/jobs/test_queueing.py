"""Queueing: with the change or not at all, waiting jobs of one key are one, and nothing that could not be kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.orm import Session

from ecross_server.audit.service import Actor, record_act
from ecross_server.jobs.errors import PayloadError
from ecross_server.jobs.service import Urgency, is_queued, queue_job
from ecross_server.jobs.tasks import Finish, Job, Runner
from ecross_server.kit.database import Database
from ecross_server.kit.errors import InvalidInputError

if TYPE_CHECKING:
    from packages.server.tests.jobs.conftest import VirtualClock

MakeRunner = Callable[..., Runner]
NOON = datetime(2026, 11, 25, 12, tzinfo=UTC)


class UndoneError(Exception):
    pass


def test_a_job_is_there_with_its_change_and_runs_once(
    queue: Any, make_runner: MakeRunner, run: list[Job], rows: Any
) -> None:
    payload = {"a": 1, "b": "é\u0000\ud800", "c": True, "d": None}
    queue(payload=payload, key="k")
    assert make_runner().run_due() == 1
    assert [(job.kind, job.key, job.payload, job.attempts) for job in run] == [("test.note", "k", payload, 1)]
    assert rows() == []
    assert make_runner().run_due() == 0


def test_a_change_that_is_rolled_back_leaves_none(database: Database, rows: Any) -> None:
    def change() -> None:
        with database.write() as session:
            queue_job(session, "test.note", {})
            raise UndoneError

    with pytest.raises(UndoneError):
        change()
    assert rows() == []


def test_a_session_can_go_on_after_a_rollback(database: Database, rows: Any) -> None:
    with database.write() as session:
        queue_job(session, "test.note", {"n": 1})
        with session.begin_nested() as savepoint:
            savepoint.rollback()
        with session.begin_nested():
            session.execute(text("UPDATE registry_revision SET value = 7"))
    assert [json.loads(row.payload) for row in rows()] == [{"n": 1}]
    with Session(database.engine) as session:
        session.begin()
        queue_job(session, "test.note", {"n": 2})
        session.rollback()
        session.begin()
        queue_job(session, "test.note", {"n": 3})
        session.commit()
    assert [json.loads(row.payload) for row in rows()] == [{"n": 1}, {"n": 3}]


def test_inside_a_savepoint_it_is_refused(database: Database) -> None:
    with database.write() as session, session.begin_nested(), pytest.raises(RuntimeError, match="savepoint"):
        queue_job(session, "test.note", {})


class TestMerging:
    def test_waiting_jobs_of_one_kind_and_key_are_one(self, queue: Any, rows: Any, clock: VirtualClock) -> None:
        queue(payload={"revision": 1}, key="k", run_at=NOON + timedelta(seconds=60))
        clock.advance(1)
        queue(payload={"revision": 2}, key="k", run_at=NOON + timedelta(seconds=30))
        queue(payload={"revision": 3}, key="k", run_at=NOON + timedelta(seconds=90))
        [row] = rows()
        assert json.loads(row.payload) == {"revision": 3}
        assert "12:00:30" in str(row.due_at)
        assert "12:00:00" in str(row.created_at)

    def test_so_are_those_of_one_transaction(self, database: Database, rows: Any) -> None:
        with database.write() as session:
            for revision, seconds in ((1, 60), (2, 30), (3, 90)):
                run_at = NOON + timedelta(seconds=seconds)
                queue_job(session, "test.note", {"revision": revision}, key="k", run_at=run_at, now=NOON)
        [row] = rows()
        assert json.loads(row.payload) == {"revision": 3}
        assert "12:00:30" in str(row.due_at)

    @pytest.mark.parametrize("urgencies", [(Urgency.URGENT, Urgency.USUAL), (Urgency.USUAL, Urgency.URGENT)])
    def test_they_are_as_urgent_as_the_most_urgent_one(
        self, database: Database, queue: Any, rows: Any, urgencies: tuple[Urgency, Urgency]
    ) -> None:
        with database.write() as session:
            for urgency in urgencies:
                queue_job(session, "test.note", {}, key="in one transaction", urgency=urgency)
        for urgency in urgencies:
            queue(key="in two", urgency=urgency)
        assert [row.urgency for row in rows()] == [Urgency.URGENT, Urgency.URGENT]

    def test_others_are_not(self, database: Database, rows: Any) -> None:
        with database.write() as session:
            for kind, key in (("test.b", "k"), ("test.a", "l"), ("test.a", "k"), ("test.a", None), ("test.a", None)):
                queue_job(session, kind, {}, key=key)
        # In the order in which every transaction locks them.
        assert [(row.kind, row.key) for row in rows()] == [
            ("test.a", None), ("test.a", None), ("test.a", "k"), ("test.a", "l"), ("test.b", "k"),
        ]  # fmt: skip

    def test_one_that_is_being_run_or_failed_is_not_the_new_one(
        self, queue: Any, make_runner: MakeRunner, rows: Any, database: Database
    ) -> None:
        seen: list[Any] = []

        def handle(job: Job, _finish: Finish) -> None:
            seen.append(job.payload)
            if len(seen) == 1:
                queue(payload={"revision": 2}, key="k")  # a change while it is being run
                raise UndoneError

        queue(payload={"revision": 1}, key="k")
        assert make_runner(handle).run_due() == 2
        queue(payload={"revision": 3}, key="k")  # the first one waits to be tried again
        assert [json.loads(row.payload) for row in rows()] == [{"revision": 1}, {"revision": 3}]
        with database.read() as session:
            assert is_queued(session, "test.note", "k")
            assert not is_queued(session, "test.note", "l")

    def test_many_are_written_in_few_statements_and_in_their_order(self, database: Database, rows: Any) -> None:
        statements: list[str] = []
        event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
        with database.write() as session:
            for number in range(1001):
                queue_job(session, "test.note", {"n": number}, now=NOON)
        assert sum("INSERT INTO jobs" in statement for statement in statements) == 3
        assert [json.loads(row.payload)["n"] for row in rows()] == list(range(1001))


def test_the_lock_of_the_audit_trail_is_taken_after_those_of_jobs(database: Database, operator: Actor) -> None:
    statements: list[str] = []
    event.listen(database.engine, "before_cursor_execute", lambda *arguments: statements.append(arguments[2]))
    with database.write() as session:
        record_act(session, actor=operator, action="test.act")
        queue_job(session, "test.note", {})
    written = [statement.split()[2] for statement in statements if statement.startswith("INSERT")]
    assert written == ["jobs", "audit_records", "audit_batches"]


def test_what_just_fits_is_kept(queue: Any, make_runner: MakeRunner, run: list[Job]) -> None:
    payload = {"a": "x" * (4096 - len('{"a":""}'))}
    key = "\u200b\n\U0001f600é'" * 52
    queue(kind="test.note", payload=payload, key=key)
    assert make_runner().run_due() == 1
    assert (run[0].payload, run[0].key) == (payload, key)


class TestRefusals:
    @pytest.fixture
    def backend(self) -> str:
        """One will do: what is refused does not come as far."""
        return "sqlite"

    @pytest.mark.parametrize(
        ("given", "path"),
        [
            ({"payload": {"price": 1.5}}, "payload.price"),
            ({"payload": {"skus": ["a"]}}, "payload.skus"),
            ({"payload": {"sku": {}}}, "payload.sku"),
            ({"payload": {"a": "x" * 2100, "b": "x" * 2100}}, "payload"),
            ({"kind": "test"}, "kind"),
            ({"kind": "Test.note"}, "kind"),
            ({"kind": f"test.{'x' * 56}"}, "kind"),
            ({"key": ""}, "key"),
            ({"key": "x" * 261}, "key"),
            ({"key": "a\u0000secret-value"}, "key"),
            ({"key": "a\ud800secret-value"}, "key"),
            ({"run_at": datetime(2026, 1, 1)}, "run_at"),  # noqa: DTZ001 - that is what is wrong
        ],
    )
    def test_what_could_not_be_kept_is_told_by_its_name_alone(
        self, given: dict[str, Any], path: str, queue: Any, rows: Any
    ) -> None:
        with pytest.raises(PayloadError) as caught:
            queue(**given)
        assert isinstance(caught.value, InvalidInputError)
        assert [fault.path for fault in caught.value.faults] == [path]
        assert "xxx" not in str(caught.value)
        assert "secret-value" not in str(caught.value)
        assert rows() == []
