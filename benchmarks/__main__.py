"""`python -m benchmarks`: measure all parts, or those named, and print one report."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from benchmarks import report
from benchmarks.audit import measure_recorder
from benchmarks.catalog import measure_catalog
from benchmarks.checks import measure_checks
from benchmarks.jobs import measure_jobs
from benchmarks.limits import measure_limits
from benchmarks.load import HOW_TO_GET_WRK, has_wrk, measure_load
from benchmarks.memory import measure_many_clients, measure_memory
from benchmarks.processes import ProcessFailedError
from benchmarks.report import MANY_CLIENTS, Results
from benchmarks.servers import make_demo_folder
from benchmarks.soak import print_soak, soak
from benchmarks.stages import measure_stages
from benchmarks.startup import measure_startup
from benchmarks.timing import measure_timing
from benchmarks.writers import measure_writers
from benchmarks.writes import measure_writes

PARTS: Final = (
    "startup", "memory", "load", "checks", "limits", "audit", "jobs", "profile", "timing", "writers", "writes",
    "catalog",
)  # fmt: skip
UNDER_LOAD: Final = frozenset({"load", "writes"})
SOAK: Final = "soak"
SOAK_TOKENS: Final = 1_000_000
SOAK_SECONDS: Final = 1800


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for a figure. All of it ends after `limit_seconds`, finished or not."""

    starts: int
    requests: int
    reads: int
    log_levels: tuple[str, ...]
    rounds: int
    run_seconds: int
    repeats: int
    sample_seconds: float
    events: int
    jobs: int
    skus: int
    writing_seconds: float
    timing_rounds: int
    limit_seconds: int


FULL: Final = Effort(
    starts=5,
    requests=20_000,
    reads=3,
    log_levels=("info", "warning"),
    rounds=3,
    run_seconds=2,
    repeats=7,
    sample_seconds=5,
    timing_rounds=50_000,
    events=100_000,
    jobs=2_000,
    skus=100_000,
    writing_seconds=5,
    limit_seconds=1200,
)
QUICK: Final = Effort(
    starts=1,
    requests=5_000,
    reads=1,
    log_levels=("info",),
    rounds=1,
    run_seconds=1,
    repeats=3,
    sample_seconds=2,
    timing_rounds=10_000,
    events=20_000,
    jobs=300,
    skus=5_000,
    writing_seconds=1,
    limit_seconds=120,
)


def main() -> int:
    """Measure and report; the exit code: 0 done, 1 a server failed, time ran out, or a soak shows growth."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"what to measure: {', '.join(PARTS)} [default: all]; or {SOAK}, alone"
    )
    parser.add_argument(
        "--tokens", type=int, default=SOAK_TOKENS, help=f"how many tokens a soak issues [{SOAK_TOKENS}]"
    )
    parser.add_argument("--quick", action="store_true", help="fewer and shorter runs: a first look, no more")
    parser.add_argument("--json", action="store_true", dest="as_json", help="print the figures as JSON")
    arguments = parser.parse_args()
    is_soak = arguments.parts == [SOAK]
    if unknown := set(arguments.parts) - {*PARTS, *([SOAK] if is_soak else [])}:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if not Path("/proc/self/smaps_rollup").exists():
        _tell("The figures come from Linux's /proc, which this system does not have.")
        return 1
    effort = QUICK if arguments.quick else FULL
    # Both end in the ordinary way, so that every server is stopped and every folder removed.
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGALRM, _end)
    signal.alarm(SOAK_SECONDS if is_soak else effort.limit_seconds)
    try:
        if is_soak:
            return _soak(arguments.tokens)
        with tempfile.TemporaryDirectory(prefix="ecross-bench-") as folder:
            results = _measure(arguments.parts or PARTS, effort, Path(folder))
    except ProcessFailedError as error:
        _tell(str(error))
        return 1
    signal.alarm(0)
    (report.print_json if arguments.as_json else report.print_tables)(results)
    return 0


def _soak(tokens: int) -> int:
    if not has_wrk():
        _tell(HOW_TO_GET_WRK)
        return 1
    with tempfile.TemporaryDirectory(prefix="ecross-bench-") as folder:
        result = soak(make_demo_folder(Path(folder)), tokens, _tell)
    print_soak(result)
    return 0 if result.is_flat else 1


def _measure(parts: Sequence[str], effort: Effort, folder: Path) -> Results:
    results = Results(load_average=os.getloadavg()[0])
    if not has_wrk() and set(parts) & UNDER_LOAD:
        results.notes.append(HOW_TO_GET_WRK)
        parts = [part for part in parts if part not in UNDER_LOAD]
    demo_dir = make_demo_folder(folder)
    _measure_requests(results, parts, effort, demo_dir)
    _measure_insides(results, parts, effort, demo_dir)
    _measure_databases(results, parts, effort, folder)
    return results


def _measure_requests(results: Results, parts: Sequence[str], effort: Effort, demo_dir: Path) -> None:
    if "startup" in parts:
        _tell("measuring start-up ...")
        results.start_up = measure_startup(demo_dir, effort.starts)
    if "memory" in parts:
        _tell("measuring memory ...")
        results.memory = measure_memory(demo_dir, effort.requests)
        rows, load = measure_many_clients(demo_dir, MANY_CLIENTS, effort.requests, effort.reads)
        results.memory += rows
        results.registry = [load]
    if "load" in parts:
        _tell("measuring requests ...")
        results.load = measure_load(demo_dir, effort.log_levels, effort.rounds, effort.run_seconds)
    if "writes" in parts:
        _tell("measuring reads and writes ...")
        results.writes = measure_writes(demo_dir.parent, effort.rounds, effort.run_seconds)


def _measure_insides(results: Results, parts: Sequence[str], effort: Effort, demo_dir: Path) -> None:
    if "checks" in parts:
        _tell("measuring checks ...")
        results.checks = measure_checks(demo_dir, effort.repeats)
    if "limits" in parts:
        _tell("measuring shared limits ...")
        results.limits = measure_limits(effort.rounds)
    if "profile" in parts:
        _tell("measuring where the microseconds go ...")
        results.stages = measure_stages(demo_dir, effort.sample_seconds)
    if "timing" in parts:
        _tell("measuring whether time tells causes apart ...")
        results.timing = measure_timing(demo_dir, effort.timing_rounds)


def _measure_databases(results: Results, parts: Sequence[str], effort: Effort, folder: Path) -> None:
    """What is measured on each database."""
    if "audit" in parts:
        _tell("measuring the audit trail ...")
        results.recorder = measure_recorder(folder, effort.events)
    if "jobs" in parts:
        _tell("measuring background work ...")
        results.jobs = measure_jobs(folder, effort.jobs)
    if "writers" in parts:
        _tell("measuring who waits for SQLite ...")
        results.writers = measure_writers(folder, effort.writing_seconds)
    if "catalog" in parts:
        _tell("measuring pushes of a whole catalog ...")
        results.catalog = measure_catalog(folder, effort.skus)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(number: int, _frame: object) -> NoReturn:
    if number == signal.SIGALRM:
        raise ProcessFailedError("Time ran out; nothing is reported.")
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
