from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session
from structlog.testing import capture_logs

from ecross_server import migrations
from ecross_server.audit import rules, service
from ecross_server.audit.errors import TrailTamperedError
from ecross_server.audit.rules import Actor, AuditKeys, Draft, derive_keys
from ecross_server.audit.schemas import record_out
from ecross_server.audit.service import Record, Verdict, Witness
from ecross_server.kit.database import Base, Database
from ecross_server.kit.errors import UnavailableError
from ecross_server.kit.private_files import UnsafeFileError, write_private_file
from ecross_server.merchants import service as merchants
from ecross_server.merchants.errors import MerchantNotFoundError

pytestmark = pytest.mark.measured

NOON = 1_764_072_000
DAY = 86_400
LONG = 30.0

Append = Callable[..., None]
Verify = Callable[..., Verdict]
Records = Callable[..., list[Record]]


def run(database: Database, sql: str, **values: Any) -> None:
    with database.write() as session:
        session.execute(text(sql), values)


def prune(database: Database, keys: AuditKeys, before: int) -> int:
    with database.write() as session:
        return service.prune(session, keys, before=before * 1_000_000)


class TestActs:
    def test_an_act_is_recorded_with_who_did_it_and_from_where(
        self, database: Database, keys: AuditKeys, records: Records, verify: Verify
    ) -> None:
        by = Actor("operator:root", keys, "::1", "r-1")
        with database.write() as session:
            service.record_act(
                session, actor=by, action="keys.rotate", merchant_id="ACME", client_id="acme-x", secret_id="sec_1",
                outcome="unchanged", now=datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC), key="k1", count=2,
            )  # fmt: skip
        [record] = records()
        assert record_out(record) == {
            "seq": 1, "at": "2026-01-02T03:04:05.678Z", "actor": "operator:root", "action": "keys.rotate",
            "merchantId": "ACME", "clientId": "acme-x", "outcome": "unchanged", "address": "::1", "requestId": "r-1",
            "tokenId": None, "secretId": "sec_1", "secretFingerprint": None, "count": 2, "details": {"key": "k1"},
            "hash": record.hash,
        }  # fmt: skip
        assert verify().is_ok

    def test_acts_of_one_transaction_are_one_link(self, database: Database, keys: AuditKeys, records: Records) -> None:
        by = Actor("operator:root", keys)
        with database.write() as session:
            service.record_act(session, actor=by, action="a.b")
            service.record_act(session, actor=by, action="c.d")
        with database.write() as session:
            service.record_act(session, actor=by, action="e.f")
        assert [record.draft.action for record in records()] == ["a.b", "c.d", "e.f"]
        with database.read() as session:
            sizes = session.execute(text("SELECT number, size FROM audit_batches ORDER BY number")).all()
        assert [tuple(row) for row in sizes] == [(1, 2), (2, 1)]

    def test_an_act_that_fails_leaves_no_record(self, database: Database, keys: AuditKeys, records: Records) -> None:
        by = Actor("operator:root", keys)

        def fail() -> None:
            with database.write() as session:
                service.record_act(session, actor=by, action="a.b")
                merchants.disable_merchant(session, "NOBODY", by=by)

        with pytest.raises(MerchantNotFoundError):
            fail()
        assert records() == []

    def test_a_session_that_goes_on_after_a_rollback_records_what_comes_then(
        self, database: Database, keys: AuditKeys, records: Records
    ) -> None:
        by = Actor("operator:root", keys)
        with Session(database.engine) as session:
            service.record_act(session, actor=by, action="undone.act")
            session.rollback()
            session.execute(text("SELECT 1"))
            session.rollback()
            service.record_act(session, actor=by, action="done.act")
            session.commit()
            session.commit()
            service.record_act(session, actor=by, action="next.act")
            session.commit()
        assert [record.draft.action for record in records()] == ["done.act", "next.act"]

    def test_very_many_acts_of_one_transaction_are_several_links(
        self, database: Database, keys: AuditKeys, verify: Verify
    ) -> None:
        by = Actor("operator:root", keys)
        with database.write() as session:
            for _ in range(2001):
                service.record_act(session, actor=by, action="a.b")
        assert (verify().is_ok, verify().count) == (True, 2001)

    def test_savepoints_are_released_without_a_record_and_refuse_acts(
        self, database: Database, keys: AuditKeys, records: Records
    ) -> None:
        by = Actor("operator:root", keys)
        with database.write() as session:
            service.record_act(session, actor=by, action="a.b")
            with session.begin_nested():
                with pytest.raises(RuntimeError, match="savepoint"):
                    service.record_act(session, actor=by, action="c.d")
                session.execute(text("SELECT 1"))
        assert [record.draft.action for record in records()] == ["a.b"]

    def test_acts_that_lock_the_same_things_never_wait_for_each_other_in_a_circle(
        self, database: Database, keys: AuditKeys, verify: Verify
    ) -> None:
        by = Actor("operator:root", keys)
        racers, each = 4, 6
        barrier = Barrier(racers)

        def act(number: int) -> None:
            barrier.wait()
            for turn in range(each):
                with database.write() as session:
                    merchant_id = f"M{number}_{turn}"
                    merchants.register_merchant(session, merchant_id, "Name", now=datetime.now(UTC), by=by)
                    merchants.disable_merchant(session, merchant_id, by=by)

        with ThreadPoolExecutor(racers) as pool:
            for done in [pool.submit(act, number) for number in range(racers)]:
                done.result(LONG)
        assert (verify().is_ok, verify().count) == (True, racers * each * 2)


class TestChain:
    def test_an_empty_trail_is_whole(self, verify: Verify) -> None:
        verdict = verify()
        assert verdict == Verdict(0, None, None, 0, 0, (), has_witness=False)
        assert verdict.is_ok

    def test_batches_of_any_size_are_whole(self, append: Append, verify: Verify, records: Records) -> None:
        for size in (1, 3, 4, 31, 33, 300):
            append(size)
        assert (verify().is_ok, verify().count) == (True, 372)
        assert [record.seq for record in records()] == list(range(1, 373))
        assert len({record.hash for record in records()}) == 372

    def test_an_act_that_says_it_was_earlier_makes_no_batch_older_than_its_records(
        self, append: Append, records: Records
    ) -> None:
        append(1, at=(NOON + 5) * 1_000_000)
        assert len(records(since=(NOON + 5) * 1_000_000)) == 1

    def test_a_batch_under_another_key_follows(self, append: Append, verify: Verify) -> None:
        both = derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        append(2)
        append(2, under=both)
        append(2)  # a process that has not yet taken the new one
        append(2, under=both)
        assert (verify(both).is_ok, verify(both).unchecked) == (True, 0)

    def test_batches_of_a_removed_key_are_told_and_the_rest_is_checked(self, append: Append, verify: Verify) -> None:
        both = derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        append(3)
        append(2, under=both)
        verdict = verify(derive_keys("two", {"two": b"2" * 32}))
        assert (verdict.is_ok, verdict.count, verdict.unchecked, verdict.missing_keys) == (True, 5, 3, ("one",))

    def test_without_the_key_of_its_end_nothing_is_called_whole(self, append: Append, verify: Verify) -> None:
        append(3)
        verdict = verify(derive_keys("two", {"two": b"2" * 32}))
        assert (verdict.is_ok, verdict.first_bad) == (False, 3)
        assert "key" in str(verdict.reason)

    def test_processes_and_threads_append_to_one_chain(
        self, database: Database, database_url: str, verify: Verify, records: Records, append: Append
    ) -> None:
        database.close()
        context = multiprocessing.get_context("fork")
        processes = [context.Process(target=append_many, args=(database_url, number)) for number in range(3)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(LONG)
        assert [process.exitcode for process in processes] == [0, 0, 0]
        append(1)
        assert (verify().is_ok, verify().count) == (True, 3 * 20 * 5 + 1)
        seen = [record.draft.actor for record in records()]
        assert len(set(seen)) == 4

    def test_memory_stays_flat_and_many_records_are_checked(self, append: Append, verify: Verify) -> None:
        for _ in range(3):
            append(1200)
        assert (verify().is_ok, verify().count) == (True, 3600)


def append_many(url: str, number: int) -> None:
    database = Database(url)
    keys = derive_keys("one", {"one": bytes(32)})
    for _ in range(20):
        with database.write() as session:
            made = [
                Draft(NOON, f"process {number}", "a.b", None, None, "done", None, None, None, None, None)
                for _ in range(5)
            ]
            service.append(session, made, keys, now=NOON)
    database.close()


COLUMNS = [
    (table, column.name)
    for table in ("audit_records", "audit_batches", "audit_marks")
    for column in Base.metadata.tables[table].columns
]


class TestTampering:
    @pytest.fixture
    def trail(self, append: Append, database: Database, keys: AuditKeys) -> None:
        """Six batches, of which one was pruned."""
        append(2, now=NOON - DAY)
        for _ in range(5):
            append(3, merchant_id="ACME", client_id="acme-x", address="::1", details='{"a":1}', secret_id="s")
        assert prune(database, keys, NOON) == 2

    @pytest.mark.parametrize(("table", "column"), COLUMNS)
    @pytest.mark.usefixtures("trail")
    def test_a_change_of_any_column_is_found(self, database: Database, verify: Verify, table: str, column: str) -> None:
        key = {"audit_records": "seq", "audit_batches": "number", "audit_marks": "name"}[table]
        with database.read() as session:
            rows = session.execute(text(f"SELECT {key}, {column} FROM {table} ORDER BY 1")).all()  # noqa: S608 - names from above
        assert verify().is_ok
        for which, value in rows:
            if isinstance(value, int):
                changed: Any = value + 1000
            elif isinstance(value, bytes):
                changed = bytes([value[0] ^ 1]) + value[1:]
            else:
                changed = "x" if value is None else value + "x"
            where = f"WHERE {key} = :which"
            run(database, f"UPDATE {table} SET {column} = :value {where}", value=changed, which=which)  # noqa: S608 - names from above
            verdict = verify()
            assert not verdict.is_ok, (which, value)
            assert verdict.first_bad is not None
            assert verdict.reason
            now = changed if column == key else which
            run(database, f"UPDATE {table} SET {column} = :value {where}", value=value, which=now)  # noqa: S608 - names from above
            assert verify().is_ok

    @pytest.mark.parametrize(("table", "column"), COLUMNS)
    @pytest.mark.parametrize("value", ["'text'", "CAST(x'ff' AS TEXT)", "x'00ff'", "1.5", "100000000000"])
    @pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
    @pytest.mark.usefixtures("trail")
    def test_on_sqlite_a_value_of_any_kind_is_found_and_stops_no_reader(  # noqa: PLR0917 - fixtures
        self, database: Database, verify: Verify, records: Records, append: Append, table: str, column: str, value: str
    ) -> None:
        if (table, column) in {("audit_records", "seq"), ("audit_batches", "number")} and value != "100000000000":
            pytest.skip("a row's own number can be nothing else")
        last = f"(SELECT max(rowid) FROM {table})"  # noqa: S608 - names from above
        run(database, f"UPDATE {table} SET {column} = {value} WHERE rowid = {last}")  # noqa: S608 - names from above
        assert not verify().is_ok
        assert all(record_out(record) for record in records())
        append(1)
        assert not verify().is_ok

    @pytest.mark.usefixtures("trail")
    def test_changed_details_are_shown_as_unreadable(self, database: Database, records: Records) -> None:
        for broken in ("{", "[]", "[" * 100_000):
            run(database, "UPDATE audit_records SET details = :broken WHERE seq = 5", broken=broken)
            [shown] = [record_out(record) for record in records() if record.seq == 5]
            assert shown["details"] == {"unreadable": True}

    @pytest.mark.usefixtures("trail")
    def test_an_instant_outside_the_calendar_is_shown_as_none(self, database: Database, records: Records) -> None:
        run(database, "UPDATE audit_records SET at = :at WHERE seq = 5", at=2**62)
        assert [record_out(record)["at"] for record in records() if record.seq == 5] == [None]

    @pytest.mark.parametrize(
        ("statements", "first_bad"),
        [
            (["DELETE FROM audit_records WHERE seq = 7"], 7),
            (["DELETE FROM audit_records WHERE seq >= 16"], 16),
            (["DELETE FROM audit_batches WHERE number = 3"], 6),
            (["DELETE FROM audit_batches WHERE number = 3", "DELETE FROM audit_records WHERE seq BETWEEN 6 AND 8"], 6),
            (["DELETE FROM audit_batches WHERE number = 2", "DELETE FROM audit_records WHERE seq <= 5"], 3),
            (["DELETE FROM audit_batches WHERE number = 6", "DELETE FROM audit_records WHERE seq > 14"], 15),
            (["DELETE FROM audit_batches WHERE number = 6"], 15),
            (["DELETE FROM audit_marks WHERE name = 'head'"], 1),
            (["DELETE FROM audit_marks WHERE name = 'anchor'"], 1),
            (["INSERT INTO audit_records (seq, at, actor, action, outcome) VALUES (99, 1, 'x', 'y', 'z')"], 99),
            (["INSERT INTO audit_records (seq, at, actor, action, outcome) VALUES (1, 1, 'x', 'y', 'z')"], 3),
            (
                [
                    "UPDATE audit_records SET seq = 99 WHERE seq = 4", "UPDATE audit_records SET seq = 4 WHERE seq = 5",
                    "UPDATE audit_records SET seq = 5 WHERE seq = 99",
                ],
                3,
            ),
            (
                [
                    "UPDATE audit_batches SET number = 99 WHERE number = 4",
                    "UPDATE audit_batches SET number = 4 WHERE number = 5",
                    "UPDATE audit_batches SET number = 5 WHERE number = 99",
                ],
                9,
            ),
            (["UPDATE audit_batches SET size = 1000000 WHERE number = 4"], 9),
        ],
    )  # fmt: skip
    @pytest.mark.usefixtures("trail")
    def test_what_was_removed_added_or_moved_is_found(
        self, database: Database, verify: Verify, statements: list[str], first_bad: int
    ) -> None:
        for statement in statements:
            run(database, statement)
        assert verify().first_bad == first_bad

    @pytest.mark.usefixtures("trail")
    def test_a_cut_end_is_found_also_after_it_was_written_on(
        self, database: Database, verify: Verify, append: Append
    ) -> None:
        run(database, "DELETE FROM audit_records WHERE seq > 14")
        run(
            database,
            "UPDATE audit_marks SET number = 5, seq = 14, hash = (SELECT hash FROM audit_batches WHERE number = 5) "
            "WHERE name = 'head'",
        )
        run(database, "DELETE FROM audit_batches WHERE number = 6")
        assert verify().first_bad == 15
        append(2)
        append(2)
        verdict = verify()
        assert (verdict.is_ok, verdict.first_bad) == (False, 15)
        assert "cut" in str(verdict.reason)

    @pytest.mark.usefixtures("trail")
    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM audit_marks",
            "UPDATE audit_marks SET number = 3, seq = 8 WHERE name = 'head'",
            "UPDATE audit_marks SET number = 0, seq = 0, key_id = '' WHERE name = 'head'",
            "DELETE FROM audit_batches",
            "UPDATE audit_batches SET size = 1 WHERE number = 6",
            "DELETE FROM audit_records",
        ],
    )
    @pytest.mark.usefixtures("trail")
    def test_whatever_was_done_to_it_acts_are_recorded_and_it_is_found(
        self, database: Database, append: Append, verify: Verify, records: Records, statement: str
    ) -> None:
        run(database, statement)
        append(1, under=derive_keys("two", {"one": bytes(32), "two": b"2" * 32}), action="urgent.act")
        append(1, action="urgent.act")
        assert [record.draft.action for record in records(action="urgent.act")] == ["urgent.act"] * 2
        assert not verify(derive_keys("two", {"one": bytes(32), "two": b"2" * 32})).is_ok

    @pytest.mark.usefixtures("trail")
    def test_a_batch_that_is_passed_off_as_one_of_a_removed_key_is_found(
        self, database: Database, verify: Verify
    ) -> None:
        run(database, "UPDATE audit_batches SET key_id = 'removed' WHERE number = 4")
        run(database, "UPDATE audit_records SET actor = 'operator:nobody' WHERE seq = 10")
        assert not verify().is_ok


class TestWitness:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "audit-head.json"

    def test_it_keeps_how_far_the_chain_went_for_its_owner_alone(
        self, database: Database, append: Append, file: Path, verify: Verify
    ) -> None:
        assert service.read_witness(file) is None
        service.keep_witness(database, file)
        assert not file.exists()  # there is nothing to keep yet
        append(2)
        service.keep_witness(database, file)
        append(2)
        service.keep_witness(database, file)
        service.keep_witness(database, file)
        witness = service.read_witness(file)
        assert witness is not None
        assert witness.number == 2
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        append(1)
        verdict = verify(witness=witness)
        assert (verdict.is_ok, verdict.has_witness) == (True, True)

    def test_an_older_state_of_the_database_is_noticed_and_stays_noticed(
        self, database: Database, append: Append, file: Path, verify: Verify, keys: AuditKeys
    ) -> None:
        append(1)
        with database.read() as session:
            older = session.execute(text("SELECT number, seq, hash, mac FROM audit_marks WHERE name = 'head'")).one()
        append(1)
        append(1)
        service.keep_witness(database, file)
        witness = service.read_witness(file)
        # The older state, put back: consistent in itself, signed and all.
        run(database, "DELETE FROM audit_records WHERE seq > 1")
        run(database, "DELETE FROM audit_batches WHERE number > 1")
        run(
            database,
            "UPDATE audit_marks SET number = :number, seq = :seq, hash = :hash, mac = :mac WHERE name = 'head'",
            **older._mapping,
        )
        assert verify().is_ok
        assert "behind the witness" in str(verify(witness=witness).reason)
        with pytest.raises(TrailTamperedError):
            service.keep_witness(database, file)
        for _ in range(3):
            append(1, actor="other")
        assert "not the one" in str(verify(witness=witness).reason)
        with pytest.raises(TrailTamperedError):
            service.keep_witness(database, file)
        assert service.read_witness(file) == witness
        del keys

    def test_a_witness_of_what_was_pruned_since_is_no_alarm(
        self, database: Database, append: Append, file: Path, verify: Verify, keys: AuditKeys
    ) -> None:
        append(1, now=NOON - DAY)
        service.keep_witness(database, file)
        at_anchor = service.read_witness(file)
        append(1, now=NOON - DAY)
        append(1)
        assert prune(database, keys, NOON) == 2
        assert verify(witness=at_anchor).is_ok
        service.keep_witness(database, file)
        latest = service.read_witness(file)
        assert latest is not None
        assert latest.number == 3
        assert verify(witness=latest).is_ok
        with database.read() as session:
            anchor = session.execute(text("SELECT hash FROM audit_marks WHERE name = 'anchor'")).scalar_one()
        assert verify(witness=Witness(2, anchor.hex())).is_ok
        assert not verify(witness=Witness(2, "00")).is_ok

    @pytest.mark.parametrize("content", ["", "[]", "{}", '{"number": "1", "hash": "x"}', '{"number": 1, "hash": 2}'])
    def test_a_file_of_another_content_is_refused(self, file: Path, content: str) -> None:
        write_private_file(file, content)
        with pytest.raises(UnsafeFileError):
            service.read_witness(file)

    def test_who_keeps_the_folder_locked_is_not_waited_for_for_good(
        self, database: Database, file: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(service, "TURN_ATTEMPTS", 2)
        descriptor = os.open(file.parent, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with pytest.raises(UnavailableError, match="locked"):
            service.keep_witness(database, file)
        os.close(descriptor)

    def test_a_folder_that_is_gone_is_told(self, database: Database, tmp_path: Path) -> None:
        with pytest.raises(UnavailableError, match="cannot be read"):
            service.keep_witness(database, tmp_path / "gone" / "audit-head.json")


class TestPruning:
    def test_what_is_old_goes_and_the_rest_is_still_whole(
        self, database: Database, append: Append, verify: Verify, keys: AuditKeys, records: Records
    ) -> None:
        append(3, now=NOON - 2 * DAY)
        append(2, now=NOON - DAY)
        append(4)
        assert prune(database, keys, NOON - 3 * DAY) == 0
        assert prune(database, keys, NOON) == 5
        assert prune(database, keys, NOON) == 0
        verdict = verify()
        assert (verdict.is_ok, verdict.count, verdict.pruned_through) == (True, 4, 5)
        assert [record.seq for record in records()] == [6, 7, 8, 9]
        append(1)
        assert prune(database, keys, NOON + 1) == 5
        assert (verify().is_ok, verify().count, verify().pruned_through) == (True, 0, 10)
        assert prune(database, keys, NOON + 1) == 0

    def test_it_goes_a_little_at_a_time(
        self, database: Database, append: Append, verify: Verify, keys: AuditKeys
    ) -> None:
        for _ in range(4):
            append(2500, now=NOON - DAY)
        assert [prune(database, keys, NOON) for _ in range(3)] == [5000, 5000, 0]
        assert verify().is_ok

    def test_only_from_the_front(self, database: Database, append: Append, keys: AuditKeys) -> None:
        append(1)
        append(1, now=NOON - DAY)
        assert prune(database, keys, NOON) == 0

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE audit_batches SET at = 1 WHERE number = 2",
            "UPDATE audit_batches SET at = 1, key_id = 'removed' WHERE number = 2",
            "DELETE FROM audit_batches WHERE number = 2",
            "UPDATE audit_marks SET mac = hash WHERE name = 'anchor'",
            "DELETE FROM audit_marks WHERE name = 'anchor'",
            "DELETE FROM audit_records WHERE seq = 2",
        ],
    )
    def test_nobody_gets_recent_records_pruned_or_a_hole_signed(  # noqa: PLR0917 - fixtures
        self, database: Database, append: Append, verify: Verify, keys: AuditKeys, records: Records, statement: str
    ) -> None:
        append(1, now=NOON - 3 * DAY)
        assert prune(database, keys, NOON - 2 * DAY) == 1
        append(1)
        append(1, now=NOON - DAY)
        append(1)
        run(database, statement)
        left = len(records())
        with pytest.raises(TrailTamperedError):
            prune(database, keys, NOON - 2 * DAY if statement.endswith("SET at = 1 WHERE number = 2") else NOON + 1)
        assert len(records()) == left
        assert not verify().is_ok

    def test_batches_of_a_removed_key_go_when_a_later_one_vouches_for_them(
        self, database: Database, append: Append, verify: Verify
    ) -> None:
        both = derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        only = derive_keys("two", {"two": b"2" * 32})
        append(1, now=NOON - 3 * DAY)
        append(1, now=NOON - 3 * DAY)
        assert prune(database, only, NOON) == 0  # nothing that could be checked tells how old they are
        append(1, now=NOON - DAY, under=both)
        assert prune(database, only, NOON - 2 * DAY) == 0
        assert prune(database, only, NOON) == 3
        append(1, under=both)
        assert (verify(only).is_ok, verify(only).pruned_through) == (True, 3)

    def test_a_hole_among_batches_of_a_removed_key_is_not_signed(self, database: Database, append: Append) -> None:
        both = derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        append(1, now=NOON - DAY)
        append(1, now=NOON - DAY)
        append(1, now=NOON - DAY, under=both)
        run(database, "DELETE FROM audit_batches WHERE number = 2")
        with pytest.raises(TrailTamperedError):
            prune(database, derive_keys("two", {"two": b"2" * 32}), NOON)

    def test_the_anchor_is_signed_again_under_a_new_key(
        self, database: Database, append: Append, verify: Verify
    ) -> None:
        one, both = derive_keys("one", {"one": bytes(32)}), derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        append(1, now=NOON - DAY)
        append(1, under=both)
        assert prune(database, one, NOON) == 1
        only = derive_keys("two", {"two": b"2" * 32})
        assert "beginning" in str(verify(only).reason)
        assert prune(database, both, NOON) == 0
        verdict = verify(only)
        assert (verdict.is_ok, verdict.missing_keys, verdict.unchecked) == (True, (), 0)

    def test_a_forged_anchor_is_not_made_good_by_a_new_key(
        self, database: Database, append: Append, verify: Verify, keys: AuditKeys
    ) -> None:
        append(1, now=NOON - DAY)
        append(1)
        assert prune(database, keys, NOON) == 1
        append(1, under=derive_keys("three", {"one": bytes(32), "three": b"3" * 32}))
        assert verify(derive_keys("three", {"three": b"3" * 32})).is_ok
        run(database, "UPDATE audit_marks SET mac = hash WHERE name = 'anchor'")
        both = derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        append(1, under=both)
        assert not verify(both).is_ok


class TestReading:
    @pytest.fixture(autouse=True)
    def _trail(self, append: Append) -> None:
        issued = {"action": rules.ISSUE_TOKEN, "outcome": rules.ISSUED}
        append(2, now=NOON)
        append(3, now=NOON + 10, client_id="acme-x", **issued)
        append(
            1, now=NOON + 20, client_id="acme-x", action=rules.ISSUE_TOKEN, outcome="invalid_client", merchant_id=None
        )
        append(2, now=NOON + 30, client_id="other-x", merchant_id="OTHER", **issued)

    @pytest.mark.parametrize(
        ("chosen", "seqs"),
        [
            ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
            ({"since": (NOON + 10) * 1_000_000}, [3, 4, 5, 6, 7, 8]),
            ({"since": (NOON + 10) * 1_000_000 + 1}, [6, 7, 8]),
            ({"since": (NOON + 99) * 1_000_000}, []),
            ({"merchant_id": "OTHER"}, [7, 8]),
            ({"client_id": "acme-x"}, [3, 4, 5, 6]),
            ({"action": "merchants.register"}, [1, 2]),
            ({"action": rules.ISSUE_TOKEN}, [3, 4, 5, 6, 7, 8]),
            ({"outcome": "invalid_client"}, [6]),
            ({"outcome": rules.ISSUED, "merchant_id": "ACME"}, [3, 4, 5]),
            ({"client_id": "' OR 1=1 --"}, []),
            ({"limit": 3}, [6, 7, 8]),
            ({"limit": 99}, [1, 2, 3, 4, 5, 6, 7, 8]),
            ({"limit": 2, "client_id": "acme-x"}, [5, 6]),
        ],
    )
    def test_the_newest_of_the_chosen_come_last(
        self, records: Records, chosen: dict[str, Any], seqs: list[int]
    ) -> None:
        assert [record.seq for record in records(**chosen)] == seqs

    def test_a_records_hash_follows_from_its_batch(self, records: Records, database: Database) -> None:
        with database.read() as session:
            [kept] = session.execute(text("SELECT hash FROM audit_batches WHERE number = 2")).scalars()
        for record in records()[2:5]:
            assert record.hash == rules.record_hash(kept, (record.seq, *record.draft))


class TestChoosing:
    def test_records_are_chosen_by_request_by_what_they_are_and_by_place(self, append: Any, records: Any) -> None:
        append(3)
        append(2, action="token.issue", outcome="issued", client_id="acme-abcdefghijklm")
        append(1, action="token.issue", outcome="invalid_client", client_id="acme-abcdefghijklm")
        numbers = [
            [each.seq for each in records(**chosen)]
            for chosen in (
                {"request_id": "1"}, {"request_id": "1", "but_issued": True}, {"but_issued": True}, {"acts_only": True},
                {"before": 3}, {"client_id": "acme-abcdefghijklm", "but_issued": True},
            )
        ]  # fmt: skip
        assert numbers == [[2, 5], [2], [1, 2, 3, 6], [1, 2, 3], [1, 2], [6]]
        assert [each.seq for each in records(1, before=3)] == [2]

    def test_refusals_are_found_without_looking_at_issued_tokens(self, database: Database) -> None:
        if not database.is_sqlite:
            pytest.skip("a planner with statistics of its own")
        with database.read() as session:
            connection = session.connection()
            plans = [
                str(
                    connection.execute(
                        text(
                            f"EXPLAIN QUERY PLAN SELECT seq FROM audit_records WHERE {column} = 'x' "  # noqa: S608 - ours
                            "AND outcome <> 'issued' ORDER BY seq DESC LIMIT 9"
                        )
                    ).all()
                )
                for column in ("client_id", "merchant_id", "request_id")
            ]
        assert "ix_audit_records_client_id_but_issued" in plans[0]
        assert "ix_audit_records_merchant_id_but_issued" in plans[1]
        assert "ix_audit_records_request_id" in plans[2]


def test_a_file_was_changed_and_the_trail_cannot_be_told_so_the_log_is(tmp_path: Path, keys: AuditKeys) -> None:
    file = tmp_path / "ecross.db"
    with contextlib.closing(Database(f"sqlite:///{file}")) as made:
        migrations.upgrade(made)
    impatient = Database(f"sqlite:///{file}", busy_seconds=0.1)
    actor = Actor("operator:jane", keys)
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other, capture_logs() as lines:
        with service.recording_file_change(impatient, actor, "keys.rotate") as begin:
            begin(keyId="one")
            other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    assert [(line["event"], line["action"]) for line in lines] == [("act_recorded_as_begun_only", "keys.rotate")]
    with impatient.read() as session:
        assert [it.draft.outcome for it in service.list_records(session, service.RecordFilter())] == ["begun"]
    impatient.close()
