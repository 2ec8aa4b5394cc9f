# SPDX-License-Identifier: Apache-2.0
"""A key-value store in memory, for tests and in-memory rigs.

Several agents of one rig share one object. It can be made unavailable (`outage`), and forget history (`compact`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import AbstractAsyncContextManager

from contivpp_core import kvstore_lock
from contivpp_core.kvstore import (
    Compacted,
    Compare,
    DeleteKey,
    KeyValue,
    LeaseLost,
    Listing,
    PutKey,
    StoreUnavailable,
    TransactionResult,
    WatchBatch,
    WatchEvent,
)

__all__ = ["MemoryKVStore"]

Operation = PutKey | DeleteKey


class _Lease:
    def __init__(self, ttl: float, timer: asyncio.TimerHandle) -> None:
        self.ttl = ttl
        self.timer = timer
        self.keys: set[str] = set()


class MemoryKVStore:
    """Implements `contivpp_core.kvstore.KVStore`."""

    def __init__(self) -> None:
        self.revision = 0
        self._data: dict[str, KeyValue] = {}
        self._history: list[WatchEvent] = []
        self._oldest = 1
        self._leases: dict[int, _Lease] = {}
        self._bound: dict[str, int] = {}  # key -> lease
        self._next_lease = 1
        self._watchers: set[asyncio.Event] = set()
        self._outage = False

    # --- what a test may do to it

    def outage(self, unavailable: bool) -> None:
        """Begin or end an outage: every call raises, every watch ends."""
        self._outage = unavailable
        self._wake()

    def compact(self, revision: int) -> None:
        """Forget all history before a revision."""
        self._oldest = max(self._oldest, min(revision, self.revision + 1))
        self._history = [event for event in self._history if event.revision >= self._oldest]
        self._wake()

    def close(self) -> None:
        """End all leases' timers."""
        for lease in self._leases.values():
            lease.timer.cancel()

    # --- reading

    async def get(self, key: str) -> KeyValue | None:
        self._check()
        return self._data.get(key)

    async def list(self, prefix: str) -> Listing:
        self._check()
        return Listing(
            self.revision, tuple(self._data[key] for key in sorted(self._data) if key.startswith(prefix))
        )

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        woken = asyncio.Event()
        self._watchers.add(woken)
        reported = False
        try:
            while True:
                self._check()
                if from_revision < self._oldest:
                    raise Compacted(self._oldest)
                upto = self.revision
                events = tuple(
                    event
                    for event in self._history
                    if event.revision >= from_revision and event.key.startswith(prefix)
                )
                from_revision = max(from_revision, upto + 1)
                if events or not reported:
                    reported = True
                    yield WatchBatch(upto, events)
                    continue  # something may have changed while the reader was busy
                woken.clear()
                await woken.wait()
        finally:
            self._watchers.discard(woken)

    # --- writing

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        return (await self.transaction((), (PutKey(key, value, lease),))).revision

    async def delete(self, key: str) -> bool:
        before = self.revision
        return (await self.transaction((), (DeleteKey(key),))).revision > before

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[Operation, ...],
        failure: tuple[Operation, ...] = (),
    ) -> TransactionResult:
        self._check()
        holds = all(self._revision_of(compare.key) == compare.revision for compare in compares)
        self._carry_out(success if holds else failure)
        return TransactionResult(holds, self.revision)

    def _revision_of(self, key: str) -> int:
        found = self._data.get(key)
        return found.revision if found else 0

    def _carry_out(self, operations: Iterable[Operation]) -> None:
        operations = tuple(operations)
        for operation in operations:
            if isinstance(operation, PutKey) and operation.lease and operation.lease not in self._leases:
                raise LeaseLost(f"lease {operation.lease} is gone: grant another one")
        revision = self.revision + 1
        for operation in operations:
            if isinstance(operation, PutKey):
                self._bind(operation.key, operation.lease)
                old = self._data.get(operation.key)
                created = old.created if old else revision
                self._data[operation.key] = KeyValue(operation.key, operation.value, revision, created)
                self._history.append(WatchEvent(operation.key, operation.value, revision))
            elif self._data.pop(operation.key, None) is not None:
                self._bind(operation.key, 0)
                self._history.append(WatchEvent(operation.key, None, revision))
            else:
                continue
            self.revision = revision
        self._wake()

    # --- leases

    async def grant(self, ttl: float) -> int:
        self._check()
        lease, self._next_lease = self._next_lease, self._next_lease + 1
        self._leases[lease] = _Lease(ttl, self._timer(lease, ttl))
        return lease

    async def keep_alive(self, lease: int) -> None:
        self._check()
        if (found := self._leases.get(lease)) is None:
            raise LeaseLost(f"lease {lease} is gone: grant another one")
        found.timer.cancel()
        found.timer = self._timer(lease, found.ttl)

    async def revoke(self, lease: int) -> None:
        self._check()
        self._expire(lease)

    def lock(self, name: str, *, ttl: float = 10.0) -> AbstractAsyncContextManager[int]:
        return kvstore_lock.lock(self, name, ttl=ttl)

    def _timer(self, lease: int, ttl: float) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(ttl, self._expire, lease)

    def _expire(self, lease: int) -> None:
        found = self._leases.pop(lease, None)
        if found is not None:
            found.timer.cancel()
            self._carry_out([DeleteKey(key) for key in sorted(found.keys)])

    def _bind(self, key: str, lease: int) -> None:
        with contextlib.suppress(KeyError):
            self._leases[self._bound.pop(key)].keys.discard(key)
        if lease:
            self._bound[key] = lease
            self._leases[lease].keys.add(key)

    def _check(self) -> None:
        if self._outage:
            raise StoreUnavailable("the store does not answer (an outage of the test): try again later")

    def _wake(self) -> None:
        for watcher in self._watchers:
            watcher.set()
