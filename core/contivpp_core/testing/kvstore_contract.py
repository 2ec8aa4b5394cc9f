# SPDX-License-Identifier: Apache-2.0
"""The contract of `KVStore`, as tests that every driver runs.

Derive a class whose name begins with `Test` and give it a fixture `store`. A driver with a real server may need a
longer `lease_ttl`; a store that cannot compact on demand leaves `compact` as it is, and that test is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from contivpp_core.kvstore import (
    Compacted,
    Compare,
    DeleteKey,
    KVStore,
    LeaseLost,
    PutKey,
    WatchBatch,
    WatchEvent,
)

__all__ = ["KVStoreContract"]

DEADLINE = 10.0


async def _next(watch: AsyncGenerator[WatchBatch, None]) -> WatchBatch:
    async with asyncio.timeout(DEADLINE):
        return await anext(watch)


async def _events(watch: AsyncGenerator[WatchBatch, None], count: int) -> list[WatchEvent]:
    """Read until `count` events came."""
    events: list[WatchEvent] = []
    while len(events) < count:
        events += (await _next(watch)).events
    return events


class KVStoreContract:
    """Derive it and provide the fixture `store`."""

    lease_ttl = 1.0

    async def compact(self, store: KVStore, revision: int) -> None:
        """Make the store forget history; override where that can be done."""
        pytest.skip("this store cannot be compacted on demand")

    async def test_values_and_revisions(self, store: KVStore) -> None:
        assert await store.get("/a") is None
        first = await store.put("/a", b"1")
        second = await store.put("/a", b"2")
        assert second > first
        found = await store.get("/a")
        assert found is not None
        assert (found.value, found.revision, found.created) == (b"2", second, first)
        assert await store.delete("/a") is True
        assert await store.delete("/a") is False
        assert await store.get("/a") is None

    async def test_a_listing_is_sorted_and_has_the_stores_revision(self, store: KVStore) -> None:
        for key in ("/p/b", "/q/c", "/p/a"):
            last = await store.put(key, key.encode())
        listing = await store.list("/p/")
        assert [item.key for item in listing.items] == ["/p/a", "/p/b"]
        assert listing.revision == last
        assert (await store.list("/none/")).items == ()

    async def test_a_transaction_is_one_revision_and_all_or_nothing(self, store: KVStore) -> None:
        revision = await store.put("/a", b"1")
        done = await store.transaction(
            (Compare("/a", revision), Compare("/b", 0)), (PutKey("/a", b"2"), PutKey("/b", b"2"))
        )
        assert done.succeeded
        found = [await store.get("/a"), await store.get("/b")]
        assert [item and item.revision for item in found] == [done.revision, done.revision]
        refused = await store.transaction(
            (Compare("/a", revision),), (DeleteKey("/b"),), (PutKey("/c", b"3"),)
        )
        assert not refused.succeeded
        assert await store.get("/b") is not None
        assert await store.get("/c") is not None

    async def test_only_one_of_many_creates_a_key(self, store: KVStore) -> None:
        results = await asyncio.gather(
            *(store.transaction((Compare("/id", 0),), (PutKey("/id", b"%d" % n),)) for n in range(10))
        )
        assert [result.succeeded for result in results].count(True) == 1

    async def test_list_then_watch_misses_nothing(self, store: KVStore) -> None:
        await store.put("/p/a", b"1")
        listing = await store.list("/p/")
        await store.put("/p/b", b"2")  # between listing and watching
        await store.put("/q/x", b"other")
        async with aclosing(store.watch("/p/", listing.revision + 1)) as watch:
            assert [(e.key, e.value) for e in await _events(watch, 1)] == [("/p/b", b"2")]
            await store.delete("/p/a")
            assert [(e.key, e.value) for e in await _events(watch, 1)] == [("/p/a", None)]

    async def test_watchers_see_every_change_in_order(self, store: KVStore) -> None:
        start = (await store.list("/p/")).revision + 1
        written = [await store.put(f"/p/{n % 3}", b"%d" % n) for n in range(20)]
        async with aclosing(store.watch("/p/", start)) as watch:
            events = await _events(watch, 20)
        assert [event.revision for event in events] == written
        assert [event.value for event in events] == [b"%d" % n for n in range(20)]

    async def test_a_transaction_is_never_split_over_batches(self, store: KVStore) -> None:
        start = (await store.list("/p/")).revision + 1
        async with aclosing(store.watch("/p/", start)) as watch:
            for _ in range(5):
                await store.transaction((), tuple(PutKey(f"/p/{n}", b"x") for n in range(5)))
            seen = 0
            while seen < 25:
                batch = await _next(watch)
                seen += len(batch.events)
                assert len(batch.events) % 5 == 0

    async def test_a_quiet_watch_reports_progress(self, store: KVStore) -> None:
        await store.put("/q/a", b"1")
        listing = await store.list("/p/")
        async with aclosing(store.watch("/p/", listing.revision + 1)) as watch:
            batch = await _next(watch)
            assert batch.events == ()
            assert batch.revision >= listing.revision

    async def test_a_compacted_revision_is_an_error(self, store: KVStore) -> None:
        first = await store.put("/p/a", b"1")
        last = await store.put("/p/a", b"2")
        await store.put("/p/a", b"3")
        await self.compact(store, last)
        with pytest.raises(Compacted):
            async with aclosing(store.watch("/p/", first)) as watch:
                await _next(watch)

    async def test_keys_of_a_lease_vanish_with_it(self, store: KVStore) -> None:
        start = (await store.list("/p/")).revision + 1
        lease = await store.grant(self.lease_ttl)
        await store.put("/p/leased", b"1", lease=lease)
        await store.put("/p/free", b"1")
        async with aclosing(store.watch("/p/", start)) as watch:
            events = await _events(watch, 3)
        assert (events[-1].key, events[-1].value) == ("/p/leased", None)
        with pytest.raises(LeaseLost):
            await store.keep_alive(lease)
        with pytest.raises(LeaseLost):
            await store.put("/p/late", b"1", lease=lease)

    async def test_a_lease_that_is_kept_alive_stays(self, store: KVStore) -> None:
        lease = await store.grant(self.lease_ttl)
        await store.put("/leased", b"1", lease=lease)
        for _ in range(8):  # often, for machines that are busy
            await asyncio.sleep(self.lease_ttl / 4)
            await store.keep_alive(lease)
        assert await store.get("/leased") is not None
        await store.revoke(lease)
        await store.revoke(lease)
        assert await store.get("/leased") is None

    async def test_a_key_that_is_put_without_the_lease_outlives_it(self, store: KVStore) -> None:
        lease = await store.grant(self.lease_ttl)
        await store.put("/k", b"1", lease=lease)
        await store.put("/k", b"2")
        await store.revoke(lease)
        assert await store.get("/k") is not None

    async def test_a_lock_is_held_by_one(self, store: KVStore) -> None:
        inside, most, turns = 0, 0, 0

        async def one() -> None:
            nonlocal inside, most, turns
            async with store.lock("trial", ttl=self.lease_ttl * 5):
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0.01)
                inside -= 1
                turns += 1

        async with asyncio.timeout(DEADLINE * 3):
            await asyncio.gather(*(one() for _ in range(4)))
        assert (most, turns) == (1, 4)
