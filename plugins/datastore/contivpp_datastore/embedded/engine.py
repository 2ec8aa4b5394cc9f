# SPDX-License-Identifier: Apache-2.0
"""The embedded store in this process: `KVStore` over the database, with watches and the time of leases.

Works that come while the disk is busy form the next group, which is one transaction. A watch reads the history in the
database whenever something that concerns it has changed; it holds nothing in memory, so a slow watcher costs nothing:
it falls behind, until the history that it needs is forgotten, and then it is told `Compacted`.
"""

from __future__ import annotations

import asyncio
import logging
import math
import secrets
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

from contivpp_core import kvstore_lock
from contivpp_core.clock import Clock
from contivpp_core.kvstore import (
    Compare,
    DeleteKey,
    KeyValue,
    KVStoreError,
    LeaseLost,
    Listing,
    PutKey,
    StoreUnavailable,
    TransactionResult,
    WatchBatch,
)
from contivpp_datastore.embedded.database import Database, HistoryLimit

__all__ = ["SqliteStore"]

log = logging.getLogger(__name__)

Works = list[tuple[Callable[[Database], Any], asyncio.Future[Any]]]
Results = list[Any]
T = TypeVar("T")

PROGRESS_SECONDS = 5.0
"""How long a watch that nothing concerns waits before it tells how far the store is."""
RETRY_SECONDS = 1.0


class _Lease:
    def __init__(self, ttl: float, timer: asyncio.TimerHandle) -> None:
        self.ttl = ttl
        self.timer = timer


class _Watcher:
    """What a watch waits for: any change, and one of its prefix."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.moved = asyncio.Event()
        self.concerned = asyncio.Event()

    def clear(self) -> None:
        self.moved.clear()
        self.concerned.clear()

    async def wait(self) -> None:
        """Wait for a change of the prefix, or some time after any other."""
        await self.moved.wait()
        try:
            async with asyncio.timeout(PROGRESS_SECONDS):
                await self.concerned.wait()
        except TimeoutError:
            return


class SqliteStore:
    """Implements `contivpp_core.kvstore.KVStore`. Open it with `SqliteStore.open`."""

    def __init__(self, database: Database, *, threaded: bool) -> None:
        self._database = database
        self._thread = ThreadPoolExecutor(1, "store") if threaded else None
        self._waiting: Works = []
        self._group: asyncio.Task[None] | None = None
        self._leases: dict[int, _Lease] = {}
        self._expiring: set[asyncio.Task[None]] = set()
        self._watchers: set[_Watcher] = set()
        self._closed = False

    @classmethod
    async def open(cls, path: Path | None = None, *, history: HistoryLimit | None = None) -> SqliteStore:
        """Open a file (None: in memory). Leases that were alive get their full time again."""
        first = int(Clock().now() * 1000)
        if path is None:
            store = cls(Database.open(None, first=first, limit=history), threaded=False)
        else:
            database = await asyncio.to_thread(Database.open, path, first=first, limit=history)
            store = cls(database, threaded=True)
        for lease, ttl in (await store._do(Database.leases)).items():
            store._leases[lease] = _Lease(ttl, store._timer(lease, ttl))
        return store

    async def close(self) -> None:
        """End watches and leases' timers, finish what was begun, and close the file."""
        self._closed = True
        for lease in self._leases.values():
            lease.timer.cancel()
        for watcher in self._watchers:
            watcher.moved.set()
            watcher.concerned.set()
        await asyncio.gather(*self._expiring, return_exceptions=True)
        if self._group is not None:
            await self._group
        if self._thread is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._database.close)
            self._thread.shutdown()
        else:
            self._database.close()

    # --- KVStore

    async def get(self, key: str) -> KeyValue | None:
        return await self._do(lambda database: database.get(key))

    async def list(self, prefix: str) -> Listing:
        return await self._do(lambda database: database.list(prefix))

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        return await self._do(lambda database: database.put(PutKey(key, value, lease)))

    async def delete(self, key: str) -> bool:
        return await self._do(lambda database: database.delete(key))

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[PutKey | DeleteKey, ...],
        failure: tuple[PutKey | DeleteKey, ...] = (),
    ) -> TransactionResult:
        return await self._do(lambda database: database.transaction(compares, success, failure))

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        watcher = _Watcher(prefix)
        self._watchers.add(watcher)
        begin, told = from_revision, -1
        try:
            while True:
                watcher.clear()
                wanted = begin  # bound now: the work is done later
                page = await self._do(lambda database, wanted=wanted: database.events(prefix, wanted))  # type: ignore[misc]
                begin = page.revision + 1
                if page.events or page.revision != told:
                    told = page.revision
                    yield WatchBatch(page.revision, page.events)
                if page.complete:
                    await watcher.wait()
        finally:
            self._watchers.discard(watcher)

    async def grant(self, ttl: float) -> int:
        if not (math.isfinite(ttl) and ttl > 0):
            raise KVStoreError(f"a lease of {ttl} s: the time must be more than 0")
        # At random, so that nobody's lease of a store that is gone names one of this store.
        lease = secrets.randbits(52) + 1
        await self._do(lambda database: database.grant(lease, ttl))
        self._leases[lease] = _Lease(ttl, self._timer(lease, ttl))
        return lease

    async def keep_alive(self, lease: int) -> None:
        self._check()
        if (found := self._leases.get(lease)) is None:
            raise LeaseLost(f"lease {lease} is gone: grant another one")
        found.timer.cancel()
        found.timer = self._timer(lease, found.ttl)

    async def revoke(self, lease: int) -> None:
        await self._do(lambda database: database.revoke(lease))
        if (found := self._leases.pop(lease, None)) is not None:
            found.timer.cancel()

    def lock(self, name: str, *, ttl: float = 10.0) -> AbstractAsyncContextManager[int]:
        return kvstore_lock.lock(self, name, ttl=ttl)

    async def compact(self, revision: int) -> None:
        """Forget all history before a revision."""
        await self._do(lambda database: database.compact(revision))

    # --- leases

    def _timer(self, lease: int, ttl: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ttl, self._expire, lease)

    def _expire(self, lease: int) -> None:
        if self._leases.pop(lease, None) is not None:
            task = asyncio.create_task(self._end(lease), name=f"end of lease {lease}")
            self._expiring.add(task)
            task.add_done_callback(self._expiring.discard)

    async def _end(self, lease: int) -> None:
        while not self._closed:
            try:
                return await self._do(lambda database: database.revoke(lease))
            except KVStoreError as error:
                log.error("the keys of lease %d cannot be deleted: %s", lease, error)
                await asyncio.sleep(RETRY_SECONDS)

    # --- groups of works

    def _check(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def _do(self, work: Callable[[Database], T]) -> T:
        self._check()
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append((work, future))
        if self._thread is None:
            waiting, self._waiting = self._waiting, []
            self._finish(waiting, *self._database.carry_out([each for each, _ in waiting]))
        elif self._group is None or self._group.done():
            self._group = asyncio.create_task(self._groups(self._thread), name="store")
        return await future

    async def _groups(self, thread: ThreadPoolExecutor) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            works = [work for work, _ in waiting]
            self._finish(waiting, *await loop.run_in_executor(thread, self._database.carry_out, works))

    def _finish(self, waiting: Works, results: Results, touched: frozenset[str]) -> None:
        for (_, future), result in zip(waiting, results, strict=True):
            if future.done():  # its caller was cancelled
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
        for watcher in self._watchers if touched else ():
            watcher.moved.set()
            if any(key.startswith(watcher.prefix) for key in touched):
                watcher.concerned.set()
