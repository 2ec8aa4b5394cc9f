# SPDX-License-Identifier: Apache-2.0
"""The local mirror: the agent's own memory of what the cluster's sources told, for a start without them.

Whatever fills the tables, their records go into a file of the agent's state folder: each write of the controller is
noted, and what came together is stored by a thread a moment later; nobody waits for it, and a file that cannot be
written is told and tried again. When a source has delivered a full list, its tables are stored anew.

At a start whose sources have not delivered within a short time, the tables are filled from the file and marked stale:
they count as ready. What a source delivers afterwards is compared with them, as with any other record, and ends that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from contivpp_core.agent import Agent
from contivpp_core.records import AnyTable, Record
from contivpp_core.state import Change, Put, Ready, Write
from contivpp_core.tasks import end
from contivpp_datastore.tablefile import Content, TableFile, Update

__all__ = ["CONDITION", "LocalMirror"]

log = logging.getLogger(__name__)

CONDITION = "datastore local mirror"
BATCH_SECONDS = 0.5
"""So long changes are collected before they are stored."""
RETRY_SECONDS = 10.0
OPEN_SECONDS = 3.0
"""A disk that takes longer to read the file is not waited for."""


class LocalMirror:
    """Keeps `tables` in the file at `path` (None: nowhere, and only notes are kept, in memory)."""

    def __init__(self, agent: Agent, tables: Iterable[AnyTable], path: Path | None, *, wait: float) -> None:
        self._agent = agent
        self._tables = {table.name: table for table in tables if table.name in agent.state}
        self._wait = wait
        self._file = TableFile(path, self._tables.values()) if path else None
        self._thread = ThreadPoolExecutor(1, "local mirror") if path else None
        self._content = Content({}, {}, {})
        self._opened = asyncio.Event()
        self._filled: dict[str, dict[str, Record]] = {}
        self._changes: dict[tuple[str, str], Record | None] = {}
        self._whole: set[str] = set()
        self._notes: dict[str, bytes] = {}
        self._news = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unfollow: Callable[[], None] = lambda: None
        self.error = ""
        """Why the file cannot be used now, or ""."""

    # --- life

    def start(self) -> None:
        """Begin to note what is written, and to fill the tables when nobody else does."""
        if self._file is None:
            self._opened.set()
            return
        self._unfollow = self._agent.controller.follow(self._follow)
        self._tasks = [
            asyncio.create_task(self._run(), name="local mirror"),
            asyncio.create_task(self._fill_when_late(), name="local mirror's fill"),
        ]

    async def stop(self) -> None:
        """Store what is not stored yet, and close."""
        self._unfollow()
        await end(*self._tasks)
        if self._thread is not None and self._file is not None:
            if self._opened.is_set() and not self.error:
                await self._flush()
            await self._blocking(self._file.close)
            self._thread.shutdown()

    # --- notes

    async def recall(self, name: str) -> bytes | None:
        """Return what was noted under a name in this life or an earlier one, as soon as the file is read."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_SECONDS):
                await self._opened.wait()
        return self._notes.get(name) or self._content.notes.get(name)

    def records(self, table: str) -> list[Record]:
        """Return the records that an earlier life knew, until `source_wait_seconds` after the start."""
        return list(self._content.records.get(table, ()))

    def note(self, name: str, value: bytes) -> None:
        """Keep something small under a name."""
        self._notes[name] = value
        self._news.set()

    # --- noting

    def _follow(self, changes: list[Change], flips: list[str]) -> None:
        for change in changes:
            if change.table in self._tables:
                filled = self._filled.get(change.table, {})
                if change.new is None or filled.get(change.key) is not change.new:
                    self._changes[change.table, change.key] = change.new
        for name in flips:
            rows = self._agent.state.table(name) if name in self._tables else None
            if rows is not None and rows.ready and not rows.stale:
                self._whole.add(name)
                self._filled.pop(name, None)
        if flips:
            self._tell()
        if self._changes or self._whole:
            self._news.set()

    def _tell(self) -> None:
        stale = [name for name in self._agent.state.stale() if name in self._tables]
        times = [self._content.times[name] for name in stale if name in self._content.times]
        since = datetime.fromtimestamp(min(times), UTC).isoformat(timespec="seconds") if times else "an earlier start"
        reason = f"{', '.join(stale)}: as of {since}, from the local mirror: their source has not delivered yet"
        if stale or CONDITION in self._agent.conditions:
            self._agent.set_condition(CONDITION, not stale, reason)

    # --- storing

    async def _run(self) -> None:
        assert self._file is not None
        opened = await self._open()
        while True:
            if not opened:
                await asyncio.sleep(RETRY_SECONDS)
                opened = await self._open()
                continue
            await self._news.wait()
            await asyncio.sleep(BATCH_SECONDS)
            self._news.clear()
            if not await self._flush():
                await asyncio.sleep(RETRY_SECONDS)
                self._news.set()

    async def _open(self) -> bool:
        assert self._file is not None
        try:
            self._content = await self._blocking(self._file.open)
        except Exception as error:  # no disk, no rights, a folder in its place: nothing that stops the agent
            self._failed(error)
            return False
        finally:
            self._opened.set()
        self.error = ""
        return True

    async def _flush(self) -> bool:
        """Store what has come; tell whether that succeeded."""
        assert self._file is not None
        state = self._agent.state
        whole = {name: state.table(name).unordered() for name in sorted(self._whole)}
        changes, self._changes, self._whole = self._changes, {}, set()
        update = Update(whole, changes, dict(self._notes), self._agent.clock.now())
        try:
            await self._blocking(self._file.store, update)
        except Exception as error:
            self._failed(error)
            tables = {name: state.table(name) for name in {*whole, *(table for table, _ in changes)}}
            self._whole |= {name for name, rows in tables.items() if rows.ready and not rows.stale}
            return False
        if self.error:
            log.info("the local mirror can be written again", extra={"file": str(self._file.path)})
            self.error = ""
        return True

    def _failed(self, error: Exception) -> None:
        assert self._file is not None
        reason = f"{self._file.path}: {error}: check that the disk has room and can be written (stateDir)"
        if reason != self.error:
            log.error(
                "the local mirror cannot be written: a start without the source would find old records, or none",
                extra={"reason": reason},
            )
        self.error = reason

    async def _blocking(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    # --- filling

    async def _fill_when_late(self) -> None:
        await asyncio.sleep(self._wait)
        await self._opened.wait()
        late = [n for n in self._content.records if n in self._tables and not self._agent.state.ready(n)]
        if late:
            log.warning("sources are late: tables are filled from the local mirror", extra={"tables": late})
            await self._agent.controller.write("local mirror", lambda: self._fill(late))
        self._content = self._content._replace(records={})  # tables hold what is of use

    def _fill(self, late: list[str]) -> list[Write]:
        """Return what fills the tables that are still late; what a source has told of them meanwhile is newer."""
        state = self._agent.state
        writes: list[Write] = []
        for name in late:
            if state.ready(name):
                continue
            key = self._tables[name].key
            records = {key(record): record for record in self._content.records[name]}
            self._filled[name] = records
            writes += [Put(name, record) for k, record in records.items() if state.get(name, k) is None]
            writes.append(Ready(name, stale=True))
        return writes
