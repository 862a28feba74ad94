import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from ecross._private_files import PrivateFileError, UnsafeFileError, current_system
from ecross._private_files.locks import try_lock
from ecross._private_files.systems import Posix

HOLDER = """
import sys
from pathlib import Path
from ecross._private_files import current_system
from ecross._private_files.locks import try_lock
lock = try_lock(Path(sys.argv[1]), current_system())
print(lock is not None, flush=True)
sys.stdin.readline()
"""

FORKING_HOLDER = """
import os, sys, time
from pathlib import Path
from ecross._private_files import current_system
from ecross._private_files.locks import try_lock
lock = try_lock(Path(sys.argv[1]), current_system())
child = os.fork()
if child == 0:
    lock.release()  # in the child without effect: the lock is its parent's
    os.write(1, b"%d\\n" % (try_lock(Path(sys.argv[1]), current_system()) is None))
    while not os.path.exists(sys.argv[2]):
        time.sleep(0.01)
    os._exit(0)
sys.stdin.readline()
lock.release()
lives = os.waitpid(child, os.WNOHANG) == (0, 0)
print("released", lives, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "entry.lock"


@pytest.fixture
def end(tmp_path: Path, spawn: object) -> Iterator[Path]:
    """A file that ends the children of a forking holder, which outlive it."""
    del spawn  # its processes are waited for after this: their children hold their pipes
    file = tmp_path / "end"
    yield file
    file.touch()


def attempt(path: Path) -> Any:
    return try_lock(path, current_system())


def test_a_lock_has_one_holder_until_it_is_released(path: Path) -> None:
    first = attempt(path)
    assert first is not None
    assert attempt(path) is None

    first.release()
    first.release()  # without effect

    assert attempt(path) is not None
    assert path.exists()


def test_of_many_threads_one_gets_the_lock(path: Path) -> None:
    together = threading.Barrier(20)

    def race(_: int) -> Any:
        together.wait()
        return attempt(path)

    with ThreadPoolExecutor(20) as threads:
        got = [lock for lock in threads.map(race, range(20)) if lock is not None]

    assert len(got) == 1


def test_a_killed_holder_frees_the_lock(path: Path, spawn: Callable[..., subprocess.Popen[str]]) -> None:
    holder = spawn(HOLDER, path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "True\n"
    assert attempt(path) is None

    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert attempt(path) is not None


def test_a_forked_child_does_not_keep_the_lock_of_its_killed_parent(
    path: Path, end: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = spawn(FORKING_HOLDER, path, end)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"  # the child lives, and found the lock held after its own release
    assert attempt(path) is None

    holder.send_signal(signal.SIGKILL)
    holder.wait()

    lock = attempt(path)
    assert lock is not None


def test_a_forked_child_does_not_keep_a_lock_that_its_parent_releases(
    path: Path, end: Path, spawn: Callable[..., subprocess.Popen[str]]
) -> None:
    holder = spawn(FORKING_HOLDER, path, end)
    assert holder.stdin is not None
    assert holder.stdout is not None
    assert holder.stdout.readline() == "1\n"

    print("release", file=holder.stdin, flush=True)

    assert holder.stdout.readline() == "released True\n"  # the child still lives
    assert attempt(path) is not None


def test_a_program_that_is_started_does_not_keep_the_lock(path: Path) -> None:
    lock = attempt(path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as started:
        lock.release()
        again = attempt(path)
        assert started.poll() is None
        started.communicate(b"\n")

    assert again is not None


def test_a_lock_file_that_is_removed_excludes_nobody_and_is_made_anew(path: Path) -> None:
    old = attempt(path)
    path.unlink()

    new = attempt(path)

    assert new is not None
    assert attempt(path) is None
    old.release()
    assert attempt(path) is None


class Clearing(Posix):
    """A system on which somebody clears the folder just after the lock file was opened, so many times."""

    times = [0]  # noqa: RUF012 - a frozen class: the list is its state

    def file_fault(self, path: Path, status: os.stat_result) -> str | None:
        if self.times[0]:
            self.times[0] -= 1
            path.unlink()
        return super().file_fault(path, status)


def test_a_lock_file_that_goes_before_it_is_locked_is_made_again(path: Path) -> None:
    Clearing.times[0] = 3
    lock = try_lock(path, Clearing(os.geteuid()))

    assert lock is not None
    assert attempt(path) is None
    lock.release()


def test_a_folder_that_is_cleared_again_and_again_has_no_locks(path: Path) -> None:
    Clearing.times[0] = 100

    with pytest.raises(PrivateFileError, match="removed again and again"):
        try_lock(path, Clearing(os.geteuid()))


def test_a_lock_file_that_was_exchanged_is_not_trusted(path: Path) -> None:
    class Exchanging(Posix):
        def file_fault(self, path: Path, status: os.stat_result) -> str | None:
            path.with_name("other").touch(0o600)
            path.with_name("other").replace(path)
            return super().file_fault(path, status)

    assert try_lock(path, Exchanging(os.geteuid())) is None
    assert attempt(path) is not None


def test_a_link_in_the_place_of_a_lock_is_refused(path: Path, tmp_path: Path) -> None:
    path.symlink_to(tmp_path / "target")

    with pytest.raises(UnsafeFileError, match="is a link"):
        attempt(path)
    assert not (tmp_path / "target").exists()


def test_a_lock_open_to_others_is_refused(path: Path) -> None:
    path.touch()
    path.chmod(0o644)

    with pytest.raises(UnsafeFileError, match="chmod 600"):
        attempt(path)


def test_where_there_can_be_no_lock_the_error_names_it(tmp_path: Path) -> None:
    with pytest.raises(PrivateFileError, match=r"missing/entry\.lock cannot be used: No such file"):
        attempt(tmp_path / "missing" / "entry.lock")
