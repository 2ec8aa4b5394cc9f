# SPDX-License-Identifier: Apache-2.0
"""The mirror: the agent's tables hold what the cluster's store holds.

It lists the store, writes the difference to the tables as one batch, and then watches from the next revision; each
batch of the watch is one write. When the store cannot be reached the records stay, and it goes on from the revision
that it had. When that revision is forgotten, it lists again. A value that cannot be read leaves the last good record of
its key, is told once, and concerns no other key.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Iterable
from contextlib import aclosing

import msgspec

from contivpp_core.agent import Agent
from contivpp_core.cluster import MalformedValue
from contivpp_core.events import NodeChanged, NodeJoined, NodeLeft
from contivpp_core.kvstore import Compacted, KVStore, KVStoreError, Listing, StoreUnavailable, WatchBatch
from contivpp_core.node import CLUSTER_NODE
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_datastore.objects import ROOT, TABLES, Place, place, record

__all__ = ["CONDITION", "MalformedEntry", "Mirror"]

log = logging.getLogger(__name__)

CONDITION = "datastore"
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 10.0


class MalformedEntry(msgspec.Struct, frozen=True):
    """A value of the store that cannot be read: its key, its revision, and why."""

    key: str
    revision: int
    error: str


class _Backoff:
    """Growing pauses with jitter, so that a cluster's agents do not come back in one moment."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)  # each node its own, and the same in every simulation
        self.tries = 0

    async def pause(self) -> None:
        longest = min(FIRST_RETRY_SECONDS * 2**self.tries, LONGEST_RETRY_SECONDS)
        self.tries = min(self.tries + 1, 16)
        await asyncio.sleep(longest * self._random.uniform(0.5, 1.0))


class Mirror:
    """Fills the tables of `contivpp_datastore.objects.TABLES` from a store."""

    def __init__(self, agent: Agent, store: KVStore) -> None:
        self.revision = 0
        """The revision of the store that the tables hold."""
        self._agent = agent
        self._store = store
        self._listed = False
        self._malformed: dict[str, MalformedEntry] = {}
        self._backoff = _Backoff(agent.node_name)
        self._writing = asyncio.Lock()
        self._moved = asyncio.Event()

    def malformed(self) -> list[MalformedEntry]:
        """Return the values that cannot be read, by key."""
        return [self._malformed[key] for key in sorted(self._malformed)]

    async def run(self) -> None:
        """Mirror for ever."""
        self._agent.set_condition(CONDITION, False, "the store is not listed yet")
        while True:
            try:
                if not self._listed:
                    await self._list()
                await self._follow()
            except Compacted as error:
                log.warning("the store is listed again", extra={"reason": str(error)})
                self._listed = False
                if not self._backoff.tries:
                    self._backoff.tries = 1  # at once, but not again and again
                    continue
            except StoreUnavailable as error:
                self._agent.set_condition(CONDITION, False, str(error))
            except Exception as error:
                log.exception("the store cannot be mirrored")
                self._agent.set_condition(CONDITION, False, f"{type(error).__name__}: {error}")
                self._listed = False
            await self._backoff.pause()

    async def caught_up(self, revision: int) -> None:
        """Wait until the tables hold everything of the store up to a revision, rendered."""
        while not self._listed:
            await self._moved.wait()
        while self.revision < revision:
            try:
                target = await self._last_change(revision)
            except Compacted:
                await self._relist()
                continue
            except KVStoreError:
                await asyncio.sleep(FIRST_RETRY_SECONDS)
                continue
            while self.revision < target:
                await self._moved.wait()
            return

    async def _last_change(self, revision: int) -> int:
        """Return the revision of the last change that concerns the mirror, of those up to `revision`.

        A store may be silent about changes of other prefixes; so this reads along what the mirror has not seen yet.
        """
        target = 0
        async with aclosing(self._store.watch("", self.revision + 1)) as watch:
            async for batch in watch:
                ours = [e.revision for e in batch.events if e.key.startswith(ROOT) and e.revision <= revision]
                target = max([target, *ours])
                if batch.revision >= revision:
                    break
        return target

    async def _relist(self) -> None:
        try:
            await self._list()
        except KVStoreError:
            await asyncio.sleep(FIRST_RETRY_SECONDS)

    # --- listing

    async def _list(self) -> None:
        async with self._writing:
            listing = await self._store.list(ROOT)
            await self._write("store: list", self._difference(listing))
            self._listed = True
            self._reached(listing.revision)

    def _difference(self, listing: Listing) -> list[Write]:
        """Return the writes that make the tables equal to a listing."""
        state = self._agent.state
        writes: list[Write] = []
        kept: set[tuple[str, str]] = set()
        self._forget({item.key for item in listing.items})
        known = self.revision if self.revision <= listing.revision else -1  # -1: the store was put back
        for item in listing.items:
            where = self._place(item.key, item.revision)
            if where is None:
                continue
            put = self._put(where, item.key, item.value, item.revision)
            if put is not None and state.get(where.table.name, where.key) != put.record:
                writes.append(put)
            # A key that was made anew meanwhile, unreadable, has no last good record.
            if put is not None or item.created <= known:
                kept.add((where.table.name, where.key))
        for table in TABLES:
            gone = [key for key in state.table(table.name) if (table.name, key) not in kept]
            writes += [Delete(table.name, key) for key in gone]
        return [*writes, *(Ready(table.name) for table in TABLES)]

    def _forget(self, present: set[str]) -> None:
        for key in self._malformed.keys() - present:
            del self._malformed[key]

    # --- following

    async def _follow(self) -> None:
        begin = self.revision + 1
        first = True
        async with aclosing(self._store.watch(ROOT, begin)) as watch:
            async for batch in watch:
                if first and batch.revision < begin - 1:
                    raise Compacted(batch.revision)  # the store was put back to an older state
                first = False
                async with self._writing:
                    await self._apply(batch)
                self._backoff.tries = 0
                self._agent.set_condition(CONDITION, True)

    async def _apply(self, batch: WatchBatch) -> None:
        writes: list[Write] = []
        for event in batch.events:
            if event.revision <= self.revision:
                continue  # a listing has told it already
            if event.value is None:
                self._malformed.pop(event.key, None)
            where = self._place(event.key, event.revision, gone=event.value is None)
            if where is None:
                continue
            if event.value is None:
                writes.append(Delete(where.table.name, where.key))
            elif (put := self._put(where, event.key, event.value, event.revision)) is not None:
                writes.append(put)
        if writes:
            await self._write(f"store: revision {batch.revision}", writes)
        if batch.revision > self.revision:
            self._reached(batch.revision)

    # --- both

    def _place(self, key: str, revision: int, *, gone: bool = False) -> Place | None:
        try:
            return place(key)
        except MalformedValue as error:
            if not gone:
                self._tell(key, revision, error)
            return None

    def _put(self, where: Place, key: str, value: bytes, revision: int) -> Put | None:
        try:
            put = Put(where.table.name, record(key, value, where))
        except MalformedValue as error:
            self._tell(key, revision, error)
            return None
        self._malformed.pop(key, None)
        return put

    def _tell(self, key: str, revision: int, error: MalformedValue) -> None:
        known = self._malformed.get(key)
        if known is None or known.revision != revision:
            log.error("a value of the store cannot be read", extra={"key": key, "reason": str(error)})
        self._malformed[key] = MalformedEntry(key, revision, str(error))

    async def _write(self, cause: str, writes: Iterable[Write]) -> None:
        """Write one batch, and tell plugins which nodes came, changed and went."""
        writes = list(writes)
        state, table = self._agent.state, CLUSTER_NODE
        names = {w.record.name for w in writes if isinstance(w, Put) and w.table == table.name}  # type: ignore[attr-defined]
        names |= {write.key for write in writes if isinstance(write, Delete) and write.table == table.name}
        before = {name: state.get(table.name, name) for name in sorted(names)}
        await self._agent.controller.write(cause, writes)
        for name, old in before.items():
            new = state.get(table.name, name)
            if old is None and new is not None:
                self._agent.hooks.emit("node_joined", NodeJoined(name=name, node_id=new.node_id))
            elif old is not None and new is None:
                self._agent.hooks.emit("node_left", NodeLeft(name=name, node_id=old.node_id))
            elif old != new:
                self._agent.hooks.emit("node_changed", NodeChanged(name=name, node_id=new.node_id))

    def _reached(self, revision: int) -> None:
        self.revision = revision
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
