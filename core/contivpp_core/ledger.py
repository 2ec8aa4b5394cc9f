# SPDX-License-Identifier: Apache-2.0
"""The ledger: what the agent has promised, and must still know after a crash.

Choices are made once and stored before use: addresses, the node's ID, the kind of a pod's interface. The
ledger keeps them in SQLite with fsync at each commit. It is small, so it is held in memory as well: reads cost
nothing and never touch the disk. Writes that come together share one transaction and one fsync, in one worker
thread. Without a path (the in-memory rig) there is neither file nor thread.

It is not the journal (`contivpp_core.journal`), which tells what happened and may be lost.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec

from contivpp_core.errors import ContivError

__all__ = ["SCHEMA_VERSION", "Ledger", "LedgerError", "LedgerWrite"]

SCHEMA_VERSION = 1
_APPLICATION_ID = 0x434F5650  # "COVP": tells our files from other SQLite databases
_SCHEMA = """
CREATE TABLE entry (
  space TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (space, key)
) WITHOUT ROWID
"""


class LedgerError(ContivError):
    """The ledger cannot be opened or written; the message names the file and what to do."""


class LedgerWrite(msgspec.Struct, frozen=True):
    """One change: `value` goes under (`space`, `key`), None deletes. A plugin's spaces begin with its name."""

    space: str
    key: str
    value: bytes | None


Batch = list[tuple[tuple[LedgerWrite, ...], asyncio.Future[None]]]


class Ledger:
    """Spaces of keys and values. Open it with `Ledger.open`; one agent at a time may have a file open."""

    def __init__(self, path: Path | None, database: sqlite3.Connection | None, lock: int | None) -> None:
        self.path = path
        self._database = database
        self._lock = lock
        self._spaces: dict[str, dict[str, bytes]] = {}
        self._waiting: Batch = []
        self._flush: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, "ledger") if database else None
        self._closed = False

    @classmethod
    def open(cls, path: Path | str | None) -> Ledger:
        """Open or create a ledger; None keeps everything in memory. Blocks: call it in a thread."""
        if path is None:
            return cls(None, None, None)
        path = Path(path)
        lock = _lock(path)
        try:
            with _explained(path):
                database, rows = _connect(path)
        except BaseException:
            os.close(lock)
            raise
        ledger = cls(path, database, lock)
        ledger._apply(LedgerWrite(*row) for row in rows)
        return ledger

    def get(self, space: str, key: str) -> bytes | None:
        """Return what is durably stored, or None."""
        return self._spaces.get(space, {}).get(key)

    def items(self, space: str) -> dict[str, bytes]:
        """Return a copy of a space, in the order of its keys."""
        return dict(sorted(self._spaces.get(space, {}).items()))

    async def commit(self, *writes: LedgerWrite) -> None:
        """Store all writes or none; when this returns, they survive a power cut.

        A commit that is cancelled may nevertheless be stored. On an error nothing of it is.
        """
        if self._closed:
            raise LedgerError(f"{self.path or 'the ledger'} is closed: the agent is stopping")
        if self._database is None:
            self._apply(writes)
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((writes, future))
        if self._flush is None or self._flush.done():
            self._flush = asyncio.create_task(self._flush_waiting(), name="ledger")
        await future

    async def close(self) -> None:
        """Store what waits, close the file and release it."""
        self._closed = True
        if self._flush is not None:
            await self._flush
        if self._thread is not None and self._database is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
            self._thread.shutdown()
            self._thread = self._database = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    async def _flush_waiting(self) -> None:
        """Write batch after batch: whatever came in while one was written goes into the next."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            writes = [write for group, _ in batch for write in group]
            error: Exception | None = None
            try:
                await loop.run_in_executor(self._thread, self._store, writes)
            except Exception as failure:
                error = failure
            else:
                self._apply(writes)
            for _, future in batch:
                if future.done():
                    continue
                if error is None:
                    future.set_result(None)
                else:
                    future.set_exception(error)

    def _apply(self, writes: Iterable[LedgerWrite]) -> None:
        for write in writes:
            if write.value is None:
                self._spaces.get(write.space, {}).pop(write.key, None)
            else:
                self._spaces.setdefault(write.space, {})[write.key] = write.value

    def _store(self, writes: list[LedgerWrite]) -> None:
        assert self._database is not None
        assert self.path is not None
        with _explained(self.path), self._database as database:
            database.execute("BEGIN IMMEDIATE")
            for write in writes:
                if write.value is None:
                    database.execute(
                        "DELETE FROM entry WHERE space = ? AND key = ?", (write.space, write.key)
                    )
                else:
                    database.execute(
                        "REPLACE INTO entry VALUES (?, ?, ?)", (write.space, write.key, write.value)
                    )


def _lock(path: Path) -> int:
    """Create directory and files for the owner only, and take the lock that a running agent holds."""
    name = path.with_name(path.name + ".lock")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        for file in (path, name):
            os.close(os.open(file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))
            file.chmod(0o600)
        lock = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise LedgerError(
            f"{path}: {error.strerror}: the agent must be able to write here (stateDir)"
        ) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise LedgerError(
            f"{path}: another agent (process {holder}) uses this ledger: stop it, or give this one its own stateDir"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _connect(path: Path) -> tuple[sqlite3.Connection, list[tuple[str, str, bytes]]]:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _migrate(path, database)  # first, so that a file that is not ours stays as it is
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        if (report := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise sqlite3.DatabaseError(report)
        return database, database.execute("SELECT space, key, value FROM entry").fetchall()
    except BaseException:
        database.close()
        raise


def _migrate(path: Path, database: sqlite3.Connection) -> None:
    """Create the schema in a new file; refuse files that are not ours or come from a newer agent."""
    version = database.execute("PRAGMA user_version").fetchone()[0]
    application = database.execute("PRAGMA application_id").fetchone()[0]
    empty = not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if empty and not version and not application:
        database.execute("BEGIN EXCLUSIVE")
        database.execute(_SCHEMA)
        database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        database.execute("COMMIT")
    elif application != _APPLICATION_ID:
        raise LedgerError(f"{path}: this SQLite file is not an agent's ledger: name another stateDir")
    elif version > SCHEMA_VERSION:
        raise LedgerError(
            f"{path}: written by a newer agent (schema {version}, this one knows {SCHEMA_VERSION}): "
            "start the newer agent again, or upgrade this one"
        )


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn SQLite's errors into errors that say which file, and what to do about it."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise LedgerError(f"{path}: {error}: check that the disk has room and can be written") from error
    except sqlite3.DatabaseError as error:
        raise LedgerError(
            f"{path}: the ledger is damaged ({error}): restore it from a backup, or move it away; without it the agent "
            "forgets the addresses of the pods that run on this node, so restart these afterwards"
        ) from error
