"""The runner: claims one job after another, has its domain's handler do it, and sees to those that fail.

A claim counts the attempt, and holds for a time. The last transaction of a handler removes the job together with what
the handler writes, so that this happens once; and claims the next one, so that a job costs one transaction.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import SystemRandom
from typing import Any, Final, Protocol

import structlog
from sqlalchemy import Row
from sqlalchemy.orm import Session

from ecross_server.jobs import repository, rules
from ecross_server.jobs.errors import LostClaimError
from ecross_server.jobs.rules import Job, Payload, Policy
from ecross_server.kit.clock import Clock, utc_now
from ecross_server.kit.database import Database, DatabaseAwayError

__all__ = ["Job", "Payload", "Policy"]  # what handlers are told, and what their kinds say

POLL_SECONDS: Final = 1.0
RUSH_WITHIN: Final = timedelta(seconds=1)
RANDOM: Final = SystemRandom()

DONE, RETRIED, DEAD, LOST, INTERRUPTED = "done", "retried", "dead", "lost", "interrupted"
"""What comes of a run: done, to be tried again, given up, another's by now, ended with its process."""

log = structlog.get_logger("ecross_server.jobs")


class Finish(Protocol):
    """How a handler gets at the database."""

    def __call__(self) -> AbstractContextManager[Session]:
        """The last transaction: it removes the job, and what is written in it happens once.

        Raises:
            LostClaimError: if the job is another process's by now. It is not to be caught.
            DatabaseAwayError: if the database does not answer; nor is this.
        """
        ...

    def read(self) -> AbstractContextManager[Session]:
        """A transaction that reads, before the last one."""
        ...

    def take_along(
        self, session: Session, prefix: str, how_many: Callable[[Sequence[Payload]], int]
    ) -> Sequence[Payload]:
        """What other jobs hold that are done in the last transaction together with this one, which it removes.

        They are of its kind, came next when it was claimed, have keys that begin so, and nobody has begun them. Of
        those that it is shown, in their order, `how_many` tells how many are done. A job that is tried again has none.
        Whoever takes a turn to queue such jobs must be kept from it before: this locks them.
        """
        ...

    @property
    def clock(self) -> Clock:
        """The time by which jobs are run."""
        ...


Handler = Callable[[Job, Finish], None]
"""Does a job. What it does outside of `finish()` may happen again; one that does not call it is finished for it."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job."""

    handler: Handler
    policy: Policy = field(default_factory=Policy)


class Runner:
    """Runs the jobs of the kinds that it knows, one at a time; those of others wait for a server that knows them.

    `runs` counts by kind and outcome. `worker` is the name of its place: whoever comes after it has the same. `arm` is
    told how long the run that begins may take, and 0 when it has ended.
    """

    def __init__(
        self,
        database: Database,
        kinds: Mapping[str, Kind],
        *,
        worker: str,
        clock: Clock = utc_now,
        poll_seconds: float = POLL_SECONDS,
        random: Callable[[], float] = RANDOM.random,
        arm: Callable[[float], object] = lambda _: None,
    ) -> None:
        self.runs: Counter[tuple[str, str]] = Counter()
        self._database = database
        self._kinds = kinds
        self._worker = worker
        self._clock = clock
        self._poll_seconds = poll_seconds
        self._random = random
        self._arm = arm
        self._numbers = itertools.count(1)
        self._turns = itertools.cycle(map(rules.looked_for, rules.TURNS))
        self._is_over: Callable[[float], bool] = lambda _: False

    def run_due(self) -> int:
        """Run all that is due, and what that queues to be run at once; how many runs that were.

        Raises:
            DatabaseAwayError: if the database does not answer.
        """
        count = 0
        while (job := self._claim_first()) is not None:
            while job is not None:
                job = self._run(job)
                count += 1
        return count

    def run_until(self, is_over: Callable[[float], bool]) -> None:
        """Run what comes due, until the end: `is_over` waits for so many seconds at most, and tells."""
        self._is_over = is_over
        is_away, must_release = False, True
        seconds = 0.0
        while not is_over(seconds):
            seconds = self._poll_seconds
            try:
                if must_release:
                    self.release()
                    must_release = False
                self.run_due()
            except DatabaseAwayError:
                must_release = True  # what was being run then
                if not is_away:
                    log.error("jobs_wait", reason=DatabaseAwayError.code)  # noqa: TRY400 - the code says it all
                is_away = True
            else:
                if is_away:
                    log.info("jobs_go_on")
                is_away = False

    def release(self) -> int:
        """Free what this place has claimed: at the start, what the process before it was at. How many jobs."""
        with self._database.write() as session:
            claimed = repository.list_claimed_by(session, self._worker)
            outcomes = [(row, self._end_interrupted(session, row)) for row in claimed]
        for row, outcome in outcomes:
            self._tell(row.kind, outcome, row.attempts, error=rules.PROCESS_ENDED)
        return len(outcomes)

    def _end_interrupted(self, session: Session, row: Row[Any]) -> str:
        now = self._clock()
        policy = self._policy(row.kind)
        if row.attempts >= policy.most_attempts:
            repository.bury_job(session, row.id, row.claim, now, rules.PROCESS_ENDED)
            return DEAD
        repository.free_job(session, row.id, row.claim, now + self._delay(policy, row.attempts), rules.PROCESS_ENDED)
        return INTERRUPTED

    def _policy(self, kind: str) -> Policy:
        known = self._kinds.get(kind)  # it may be gone since the claim, with a step back to an older version
        return Policy() if known is None else known.policy

    def _delay(self, policy: Policy, attempts: int) -> timedelta:
        return timedelta(seconds=policy.delay_seconds(attempts, self._random))

    def _claim_first(self) -> Job | None:
        with self._database.read() as session:  # one that is idle takes no lock
            if not repository.is_any_due(session, self._kinds, self._clock()):
                return None
        with self._database.write() as session:
            return self._claim_next(session)

    def _claim_next(self, session: Session) -> Job | None:
        if self._is_over(0):
            return None
        now = self._clock()
        kinds = set(self._kinds)
        while (row := repository.find_next_due(session, kinds, next(self._turns), now)) is not None:
            policy = self._policy(row.kind)
            if policy.may_wait(row.due_at, now) and self._is_rush(session, row, policy, now):
                kinds.discard(row.kind)
                continue
            if row.attempts < policy.most_attempts:
                claim = f"{self._worker}.{next(self._numbers)}"
                repository.claim_job(session, row.id, claim, now + policy.lease)
                return Job(
                    row.id, row.kind, row.key, json.loads(row.payload), row.attempts + 1, claim,
                    self._next_alike(session, row, now),
                )  # fmt: skip
            # Its last attempt has ended with its process, and its claim with time.
            repository.bury_job(session, row.id, row.claim, now, rules.PROCESS_ENDED)
            self._tell(row.kind, DEAD, row.attempts, error=rules.PROCESS_ENDED)
        return None

    @staticmethod
    def _is_rush(session: Session, row: Row[Any], policy: Policy, now: datetime) -> bool:
        return repository.count_to_come(session, row, now, now + RUSH_WITHIN, policy.rush) >= policy.rush

    def _next_alike(self, session: Session, row: Row[Any], now: datetime) -> Sequence[tuple[int, str]]:
        # One that is tried again may have failed because of another.
        most = self._policy(row.kind).most_along if row.attempts == 0 else 0
        return repository.list_next_alike(session, row, most, now) if most else ()

    def _run(self, job: Job) -> Job | None:
        """Run the job; the next one, which is claimed already."""
        kind = self._kinds[job.kind]
        run = _Run(self._database, job, self._clock, self._claim_next)
        began = time.monotonic()
        self._arm(kind.policy.limit_seconds)
        try:
            outcome, told = self._attempt(kind, job, run)
        finally:
            self._arm(0)
        duration_ms = round(1000 * (time.monotonic() - began), 3)
        along = {"along": run.along} if run.is_finished and run.along else {}
        self._tell(job.kind, outcome, job.attempts, duration_ms=duration_ms, **along, **told)
        return run.next

    def _attempt(self, kind: Kind, job: Job, run: _Run) -> tuple[str, dict[str, str]]:
        try:
            kind.handler(job, run)
            if not run.is_finished:
                with run():
                    pass
        except Exception as error:
            told = {"error": rules.error_name(error), "place": _place(error)}
            if run.is_finished:  # what was to be done is done
                return DONE, told
            if isinstance(error, DatabaseAwayError):  # nothing can be told to it now
                raise
            return self._end_failed(kind.policy, job, run, told["error"]), told
        return DONE, {}

    def _end_failed(self, policy: Policy, job: Job, run: _Run, error: str) -> str:
        now = self._clock()
        with self._database.write() as session:
            if job.attempts >= policy.most_attempts:
                outcome = DEAD
                is_ours = repository.bury_job(session, job.id, job.claim, now, error)
            else:
                outcome = RETRIED
                due_at = now + self._delay(policy, job.attempts)
                is_ours = repository.free_job(session, job.id, job.claim, due_at, error)
            following = self._claim_next(session)
        run.next = following
        return outcome if is_ours else LOST

    def _tell(self, kind: str, outcome: str, attempts: int, **told: object) -> None:
        self.runs[kind, outcome] += 1
        level = log.error if outcome == DEAD else log.info if outcome == DONE and "error" not in told else log.warning
        level("job", kind=kind, outcome=outcome, attempts=attempts, **told)


class _Run:
    """One run of a job: what its handler is given as `finish`."""

    def __init__(self, database: Database, job: Job, clock: Clock, claim_next: Callable[[Session], Job | None]) -> None:
        self.clock = clock
        self.is_finished = False
        self.along = 0
        self.next: Job | None = None
        self._database = database
        self._job = job
        self._claim_next = claim_next

    @contextlib.contextmanager
    def __call__(self) -> Iterator[Session]:
        with self._database.write() as session:
            if not repository.remove_claimed(session, self._job):
                raise LostClaimError
            yield session
            session.flush()
            following = self._claim_next(session)
        self.next = following
        self.is_finished = True

    def read(self) -> AbstractContextManager[Session]:
        return self._database.read()

    def take_along(
        self, session: Session, prefix: str, how_many: Callable[[Sequence[Payload]], int]
    ) -> Sequence[Payload]:
        alike = [number for number, key in self._job.next_alike if key.startswith(prefix)]
        waiting = {row.id: json.loads(row.payload) for row in repository.lock_fresh(session, alike)} if alike else {}
        numbers = [number for number in alike if number in waiting]
        numbers = numbers[: how_many([waiting[number] for number in numbers])] if numbers else []
        if numbers:
            repository.remove_jobs(session, numbers)
        self.along += len(numbers)
        return [waiting[number] for number in numbers]


def _place(error: Exception) -> str:
    """Where it was raised, without what it says."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}"
