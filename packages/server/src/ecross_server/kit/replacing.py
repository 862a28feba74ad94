"""Several files put in place together: all of them or none, also if the machine stops meanwhile.

New files wait beside the ones that they replace. A journal, written whole, says what has to be done; whoever finds it
does the rest, or, if what belonged to it never came to pass, lets go of it.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from ecross_server.kit.private_files import UnwritableError, read_private_json, sync_folder, write_private_file

JOURNAL: Final = ".restoring.json"


def stage(file: Path, target: Path, owner: os.stat_result) -> Path:
    """Move the file beside the one that it will replace, for the owner; where it is now.

    Raises:
        UnwritableError: if that folder cannot be written to.
    """
    staged = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        try:
            file.rename(staged)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            _copy(file, staged)
        with contextlib.suppress(PermissionError):
            os.chown(staged, owner.st_uid, owner.st_gid)
    except OSError as error:
        raise UnwritableError(f"The folder {target.parent} cannot be written to: {error.strerror}.") from None
    return staged


def decide(folder: Path, moves: Mapping[Path, Path], removed: Sequence[Path], *, mark: int | None = None) -> None:
    """Write the journal in the folder. From now on the staged files, each with its target, will come into place.

    With a mark they only do so if the database shows it.
    """
    content = {
        "mark": mark,
        "moves": [[str(staged), str(target)] for staged, target in moves.items()],
        "removed": [str(path) for path in removed],
    }
    write_private_file(folder / JOURNAL, json.dumps(content))


def is_undone(folder: Path) -> bool:
    """Whether there is a journal: something was decided and not done yet."""
    return os.path.lexists(folder / JOURNAL)


def mark_of(folder: Path) -> int | None:
    """What the database must show."""
    mark: int | None = _journal(folder)["mark"]
    return mark


def do(folder: Path) -> None:
    """Do what the journal says; what was done before is left out.

    Raises:
        UnwritableError: if a file cannot be moved; the rest can be done later.
    """
    journal = _journal(folder)
    try:
        for path in map(Path, journal["removed"]):
            path.unlink(missing_ok=True)
        for staged, target in journal["moves"]:
            with contextlib.suppress(FileNotFoundError):  # moved before
                Path(staged).replace(target)
        for parent in {Path(target).parent for _, target in journal["moves"]}:
            sync_folder(parent)
        (folder / JOURNAL).unlink()
        sync_folder(folder)
    except OSError as error:
        raise UnwritableError(f"A restored file cannot be put in its place: {error.strerror}. Try again.") from None


def let_go(folder: Path) -> None:
    """Remove the staged files and the journal; what was in place stays."""
    for staged, _ in _journal(folder)["moves"]:
        Path(staged).unlink(missing_ok=True)
    (folder / JOURNAL).unlink()


def _journal(folder: Path) -> dict[str, Any]:
    return read_private_json(folder / JOURNAL)


def _copy(file: Path, staged: Path) -> None:
    descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with file.open("rb") as source, os.fdopen(descriptor, "wb") as written:
        shutil.copyfileobj(source, written)
        written.flush()
        os.fsync(written.fileno())
