"""The servers in turns, path by path: how many a second, p50, p99, processor time a request, memory.

All of them run throughout, idle but for the one whose turn it is; each round begins with another. The do-nothing
routes, in two processes as well, have their turns with them. The load generator shares the processors with every
server alike.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.calls import NULL, Call, token_call
from benchmarks.figures import Spread
from benchmarks.load import Run, Target, run_load, save_call
from benchmarks.peers.contestants import CONTESTANTS, PATHS, WORKERS, Prepared, calls_of, check_answers
from benchmarks.processes import Memory, Running, memory_of_all
from benchmarks.servers import demo_credentials, serving_nothing

NULL_NAME: Final = "do-nothing Starlette route"
RAW_NAME: Final = "do-nothing ASGI application with a token's traffic"
GOOD: Final = PATHS[0]


@dataclass(frozen=True, slots=True)
class Figures:
    """A server's runs on one path, in the order of the rounds."""

    name: str
    path: str
    is_ours: bool
    runs: tuple[Run, ...]

    @property
    def per_second(self) -> Spread:
        """Requests answered in a second."""
        return Spread.of([run.per_second for run in self.runs])

    @property
    def cpu_us(self) -> Spread:
        """Processor time a request of all processes of the server."""
        return Spread.of([run.cpu_us for run in self.runs])

    @property
    def p50_ms(self) -> Spread:
        """Half of the answers took no longer."""
        return Spread.of([run.p50_ms for run in self.runs])

    @property
    def p99_ms(self) -> Spread:
        """All but a hundredth of the answers took no longer."""
        return Spread.of([run.p99_ms for run in self.runs])


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that was measured. The do-nothing routes have one path."""

    rounds: int
    seconds: int
    figures: tuple[Figures, ...]
    memory: dict[str, Memory] = field(default_factory=dict)
    """Of all processes of a server together, after its runs."""

    def of(self, name: str, path: str = GOOD) -> Figures:
        """The figures of a server."""
        return next(each for each in self.figures if (each.name, each.path) == (name, path))

    @property
    def fastest_peer(self) -> Figures:
        """The peer that issues the most tokens."""
        peers = [each for each in self.figures if each.path == GOOD and not each.is_ours and each.name not in NOTHINGS]
        return max(peers, key=lambda each: each.per_second.median)


NOTHINGS: Final = (NULL_NAME, RAW_NAME)


def compare(demo_dir: Path, rounds: int, seconds: int, warm_up_seconds: int) -> Comparison:
    """Measure all of them.

    Raises:
        ProcessFailedError: if an answer is not the one expected.
    """
    folder = demo_dir.parent
    with contextlib.ExitStack() as stack:
        nothing_calls = (NULL, dataclasses.replace(token_call(demo_credentials(demo_dir)), name=RAW_NAME))
        nothings = [
            _target(
                stack.enter_context(serving_nothing(folder, workers=WORKERS, raw=call is not NULL)), call, folder, name
            )
            for name, call in zip(NOTHINGS, nothing_calls, strict=True)
        ]
        targets: dict[tuple[str, str], Target] = {}
        for number, contestant in enumerate(CONTESTANTS):
            name = f"contestant-{number}"
            prepared = Prepared(folder, name, demo_dir, demo_credentials(demo_dir), signing_key=secrets.token_bytes(32))
            server = stack.enter_context(contestant.start(prepared))
            calls = calls_of(contestant, prepared.credentials)
            check_answers(contestant, server, calls, prepared)
            for path, call in calls.items():
                targets[contestant.name, path] = _target(server, call, folder, f"{name}-{path}")
        for target in (*nothings, *targets.values()):
            run_load(target, warm_up_seconds)
        runs: dict[tuple[str, str], list[Run]] = {}
        for number in range(rounds):
            for path in PATHS:
                turn: list[tuple[str, Target]] = [(each.name, targets[each.name, path]) for each in CONTESTANTS]
                if path == GOOD:
                    turn += zip(NOTHINGS, nothings, strict=True)
                first = number % len(turn)
                for name, target in turn[first:] + turn[:first]:
                    runs.setdefault((name, path), []).append(run_load(target, seconds))
        memory = {each.name: memory_of_all(targets[each.name, GOOD].server.pid) for each in CONTESTANTS}
    ours = {each.name for each in CONTESTANTS if each.is_ours}
    figures = tuple(Figures(name, path, name in ours, tuple(each)) for (name, path), each in runs.items())
    return Comparison(rounds, seconds, figures, memory)


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """One beside the other, round by round."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def _target(server: Running, call: Call, folder: Path, name: str) -> Target:
    folder_name = re.sub(r"\W+", "-", f"call {name}")
    return Target(server, call, save_call(call, folder / folder_name))
