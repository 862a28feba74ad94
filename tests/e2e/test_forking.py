"""A forked process beside an executed one: what the tests start is what people start."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from forking import ForkedProcess, run_forked

LOOK = """
import atexit, json, os, resource, signal, sys, threading, time
def describe(stream):
    is_written = stream.line_buffering, stream.write_through, type(stream.buffer).__name__
    return [stream.encoding, stream.errors, stream.mode, stream.fileno(), *is_written]
atexit.register(lambda: print("exit function"))
print(json.dumps({
    "arguments": sys.argv, "path": sys.path[0], "folder": os.getcwd(), "main": __name__,
    "environment": dict(os.environ), "umask": os.umask(0), "files": resource.getrlimit(resource.RLIMIT_NOFILE),
    "descriptors": sorted(os.listdir("/proc/self/fd"))[:-1], "parent": os.getppid(),
    "threads": threading.active_count(), "traced": sys.gettrace() is not None,
    "group": os.getpgid(0), "session": os.getsid(0), "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
    "handlers": [str(signal.getsignal(number)).split(" at ")[0] for number in sorted(signal.valid_signals() - {9, 19})],
    "streams": [describe(each) for each in (sys.stdin, sys.stdout, sys.stderr)], "input": sys.stdin.read(),
}))
threading.Thread(target=lambda: (time.sleep(0.05), print("thread"))).start()
sys.exit(7)
"""

kinds = pytest.mark.parametrize("start", [subprocess.Popen, ForkedProcess], ids=["executed", "forked"])
Start = Callable[..., "subprocess.Popen[bytes]"]


def look(start: Start, **options: Any) -> tuple[int, dict[str, Any], bytes]:
    """How such a process ends, what it sees, and what it prints at its end."""
    pipe = subprocess.PIPE
    with start([sys.executable, "-c", LOOK, "a", "b c"], stdin=pipe, stdout=pipe, stderr=pipe, **options) as process:
        out, err = process.communicate("¡give!".encode(), timeout=60)
    assert err == b""
    first, _, rest = out.partition(b"\n")
    return process.returncode, json.loads(first), rest


@pytest.mark.parametrize("is_session", [False, True])
def test_it_sees_what_an_executed_one_sees(tmp_path: Path, *, is_session: bool) -> None:
    umask = os.umask(0o027)
    options: dict[str, Any] = {"cwd": tmp_path, "start_new_session": is_session}
    environment = os.environ | {"ODD": "\udcff =\n", "HOME": str(tmp_path)}
    try:
        executed = look(subprocess.Popen, env=environment, **options)
        forked = look(ForkedProcess, env=environment, **options)
    finally:
        os.umask(umask)
    for _, seen, _ in (executed, forked):
        assert seen["parent"] == os.getpid()
        if is_session:
            assert seen.pop("session") == seen.pop("group")
    assert {name: value for name, value in forked[1].items() if value != executed[1].pop(name)} == {}
    assert (executed[1], forked[0], forked[2]) == ({}, executed[0], executed[2])
    assert (executed[0], executed[2]) == (7, b"thread\nexit function\n")


@kinds
def test_a_signal_ends_it_as_its_parent_is_told(start: Start) -> None:
    code = "import signal; print('up', flush=True); signal.pause()"
    with start([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        assert process.poll() is None
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM
    with pytest.raises(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)


@kinds
def test_an_exception_ends_it_with_its_trace(start: Start) -> None:
    with start([sys.executable, "-c", "raise LookupError('nothing')"], stderr=subprocess.PIPE) as process:
        assert b"LookupError: nothing" in process.communicate(timeout=60)[1]
    assert process.returncode == 1


def test_one_with_other_variables_for_the_start_of_python_is_executed() -> None:
    code = "import sys; print(sys.stdout.encoding, sys.flags.optimize)"
    ended = run_forked(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONOPTIMIZE": "2"}
    )
    assert ended.stdout == b"ascii 2\n"


def test_each_starts_within_a_fraction_of_what_imports_take() -> None:
    command = str(Path(sys.executable).with_name("ecross-server"))
    run_forked([command, "--version"])
    began = os.times()
    forked = run_forked([command, "--version"])
    between = os.times()
    executed = subprocess.run([command, "--version"], capture_output=True, check=True)
    ended = os.times()
    assert forked.stdout == executed.stdout
    assert between.children_user - began.children_user < (ended.children_user - between.children_user) / 2
