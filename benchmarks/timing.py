"""Whether time tells why a token request was refused.

The application is put together as a worker does it and answers requests without any HTTP, in rounds: each round asks
once for every cause, in an order drawn anew, so that whatever else the machine does meets all alike. What is compared
are the differences within rounds. A median's bootstrap distribution needs no resampling: that of `n` draws is the value
at a position that follows a beta distribution.

`python -m benchmarks.timing DATA_DIR ROUNDS` does this in a process of its own and prints JSON.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import json
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks.calls import JSON
from benchmarks.processes import ProcessFailedError
from benchmarks.servers import LIMITS, UNREACHABLE_LIMIT, copy_of, demo_credentials, inherited_environment
from ecross_server.app.assembly import Application
from ecross_server.audit.rules import derive_keys
from ecross_server.audit.service import Actor
from ecross_server.kit.clock import utc_now
from ecross_server.kit.logs import configure_logs
from ecross_server.merchants import service as merchants
from ecross_server.merchants.rules import new_client_id, new_client_secret
from ecross_server.settings import Settings

BOUND_US: Final = 5.0
DRAWS: Final = 20_000
INTERVAL: Final = 0.95
WARM_ROUNDS: Final = 500
ROUNDS_PER_REFRESH: Final = 1_000
SECONDS_PER_ROUND: Final = 0.001
"""Far more than one takes."""
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Difference:
    """How much longer one cause takes than another, in microseconds: the median, and its 95 % interval."""

    cause: str
    other: str
    median_us: float
    low_us: float
    high_us: float
    rounds: int

    @property
    def is_within(self) -> bool:
        """Whether the whole interval lies within the bound."""
        return self.low_us >= -BOUND_US and self.high_us <= BOUND_US


def measure_timing(demo_dir: Path, rounds: int) -> list[Difference]:
    """The differences between each two causes, measured in a process of its own.

    Raises:
        ProcessFailedError: if an answer is not the one expected.
    """
    data_dir = copy_of(demo_dir, "timing")
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.timing", str(data_dir), str(rounds)],
        env=inherited_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=rounds * SECONDS_PER_ROUND + PATIENCE_SECONDS,
    )
    if ended.returncode:
        raise ProcessFailedError(f"The comparison of causes failed:\n{ended.stderr[-2000:]}")
    return [Difference(**each) for each in json.loads(ended.stdout)]


def median_interval(values: Sequence[float], draws: int = DRAWS) -> tuple[float, float, float]:
    """The median and the ends of its bootstrap interval."""
    ordered = sorted(values)
    middle = (len(ordered) + 1) / 2
    medians = sorted(ordered[int(len(ordered) * random.betavariate(middle, middle))] for _ in range(draws))
    cut = (1 - INTERVAL) / 2
    return statistics.median(ordered), medians[int(draws * cut)], medians[int(draws * (1 - cut))]


def _make_causes(application: Application, settings: Settings) -> dict[str, tuple[str, str]]:
    """A client id and a secret for each cause to refuse them."""
    peppers = merchants.load_peppers(settings.peppers_file)
    by = Actor("operator:benchmark", derive_keys(peppers.current, peppers.keys))

    with application.database.write() as session:
        issued = {}
        for merchant_id, life in (("DISABLED", None), ("EXPIRED", timedelta(seconds=-1))):
            merchants.register_merchant(session, merchant_id, merchant_id, now=utc_now(), by=by)
            issued[merchant_id] = merchants.issue_credential(
                session, merchant_id, peppers=peppers, now=utc_now(), expires_in=life, by=by
            )
        merchants.disable_merchant(session, "DISABLED", by=by)
    disabled, expired = issued["DISABLED"], issued["EXPIRED"]
    return {
        "wrong secret": (demo_credentials(settings.data_dir).client_id, new_client_secret()),
        "unknown client": (new_client_id("DEMO"), new_client_secret()),
        "disabled merchant": (disabled.client.id, disabled.client_secret),
        "expired secret": (expired.client.id, expired.client_secret),
    }


class Asker:
    """Asks the application for a token with one pair of credentials, always the same way."""

    def __init__(self, application: Application, client_id: str, secret: str) -> None:
        self._application = application
        self._body = json.dumps({"clientId": client_id, "clientSecret": secret}).encode()
        headers = {"host": "127.0.0.1:8000", **JSON, "content-length": str(len(self._body))}
        self._scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/token",
            "raw_path": b"/token",
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 50_000),
            "server": ("127.0.0.1", 8000),
            "state": {},
        }
        self.status = 0

    async def _receive(self) -> dict[str, object]:
        return {"type": "http.request", "body": self._body, "more_body": False}

    async def _send(self, message: Any) -> None:  # noqa: ANN401 - likewise
        self.status = message.get("status", self.status)

    def ask(self) -> float:
        """The microseconds from the request to its answer. Nothing in it ever waits, so it needs no event loop."""
        call = self._application(self._scope.copy(), self._receive, self._send)
        began = time.perf_counter_ns()
        try:
            call.send(None)
        except StopIteration:
            return (time.perf_counter_ns() - began) / 1000
        raise ProcessFailedError("The request waited for something.")


def _compare(application: Application, causes: dict[str, tuple[str, str]], rounds: int) -> Iterable[Difference]:
    askers = {cause: Asker(application, *pair) for cause, pair in causes.items()}
    taken: dict[str, list[float]] = {cause: [] for cause in askers}
    order = list(askers)
    for number in range(rounds + WARM_ROUNDS):
        if number % ROUNDS_PER_REFRESH == 0:
            application.auth.refresh()  # nothing else does, and old knowledge is refused
        random.shuffle(order)
        for cause in order:
            microseconds = askers[cause].ask()
            if number >= WARM_ROUNDS:
                taken[cause].append(microseconds)
    for cause, asker in askers.items():
        if asker.status != 401:  # noqa: PLR2004 - every cause's
            raise ProcessFailedError(f"{cause}: status {asker.status} instead of 401")
    for cause, other in itertools.combinations(taken, 2):
        pairs = zip(taken[cause], taken[other], strict=True)
        yield Difference(cause, other, *median_interval([mine - its for mine, its in pairs]), rounds)


def main() -> None:
    """Compare the causes on a data folder's server and print JSON."""
    data_dir = Path(sys.argv[1])
    values: dict[str, Any] = {"data_dir": data_dir, "metrics_port": 0}
    for name in LIMITS:
        values[name.lower()] = UNREACHABLE_LIMIT
    settings = Settings.model_validate(values)
    with data_dir.with_name("timing.log").open("w", encoding="utf-8") as log:
        configure_logs("json", "info", log)
        application = Application(settings)
        causes = _make_causes(application, settings)
        gc.disable()  # a collection in one of ten thousand requests says nothing of its cause
        differences = list(_compare(application, causes, int(sys.argv[2])))
        application.database.close()
    print(json.dumps([dataclasses.asdict(each) for each in differences]))


if __name__ == "__main__":
    main()
