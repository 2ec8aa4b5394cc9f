# SPDX-License-Identifier: Apache-2.0
"""Into the cluster's store: the sink of `contivpp ksr`.

Two maps are compared: what is wanted (the API server's objects, trimmed, by the store's keys) and what is stored. Keys
in which they differ are due, in order, and go out in transactions of many; a key that changes again meanwhile goes out
once. So a store that is slow or away costs no memory, and what was written is not written again.

Only one reflector writes. It holds the lock `ksr`, has put the key `LEADER` with its lease, and every transaction
compares that key: a second one, or one that woke up too late, writes nothing. At the begin of such a term all that is
stored is listed: keys of objects that do not exist are swept, and each kind is marked when that is done
(`contivpp_core.markers`). What is wanted is listed anew then, too, unless that was done just now: a watch may have been
silent for long without anybody's knowledge (the process stood still, the network lost everything), and whoever wrote
before knew more. The store's watch tells of keys that others change, and of a store that is wiped or put back:
then a new term begins, and everything is compared again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from typing import NamedTuple

from contivpp_core.backoff import Backoff
from contivpp_core.clock import gently
from contivpp_core.cluster import OBJECTS, object_key
from contivpp_core.kubernetes_encode import encode
from contivpp_core.kvstore import (
    Compacted,
    Compare,
    DeleteKey,
    KVStore,
    KVStoreError,
    LeaseLost,
    PutKey,
    StoreUnavailable,
    WatchBatch,
    WatchEvent,
)
from contivpp_core.markers import MARKER, marked_kind, marker_key, marker_value
from contivpp_core.records import Record
from contivpp_core.tasks import end
from contivpp_ksr.counters import Counters
from contivpp_ksr.resources import RESOURCES, Resource
from contivpp_ksr.sink import Change

__all__ = ["LEADER", "LOCK", "StoreSink"]

log = logging.getLogger(__name__)

LOCK = "ksr"
LEADER = "/contivpp/ksr/leader"
LONGEST_PAUSE_SECONDS = 0.4
"""There are few reflectors: after an outage the store is to be complete at once."""
REFUSED_SECONDS = 4.0
"""A store that answers and refuses is not listed again and again in the meantime."""
MOST_OPERATIONS = 100
"""Of one transaction; etcd takes 128."""
MOST_BYTES = 512 << 10
"""Of one transaction's values; etcd takes 1.5 MiB."""

Operation = PutKey | DeleteKey


class _Stored(NamedTuple):
    value: bytes
    revision: int


class StoreSink:
    """Keeps a store equal to what reflectors deliver, while it leads. `name` tells people who leads."""

    def __init__(self, store: KVStore, name: str, *, ttl: float = 10.0, backoff: Backoff | None = None) -> None:
        self.counters: dict[str, Counters] = {kind: Counters() for kind in RESOURCES}
        self.leading = False
        self.reason = "waits for the store"
        self.marked: set[str] = set()
        """The kinds that are complete in the store, by this term."""
        self.refused: dict[str, str] = {}
        """Keys whose value the store does not take because of its size, and what it says; an older one may be there."""
        self.tell: Callable[[], None] = lambda: None
        self.renew: Callable[[str], bool] = lambda kind: False
        """Has a kind listed anew; tells whether that will be done."""
        self._store = store
        self._name = name
        self._ttl = ttl
        self._backoff = backoff or Backoff(name, longest=LONGEST_PAUSE_SECONDS)
        self._wanted: dict[str, dict[str, bytes]] = {kind: {} for kind in RESOURCES}
        self._kept: dict[str, set[str]] = defaultdict(set)
        self._began = 0.0
        self._listed: dict[str, float] = {}  # when: the loop's time
        self._stored: dict[str, _Stored] = {}
        self._gone: dict[str, int] = {}  # deleted at a revision that the watch has not reached
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._leader = Compare(LEADER, 0)
        self._revision = 0
        self._told = ""  # the error that the log has

    @property
    def due(self) -> int:
        """How many keys are to be written."""
        return len(self._due)

    @property
    def complete(self) -> bool:
        """Whether every kind is complete in the store."""
        return self.marked >= RESOURCES.keys()

    # --- taking

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: AbstractSet[str]) -> None:
        """Take a full list, and compare."""
        kind, before = resource.kind, self._wanted[resource.kind]
        wanted: dict[str, bytes] = {}
        async for key, record in gently(list(records.items())):
            at, value = _key(kind, key), encode(record)
            if not _kind_of(at):
                _unstorable(at)
                continue
            wanted[at] = before[at] if before.get(at) == value else value
        self._kept[kind] = {_key(kind, key) for key in kept}
        wanted |= {at: before[at] for at in self._kept[kind] if at in before}
        self._wanted[kind] = wanted
        self.refused = {at: reason for at, reason in self.refused.items() if _kind_of(at) != kind}
        self._listed[kind] = asyncio.get_running_loop().time()
        self.counters[kind].resyncs += 1
        if self.leading:
            await self._compare(kind)

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        """Take changes."""
        wanted = self._wanted[resource.kind]
        for key, record in changes:
            at = _key(resource.kind, key)
            if not _kind_of(at):
                _unstorable(at)
                continue
            self._kept[resource.kind].discard(at)
            self.refused.pop(at, None)
            if record is None:
                wanted.pop(at, None)
            else:
                wanted[at] = encode(record)
            self._check(resource.kind, at)

    async def _compare(self, kind: str) -> None:
        """Make due what differs, and the kind's marker behind it if this term has not set it yet."""
        prefix = f"{OBJECTS}{kind}/"
        keys = [*self._wanted[kind], *(key for key in self._stored if key.startswith(prefix))]
        async for key in gently(keys):
            self._check(kind, key)
        if kind not in self.marked:
            self._due.setdefault(marker_key(kind))
            self._wake.set()

    def _check(self, kind: str, key: str) -> None:
        if self.leading and kind in self._listed and self._operation(kind, key) is not None:
            self._due.setdefault(key)
            self._wake.set()

    def _operation(self, kind: str, key: str) -> Operation | None:
        """Return what has to be done about a key."""
        wanted, stored = self._wanted[kind].get(key), self._stored.get(key)
        if key in self.refused:
            return None
        if wanted is not None:
            return None if stored is not None and stored.value == wanted else PutKey(key, wanted)
        return None if stored is None or key in self._kept[kind] else DeleteKey(key)

    # --- leading

    async def run(self) -> None:
        """Wait for the lock and write, for ever; cancelling it gives the lock back."""
        self._began = asyncio.get_running_loop().time()
        while True:
            wait = 0.0
            try:
                async with self._store.lock(LOCK, ttl=self._ttl) as lease:
                    await self._term(lease)
            except KVStoreError as error:
                if str(error) != self._told:
                    log.warning("the store is not written now", extra={"reason": str(error)})
                self._told = str(error)
                self._stand(False, self._told)
                if not isinstance(error, StoreUnavailable | LeaseLost | Compacted):
                    wait = REFUSED_SECONDS
                if isinstance(error, LeaseLost):
                    self._backoff.reset()  # the store answers
            except Exception as error:
                log.exception("the store cannot be written")
                self._stand(False, f"{type(error).__name__}: {error}")
            finally:
                self.leading = False
            await self._backoff.pause(wait)

    async def _term(self, lease: int) -> None:
        self.marked.clear()
        self._due.clear()
        self.refused.clear()
        self._leader = Compare(LEADER, await self._store.put(LEADER, self._name.encode(), lease=lease))
        listing = await self._store.list(OBJECTS)
        self._stored = {item.key: _Stored(item.value, item.revision) for item in listing.items if _kind_of(item.key)}
        self._revision = listing.revision
        self._gone.clear()
        self._stand(True, "")
        self._doubt()
        for kind in sorted(self._listed):
            await self._compare(kind)
        works = {"writer": self._write(), "follower": self._follow(), "guard": self._guard()}
        tasks = [asyncio.create_task(work, name=f"ksr {name}") for name, work in works.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            self.leading = False
            await end(*tasks)
            self._due.clear()
            self.marked.clear()

    def _doubt(self) -> None:
        """Have kinds listed anew that were not within the time in which nobody else can have led."""
        oldest = asyncio.get_running_loop().time() - self._ttl
        for kind in RESOURCES:  # a list that is not complete yet may have begun before that, too
            if self._listed.get(kind, self._began) < oldest and self.renew(kind):
                self._listed.pop(kind, None)

    def _stand(self, leading: bool, reason: str) -> None:
        changed = (leading, reason) != (self.leading, self.reason)
        self.leading, self.reason = leading, reason
        if changed:
            self.tell()

    async def _guard(self) -> None:
        """End the term when the lease, or the leader's key, is gone: a wiped store may be silent otherwise."""
        while True:
            await asyncio.sleep(self._ttl / 3)
            try:
                found = await self._store.get(LEADER)
            except StoreUnavailable as error:
                self._stand(True, str(error))
                continue
            if found is None or found.revision != self._leader.revision:
                raise LeaseLost("the store does not know this reflector any more: everything is compared again")
            self._stand(True, "")

    # --- writing

    async def _write(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._due:
                batch = self._batch()
                if not batch:
                    continue
                tally = self._tally(batch)
                try:
                    result = await self._store.transaction((self._leader,), tuple(batch.values()))
                except KVStoreError as error:
                    self._count(tally, "_errors")
                    if self._too_large(batch, error):
                        continue
                    if not isinstance(error, StoreUnavailable):
                        raise
                    self._stand(True, str(error))
                    await self._backoff.pause()
                    continue
                if not result.succeeded:
                    raise LeaseLost("another reflector writes to the store")
                self._backoff.reset()
                self._told = ""
                self._stand(True, "")
                self._count(tally, "s")
                self._written(batch, result.revision)

    def _too_large(self, batch: Mapping[str, Operation], error: KVStoreError) -> bool:
        """Set a value aside that the store refuses because of its size: it must not keep all others waiting."""
        [(key, operation), *others] = batch.items()
        large = isinstance(operation, PutKey) and len(operation.value) > MOST_BYTES  # such a one is always alone
        if others or not large or isinstance(error, StoreUnavailable | LeaseLost):
            return False
        del self._due[key]
        self.refused[key] = str(error)
        log.error("%s is too large for the store: what is stored of it stays", key, extra={"reason": str(error)})
        return True

    def _batch(self) -> dict[str, Operation]:
        """Return the next operations; keys that are as they should be meanwhile are due no more."""
        batch: dict[str, Operation] = {}
        size = 0
        for key in list(self._head()):
            kind = marked_kind(key)
            operation = PutKey(key, marker_value()) if kind else self._operation(_kind_of(key), key)
            if operation is None:
                del self._due[key]
                continue
            size += len(operation.value) if isinstance(operation, PutKey) else 0
            if batch and size > MOST_BYTES:
                break
            batch[key] = operation
        return batch

    def _head(self) -> Iterator[str]:
        for key, _ in zip(self._due, range(MOST_OPERATIONS), strict=False):
            yield key

    def _written(self, batch: Mapping[str, Operation], revision: int) -> None:
        for key, operation in batch.items():
            del self._due[key]
            if kind := marked_kind(key):
                self.marked.add(kind)
                log.info("%s is complete in the store", kind)
                self.tell()
                continue
            if isinstance(operation, PutKey):
                self._store_is(key, operation.value, revision)
            else:
                self._store_is(key, None, revision)
            self._check(_kind_of(key), key)  # it may have changed meanwhile

    def _store_is(self, key: str, value: bytes | None, revision: int) -> None:
        known = self._stored.get(key)
        if max(known.revision if known else 0, self._gone.get(key, 0)) >= revision:
            return  # answers and the watch may come in any order
        if value is None:
            self._stored.pop(key, None)
            self._gone[key] = revision
        else:
            self._stored[key] = _Stored(value, revision)
            self._gone.pop(key, None)

    def _tally(self, batch: Mapping[str, Operation]) -> Counter[tuple[str, str]]:
        """Count what a batch is about to do, by kind: afterwards the watch may have told already that it is done."""
        return Counter(
            (
                _kind_of(key),
                "delete" if isinstance(operation, DeleteKey) else "update" if key in self._stored else "add",
            )
            for key, operation in batch.items()
            if not marked_kind(key)
        )

    def _count(self, tally: Mapping[tuple[str, str], int], suffix: str) -> None:
        for (kind, what), number in tally.items():
            name = f"{what}{suffix}"
            setattr(self.counters[kind], name, getattr(self.counters[kind], name) + number)

    # --- what others do to the store

    async def _follow(self) -> None:
        while True:
            try:
                async with aclosing(self._store.watch(OBJECTS, self._revision + 1)) as watch:
                    first = True
                    async for batch in watch:
                        if first and batch.revision < self._revision:
                            raise Compacted(batch.revision)  # the store was put back to an older state
                        first = False
                        self._take(batch)
            except StoreUnavailable:
                await asyncio.sleep(min(1.0, self._ttl / 3))

    def _take(self, batch: WatchBatch) -> None:
        for event in batch.events:
            if marked_kind(event.key) in self.marked and event.value is None:
                raise LeaseLost(f"{event.key} was deleted: everything is compared again")
            if kind := _kind_of(event.key):
                self._changed(kind, event)
        self._revision = max(self._revision, batch.revision)
        self._gone = {key: revision for key, revision in self._gone.items() if revision > self._revision}

    def _changed(self, kind: str, event: WatchEvent) -> None:
        """Note a change; most are our own, and known."""
        wanted = self._wanted[kind].get(event.key)
        value = wanted if event.value == wanted else event.value
        self._store_is(event.key, value, event.revision)
        self._check(kind, event.key)


def _key(kind: str, key: str) -> str:
    """Return the store's key of a table's key."""
    namespace, _, name = key.rpartition("/")
    return object_key(kind, namespace, name)


def _unstorable(key: str) -> None:
    log.error("%r is no key of an object: what the API server told is left out", key)


def _kind_of(key: str) -> str:
    """Return the kind of an object's key; "" for all other keys, which are not ours to touch."""
    parts = key.removeprefix(OBJECTS).split("/")
    return parts[0] if len(parts) == 3 and all(parts) and parts[0] in RESOURCES and MARKER not in parts else ""
