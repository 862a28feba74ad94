"""Memory and open descriptors of a server with two workers while it issues a million tokens, in rounds.

After each round every process is looked at. What grows shows as a slope: the line of least squares through the rounds,
without the first fifth, in which caches and pools fill.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.calls import token_call
from benchmarks.load import Target, run_load, save_call
from benchmarks.processes import Running, children, memory
from benchmarks.servers import copy_of, demo_credentials, serving

WORKERS: Final = 2
ROUNDS: Final = 20
ROUND_SECONDS: Final = 3
FIRST_ROUNDS: Final = 4
FLAT_MB: Final = 0.5
"""A slope of all processes together that a million tokens would turn into 5 MB; what is above is a leak."""
FLAT_DESCRIPTORS: Final = 0.5
PER_TOKENS: Final = 100_000


@dataclass(frozen=True, slots=True)
class Sample:
    """All processes of the server together, after so many tokens."""

    tokens: int
    per_second: float
    pss_mb: float
    rss_mb: float
    highest_rss_mb: float
    descriptors: int


@dataclass(frozen=True, slots=True)
class Soak:
    """What was seen, and what grows for each 100,000 tokens."""

    samples: Sequence[Sample]
    pss_mb: float
    descriptors: float

    @property
    def is_flat(self) -> bool:
        """Whether nothing grows that a longer run would turn into trouble."""
        return self.pss_mb <= FLAT_MB and self.descriptors <= FLAT_DESCRIPTORS


def soak(demo_dir: Path, tokens: int, tell: Callable[[str], None]) -> Soak:
    """Issue so many tokens, and look.

    Raises:
        ProcessFailedError: if an answer is not the one expected.
    """
    data_dir = copy_of(demo_dir, "soak")
    with serving(data_dir, workers=WORKERS, log_level="warning") as server:
        call = token_call(demo_credentials(data_dir))
        target = Target(server, call, save_call(call, demo_dir.parent / "call-soak"))
        first = run_load(target, 1)
        seconds = max(1, min(ROUND_SECONDS * 10, round(tokens / first.per_second / ROUNDS)))
        samples = [_look(server, 0, first.per_second)]
        issued = 0
        while issued < tokens or len(samples) <= FIRST_ROUNDS + 2:
            run = run_load(target, seconds)
            issued += round(run.per_second * seconds)
            samples.append(_look(server, issued, run.per_second))
            tell(f"{issued:,} of {tokens:,} tokens, {samples[-1].pss_mb:.1f} MB")
    settled = samples[max(FIRST_ROUNDS, len(samples) // 5) :]
    return Soak(
        samples,
        _slope(settled, lambda sample: sample.pss_mb),
        _slope(settled, lambda sample: sample.descriptors),
    )


def print_soak(result: Soak) -> None:
    """Print a table and the verdict."""
    print("  tokens        tokens/s   PSS of all   RSS of all   largest RSS   descriptors")
    for each in result.samples:
        print(
            f"{each.tokens:>12,} {each.per_second:>11,.0f} {each.pss_mb:>9.1f} MB {each.rss_mb:>9.1f} MB "
            f"{each.highest_rss_mb:>10.1f} MB {each.descriptors:>13}"
        )
    print()
    print(
        f"for each {PER_TOKENS:,} tokens: {result.pss_mb:+.3f} MB PSS (at most {FLAT_MB}), "
        f"{result.descriptors:+.2f} descriptors (at most {FLAT_DESCRIPTORS}): {'flat' if result.is_flat else 'GROWING'}"
    )


def _look(server: Running, tokens: int, per_second: float) -> Sample:
    pids = [server.pid, *children(server.pid)]
    each = [memory(pid) for pid in pids]
    return Sample(
        tokens,
        per_second,
        sum(one.pss_mb for one in each),
        sum(one.rss_mb for one in each),
        max(one.rss_mb for one in each),
        sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in pids),
    )


def _slope(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    line = statistics.linear_regression([each.tokens for each in samples], [value(each) for each in samples])
    return line.slope * PER_TOKENS
