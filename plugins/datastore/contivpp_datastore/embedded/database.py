# SPDX-License-Identifier: Apache-2.0
"""The store's content in SQLite: keys, leases, and the history that watches read. Blocking; one thread uses it.

Work comes in groups. A group is one transaction of SQLite, so one fsync serves many callers; each work in it is a
savepoint, so one that is refused leaves no trace. Nobody is answered before the group is on the disk.

Revisions of a new store begin at the clock's milliseconds. A watcher who comes with a revision of a store that is gone
(one in memory that was restarted) is told `Compacted` then, instead of missing what happened.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from contivpp_core.errors import ContivError
from contivpp_core.kvstore import (
    Compacted,
    Compare,
    DeleteKey,
    KeyValue,
    KVStoreError,
    LeaseLost,
    Listing,
    PutKey,
    StoreUnavailable,
    TransactionResult,
    WatchEvent,
)

__all__ = ["Database", "HistoryLimit", "Page", "Work"]

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x434F5653  # "COVS": tells our files from other SQLite databases
_SCHEMA = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL)",
    "CREATE TABLE entry (key TEXT PRIMARY KEY, value BLOB NOT NULL, revision INTEGER NOT NULL,"
    " created INTEGER NOT NULL, lease INTEGER NOT NULL)",
    "CREATE INDEX entry_lease ON entry (lease) WHERE lease != 0",
    "CREATE TABLE history (number INTEGER PRIMARY KEY, revision INTEGER NOT NULL, key TEXT NOT NULL, value BLOB)",
    "CREATE INDEX history_revision ON history (revision)",
    "CREATE TABLE lease (id INTEGER PRIMARY KEY, ttl REAL NOT NULL)",
)
PAGE_BYTES = 1 << 20
EVENT_BYTES = 64  # what an event costs beside key and value, roughly

Work = Callable[["Database"], Any]


class HistoryLimit(NamedTuple):
    """How much history is kept for watchers; beyond it the oldest fifth is forgotten."""

    events: int = 20_000
    size: int = 64 << 20  # bytes of keys and values


class Page(NamedTuple):
    """Events up to a revision; `complete` unless more are there already."""

    revision: int
    events: tuple[WatchEvent, ...]
    complete: bool


class _Counters(NamedTuple):
    revision: int  # of the newest change
    oldest: int  # the first that watches can still ask for
    events: int
    size: int


class Database:
    """The content. Open it with `Database.open`."""

    def __init__(self, connection: sqlite3.Connection, limit: HistoryLimit) -> None:
        self._connection = connection
        self._limit = limit
        self._touched: set[str] = set()
        self._counters = self._stored_counters()

    @classmethod
    def open(cls, path: Path | None, *, first: int, limit: HistoryLimit | None = None) -> Database:
        """Open or create a file (None: in memory); a new store's revisions begin after `first`."""
        where = str(path) if path is not None else "memory"
        try:
            if path is not None:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                os.close(os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            connection = sqlite3.connect(
                path or ":memory:", timeout=0, isolation_level=None, check_same_thread=False
            )
        except (OSError, sqlite3.Error) as error:
            raise ContivError(f"{where}: the store cannot be opened: {error}") from error
        try:
            _prepare(where, connection, first)
            return cls(connection, limit or HistoryLimit())
        except sqlite3.OperationalError as error:
            connection.close()
            reason = "another store uses this file" if "locked" in str(error) else str(error)
            raise ContivError(f"{where}: {reason}: stop it, or name another file by --file") from error
        except sqlite3.Error as error:
            connection.close()
            raise ContivError(f"{where}: the file is damaged or no store ({error}): move it away") from error
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    @property
    def revision(self) -> int:
        """The revision of the newest change."""
        return self._counters.revision

    def carry_out(self, works: Sequence[Work]) -> tuple[list[Any], frozenset[str]]:
        """Do a group of works; return their results (errors among them) when all is on the disk, and the touched keys.

        If the disk refuses, nothing of the group is done, and every result is `StoreUnavailable`.
        """
        before = self._counters
        self._touched.clear()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            results = [self._one(work) for work in works]
            if self._counters != before:
                self._forget_surplus()
                self._store_counters()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._counters = before
            refused = StoreUnavailable(f"the store cannot write its file: {error}")
            return [refused] * len(works), frozenset()
        return results, frozenset(self._touched)

    def _one(self, work: Work) -> Any:
        before = self._counters
        self._connection.execute("SAVEPOINT work")
        try:
            result = work(self)
        except sqlite3.Error:
            raise
        except Exception as error:  # the caller's problem, not that of the others in the group
            self._connection.execute("ROLLBACK TO work")
            self._counters = before
            result = error if isinstance(error, ContivError) else KVStoreError(f"refused: {error}")
        self._connection.execute("RELEASE work")
        return result

    # --- reading

    def get(self, key: str) -> KeyValue | None:
        """Return a key's value, or None."""
        row = self._connection.execute(
            "SELECT key, value, revision, created FROM entry WHERE key = ?", (key,)
        ).fetchone()
        return KeyValue(*row) if row else None

    def list(self, prefix: str) -> Listing:
        """Return the keys of a prefix, sorted."""
        condition, values = _range(prefix)
        rows = self._connection.execute(
            f"SELECT key, value, revision, created FROM entry WHERE {condition} ORDER BY key", values
        )
        return Listing(self.revision, tuple(KeyValue(*row) for row in rows))

    def events(self, prefix: str, begin: int) -> Page:
        """Return the events of a prefix from a revision on; a long history comes in pages of whole revisions."""
        if not self._counters.oldest <= begin <= self.revision + 1:
            raise Compacted(self._counters.oldest)
        condition, values = _range(prefix)
        rows = self._connection.execute(
            f"SELECT key, value, revision FROM history WHERE revision >= ? AND {condition} ORDER BY number",
            (begin, *values),
        )
        events: list[WatchEvent] = []
        size = 0
        for key, value, revision in rows:
            if size > PAGE_BYTES and revision != events[-1].revision:
                rows.close()
                return Page(events[-1].revision, tuple(events), complete=False)
            events.append(WatchEvent(key, value, revision))
            size += _size(key, value)
        return Page(self.revision, tuple(events), complete=True)

    def leases(self) -> dict[int, float]:
        """Return every lease with its time to live in seconds."""
        return dict(self._connection.execute("SELECT id, ttl FROM lease").fetchall())

    # --- writing

    def transaction(
        self,
        compares: Iterable[Compare],
        success: Sequence[PutKey | DeleteKey],
        failure: Sequence[PutKey | DeleteKey],
    ) -> TransactionResult:
        """Do `success` if all conditions hold, else `failure`."""
        holds = all(self._revision_of(compare.key) == compare.revision for compare in compares)
        self._write(success if holds else failure)
        return TransactionResult(holds, self.revision)

    def put(self, operation: PutKey) -> int:
        """Store a value; return its revision."""
        self._write((operation,))
        return self.revision

    def delete(self, key: str) -> bool:
        """Delete a key; tell whether it was there."""
        before = self.revision
        self._write((DeleteKey(key),))
        return self.revision > before

    def grant(self, lease: int, ttl: float) -> None:
        """Note a lease."""
        self._connection.execute("INSERT INTO lease VALUES (?, ?)", (lease, ttl))

    def revoke(self, lease: int) -> None:
        """End a lease and delete its keys."""
        keys = self._connection.execute("SELECT key FROM entry WHERE lease = ? ORDER BY key", (lease,)).fetchall()
        if lease:
            self._write(tuple(DeleteKey(key) for (key,) in keys))
            self._connection.execute("DELETE FROM lease WHERE id = ?", (lease,))

    def compact(self, revision: int) -> None:
        """Forget all history before a revision."""
        oldest = max(self._counters.oldest, min(revision, self.revision + 1))
        self._connection.execute("DELETE FROM history WHERE revision < ?", (oldest,))
        self._counters = _Counters(self.revision, oldest, *self._history_size())

    def _revision_of(self, key: str) -> int:
        found = self._connection.execute("SELECT revision FROM entry WHERE key = ?", (key,)).fetchone()
        return found[0] if found else 0

    def _write(self, operations: Sequence[PutKey | DeleteKey]) -> None:
        for operation in operations:
            if isinstance(operation, PutKey) and operation.lease and not self._has_lease(operation.lease):
                raise LeaseLost(f"lease {operation.lease} is gone: grant another one")
        revision = self.revision + 1
        for operation in operations:
            if isinstance(operation, PutKey):
                self._connection.execute(
                    "INSERT INTO entry VALUES (?1, ?2, ?3, ?3, ?4)"
                    " ON CONFLICT (key) DO UPDATE SET value = ?2, revision = ?3, lease = ?4",
                    (operation.key, operation.value, revision, operation.lease),
                )
                self._note(operation.key, operation.value, revision)
            elif self._connection.execute("DELETE FROM entry WHERE key = ?", (operation.key,)).rowcount:
                self._note(operation.key, None, revision)

    def _has_lease(self, lease: int) -> bool:
        return self._connection.execute("SELECT 1 FROM lease WHERE id = ?", (lease,)).fetchone() is not None

    def _note(self, key: str, value: bytes | None, revision: int) -> None:
        self._connection.execute(
            "INSERT INTO history (revision, key, value) VALUES (?, ?, ?)", (revision, key, value)
        )
        counters = self._counters
        self._counters = _Counters(
            revision, counters.oldest, counters.events + 1, counters.size + _size(key, value)
        )
        self._touched.add(key)

    # --- counters and history

    def _forget_surplus(self) -> None:
        """Forget the oldest fifth, and what is beyond the limit; never the newest revision."""
        if self._counters.events <= self._limit.events and self._counters.size <= self._limit.size:
            return
        events, size = self._counters.events, self._counters.size
        oldest = self._counters.oldest
        rows = self._connection.execute("SELECT revision, key, value FROM history ORDER BY number")
        for revision, key, value in rows:
            if events <= self._limit.events * 4 // 5 and size <= self._limit.size * 4 // 5:
                break
            events, size = events - 1, size - _size(key, value)
            oldest = min(revision + 1, self.revision)
        rows.close()
        self.compact(oldest)

    def _history_size(self) -> tuple[int, int]:
        return self._connection.execute(  # type: ignore[no-any-return]
            "SELECT count(*), coalesce(sum(length(CAST(key AS BLOB)) + coalesce(length(value), 0) + ?), 0)"
            " FROM history",
            (EVENT_BYTES,),
        ).fetchone()

    def _stored_counters(self) -> _Counters:
        stored = dict(self._connection.execute("SELECT name, value FROM meta").fetchall())
        return _Counters(stored["revision"], stored["oldest"], *self._history_size())

    def _store_counters(self) -> None:
        self._connection.executemany(
            "UPDATE meta SET value = ? WHERE name = ?",
            [(self._counters.revision, "revision"), (self._counters.oldest, "oldest")],
        )


def _size(key: str, value: bytes | None) -> int:
    return len(key.encode()) + len(value or b"") + EVENT_BYTES


def _range(prefix: str) -> tuple[str, tuple[str, ...]]:
    """Return the SQL condition that a key begins with a prefix, and its values; SQLite compares code points."""
    end = prefix.rstrip("\U0010ffff")
    if not end:
        return "key >= ?", (prefix,)
    following = ord(end[-1]) + 1
    if following == 0xD800:  # surrogates are no characters
        following = 0xE000
    return "key >= ? AND key < ?", (prefix, end[:-1] + chr(following))


def _prepare(where: str, connection: sqlite3.Connection, first: int) -> None:
    """Create the schema in a new file; refuse files that are not ours, or come from a newer version."""
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")  # one server for each file
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if not connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] and not application:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("BEGIN EXCLUSIVE")
        for statement in _SCHEMA:
            connection.execute(statement)
        connection.executemany("INSERT INTO meta VALUES (?, ?)", [("revision", first), ("oldest", first + 1)])
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        connection.execute("COMMIT")
    elif application != _APPLICATION_ID:
        raise ContivError(f"{where}: this SQLite file is no store: name another one by --file")
    elif version > SCHEMA_VERSION:
        raise ContivError(f"{where}: written by a newer store (schema {version}): start that one")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
