"""Who acts by a command, and the transaction in which it does."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path

from sqlalchemy.orm import Session

from ecross_server.approvals.service import FindSubject, require_approval
from ecross_server.audit.rules import AuditKeys, derive_keys
from ecross_server.audit.service import Actor, keep_witness, recording_file_change
from ecross_server.cli.output import warn
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import DomainError
from ecross_server.merchants.service import load_peppers
from ecross_server.settings import Settings


@contextlib.contextmanager
def acting(database: Database, settings: Settings) -> Iterator[tuple[Session, Actor]]:
    """A write transaction, and who acts in it: what is done in it goes into the audit trail.

    Raises:
        UnavailableError, UnsafeFileError: if the peppers cannot be used, under which the trail is signed.
        DatabaseAwayError: if the database does not answer.
    """
    by = operator(settings.peppers_file)
    with database.write() as session:
        yield session, by
    tell_witness(database, settings)


@contextlib.contextmanager
def issuing(database: Database, settings: Settings, find_subject: FindSubject) -> Iterator[tuple[Session, Actor]]:
    """As `acting`, for what gives somebody a secret: by the approval of a second person, where the settings ask for it.

    Raises:
        ApprovalNeededError: if they do and there is none.
        ClientNotFoundError: if it is to be a client's that does not exist.
    """
    with acting(database, settings) as (session, by):
        require_approval(session, find_subject, is_needed=settings.issuing_approval, now=utc_now(), by=by)
        yield session, by


@contextlib.contextmanager
def acting_on_file(database: Database, settings: Settings, action: str) -> Iterator[Callable[..., None]]:
    """Gives what must be called, with the details, just before a file is changed: see `recording_file_change`.

    Raises:
        UnavailableError, UnsafeFileError: as `acting`.
        DatabaseAwayError: from what is called, if the database does not answer; the file must not be changed then.
    """
    by = operator(settings.peppers_file)
    with recording_file_change(database, by, action, _tell_of_unrecorded) as begin:
        yield begin
    tell_witness(database, settings)


def operator(peppers_file: Path) -> Actor:
    """Who runs the command.

    Raises:
        UnavailableError, UnsafeFileError: as `acting`.
    """
    return Actor(f"operator:{_user()}", audit_keys(peppers_file))


def tell_witness(database: Database, settings: Settings) -> None:
    """Let this machine know how far the trail goes after an act.

    The act is done, whatever comes of this: a server looks after its witness by itself, and tells what is wrong.
    """
    with contextlib.suppress(DomainError):
        keep_witness(database, settings.audit_witness_file)


def audit_keys(peppers_file: Path) -> AuditKeys:
    """The keys of the audit trail."""
    peppers = load_peppers(peppers_file)
    return derive_keys(peppers.current, peppers.keys)


def _tell_of_unrecorded(error: DomainError, _: str) -> None:  # the act is done, and told of
    warn(f"The audit trail has this as begun, not as done: {error.message}")


def _user() -> str:
    # Not what the environment says, which everybody can set.
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
