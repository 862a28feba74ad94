"""Our commands as processes that import nothing: each is forked from one that has imported all, and runs its `main`.

To import what a command needs takes most of its time, and the tests start hundreds. `ForkedProcess` is in all else
`subprocess.Popen`: a child of the test, with its own process id, streams, environment, folder and limits. A test of
what only an executed program has, such as its line in the list of processes, uses `subprocess` itself.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import io
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

BIN: Final = Path(sys.executable).parent
MAINS: Final = {"ecross-server": "ecross_server.cli.main", "ecross": "ecross.cli.main"}
IMPORTED: Final = (
    "coverage", "ecross_server.cli.commands", "ecross_server.app.assembly", "ecross_server.app.supervisor",
    "ecross_server.migrations", "alembic.command", "alembic.autogenerate", "fastapi.openapi.utils", "psycopg",
    "redis", "sqlalchemy.dialects.postgresql.psycopg", "sqlalchemy.dialects.sqlite.pysqlite", "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl", "uvloop",
    "ecross.cli.commands", "ecross._client", "ecross.resources", "httpx2", "rich.console", "rich.table",
)  # fmt: skip
"""What is imported before the first fork; what is missing here costs time, nothing else."""

READ_AT_START: Final = ("PYTHON", "LC_", "LANG", "TZ", "LD_", "FORCE_COLOR", "PY_COLORS", "TERMINAL_WIDTH")
"""How the names of variables begin that Python or a library reads once: a command with other values is not forked."""

VARIABLES: Final = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
"""Of the process that imports all: it counts no lines, its forks do so if they are told."""

READ_LATER: Final = ("PYTHON_KEYRING_BACKEND",)
LIMITS: Final = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
SIGNALS: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
STREAMS: Final = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
REQUEST_BYTES: Final = 2**17
PR_SET_CHILD_SUBREAPER: Final = 36
_libc = ctypes.CDLL(None, use_errno=True)


class _ForkedProcess(subprocess.Popen):  # type: ignore[type-arg] # those who use it see Popen's types
    """`ecross-server`, `ecross` or `python -c`, started as by `subprocess.Popen`.

    What a fork would do differently is executed: other programs, variables that are read at the start, `preexec_fn`.
    """

    def _execute_child(self, *given: Any) -> None:  # between the pipes and the waiting, which stay Popen's
        arguments, executable, preexec_fn, _, pass_fds, cwd, env, _, _, shell, *rest = given
        (*pipes, restore_signals, gid, gids, uid, umask, is_session, group) = rest
        variables = dict(os.environ if env is None else env)
        asked = (executable, preexec_fn, pass_fds, shell, gid, gids, uid, not restore_signals, group >= 0)
        if any(asked) or not _is_forkable(arguments, variables):
            super()._execute_child(*given)  # type: ignore[misc] # private, so without types
            return
        request = {
            "arguments": [os.fspath(each) for each in arguments],
            "environment": variables,
            "folder": os.fspath(cwd or Path.cwd()),
            "umask": umask if umask >= 0 else _umask(),
            "limits": [resource.getrlimit(each) for each in LIMITS],
            "is_session": is_session,
            "ignored": [number for number in SIGNALS if signal.getsignal(number) is signal.SIG_IGN],
        }
        streams = [theirs if theirs >= 0 else ours for ours, theirs in enumerate((pipes[0], pipes[3], pipes[5]))]
        self.pid = _parent().fork(request, streams)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined] # likewise


if TYPE_CHECKING:
    ForkedProcess = subprocess.Popen
else:
    ForkedProcess = _ForkedProcess


def run_forked(
    arguments: Sequence[str | Path], *, env: Mapping[str, str] | None = None, stdin: bytes | None = None,
    stdout: Any = subprocess.PIPE, timeout: float = 60,
) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run a command to its end, and keep what it writes."""
    given = subprocess.PIPE if stdin is not None else None
    with ForkedProcess(arguments, env=env, stdin=given, stdout=stdout, stderr=subprocess.PIPE) as process:
        try:
            written, told = process.communicate(stdin, timeout)
        except BaseException:
            process.kill()
            raise
    return subprocess.CompletedProcess(arguments, process.returncode, written, told)


def _is_forkable(arguments: Any, variables: Mapping[str, str]) -> bool:
    program = Path(arguments[0])
    is_ours = program.parent == BIN and program.name in MAINS
    is_code = arguments[0] == sys.executable and arguments[1] == "-c"
    return (is_ours or is_code) and _at_start(variables) == _at_start(VARIABLES)


def _at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in variables.items() if name.startswith(READ_AT_START) and name not in READ_LATER
    }


def _umask() -> int:
    """Read, as it can else be known only by changing it for all threads."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("Umask:")), 8)


class _Parent:
    """The process that has imported all, as the tests see it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(theirs.fileno())], env=VARIABLES, pass_fds=[theirs.fileno()]
            )
        atexit.register(self.close)

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        with self._turn, _adopting():
            socket.send_fds(self._control, [json.dumps(request).encode()], streams)
            answer = self._control.recv(REQUEST_BYTES)
        if not answer:
            message = "the process that forks commands has ended"
            raise ChildProcessError(message)
        return int(answer)

    def close(self) -> None:
        self._control.close()
        self._process.wait()


_parent = functools.cache(_Parent)


@contextlib.contextmanager
def _adopting() -> Iterator[None]:
    """Children whose parent ends become this process's own meanwhile: so the command becomes the test's child."""
    _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        yield
    finally:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _fork_as_asked(control: socket.socket) -> Callable[[], None]:
    """Fork for each request; returns in each fork, with what it is to run, and ends with who asks."""
    for name in IMPORTED:
        importlib.import_module(name)
    assert len(list(Path("/proc/self/task").iterdir())) == 1, "a fork takes one thread along"
    gc.collect()
    gc.freeze()
    while True:
        message, streams, _, _ = socket.recv_fds(control, REQUEST_BYTES, len(STREAMS))
        if not message:
            sys.exit()
        # Between us and the command stands one that ends at once: then the kernel gives the command to the test.
        gate, opener = os.pipe()
        if between := os.fork():
            os.close(gate)
            for each in streams:
                os.close(each)
            os.waitpid(between, 0)
            os.close(opener)
            continue
        if os.fork():
            os._exit(0)
        os.close(opener)
        os.read(gate, 1)
        os.close(gate)
        control.send(str(os.getpid()).encode())
        control.close()
        return _become(json.loads(message), streams)


def _become(request: dict[str, Any], streams: list[int]) -> Callable[[], None]:
    """Make this fork what an executed command would be."""
    if request["is_session"]:
        os.setsid()
    for number in SIGNALS:  # by what the test ignores at this time; what the parent ignored then is long ago
        handler: Any = signal.SIG_IGN if number in {*request["ignored"], *IGNORED_BY_PYTHON} else signal.SIG_DFL
        if number == signal.SIGINT and handler == signal.SIG_DFL:
            handler = signal.default_int_handler
        if signal.getsignal(number) != handler:
            signal.signal(number, handler)
    os.chdir(request["folder"])
    os.umask(request["umask"])
    for limit, values in zip(LIMITS, request["limits"], strict=True):
        resource.setrlimit(limit, tuple(values))
    os.environ.clear()
    os.environ.update(request["environment"])
    for descriptor, given in enumerate(streams):
        os.dup2(given, descriptor)
        os.close(given)
    for descriptor, (name, mode) in enumerate(STREAMS):
        _open_stream(descriptor, name, mode)
    if "COVERAGE_PROCESS_CONFIG" in os.environ:
        importlib.import_module("coverage").process_startup()
    sys.modules["__main__"] = module = ModuleType("__main__")
    program, *arguments = request["arguments"]
    if program == sys.executable:
        _, code, *others = arguments
        sys.argv[:], sys.path[0] = ["-c", *others], ""
        return functools.partial(exec, compile(code, "<string>", "exec"), vars(module))
    sys.argv[:], sys.path[0] = [program, *arguments], str(BIN)
    main: Callable[[], None] = importlib.import_module(MAINS[Path(program).name]).main
    return main


def _open_stream(descriptor: int, name: str, mode: str) -> None:
    before = getattr(sys, name)
    is_unbuffered = before.write_through
    buffering = 0 if is_unbuffered and mode == "w" else -1
    raw = open(descriptor, f"{mode}b", buffering=buffering, closefd=False)  # noqa: SIM115 - a descriptor; open until the process ends
    after = io.TextIOWrapper(
        raw, encoding=before.encoding, errors=before.errors, newline="\n" if mode == "w" else None,
        line_buffering=not is_unbuffered and (name == "stderr" or raw.isatty()), write_through=is_unbuffered,
    )  # fmt: skip
    after.mode = mode  # type: ignore[misc] # as Python itself leaves it
    setattr(sys, name, after)
    setattr(sys, f"__{name}__", after)


def _run(main: Callable[[], None]) -> None:
    """Run to the end, as Python does; but all that was imported is not taken apart, as `multiprocessing` leaves it."""
    code: Any = None
    try:
        main()
    except SystemExit as ending:
        code = ending.code
    if code is None or isinstance(code, int):
        threading._shutdown()  # type: ignore[attr-defined] # waits for threads; `multiprocessing` calls both as well
        atexit._run_exitfuncs()
        with contextlib.suppress(OSError, ValueError):  # Python tells of these
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
            _end(code or 0)
    sys.exit(code)


_end: Final = os._exit  # before coverage has its own, which would save a second time


if __name__ == "__main__":
    _run(_fork_as_asked(socket.socket(fileno=int(sys.argv[1]))))
