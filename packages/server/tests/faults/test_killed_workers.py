"""Workers and supervisor killed under load: replaced or gone, and what was spent, counted and told of stays so."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import httpx2
import pytest

if TYPE_CHECKING:
    from packages.server.tests.faults.conftest import Served

pytestmark = pytest.mark.unmeasured

Run = Callable[..., Any]
WaitFor = Callable[..., None]
ChildrenOf = Callable[[int], list[int]]

BUDGET: Final = 1000
KILLS: Final = 4
ISSUED: Final = 'ecross_token_requests_total{outcome="issued"}'
LOST_SECONDS: Final = 1.0
ROOM_SECONDS: Final = 0.5
"""For a machine that does other things as well."""


class Client:
    """Keeps a connection, and asks for tokens over it now and then."""

    def __init__(self, served: Served, ended: threading.Event) -> None:
        self._served = served
        self._ended = ended
        self.thread = threading.Thread(target=self._run)
        self.statuses: list[int] = []
        self.issued: list[tuple[float, str]] = []
        self.broken = 0

    def _run(self) -> None:
        with httpx2.Client(timeout=20) as client:
            while not self._ended.wait(0.03):
                try:
                    answer = client.post(f"{self._served.server.url}/token", json=self._served.credentials)
                except httpx2.TransportError:
                    self.broken += 1
                    continue
                self.statuses.append(answer.status_code)
                if answer.status_code == 200:
                    self.issued.append((time.monotonic(), self._served.token_id(answer)))


class Load:
    """Many clients at once."""

    def __init__(self, served: Served, clients: int = 16) -> None:
        self._ended = threading.Event()
        self.clients = [Client(served, self._ended) for _ in range(clients)]

    def __enter__(self) -> Self:
        for client in self.clients:
            client.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for client in self.clients:
            client.thread.join()

    @property
    def statuses(self) -> list[int]:
        return [status for client in self.clients for status in client.statuses]

    @property
    def issued(self) -> list[tuple[float, str]]:
        return [each for client in self.clients for each in client.issued]

    @property
    def broken(self) -> list[int]:
        return [client.broken for client in self.clients]


@pytest.fixture
def backend() -> str:
    """One will do: what a crash leaves behind is looked at on both by the tests of the audit trail."""
    return "sqlite"


def test_a_worker_killed_again_and_again_costs_its_own_connections_and_its_last_second(
    serve: Callable[..., Served], run: Run, children_of: ChildrenOf, wait_for: WaitFor
) -> None:
    served = serve(
        "--workers", "2", ECROSS_SERVER_LIMITS_MODE="enforce", ECROSS_SERVER_TOKEN_VOLUME_LIMIT=f"{BUDGET}/hour",
        ECROSS_SERVER_TOKEN_ADDRESS_LIMIT="1000000/hour",
    )  # fmt: skip
    supervisor = served.server.process.pid
    recorder, victim, other, metrics = children_of(supervisor)  # in the order in which they were started
    killed_at: list[float] = []
    counted = [0.0]

    def kill(*pids: int) -> None:
        killed_at.append(time.monotonic())
        for pid in pids:
            os.kill(pid, signal.SIGKILL)

    def replaced(pid: int) -> int:
        found: set[int] = set()

        def is_there() -> bool:
            found.update(set(children_of(supervisor)) - {recorder, other, metrics, pid})
            return bool(found)

        wait_for(is_there)
        [new] = found
        return new

    def look_at_metrics() -> None:
        counted.append(served.metric(ISSUED) or 0)
        assert counted[-1] >= counted[-2]

    with Load(served) as load:
        while 429 not in load.statuses:
            time.sleep(0.4)
            look_at_metrics()
            if len(killed_at) < KILLS:
                kill(victim)
                victim = replaced(victim)
        assert min(load.broken) == 0  # connections of the other worker
        assert other in children_of(supervisor)
        spent = len(load.issued)
        kill(victim, other)
        killed = {victim, other}
        wait_for(lambda: len(children_of(supervisor)) == 4 and not killed & set(children_of(supervisor)))
        wait_for(lambda: served.ready() == 200)
        time.sleep(0.5)
    # What was spent stays spent, for all that was killed.
    assert set(load.statuses) == {200, 429}
    assert len(load.issued) + sum(load.broken) >= BUDGET
    assert spent <= len(load.issued) <= BUDGET * 1.02
    assert served.ask().status_code == 429
    time.sleep(1.2)
    look_at_metrics()
    assert 0 < counted[-1] <= len(load.issued) + sum(load.broken)
    assert served.metric("ecross_worker_restarts_total") == len(killed_at) + 1
    assert served.server.stop() == 0
    told = set(served.told_of())
    lost = [at for at, token_id in load.issued if token_id not in told]
    assert all(any(0 < killed - at < LOST_SECONDS + ROOM_SECONDS for killed in killed_at) for at in lost)
    assert run("audit", "verify").said["ok"]


def test_when_the_supervisor_is_killed_the_workers_tell_all_and_end(
    serve: Callable[..., Served], run: Run, children_of: ChildrenOf, wait_for: WaitFor
) -> None:
    served = serve("--workers", "2")
    children = children_of(served.server.process.pid)
    with Load(served) as load:
        time.sleep(1)
        served.server.process.kill()
        served.server.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert set(load.statuses) == {200}
    assert {token_id for _, token_id in load.issued} <= set(served.told_of())
    assert run("audit", "verify").said["ok"]
