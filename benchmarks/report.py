"""The report: tables for people, or one JSON document with the same figures and names in camelCase."""

from __future__ import annotations

import dataclasses
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic.alias_generators import to_camel
from rich.console import Console
from rich.table import Table

from benchmarks.audit import EVENTS_PER_SECOND, RecorderRun
from benchmarks.catalog import CatalogPush
from benchmarks.checks import Check
from benchmarks.jobs import JobRun
from benchmarks.limits import Overshoot
from benchmarks.load import Load
from benchmarks.memory import MemoryUse, RegistryLoad
from benchmarks.stages import Stages
from benchmarks.startup import StartUp
from benchmarks.timing import BOUND_US, Difference
from benchmarks.writers import WriterRun
from benchmarks.writes import Write

START_BUDGET_SECONDS: Final = 1.5
WORKER_BUDGET_MB: Final = 100
WORKER_BUDGET_MANY_CLIENTS_MB: Final = 150
TOKEN_BUDGET_RATIO: Final = 1.3
WRITE_BUDGET_RATIO: Final = 1.3
MANY_CLIENTS: Final = 100_000
PUSH_GOAL: Final = 2_000
WIDTH: Final = 110
"""Where there is no terminal whose width could be asked for."""


@dataclass(slots=True)
class Results:
    """All figures of one run."""

    load_average: float
    """What else the machine did just before, in processes that wanted to run."""
    start_up: list[StartUp] = field(default_factory=list)
    memory: list[MemoryUse] = field(default_factory=list)
    registry: list[RegistryLoad] = field(default_factory=list)
    load: list[Load] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    limits: list[Overshoot] = field(default_factory=list)
    stages: Stages | None = None
    recorder: list[RecorderRun] = field(default_factory=list)
    timing: list[Difference] = field(default_factory=list)
    jobs: list[JobRun] = field(default_factory=list)
    writers: list[WriterRun] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)
    catalog: list[CatalogPush] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def print_json(results: Results) -> None:
    """Print the figures for programs."""
    content = {"machine": _machine(), **dataclasses.asdict(results)}
    print(json.dumps(_in_camel_case(content), indent=2))


def print_tables(results: Results) -> None:
    """Print the figures for people."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    machine = _machine()
    console.print(
        f"Python {machine['python']}, {machine['processors']} processors, {machine['system']}, "
        f"load average {results.load_average:.1f} before"
    )
    for rows, print_rows in _parts(results):
        if rows:
            print_rows(console, rows)
    for note in results.notes:
        console.print(note)


def _parts(results: Results) -> Iterable[tuple[Any, Callable[[Console, Any], None]]]:
    return (
        (results.start_up, _print_start_up),
        (results.memory, _print_memory),
        (results.registry, _print_registry),
        (results.load, _print_load),
        (results.checks, _print_checks),
        (results.limits, _print_limits),
        (results.stages, _print_stages),
        (results.recorder, _print_recorder),
        (results.timing, _print_timing),
        (results.jobs, _print_jobs),
        (results.writers, _print_writers),
        (results.writes, _print_writes),
        (results.catalog, _print_catalog),
    )


def _print_registry(console: Console, rows: Sequence[RegistryLoad]) -> None:
    for row in rows:
        console.print(
            f"Registry of {row.clients:,} clients: read in {_seconds(row.seconds.median)} s "
            f"({_seconds(row.seconds.smallest)} to {_seconds(row.seconds.largest)}); "
            f"the server listens {_seconds(row.start_to_announcement_seconds)} s after its start."
        )


def _print_start_up(console: Console, rows: Sequence[StartUp]) -> None:
    _print_table(
        console,
        f"Start-up: from the command to its first good answer, seconds (budget {START_BUDGET_SECONDS})",
        ("data folder", "first answer"),
        ("runs", "median", "min", "max", ""),
        [
            (
                row.folder,
                row.first_answer,
                str(row.seconds.runs),
                _seconds(row.seconds.median),
                _seconds(row.seconds.smallest),
                _seconds(row.seconds.largest),
                _verdict(row.seconds.median, START_BUDGET_SECONDS),
            )
            for row in rows
        ],
    )


def _print_memory(console: Console, rows: Sequence[MemoryUse]) -> None:
    def verdict(row: MemoryUse) -> str:
        if row.process == "supervisor":
            return ""
        has_many = row.clients >= MANY_CLIENTS
        return _verdict(row.memory.rss_mb, WORKER_BUDGET_MANY_CLIENTS_MB if has_many else WORKER_BUDGET_MB)

    _print_table(
        console,
        f"Memory, MB of 10^6 bytes (budget of a worker's RSS {WORKER_BUDGET_MB}, "
        f"with 10^5 clients {WORKER_BUDGET_MANY_CLIENTS_MB})",
        ("workers", "clients", "moment", "process"),
        ("RSS", "PSS", ""),
        [
            (
                str(row.workers),
                f"{row.clients:,}",
                row.moment,
                row.process,
                f"{row.memory.rss_mb:.1f}",
                f"{row.memory.pss_mb:.1f}",
                verdict(row),
            )
            for row in rows
        ],
    )


def _print_load(console: Console, rows: Sequence[Load]) -> None:
    def verdict(row: Load) -> str:
        return _verdict(row.ratio.median, TOKEN_BUDGET_RATIO) if row.call == "POST /token, good" else ""

    _print_table(
        console,
        f"Requests, 1 worker, 32 connections (budget of POST /token {TOKEN_BUDGET_RATIO} x the do-nothing route)",
        ("call", "log level"),
        ("CPU µs", "x nothing", "min..max", "requests/s", "p50 ms", "p99 ms", ""),
        [
            (
                row.call,
                row.log_level or "-",
                f"{row.cpu_us:.1f}",
                f"{row.ratio.median:.2f}",
                f"{row.ratio.smallest:.2f}..{row.ratio.largest:.2f}",
                f"{row.per_second:,.0f}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                verdict(row),
            )
            for row in rows
        ],
    )


def _print_checks(console: Console, rows: Sequence[Check]) -> None:
    _print_table(
        console,
        "Inside the process, microseconds a call",
        ("what",),
        ("median", "min", "max", "budget", ""),
        [
            (
                row.name,
                f"{row.microseconds.median:.2f}",
                f"{row.microseconds.smallest:.2f}",
                f"{row.microseconds.largest:.2f}",
                "-" if row.budget_us is None else f"{row.budget_us:g}",
                "" if row.budget_us is None else _verdict(row.microseconds.median, row.budget_us),
            )
            for row in rows
        ],
    )


def _print_stages(console: Console, stages: Stages) -> None:
    rows = [(each.name, f"{each.sampled_us:.2f}", _or_dash(each.alone_us)) for each in stages.stages]
    rows.append(("other threads", f"{stages.other_threads_us:.2f}", "-"))
    rows += [(f"whole: {each.call}", f"{each.microseconds:.2f}", "-") for each in stages.whole]
    _print_table(
        console,
        f"Where the microseconds of a good POST /token go inside a worker ({stages.samples:,} samples)",
        ("stage",),
        ("µs", "alone µs"),
        rows,
    )


def _print_limits(console: Console, rows: Sequence[Overshoot]) -> None:
    _print_table(
        console,
        "Limits shared through Redis: beyond the budget, for a client that never pauses",
        (),
        ("processes", "budget", "over %", "min..max", "allowed %", "decisions/s", "asked %", "longest wait ms"),
        [
            (
                str(row.processes),
                f"{row.budget}/minute",
                f"{row.percent.median:.1f}",
                f"{row.percent.smallest:.1f}..{row.percent.largest:.1f}",
                str(row.allowed_percent),
                f"{row.decisions_per_second:,.0f}",
                f"{row.asked_percent:.3f}",
                f"{row.longest_wait_ms:.1f}",
            )
            for row in rows
        ],
    )


def _print_recorder(console: Console, rows: Sequence[RecorderRun]) -> None:
    _print_table(
        console,
        f"Audit trail: tokens recorded, told at {EVENTS_PER_SECOND:,} a second by a thread that never rests",
        ("database",),
        ("events", "µs to tell", "CPU µs", "alone/s", "lag s", "lost", "bytes", "verify/s"),
        [
            (
                row.database,
                f"{row.events:,}",
                f"{row.tell_us:.2f}",
                f"{row.cpu_us:.2f}",
                f"{row.alone_per_second:,.0f}",
                _seconds(row.lag_seconds),
                f"{row.lost:,}",
                f"{row.bytes_each:.0f}",
                f"{row.verified_per_second:,.0f}",
            )
            for row in rows
        ],
    )


def _print_timing(console: Console, rows: Sequence[Difference]) -> None:
    _print_table(
        console,
        f"POST /token refused: how much longer one cause takes than another, µs ({rows[0].rounds:,} rounds)",
        ("cause", "other"),
        ("median", "95 % interval", ""),
        [
            (
                row.cause,
                row.other,
                f"{row.median_us:+.2f}",
                f"{row.low_us:+.2f}..{row.high_us:+.2f}",
                f"within {BOUND_US:g} µs" if row.is_within else "OVER",
            )
            for row in rows
        ],
    )


def _print_jobs(console: Console, rows: Sequence[JobRun]) -> None:
    _print_table(
        console,
        "Background work: µs a transaction with a change, with a job as well, and a job of many; jobs run a second",
        ("database",),
        ("processes", "jobs", "change µs", "with job µs", "of many µs", "run/s", "CPU µs a run"),
        [
            (
                row.database,
                str(row.processes),
                f"{row.jobs:,}",
                f"{row.change_us:,.0f}",
                f"{row.queue_us:,.0f}",
                f"{row.queue_many_us:,.0f}",
                f"{row.run_per_second:,.0f}",
                f"{row.run_cpu_us:,.0f}",
            )
            for row in rows
        ],
    )


def _print_writers(console: Console, rows: Sequence[WriterRun]) -> None:
    _print_table(
        console,
        "SQLite: a write every few milliseconds beside processes that write without a pause",
        ("others", "turns"),
        ("writes", "p50 ms", "p99 ms", "longest ms", "others/s"),
        [
            (
                str(row.others),
                "yes" if row.has_turns else "no",
                f"{row.writes:,}",
                f"{row.p50_ms:.2f}",
                f"{row.p99_ms:.2f}",
                f"{row.longest_ms:.2f}",
                f"{row.others_per_second:,.0f}",
            )
            for row in rows
        ],
    )


def _print_writes(console: Console, rows: Sequence[Write]) -> None:
    _print_table(
        console,
        f"Reads and writes, 32 connections (budget {WRITE_BUDGET_RATIO} x the CPU of a plain route)",
        ("", "call"),
        ("CPU µs", "x plain", "SKUs/s", "p50 ms", "p99 ms", "plain: /s", "p50", "p99", ""),
        [
            (
                f"{row.database}, {row.workers}",
                row.call,
                f"{row.cpu_us:.0f}",
                "-" if row.ratio is None else f"{row.ratio.median:.2f}",
                f"{row.rows_per_second:,.0f}",
                f"{row.p50_ms:.0f}",
                f"{row.p99_ms:.0f}",
                "-" if row.plain is None else f"{row.plain.rows_per_second:,.0f}",
                "-" if row.plain is None else f"{row.plain.p50_ms:.0f}",
                "-" if row.plain is None else f"{row.plain.p99_ms:.0f}",
                "" if row.ratio is None else _verdict(row.ratio.median, WRITE_BUDGET_RATIO),
            )
            for row in rows
        ],
    )


def _print_catalog(console: Console, rows: Sequence[CatalogPush]) -> None:
    _print_table(
        console,
        f"A catalog pushed by `ecross catalog push`, two workers (goal on PostgreSQL, new: {PUSH_GOAL:,} SKUs/s)",
        ("database", "push"),
        ("SKUs", "s", "SKUs/s", "client CPU s", "server CPU s", "client peak MB", "worker peak MB"),
        [
            (
                row.database,
                row.push,
                f"{row.skus:,}",
                _seconds(row.seconds),
                f"{row.skus_per_second:,.0f}",
                _seconds(row.client_cpu_seconds),
                _seconds(row.server_cpu_seconds),
                f"{row.client_peak_mb:.0f}",
                f"{row.server_peak_mb:.0f}",
            )
            for row in rows
        ],
    )


def _print_table(
    console: Console, title: str, texts: Sequence[str], numbers: Sequence[str], rows: Iterable[Sequence[str]]
) -> None:
    table = Table(box=None, pad_edge=False)
    for name in texts:
        table.add_column(name, no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # The table's own title would be broken at the table's width.
    console.print(f"\n[bold]{title}[/]", table, sep="\n")


def _verdict(figure: float, budget: float) -> str:
    return "ok" if figure <= budget else "OVER"


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _seconds(value: float) -> str:
    return f"{value:.2f}"


def _machine() -> dict[str, str | int | None]:
    return {
        "python": platform.python_version(),
        "processors": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _in_camel_case(value: object) -> object:
    if isinstance(value, dict):
        return {to_camel(name): _in_camel_case(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_in_camel_case(each) for each in value]
    return round(value, 6) if isinstance(value, float) else value
