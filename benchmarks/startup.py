"""From starting the command to its first good answer.

The clock starts before the process does and stops when the answer has been read. An empty folder makes the first start:
database, migration, signing key and pepper. `POST /token` there needs a merchant, so `--demo` registers one on the way.
Earlier starts that are not counted have filled the caches of the operating system and of Python.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.calls import LIVE, Call, answer, token_call
from benchmarks.figures import Spread
from benchmarks.servers import copy_of, demo_credentials, serving


@dataclass(frozen=True, slots=True)
class StartUp:
    """How long starts took, in seconds."""

    folder: str
    first_answer: str
    seconds: Spread


def measure_startup(demo_dir: Path, runs: int) -> list[StartUp]:
    """Start the command again and again, on empty folders and on one that is there."""
    existing = copy_of(demo_dir, "existing")
    rows = []
    for is_empty, is_token in itertools.product((True, False), (False, True)):
        has_to_register = is_empty and is_token
        seconds = []
        for number in range(runs):
            data_dir = demo_dir.with_name(f"empty-{is_token}-{number}") if is_empty else existing
            call = _token_of(data_dir) if is_token else _live
            seconds.append(_seconds_to_answer(data_dir, call, demo=has_to_register))
        name = "empty, --demo" if has_to_register else "empty" if is_empty else "existing"
        rows.append(StartUp(name, "POST /token" if is_token else LIVE.name, Spread.of(seconds)))
    return rows


def _seconds_to_answer(data_dir: Path, call: Callable[[], Call], *, demo: bool) -> float:
    with serving(data_dir, demo=demo) as server:
        answer(server, call())
        return time.perf_counter() - server.started_at


def _live() -> Call:
    return LIVE


def _token_of(data_dir: Path) -> Callable[[], Call]:
    # Only known once the server has made them.
    return lambda: token_call(demo_credentials(data_dir))
