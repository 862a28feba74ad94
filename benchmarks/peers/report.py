"""`benchmarks/REPORT.md`: goals, figures, what each server does, where our microseconds go."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from benchmarks.figures import Spread
from benchmarks.load import CONNECTIONS
from benchmarks.peers.compare import GOOD, NULL_NAME, RAW_NAME, Comparison, Figures, ratios
from benchmarks.peers.contestants import CONTESTANTS, PATHS, WORKERS
from benchmarks.peers.plot import Bar, Panel, draw
from benchmarks.stages import Stages

AIM_TIMES_FASTEST: Final = 5.0
LEAST_TIMES_FASTEST: Final = 3.5
MOST_TIMES_NOTHING: Final = 1.3
NOISE: Final = 0.03
"""Two runs of the same differ by so much; a failing path within it of the good one is not dearer."""
QUIET_LOAD: Final = 0.5
"""Processes that wanted to run in the minute before: with more, the figures are not those of a quiet machine."""
OUR_PACKAGES: Final = ("uvicorn", "uvloop", "httptools", "starlette", "fastapi", "sqlalchemy")
PLOT_NAME: Final = "REPORT.svg"

_MEDIANS: Final = """\
Medians of {rounds} runs of {seconds} s, of the good path with the smallest and the largest. A peer's wrong secret
and unknown id are answered with the status that its library gives them."""

_MEMORY: Final = """\
All processes together, after the runs: {workers} that serve, and the one that watches over them. MB are 10^6 bytes."""

_FAIRNESS: Final = """\
What differs is in the peers' favor: they keep no limits, audit, metrics or log, and take a plain SHA-256 of the
secret. Each runs as its documentation recommends for production (`NODE_ENV=production`, nothing for debugging)."""

_PROFILE: Final = """\
Processor time of one good request at log level info. The whole is measured under load; what lies beneath is a
do-nothing ASGI application on the same uvicorn, with a body as long to read and to answer, in the same rotation;
our stages come from {samples:,} samples of an application that answers in a loop, without HTTP; some were also
timed alone. What is left is the difference: whatever is slower between other work, with caches gone cold, than in a
loop."""

_METHOD: Final = """\
`wrk -t1 -c{connections}`, connections kept open, one fixed request, every server in {workers} processes (with a
watcher where it has one) on {processors} processors, which the load generator shares with every server alike. All
servers run throughout, on 127.0.0.1; one at a time is asked, and each round begins with another. Before that, each
is warmed up, and its answers are checked: the status of each path, and that a token is an HS256 JWT of 28,800 s,
signed by its key. During a run every answer must be of the path's kind and none may fail, or there is no report.
Processor time is what the kernel counts for all processes of a server. Ours stores in SQLite, and has budgets that
the load does not reach."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """When, where and with what the figures came about."""

    date: str
    command: str
    load_average: float
    is_provisional: bool
    peer_versions: Mapping[str, str]


def write_report(folder: Path, comparison: Comparison, stages: Stages, circumstances: Circumstances) -> str:
    """Write the report and its plot into the folder; the report's text."""
    text = _text(comparison, stages, circumstances)
    (folder / "REPORT.md").write_text(text, encoding="utf-8")
    (folder / PLOT_NAME).write_text(_plot(comparison), encoding="utf-8")
    return text


def _text(comparison: Comparison, stages: Stages, circumstances: Circumstances) -> str:
    sections = [
        "# Beside the peers",
        *_introduction(comparison, circumstances),
        f"![Tokens a second and p99 by server]({PLOT_NAME})",
        "## Goals",
        _table(("goal", "log level", "measured", "verdict"), _goals(comparison)),
        "## Figures",
        _MEDIANS.format(rounds=comparison.rounds, seconds=comparison.seconds),
        *_figures(comparison),
        "### Memory",
        _MEMORY.format(workers=WORKERS),
        _table(
            ("server", "RSS MB", "PSS MB"),
            ((name, f"{each.rss_mb:.0f}", f"{each.pss_mb:.0f}") for name, each in comparison.memory.items()),
            texts=1,
        ),
        "## What each does for a request",
        _table(("server", "work"), ((each.name, each.does) for each in CONTESTANTS)),
        _FAIRNESS,
        "## Where the microseconds go",
        *_profile(comparison, stages),
        "## How it was measured",
        _METHOD.format(connections=CONNECTIONS, workers=WORKERS, processors=os.cpu_count()),
        "### Versions",
        _table(("what", "version"), _versions(circumstances)),
    ]
    return "\n\n".join(sections) + "\n"


def _introduction(comparison: Comparison, circumstances: Circumstances) -> list[str]:
    paragraphs = []
    if circumstances.is_provisional or circumstances.load_average > QUIET_LOAD:
        paragraphs.append(
            "**Provisional:** the machine did other work meanwhile, so absolute figures are too low and vary; "
            "the ratios come from runs in turns."
        )
    paragraphs.append(
        f"{circumstances.date}, {os.cpu_count()} processors ({_processor()}), {platform.system()} "
        f"{platform.release()} {platform.machine()}, load average {circumstances.load_average:.2f} before. Made by "
        f"`{circumstances.command}`. The fastest peer is {comparison.fastest_peer.name}."
    )
    return paragraphs


def _goals(comparison: Comparison) -> Iterable[tuple[str, str, str, str]]:
    fastest = comparison.fastest_peer
    null = comparison.of(NULL_NAME)
    for ours in _ours(comparison):
        level = ours.name.rpartition(" ")[2]
        times = _per_second_ratios(ours, fastest)
        yield (
            f"tokens a second: aim {AIM_TIMES_FASTEST:g} x the fastest peer, below {LEAST_TIMES_FASTEST:g} x is missed",
            level,
            f"{_spread(times, 2)} x",
            "reached"
            if times.median >= AIM_TIMES_FASTEST
            else "between"
            if times.median >= LEAST_TIMES_FASTEST
            else "**missed**",
        )
        cpu = ratios([run.cpu_us for run in ours.runs], [run.cpu_us for run in null.runs])
        yield (
            f"processor time: at most {MOST_TIMES_NOTHING:g} x the do-nothing Starlette route",
            level,
            f"{_spread(cpu, 2)} x",
            _verdict(is_reached=cpu.median <= MOST_TIMES_NOTHING),
        )
        yield (
            "p99 below the fastest peer's",
            level,
            f"{ours.p99_ms.median:.2f} ms beside {fastest.p99_ms.median:.2f} ms",
            _verdict(is_reached=ours.p99_ms.median < fastest.p99_ms.median),
        )
        failing = {
            path: ratios([run.cpu_us for run in comparison.of(ours.name, path).runs], [run.cpu_us for run in ours.runs])
            for path in PATHS
            if path != GOOD
        }
        yield (
            f"a failing path never dearer than the good one (within {NOISE:.0%})",
            level,
            ", ".join(f"{path} {ratio.median:.2f} x" for path, ratio in failing.items()),
            _verdict(is_reached=all(ratio.median <= 1 + NOISE for ratio in failing.values())),
        )


def _figures(comparison: Comparison) -> Iterable[str]:
    fastest = comparison.fastest_peer
    for path in PATHS:
        beside = comparison.of(fastest.name, path)
        yield f"### {path[0].upper()}{path[1:]}"
        yield _table(
            ("server", "requests/s", f"x {fastest.name}", "p50 ms", "p99 ms", "CPU µs a request"),
            (
                (
                    each.name,
                    _spread(each.per_second, 0) if path == GOOD else f"{each.per_second.median:,.0f}",
                    f"{_per_second_ratios(each, beside).median:.2f}",
                    f"{each.p50_ms.median:.2f}",
                    f"{each.p99_ms.median:.2f}",
                    _spread(each.cpu_us, 1) if path == GOOD else f"{each.cpu_us.median:.1f}",
                )
                for each in _in_order(comparison, path)
            ),
            texts=1,
        )


def _profile(comparison: Comparison, stages: Stages) -> Iterable[str]:
    info = _ours(comparison)[0]
    total = info.cpu_us.median
    beneath = comparison.of(RAW_NAME).cpu_us.median
    inside = sum(stage.sampled_us for stage in stages.stages)
    rest = total - beneath - inside - stages.other_threads_us
    yield _PROFILE.format(samples=stages.samples)
    rows = [("uvicorn and the kernel, beneath any such application", beneath, "")]
    rows += [
        (each.name, each.sampled_us, "" if each.alone_us is None else f"{each.alone_us:.2f}") for each in stages.stages
    ]
    rows += [
        ("other threads (registry, and what else works off the path)", stages.other_threads_us, ""),
        ("what is left", rest, ""),
    ]
    yield _table(
        ("stage", "µs", "share", "timed alone µs"),
        [
            *(
                (name, f"{microseconds:.2f}", f"{microseconds / total:.0%}", alone)
                for name, microseconds, alone in rows
            ),
            ("**whole**", f"**{total:.2f}**", "100%", ""),
        ],
        texts=1,
    )
    by_path = [f"{path} {each.microseconds:.1f} µs" for path, each in zip(PATHS, stages.whole, strict=True)]
    yield f"Inside the application, by path: {', '.join(by_path)}."


def _versions(circumstances: Circumstances) -> Iterable[tuple[str, str]]:
    yield "Python", f"{platform.python_version()}, {platform.python_compiler()}"
    yield "SQLite", sqlite3.sqlite_version
    for name in OUR_PACKAGES:
        yield name, version(name)
    for name, found in circumstances.peer_versions.items():
        yield f"{name} (peers)", found


def _plot(comparison: Comparison) -> str:
    good = [each for each in _in_order(comparison, GOOD) if each.name != RAW_NAME]
    served = [each for each in good if each.name != NULL_NAME]
    return draw(
        "Tokens a second and p99 of our server and its peers",
        [
            Panel(
                "Tokens a second (more is better)",
                [Bar(each.name, each.per_second.median, each.is_ours) for each in served],
                lambda value: f"{value:,.0f}",
            ),
            Panel(
                f"p99 at {CONNECTIONS} connections, ms (less is better)",
                [Bar(each.name, each.p99_ms.median, each.is_ours) for each in served],
                lambda value: f"{value:.1f}",
            ),
            Panel(
                "Processor time a request, µs (less is better)",
                [Bar(each.name, each.cpu_us.median, each.is_ours) for each in good],
                lambda value: f"{value:.0f}",
            ),
        ],
    )


def _ours(comparison: Comparison) -> list[Figures]:
    return [comparison.of(each.name) for each in CONTESTANTS if each.is_ours]


def _in_order(comparison: Comparison, path: str) -> list[Figures]:
    names = [*(each.name for each in CONTESTANTS), *([NULL_NAME, RAW_NAME] if path == GOOD else [])]
    return [comparison.of(name, path) for name in names]


def _per_second_ratios(one: Figures, other: Figures) -> Spread:
    return ratios([run.per_second for run in one.runs], [run.per_second for run in other.runs])


def _verdict(*, is_reached: bool) -> str:
    return "reached" if is_reached else "**missed**"


def _spread(spread: Spread, digits: int) -> str:
    median, smallest, largest = (f"{each:,.{digits}f}" for each in (spread.median, spread.smallest, spread.largest))
    return f"{median} ({smallest} to {largest})"


def _processor() -> str:
    found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else platform.processor() or "unknown"


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]], texts: int | None = None) -> str:
    """A table; `texts` columns of it stand left, all others, the figures, right."""
    left = len(titles) if texts is None else texts
    rule = ["---"] * left + ["---:"] * (len(titles) - left)
    return "\n".join(f"| {' | '.join(row)} |" for row in (titles, rule, *rows))
