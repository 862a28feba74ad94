"""Who acts by a command, and the transaction in which it does."""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy.orm import Session

from ecross_server.audit.rules import AuditKeys, derive_keys
from ecross_server.audit.service import Actor, keep_witness
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


def _user() -> str:
    # Not what the environment says, which everybody can set.
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
