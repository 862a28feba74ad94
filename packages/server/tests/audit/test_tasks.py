from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from ecross_server.audit import rules, service, tasks
from ecross_server.audit.rules import AuditKeys, derive_keys
from ecross_server.audit.schemas import record_out
from ecross_server.audit.service import Record, Verdict
from ecross_server.audit.tasks import AuditRecorder, TokenEvent
from ecross_server.kit.database import Database, DatabaseAwayError

pytestmark = pytest.mark.measured

NOON = 1_764_072_000
MINUTE = 60
SECRET = "ecs_" + "a1B2" * 12 + "x"
LONG = 20.0

Make = Callable[..., AuditRecorder]
Event = Callable[..., TokenEvent]
Records = Callable[..., list[Record]]
WaitFor = Callable[..., None]


class Clock:
    def __init__(self) -> None:
        self.now = float(NOON)

    def __call__(self) -> float:
        return self.now


def shown(records: list[Record]) -> list[dict[str, Any]]:
    return [record_out(record) for record in records]


def counts(records: list[Record]) -> Counter[str]:
    """How many events of each outcome the records tell of."""
    found: Counter[str] = Counter()
    for out in shown(records):
        if out["action"] == rules.ISSUE_TOKEN:
            found[out["outcome"]] += out["count"]
    return found


class TestWriting:
    def test_an_issued_token_is_one_record(self, recorder: Make, event: Event, records: Records) -> None:
        made = recorder()
        made.start()
        issued = event()
        made.record(issued)
        made.stop()
        [out] = shown(records())
        assert {name: value for name, value in out.items() if name != "hash"} == {
            "seq": 1, "at": "2025-11-25T12:00:00.000Z", "actor": issued.client_id, "action": "token.issue",
            "merchantId": "ACME", "clientId": issued.client_id, "outcome": "issued", "address": "203.0.113.7",
            "requestId": issued.request_id, "tokenId": issued.token_id, "secretId": "sec_abcdefghijklm",
            "secretFingerprint": None, "count": 1, "details": None,
        }  # fmt: skip
        assert (made.written, made.lost, made.backlog, made.is_alive) == (1, 0, 0, False)

    def test_a_failure_is_told_with_a_fingerprint_of_what_was_presented_and_never_more(
        self, recorder: Make, event: Event, records: Records, keys: AuditKeys, database: Database
    ) -> None:
        made = recorder()
        made.start()
        made.record(event("invalid_client", evidence=b"digest of a secret"))
        made.record(event("rate_limited", client_id=None, evidence=None))
        made.stop()
        first, second = shown(records())
        assert (first["actor"], first["outcome"]) == ("acme-abcdefghijklm", "invalid_client")
        assert first["secretFingerprint"] == rules.fingerprint(keys, b"digest of a secret")
        assert (second["actor"], second["clientId"], second["secretFingerprint"]) == ("anonymous", None, None)
        with database.read() as session:
            everything = repr(session.execute(text("SELECT * FROM audit_records")).all())
        assert "digest of" not in everything
        assert b"digest of a secret".hex() not in everything

    def test_what_waits_is_written_within_a_second(
        self, recorder: Make, event: Event, records: Records, wait_for: WaitFor
    ) -> None:
        made = recorder()
        made.start()
        assert made.is_alive
        made.record(event())
        began = time.monotonic()
        wait_for(lambda: made.written == 1)
        assert time.monotonic() - began < 5  # half a second, and room for a busy machine
        assert len(records()) == 1

    def test_a_stop_loses_nothing(
        self, recorder: Make, event: Event, records: Records, verify: Callable[..., Verdict]
    ) -> None:
        made = recorder()
        made.start()
        sent: Counter[str] = Counter()
        for number in range(2 * tasks.FULL_BATCH + 37):
            outcome = rules.ISSUED if number % 3 else "invalid_client"
            sent[outcome] += 1
            made.record(event(outcome, address=f"10.0.0.{number % 5}"))
        made.stop()
        assert counts(records()) == sent
        assert (made.written, made.lost, made.backlog) == (sent.total(), 0, 0)
        assert verify().is_ok

    def test_several_threads_may_tell_at_once(self, recorder: Make, event: Event, records: Records) -> None:
        made = recorder()
        made.start()

        def tell() -> None:
            for _ in range(500):
                made.record(event())

        threads = [threading.Thread(target=tell) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        made.stop()
        assert counts(records()) == {"issued": 2000}

    def test_it_can_be_started_again_and_stopped_without_a_start(
        self, recorder: Make, event: Event, records: Records
    ) -> None:
        made = recorder()
        made.stop()
        for _ in range(2):
            made.start()
            made.record(event())
            made.stop()
        assert len(records()) == 2

    def test_new_keys_are_taken_while_it_runs(
        self, recorder: Make, event: Event, verify: Callable[..., Verdict], wait_for: WaitFor
    ) -> None:
        both = derive_keys("two", {"one": bytes(32), "two": b"2" * 32})
        made = recorder()
        made.start()
        made.record(event())
        wait_for(lambda: made.written == 1)
        made.keys = both
        made.record(event())
        made.stop()
        verdict = verify(derive_keys("two", {"two": b"2" * 32}))
        assert (verdict.is_ok, verdict.unchecked, verdict.count) == (True, 1, 2)

    def test_nothing_that_is_told_can_inject_or_tell_a_secret(
        self, recorder: Make, event: Event, records: Records, verify: Callable[..., Verdict]
    ) -> None:
        nasty = 'a\n{"seq":1}\r\x1b[2J\0\ud800","=1+1;' + SECRET
        made = recorder()
        made.start()
        for outcome in (rules.ISSUED, "invalid_client"):
            made.record(
                event(
                    outcome, client_id=nasty, merchant_id=nasty, address=nasty, request_id=nasty, secret_id=nasty,
                    token_id=nasty,
                )
            )  # fmt: skip
        made.stop()
        assert made.lost == 0
        for out in shown(records()):
            line = json.dumps(out, ensure_ascii=False)
            assert line.isprintable()
            assert SECRET not in line
        assert verify().is_ok


class TestFloods:
    def test_the_first_failure_of_a_kind_is_told_at_once_and_the_rest_at_the_minutes_end(
        self, recorder: Make, event: Event, records: Records, wait_for: WaitFor
    ) -> None:
        clock = Clock()
        made = recorder(clock=clock)
        made.start()
        for _ in range(500):
            made.record(event("invalid_client"))
        wait_for(lambda: made.written == 500)
        assert [out["count"] for out in shown(records())] == [1]
        clock.now += MINUTE
        wait_for(lambda: len(records()) == 2)
        first, rest = shown(records())
        assert (first["count"], first["requestId"] is None) == (1, False)
        assert (rest["count"], rest["requestId"], rest["details"], rest["address"]) == (499, None, None, "203.0.113.7")

    def test_a_new_minute_begins_with_its_own_first(self, recorder: Make, event: Event, records: Records) -> None:
        made = recorder()
        made.start()
        for at in (NOON, NOON + 1, NOON + 61, NOON + 59, NOON + 62):
            made.record(event("invalid_client", at=float(at)))
        made.stop()
        outs = shown(records())
        assert [out["count"] for out in outs] == [1, 1, 1, 2]  # the one that came late is in the last sum

    @pytest.mark.parametrize("jump", [-86_400, 86_400])
    def test_a_clock_that_is_set_loses_nothing(self, recorder: Make, event: Event, records: Records, jump: int) -> None:
        made = recorder()
        made.start()
        for at in (NOON, NOON, NOON + jump, NOON + jump):
            made.record(event("invalid_client", at=float(at)))
        made.stop()
        assert [out["count"] for out in shown(records())] == [1, 1, 1, 1]

    def test_a_million_addresses_and_ids_fill_neither_memory_nor_disk(
        self, recorder: Make, event: Event, records: Records
    ) -> None:
        made = recorder()
        made.start()
        some = event("invalid_client")
        kinds = 20_000
        for number in range(kinds):
            made.record(some._replace(address=f"2001:db8::{number:x}", client_id=f"c-{number}"))
            made.record(some._replace(address=f"2001:db8::{number:x}", outcome="rate_limited"))
        made.stop()
        outs = shown(records())
        assert len(outs) == tasks.MOST_SUMS + 2
        others = [out for out in outs if out["address"] is None]
        assert {out["outcome"]: out["details"] for out in others} == {
            "invalid_client": {"of": "other clients and addresses"},
            "rate_limited": {"of": "other clients and addresses"},
        }
        assert counts(records()) == {"invalid_client": kinds, "rate_limited": kinds}

    def test_beyond_its_room_events_are_counted_and_the_loss_is_itself_recorded(
        self, recorder: Make, event: Event, records: Records, monkeypatch: pytest.MonkeyPatch, wait_for: WaitFor
    ) -> None:
        monkeypatch.setattr(tasks, "MOST_WAITING", 3)
        made = recorder()
        for _ in range(5):
            made.record(event())
        made.record(event("rate_limited"))
        assert (made.backlog, made.lost, made.lost_by_outcome) == (3, 3, {"issued": 2, "rate_limited": 1})
        made.start()
        wait_for(lambda: made.written == 3)
        made.record(event())
        made.stop()
        losses = [out for out in shown(records()) if out["action"] == "audit.loss"]
        assert [(out["actor"], out["outcome"], out["details"]) for out in losses] == [
            ("system:recorder", "lost", {"issued": 2, "rate_limited": 1})
        ]
        assert counts(records()) == {"issued": 4}

    def test_a_loss_elsewhere_is_recorded_here_and_counted_there(
        self, recorder: Make, event: Event, records: Records
    ) -> None:
        made = recorder()
        made.tell_loss({"issued": 2})
        made.tell_loss({"issued": 1, "malformed": 1})
        assert made.untold == {"issued": 3, "malformed": 1}
        made.start()
        made.record(event())
        made.stop()
        [loss] = [out for out in shown(records()) if out["action"] == "audit.loss"]
        assert (loss["details"], made.lost, made.untold) == ({"issued": 3, "malformed": 1}, 0, {})

    def test_what_is_written_is_told_at_once(self, recorder: Make, event: Event, records: Records) -> None:
        made = recorder()
        told = []
        made.after_writing = lambda: told.append((made.backlog, made.untold, made.written, len(records())))
        made.tell_loss({"issued": 2})
        made.record(event())
        made.start()
        made.stop()
        assert told[-1] == (0, {}, 1, 2)


class TestFaults:
    def break_and_mend(self, database: Database) -> tuple[Callable[[], None], Callable[[], None]]:
        def break_() -> None:
            with database.write() as session:
                session.execute(text("ALTER TABLE audit_batches RENAME TO mislaid"))

        def mend() -> None:
            with database.write() as session:
                session.execute(text("ALTER TABLE mislaid RENAME TO audit_batches"))

        return break_, mend

    def test_what_cannot_be_written_is_kept_and_told_of_once(
        self, recorder: Make, event: Event, records: Records, database: Database, wait_for: WaitFor
    ) -> None:
        break_, mend = self.break_and_mend(database)
        break_()
        made = recorder()
        try:
            with capture_logs() as logs:
                made.start()
                made.record(event())
                wait_for(lambda: any(entry["event"] == "audit_failed" for entry in logs))
                time.sleep(1.2)
                made.record(event())
                assert made.is_alive
                assert (made.written, made.backlog) == (0, 2)
        finally:
            mend()
        with capture_logs() as later:
            wait_for(lambda: made.written == 2)
            made.stop()
        assert [entry["part"] for entry in logs if entry["event"] == "audit_failed"].count("write") == 1
        assert [entry["part"] for entry in later if entry["event"] == "audit_recovered"] == ["write"]
        assert counts(records()) == {"issued": 2}
        assert made.lost == 0

    def test_a_stop_without_a_database_counts_and_tells_what_is_lost(
        self, recorder: Make, event: Event, database: Database, wait_for: WaitFor
    ) -> None:
        break_, mend = self.break_and_mend(database)
        break_()
        made = recorder()
        try:
            with capture_logs() as logs:
                made.lost_by_outcome["issued"] = 1
                made.start()
                for _ in range(3):
                    made.record(event("invalid_client"))
                made.record(event())
                wait_for(lambda: any(entry["event"] == "audit_failed" for entry in logs))
                made.record(event())
                made.stop(0.3)
        finally:
            mend()
        assert made.lost_by_outcome == {"invalid_client": 3, "issued": 3}
        [told] = [entry for entry in logs if entry["event"] == "audit_events_lost"]
        assert (told["count"], told["outcomes"]) == (5, {"invalid_client": 3, "issued": 2})

    @pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
    def test_a_locked_database_holds_it_up_and_loses_nothing(  # noqa: PLR0917 - fixtures
        self, tmp_path: Path, database: Database, keys: AuditKeys, event: Event, records: Records, wait_for: WaitFor
    ) -> None:
        impatient = Database(str(database.engine.url), busy_seconds=0.1)
        made = AuditRecorder(impatient, keys=keys)
        with closing(sqlite3.connect(tmp_path / "data" / "ecross.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with capture_logs() as logs:
                made.start()
                made.record(event())
                wait_for(lambda: any(entry["event"] == "audit_failed" for entry in logs))
            other.execute("ROLLBACK")
        made.stop()
        impatient.close()
        assert [entry["reason"] for entry in logs if entry["event"] == "audit_failed"] == [
            "The database does not answer. Try again shortly."
        ]
        assert counts(records()) == {"issued": 1}

    def test_a_subscribers_fault_costs_no_record(
        self, recorder: Make, event: Event, records: Records, wait_for: WaitFor
    ) -> None:
        def fail(*_: object) -> None:
            raise ZeroDivisionError

        made = recorder(subscribers=[fail])
        with capture_logs() as logs:
            made.start()
            for number in range(3):
                made.record(event())
                wait_for(lambda number=number: made.written == number + 1)
            made.stop()
        assert counts(records()) == {"issued": 3}
        assert [entry["part"] for entry in logs if entry["event"] == "audit_failed"] == ["batch"]

    def test_a_subscriber_is_told_each_issued_token_and_no_failure(
        self, recorder: Make, event: Event, database: Database
    ) -> None:
        told: list[TokenEvent] = []
        made = recorder(subscribers=[lambda _session, events: told.extend(events)])
        made.start()
        issued = [event(), event()]
        for each in (issued[0], event("invalid_client"), issued[1]):
            made.record(each)
        made.stop()
        assert told == issued
        del database

    def test_a_subscriber_that_finds_the_database_away_is_told_again(
        self, recorder: Make, event: Event, records: Records
    ) -> None:
        told: list[int] = []

        def find_it_away_once(_session: object, events: object) -> None:
            told.append(1)
            if len(told) == 1:
                raise DatabaseAwayError
            del events

        made = recorder(subscribers=[find_it_away_once])
        made.start()
        made.record(event())
        made.stop()
        assert len(told) == 2
        assert counts(records()) == {"issued": 1}

    @pytest.mark.parametrize(
        "fields",
        [{"at": "now"}, {"at": float("nan")}, {"at": float("inf")}, {"at": 1e300}, {"address": b"x"}],
    )
    @pytest.mark.parametrize("outcome", ["issued", "invalid_client"])
    def test_an_event_that_is_none_is_counted_and_stops_no_other(
        self, recorder: Make, event: Event, records: Records, outcome: str, fields: dict[str, Any]
    ) -> None:
        made = recorder()
        made.start()
        made.record(event())
        made.record(event(outcome, **fields))
        made.record(event())
        with capture_logs():
            made.stop()
        assert (made.lost_by_outcome, made.backlog) == ({"malformed": 1}, 0)
        assert counts(records())["issued"] == 2

    def test_where_all_of_a_batch_is_none_nothing_is_written(
        self, recorder: Make, event: Event, records: Records
    ) -> None:
        made = recorder()
        made.start()
        made.record(event(address=b"x"))
        with capture_logs():
            made.stop()
        assert (records(), made.lost) == ([], 1)

    def test_a_log_that_cannot_be_written_ends_nothing(  # noqa: PLR0917 - fixtures
        self, recorder: Make, event: Event, records: Records, database: Database, monkeypatch: pytest.MonkeyPatch,
        wait_for: WaitFor,
    ) -> None:  # fmt: skip
        class Broken:
            said = 0

            def error(self, *_: object, **__: object) -> None:
                self.said += 1
                raise OSError

            info = error

        broken = Broken()
        monkeypatch.setattr(tasks, "log", broken)
        break_, mend = self.break_and_mend(database)
        break_()
        made = recorder()
        made.start()
        made.record(event())
        try:
            wait_for(lambda: broken.said >= 2)  # of the batch, and of the attempt
        finally:
            mend()
        wait_for(lambda: made.written == 1)
        made.stop()
        assert broken.said >= 3
        assert counts(records()) == {"issued": 1}


def tell_and_wait_to_be_killed(url: str, ready: Any) -> None:
    database = Database(url)
    made = AuditRecorder(database, keys=derive_keys("one", {"one": bytes(32)}))
    made.start()
    number = 0
    while True:
        made.record(TokenEvent(time.time(), "issued", "acme-x", "ACME", "::1", str(number), "sec_1", str(number), None))
        number += 1
        ready.value = number
        time.sleep(0.001)


@pytest.mark.parametrize("after_seconds", [0.3, 0.8, 1.7])
def test_a_crash_loses_the_last_second_at_most_and_leaves_a_whole_chain(
    database: Database, database_url: str, verify: Callable[..., Verdict], records: Records, after_seconds: float
) -> None:
    database.close()
    context = multiprocessing.get_context("fork")
    told = context.Value("q", 0)
    process = context.Process(target=tell_and_wait_to_be_killed, args=(database_url, told))
    process.start()
    while not told.value:
        time.sleep(0.01)
    time.sleep(after_seconds)
    killed_at = time.time()
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join(LONG)
    assert verify().is_ok
    found = records()
    assert [record.draft.request_id for record in found] == [str(number) for number in range(len(found))]
    last = max((record.draft.at / 1_000_000 for record in found), default=killed_at - after_seconds)
    assert killed_at - last < 3  # a second, and room for a busy machine


class TestUpkeep:
    def test_the_witness_is_kept_up_to_date(
        self, recorder: Make, event: Event, tmp_path: Path, wait_for: WaitFor
    ) -> None:
        file = tmp_path / "audit-head.json"
        made = recorder(witness_file=file)
        made.start()
        made.record(event())
        wait_for(file.exists)
        made.record(event())
        made.stop()
        witness = service.read_witness(file)
        assert witness is not None
        assert witness.number == 2

    def test_the_witness_follows_what_others_record(
        self, recorder: Make, append: Callable[..., None], tmp_path: Path, wait_for: WaitFor
    ) -> None:
        file = tmp_path / "audit-head.json"
        made = recorder(witness_file=file)
        made.start()
        append()
        wait_for(file.exists)
        append()
        wait_for(lambda: '"number": 2' in file.read_text())
        made.stop()

    def test_a_witness_that_disagrees_is_told_of_once_and_kept(
        self, recorder: Make, event: Event, tmp_path: Path, wait_for: WaitFor
    ) -> None:
        file = tmp_path / "audit-head.json"
        file.touch(0o600)
        file.write_text('{"number": 99, "hash": "00"}')
        made = recorder(witness_file=file)
        with capture_logs() as logs:
            made.start()
            made.record(event())
            wait_for(lambda: any(entry["event"] == "audit_failed" for entry in logs))
            made.record(event())
            wait_for(lambda: made.written == 2)
            time.sleep(1.2)
            made.stop()
        failures = [entry for entry in logs if entry["event"] == "audit_failed"]
        assert [entry["part"] for entry in failures] == ["witness"]
        assert "audit verify" in failures[0]["reason"]
        assert '"number": 99' in file.read_text()

    def test_old_records_are_pruned_as_the_retention_says(  # noqa: PLR0917 - fixtures
        self, recorder: Make, event: Event, append: Callable[..., None], records: Records, wait_for: WaitFor,
        verify: Callable[..., Verdict],
    ) -> None:  # fmt: skip
        for _ in range(3):
            append(2500, now=NOON - 9 * 86_400)
        append(1)
        made = recorder(retention_days=8)
        made.start()
        made.record(event())
        wait_for(lambda: len(records()) == 2)
        made.stop()
        assert (verify().is_ok, verify().pruned_through) == (True, 7500)

    def test_without_a_retention_all_is_kept(
        self, recorder: Make, event: Event, append: Callable[..., None], records: Records
    ) -> None:
        append(1, now=1)
        made = recorder(retention_days=0)
        made.start()
        made.record(event())
        made.stop()
        assert len(records()) == 2
