"""`ecross-server jobs`: background work that was given up, to be looked at, run again or removed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final

import typer
from sqlalchemy.orm import Session

from ecross_server.audit.service import record_act
from ecross_server.cli.acting import acting
from ecross_server.cli.output import AsJson, print_json, print_table, say, shown
from ecross_server.cli.setup import opened_database
from ecross_server.jobs import service
from ecross_server.jobs.service import DeadJob
from ecross_server.kit.clock import rfc3339, utc_now
from ecross_server.kit.errors import Fault, InvalidInputError

JOBS_AT_ONCE: Final = 500
LARGEST_NUMBER: Final = 2**63 - 1

app = typer.Typer(no_args_is_help=True, help="Look at dead jobs, run them again, or remove them.")

JobIds = Annotated[
    list[int] | None, typer.Argument(metavar="[JOB_ID]...", min=1, max=LARGEST_NUMBER, help="The jobs' numbers.")
]
All = Annotated[bool, typer.Option("--all", help="All dead jobs.")]
Kind = Annotated[str | None, typer.Option(help="Only jobs of this kind.")]


@app.command("list")
def list_(
    *,
    kind: Kind = None,
    after: Annotated[int, typer.Option(min=0, help="Only those with a higher number.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="No more than so many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List dead jobs: those that failed in all their attempts."""
    with opened_database() as (database, _), database.read() as session:
        jobs = service.list_dead_jobs(session, kind=kind, after=min(after, LARGEST_NUMBER), limit=limit)
    _print(jobs, as_json=as_json)


@app.command()
def replay(job_ids: JobIds = None, *, every: All = False, kind: Kind = None, as_json: AsJson = False) -> None:
    """Let dead jobs be run again, as often as they may fail."""

    def act(session: Session, job_id: int) -> DeadJob:
        return service.replay_job(session, job_id, now=utc_now())

    jobs = _act_on(job_ids, "job.replayed", act, every=every, kind=kind)
    if as_json:
        _print(jobs, as_json=True)
    else:
        say(f"Freed {_counted(jobs)}: run again within seconds, where a process runs jobs.")


@app.command()
def discard(job_ids: JobIds = None, *, every: All = False, kind: Kind = None, as_json: AsJson = False) -> None:
    """Remove dead jobs for good. What they were to do is not done."""
    jobs = _act_on(job_ids, "job.discarded", service.discard_job, every=every, kind=kind)
    if as_json:
        _print(jobs, as_json=True)
    else:
        say(f"Removed {_counted(jobs)}.")


def _act_on(
    job_ids: Sequence[int] | None,
    action: str,
    act: Callable[[Session, int], DeadJob],
    *,
    every: bool,
    kind: str | None,
) -> list[DeadJob]:
    """Act on the named jobs in one transaction; or on all, some at a time, so that nobody waits for long."""
    if bool(job_ids) == every or (kind is not None and not every):
        reason = "is needed, or else --all, and with it --kind if not all kinds are meant"
        raise InvalidInputError(f"JOB_ID {reason}", (Fault("JOB_ID", reason),))
    done: list[DeadJob] = []
    with opened_database() as (database, settings):
        while True:
            with acting(database, settings) as (session, by):
                chosen = list(dict.fromkeys(job_ids or _next(session, kind, done)))
                for job_id in chosen:
                    job = act(session, job_id)
                    done.append(job)
                    record_act(session, actor=by, action=action, jobId=job.id, kind=job.kind, key=job.key or "")
            if not every or len(chosen) < JOBS_AT_ONCE:
                return done


def _next(session: Session, kind: str | None, done: Sequence[DeadJob]) -> list[int]:
    # What is replayed may be dead again by now: it is not taken a second time.
    after = done[-1].id if done else 0
    return [job.id for job in service.list_dead_jobs(session, kind=kind, after=after, limit=JOBS_AT_ONCE)]


def _print(jobs: Sequence[DeadJob], *, as_json: bool) -> None:
    if as_json:
        print_json({"jobs": [_out(job) for job in jobs]})
        return
    print_table(
        ("JOB", "KIND", "KEY", "ATTEMPTS", "QUEUED", "DEAD SINCE", "LAST ERROR"),
        [
            (
                str(job.id), job.kind, job.key, str(job.attempts), shown(job.created_at), shown(job.dead_at),
                job.last_error,
            )
            for job in jobs
        ],
        empty="No job is dead.",
    )  # fmt: skip


def _out(job: DeadJob) -> dict[str, Any]:
    return {
        "jobId": job.id,
        "kind": job.kind,
        "key": job.key,
        "attempts": job.attempts,
        "createdAt": rfc3339(job.created_at),
        "deadAt": rfc3339(job.dead_at),
        "lastError": job.last_error,
    }


def _counted(jobs: Sequence[DeadJob]) -> str:
    return f"{len(jobs):,} job{'' if len(jobs) == 1 else 's'}"
