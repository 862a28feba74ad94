"""How much an unthrottled client gets beyond a budget that several processes share through Redis.

Each process has a client of its own that asks again as soon as it has its decision, all for one key. The overshoot is
what they got together beyond the budget and what came back of it meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Final

from benchmarks.figures import Spread
from benchmarks.processes import ProcessFailedError
from benchmarks.servers import inherited_environment
from ecross_server.auth.limits.local import BudgetTable
from ecross_server.auth.limits.policies import Policy
from ecross_server.auth.limits.shared import SharedBudgets
from ecross_server.kit.logs import configure_logs

REDIS_URL: Final = os.environ.get("ECROSS_TEST_REDIS_URL", "redis://127.0.0.1:6379/0")
BUDGETS: Final = (60, 300)
PROCESSES: Final = (2, 16)
PERIOD_SECONDS: Final = 60
ATTACK_SECONDS: Final = 5.0
START_SECONDS: Final = {2: 3.0, 16: 12.0}
PATIENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Overshoot:
    """What so many processes let through of one budget, in percent beyond it, and how often they asked Redis."""

    processes: int
    budget: int
    allowed_percent: int
    percent: Spread
    decisions_per_second: float
    asked_percent: float
    longest_wait_ms: float


def measure_limits(rounds: int) -> list[Overshoot]:
    """Attack each budget with each number of processes.

    Raises:
        ProcessFailedError: if Redis is not there.
    """
    return [_measure(processes, budget, rounds) for processes in PROCESSES for budget in BUDGETS]


def _measure(processes: int, budget: int, rounds: int) -> Overshoot:
    runs = [_attack(processes, budget) for _ in range(rounds)]
    allowed = budget + budget * ATTACK_SECONDS / PERIOD_SECONDS
    decided = sum(run[1] for run in runs)
    return Overshoot(
        processes,
        budget,
        20 if processes == PROCESSES[0] else 50,
        Spread.of([(run[0] / allowed - 1) * 100 for run in runs]),
        decided / rounds / ATTACK_SECONDS,
        sum(run[2] for run in runs) / decided * 100,
        max(run[3] for run in runs),
    )


def _attack(processes: int, budget: int) -> tuple[int, int, int, float]:
    arguments = [str(budget), secrets.token_hex(8), str(time.time() + START_SECONDS[processes])]
    command = [sys.executable, "-m", "benchmarks.limits", *arguments]
    running = [
        subprocess.Popen(command, env=inherited_environment(), stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    try:
        outputs = [process.communicate(timeout=PATIENCE_SECONDS)[0].split() for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
    if not all(outputs):
        raise ProcessFailedError(f"Shared limits cannot be measured: no Redis answers at {REDIS_URL}.")
    admitted, decided, asked = (sum(int(output[column]) for output in outputs) for column in range(3))
    return admitted, decided, asked, max(float(output[3]) for output in outputs)


async def _send(budget: int, key: str, begin: float) -> None:
    budgets = SharedBudgets.at(REDIS_URL, BudgetTable(1024))
    budgets.start()
    policy = Policy("client", budget, PERIOD_SECONDS)
    hashed = hash((policy.name, key))
    await asyncio.sleep(max(0.0, begin - time.time()))
    if not budgets.is_up:
        raise SystemExit(1)
    admitted = decided = asked = 0
    longest = 0.0
    while time.time() < begin + ATTACK_SECONDS:
        left = budgets.spend(policy, key, hashed, time.monotonic())
        if left is None:
            asked += 1
            began = time.perf_counter()
            left = await budgets.ask(policy, hashed)
            longest = max(longest, time.perf_counter() - began)
        admitted += left >= 0
        decided += 1
        await asyncio.sleep(0)
    await budgets.stop()
    print(admitted, decided, asked, longest * 1000)


if __name__ == "__main__":
    configure_logs("json", "error")
    asyncio.run(_send(int(sys.argv[1]), sys.argv[2], float(sys.argv[3])))
