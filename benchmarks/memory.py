"""Memory of every process of the server, after its start and after many token requests, with few and many clients.

The many clients are written by one transaction of three statements into the server's own tables, a merchant for each
client. What the registry needs to read them all is timed in this process, where nothing else runs.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sqlalchemy import func, insert, literal, select

from benchmarks.calls import send_many, token_call
from benchmarks.figures import Spread
from benchmarks.processes import Memory, Running, children, memory
from benchmarks.servers import copy_of, demo_credentials, serving
from ecross_server.auth.registry import Registry
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database, UtcDateTime
from ecross_server.merchants import repository
from ecross_server.merchants.models import Client, Merchant, Secret
from ecross_server.merchants.rules import MERCHANT_SCOPE
from ecross_server.merchants.service import load_peppers
from ecross_server.settings import Settings

CONNECTIONS: Final = 32
ACTIVE: Final = literal("active")
_RANDOM_13: Final = func.substr(func.lower(func.hex(func.randomblob(7))), 1, 13)
"""As long as the random end of an id, though of another alphabet."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What one process of the server occupies."""

    workers: int
    clients: int
    moment: str
    process: str
    memory: Memory


@dataclass(frozen=True, slots=True)
class RegistryLoad:
    """How long the registry takes to read all clients at the start of a process, in seconds."""

    clients: int
    seconds: Spread
    start_to_announcement_seconds: float


def measure_memory(demo_dir: Path, requests: int) -> list[MemoryUse]:
    """With one worker and with two, and a single client registered."""
    rows = []
    for workers in (1, 2):
        data_dir = copy_of(demo_dir, f"memory-{workers}")
        with serving(data_dir, workers=workers) as server:
            rows += _before_and_after(server, data_dir, workers, 1, requests)
    return rows


def measure_many_clients(
    demo_dir: Path, clients: int, requests: int, reads: int
) -> tuple[list[MemoryUse], RegistryLoad]:
    """With one worker and so many clients registered."""
    data_dir = copy_of(demo_dir, "many")
    _register(data_dir, clients - 1)
    with _opened(data_dir) as (_, database):
        to_read = Spread.of([_seconds_to_read(database) for _ in range(reads)])
    with serving(data_dir) as server:
        load = RegistryLoad(clients, to_read, time.perf_counter() - server.started_at)
        return _before_and_after(server, data_dir, 1, clients, requests), load


def _before_and_after(server: Running, data_dir: Path, workers: int, clients: int, requests: int) -> list[MemoryUse]:
    rows = _memory_of(server, workers, clients, "started")
    send_many(server, token_call(demo_credentials(data_dir)), requests, CONNECTIONS)
    return rows + _memory_of(server, workers, clients, f"after {requests:,} tokens")


def _memory_of(server: Running, workers: int, clients: int, moment: str) -> list[MemoryUse]:
    names = ["supervisor", "recorder", *(f"worker {number}" for number in range(1, workers + 1)), "metrics", "jobs"]
    named = dict(zip(names, (server.pid, *children(server.pid)), strict=True))
    return [MemoryUse(workers, clients, moment, name, memory(pid)) for name, pid in named.items()]


def _seconds_to_read(database: Database) -> float:
    registry = Registry(database)
    began = time.perf_counter()
    registry.refresh()
    return time.perf_counter() - began


def _register(data_dir: Path, count: int) -> None:
    with _opened(data_dir) as (settings, database), database.write() as session:
        pepper_id = load_peppers(settings.peppers_file).current
        revision = repository.raise_revision(session)
        now = literal(utc_now(), UtcDateTime())
        first = select(literal(1).label("number")).cte("numbers", recursive=True)
        numbers = first.union_all(select(first.c.number + 1).where(first.c.number < count))
        name = func.printf("BENCH_%06d", numbers.c.number)
        session.execute(
            insert(Merchant).from_select(["id", "name", "status", "created_at"], select(name, name, ACTIVE, now))
        )
        session.execute(
            insert(Client).from_select(
                ["id", "merchant_id", "status", "scope", "epoch", "revision", "created_at"],
                select(
                    func.lower(Merchant.id).concat("-").concat(_RANDOM_13), Merchant.id, ACTIVE,
                    literal(MERCHANT_SCOPE), literal(1), literal(revision), now,
                ).where(Merchant.id.startswith("BENCH")),
            )
        )  # fmt: skip
        # Nobody asks for a token with these, so their secrets never existed: only the digests take up memory.
        session.execute(
            insert(Secret).from_select(
                ["id", "client_id", "digest", "pepper_id", "status", "created_at"],
                select(
                    literal("sec_").concat(_RANDOM_13), Client.id, func.randomblob(32), literal(pepper_id), ACTIVE, now,
                ).where(Client.id.startswith("bench")),
            )
        )  # fmt: skip


@contextlib.contextmanager
def _opened(data_dir: Path) -> Iterator[tuple[Settings, Database]]:
    settings = Settings(data_dir=data_dir)
    with contextlib.closing(Database(settings.database_url.get_secret_value())) as database:
        yield settings, database
