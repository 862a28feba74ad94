"""The data folder: what commands find in it, and what a first start puts there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from ecross_server import migrations
from ecross_server.app.tls import make_context
from ecross_server.auth.tokens import KeySet, new_signing_keys
from ecross_server.kit import replacing
from ecross_server.kit.clock import utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import ConflictError, UnavailableError
from ecross_server.kit.folder_use import shared_use, sole_use
from ecross_server.kit.private_files import create_private_file, make_private_folder
from ecross_server.merchants.rules import new_peppers
from ecross_server.merchants.service import has_credentials, load_peppers, registry_position
from ecross_server.settings import Configuration, Settings, load_settings, variable

PRIVATE_UMASK = 0o077


class NothingHereError(UnavailableError):
    """A command needs what the first start makes."""

    code = "not_set_up"

    def __init__(self, where: str) -> None:
        super().__init__(
            f"Nothing is set up yet: {where}. Start with ecross-server serve or ecross-server migrate, or name another "
            f"folder with {variable('data_dir')}."
        )


class UnfinishedRestoreError(ConflictError):
    """A restore has put only some of its files in place."""

    code = "unfinished_restore"

    def __init__(self) -> None:
        super().__init__("A restore was interrupted. To finish it: ecross-server migrate")


class LostPeppersError(ConflictError):
    """The database holds secrets, but the peppers that they were digested under are gone."""

    code = "lost_peppers"

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no {path}, but the database holds secrets that were digested under its peppers: with new ones "
            f"every credential would be dead. Restore the file from a backup, or set {variable('peppers_file')}."
        )


class LostDatabaseError(UnavailableError):
    """There was a database here, and its file is gone."""

    code = "lost_database"

    def __init__(self, file: Path, witness: Path) -> None:
        super().__init__(
            f"There is no {file}, but {witness} tells of a database that was used here: a new one would be empty. "
            f"Put it back or restore it from a backup; to begin anew, remove {witness}."
        )


def prepare(settings: Settings) -> None:
    """Make all that is missing: folder, database, schema, signing key, pepper. What is there stays as it is.

    Raises:
        UnwritableError: if the folder cannot be written to.
        NewerSchemaError: if the database was made by a newer version.
        DatabaseAwayError: if the database does not answer.
        FolderInUseError: while a backup is restored.
        LostDatabaseError: if its file is gone.
        LostPeppersError: if the peppers are missing that the database's secrets were digested under.
    """
    os.umask(PRIVATE_UMASK)
    make_private_folder(settings.data_dir)
    if replacing.is_undone(settings.data_dir):
        with sole_use(settings.data_dir):
            finish_restore(settings)
    with shared_use(settings.data_dir):
        _make_missing(settings)


def _make_missing(settings: Settings) -> None:
    if _is_missing(settings.signing_keys_file):
        create_private_file(settings.signing_keys_file, new_signing_keys(utc_now()))
    with contextlib.closing(Database(settings.database_url.get_secret_value())) as database:
        file = Path(database.engine.url.database or "")
        if database.is_sqlite and _is_missing(file) and not _is_missing(settings.audit_witness_file):
            raise LostDatabaseError(file, settings.audit_witness_file)
        if migrations.current_revision(database) != migrations.REVISIONS[-1]:
            migrations.upgrade(database)
        if _is_missing(settings.peppers_file):
            with database.read() as session:
                if has_credentials(session):
                    raise LostPeppersError(settings.peppers_file)
            create_private_file(settings.peppers_file, new_peppers(utc_now()))


def finish_restore(settings: Settings) -> None:
    """Finish, or undo, what a restore has begun; the caller has the data folder alone.

    Raises:
        UnwritableError: if the files cannot be put in place.
        DatabaseAwayError: if the database cannot tell which of both it has to be.
    """
    folder = settings.data_dir
    if not replacing.is_undone(folder):
        return
    mark = replacing.mark_of(folder)
    if mark is None or _shows(settings, mark):
        replacing.do(folder)
    else:
        replacing.let_go(folder)


def _shows(settings: Settings, mark: int) -> bool:
    with contextlib.closing(Database(settings.database_url.get_secret_value())) as database:
        if migrations.current_revision(database) is None:
            return False
        with database.read() as session:
            return registry_position(session).revision >= mark


def _is_missing(path: Path) -> bool:
    return not os.path.exists(path)  # noqa: PTH110 - Path.exists raises where a folder on the way may not be entered


@contextlib.contextmanager
def prepared_meanwhile(settings: Settings) -> Iterator[None]:
    """`prepare` beside the work in the `with` block, in a process of its own, which takes the migrations' memory along.

    Raises:
        UnwritableError, NewerSchemaError, DatabaseAwayError: as `prepare`, at the end.
    """
    child = os.fork() or _prepare_and_end(settings)
    yield
    os.waitpid(child, 0)
    prepare(settings)


def _prepare_and_end(settings: Settings) -> NoReturn:
    # What goes wrong here goes wrong again in the parent, where it can be told.
    with contextlib.suppress(BaseException):
        prepare(settings)
    os._exit(0)


def check_files(settings: Settings) -> None:
    """Refuse files that no worker could serve with, before there are workers.

    Raises:
        UnavailableError, ConflictError: naming the file and what is wrong with it.
    """
    check_keys(settings)
    load_peppers(settings.peppers_file)
    check_tls(settings)


def check_keys(settings: Settings) -> KeySet:
    """The signing keys.

    Raises:
        UnavailableError, UnsafeFileError: if they cannot be used.
    """
    return KeySet.from_file(settings.signing_keys_file, issuer=settings.issuer, audience=settings.audience)


def check_tls(settings: Settings) -> None:
    """Refuse a certificate and key that cannot serve; without any there is nothing to check.

    Raises:
        UnusableTlsFilesError: naming what is wrong.
    """
    if settings.tls_cert_file is not None and settings.tls_key_file is not None:
        make_context(settings.tls_cert_file, settings.tls_key_file)


@contextlib.contextmanager
def opened_database(configuration: Configuration | None = None) -> Iterator[tuple[Database, Settings]]:
    """The database that the settings name, which must have this version's schema.

    Raises:
        NothingHereError: if there is none yet.
        FolderInUseError, UnfinishedRestoreError: while a backup is restored, or if that was interrupted.
        NewerSchemaError, OutdatedSchemaError: if its schema is another version's.
        DatabaseAwayError: if it does not answer.
    """
    from ecross_server.app.events import subscribe_domains

    os.umask(PRIVATE_UMASK)
    settings = (configuration or load_settings()).settings
    with (
        shared_use(settings.data_dir),
        contextlib.closing(Database(settings.database_url.get_secret_value())) as database,
    ):
        if replacing.is_undone(settings.data_dir):
            raise UnfinishedRestoreError
        file = Path(database.engine.url.database or "")
        if database.is_sqlite and not file.is_file():  # opening it would make an empty one
            raise NothingHereError(f"there is no {file}")
        if migrations.current_revision(database) is None:
            raise NothingHereError("the database is empty")
        migrations.require_current_schema(database)
        subscribe_domains(database)
        yield database, settings
