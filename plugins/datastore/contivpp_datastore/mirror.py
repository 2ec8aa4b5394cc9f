# SPDX-License-Identifier: Apache-2.0
"""The mirror: the agent's tables hold what the cluster's store holds.

It lists the store, writes the difference to the tables as one batch, and then watches from the next revision; each
batch of the watch is one write. When the store cannot be reached the records stay, and it goes on from the revision
that it had. When that revision is forgotten, or the store may be another one, it lists again. What a missing key tells
then is said by `contivpp_datastore.trust`: an empty store is no empty cluster. A value that cannot be read leaves the
last good record of its key, is told once, and concerns no other key.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing

import msgspec

from contivpp_core.agent import Agent
from contivpp_core.backoff import Backoff
from contivpp_core.clock import gently
from contivpp_core.cluster import MalformedValue, object_key
from contivpp_core.kubernetes import NODE
from contivpp_core.kvstore import (
    Compacted,
    KVStore,
    KVStoreError,
    Listing,
    StoreReplaced,
    StoreUnavailable,
    WatchBatch,
    WatchEvent,
)
from contivpp_core.markers import marked_kind
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_datastore.anchor import Anchor, anchor_in, moved
from contivpp_datastore.local import LocalMirror
from contivpp_datastore.nodes import NODE_TABLES, Absent
from contivpp_datastore.objects import ROOT, TABLES, Place, place, record
from contivpp_datastore.trust import NODE_KIND, Trust, kind_of

__all__ = ["CONDITION", "MalformedEntry", "Mirror"]

log = logging.getLogger(__name__)

CONDITION = "datastore"
FIRST_RETRY_SECONDS = 0.2
LONGEST_RETRY_SECONDS = 1.0
"""An agent hears of a store that is back about so soon; a try at one that is down costs a refused connection."""
GATHER_SECONDS = 0.5
"""So long a list that a marker asks for waits at most: markers of several kinds come together, agents should not."""
SWEEPS, ANCHOR = "sweeps", "anchor"
"""Under these names the local mirror keeps what recognises the store after a restart of the agent."""


class MalformedEntry(msgspec.Struct, frozen=True):
    """A value of the store that cannot be read: its key, its revision, and why."""

    key: str
    revision: int
    error: str


class _Pauses(Backoff):
    """Pauses with jitter, so that a cluster's agents do not come back in one moment."""

    async def gather(self) -> None:
        await asyncio.sleep(GATHER_SECONDS * self._random.uniform(0.2, 1.0))


class Mirror:
    """Fills the tables of `contivpp_datastore.objects.TABLES` from a store."""

    def __init__(self, agent: Agent, store: KVStore, local: LocalMirror, *, reflected: bool) -> None:
        self.revision = 0
        """The revision of the store that the tables hold."""
        self.connected = False
        """Whether the store answers."""
        self.trust = Trust(reflected=reflected)
        self._agent = agent
        self._store = store
        self._local = local
        self._listed = False
        self._anchor: Anchor | None = None
        self._absent = Absent(agent.state, agent.node_name)
        self._nodes: list[Put] = []  # as an earlier life knew them
        self._malformed: dict[str, MalformedEntry] = {}
        self._backoff = _Pauses(agent.node_name, first=FIRST_RETRY_SECONDS, longest=LONGEST_RETRY_SECONDS)
        self._writing = asyncio.Lock()
        self._moved = asyncio.Event()

    def malformed(self) -> list[MalformedEntry]:
        """Return the values that cannot be read, by key."""
        return [self._malformed[key] for key in sorted(self._malformed)]

    async def run(self) -> None:
        """Mirror for ever."""
        self._agent.set_condition(CONDITION, False, "the store is not listed yet")
        await self._recall()
        while True:
            try:
                if not self._listed or not await self._is_the_same():
                    await self._list()
                await self._follow()
                await self._backoff.gather()
                continue
            except Compacted as error:
                log.warning("the store is listed again", extra={"reason": str(error)})
                self._listed = False
                if isinstance(error, StoreReplaced):
                    self._replaced()
                if not self._backoff.tries:
                    self._backoff.tries = 1  # at once, but not again and again
                    continue
            except KVStoreError as error:  # it does not answer, or refuses: for how long nobody knows
                kept = "; what is known stays in force" if self._listed else ""
                self._agent.set_condition(CONDITION, False, f"{error}{kept}")
            except Exception as error:
                log.exception("the store cannot be mirrored")
                self._agent.set_condition(CONDITION, False, f"{type(error).__name__}: {error}")
                self._listed = False
            self.connected = False
            await self._backoff.pause()

    async def caught_up(self, revision: int) -> None:
        """Wait until the tables hold everything of the store up to a revision, rendered."""
        while not self._listed:
            await self._moved.wait()
        while self.revision < revision:
            try:
                target = await self._last_change(revision)
            except StoreUnavailable:
                await asyncio.sleep(FIRST_RETRY_SECONDS)
                continue
            except KVStoreError:  # forgotten, or others' keys may not be read
                await self._relist()
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

    # --- which store it is

    async def _recall(self) -> None:
        """Take what an earlier life of the agent knew of the store."""
        if sweeps := await self._local.recall(SWEEPS):
            self.trust.recall(sweeps)
        if anchor := await self._local.recall(ANCHOR):
            with contextlib.suppress(msgspec.MsgspecError):
                self._anchor = msgspec.json.decode(anchor, type=Anchor)
        if self.trust.reflected:  # nodes that have not written to a new store yet are not gone
            self._nodes = [Put(table, each) for table in NODE_TABLES for each in self._local.records(table)]

    async def _is_the_same(self) -> bool:
        """Tell whether the store is for sure the one that is known, so that a watch can go on where it was."""
        if self._anchor is None:
            return False
        found = await self._store.get(self._anchor.key)
        if self._anchor.refutes(found):
            self._replaced()
        return self._anchor is not None and self._anchor.same(found)

    def _replaced(self) -> None:
        log.warning("the store is another one than before: what is known stands until it is written again")
        self.trust.replaced()
        self._anchor = None
        self._listed = False
        self.revision = 0

    def _remember(self, anchor: Anchor | None) -> None:
        self._anchor = anchor
        if anchor is not None:
            self._local.note(ANCHOR, msgspec.json.encode(anchor))
        self._local.note(SWEEPS, self.trust.remember())

    # --- listing

    async def _list(self) -> None:
        async with self._writing:
            listing = await self._store.list(ROOT)
            if (anchor := self._anchor) is not None:
                found = next((item for item in listing.items if item.key == anchor.key), None)
                if listing.revision < anchor.revision or anchor.refutes(found):
                    self._replaced()
            self.trust.listed((item.key, item.value) for item in listing.items)
            known = self.revision if self.revision <= listing.revision else -1  # -1: the store was put back
            records, kept = await self._read(listing, known)
            if self._nodes:
                await self._agent.controller.write("local mirror: nodes", self._known_nodes)
            await self._agent.controller.write("store: list", lambda: self._difference(records, kept))
            self._listed = True
            self._reached(listing.revision)
            self._remember(anchor_in(listing))

    async def _read(self, listing: Listing, known: int) -> tuple[list[Put], set[tuple[str, str]]]:
        """Return a listing's records, and the places of all its keys that keep their record."""
        puts: list[Put] = []
        kept: set[tuple[str, str]] = set()
        self._forget({item.key for item in listing.items})
        async for item in gently(listing.items):
            where = self._place(item.key, item.revision)
            if where is None:
                continue
            put = self._put(where, item.key, item.value, item.revision)
            if put is not None:
                puts.append(put)
            # A key that was made anew meanwhile, unreadable, has no last good record.
            if put is not None or item.created <= known:
                kept.add((where.table.name, where.key))
        return puts, kept

    def _known_nodes(self) -> list[Write]:
        """Return what is still missing of the nodes that an earlier life knew: they are treated as known ones."""
        state, nodes = self._agent.state, self._nodes
        self._nodes = []
        return [p for p in nodes if state.get(p.table, state.table(p.table).table.key(p.record)) is None]

    def _difference(self, puts: list[Put], kept: set[tuple[str, str]]) -> list[Write]:
        """Return the writes that make the tables equal to a listing, as far as it is to be believed."""
        state = self._agent.state
        writes: list[Write] = [*puts]
        ready: list[Write] = []
        missing: set[tuple[str, str]] = set()
        for table in TABLES:
            gone = {(table.name, key) for key in state.table(table.name)} - kept
            own = {place for place in gone if self._absent.is_own(place)}
            writes += [Delete(*place) for place in sorted(own)]
            gone -= own
            if not self.trust.vouched(kind_of(table.name)):
                missing |= gone
                continue
            ready.append(Ready(table.name))
            if self._absent.may_be_absent(table.name) and self.trust.reflected:
                missing |= gone
            else:
                writes += [Delete(name, key) for name, key in sorted(gone)]
        present = {put.record.name for put in puts if put.table == NODE.name}  # type: ignore[attr-defined]
        self._absent.listed(missing)
        if self.trust.vouched(NODE_KIND):
            writes += self._absent.gone(present | self._unreadable_nodes())
        return [*writes, *ready]

    def _forget(self, present: set[str]) -> None:
        for key in self._malformed.keys() - present:
            del self._malformed[key]

    # --- following

    async def _follow(self) -> None:
        """Follow the store's changes; return when a list is wanted."""
        begin = self.revision + 1
        first = True
        async with aclosing(self._store.watch(ROOT, begin)) as watch:
            async for batch in watch:
                if first and batch.revision < begin - 1:
                    raise StoreReplaced(f"the store is at revision {batch.revision}, and was at {begin - 1}")
                first = False
                async with self._writing:
                    wanted = await self._apply(batch)
                self._backoff.tries = 0
                self._tell_standing()
                if wanted:
                    self._listed = False
                    return

    def _tell_standing(self) -> None:
        self.connected = True
        doubted = ", ".join(self.trust.doubted())
        reason = f"the store is not filled completely: the reflector (contivpp ksr) has not said so of {doubted}"
        self._agent.set_condition(CONDITION, not doubted, reason)

    async def _apply(self, batch: WatchBatch) -> bool:
        """Write a batch; tell whether a list is wanted now."""
        events = [event for event in batch.events if event.revision > self.revision]  # a listing has told the others
        counting, wanted = self.trust.changed(events)
        writes = [write for event in events if (write := self._change(event, counting)) is not None]
        if writes:
            await self._agent.controller.write(f"store: revision {batch.revision}", writes)
        if self._absent and self.trust.vouched(NODE_KIND):
            await self._agent.controller.write(
                "nodes that are gone",
                lambda: self._absent.gone({*self._agent.state.table(NODE.name), *self._unreadable_nodes()}),
            )
        if batch.revision > self.revision:
            self._reached(batch.revision)
        if events:
            self._remember(moved(self._anchor, events, batch.revision))
        return wanted

    def _unreadable_nodes(self) -> set[str]:
        """Return the nodes whose objects are there, but cannot be read: they are not gone."""
        prefix = object_key(NODE_KIND, "", "")
        return {key.removeprefix(prefix) for key in self._malformed if key.startswith(prefix)}

    def _change(self, event: WatchEvent, counting: set[str]) -> Put | Delete | None:
        """Return the write for one change; a deletion that nobody vouches for is none."""
        if event.value is None:
            self._malformed.pop(event.key, None)
        where = self._place(event.key, event.revision, gone=event.value is None)
        if where is None:
            return None
        place = (where.table.name, where.key)
        if event.value is not None:
            self._absent.discard(place)
            return self._put(where, event.key, event.value, event.revision)
        if kind_of(where.table.name) in counting or self._absent.is_own(place):
            self._absent.discard(place)
            return Delete(*place)
        self._absent.add(place)
        return None

    # --- both

    def _place(self, key: str, revision: int, *, gone: bool = False) -> Place | None:
        if marked_kind(key):
            return None
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

    def _reached(self, revision: int) -> None:
        self.revision = revision
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
