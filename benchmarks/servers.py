"""The servers that are measured: the real command, and what it is compared with: a do-nothing route, plain routes."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from sqlalchemy import create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from benchmarks.calls import Credentials
from benchmarks.processes import Running, running
from ecross_server.settings import PREFIX

# Budgets that nobody reaches: limits are counted and decided as always, and never refuse.
LIMITS: Final = ("TOKEN_VOLUME_LIMIT", "TOKEN_FAILURE_LIMIT", "TOKEN_ADDRESS_LIMIT")
UNREACHABLE_LIMIT: Final = "900000000/minute"


def serving(
    data_dir: Path,
    *,
    workers: int = 1,
    log_level: str = "info",
    demo: bool = False,
    database_url: str | None = None,
    has_jobs: bool = True,
) -> AbstractContextManager[Running]:
    """`ecross-server serve` on a free port. Its log, JSON lines, goes to a file beside the data folder."""
    command = [
        str(Path(sys.executable).with_name("ecross-server")),
        *("serve", "--json", "--port", "0", "--workers", str(workers)),
        *(["--demo"] if demo else []),
    ]
    ours = {
        "DATA_DIR": str(data_dir),
        "LOG_LEVEL": log_level,
        "METRICS_PORT": "auto",
        **dict.fromkeys(LIMITS, UNREACHABLE_LIMIT),
        **({} if database_url is None else {"DATABASE_URL": database_url}),
        **({} if has_jobs else {"JOB_PROCESSES": "0"}),
    }
    environment = inherited_environment() | {PREFIX + name: value for name, value in ours.items()}
    return running(command, environment, data_dir.with_name(f"{data_dir.name}.log"))


def serving_nothing(folder: Path, *, workers: int = 1, raw: bool = False) -> AbstractContextManager[Running]:
    """The do-nothing route, or as `raw` a do-nothing ASGI application, see `null_server`."""
    command = [sys.executable, "-m", "benchmarks.null_server", "--workers", str(workers), *(["--raw"] if raw else [])]
    return running(command, inherited_environment(), folder / "null-server.log")


def serving_plainly(folder: Path, database_url: str, merchant_id: str) -> AbstractContextManager[Running]:
    """Plain routes for one merchant on a database that the server has made, see `plain_server`."""
    environment = inherited_environment() | {"BENCH_DATABASE": database_url, "BENCH_MERCHANT": merchant_id}
    return running([sys.executable, "-m", "benchmarks.plain_server"], environment, folder / "plain-server.log")


def make_demo_folder(folder: Path) -> Path:
    """A data folder with the demo merchant, its credentials and its dozen SKUs, made by a first start."""
    data_dir = folder / "demo"
    with serving(data_dir, demo=True):
        pass
    return data_dir


def copy_of(data_dir: Path, name: str) -> Path:
    """A data folder of its own for one measurement."""
    return shutil.copytree(data_dir, data_dir.with_name(name))


def demo_credentials(data_dir: Path) -> Credentials:
    """The credentials of the demo merchant of a data folder."""
    content = json.loads((data_dir / "demo-credentials.json").read_bytes())
    return Credentials(content["clientId"], content["clientSecret"])


@contextlib.contextmanager
def new_postgresql() -> Iterator[str]:
    """The address of a new database, which is dropped afterwards."""
    address = os.environ.get("ECROSS_TEST_POSTGRESQL_URL", "postgresql+psycopg://postgres@127.0.0.1:5432/postgres")
    admin = create_engine(address, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 2})
    name = f"ecross_bench_{uuid.uuid4().hex}"
    try:
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        yield admin.url.set(database=name).render_as_string(hide_password=False)
    finally:
        with contextlib.suppress(SQLAlchemyError), admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def free_port() -> int:
    """A port that nothing listens on at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def inherited_environment() -> dict[str, str]:
    """What a measured process gets of this one's environment."""
    # Neither the caller's settings nor Python's own (such as PYTHONDONTWRITEBYTECODE, which makes every start compile
    # the server again) may change what is measured. PYTHONPATH says which code is measured.
    return {
        name: value
        for name, value in os.environ.items()
        if name == "PYTHONPATH" or not name.startswith((PREFIX, "PYTHON"))
    }
