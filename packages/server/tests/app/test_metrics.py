"""Figures: counted in each process, put on its page, and put together from all pages."""

from __future__ import annotations

import io
import json
import math
import os
import re
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from ecross_server.app.assembly import Application
from ecross_server.app.chores import Chores
from ecross_server.app.exposition import Figures, MetricsEndpoint
from ecross_server.app.metrics import METRICS, FigurePages, Metrics
from ecross_server.app.shared import LARGEST_CONTENT, Page, PageFullError
from ecross_server.kit.logs import configure_logs
from ecross_server.web.counts import BOUNDS, RequestCounts

SERVER = {"ready": [0], "restarts": 0, "version": "1.2.3", "figures": {"ecross_log_lines_lost_total": 0}}


@pytest.fixture
def backend() -> str:
    """SQLite alone: nothing here asks the database."""
    return "sqlite"


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("json", "info", stream)
    return stream


def events(log: io.StringIO) -> list[str]:
    return [json.loads(line)["event"] for line in log.getvalue().splitlines()]


class TestPages:
    def test_what_was_written_last_is_read(self) -> None:
        page = Page()
        assert page.read() == b""
        for content in (b"one", b"", b"three" * 1000, b"4"):
            page.write(content)
            assert page.read() == content == page.read()

    def test_a_process_reads_what_another_has_written(self) -> None:
        page = Page()
        pid = os.fork()
        if not pid:
            page.write(b"from the child")
            os._exit(0)
        os.waitpid(pid, 0)
        assert page.read() == b"from the child"

    def test_one_that_is_full_says_so_and_keeps_what_it_had(self) -> None:
        page = Page()
        page.write(b"x" * LARGEST_CONTENT)
        with pytest.raises(PageFullError):
            page.write(b"y" * (LARGEST_CONTENT + 1))
        assert page.read() == b"x" * LARGEST_CONTENT

    def test_nobody_ever_reads_half_of_it(self) -> None:
        page = Page()
        page.write(b"0")
        pid = os.fork()
        if not pid:
            for number in range(1, 3000):
                page.write(b"%d" % (number % 10) * (number % 7 + 1) * 1000)
            page.write(b"end")
            os._exit(0)
        while (content := page.read()) != b"end":
            assert len(set(content)) == 1
        os.waitpid(pid, 0)

    def test_one_that_is_broken_reads_as_empty(self) -> None:
        page = Page()
        page.write(b"content")
        position = page._memory.find(b"content")
        page._memory[position] = 0
        assert page.read() == b""


class TestCounts:
    @given(st.lists(st.floats(min_value=0, max_value=100)))
    def test_each_duration_is_counted_in_its_bucket(self, durations: list[float]) -> None:
        counts = RequestCounts()
        for seconds in durations:
            counts.add("/a", "GET", 200, None, seconds)
        rows = counts.rows()
        series = rows[0][4] if rows else [0] * len(BOUNDS) + [0.0]
        lower = -1.0
        for bound, count in zip(BOUNDS, series, strict=False):
            assert count == sum(lower < seconds <= bound for seconds in durations)
            lower = bound
        assert series[-1] == pytest.approx(sum(durations))

    def test_they_go_on_from_those_before(self) -> None:
        first, second = RequestCounts(), RequestCounts()
        first.add("/a", "GET", 200, "ok", 0.5)
        second.restore(json.loads(json.dumps(first.rows())))
        second.add("/a", "GET", 200, "ok", 0.5)
        second.add(None, "GET", 404, None, 0.5)
        assert [row[:4] for row in second.rows()] == [["/a", "GET", 200, "ok"], [None, "GET", 404, None]]
        assert second.rows()[0][4][-1] == 1.0

    def test_a_row_is_a_copy(self) -> None:
        counts = RequestCounts()
        counts.add("/a", "GET", 200, None, 1)
        row = counts.rows()[0]
        counts.add("/a", "GET", 200, None, 1)
        assert row[4][-1] == 1


class TestFigures:
    def test_a_part_tells_its_own(self) -> None:
        metrics, page = Metrics(), Page()
        metrics.add("ecross_audit_backlog_records", lambda: 7)
        metrics.add("ecross_token_limited_total", lambda: {"client": 2})
        metrics.write(page)
        assert json.loads(page.read())["figures"] == {
            "ecross_audit_backlog_records": 7, "ecross_token_limited_total": {"client": 2}
        }  # fmt: skip

    def test_a_name_that_nobody_knows_is_our_bug(self) -> None:
        with pytest.raises(KeyError, match="ecross_other"):
            Metrics().add("ecross_other", lambda: 1)

    def test_counters_go_on_from_those_before_and_gauges_do_not(self) -> None:
        page = Page()
        for number in range(1, 4):
            metrics = Metrics()
            metrics.restore(page)
            if number != 2:  # a part that is not there keeps what was counted before
                metrics.add("ecross_audit_written_records_total", lambda: 5)
                metrics.add("ecross_token_limited_total", lambda: {"client": 1, "address": 2})
                metrics.add("ecross_audit_backlog_records", lambda: 3)
            metrics.requests.add("/a", "GET", 200, None, 1)
            metrics.write(page)
        content = json.loads(page.read())
        assert content["requests"][0][4][-1] == 3
        assert content["figures"] == {
            "ecross_audit_written_records_total": 10, "ecross_token_limited_total": {"client": 2, "address": 4},
            "ecross_audit_backlog_records": 3,
        }  # fmt: skip

    def test_one_that_fails_is_logged_once_and_takes_no_other_away(self, log: io.StringIO) -> None:
        metrics, page, answers = Metrics(), Page(), iter([0, 0, 1, 0])

        def fail_at_times() -> int:
            return 1 // next(answers)

        metrics.add("ecross_audit_backlog_records", fail_at_times)
        metrics.add("ecross_registry_clients", lambda: 1)
        for _ in range(4):
            metrics.write(page)
            assert json.loads(page.read())["figures"]["ecross_registry_clients"] == 1
        assert events(log) == ["metric_failed", "metric_failed"]

    def test_an_application_tells_of_its_registry(self, client: TestClient, application: Application) -> None:
        del client
        page = Page()
        application.metrics.write(page)
        figures = json.loads(page.read())["figures"]
        assert figures["ecross_registry_clients"] == 1
        assert 0 <= figures["ecross_registry_age_seconds"] < 5
        assert figures["ecross_log_lines_lost_total"] == 0

    def test_an_application_counts_its_requests(self, client: TestClient, application: Application) -> None:
        client.get("/health/live")
        client.get("/a-strangers-path")
        client.post("/token")
        assert {tuple(row[:4]) for row in application.metrics.requests.rows()} == {
            ("/health/live", "GET", 200, None), (None, "GET", 404, "not_found"),
            ("/token", "POST", 415, "unsupported_media_type"),
        }  # fmt: skip


class TestChores:
    def test_they_are_done_again_and_again_and_once_more_at_the_end(self, log: io.StringIO) -> None:
        done: list[int] = []
        three = threading.Event()

        def fail() -> None:
            raise ArithmeticError

        def do() -> None:
            done.append(1)
            if len(done) == 3:
                three.set()

        with Chores([fail, do], 0.01):
            assert three.wait(20)
        at_end = len(done)
        assert at_end >= 4
        time.sleep(0.05)
        assert len(done) == at_end
        assert events(log) == ["chore_failed"]

    def test_a_chore_that_fails_anew_is_logged_anew(self, log: io.StringIO) -> None:
        answers = iter([True, False, True])

        def fail_at_times() -> None:
            if next(answers, False):
                raise ArithmeticError

        chores = Chores([fail_at_times], 0.01)
        with chores:
            deadline = time.monotonic() + 20
            while len(events(log)) < 2 and time.monotonic() < deadline:
                time.sleep(0.01)
        assert events(log) == ["chore_failed", "chore_failed"]


Scrape = Callable[..., dict[str, float]]


@pytest.fixture
def scrape() -> Scrape:
    """The samples that come of these pages, by name and labels."""

    def read(*pages: dict[str, Any], server: dict[str, Any] | None = None) -> dict[str, float]:
        text = _text([json.dumps(page).encode() for page in pages], server or SERVER)
        families = list(text_string_to_metric_families(text))
        assert all(family.documentation for family in families)
        return {
            sample.name + "".join(f"|{value}" for _, value in sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    return read


def _text(contents: list[bytes], server: dict[str, Any]) -> str:
    told = Page()
    told.write(json.dumps(server).encode())
    pages = []
    for content in contents:
        pages.append(Page())
        pages[-1].write(content)
    answer = TestClient(MetricsEndpoint(Figures(FigurePages(told, pages)))).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert int(answer.headers["content-length"]) == len(answer.content)
    return answer.text


def row(route: str | None, method: str, status: int, outcome: str | None, *seconds: float) -> list[Any]:
    counts = RequestCounts()
    for each in seconds:
        counts.add(route, method, status, outcome, each)
    return counts.rows()[0]


class TestExposition:
    def test_requests_of_all_workers_are_added_up(self, scrape: Scrape) -> None:
        rows = [
            row("/token", "POST", 200, "issued", 0.0002, 0.3),
            row("/token", "POST", 401, "invalid_client", 0.0002),
            row(None, "PROPFIND", 404, "not_found", 0.01),
            row(None, "MKCOL", 404, "other", 20),
        ]
        found = scrape({"requests": rows}, {"requests": rows[:1]})
        assert found["ecross_token_requests_total|issued"] == 4
        assert found["ecross_token_requests_total|invalid_client"] == 1
        assert found["ecross_token_request_duration_seconds_count"] == 5
        assert found["ecross_token_request_duration_seconds_sum"] == pytest.approx(0.6006)
        assert found["ecross_token_request_duration_seconds_bucket|0.00025"] == 3
        assert found["ecross_token_request_duration_seconds_bucket|0.5"] == 5
        assert found["ecross_http_requests_total|POST|/token|200"] == 4
        assert found["ecross_http_requests_total|other|unmatched|404"] == 2
        assert found["ecross_http_request_duration_seconds_bucket|10.0|unmatched"] == 1
        assert found["ecross_http_request_duration_seconds_bucket|+Inf|unmatched"] == 2

    def test_figures_of_all_workers_are_put_together_each_in_its_way(self, scrape: Scrape) -> None:
        one = {
            "ecross_token_limited_total": {"client": 1, "address": 2}, "ecross_limits_overshoot_total": 1,
            "ecross_limits_store_up": 1, "ecross_registry_age_seconds": 0.5, "ecross_registry_clients": 3,
            "ecross_audit_backlog_records": 4, "ecross_audit_written_records_total": 5, "ecross_connections": 6,
        }  # fmt: skip
        other = {
            "ecross_token_limited_total": {"client": 10}, "ecross_limits_store_up": 0,
            "ecross_registry_age_seconds": 7.0, "ecross_registry_clients": 2, "ecross_audit_backlog_records": 40,
            "ecross_audit_written_records_total": 50,
        }  # fmt: skip
        server = SERVER | {"ready": [0, 1], "restarts": 3, "figures": {"ecross_log_lines_lost_total": 2}}
        found = scrape({"figures": one}, {"figures": other}, server=server)
        expected = {
            "ecross_token_limited_total|client": 11, "ecross_token_limited_total|address": 2,
            "ecross_limits_overshoot_total": 1, "ecross_limits_store_up": 0, "ecross_registry_age_seconds": 7.0,
            "ecross_registry_clients": 3, "ecross_audit_backlog_records": 44,
            "ecross_audit_written_records_total": 55, "ecross_connections": 6, "ecross_log_lines_lost_total": 2,
            "ecross_workers": 2, "ecross_worker_restarts_total": 3, "ecross_build_info|1.2.3": 1,
        }  # fmt: skip
        assert {name: found[name] for name in expected} == expected
        assert "ecross_audit_lost_records_total" not in found

    def test_the_gauges_of_a_worker_that_is_gone_vanish_and_its_counters_stay(self, scrape: Scrape) -> None:
        figures = {"ecross_registry_clients": 3, "ecross_audit_written_records_total": 5}
        found = scrape({"figures": figures}, {"figures": figures}, server=SERVER | {"ready": []})
        assert found["ecross_workers"] == 0
        assert "ecross_registry_clients" not in found
        assert found["ecross_audit_written_records_total"] == 10

    @pytest.mark.parametrize("is_recording", [True, False])
    def test_what_the_recorder_tells_is_added_and_its_gauges_vanish_with_it(self, *, is_recording: bool) -> None:
        pages = [Page() for _ in range(3)]
        figures = {"ecross_audit_backlog_records": 4, "ecross_audit_lost_records_total": 1}
        server = SERVER | {"is_recording": is_recording}
        for page, content in zip(pages, (server, {"figures": figures}, {"figures": figures}), strict=True):
            page.write(json.dumps(content).encode())
        answer = TestClient(MetricsEndpoint(Figures(FigurePages(pages[0], pages[1:2], pages[2])))).get("/metrics")
        assert f"\necross_audit_backlog_records {8.0 if is_recording else 4.0}\n" in answer.text
        assert "\necross_audit_lost_records_total 2.0\n" in answer.text
        assert "\necross_workers 1.0\n" in answer.text

    def test_what_job_processes_tell_is_of_one_database_and_their_runs_add_up(self) -> None:
        pages = [Page() for _ in range(4)]
        runs = {"test.note,done": 2, "test.note,dead": 1}
        contents = [
            SERVER | {"job_processes": [0, 1]},
            {"figures": {"ecross_jobs_dead": 3, "ecross_jobs_oldest_seconds": 1.5, "ecross_jobs_runs_total": runs}},
            {"figures": {"ecross_jobs_dead": 4, "ecross_jobs_runs_total": runs}},
        ]
        for page, content in zip(pages, contents, strict=False):
            page.write(json.dumps(content).encode())
        told = FigurePages(pages[0], pages[3:], job_processes=pages[1:3])
        text = TestClient(MetricsEndpoint(Figures(told))).get("/metrics").text
        for line in (
            "ecross_jobs_dead 4.0",
            "ecross_jobs_oldest_seconds 1.5",
            'ecross_jobs_runs_total{kind="test.note",outcome="done"} 4.0',
            'ecross_jobs_runs_total{kind="test.note",outcome="dead"} 2.0',
            "ecross_worker_restarts_total 0.0",
        ):
            assert f"\n{line}\n" in text
        pages[0].write(json.dumps(SERVER | {"job_processes": []}).encode())
        text = TestClient(MetricsEndpoint(Figures(told))).get("/metrics").text
        assert "ecross_jobs_dead" not in text
        assert 'outcome="done"} 4.0' in text

    def test_before_anything_is_told_there_is_something_to_read(self) -> None:
        assert "ecross_workers 0.0" in _text([b"", b""], SERVER | {"ready": []})

    def test_every_name_is_one_that_prometheus_accepts(self) -> None:
        for name, metric in METRICS.items():
            assert re.fullmatch(r"ecross_[a-z_]+", name)
            assert name.endswith("_total") == (metric.kind == "counter")
        assert math.isinf(BOUNDS[-1])

    def test_nothing_else_is_there(self) -> None:
        told = Page()
        told.write(json.dumps(SERVER | {"ready": []}).encode())
        client = TestClient(MetricsEndpoint(Figures(FigurePages(told))))
        assert client.get("/").json()["code"] == "not_found"
        assert client.get("/metrics/").status_code == 404
        wrong = client.post("/metrics")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "GET, HEAD")
        assert client.head("/metrics").status_code == 200
