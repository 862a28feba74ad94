"""The database goes away, in the ways in which databases do, and comes back."""

from __future__ import annotations

import contextlib
import fcntl
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self

import pytest
from sqlalchemy import make_url, text

from ecross_server.kit.database import Database, DatabaseAwayError, take_turns
from ecross_server.settings import Settings

if TYPE_CHECKING:
    from packages.server.tests.faults.conftest import Line, Served

pytestmark = pytest.mark.unmeasured

Serve = Callable[..., Any]
WaitFor = Callable[..., None]
INDEX_LOCKS_AT = 120
INDEX_LOCKS = 8
"""Where SQLite locks the index of its log: https://www.sqlite.org/walformat.html#wal_locks."""

FRESH_SECONDS = 4.0
"""So long, and a little more, the registry counts as fresh."""
RECOVERED_SECONDS = 2.0
HEARD_SECONDS = 3.5
"""Where connections are silent for ever, the one that is waited for must be given up first."""


class Steady:
    """A client that asks for tokens, and calls with one, as long as it is told; what it was answered."""

    def __init__(self, served: Served) -> None:
        self._served = served
        first = served.ask()
        self._token = first.json()["token"]
        self.token_ids = {served.token_id(first)}
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.tokens: list[tuple[float, int]] = [(time.monotonic(), 200)]
        self.unsuitable: list[str] = []

    def statuses(self, since: float = 0.0, until: float = float("inf")) -> Counter[int]:
        return Counter(status for at, status in self.tokens if since <= at <= until)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(0.03):
            began = time.monotonic()
            answer = self._served.ask()
            self.tokens.append((began, answer.status_code))
            if answer.status_code == 200:
                self.token_ids.add(self._served.token_id(answer))
            # A path that does not exist: the bearer check alone, without the database.
            checked = self._served.server.get("/ext/none", headers={"Authorization": f"Bearer {self._token}"})
            for each, good in ((answer, 200), (checked, 404)):
                refused = each.status_code == 503 and int(each.headers.get("Retry-After", "0")) >= 1
                if each.status_code != good and not refused:
                    self.unsuitable.append(f"{each.status_code} {each.text}")


def private_call(served: Served, token: str) -> Any:
    return served.server.get("/ext/merchant/skus", headers={"Authorization": f"Bearer {token}"}, timeout=15)


@pytest.fixture
def serve_through(serve: Serve, database_url: str, line: Line) -> Callable[..., Served]:
    """Starts a server that reaches PostgreSQL through the line."""

    def start(*arguments: str) -> Served:
        address = make_url(database_url).set(host="127.0.0.1", port=line.port)
        started: Served = serve(*arguments, url=address.render_as_string(hide_password=False))
        return started

    return start


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
@pytest.mark.parametrize("fault", ["cut", "silent"])
def test_tokens_and_checks_go_on_for_five_seconds_then_all_is_a_503_until_it_is_back(
    serve_through: Callable[..., Served], line: Line, wait_for: WaitFor, fault: str
) -> None:
    served = serve_through("--workers", "2")
    assert served.ready() == 200
    token = served.ask().json()["token"]
    with Steady(served) as client:
        away_at = time.monotonic()
        (line.cut if fault == "cut" else line.fall_silent)()
        time.sleep(FRESH_SECONDS)
        assert client.statuses(away_at).keys() == {200}
        wait_for(lambda: served.ready() == 503)
        wait_for(lambda: client.statuses(time.monotonic() - 0.5).keys() == {503})
        assert served.server.get("/health/live").status_code == 200
        refused = private_call(served, token)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        assert (served.backlog() or 0) >= len(client.token_ids) / 2
        back_at = time.monotonic()
        (line.mend if fault == "cut" else line.speak)()
        seconds = RECOVERED_SECONDS if fault == "cut" else HEARD_SECONDS
        wait_for(lambda: client.statuses(back_at)[200] > 0, seconds)
        # Each worker looks by itself.
        time.sleep(max(0, back_at + seconds - time.monotonic()))
        recovered_at = time.monotonic()
        assert served.ready() == 200
        assert private_call(served, token).status_code == 200
        time.sleep(1)
        assert client.statuses(recovered_at).keys() == {200}
    assert client.unsuitable == []
    wait_for(lambda: served.backlog() == 0)
    assert served.server.stop() == 0
    # A commit whose answer was lost is done again: all are told of, at most a batch of them twice.
    assert client.token_ids <= set(served.told_of())
    assert served.server.json("audit", "verify")["ok"]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
def test_a_silent_database_does_not_hold_up_a_stop(serve_through: Callable[..., Served], line: Line) -> None:
    served = serve_through("--workers", "2")
    token = served.ask().json()["token"]
    line.fall_silent()
    answers: list[Any] = []
    callers = [threading.Thread(target=lambda: answers.append(private_call(served, token))) for _ in range(20)]
    for caller in callers:
        caller.start()
    time.sleep(1)
    began = time.monotonic()
    assert served.server.stop() == 0
    assert time.monotonic() - began < 20
    for caller in callers:
        caller.join()
    assert {answer.status_code for answer in answers} == {503}
    assert all("Retry-After" in answer.headers for answer in answers)
    lost = [line for line in served.server.log_lines() if line["event"] == "audit_events_lost"]
    assert sum(line["count"] for line in lost) <= 1


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_file_that_another_process_keeps_locked_refuses_nobody_and_loses_nothing(
    serve: Serve, settings: Settings, wait_for: WaitFor
) -> None:
    served = serve("--workers", "2")
    with contextlib.closing(sqlite3.connect(settings.data_dir / "ecross.db", isolation_level=None)) as other:
        other.execute("PRAGMA busy_timeout=5000")
        with Steady(served) as client:
            other.execute("BEGIN IMMEDIATE")  # writers alone wait
            time.sleep(6)
            assert client.statuses().keys() == {200}
            assert served.ready() == 200
            wait_for(lambda: (served.backlog() or 0) > 50)
            other.execute("ROLLBACK")
            wait_for(lambda: (served.backlog() or 0) < 50, RECOVERED_SECONDS + 1)
        assert client.unsuitable == []
    assert served.server.stop() == 0
    told = served.told_of()
    assert set(told) == client.token_ids
    assert len(told) == len(client.token_ids)
    assert served.server.json("audit", "verify")["ok"]


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_file_that_nobody_else_may_even_read_is_a_503_until_it_is_let_go(
    serve: Serve, settings: Settings, wait_for: WaitFor
) -> None:
    served = serve()
    token = served.ask().json()["token"]
    with Steady(served) as client, (settings.data_dir / "ecross.db-shm").open("r+b") as index:
        locked_at = time.monotonic()
        fcntl.lockf(index, fcntl.LOCK_EX, INDEX_LOCKS, INDEX_LOCKS_AT)
        time.sleep(FRESH_SECONDS)
        assert client.statuses(locked_at).keys() == {200}
        wait_for(lambda: served.ready() == 503)
        wait_for(lambda: client.statuses(time.monotonic() - 0.5).keys() == {503})
        assert served.server.get("/health/live").status_code == 200
        refused = private_call(served, token)
        assert (refused.status_code, "Retry-After" in refused.headers) == (503, True)
        fcntl.lockf(index, fcntl.LOCK_UN, INDEX_LOCKS, INDEX_LOCKS_AT)
        back_at = time.monotonic()
        wait_for(lambda: client.statuses(back_at)[200] > 0 and served.ready() == 200, RECOVERED_SECONDS)
        assert private_call(served, token).status_code == 200
    assert client.unsuitable == []
    assert served.server.stop() == 0
    assert client.token_ids <= set(served.told_of())


@pytest.mark.parametrize("backend", ["sqlite"], indirect=True)
def test_a_file_that_was_moved_away_is_not_made_anew_and_is_used_when_it_is_back(
    serve: Serve, settings: Settings, wait_for: WaitFor
) -> None:
    served = serve("--workers", "2")
    file, elsewhere = settings.data_dir / "ecross.db", settings.data_dir / "elsewhere.db"
    token = served.ask().json()["token"]
    with Steady(served) as client:
        file.rename(elsewhere)
        callers = [threading.Thread(target=private_call, args=(served, token)) for _ in range(20)]
        for caller in callers:  # so many at once need new connections
            caller.start()
        for caller in callers:
            caller.join()
        time.sleep(1)
        assert not file.exists()
        refused = served.server.run("merchants", "register", "BETA", "--name", "Beta", "--json")
        assert not file.exists()
        assert refused.returncode == 5
        elsewhere.rename(file)
        made = served.server.json("merchants", "register", "BETA", "--name", "Beta")
        wait_for(lambda: served.server.token(made).status_code == 200, 2 * RECOVERED_SECONDS)
    assert client.unsuitable == []
    assert served.server.stop() == 0
    assert client.token_ids <= set(served.told_of())
    assert served.server.json("audit", "verify")["ok"]


@pytest.mark.parametrize("backend", ["postgresql"], indirect=True)
class TestSilence:
    @pytest.mark.measured
    def test_a_transaction_gives_a_silent_database_up(self, database_url: str, line: Line) -> None:
        address = make_url(database_url).set(host="127.0.0.1", port=line.port)
        with contextlib.closing(Database(address.render_as_string(hide_password=False), silence_seconds=0.5)) as own:
            with own.read() as session:
                session.execute(text("SELECT 1"))
            line.fall_silent()
            began = time.monotonic()
            # The connection that it has, then another one, which takes the driver two seconds at least.
            with pytest.raises(DatabaseAwayError), own.write() as session:
                session.execute(text("SELECT 1"))
            assert 0.5 < time.monotonic() - began < 4
            line.speak()
            with own.read() as session:
                assert session.execute(text("SELECT 1")).scalar() == 1

    def test_each_read_may_bear_another_silence_and_a_long_answer_is_none(self, database_url: str) -> None:
        with contextlib.closing(Database(database_url, silence_seconds=0.5)) as own:
            pausing = text("SELECT pg_sleep(1)")
            with pytest.raises(DatabaseAwayError), own.read() as session:
                session.execute(pausing)
            with own.read(silence_seconds=5) as session:
                session.execute(pausing)
            with own.read() as session:
                rows = session.execute(text("SELECT pg_sleep(0.1), repeat('x', 100000) FROM generate_series(1, 10)"))
                assert len(rows.all()) == 10

    def test_the_locks_of_one_that_fell_silent_are_let_go(self, database_url: str, line: Line) -> None:
        address = make_url(database_url).set(host="127.0.0.1", port=line.port).render_as_string(hide_password=False)
        with (
            contextlib.closing(Database(address, silence_seconds=0.5, idle_seconds=1)) as gone,
            contextlib.closing(Database(database_url)) as other,
        ):
            with contextlib.suppress(DatabaseAwayError), gone.write() as session:
                take_turns(session, "here")
                line.fall_silent()
            began = time.monotonic()
            with other.write() as session:
                take_turns(session, "here")
            assert time.monotonic() - began < 5

    def test_a_migration_may_work_on_a_table_for_as_long_as_it_takes(self, database_url: str) -> None:
        with contextlib.closing(Database(database_url, silence_seconds=0.2)) as own, own.engine.begin() as connection:
            connection.execute(text("SELECT pg_sleep(0.6)"))
