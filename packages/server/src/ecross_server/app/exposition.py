"""The figures of all processes in Prometheus's text format, served by a process of their own.

Only that process imports this module, and with it Prometheus's library.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from ecross_server.app.metrics import METRICS, FigurePages
from ecross_server.app.shared import Page
from ecross_server.auth.endpoints import TOKEN_PATH
from ecross_server.web.answers import http_error_response
from ecross_server.web.context import SCOPE_KEY, RequestContext
from ecross_server.web.counts import BOUNDS

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

METRICS_PATH: Final = "/metrics"
UNMATCHED: Final = "unmatched"
KNOWN_METHODS: Final = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
OTHER_METHOD: Final = "other"

Series = dict[tuple[str, ...], list[float]]


class Figures(Collector):
    """Reads the pages of all processes, and puts them together."""

    def __init__(self, pages: FigurePages) -> None:
        self._pages = pages

    def collect(self) -> Iterator[Family]:
        """All metrics. Gauges are those of processes that run now; counters are also those of processes before them."""
        server = json.loads(self._pages.server.read())
        workers = [_content(page) for page in self._pages.workers]
        yield from _requests([row for content in workers for row in content.get("requests", ())])
        figures = [content.get("figures", {}) for content in workers]
        recorder = [] if self._pages.recorder is None else [_content(self._pages.recorder).get("figures", {})]
        job_processes = [_content(page).get("figures", {}) for page in self._pages.job_processes]
        serving = [figures[number] for number in server["ready"]]
        running = [
            *serving,
            *(recorder if server.get("is_recording") else []),
            *(job_processes[number] for number in server.get("job_processes", ())),
        ]
        counted = [*figures, *recorder, *job_processes, server["figures"]]
        for name, metric in METRICS.items():
            if metric.kind == "counter":
                yield from _counter(name, counted)
            elif values := [each[name] for each in running if name in each]:
                yield GaugeMetricFamily(name, metric.meaning, metric.across(values))
        yield GaugeMetricFamily("ecross_workers", "Workers that serve.", len(serving))
        yield CounterMetricFamily("ecross_worker_restarts_total", "Workers replaced.", server["restarts"])
        build = GaugeMetricFamily("ecross_build_info", "The version that serves.", labels=["version"])
        build.add_metric([server["version"]], 1)
        yield build


def _content(page: Page) -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(page.read() or "{}")
    return content


def _counter(name: str, figures: Iterable[Mapping[str, Any]]) -> Iterator[Family]:
    metric = METRICS[name]
    values = [each[name] for each in figures if name in each]
    if metric.label is None:
        if values:
            yield CounterMetricFamily(name, metric.meaning, sum(values))
        return
    family = CounterMetricFamily(name, metric.meaning, labels=metric.label.split(","))
    for label in sorted({label for value in values for label in value}):
        family.add_metric(label.split(","), sum(value.get(label, 0) for value in values))
    yield family


def _requests(rows: Iterable[list[Any]]) -> Iterator[Family]:
    outcomes, tokens, requests, durations = (_empty() for _ in range(4))
    for route, method, status, outcome, series in rows:
        shown_route = UNMATCHED if route is None else route
        shown_method = method if method in KNOWN_METHODS else OTHER_METHOD
        _add(requests, (shown_route, shown_method, str(status)), series)
        _add(durations, (shown_route,), series)
        if route == TOKEN_PATH:
            _add(outcomes, (outcome,), series)
            _add(tokens, (), series)
    yield _count_family("ecross_token_requests_total", "Token requests.", ["outcome"], outcomes)
    yield _duration_family("ecross_token_request_duration_seconds", "Time to answer a token request.", [], tokens)
    labels = ["route", "method", "status"]
    yield _count_family("ecross_http_requests_total", "Requests.", labels, requests)
    yield _duration_family("ecross_http_request_duration_seconds", "Time to answer.", ["route"], durations)


def _empty() -> Series:
    return defaultdict(lambda: [0.0] * (len(BOUNDS) + 1))


def _add(series: Series, key: tuple[str, ...], counts: Sequence[float]) -> None:
    series[key] = [before + more for before, more in zip(series[key], counts, strict=True)]


def _count_family(name: str, meaning: str, labels: Sequence[str], series: Series) -> Family:
    family = CounterMetricFamily(name, meaning, labels=labels)
    for key, counts in sorted(series.items()):
        family.add_metric(key, sum(counts[:-1]))
    return family


def _duration_family(name: str, meaning: str, labels: Sequence[str], series: Series) -> Family:
    family = HistogramMetricFamily(name, meaning, labels=labels)
    for key, counts in sorted(series.items()):
        buckets, total = [], 0.0
        for bound, count in zip(BOUNDS, counts, strict=False):
            total += count
            buckets.append(("+Inf" if bound == BOUNDS[-1] else str(bound), total))
        family.add_metric(key, buckets=buckets, sum_value=counts[-1])
    return family


class MetricsEndpoint:
    """`GET /metrics`, as plain ASGI. Its own requests are neither counted nor logged."""

    def __init__(self, figures: Collector) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(figures)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a scrape."""
        scope[SCOPE_KEY] = RequestContext(scope["headers"])
        if scope["path"] != METRICS_PATH:
            await http_error_response(scope, 404, None)(scope, receive, send)
        elif scope["method"] not in {"GET", "HEAD"}:
            await http_error_response(scope, 405, {"Allow": "GET, HEAD"})(scope, receive, send)
        else:
            body = generate_latest(self._registry)
            content_type = CONTENT_TYPE_PLAIN_0_0_4.encode()
            headers = [(b"content-type", content_type), (b"content-length", b"%d" % len(body))]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})
