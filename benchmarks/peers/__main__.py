"""`python -m benchmarks.peers`: measure our server beside its peers and write `benchmarks/REPORT.md`."""

from __future__ import annotations

import argparse
import datetime as dt
import os
import signal
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from benchmarks.load import HOW_TO_GET_WRK, has_wrk
from benchmarks.peers.compare import compare
from benchmarks.peers.install import FOLDER, install, versions
from benchmarks.peers.report import Circumstances, write_report
from benchmarks.processes import ProcessFailedError
from benchmarks.servers import make_demo_folder
from benchmarks.stages import measure_stages

BENCHMARKS: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done for a figure. All of it ends after `limit_seconds`, finished or not."""

    rounds: int
    run_seconds: int
    warm_up_seconds: int
    sample_seconds: float
    limit_seconds: int
    reports_to: Path


FULL: Final = Effort(3, 5, 2, sample_seconds=5, limit_seconds=1800, reports_to=BENCHMARKS)
QUICK: Final = Effort(1, 2, 1, sample_seconds=2, limit_seconds=600, reports_to=FOLDER)


def main() -> int:
    """Measure and report; the exit code: 0 done, 1 a server failed or time ran out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"one short round, reported to {FOLDER.name}/ instead")
    parser.add_argument("--provisional", action="store_true", help="say in the report that the machine was busy")
    arguments = parser.parse_args()
    if not has_wrk():
        _tell(HOW_TO_GET_WRK)
        return 1
    effort = QUICK if arguments.quick else FULL
    # All of these end in the ordinary way, so that every server is stopped and every folder removed.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, _end)
    signal.alarm(effort.limit_seconds)
    load_average = os.getloadavg()[0]
    try:
        _tell("fetching the peers ...")
        install()
        with tempfile.TemporaryDirectory(prefix="ecross-peers-") as folder:
            demo_dir = make_demo_folder(Path(folder))
            _tell("measuring where the microseconds go ...")
            stages = measure_stages(demo_dir, effort.sample_seconds)
            _tell("measuring servers in turns ...")
            comparison = compare(demo_dir, effort.rounds, effort.run_seconds, effort.warm_up_seconds)
        circumstances = Circumstances(
            date=dt.datetime.now(dt.UTC).date().isoformat(),
            command="make bench-peers QUICK=1" if arguments.quick else "make bench-peers",
            load_average=load_average,
            is_provisional=arguments.provisional,
            peer_versions=versions(),
        )
    except ProcessFailedError as error:
        _tell(str(error))
        return 1
    finally:
        signal.alarm(0)
    print(write_report(effort.reports_to, comparison, stages, circumstances))
    return 0


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _end(number: int, _frame: object) -> NoReturn:
    if number == signal.SIGALRM:
        raise ProcessFailedError("Time ran out; nothing is reported.")
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
