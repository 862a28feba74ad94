"""Requests at 32 connections: the processor time of the whole server for each, how many a second, p50 and p99.

`wrk` makes the requests. The processor time is the difference of what the kernel counts for all processes of a server,
divided by the requests that were answered meanwhile. Runs take turns, the do-nothing route before every call: what a
call costs is compared with the run right before it, so whatever else the machine does falls on both. Figures are
medians over the rounds.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.calls import NULL, Call, answer, calls_to_compare, filled, get_token
from benchmarks.figures import Spread
from benchmarks.processes import ProcessFailedError, Running, cpu_seconds
from benchmarks.servers import copy_of, demo_credentials, serving, serving_nothing

CONNECTIONS: Final = 32
WARM_UP_SECONDS: Final = 1
SECONDS_A_DAY: Final = 86_400
MOST_PER_SECOND: Final = 10_000
"""No run of calls with numbers in them makes more, so the next one's numbers are others."""

SCRIPT: Final = Path(__file__).with_name("wrk.lua")
FIRST_ERROR_STATUS: Final = 400
PATIENCE: Final = "20s"
"""As much as SQLite's writers have; the load generator's own 2 s would count a late answer as none."""

HOW_TO_GET_WRK: Final = (
    "No figures for requests under load: wrk is not on the PATH (Debian and Ubuntu: apt-get install wrk)."
)


@dataclass(frozen=True, slots=True)
class Target:
    """A call to a server, and the folder from which the load generator reads it."""

    server: Running
    call: Call
    saved: Path


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the load generator. `ratio` is its processor time beside that of the run before it."""

    cpu_us: float
    ratio: float
    per_second: float
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Load:
    """The medians of a call's runs. `ratio` is its processor time beside the do-nothing route's."""

    log_level: str | None
    call: str
    cpu_us: float
    ratio: Spread
    per_second: float
    p50_ms: float
    p99_ms: float


def has_wrk() -> bool:
    """Whether the load generator is installed."""
    return shutil.which("wrk") is not None


def measure_load(demo_dir: Path, log_levels: Sequence[str], rounds: int, seconds: int) -> list[Load]:
    """Every call at every log level, in turns with the do-nothing route. All servers run throughout, one worker each.

    Raises:
        ProcessFailedError: if an answer is not the one expected.
    """
    folder = demo_dir.parent
    data_dirs = {level: copy_of(demo_dir, f"load-{level}") for level in log_levels}
    with contextlib.ExitStack() as stack:
        null_target = Target(stack.enter_context(serving_nothing(folder)), NULL, save_call(NULL, folder / "call-null"))
        targets: dict[str, list[Target]] = {}
        for level, data_dir in data_dirs.items():
            server = stack.enter_context(serving(data_dir, log_level=level))
            credentials = demo_credentials(data_dir)
            calls = calls_to_compare(credentials, get_token(server, credentials))
            targets[level] = [
                Target(server, call, save_call(call, folder / f"call-{level}-{number}"))
                for number, call in enumerate(calls)
            ]
        for target in (null_target, *(each[0] for each in targets.values())):
            run_load(target, WARM_UP_SECONDS)
        null_runs: list[Run] = []
        runs: dict[tuple[str | None, str], list[Run]] = defaultdict(list)
        for _ in range(rounds):
            for turn in zip(*targets.values(), strict=True):
                null_runs.append(run_load(null_target, seconds))
                for level, target in zip(log_levels, turn, strict=True):
                    runs[level, target.call.name].append(run_load(target, seconds, beside=null_runs[-1]))
    typical = statistics.median(run.cpu_us for run in null_runs)
    rows = [_medians(None, NULL.name, [dataclasses.replace(run, ratio=run.cpu_us / typical) for run in null_runs])]
    rows += [_medians(level, name, each) for (level, name), each in runs.items()]
    return sorted(rows, key=lambda row: row.log_level or "")


def _medians(log_level: str | None, name: str, runs: Sequence[Run]) -> Load:
    return Load(
        log_level,
        name,
        statistics.median(run.cpu_us for run in runs),
        Spread.of([run.ratio for run in runs]),
        statistics.median(run.per_second for run in runs),
        statistics.median(run.p50_ms for run in runs),
        statistics.median(run.p99_ms for run in runs),
    )


def save_call(call: Call, folder: Path) -> Path:
    """Write the call where the load generator reads it, out of sight of the process list."""
    # The folder of all of them has mode 0700.
    folder.mkdir(exist_ok=True)
    (folder / "method").write_text(call.method, encoding="ascii")
    (folder / "path").write_text(call.path, encoding="ascii")
    (folder / "headers").write_text("".join(f"{n}: {v}\n" for n, v in call.headers.items()), encoding="ascii")
    (folder / "body").write_bytes(call.body)
    return folder


def run_load(target: Target, seconds: int, *, beside: Run | None = None) -> Run:
    """One run of the load generator.

    Raises:
        ProcessFailedError: if an answer is not the one expected, or missing.
    """
    server, call = target.server, target.call
    first = int(time.time() % SECONDS_A_DAY) * MOST_PER_SECOND
    answer(server, filled(call, first))  # has the status expected, or raises
    before = cpu_seconds(server.pid)
    finished = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", PATIENCE, "-s", str(SCRIPT),
         f"http://{server.host}:{server.port}{filled(call, first).path}"],
        env={**os.environ, "BENCH_CALL": str(target.saved), "BENCH_FIRST": str(first)},
        capture_output=True,
        check=True,
        timeout=seconds + 30,
    )  # fmt: skip
    cpu = cpu_seconds(server.pid) - before
    result = json.loads(finished.stdout.splitlines()[-1])
    requests = result["requests"]
    expected_refusals = requests if call.status >= FIRST_ERROR_STATUS else 0
    if not requests or result["broken"] or result["refused"] != expected_refusals:
        raise ProcessFailedError(f"{call.name}: not every answer was {call.status}: {result}")
    cpu_us = cpu / requests * 1e6
    return Run(
        cpu_us=cpu_us,
        ratio=cpu_us / beside.cpu_us if beside else 1.0,
        per_second=requests / result["duration_us"] * 1e6,
        p50_ms=result["p50_us"] / 1e3,
        p99_ms=result["p99_us"] / 1e3,
    )
