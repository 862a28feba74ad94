"""Where the microseconds of `POST /token` go inside a worker.

The application is put together as a worker does it and answers requests in a loop, without any HTTP: that gives the
whole. Then it does so again while a timer looks every third of a millisecond which of our functions is at work; what
a library does counts for the function of ours that called it. So every part of the path shows by itself, also one
that was added yesterday: `STAGES` only gives names that people know. Some stages are timed alone as well, to hold the
samples against.

`python -m benchmarks.stages DATA_DIR SECONDS` does this in a process of its own, with the log at info in a file, and
prints JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import time
import timeit
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Final

import ecross
import ecross_server
from benchmarks.calls import Call, calls_to_compare
from benchmarks.processes import ProcessFailedError
from benchmarks.servers import LIMITS, UNREACHABLE_LIMIT, copy_of, demo_credentials, inherited_environment
from ecross_server.app.assembly import Application
from ecross_server.auth import schemas
from ecross_server.auth.tokens import KeySet
from ecross_server.kit.identifiers import random_hex
from ecross_server.kit.logs import configure_logs
from ecross_server.merchants.service import load_peppers
from ecross_server.settings import Settings
from ecross_server.web.context import RequestContext
from ecross_server.web.counts import RequestCounts

# The first that a function's full name begins with; one that none fits is a stage by its module's name.
STAGES: Final = (
    ("ecross_server.app.assembly.", "dispatch"),
    ("ecross_server.web.context.RequestContext.write_log_line", "log line"),
    ("ecross_server.kit.logs.", "log line"),
    ("ecross_server.web.context.", "request context"),
    ("ecross_server.kit.identifiers.", "request id and token id"),
    ("ecross_server.auth.endpoints.", "headers, body, answer (ASGI)"),
    ("ecross_server.web.body_limit.", "headers, body, answer (ASGI)"),
    ("ecross.jws.", "read JSON strictly"),
    ("ecross_server.auth.schemas.token_answer", "write the answer's JSON"),
    ("ecross_server.auth.schemas.error_answer", "write the answer's JSON"),
    ("ecross_server.auth.schemas.", "read JSON strictly"),
    ("ecross_server.auth.registry.", "look-up"),
    ("ecross_server.merchants.rules.", "HMAC of the secret"),
    ("ecross_server.auth.service.", "decision: compare digests, work out the life"),
    ("ecross_server.auth.tokens.", "claims and signature"),
    ("ecross_server.auth.limits.", "limits"),
    ("ecross_server.audit.", "audit"),
)

REQUESTS: Final = 10_000
REPEATS: Final = 7
SAMPLE_EVERY_SECONDS: Final = 0.000_337
PATIENCE_SECONDS: Final = 60.0

ROOTS: Final = {
    str(Path(package.__file__ or "").parent) + os.sep: package.__name__ for package in (ecross_server, ecross)
}

Asgi = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Whole:
    """All that the application does for a call, in microseconds."""

    call: str
    microseconds: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the path: microseconds a request by samples, and where that can be, timed alone."""

    name: str
    sampled_us: float
    alone_us: float | None


@dataclass(frozen=True, slots=True)
class Stages:
    """The whole by path and the stages of the good one, in microseconds of processor time a request."""

    whole: list[Whole]
    stages: list[Stage]
    samples: int
    other_threads_us: float
    """What other threads of the process did meanwhile, such as the registry's."""

    @classmethod
    def from_json(cls, text: str) -> Stages:
        """What `python -m benchmarks.stages` printed."""
        content = json.loads(text)
        whole = [Whole(**each) for each in content["whole"]]
        return cls(**content | {"whole": whole, "stages": [Stage(**each) for each in content["stages"]]})


def measure_stages(demo_dir: Path, seconds: float) -> Stages:
    """In a process of its own, on a data folder of its own.

    Raises:
        ProcessFailedError: if an answer is not the one expected.
    """
    data_dir = copy_of(demo_dir, "stages")
    command = [sys.executable, "-m", "benchmarks.stages", str(data_dir), str(seconds)]
    ended = subprocess.run(
        command,
        env=inherited_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=seconds + PATIENCE_SECONDS,
    )
    if ended.returncode:
        raise ProcessFailedError(f"The profile failed:\n{ended.stderr[-2000:]}")
    return Stages.from_json(ended.stdout)


async def _measure(application: Application, settings: Settings, seconds: float) -> Stages:
    credentials = demo_credentials(settings.data_dir)
    # No token: only the calls of the token endpoint are made.
    calls = [call for call in calls_to_compare(credentials, "") if call.path == "/token"]
    whole: list[Whole] = []
    other_threads = 0.0
    nothing = statistics.median([(await _answer_many(_do_nothing, calls[0]))[0] for _ in range(REPEATS)])
    for call in calls:
        await _check(application, call)
        await _answer_many(application, call)  # warm
        runs = [await _answer_many(application, call) for _ in range(REPEATS)]
        whole.append(Whole(call.name, statistics.median(run[0] for run in runs) - nothing))
        if call is calls[0]:
            other_threads = statistics.median(run[1] for run in runs)
    good = calls[0]
    with _sampling() as functions:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            await _answer_many(application, good)
    samples = functions.total()
    stages: Counter[str] = Counter()
    for function, count in functions.items():
        stages[_stage(function)] += count
    alone = _timed_alone(settings, good)
    rows = [
        Stage(name, count / samples * whole[0].microseconds, alone.get(name)) for name, count in stages.most_common()
    ]
    return Stages(whole, rows, samples, other_threads)


def _timed_alone(settings: Settings, good: Call) -> dict[str, float]:
    peppers = load_peppers(settings.peppers_file)
    keys = KeySet.from_file(settings.signing_keys_file, issuer=settings.issuer, audience=settings.audience)
    client_id, secret = schemas.parse_token_request(good.body)
    now = int(time.time())
    scope = _scope(good)
    context = RequestContext(scope["headers"])
    counts = RequestCounts()
    context.path, context.status, context.client_id = good.path, good.status, client_id

    def sign() -> object:
        return keys.sign(
            client_id=client_id,
            merchant_id="DEMO",
            scope="merchant",
            epoch=1,
            token_id=random_hex(),
            issued_at=now,
            expires_at=now + 28_800,
        )

    token = str(sign())
    alone: dict[str, Callable[[], object]] = {
        "read JSON strictly": lambda: schemas.parse_token_request(good.body),
        "HMAC of the secret": lambda: peppers.digest(secret),
        "claims and signature": sign,
        "write the answer's JSON": lambda: schemas.token_answer(token, 28_800),
        "log line": lambda: context.conclude(scope, counts),
    }
    return {
        name: statistics.median(timeit.repeat(call, number=REQUESTS, repeat=REPEATS)) / REQUESTS * 1e6
        for name, call in alone.items()
    }


async def _answer_many(application: Asgi, call: Call) -> tuple[float, float]:
    """Processor time a request in microseconds: of this thread, and of all others of this process."""

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": call.body, "more_body": False}

    async def send(_message: object) -> None:
        pass

    template = _scope(call)
    process, thread = time.process_time(), time.thread_time()
    for _ in range(REQUESTS):
        await application(template.copy(), receive, send)
    mine = time.thread_time() - thread
    everyone = time.process_time() - process
    await asyncio.sleep(0)  # whatever the application left to the loop has its turn
    return mine / REQUESTS * 1e6, max(everyone - mine, 0) / REQUESTS * 1e6


async def _check(application: Asgi, call: Call) -> None:
    statuses = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": call.body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        statuses.append(message.get("status", 0))

    await application(_scope(call), receive, send)
    if statuses[0] != call.status:
        raise ProcessFailedError(f"{call.name}: status {statuses[0]} instead of {call.status}")


async def _do_nothing(_scope: object, _receive: object, _send: object) -> None:
    pass


def _scope(call: Call) -> dict[str, Any]:
    headers = {"host": "127.0.0.1:8000", **call.headers, "content-length": str(len(call.body))}
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": call.method,
        "scheme": "http",
        "path": call.path,
        "raw_path": call.path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }


@contextlib.contextmanager
def _sampling() -> Iterator[Counter[str]]:
    functions: Counter[str] = Counter()
    names: dict[object, str | None] = {}

    def look(_number: int, frame: FrameType | None) -> None:
        while frame is not None:
            code = frame.f_code
            if code not in names:
                names[code] = _full_name(code.co_filename, code.co_qualname)
            if (name := names[code]) is not None:
                functions[name] += 1
                return
            frame = frame.f_back

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, SAMPLE_EVERY_SECONDS, SAMPLE_EVERY_SECONDS)
    try:
        yield functions
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _full_name(file_name: str, qualified: str) -> str | None:
    for root, package in ROOTS.items():
        if file_name.startswith(root):
            return f"{package}.{file_name.removeprefix(root).removesuffix('.py').replace(os.sep, '.')}.{qualified}"
    return None


def _stage(function: str) -> str:
    for prefix, stage in STAGES:
        if function.startswith(prefix):
            return stage
    # The module: all before the function, or the class and its function.
    parts = function.removeprefix("ecross_server.").split(".")
    return ".".join(parts[:2])


async def _serve(settings: Settings, seconds: float) -> Stages:
    application = Application(settings)
    application.auth.refresh()
    messages: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    started: asyncio.Queue[MutableMapping[str, Any]] = asyncio.Queue()
    lifespan = asyncio.ensure_future(
        application({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, messages.get, started.put)
    )
    await messages.put({"type": "lifespan.startup"})
    if (answer := await started.get())["type"] != "lifespan.startup.complete":
        raise ProcessFailedError(f"The application did not start: {answer}")
    try:
        return await _measure(application, settings, seconds)
    finally:
        await messages.put({"type": "lifespan.shutdown"})
        await lifespan


def main() -> None:
    """Measure a data folder's server and print JSON."""
    data_dir = Path(sys.argv[1])
    values: dict[str, Any] = {"data_dir": data_dir, "metrics_port": 0}
    for name in LIMITS:
        values[name.lower()] = UNREACHABLE_LIMIT
    with data_dir.with_name("stages.log").open("w", encoding="utf-8") as log:
        configure_logs("json", "info", log)
        stages = asyncio.run(_serve(Settings.model_validate(values), float(sys.argv[2])))
    print(json.dumps(dataclasses.asdict(stages)))


if __name__ == "__main__":
    main()
