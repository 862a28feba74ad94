"""What the audit trail costs: telling the recorder, the recorder's own thread, and checking the chain.

The recorder is measured alone, and beside a thread that is never at rest and tells it of so many tokens a second: as a
busy event loop does, it gives the interpreter away only when it must.
"""

from __future__ import annotations

import contextlib
import gc
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.servers import new_postgresql
from ecross_server import migrations
from ecross_server.audit.rules import ISSUED, derive_keys
from ecross_server.audit.service import verify
from ecross_server.audit.tasks import AuditRecorder, TokenEvent
from ecross_server.kit.database import Database

EVENTS_PER_SECOND: Final = 50_000
TOLD_AT_ONCE: Final = 50
LONGEST_STOP_SECONDS: Final = 60
KEYS: Final = derive_keys("bench", {"bench": bytes(32)})


@dataclass(frozen=True, slots=True)
class RecorderRun:
    """What one database allows. `lag_seconds` is how long the recorder went on after the last event was told."""

    database: str
    events: int
    tell_us: float
    cpu_us: float
    alone_per_second: float
    lag_seconds: float
    lost: int
    bytes_each: float
    verified_per_second: float


class _Timed(AuditRecorder):
    cpu_seconds = 0.0

    def _run(self) -> None:
        super()._run()
        self.cpu_seconds = time.thread_time()


def measure_recorder(folder: Path, events: int) -> list[RecorderRun]:
    """SQLite, and PostgreSQL if there is one."""
    runs = [_measure("SQLite", f"sqlite:///{folder / 'audit.db'}", events)]
    with contextlib.suppress(SQLAlchemyError), new_postgresql() as url:
        runs.append(_measure("PostgreSQL", url, events))
    return runs


def _measure(name: str, url: str, events: int) -> RecorderRun:
    with contextlib.closing(Database(url)) as database:
        migrations.upgrade(database)
        made = [_event() for _ in range(events)]
        gc.collect()
        gc.freeze()  # a server has no such list of events, which would be looked through again and again
        tell_seconds, cpu_seconds, seconds = _alone(database, made)
        lag, lost = _under_load(database, made)
        gc.unfreeze()
        began = time.perf_counter()
        with database.read() as session:
            verdict = verify(session, KEYS)
            size = session.execute(text(SIZE[database.is_sqlite])).scalar_one()
        if not verdict.is_ok:
            raise RuntimeError(verdict.reason)
        return RecorderRun(
            name,
            events,
            tell_seconds / events * 1e6,
            cpu_seconds / events * 1e6,
            events / seconds,
            lag,
            lost,
            size / verdict.count,
            verdict.count / (time.perf_counter() - began),
        )


SIZE: Final = {
    True: "SELECT page_count * page_size FROM pragma_page_count, pragma_page_size",
    False: "SELECT pg_total_relation_size('audit_records') + pg_total_relation_size('audit_batches')",
}


def _alone(database: Database, events: list[TokenEvent]) -> tuple[float, float, float]:
    recorder = _Timed(database, keys=KEYS)
    began = time.perf_counter()
    for event in events:
        recorder.record(event)
    told = time.perf_counter()
    recorder.start()
    recorder.stop(LONGEST_STOP_SECONDS)
    return told - began, recorder.cpu_seconds, time.perf_counter() - told


def _under_load(database: Database, events: list[TokenEvent]) -> tuple[float, int]:
    recorder = AuditRecorder(database, keys=KEYS)
    recorder.start()
    began = time.perf_counter()
    for start in range(0, len(events), TOLD_AT_ONCE):
        for event in events[start : start + TOLD_AT_ONCE]:
            recorder.record(event)
        while time.perf_counter() < began + (start + TOLD_AT_ONCE) / EVENTS_PER_SECOND:
            pass  # busy, as a saturated event loop is
    told = time.perf_counter()
    recorder.stop(LONGEST_STOP_SECONDS)
    return time.perf_counter() - told, recorder.lost


def _event() -> TokenEvent:
    return TokenEvent(
        time.time(), ISSUED, "acme-abcdefghijklm", "ACME", "203.0.113.7", uuid.uuid4().hex, "sec_abcdefghijklm",
        uuid.uuid4().hex, None,
    )  # fmt: skip
