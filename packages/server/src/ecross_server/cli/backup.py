"""`ecross-server backup` and `restore`: the whole state of a server in one file, and back."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final

import typer
from sqlalchemy import URL, Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ecross_server import migrations
from ecross_server.approvals.service import end_open_approvals
from ecross_server.audit.service import append_act, record_act
from ecross_server.cli.acting import acting, operator
from ecross_server.cli.keys import FileExistsAlreadyError
from ecross_server.cli.output import AsJson, print_json, say, shown, warn
from ecross_server.cli.setup import PRIVATE_UMASK, finish_restore, opened_database
from ecross_server.handover.service import cancel_open_hand_overs
from ecross_server.jobs.service import free_all_jobs
from ecross_server.kit import replacing
from ecross_server.kit.archives import UnusableArchiveError, read_archive, write_archive
from ecross_server.kit.clock import parse_instant, rfc3339, utc_now
from ecross_server.kit.database import Database
from ecross_server.kit.errors import ConflictError, DomainError, Fault, InvalidInputError, UnavailableError
from ecross_server.kit.folder_use import sole_use
from ecross_server.kit.private_files import (
    OTHERS,
    UnsafeFileError,
    UnwritableError,
    make_private_folder,
    private_stream,
)
from ecross_server.kit.sealed_streams import MAGIC, OpeningReader, SealingWriter
from ecross_server.kit.snapshots import (
    columns_of,
    copy_sqlite,
    copy_table_out,
    copy_tables_in,
    is_whole_sqlite,
    require_no_other_session,
    sqlite_to_ourselves,
)
from ecross_server.merchants import service as merchants
from ecross_server.merchants.service import RegistryPosition
from ecross_server.operators.service import end_all_access
from ecross_server.publication.service import forget_feeds
from ecross_server.settings import Settings, load_settings, variable

FORMAT: Final = 1
ATTEMPTS: Final = 5
SHORTEST_PASSPHRASE: Final = 12
LONGEST_PASSPHRASE: Final = 4096
BACKUP_FOLDER: Final = ".backup-"
RESTORE_FOLDER: Final = ".restore-"
SQLITE_PART: Final = "database.sqlite"
WITNESS_PART: Final = "audit-head.json"

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", metavar="FILE", help="A private file with the passphrase that seals the backup."),
]


class NotEmptyError(ConflictError):
    """A restore would replace what is there."""

    code = "not_empty"

    def __init__(self, where: str) -> None:
        super().__init__(f"{where} would be replaced for good by the backup. To do that: --force")


class ChangingFilesError(UnavailableError):
    """Keys or peppers were changed again and again while they were copied."""

    code = "changing_files"

    def __init__(self) -> None:
        super().__init__("Keys or peppers change while they are copied. Try again.")


@dataclass(frozen=True, slots=True)
class Contents:
    """What stands in a backup."""

    version: str
    schema_revision: str
    created_at: datetime
    kind: str
    clients: int
    secrets: int
    columns: dict[str, list[str]]

    @classmethod
    def of(cls, manifest: Mapping[str, Any]) -> Contents:
        """What the manifest says.

        Raises:
            UnusableArchiveError: if it is not one of ours.
        """
        columns = manifest.get("tables", {})
        is_ours = (
            manifest.get("format") == FORMAT
            and all(
                isinstance(manifest.get(name), str) for name in ("version", "schemaRevision", "createdAt", "database")
            )
            and all(type(manifest.get(name)) is int for name in ("clients", "secrets"))
            and isinstance(columns, dict)
            and all(
                isinstance(names, list) and all(isinstance(name, str) for name in names) for names in columns.values()
            )
        )
        if not is_ours:
            raise UnusableArchiveError("its manifest is of no form that this version knows")
        try:
            created_at = parse_instant(manifest["createdAt"])
        except InvalidInputError:
            raise UnusableArchiveError("its manifest tells no time") from None
        return cls(
            manifest["version"], manifest["schemaRevision"], created_at, manifest["database"],
            manifest["clients"], manifest["secrets"], columns,
        )  # fmt: skip

    def manifest(self) -> dict[str, Any]:
        """As it is written."""
        return {
            "format": FORMAT,
            "version": self.version,
            "schemaRevision": self.schema_revision,
            "createdAt": rfc3339(self.created_at),
            "database": self.kind,
            "clients": self.clients,
            "secrets": self.secrets,
            "tables": self.columns,
        }

    def result(self, file: Path) -> dict[str, Any]:
        """For programs."""
        shown_names = ("version", "schemaRevision", "createdAt", "database", "clients", "secrets")
        manifest = self.manifest()
        return {"file": str(file), **{name: manifest[name] for name in shown_names}}

    def told(self) -> str:
        """For people."""
        return (
            f"{self.clients} client{'' if self.clients == 1 else 's'}, {self.secrets} "
            f"secret{'' if self.secrets == 1 else 's'} as of {shown(self.created_at)}"
        )


def backup(
    file: File,
    *,
    passphrase_file: PassphraseFile = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write database, signing keys and peppers to one file, also while serving.

    THE FILE IS ALL THAT A THIEF NEEDS: keys that make tokens for every merchant, and the digests of all secrets with
    their peppers. Seal it with --passphrase-file, and keep the passphrase elsewhere.
    """
    passphrase = None if passphrase_file is None else _read_passphrase(passphrase_file)
    with opened_database() as (database, settings):
        _require_writable_target(file, settings, force=force)
        with _staging(settings, BACKUP_FOLDER) as folder:
            contents, parts = _snapshot(database, settings, folder)
            try:
                with private_stream(file, overwrite=force) as out:
                    _write(out, contents, parts, passphrase)
            except FileExistsError:
                raise FileExistsAlreadyError(f"{file} exists. To overwrite it: --force") from None
        tell_of_backup(database, settings, is_sealed=passphrase is not None)
    if as_json:
        print_json({**contents.result(file), "sealed": passphrase is not None})
        return
    say(f"Wrote {file}: {contents.told()}.")
    if passphrase is None:
        say("It is not sealed. Whoever reads it can make tokens for every merchant: keep it like the server's keys.")
    else:
        say("It is sealed. Without the passphrase it is worth nothing, to you as well: keep that elsewhere.")


def restore(
    file: File,
    *,
    passphrase_file: PassphraseFile = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there, for good.")] = False,
    as_json: AsJson = False,
) -> None:
    """Put the state of a backup in place, while nothing serves it.

    Every token ends. Secrets and clients are as they were then: what was issued since is gone, and WHAT WAS REVOKED
    SINCE WORKS AGAIN.
    """
    os.umask(PRIVATE_UMASK)
    passphrase = None if passphrase_file is None else _read_passphrase(passphrase_file)
    settings = load_settings().settings
    make_private_folder(settings.data_dir)
    with sole_use(settings.data_dir), closing(Database(settings.database_url.get_secret_value())) as database:
        finish_restore(settings)
        _sweep(settings)
        if not force:
            _require_empty(database, settings)
        with _staging(settings, RESTORE_FOLDER) as folder:
            contents, parts = _read(file, folder, passphrase)
            _require_fitting(contents, parts, database, settings)
            if database.is_sqlite:
                _restore_sqlite(_sqlite_file(database), contents, parts, settings)
            else:
                _restore_postgresql(database, contents, parts, settings)
    if as_json:
        print_json({**contents.result(file), "dataDir": str(settings.data_dir)})
        return
    say(f"Restored {contents.told()}.")
    say(
        "Every token has ended; clients ask for new ones. What was revoked after that time works again: revoke it anew."
    )


def _read_passphrase(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            status = os.fstat(source.fileno())
            content = source.read(LONGEST_PASSPHRASE + 1).rstrip(b"\r\n")
    except OSError as error:
        raise UnavailableError(f"The file {file} cannot be read: {error.strerror}.") from None
    if stat.S_ISREG(status.st_mode) and status.st_mode & OTHERS:
        raise UnsafeFileError(f"The file {file} can be read by others. Run: chmod 600 {file}")
    if not SHORTEST_PASSPHRASE <= len(content) <= LONGEST_PASSPHRASE:
        reason = f"must hold {SHORTEST_PASSPHRASE} to {LONGEST_PASSPHRASE} bytes"
        raise InvalidInputError(f"passphrase-file {reason}", (Fault("passphrase-file", reason),))
    return content


def _require_writable_target(file: Path, settings: Settings, *, force: bool) -> None:
    if file.is_symlink():  # it could lead anywhere
        raise FileExistsAlreadyError(f"{file} is a symbolic link. Name the file itself.")
    if file.exists():
        if not file.is_file() or any(each.exists() and file.samefile(each) for each in _own_files(settings).values()):
            raise FileExistsAlreadyError(f"{file} is no file that a backup may replace. Name another one.")
        if not force:
            raise FileExistsAlreadyError(f"{file} exists. To overwrite it: --force")


@contextlib.contextmanager
def _staging(settings: Settings, prefix: str) -> Iterator[Path]:
    # In the data folder, whose disk holds the same secrets already: where the backup goes may not be as safe.
    try:
        with tempfile.TemporaryDirectory(prefix=prefix, dir=settings.data_dir) as folder:
            yield Path(folder)
    except OSError as error:
        raise UnwritableError(f"The folder {settings.data_dir} cannot be written to: {error.strerror}.") from None


def _sweep(settings: Settings) -> None:
    """Remove what backups and restores have left that were killed: it holds secrets, and nobody else is here now."""
    for prefix in (BACKUP_FOLDER, RESTORE_FOLDER):
        for leftover in settings.data_dir.glob(f"{prefix}*"):
            shutil.rmtree(leftover, ignore_errors=True)
    for path in _own_files(settings).values():
        for leftover in path.parent.glob(f".{path.name}.{'[0-9a-f]' * 16}"):
            leftover.unlink(missing_ok=True)


def _own_files(settings: Settings) -> dict[str, Path]:
    """Every file that belongs to the state, under its name in a backup."""
    files = _small_files(settings)
    with closing(Database(settings.database_url.get_secret_value())) as database:
        if database.is_sqlite:
            files[SQLITE_PART] = _sqlite_file(database)
    return files


def _small_files(settings: Settings) -> dict[str, Path]:
    # The files that links lead to: to replace a link would leave its target as it was.
    return {
        "signing-keys.json": settings.signing_keys_file.resolve(),
        "peppers.json": settings.peppers_file.resolve(),
        WITNESS_PART: settings.data_dir / "audit-head.json",
        "demo-credentials.json": settings.demo_credentials_file,
    }


def _snapshot(database: Database, settings: Settings, folder: Path) -> tuple[Contents, dict[str, Path]]:
    """One state of everything: keys and peppers are the ones of the database's moment."""
    for attempt in range(ATTEMPTS):
        place = folder / str(attempt)
        place.mkdir()
        # Before the database: a witness that has seen more of the audit trail than there is would cry wolf.
        before = _read_small_files(settings)
        take = _take_sqlite if database.is_sqlite else _take_postgresql
        contents, parts = take(database, place)
        after = _read_small_files(settings)
        if all(after[name] == content for name, content in before.items() if name != WITNESS_PART):
            for name, content in before.items():
                if content is not None:
                    parts[name] = place / name
                    parts[name].write_bytes(content)
            return contents, parts
    raise ChangingFilesError


def _read_small_files(settings: Settings) -> dict[str, bytes | None]:
    contents: dict[str, bytes | None] = {}
    for name, path in _small_files(settings).items():
        try:
            contents[name] = path.read_bytes()
        except FileNotFoundError:
            contents[name] = None
        except OSError as error:
            raise UnavailableError(f"The file {path} cannot be read: {error.strerror}.") from None
    for name, path in (("signing-keys.json", settings.signing_keys_file), ("peppers.json", settings.peppers_file)):
        if contents[name] is None:
            raise UnavailableError(f"There is no {path}: without it a backup would be worth nothing.")
    return contents


def _take_sqlite(database: Database, folder: Path) -> tuple[Contents, dict[str, Path]]:
    copy = folder / SQLITE_PART
    now = utc_now()  # before: what is done meanwhile may not be in it
    copy_sqlite(database, copy)
    with closing(Database(_address(copy))) as copied, copied.read() as session:
        contents = _contents(session, "sqlite", {}, now)
    return contents, {SQLITE_PART: copy}


def _sqlite_file(database: Database) -> Path:
    return Path(str(database.engine.url.database)).resolve()


def _address(path: Path) -> str:
    # Made of parts: a folder's name may hold what has a meaning in an address.
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _take_postgresql(database: Database, folder: Path) -> tuple[Contents, dict[str, Path]]:
    from ecross_server.migrations import tables

    now = utc_now()
    with database.read() as session:
        connection = session.connection()
        contents = _contents(session, "postgresql", columns_of(connection, tables.NAMES), now)
        parts = {_table_part(table): folder / f"{table}.copy" for table in contents.columns}
        for table, names in contents.columns.items():
            copy_table_out(connection, table, names, parts[_table_part(table)])
    return contents, parts


def _table_part(table: str) -> str:
    return f"tables/{table}.copy"


def _contents(session: Session, kind: str, columns: dict[str, list[str]], now: datetime) -> Contents:
    clients, secrets = merchants.count_credentials(session)
    return Contents(version("ecross-server"), migrations.REVISIONS[-1], now, kind, clients, secrets, columns)


def _write(out: BinaryIO, contents: Contents, parts: Mapping[str, Path], passphrase: bytes | None) -> None:
    if passphrase is None:
        write_archive(out, contents.manifest(), parts)
        return
    sealing = SealingWriter(out, passphrase)
    write_archive(sealing, contents.manifest(), parts)
    sealing.finish()


def _read(file: Path, folder: Path, passphrase: bytes | None) -> tuple[Contents, dict[str, Path]]:
    try:
        with file.open("rb") as stored:
            is_sealed = stored.peek(len(MAGIC))[: len(MAGIC)] == MAGIC  # a buffered reader, though typed as less
            if is_sealed and passphrase is None:
                raise UnusableArchiveError("it is sealed: name its --passphrase-file")
            if not is_sealed and passphrase is not None:
                raise UnusableArchiveError("it is not sealed, though a passphrase is given: it is not what you wrote")
            source = stored if passphrase is None else OpeningReader(stored, passphrase)
            manifest, parts = read_archive(source, folder)
    except OSError as error:
        raise UnavailableError(f"The file {file} cannot be restored: {error.strerror}.") from None
    return Contents.of(manifest), parts


def _require_empty(database: Database, settings: Settings) -> None:
    for path in _own_files(settings).values():
        if os.path.lexists(path):
            raise NotEmptyError(str(path))
    if not database.is_sqlite and migrations.current_revision(database) is not None:
        raise NotEmptyError(f"The database of {variable('database_url')}")


def _require_fitting(contents: Contents, parts: Mapping[str, Path], database: Database, settings: Settings) -> None:
    kind = database.engine.dialect.name
    if contents.kind != kind:
        raise UnusableArchiveError(f"it is of another kind of database than {variable('database_url')} names, {kind}")
    if contents.schema_revision not in migrations.REVISIONS:
        raise migrations.NewerSchemaError
    tables = {_table_part(table) for table in contents.columns} if kind == "postgresql" else {SQLITE_PART}
    small = set(_small_files(settings))
    if not tables | {"signing-keys.json", "peppers.json"} <= set(parts) <= tables | small:
        raise UnusableArchiveError("its parts are not those of a backup")


def _restore_sqlite(path: Path, contents: Contents, parts: dict[str, Path], settings: Settings) -> None:
    old = _known_position(path)
    part = parts[SQLITE_PART]
    if not is_whole_sqlite(part):
        raise UnusableArchiveError("its database is damaged")
    with closing(Database(_address(part))) as restored:
        if migrations.current_revision(restored) != contents.schema_revision:
            raise UnusableArchiveError("its database is of another revision than it says")
        migrations.upgrade(restored)
        with restored.write() as session:
            _begin_anew(session, contents, parts, old)
    # Closed by its last user, the copy is one whole file again.
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with sqlite_to_ourselves(path) if path.exists() else contextlib.nullcontext():
        targets = {**_small_files(settings), SQLITE_PART: path}
        logs = [path.with_name(f"{path.name}-{end}") for end in ("wal", "shm")]
        _replace_files({targets[name]: part for name, part in parts.items()}, logs, targets, settings)


def tell_of_backup(database: Database, settings: Settings, *, is_sealed: bool) -> None:
    """Record a backup. Where that cannot be, such as on a full disk, it is no reason to throw the backup away."""
    try:
        with acting(database, settings) as (session, by):
            record_act(session, actor=by, action="backup.write", isSealed=is_sealed)
    except UnavailableError as error:
        warn(f"The audit trail does not have this: {error.message}")


def _begin_anew(
    session: Session, contents: Contents, parts: Mapping[str, Path], seen: Sequence[RegistryPosition]
) -> int:
    """End all that opens anything, free all jobs, forget all feeds, tell the audit trail; the new revision."""
    revision = merchants.end_all_tokens(session, now=utc_now(), seen=seen)
    free_all_jobs(session, now=utc_now())
    forget_feeds(session)
    by = operator(parts["peppers.json"])
    cancel_open_hand_overs(session, now=utc_now(), by=by)
    end_all_access(session, now=utc_now())
    end_open_approvals(session, now=utc_now())
    append_act(session, actor=by, action="backup.restore", createdAt=rfc3339(contents.created_at))
    return revision


def _known_position(path: Path) -> list[RegistryPosition]:
    """How far the database that is replaced had come, if it can tell."""
    if path.is_file():
        with (
            contextlib.suppress(DomainError, SQLAlchemyError),
            closing(Database(_address(path), busy_seconds=1)) as old,
            old.read() as session,
        ):
            return [merchants.registry_position(session)]
    return []


def _restore_postgresql(database: Database, contents: Contents, parts: dict[str, Path], settings: Settings) -> None:
    seen: list[RegistryPosition] = []
    if migrations.current_revision(database) is not None:
        with database.read() as session:
            seen.append(merchants.registry_position(session))
    files = {table: parts[_table_part(table)] for table in contents.columns}
    targets = _small_files(settings)
    small = {targets[name]: part for name, part in parts.items() if name in targets}

    def fill(connection: Connection, tables: Collection[str]) -> None:
        copy_tables_in(connection, contents.columns, files, tables)

    def finish(connection: Connection) -> None:
        session = Session(connection)
        mark = _begin_anew(session, contents, parts, seen)
        session.flush()
        # The last thing before the commit: with the mark, whoever finds the journal can tell whether that took place.
        _decide(small, [], targets, settings, mark=mark)

    with database.read() as session:
        require_no_other_session(session.connection())
    try:
        migrations.rebuild(database, contents.schema_revision, fill, finish)
    except BaseException:
        if replacing.is_undone(settings.data_dir):
            finish_restore(settings)
        raise
    finish_restore(settings)


def _replace_files(
    files: Mapping[Path, Path], removed: Sequence[Path], targets: Mapping[str, Path], settings: Settings
) -> None:
    _decide(files, removed, targets, settings)
    replacing.do(settings.data_dir)


def _decide(
    files: Mapping[Path, Path],
    removed: Sequence[Path],
    targets: Mapping[str, Path],
    settings: Settings,
    *,
    mark: int | None = None,
) -> None:
    owner = settings.data_dir.stat()
    staged: dict[Path, Path] = {}
    try:
        for target, part in files.items():
            staged[replacing.stage(part, target, owner)] = target
        # What the backup does not have must not stay beside what it has: a witness of another audit trail, say.
        left = [target for target in targets.values() if target not in files]
        replacing.decide(settings.data_dir, staged, [*removed, *left], mark=mark)
    except BaseException:
        for path in staged:
            path.unlink(missing_ok=True)
        raise
