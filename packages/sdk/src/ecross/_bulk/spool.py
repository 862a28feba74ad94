"""A source laid out on disk, so that what belongs together is found together and memory does not grow with it."""

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

from ecross._bulk.entries import Entry, Fault

_TABLES: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA temp_store = FILE;
CREATE TABLE entries (line INTEGER NOT NULL, key TEXT NOT NULL, id TEXT NOT NULL, body BLOB NOT NULL);
CREATE TABLE faults (line INTEGER NOT NULL, key TEXT, path TEXT NOT NULL, message TEXT NOT NULL);
"""
_INDEXES: Final = """
CREATE INDEX entries_key ON entries (key);
CREATE INDEX entries_id ON entries (id);
CREATE INDEX faults_key ON faults (key);
"""
_ADD_FAULT: Final = "INSERT INTO faults VALUES (?, ?, ?, ?)"


class Group(NamedTuple):
    """What is sent together: so many entries, so many bytes."""

    key: str
    entries: int
    bytes: int


class Spool:
    """A private file of a run alone. Nothing of it has to outlive anything, so nothing waits for the disk."""

    def __init__(self, path: Path) -> None:
        # Threads take turns with it: the one that asyncio's driver works in is not the one that made it.
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.executescript(_TABLES)

    def add(self, told: Iterable[Entry | Fault]) -> None:
        """Lay down what was read."""
        entries, faults = [], []
        for each in told:
            if isinstance(each, Entry):
                entries.append((each.line, each.key, each.id, each.body))
            else:
                faults.append((each.line, each.key, each.path, each.message))
        self._database.execute("BEGIN")
        self._database.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", entries)
        self._database.executemany(_ADD_FAULT, faults)
        self._database.execute("COMMIT")

    def finish(self, id_path: str) -> None:
        """All was added. What is there twice, `id_path` in all its lines, becomes a fault of all it belongs to."""
        self._database.executescript(_INDEXES)
        twice = self._database.execute("SELECT id FROM entries GROUP BY id HAVING count(*) > 1")
        faults = self._database.cursor()
        for (id_,) in twice:
            found = self._database.execute(
                "SELECT line, key FROM entries WHERE id = ? ORDER BY line", (id_,)
            ).fetchall()
            (first, _), (second, _) = found[:2]
            for line, key in found:
                other = second if line == first else first
                faults.execute(_ADD_FAULT, (line, key, id_path, f"is that of line {other}, too"))

    def has_orphans(self) -> bool:
        """Whether there are faults of which nobody knows what they belong to."""
        return self._first("SELECT 1 FROM faults WHERE key IS NULL LIMIT 1") is not None

    def orphans(self) -> Iterator[list[Fault]]:
        """The faults of which nobody knows what they belong to, line by line."""
        return self._by_line("SELECT line, key, path, message FROM faults WHERE key IS NULL ORDER BY line, rowid")

    def faults(self, key: str) -> list[Fault]:
        """What is at fault with a group."""
        rows = self._database.execute(
            "SELECT line, key, path, message FROM faults WHERE key = ? ORDER BY line, rowid", (key,)
        )
        return [Fault(*row) for row in rows]

    def faulty_groups(self) -> Iterator[str]:
        """The keys of groups that have faults, whether or not any of their lines could be read."""
        rows = self._database.execute("SELECT key FROM faults WHERE key IS NOT NULL GROUP BY key ORDER BY min(line)")
        return (str(key) for (key,) in rows)

    def count_groups(self) -> int:
        """How many groups have no fault."""
        all_but_faulty = "SELECT key FROM entries EXCEPT SELECT key FROM faults WHERE key IS NOT NULL"
        return int(str(self._first(f"SELECT count(*) FROM ({all_but_faulty})")))  # noqa: S608 - a constant

    def groups(self) -> Iterator[Group]:
        """The groups without a fault, in the order in which they begin."""
        rows = self._database.execute(
            "SELECT key, count(*), sum(length(body)) FROM entries"
            " WHERE key NOT IN (SELECT key FROM faults WHERE key IS NOT NULL)"
            " GROUP BY key ORDER BY min(line)"
        )
        return (Group(*row) for row in rows)

    def group(self, key: str) -> Group:
        """One group."""
        query = "SELECT key, count(*), sum(length(body)) FROM entries WHERE key = ?"
        return Group(*self._database.execute(query, (key,)).fetchone())

    def key_of(self, id_: str) -> str | None:
        """What an entry of the source is to be sent with; `None` if there is none of that id."""
        key = self._first("SELECT key FROM entries WHERE id = ? LIMIT 1", id_)
        return None if key is None else str(key)

    def entries(self, key: str) -> list[Entry]:
        """The entries of a group, in their order."""
        rows = self._database.execute("SELECT line, key, id, body FROM entries WHERE key = ? ORDER BY line", (key,))
        return [Entry(*row) for row in rows]

    def has(self, key: str) -> bool:
        """Whether the source has anything of a group."""
        told = "SELECT 1 FROM entries WHERE key = ?1 UNION ALL SELECT 1 FROM faults WHERE key = ?1 LIMIT 1"
        return self._first(told, key) is not None

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()

    def _first(self, query: str, *values: str) -> object:
        row = self._database.execute(query, values).fetchone()
        return None if row is None else row[0]

    def _by_line(self, query: str) -> Iterator[list[Fault]]:
        faults: list[Fault] = []
        for row in self._database.execute(query):
            fault = Fault(*row)
            if faults and faults[0].line != fault.line:
                yield faults
                faults = []
            faults.append(fault)
        if faults:
            yield faults
