# SPDX-License-Identifier: Apache-2.0
"""The local mirror's file: records of tables in SQLite. Everything here blocks: call it in a thread.

A file that is damaged, or is not ours, is set aside beside its name with an error in the log, and a new one is begun:
it is a memory of what others know, never needed to start. A write is one transaction. It may be lost in a power cut
(it is not fsynced), the file then is as it was before.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from contivpp_core.records import AnyTable, Record

__all__ = ["Content", "TableFile", "Update"]

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x434F564D  # "COVM": tells our files from other SQLite databases
_SCHEMA = (
    "CREATE TABLE record (tab TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tab, key)) "
    "WITHOUT ROWID",
    "CREATE TABLE complete (tab TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID",
    "CREATE TABLE note (name TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
)


class Content(NamedTuple):
    """What a file holds: for each table that was complete its records and the wall clock's time of its last write."""

    records: Mapping[str, list[Record]]
    times: Mapping[str, float]
    notes: Mapping[str, bytes]


class Update(NamedTuple):
    """One transaction: tables that are replaced, records that changed (None: gone), notes; `at` is the time now."""

    whole: Mapping[str, list[Record]]
    changes: Mapping[tuple[str, str], Record | None]
    notes: Mapping[str, bytes]
    at: float


class TableFile:
    """An open file."""

    def __init__(self, path: Path, tables: Iterable[AnyTable]) -> None:
        self.path = path
        self._tables = {table.name: table for table in tables}
        self._database: sqlite3.Connection | None = None

    def open(self) -> Content:
        """Open or create the file and return what it holds. OSError and sqlite3.Error: it cannot be used at all."""
        try:
            return self._open()
        except (sqlite3.DatabaseError, _Foreign) as error:
            self.close()
            if isinstance(error, sqlite3.OperationalError) and not self.path.exists():
                raise
            self._set_aside(error)
        return self._open()

    def store(self, update: Update) -> None:
        """Carry out an update, or nothing of it."""
        assert self._database is not None
        with self._database as database:
            database.execute("BEGIN IMMEDIATE")
            for name, records in update.whole.items():
                key = self._tables[name].key
                database.execute("DELETE FROM record WHERE tab = ?", (name,))
                rows = ((name, key(each), msgspec.json.encode(each)) for each in records)
                database.executemany("INSERT INTO record VALUES (?, ?, ?)", rows)
                database.execute("REPLACE INTO complete VALUES (?, ?)", (name, update.at))
            for (name, key_), record in update.changes.items():
                if name in update.whole:
                    continue
                if record is None:
                    database.execute("DELETE FROM record WHERE tab = ? AND key = ?", (name, key_))
                else:
                    value = msgspec.json.encode(record)
                    database.execute("REPLACE INTO record VALUES (?, ?, ?)", (name, key_, value))
                database.execute("UPDATE complete SET at = ? WHERE tab = ?", (update.at, name))
            database.executemany("REPLACE INTO note VALUES (?, ?)", update.notes.items())

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    # --- opening

    def _open(self) -> Content:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
        self._database = database = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        self._migrate(database)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        if (report := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(report)
        return self._read(database)

    def _migrate(self, database: sqlite3.Connection) -> None:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        application = database.execute("PRAGMA application_id").fetchone()[0]
        empty = not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if empty and not version and not application:
            database.execute("BEGIN EXCLUSIVE")
            for statement in _SCHEMA:
                database.execute(statement)
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
            database.execute("COMMIT")
        elif application != _APPLICATION_ID:
            raise _Foreign("this file is not a local mirror")
        elif version != SCHEMA_VERSION:
            raise _Foreign(f"written by another version of the agent (schema {version}, not {SCHEMA_VERSION})")

    def _read(self, database: sqlite3.Connection) -> Content:
        times = {name: at for name, at in database.execute("SELECT tab, at FROM complete") if name in self._tables}
        records: dict[str, list[Record]] = {}
        for name in times:
            table = self._tables[name]
            decoder = msgspec.json.Decoder(table.record)
            try:
                rows = database.execute("SELECT key, value FROM record WHERE tab = ?", (name,))
                found = {key: decoder.decode(value) for key, value in rows}
                if any(table.key(record) != key for key, record in found.items()):
                    raise ValueError("a record is not what its key says")
            except (msgspec.MsgspecError, ValueError, TypeError, RecursionError) as error:
                log.error("a table of the local mirror cannot be read", extra={"table": name, "reason": str(error)})
                continue
            records[name] = list(found.values())
        return Content(records, times, dict(database.execute("SELECT name, value FROM note")))

    def _set_aside(self, error: Exception) -> None:
        aside = self.path.with_name(self.path.name + ".set-aside")
        log.error(
            "the local mirror cannot be used: it is set aside, and a new one is begun",
            extra={"file": str(self.path), "aside": str(aside), "reason": str(error)},
        )
        os.replace(self.path, aside)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                os.replace(f"{self.path}{suffix}", f"{aside}{suffix}")


class _Foreign(Exception):
    """The file is not ours."""
