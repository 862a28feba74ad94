"""How long a single write to SQLite takes beside processes that write without a pause, with turns and without.

`python -m benchmarks.writers URL` is such a process: it writes until its standard input ends, then prints how often.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import text

from benchmarks.processes import ProcessFailedError
from ecross_server.kit.database import Database

BESIDE: Final = (0, 1, 3)
PAUSE_SECONDS: Final = 0.005
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class WriterRun:
    """What single writes took, and how many the others did in that time."""

    has_turns: bool
    others: int
    writes: int
    p50_ms: float
    p99_ms: float
    longest_ms: float
    others_per_second: float


def measure_writers(folder: Path, seconds: float) -> list[WriterRun]:
    """Beside so many others, with turns and without in turn."""
    return [
        _measure(folder / f"{others}-{has_turns}.db", others, seconds, has_turns=has_turns)
        for others in BESIDE
        for has_turns in (False, True)
    ]


def _measure(path: Path, others: int, seconds: float, *, has_turns: bool) -> WriterRun:
    if not has_turns:
        for kind in ("turn", "next"):
            path.with_name(f".{path.name}.{kind}.lock").mkdir()  # which cannot be locked
    with contextlib.closing(Database(f"sqlite:///{path}")) as database:
        database.switch_to_wal()
        with database.write() as session:
            session.execute(text("CREATE TABLE written (id INTEGER PRIMARY KEY, content TEXT)"))
        with _writing(database, others) as processes:
            took = sorted(_write_for(database, seconds))
            written = sum(_end(process) for process in processes)
    return WriterRun(
        has_turns,
        others,
        len(took),
        took[len(took) // 2] * 1e3,
        took[len(took) * 99 // 100] * 1e3,
        took[-1] * 1e3,
        written / seconds,
    )


@contextlib.contextmanager
def _writing(database: Database, others: int) -> Iterator[list[subprocess.Popen[str]]]:
    command = [sys.executable, "-m", "benchmarks.writers", str(database.engine.url)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(others)
    ]
    try:
        for process in processes:
            if process.stdout is None or not process.stdout.readline():
                raise ProcessFailedError("A process that was to write ended instead.")
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def _write_for(database: Database, seconds: float) -> Iterator[float]:
    deadline = time.perf_counter() + seconds
    while (began := time.perf_counter()) < deadline:
        _write(database)
        yield time.perf_counter() - began
        time.sleep(PAUSE_SECONDS)


def _write(database: Database) -> None:
    with database.write() as session:
        session.execute(text("INSERT INTO written (content) VALUES ('something')"))


def _end(process: subprocess.Popen[str]) -> int:
    told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return int(told)


def _write_until_told(url: str) -> None:
    listening = threading.Thread(target=sys.stdin.read, daemon=True)
    written = 0
    with contextlib.closing(Database(url)) as database:
        _write(database)
        print("writing", flush=True)
        listening.start()
        while listening.is_alive():
            _write(database)
            written += 1
    print(written)


if __name__ == "__main__":
    _write_until_told(sys.argv[1])
