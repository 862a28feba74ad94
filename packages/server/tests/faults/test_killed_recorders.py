"""The process that writes the audit trail, killed at bad moments: what was sent to it is written by its successor."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import pytest
from sqlalchemy import text

from ecross_server.kit.database import Database

if TYPE_CHECKING:
    from packages.server.tests.faults.conftest import Served

Run = Callable[..., Any]
WaitFor = Callable[..., None]
ChildrenOf = Callable[[int], list[int]]

LOST: Final = "ecross_audit_lost_records_total"
LOST_SECONDS: Final = 1.0
ROOM_SECONDS: Final = 0.5
"""For a machine that does other things as well."""


@pytest.fixture
def backend() -> str:
    """One will do: to the databases it is a writer like others."""
    return "sqlite"


@pytest.fixture
def served(serve: Callable[..., Served]) -> Served:
    return serve("--workers", "2")


@pytest.fixture
def recorder(served: Served, children_of: ChildrenOf) -> int:
    """The process: the first that is started."""
    return children_of(served.server.process.pid)[0]


def ask(served: Served, count: int) -> list[str]:
    """So many tokens, each over a connection of its own; their ids."""
    return [served.token_id(served.ask()) for _ in range(count)]


def events(served: Served, name: str) -> list[dict[str, Any]]:
    return [line for line in served.server.log_lines() if line["event"] == name]


def test_one_that_is_killed_is_replaced_and_loses_only_what_it_had_not_written_yet(
    served: Served, recorder: int, run: Run, children_of: ChildrenOf, wait_for: WaitFor
) -> None:
    # At rest, when it is killed: nothing is lost.
    os.kill(recorder, signal.SIGSTOP)
    waiting = ask(served, 30)
    os.kill(recorder, signal.SIGKILL)
    wait_for(lambda: len(children_of(served.server.process.pid)) == 4)
    wait_for(lambda: set(waiting) <= set(served.told_of()))
    # At work.
    supervisor = served.server.process.pid
    others = set(children_of(supervisor)[:3])
    issued: list[tuple[float, str]] = []
    killed_at: list[float] = []
    ended = threading.Event()

    def load() -> None:
        while not ended.is_set():
            issued.extend((time.monotonic(), token_id) for token_id in ask(served, 1))

    loading = threading.Thread(target=load)
    loading.start()
    for _ in range(3):
        time.sleep(0.7)
        wait_for(lambda: len(children_of(supervisor)) == 4)
        [present] = set(children_of(supervisor)) - others
        killed_at.append(time.monotonic())
        os.kill(present, signal.SIGKILL)
        wait_for(lambda present=present: present not in children_of(supervisor))
    time.sleep(0.3)
    ended.set()
    loading.join()
    wait_for(lambda: len(events(served, "recorder_died")) == 4)

    def counted() -> int:
        losses = run("audit", "list", "--action", "audit.loss").said["records"]
        return sum(record["details"]["killed"] for record in losses)

    wait_for(lambda: 0 < counted() == served.metric(LOST), 40)
    assert served.metric("ecross_worker_restarts_total") == 0
    assert served.server.stop() == 0
    told = served.told_of()
    assert len(told) == len(set(told))
    lost = [at for at, token_id in issued if token_id not in set(told)]
    assert all(any(0 < killed - at < LOST_SECONDS + ROOM_SECONDS for killed in killed_at) for at in lost)
    assert counted() >= len(lost) - len(killed_at)  # but for what it had just received
    assert run("audit", "verify").said["ok"]


def test_a_stop_that_all_processes_are_told_of_loses_nothing(served: Served, recorder: int, run: Run) -> None:
    os.kill(recorder, signal.SIGSTOP)
    issued = ask(served, 20)
    os.kill(recorder, signal.SIGTERM)  # as a service manager does
    os.kill(recorder, signal.SIGHUP)
    served.server.process.terminate()
    os.kill(recorder, signal.SIGCONT)
    assert served.server.process.wait(20) == 0
    assert set(issued) == set(served.told_of())
    assert run("audit", "verify").said["ok"]
    assert not events(served, "recorder_died")


def test_one_that_is_killed_during_a_stop_is_replaced_until_all_is_written(
    served: Served, recorder: int, run: Run, children_of: ChildrenOf, wait_for: WaitFor
) -> None:
    os.kill(recorder, signal.SIGSTOP)
    issued = ask(served, 20)
    served.server.process.terminate()
    wait_for(lambda: children_of(served.server.process.pid) == [recorder])
    os.kill(recorder, signal.SIGKILL)
    assert served.server.process.wait(20) == 0
    assert set(issued) == set(served.told_of())
    assert run("audit", "verify").said["ok"]


def test_where_none_can_be_started_any_more_a_stop_tells_what_is_lost(
    served: Served, recorder: int, children_of: ChildrenOf, wait_for: WaitFor
) -> None:
    os.kill(recorder, signal.SIGSTOP)
    ask(served, 20)
    (served.server.data_dir / "peppers.json").rename(served.server.data_dir / "kept.json")
    served.server.process.terminate()
    wait_for(lambda: children_of(served.server.process.pid) == [recorder])
    os.kill(recorder, signal.SIGKILL)
    assert served.server.process.wait(20) == 0
    assert len(events(served, "recorder_died")) == 3
    [lost] = events(served, "audit_events_lost")
    assert (lost["level"], lost["count"], lost["outcomes"]) == ("error", 20, {"issued": 20})


def test_a_second_signal_does_not_wait_for_it_and_tells_what_is_lost(
    served: Served, recorder: int, children_of: ChildrenOf, wait_for: WaitFor
) -> None:
    os.kill(recorder, signal.SIGSTOP)
    ask(served, 20)
    served.server.process.terminate()
    wait_for(lambda: children_of(served.server.process.pid) == [recorder])
    began = time.monotonic()
    assert served.server.stop() == 0
    assert time.monotonic() - began < 5
    [lost] = events(served, "audit_events_lost")
    assert lost["count"] == 20


def test_a_new_pepper_is_taken_within_seconds(
    served: Served, recorder: int, run: Run, database: Database, wait_for: WaitFor
) -> None:
    del recorder
    made = run("peppers", "rotate").said

    def last_key() -> tuple[str, str]:
        with database.read() as session:
            query = "SELECT b.key_id, r.action FROM audit_batches b JOIN audit_records r ON r.seq = b.first_seq"
            key_id, action = session.execute(text(f"{query} ORDER BY b.number DESC LIMIT 1")).one()
            return key_id, action

    wait_for(lambda: ask(served, 1) and last_key() == (made["pepperId"], "token.issue"), 5)
    assert served.server.stop() == 0
    assert run("audit", "verify").said["ok"]
