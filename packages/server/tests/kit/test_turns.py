from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import pytest

from ecross_server.kit import turns as module
from ecross_server.kit.turns import Turn, Turns
from forking import ForkedProcess

LONG = 20.0
"""Seconds after which something that should happen is taken not to."""

SHORT = 0.1
"""Seconds in which something that should not happen would have."""

BEGIN = """
import os, sys, time
from pathlib import Path
from ecross_server.kit.turns import Turns
turn = Turns(Path(sys.argv[1])).take(60)
"""

HOLD = f"""{BEGIN}
print("had", flush=True)
sys.stdin.read()
"""

MARK_AND_END = f"""{BEGIN}
Path(sys.argv[1]).with_suffix(".mark").touch()
turn.end()
"""

FORK = f"""{BEGIN}
if not os.fork():
    turn.end()
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
time.sleep(60)
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.fixture
def start(file: Path) -> Iterator[Start]:
    """Starts another process that writes the file."""
    started: list[subprocess.Popen[str]] = []

    def start_process(script: str) -> subprocess.Popen[str]:
        process = ForkedProcess(
            [sys.executable, "-c", script, file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start_process
    for process in started:
        process.kill()
        process.communicate()


def lock_of(file: Path, kind: str) -> Path:
    return file.with_name(f".{file.name}.{kind}.lock")


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def somebody_is_next(file: Path) -> bool:
    with lock_of(file, "next").open("r+") as opened:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def take(turns: Turns) -> Turn:
    turn = turns.take(LONG)
    assert turn is not None
    return turn


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_one_has_a_turn_and_others_when_it_ends(file: Path) -> None:
    one, other = Turns(file), Turns(file)
    turn = take(one)
    assert one.take(SHORT) is None
    assert other.take(SHORT) is None
    turn.end()
    take(other).end()
    take(one).end()


def test_ended_again_it_takes_nothing_from_the_next(file: Path) -> None:
    turns = Turns(file)
    turn = take(turns)
    turn.end()
    following = take(turns)  # most likely by the same descriptor
    turn.end()
    assert turns.take(SHORT) is None
    following.end()


def test_another_process_that_waits_comes_before_who_has_just_had_a_turn(file: Path, start: Start) -> None:
    turns = Turns(file)
    for _ in range(2):
        turn = take(turns)
        file.with_suffix(".mark").unlink(missing_ok=True)
        start(MARK_AND_END)
        until(lambda: somebody_is_next(file))
        turn.end()
        turn = take(turns)
        assert file.with_suffix(".mark").exists()
        turn.end()


def test_threads_come_in_their_order(file: Path) -> None:
    turns = Turns(file)
    came: list[int] = []

    def come(number: int) -> None:
        turn = take(turns)
        came.append(number)
        turn.end()

    turn = take(turns)
    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(come, number)
            until(lambda number=number: len(turns._waiting) == number + 1)  # type: ignore[misc] # bound now
        turn.end()
    assert came == [0, 1, 2, 3]


def test_threads_and_others_never_have_one_at_once(file: Path) -> None:
    rounds, having = 15, []
    both = [Turns(file), Turns(file)]

    def keep_taking(turns: Turns) -> None:
        for _ in range(rounds):
            turn = take(turns)
            having.append(1)
            assert len(having) == 1
            having.pop()
            turn.end()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(keep_taking, turns) for turns in both * 3]:
            done.result(LONG)


def test_a_killed_process_ends_its_turn(file: Path, start: Start) -> None:
    process = start(HOLD)
    assert line_of(process) == "had"
    turns = Turns(file)
    assert turns.take(SHORT) is None
    process.kill()
    take(turns).end()


def test_a_killed_process_is_next_no_longer(file: Path, start: Start) -> None:
    turns = Turns(file)
    turn = take(turns)
    process = start(HOLD)
    until(lambda: somebody_is_next(file))
    process.kill()
    process.wait()
    turn.end()
    take(turns).end()


def test_a_forked_child_neither_ends_a_turn_nor_keeps_it(file: Path, start: Start) -> None:
    process = start(FORK)
    assert line_of(process) == "forked"
    turns = Turns(file)
    assert turns.take(SHORT) is None
    process.kill()
    process.wait()
    take(turns).end()  # though the child is there still
    process.communicate()


def test_a_fork_leaves_the_parents_turn_as_it_is(file: Path) -> None:
    turns = Turns(file)
    turn = take(turns)
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert turns.take(SHORT) is None
    turn.end()
    take(turns).end()


def test_what_nobody_waits_for_any_more_is_ended(file: Path) -> None:
    impatient, other = Turns(file), Turns(file)
    turn = take(other)
    assert [impatient.take(seconds) for seconds in (0, 0, SHORT)] == [None] * 3
    turn.end()
    take(other).end()
    until(lambda: not impatient._is_asking)
    take(impatient).end()


@pytest.mark.parametrize("ended_by", [Empty, KeyboardInterrupt])
@pytest.mark.parametrize("has_come", [True, False])
def test_no_turn_is_lost_by_who_gives_up(
    file: Path, monkeypatch: pytest.MonkeyPatch, ended_by: type[BaseException], *, has_come: bool
) -> None:
    class Place(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:  # noqa: FBT001, FBT002 - as its base
            del block, timeout
            if has_come:
                self.put(super().get(timeout=LONG))
            raise ended_by

    turns = Turns(file)
    turn = take(turns)
    if has_come:
        threading.Timer(SHORT, turn.end).start()
    monkeypatch.setattr(module, "SimpleQueue", Place)
    given: list[Turn | None] = []
    try:
        given.append(turns.take(LONG))
    except KeyboardInterrupt:
        assert ended_by is KeyboardInterrupt
    else:
        assert (given[0] is not None) is has_come
    monkeypatch.undo()
    for each in (turn, *given):
        if each is not None:
            each.end()
    take(turns).end()


def test_no_descriptor_is_left_open(file: Path) -> None:
    turns = Turns(file)
    take(turns).end()
    before = open_descriptors()
    for _ in range(20):
        turn = take(turns)
        assert turns.take(0) is None
        turn.end()
        take(turns).end()
    until(lambda: open_descriptors() == before)


def test_the_files_are_their_owners_alone_and_lie_beside_what_a_link_leads_to(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "links"
    folder.mkdir()
    (folder / "link").symlink_to(file)
    turn = take(Turns(folder / "link"))
    assert Turns(file).take(0) is None
    turn.end()
    assert {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir() if path.is_file()} == {
        ".file.turn.lock": 0o600,
        ".file.next.lock": 0o600,
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders away")
def test_made_by_root_they_are_the_folders_owners(file: Path, tmp_path: Path) -> None:
    os.chown(tmp_path, 4711, 4712)
    take(Turns(file)).end()
    for kind in ("turn", "next"):
        status = lock_of(file, kind).stat()
        assert (status.st_uid, status.st_gid) == (4711, 4712)


def test_removed_files_are_made_again(file: Path) -> None:
    turns = Turns(file)
    turn = take(turns)
    lock_of(file, "turn").unlink()
    take(turns).end()  # impolite, no more
    turn.end()
    assert lock_of(file, "turn").exists()


@pytest.mark.parametrize("kind", ["turn", "next"])
def test_no_link_is_followed(file: Path, tmp_path: Path, kind: str) -> None:
    lock_of(file, kind).symlink_to(tmp_path / "target")
    assert Turns(file).take(LONG) is None
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("file", [Path("/proc/self/file"), Path("/missing/folder/file")])
def test_where_no_file_can_be_made_there_are_no_turns(file: Path) -> None:
    before = open_descriptors()
    assert Turns(file).take(LONG) is None
    assert open_descriptors() == before


@pytest.mark.parametrize("how", [fcntl.LOCK_EX | fcntl.LOCK_NB, fcntl.LOCK_EX])
def test_where_files_cannot_be_locked_there_are_no_turns(file: Path, monkeypatch: pytest.MonkeyPatch, how: int) -> None:
    lock = fcntl.flock

    def fail(descriptor: int, operation: int) -> None:
        if operation in {how, fcntl.LOCK_UN}:
            raise OSError(errno.ENOLCK, "No locks available")
        lock(descriptor, operation)

    turns = Turns(file)
    turn = take(turns)
    before = open_descriptors()
    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        assert turns.take(LONG) is None
        assert open_descriptors() == before
    turn.end()
    take(turns).end()


def test_locks_that_fail_when_nobody_waits_any_more_harm_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, given_up = fcntl.flock, threading.Event()

    def fail_late(descriptor: int, operation: int) -> None:
        if operation == fcntl.LOCK_EX:
            given_up.wait(LONG)
            raise OSError(errno.ENOLCK, "No locks available")
        lock(descriptor, operation)

    turns = Turns(file)
    turn = take(turns)
    monkeypatch.setattr(fcntl, "flock", fail_late)
    assert turns.take(0) is None
    given_up.set()
    until(lambda: not turns._is_asking)
    turn.end()
    take(turns).end()


def test_where_no_thread_can_be_started_a_turn_is_had_at_once_or_not_at_all(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    turns = Turns(file)
    turn = take(turns)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fail)
        assert turns.take(LONG) is None
        turn.end()
        turn = take(turns)
    assert turns.take(SHORT) is None
    turn.end()
    take(turns).end()
