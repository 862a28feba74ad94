"""`ecross catalog push` and `ecross stock push`: whole files, of which only what differs is sent."""

import contextlib
import dataclasses
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO, Final

from ecross._client import Client
from ecross.cli.failures import REFUSED, UNREACHABLE, UsageError
from ecross.cli.lists import ERASE
from ecross.cli.output import duration, plain, print_facts, print_json, redact, say
from ecross.cli.session import open_client
from ecross.types import SyncFault, SyncProgress, SyncReport

STANDARD_INPUT: Final = "-"
INTERRUPTED: Final = 130
REST_SECONDS: Final = 0.1
"""A person reads no faster, and a terminal may be slow."""
STAGES: Final = {"reading": "lines read", "comparing": "entries compared"}


def push_catalog(profile: str | None, file: str, **options: Any) -> int:  # noqa: ANN401 - those of `_push`
    """Push a catalog, and print what became of it; the exit code."""
    return _push(profile, file, lambda client: client.catalog.sync, "product", **options)


def push_stock(profile: str | None, file: str, **options: Any) -> int:  # noqa: ANN401 - those of `_push`
    """Push stock, and print what became of it; the exit code."""
    return _push(profile, file, lambda client: client.inventory.sync, "record", **options)


def _push(
    profile: str | None,
    file: str,
    method: Callable[[Client], Callable[..., SyncReport]],
    thing: str,
    *,
    workers: int,
    is_dry_run: bool,
    is_full: bool,
    as_json: bool,
) -> int:
    with open_client(profile) as client, _interruptions() as interrupted, _progress(as_json=as_json) as on_progress:
        report = method(client)(
            _source(file),
            workers=workers,
            dry_run=is_dry_run,
            full=is_full,
            should_stop=interrupted.is_set,
            on_progress=on_progress,
        )
    if as_json:
        print_json(_wire(report, thing))
    else:
        _print(report, thing)
    if interrupted.is_set() and not report.is_whole:
        return INTERRUPTED
    if report.refused:
        return REFUSED
    return UNREACHABLE if report.failed or report.stopped_by else 0


def _source(file: str) -> BinaryIO | Path:
    if file != STANDARD_INPUT:
        return Path(file)
    if sys.stdin is None:
        raise UsageError("Standard input is closed, so there is nothing to push.")
    return sys.stdin.buffer


@contextlib.contextmanager
def _interruptions() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C: what is under way ends, and the report is printed. The second one ends at once."""
    interrupted = threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _progress(*, as_json: bool) -> Iterator[Callable[[SyncProgress], None] | None]:
    """Tells a person how far it is, on a terminal alone."""
    if as_json or not sys.stderr.isatty():
        yield None
        return

    told_at, stage = -math.inf, ""

    def tell(progress: SyncProgress) -> None:
        nonlocal told_at, stage
        now = time.monotonic()
        if progress.stage == stage and progress.done != progress.total and now < told_at + REST_SECONDS:
            return
        told_at, stage = now, progress.stage
        done = f"{progress.done}" if progress.total is None else f"{progress.done} of {progress.total}"
        refused = f", {progress.refused} refused" if progress.refused else ""
        sys.stderr.write(f"{ERASE}{done} {STAGES.get(progress.stage, 'done')}{refused} ...")
        sys.stderr.flush()

    try:
        yield tell
    finally:
        sys.stderr.write(ERASE)
        sys.stderr.flush()


def _print(report: SyncReport, thing: str) -> None:
    """The report for people."""
    print_facts(_facts(report, thing))
    for refusal in report.refusals:
        for fault in refusal.faults:
            say(f"refused: {_text(refusal.key, thing, fault)}")
    for failure in report.failures:
        say(f"failed: {plain(redact(f'{thing} {failure.key}: {failure.message}'))}")
    for listed, count in ((report.refusals, report.refused), (report.failures, report.failed)):
        if len(listed) < count:
            say(f"... and {count - len(listed)} more, which are not listed.")
    if report.stopped_by:
        say(f"Stopped: {plain(redact(report.stopped_by))} The same command goes on from here.")


def _facts(report: SyncReport, thing: str) -> dict[str, str]:
    """The counts, without those that are rarely anything but 0."""
    would_be = "would be " if report.is_dry_run else ""
    facts = {
        f"{would_be}sent": f"{_count(report.sent, thing)}{_skus(report.skus_sent, thing)}",
        "unchanged": f"{_count(report.unchanged, thing)}{_skus(report.skus_unchanged, thing)}",
        "refused": _count(report.refused, thing),
    }
    rare = {
        f"{would_be}deleted": (report.skus_removed, "SKU", ""),
        "failed": (report.failed, thing, "; the next run sends them again"),
        "left over": (report.left_over, thing, "; the next run sends them"),
        "not in the file": (report.absent, thing, " of the server, left alone"),
    }
    facts |= {name: _count(number, what) + more for name, (number, what, more) in rare.items() if number}
    rate = f", {report.skus_per_second:.0f} SKUs a second" if report.skus_sent and not report.is_dry_run else ""
    return facts | {"took": duration(report.seconds) + rate}


def _text(key: str | None, thing: str, fault: SyncFault) -> str:
    places = [*([f"line {fault.line}"] if fault.line else []), *([f"{thing} {key}"] if key else [])]
    path = f"{fault.path} " if fault.path else ""
    return plain(redact(f"{', '.join(places)}: {path}{fault.message}"))


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"


def _skus(number: int, thing: str) -> str:
    return f", {_count(number, 'SKU')}" if thing == "product" else ""


def _wire(report: SyncReport, thing: str) -> dict[str, Any]:
    """The report for programs."""
    return {
        "dryRun": report.is_dry_run,
        "stoppedBy": report.stopped_by,
        f"{thing}s": {
            "sent": report.sent,
            "unchanged": report.unchanged,
            "refused": report.refused,
            "failed": report.failed,
            "leftOver": report.left_over,
            "absent": report.absent,
        },
        "skus": {"sent": report.skus_sent, "unchanged": report.skus_unchanged, "removed": report.skus_removed},
        "refusals": [
            {"key": each.key, "faults": [dataclasses.asdict(fault) for fault in each.faults]}
            for each in report.refusals
        ],
        "failures": [dataclasses.asdict(each) for each in report.failures],
        "seconds": round(report.seconds, 3),
        "skusPerSecond": round(report.skus_per_second, 1),
    }
