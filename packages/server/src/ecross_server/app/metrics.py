"""What is measured: the names, and how each process tells its figures to the one that serves them all.

Parts of the server count in plain attributes; here they say where to look, and a thread looks once a second.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import structlog

from ecross_server.app.shared import Page
from ecross_server.web.counts import RequestCounts

Number = int | float
Read = Callable[[], Number | Mapping[str, Number]]
"""Gives a figure; for a metric with a label, one for each of its values."""

log = structlog.get_logger("ecross_server.metrics")


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure that parts of the server tell."""

    kind: Literal["counter", "gauge"]
    meaning: str
    label: str | None = None
    """Several are written `one,other`, and so are their values."""
    across: Callable[[list[float]], float] = sum
    """What the workers' figures make together; counters are always summed."""


METRICS: Final[Mapping[str, Metric]] = {
    "ecross_token_limited_total": Metric("counter", "Token requests refused by a limit.", label="policy"),
    "ecross_limits_overshoot_total": Metric("counter", "Requests let through beyond a shared budget."),
    "ecross_limits_store_up": Metric("gauge", "Whether the store of shared budgets answers.", across=min),
    "ecross_registry_age_seconds": Metric("gauge", "Age of the oldest registry of a worker.", across=max),
    "ecross_registry_clients": Metric("gauge", "Clients in the registry.", across=max),
    "ecross_audit_backlog_records": Metric("gauge", "Audit records not written yet."),
    "ecross_audit_written_records_total": Metric("counter", "Audit records written."),
    "ecross_audit_lost_records_total": Metric("counter", "Audit records lost."),
    "ecross_log_lines_lost_total": Metric("counter", "Log lines that could not be written."),
    "ecross_jobs_due": Metric("gauge", "Jobs that wait to be run now.", across=max),
    "ecross_jobs_dead": Metric("gauge", "Jobs that were given up.", across=max),
    "ecross_jobs_oldest_seconds": Metric("gauge", "How long the first of the due jobs waits.", across=max),
    "ecross_jobs_runs_total": Metric("counter", "Runs of jobs.", label="kind,outcome"),
    "ecross_connections": Metric("gauge", "Open connections."),
    "ecross_connections_cut_total": Metric("counter", "Connections cut off by the server.", label="cause"),
}
"""Beside these there are those of requests and of processes, see `exposition`."""


@dataclass(frozen=True, slots=True)
class FigurePages:
    """The pages of all processes: the supervisor's, which tells which of the others run, and theirs."""

    server: Page
    workers: Sequence[Page] = ()
    recorder: Page | None = None
    job_processes: Sequence[Page] = ()


class Metrics:
    """The figures of this process."""

    def __init__(self) -> None:
        self.requests = RequestCounts()
        self._reads: dict[str, Read] = {}
        self._before: dict[str, Number | dict[str, Number]] = {}
        self._failing: set[str] = set()

    def add(self, name: str, read: Read) -> None:
        """Tell the figure under this name, which must be one of `METRICS`. Counters begin at 0 in each process."""
        if name not in METRICS:
            raise KeyError(name)
        self._reads[name] = read

    def restore(self, page: Page) -> None:
        """Go on from the counters that the page holds: those of the process that was here before."""
        content = json.loads(page.read() or "{}")
        self.requests.restore(content.get("requests", ()))
        figures = content.get("figures", {})
        self._before = {name: value for name, value in figures.items() if METRICS[name].kind == "counter"}

    def write(self, page: Page) -> None:
        """Put all figures on the page. One that cannot be read is left out and logged, once."""
        # What was counted before stays, whoever tells it now.
        figures: dict[str, Any] = dict(self._before)
        for name, read in self._reads.items():
            try:
                figures[name] = _total(self._before.get(name), read())
            except Exception:  # another part's fault must not take all other figures away
                if name not in self._failing:
                    log.exception("metric_failed", metric=name)
                self._failing.add(name)
            else:
                self._failing.discard(name)
        page.write(json.dumps({"requests": self.requests.rows(), "figures": figures}).encode())


def _total(before: Number | Mapping[str, Number] | None, value: Number | Mapping[str, Number]) -> object:
    if isinstance(value, Mapping):
        earlier = before if isinstance(before, Mapping) else {}
        return {label: earlier.get(label, 0) + value.get(label, 0) for label in {**earlier, **value}}
    return value + (before if isinstance(before, (int, float)) else 0)
