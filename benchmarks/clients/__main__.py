"""`python -m benchmarks.clients`: measure our client beside others and write `benchmarks/CLIENTS.md`."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks.clients import contestants
from benchmarks.figures import Spread
from benchmarks.processes import ProcessFailedError, Running, running

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
FOLDER: Final = ROOT / ".peers" / "clients"
PYTHON: Final = FOLDER / "bin" / "python"
SHOWN: Final = {
    "ecross": "ecross `Client`",
    "ecross-auth": "ecross `EcrossAuth` under httpx2",
    "authlib": "Authlib under requests",
    "google-auth": "google-auth under requests",
    "msal": "MSAL beside requests",
    "httpx-auth": "httpx-auth under httpx",
    "httpx2": "httpx2 alone, token at hand",
    "requests": "requests alone, token at hand",
}
ALONE: Final = ("httpx2", "requests")
OURS: Final = ("ecross", "ecross-auth", "httpx2")
RUNS_OF_CRON: Final = 4
LIMIT_SECONDS: Final = 120


@dataclass(frozen=True, slots=True)
class Figures:
    """What one client did."""

    name: str
    tokens_together: int
    succeeded_together: int
    tokens_of_runs: int
    per_second: Spread
    cpu_us: Spread


def main() -> int:
    """Measure and report; the exit code: 0 done, 1 a client failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one round, printed alone")
    is_quick: bool = parser.parse_args().quick
    load_average = os.getloadavg()[0]
    try:
        install()
        figures = measure(1 if is_quick else 3)
    except (ProcessFailedError, subprocess.SubprocessError) as error:
        print(error, file=sys.stderr)
        return 1
    report = write_report(figures, load_average)
    if not is_quick:
        (ROOT / "benchmarks" / "CLIENTS.md").write_text(report, encoding="utf-8")
    print(report)
    return 0


def install() -> None:
    """Make the others' environment, unless it is there."""
    stamp = FOLDER / "installed"
    wanted = sys.version + (HERE / "requirements.txt").read_text(encoding="utf-8")
    if stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "-qq", "install", "--no-deps", "--require-hashes"]
    for command in ([sys.executable, "-m", "venv", str(FOLDER)], [*pip, "-r", str(HERE / "requirements.txt")]):
        subprocess.run(command, check=True)
    stamp.write_text(wanted, encoding="utf-8")


def measure(rounds: int) -> list[Figures]:
    """All clients in turns against one server."""
    with tempfile.TemporaryDirectory(prefix="ecross-clients-") as folder:
        command = [sys.executable, "-m", "benchmarks.clients.server"]
        with running(command, os.environ, Path(folder) / "server.log") as server:
            tokens = {name: count_tokens(name, server, Path(folder)) for name in SHOWN if name not in ALONE}
            rates: dict[str, list[dict[str, float]]] = {name: [] for name in SHOWN}
            for _ in range(rounds):
                for name, found in rates.items():
                    found.append(work(name, "rate", server, Path(folder) / f"{name}-rate"))
    return [
        Figures(
            name,
            *tokens.get(name, (0, 0, 0)),
            Spread.of([each["per_second"] for each in found]),
            Spread.of([each["cpu_us"] for each in found]),
        )
        for name, found in rates.items()
    ]


def count_tokens(name: str, server: Running, folder: Path) -> tuple[int, int, int]:
    """Tokens asked for by threads at once, calls of theirs that succeeded, tokens asked for by runs in turn."""
    reset(server)
    succeeded: int = work(name, "together", server, folder / f"{name}-together")["succeeded"]
    together = reset(server)
    for _ in range(RUNS_OF_CRON):
        work(name, "once", server, folder / f"{name}-once")
    return together, succeeded, reset(server)


def work(name: str, what: str, server: Running, cache: Path) -> Any:  # noqa: ANN401 - JSON
    """Have a client do some work in a process of its own."""
    python = sys.executable if name in OURS else str(PYTHON)
    ended = subprocess.run(
        [python, str(HERE / "contestants.py"), name, what, f"http://{server.host}:{server.port}"],
        env={"PATH": os.defpath, "HOME": str(cache.parent), "ECROSS_CACHE_DIR": str(cache)},
        capture_output=True, text=True, check=False, timeout=LIMIT_SECONDS,
    )  # fmt: skip
    if ended.returncode:
        raise ProcessFailedError(f"{name} failed: {ended.stderr[-2000:]}")
    return json.loads(ended.stdout)


def reset(server: Running) -> int:
    """How many tokens were issued since the last time; none of them is live any more."""
    with urllib.request.urlopen(f"http://{server.host}:{server.port}/reset") as answer:
        count: int = json.load(answer)["tokens"]
    return count


def write_report(figures: list[Figures], load_average: float) -> str:
    """The report, in Markdown."""
    pinned = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (HERE / "requirements.txt").read_text(), re.MULTILINE))
    versions = ", ".join(
        f"{name} {pinned[name]}" for name in ("authlib", "google-auth", "msal", "httpx-auth", "requests")
    )
    machine = f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load average {load_average:.1f} before"
    columns = (
        "client",
        f"tokens for {contestants.THREADS} threads at once",
        "of their calls succeeded",
        f"tokens for {RUNS_OF_CRON} runs of a job",
        "calls a second, one thread",
        "CPU a call",
    )
    lines = [
        "# Clients, side by side",
        "",
        f"{dt.datetime.now(dt.UTC).date().isoformat()}, {machine}; {versions}.",
        "`.venv/bin/python -m benchmarks.clients`",
        "",
        "A server on the same machine counts the tokens; one takes it 50 ms. Each client is used as its documentation",
        "shows, with what it does of itself; Authlib begins with a token that is over, as it fetches no first one.",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    for each in figures:
        tokens = ["", "", ""]
        if each.name not in ALONE:
            tokens = [str(each.tokens_together), str(each.succeeded_together), str(each.tokens_of_runs)]
        speed = f"{each.per_second.median:,.0f} ({each.per_second.smallest:,.0f} to {each.per_second.largest:,.0f})"
        lines.append(f"| {SHOWN[each.name]} | {' | '.join(tokens)} | {speed} | {each.cpu_us.median:,.0f} µs |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
