"""What is known of the server from the runs before: which entries it has, since when, and what was last sent of them.

A digest counts only as long as the server shows the very dates that it gave when it took over what was sent: whoever
else changes an entry there gives it a later one.
"""

import json
import sqlite3
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ecross._bulk.entries import Seen

VERSION: Final = 1
_TABLES: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE groups (key TEXT PRIMARY KEY, digest BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (id TEXT PRIMARY KEY, key TEXT NOT NULL, date TEXT, run INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX entries_key ON entries (key);
CREATE TABLE marks (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
COMMIT;
"""
_SEEN_UNTIL: Final = "seen until"
_FORGET_OTHERS: Final = """
DELETE FROM groups WHERE key IN (
    SELECT key FROM entries WHERE id IN (SELECT value FROM json_each(:ids)) AND key <> :key
)
"""
_SAVE_ENTRY: Final = "INSERT OR REPLACE INTO entries VALUES (?, ?, ?, ?)"


class DamagedStateError(Exception):
    """The file is no state; what it told has to be found out anew."""


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is at fault, and not the disk or another process."""
    return getattr(error, "sqlite_errorname", "").startswith(("SQLITE_CORRUPT", "SQLITE_ERROR", "SQLITE_NOTADB"))


class State:
    """A private file that runs of one merchant share. Killed at any moment, it tells what was saved before."""

    def __init__(self, path: Path) -> None:
        """Raises `DamagedStateError` for a file that is damaged, or of another version."""
        # Nobody else has it: our lock keeps them out.
        self._database = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        try:
            (version,) = self._database.execute("PRAGMA user_version").fetchone()
            if version == 0:
                self._database.executescript(_TABLES)
            elif version != VERSION:
                raise DamagedStateError  # noqa: TRY301 - to whoever opens it, the same as a damaged one
            # The file is whole without it if the process is killed, and may lose its latest changes if the power is.
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute("SELECT count(*) FROM marks").fetchone()
        except sqlite3.Error as error:
            self._database.close()
            if is_damage(error):
                raise DamagedStateError from None
            raise
        except DamagedStateError:
            self._database.close()
            raise
        self._run = 0

    def begin(self) -> None:
        """What is noted from here on is saved together, at the next `save`."""
        self._database.execute("BEGIN IMMEDIATE")

    def save(self) -> None:
        """Let what was noted outlive the process."""
        if self._database.in_transaction:
            self._database.execute("COMMIT")

    def close(self) -> None:
        """Save, and let go of the file."""
        try:
            self.save()
        finally:
            self._database.close()

    @property
    def seen_until(self) -> datetime | None:
        """The newest date of the list that was last read whole; `None` if none was."""
        value = self._first("SELECT value FROM marks WHERE name = ?", _SEEN_UNTIL)
        return None if value is None else datetime.fromisoformat(str(value))

    def finish_list(self, newest: datetime | None, *, is_all: bool) -> None:
        """A list was read whole. `is_all`: it was one of all entries, so what it did not show is not there."""
        if is_all:
            gone = self._database.execute("SELECT id, key FROM entries WHERE run <> ?", (self._run,)).fetchall()
            for id_, key in gone:
                self._forget_digest(key)
                self._database.execute("DELETE FROM entries WHERE id = ?", (id_,))
        if newest is not None:
            self._database.execute("INSERT OR REPLACE INTO marks VALUES (?, ?)", (_SEEN_UNTIL, _text(newest)))

    def begin_all(self) -> None:
        """A list of all entries is about to be read."""
        self._run = 1 + int(str(self._first("SELECT coalesce(max(run), 0) FROM entries")))

    def forget_digests(self) -> None:
        """Trust nothing that was sent before."""
        self._database.execute("DELETE FROM groups")

    def note(self, seen: Seen) -> None:
        """What a list shows of an entry."""
        known = self._database.execute("SELECT key, date FROM entries WHERE id = ?", (seen.id,)).fetchone()
        date = _text(seen.date)
        if known is not None and not seen.is_deleted and known[0] == seen.key and date and (known[1] or "") >= date:
            self._database.execute("UPDATE entries SET run = ? WHERE id = ?", (self._run, seen.id))
            return
        if known is not None:
            self._forget_digest(known[0])
            self._database.execute("DELETE FROM entries WHERE id = ?", (seen.id,))
        if seen.is_deleted:
            return
        self._database.execute(_SAVE_ENTRY, (seen.id, seen.key, date, self._run))
        if seen.digest is None:
            self._forget_digest(seen.key)
        else:
            self._database.execute("INSERT OR REPLACE INTO groups VALUES (?, ?)", (seen.key, seen.digest))

    def accept(self, key: str, digest: bytes, answer: Iterable[Seen]) -> None:
        """The server took a group over, and showed this of it. Without dates nothing can be trusted later."""
        seen = list(answer)
        ids = json.dumps([each.id for each in seen])
        self._database.execute(_FORGET_OTHERS, {"ids": ids, "key": key})  # from which they moved
        self._database.execute("DELETE FROM entries WHERE key = ?", (key,))
        rows = [(each.id, key, _text(each.date), self._run) for each in seen]
        self._database.executemany(_SAVE_ENTRY, rows)
        if all(each.date for each in seen):
            self._database.execute("INSERT OR REPLACE INTO groups VALUES (?, ?)", (key, digest))
        else:
            self._forget_digest(key)

    def has_digest(self, key: str, digest: bytes) -> bool:
        """Whether the server has exactly this of a group."""
        return self._first("SELECT digest FROM groups WHERE key = ?", key) == digest

    def lost(self, key: str, ids: Collection[str]) -> set[str]:
        """The entries that the group has on the server and that are not among these."""
        rows = self._database.execute("SELECT id FROM entries WHERE key = ?", (key,)).fetchall()
        return {str(id_) for (id_,) in rows} - set(ids)

    def list_keys(self) -> Iterator[str]:
        """The groups that the server has."""
        return (str(key) for (key,) in self._database.execute("SELECT DISTINCT key FROM entries"))

    def _forget_digest(self, key: str) -> None:
        self._database.execute("DELETE FROM groups WHERE key = ?", (key,))

    def _first(self, query: str, *values: str) -> object:
        row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]


def _text(date: datetime | None) -> str | None:
    """A form of one length, so that texts compare as the instants do."""
    return None if date is None else date.astimezone(UTC).isoformat(timespec="microseconds")
