"""Whether all is well, as far as that costs little: for the console, for `/admin/health`, and for `doctor`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ecross_server.app import jobs as all_jobs
from ecross_server.auth.tokens import list_signing_keys
from ecross_server.jobs.service import count_jobs, list_due_kinds
from ecross_server.kit.checks import Check
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import DomainError
from ecross_server.merchants.service import count_credentials, list_peppers
from ecross_server.settings import Settings, variable

LONGEST_WAIT_SECONDS: Final = 60
"""A job that is due is run within a second or two, if anybody runs jobs and is not busy."""


def look_after(settings: Settings, database: Database) -> list[Check]:
    """What was looked at, and what to do where something is wrong."""
    return [
        _look("signing keys", lambda: _keys(settings)),
        _look("database", lambda: _database(database)),
        _look("peppers", lambda: _peppers(settings, database)),
        _look("jobs", lambda: check_jobs(settings, database)),
        check_limits(settings),
    ]


def _look(name: str, look: Callable[[], Check]) -> Check:
    try:
        return look()
    except DomainError as error:
        return Check(name, "failed", error.message, "ecross-server doctor")


def _keys(settings: Settings) -> Check:
    keys = [key for key in list_signing_keys(settings.signing_keys_file, now=utc_now()) if key.status != "retired"]
    return Check("signing keys", "ok", f"{len(keys)} live", None)


def _database(database: Database) -> Check:
    with database.read() as session:
        clients, secrets = count_credentials(session)
    return Check("database", "ok", f"{database.engine.dialect.name}, {clients} clients, {secrets} secrets", None)


def _peppers(settings: Settings, database: Database) -> Check:
    with database.read() as session:
        peppers = list_peppers(session, settings.peppers_file, now=utc_now())
    missing = [pepper.pepper_id for pepper in peppers if pepper.status == "missing"]
    if missing:
        return Check("peppers", "failed", f"missing: {', '.join(missing)}", "bring the peppers' file up to date")
    return Check("peppers", "ok", f"{len(peppers)} live", None)


def check_jobs(settings: Settings, database: Database) -> Check:
    """Whether background work is done.

    Raises:
        DatabaseAwayError: if the database does not answer.
    """
    with database.read() as session:
        counts = count_jobs(session, now=utc_now())
        unknown = sorted({*list_due_kinds(session, now=utc_now())} - all_jobs.make_kinds(settings).keys())
    detail = f"{counts.due} due, {counts.to_come} to come, {counts.dead} dead"
    fix = None
    if unknown:
        detail += f"; this version does not know {', '.join(unknown)}"
        fix = "serve with the version that queued them"
    elif counts.oldest_seconds > LONGEST_WAIT_SECONDS:
        detail += f"; the first waits for {counts.oldest_seconds:.0f} seconds"
        fix = f"ecross-server serve with {variable('job_processes')}=1, on one host at least"
    elif counts.dead:
        fix = "ecross-server jobs list"
    return Check("jobs", "ok" if fix is None else "warning", detail, fix)


def check_limits(settings: Settings) -> Check:
    """Whether token requests are limited."""
    if settings.limits_mode == "enforce":
        shared = "each server by itself" if settings.redis_url is None else "shared through Redis"
        return Check("limits", "ok", shared, None)
    detail = f"token requests are not limited: the mode is {settings.limits_mode}"
    return Check("limits", "warning", detail, f"{variable('limits_mode')}=enforce")
