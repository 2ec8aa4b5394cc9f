# SPDX-License-Identifier: Apache-2.0
"""The store in memory: the contract, a model, outages and locks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.clock import run_simulated
from contivpp_core.kvstore import Compare, DeleteKey, KVStore, PutKey, StoreUnavailable
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_core.testing.kvstore_contract import KVStoreContract


class TestMemoryKVStore(KVStoreContract):
    @pytest.fixture
    def store(self) -> Iterator[MemoryKVStore]:
        store = MemoryKVStore()
        yield store
        store.close()

    async def compact(self, store: KVStore, revision: int) -> None:
        assert isinstance(store, MemoryKVStore)
        store.compact(revision)


KEYS = st.sampled_from(["/a/1", "/a/2", "/b/1"])
OPERATIONS = st.one_of(st.builds(PutKey, KEYS, st.binary(max_size=2)), st.builds(DeleteKey, KEYS))
STEPS = st.lists(st.tuples(st.booleans(), KEYS, st.lists(OPERATIONS, max_size=3)), max_size=12)


@settings(max_examples=60, deadline=None)
@given(STEPS, st.integers(0, 12))
def test_listing_plus_watching_equals_a_dictionary(
    steps: list[tuple[bool, str, list[PutKey | DeleteKey]]], begin: int
) -> None:
    """A reader who lists at some moment and watches from there ends with what is in the store."""

    async def scenario() -> None:
        store = MemoryKVStore()
        model: dict[str, bytes] = {}
        listing = await store.list("/a/")
        for number, (holds, key, operations) in enumerate(steps):
            if number == begin:
                listing = await store.list("/a/")
            found = await store.get(key)
            revision = found.revision if found else 0
            before = store.revision
            result = await store.transaction(
                (Compare(key, revision if holds else revision + 1),), tuple(operations)
            )
            assert result.succeeded is holds
            assert result.revision - before in (0, 1)
            for operation in operations if holds else ():
                if isinstance(operation, PutKey):
                    model[operation.key] = operation.value
                else:
                    model.pop(operation.key, None)
            assert {item.key: item.value for item in (await store.list("")).items} == model
        copy = {item.key: item.value for item in listing.items}
        async with aclosing(store.watch("/a/", listing.revision + 1)) as watch:
            batch = await anext(watch)
        for event in batch.events:
            if event.value is None:
                copy.pop(event.key, None)
            else:
                copy[event.key] = event.value
        assert copy == {key: value for key, value in model.items() if key.startswith("/a/")}
        assert batch.revision == store.revision

    run_simulated(scenario())


async def test_an_outage_ends_watches_and_calls() -> None:
    store = MemoryKVStore()
    async with aclosing(store.watch("/", 1)) as watch:
        await anext(watch)
        store.outage(True)
        with pytest.raises(StoreUnavailable):
            await anext(watch)
    with pytest.raises(StoreUnavailable):
        await store.get("/a")
    store.outage(False)
    assert await store.get("/a") is None


def test_who_ends_does_not_wait_for_a_store_that_does_not_answer() -> None:
    class Silent(MemoryKVStore):
        async def revoke(self, lease: int) -> None:
            await asyncio.sleep(60)

    async def scenario() -> None:
        async with Silent().lock("id", ttl=10):
            began = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() < began + 1

    run_simulated(scenario())


def test_a_lock_passes_on_when_its_holder_dies() -> None:
    async def scenario() -> None:
        store = MemoryKVStore()
        lease = await store.grant(10)  # a holder that never keeps its lease alive
        await store.put("/contivpp/lock/id", b"", lease=lease)
        async with store.lock("id", ttl=10):
            assert asyncio.get_running_loop().time() == pytest.approx(10)
            await asyncio.sleep(100)  # much longer than the lease: it is kept alive
            assert await store.get("/contivpp/lock/id") is not None
        assert await store.get("/contivpp/lock/id") is None

    run_simulated(scenario())
