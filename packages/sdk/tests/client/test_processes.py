"""One token for all processes of a user that share a cache: real ones, also killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from ecross import FileCache
from forking import ForkedProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.unmeasured

LIFE = 28800.0
PROCESSES, THREADS = 8, 50

PROGRAM = """if True:
    import json, sys, threading, time
    from ecross import Client

    url, secret, threads, clients, ahead = json.loads(sys.argv[1])
    make = lambda: Client(client_id="acme-1", client_secret=secret, base_url=url, clock=lambda: time.time() + ahead)
    made = [make() for _ in range(clients)]
    values = set()
    begin = threading.Barrier(threads)

    def ask(number):
        begin.wait()
        values.add(made[number % clients].access_token().value)

    print("ready", flush=True)
    sys.stdin.readline()
    asking = [threading.Thread(target=ask, args=(number,)) for number in range(threads)]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    for client in made:
        client.close()
    print(json.dumps(sorted(values)), flush=True)
"""


@pytest.fixture
def start(server: Any, tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts a process whose threads ask for a token when it is told to begin; all have one cache."""
    started: list[subprocess.Popen[str]] = []

    def start_one(*, threads: int = 1, clients: int = 1, ahead: float = 0.0) -> subprocess.Popen[str]:
        process = ForkedProcess(
            [sys.executable, "-c", PROGRAM, json.dumps([server.url, "s", threads, clients, ahead])],
            env=os.environ | {"ECROSS_CACHE_DIR": str(tmp_path / "cache")},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield start_one
    for process in started:
        process.kill()
        process.communicate()


def begin(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()


def tokens_of(process: subprocess.Popen[str]) -> list[str]:
    output, _ = process.communicate(timeout=30)
    values: list[str] = json.loads(output)
    return values


def test_eight_processes_of_fifty_threads_ask_once_and_a_later_run_not_at_all(server: Any, start: Any) -> None:
    server.token_delay = lambda: time.sleep(0.05)
    # In two of them each thread has a client of its own.
    processes = [start(threads=THREADS, clients=THREADS if number < 2 else 1) for number in range(PROCESSES)]
    begin(*processes)

    assert [tokens_of(process) for process in processes] == [["tok-1"]] * PROCESSES
    later = start()
    begin(later)
    assert tokens_of(later) == ["tok-1"]
    assert server.tokens_asked == 1


def test_when_it_is_time_to_renew_one_of_them_does(server: Any, start: Any) -> None:
    first = start()
    begin(first)
    assert tokens_of(first) == ["tok-1"]
    server.token_delay = lambda: time.sleep(0.05)
    processes = [start(threads=5, ahead=LIFE * 0.91) for _ in range(4)]
    begin(*processes)

    assert {value for process in processes for value in tokens_of(process)} <= {"tok-1", "tok-2"}
    assert server.tokens_asked == 2
    later = start(ahead=LIFE * 0.91)
    begin(later)
    assert tokens_of(later) == ["tok-2"]


def test_one_that_is_killed_while_it_asks_holds_nobody_up(server: Any, start: Any, wait_for: Any) -> None:
    may_answer = threading.Event()
    server.token_delay = lambda: may_answer.wait(10)
    killed, others = start(), [start() for _ in range(2)]
    begin(killed)
    wait_for(lambda: server.tokens_asked == 1)
    begin(*others)
    server.token_delay = lambda: None
    killed.send_signal(signal.SIGKILL)
    began = time.monotonic()

    assert [tokens_of(process) for process in others] == [["tok-2"]] * 2
    assert time.monotonic() - began < 5
    assert server.tokens_asked == 2
    may_answer.set()


def test_one_that_is_killed_while_it_writes_leaves_a_token_or_none(
    server: Any, make_client: Any, tmp_path: Path
) -> None:
    chance = random.Random(1)  # noqa: S311 - which moment is no secret
    for _ in range(12):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:  # pragma: no cover - the child's lines are not counted
            with contextlib.suppress(BaseException):
                client = make_client(token_cache=FileCache(tmp_path / "cache"))
                while True:
                    client.access_token(force_refresh=True)
                    os.write(write_end, b".")
            os._exit(1)
        os.read(read_end, 1)
        time.sleep(chance.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.close(read_end)
        os.close(write_end)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        asked = server.tokens_asked
        value = make_client(token_cache=FileCache(tmp_path / "cache")).access_token().value
        assert 1 <= int(value.removeprefix("tok-")) <= asked + 1
    assert server.tokens_asked > 12


FULL_DISK = """if True:
    import json, resource, sys
    from ecross import Client

    url, secret = json.loads(sys.argv[1])
    client = Client(client_id="acme-1", client_secret=secret, base_url=url)
    client.access_token()
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    values = [client.access_token(force_refresh=True).value]
    client.close()
    for _ in range(3):
        with Client(client_id="acme-1", client_secret=secret, base_url=url, token_cache=client._source._cache) as later:
            values.append(later.access_token().value)
    print(json.dumps(values))
"""


def test_where_no_byte_can_be_written_any_more_a_process_keeps_its_token(server: Any, tmp_path: Path) -> None:
    told = {"ECROSS_CACHE_DIR": str(tmp_path / "cache")}
    run = subprocess.run(
        [sys.executable, "-c", FULL_DISK, json.dumps([server.url, "a-secret-of-mine"])],
        env=os.environ | told, capture_output=True, text=True, check=True, timeout=30,
    )  # fmt: skip

    assert json.loads(run.stdout) == ["tok-2"] * 4
    assert server.tokens_asked == 2
    assert "The token cache cannot be used, tokens stay in memory" in run.stderr
    assert "a-secret-of-mine" not in run.stderr
    assert "tok-" not in run.stderr
    assert not list((tmp_path / "cache").glob("*.tmp"))
