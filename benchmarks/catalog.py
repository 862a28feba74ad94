"""A whole catalog brought to the server by `ecross catalog push`: SKUs a second, and the memory of both.

A real server of two workers, on SQLite and on PostgreSQL, and the real command as a process of its own. It is pushed
three times: as a new one, again at once, when the client asks for all that changed, and once more.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from benchmarks.catalogs import json_line, products
from benchmarks.processes import BYTES_PER_MB, ProcessFailedError, Running, children, cpu_seconds
from benchmarks.servers import demo_credentials, inherited_environment, new_postgresql, serving

WORKERS: Final = 2
LOOK_SECONDS: Final = 0.02
PUSHES: Final = ("new", "again, all listed", "again")


@dataclass(frozen=True, slots=True)
class CatalogPush:
    """One push. `seconds` are those of the whole command; CPU is of all processes of each side, in seconds."""

    database: str
    push: str
    skus: int
    seconds: float
    skus_per_second: float
    client_cpu_seconds: float
    server_cpu_seconds: float
    client_peak_mb: float
    server_peak_mb: float
    """Of the worker that had most."""


def measure_catalog(folder: Path, skus: int) -> list[CatalogPush]:
    """On SQLite, and on PostgreSQL if there is one."""
    file = folder / "catalog.jsonl"
    with file.open("w", encoding="utf-8") as out:
        for product in products(skus):
            out.writelines(map(json_line, product))
    rows = list(_measure("SQLite", folder / "catalog-sqlite", None, file, skus))
    with contextlib.suppress(SQLAlchemyError), new_postgresql() as url:
        rows += _measure("PostgreSQL", folder / "catalog-postgresql", url, file, skus)
    return rows


def _measure(name: str, data_dir: Path, url: str | None, file: Path, skus: int) -> Iterator[CatalogPush]:
    with serving(data_dir, workers=WORKERS, demo=True, database_url=url) as server:
        for push in PUSHES:
            before = cpu_seconds(server.pid)
            began = time.perf_counter()
            usage, peak_mb = _push(server, data_dir, file)
            seconds = time.perf_counter() - began
            yield CatalogPush(
                database=name,
                push=push,
                skus=skus,
                seconds=seconds,
                skus_per_second=skus / seconds,
                client_cpu_seconds=usage.ru_utime + usage.ru_stime,
                server_cpu_seconds=cpu_seconds(server.pid) - before,
                client_peak_mb=peak_mb,
                server_peak_mb=max(map(_peak_mb, children(server.pid))),
            )


def _push(server: Running, data_dir: Path, file: Path) -> tuple[resource.struct_rusage, float]:
    """Run the command; what it used, and the most memory that it had."""
    credentials = demo_credentials(data_dir)
    environment = inherited_environment() | {
        "ECROSS_BASE_URL": f"http://{server.host}:{server.port}",
        "ECROSS_CLIENT_ID": credentials.client_id,
        "ECROSS_CLIENT_SECRET": credentials.client_secret,
        "ECROSS_CACHE_DIR": str(data_dir.with_name(f"{data_dir.name}-cache")),
        "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
    }
    command = [str(Path(sys.executable).with_name("ecross")), "catalog", "push", str(file), "--json"]
    output = data_dir.with_name("push.json")
    with output.open("wb") as out:
        process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT)
    peak_mb = 0.0
    while True:
        # What the kernel tells at the end counts the memory of this process as well, from which that one was forked.
        with contextlib.suppress(OSError, ProcessFailedError):
            peak_mb = max(peak_mb, _peak_mb(process.pid))
        ended, status, usage = os.wait4(process.pid, os.WNOHANG)
        if ended:
            break
        time.sleep(LOOK_SECONDS)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ProcessFailedError(f"The push ended with {process.returncode}:\n{output.read_text()[-2000:]}")
    json.loads(output.read_bytes())
    return usage, peak_mb


def _peak_mb(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / BYTES_PER_MB
    raise ProcessFailedError(f"The kernel does not tell the peak memory of process {pid}.")
