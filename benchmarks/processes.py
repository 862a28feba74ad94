"""Processes that are measured: started, found, stopped, and what the kernel says of their time and memory.

Everything is read from `/proc`, so a measured process does no work for its measurement.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

START_SECONDS: Final = 60.0
STOP_SECONDS: Final = 10.0
TICKS_PER_SECOND: Final = os.sysconf("SC_CLK_TCK")
BYTES_PER_MB: Final = 1_000_000


class ProcessFailedError(Exception):
    """A measured process did not do what was asked of it."""


@dataclass(frozen=True, slots=True)
class Running:
    """A server that listens: where, its first process, and when that was started (`time.perf_counter`)."""

    host: str
    port: int
    pid: int
    started_at: float


@dataclass(frozen=True, slots=True)
class Memory:
    """What a process occupies: `rss_mb` counts shared pages in full, `pss_mb` its share of them. MB are 10^6 bytes."""

    rss_mb: float
    pss_mb: float


@contextlib.contextmanager
def running(command: Sequence[str], environment: Mapping[str, str], errors_to: Path) -> Iterator[Running]:
    """Start a server that prints `{"url": ...}` once it listens, and stop it at the end, whatever happens.

    Raises:
        ProcessFailedError: if it ends or stays silent instead.
    """
    with errors_to.open("ab") as errors:
        started_at = time.perf_counter()
        # A session of its own: Ctrl-C reaches this program alone, which then stops the server.
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    try:
        url = urlsplit(_announced_url(process, started_at + START_SECONDS, errors_to))
        yield Running(url.hostname or "", url.port or 0, process.pid, started_at)
    finally:
        _stop(process)


def children(pid: int) -> list[int]:
    """The processes that the process has forked, in the order of their ids."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found.extend(map(int, (task / "children").read_text(encoding="ascii").split()))
    return sorted(found)


def cpu_seconds(pid: int) -> float:
    """The time on a processor, user and system, of a process and its children with all their threads."""
    ticks = 0
    for each in (pid, *children(pid)):
        # The name in parentheses may hold anything; the numbers follow its end: utime and stime are fields 14 and 15.
        fields = Path(f"/proc/{each}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_SECOND


def memory(pid: int) -> Memory:
    """The present memory of one process."""
    kilobytes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()[1:]:
        name, value, _unit = line.split()
        kilobytes[name.rstrip(":")] = int(value)
    return Memory(kilobytes["Rss"] * 1024 / BYTES_PER_MB, kilobytes["Pss"] * 1024 / BYTES_PER_MB)


def memory_of_all(pid: int) -> Memory:
    """The present memory of a process and its children together."""
    each = [memory(one) for one in (pid, *children(pid))]
    return Memory(sum(one.rss_mb for one in each), sum(one.pss_mb for one in each))


def _announced_url(process: subprocess.Popen[bytes], deadline: float, errors_to: Path) -> str:
    assert process.stdout is not None
    output = b""
    while True:
        left = deadline - time.perf_counter()
        ready = select.select([process.stdout], [], [], max(left, 0))[0]
        part = os.read(process.stdout.fileno(), 65536) if ready else b""
        if not part:
            last = errors_to.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise ProcessFailedError(f"{process.args!r} did not say where it listens. Its last lines:\n{last}")
        output += part
        with contextlib.suppress(ValueError):  # not whole yet
            return str(json.loads(output)["url"])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        pass
    finally:
        # Workers that have lost their supervisor, too; there is nobody left in the group of a server that ended well.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_SECONDS)
        if process.stdout is not None:
            process.stdout.close()
