"""What a worker does when its application or new settings fail. All else is tested on real processes."""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ecross_server.app.shared import Page
from ecross_server.app.supervisor import _raise_descriptor_limit
from ecross_server.app.worker import SWITCH_SECONDS, Links, Worker, _most_connections
from ecross_server.kit.logs import configure_logs
from ecross_server.web.counts import RequestCounts


@pytest.fixture
def limit_descriptors() -> Iterator[Callable[[int], None]]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield lambda soft: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.fixture
def log() -> io.StringIO:
    stream = io.StringIO()
    configure_logs("json", "error", stream)
    return stream


@pytest.fixture
def links() -> Iterator[Links]:
    interval = sys.getswitchinterval()
    previous = [(number, signal.getsignal(number)) for number in (signal.SIGTERM, signal.SIGHUP)]
    orphaned, alive = os.pipe()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Links([listening], Page(), lambda: None, orphaned)
    os.close(orphaned)
    os.close(alive)
    sys.setswitchinterval(interval)
    for number, handler in previous:
        signal.signal(number, handler)


async def fail(_scope: Any, _receive: Any, _send: Any) -> None:
    raise ArithmeticError("no start")


def test_an_application_that_does_not_start_ends_the_process(links: Links, log: io.StringIO) -> None:
    worker = Worker(fail, links, lambda: None, counts=RequestCounts())
    with pytest.raises(SystemExit) as ended:
        worker.serve_until_told()
    assert ended.value.code == 3
    assert sys.getswitchinterval() == pytest.approx(SWITCH_SECONDS)
    assert "no start" in log.getvalue()


def test_a_reload_that_fails_leaves_what_works(links: Links, log: io.StringIO) -> None:
    def fail_to_reload() -> None:
        raise ArithmeticError("no reload")

    worker = Worker(fail, links, fail_to_reload, counts=RequestCounts())
    worker._reload()
    assert json.loads(log.getvalue())["event"] == "reload_failed"


def test_as_many_descriptors_are_asked_for_as_there_may_be(limit_descriptors: Callable[[int], None]) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    limit_descriptors(1000)
    _raise_descriptor_limit()
    wanted = (min(hard, 65536), hard)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == wanted
    _raise_descriptor_limit()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == wanted


@pytest.mark.parametrize(("descriptors", "most"), [(1000, 872), (4224, 4096), (10_000, 4096), (100, 1)])
def test_there_are_no_more_connections_than_descriptors(
    limit_descriptors: Callable[[int], None], descriptors: int, most: int
) -> None:
    limit_descriptors(descriptors)
    assert _most_connections(half=False) == most


def test_under_tls_some_are_kept_for_those_that_have_only_begun(limit_descriptors: Callable[[int], None]) -> None:
    limit_descriptors(1128)
    assert _most_connections(half=True) == 500


def test_what_administration_alone_needs_takes_no_memory_of_the_others() -> None:
    script = "import sys, ecross_server.app.supervisor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    assert "ecross_server.app.worker" in loaded
    assert not {"alembic", "argon2", "cryptography", "fido2", "jinja2", "pyotp", "segno"} & set(loaded)
