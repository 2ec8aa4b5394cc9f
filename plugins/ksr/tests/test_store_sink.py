# SPDX-License-Identifier: Apache-2.0
"""The store ends with what the API server has, whatever happens to the store and to those who write it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contivpp_core.backoff import Backoff
from contivpp_core.clock import run_simulated
from contivpp_core.cluster import OBJECTS, object_key
from contivpp_core.kubernetes import Namespace, Pod, decode
from contivpp_core.kubernetes_encode import encode
from contivpp_core.kvstore import Compare, DeleteKey, KVStoreError, Listing, PutKey, TransactionResult
from contivpp_core.kvstore_lock import LOCK_PREFIX
from contivpp_core.markers import marked_kind, marker_key, sweep_of
from contivpp_core.records import Record
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_ksr.resources import RESOURCES
from contivpp_ksr.sink import Change
from contivpp_ksr.store_sink import LEADER, LOCK, MOST_BYTES, MOST_OPERATIONS, StoreSink

POD, NAMESPACE = RESOURCES["Pod"], RESOURCES["Namespace"]
TTL = 3.0
KEY = object_key("Pod", "x", "a")


def pod(name: str, node: str = "") -> Pod:
    return Pod(namespace="x", name=name, node=node)


def records(*pods: Pod) -> dict[str, Record]:
    return {pod.key: pod for pod in pods}


class Store(MemoryKVStore):
    """Notes the transactions of reflectors, without markers."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[tuple[PutKey | DeleteKey, ...]] = []
        self.slow: asyncio.Event | None = None

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[PutKey | DeleteKey, ...],
        failure: tuple[PutKey | DeleteKey, ...] = (),
    ) -> TransactionResult:
        if compares and compares[0].key == LEADER:
            if self.slow is not None:
                await self.slow.wait()
            operations = tuple(each for each in success if not marked_kind(each.key))
            self.written += [operations] if operations else []
        return await super().transaction(compares, success, failure)

    async def wipe(self) -> None:
        for item in (await self.list("")).items:
            await self.delete(item.key)

    def objects(self) -> dict[str, bytes]:
        return {key: item.value for key, item in self._data.items() if key.startswith(OBJECTS) and not marked_kind(key)}

    def sweeps(self) -> dict[str, str]:
        return {kind: sweep_of(key, item.value) for key, item in self._data.items() if (kind := marked_kind(key))}


@asynccontextmanager
async def writing(store: MemoryKVStore, name: str = "one") -> AsyncIterator[StoreSink]:
    sink = StoreSink(store, name, ttl=TTL, backoff=Backoff(name, first=0.1, longest=1.0))
    task = asyncio.create_task(sink.run())
    try:
        yield sink
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def quiet(*sinks: StoreSink) -> None:
    """Let time pass until everything that is due is written."""
    await asyncio.sleep(30)
    assert not any(sink.due for sink in sinks)


def simulated(scenario: Callable[[], Any]) -> None:
    run_simulated(scenario())


def test_a_list_is_written_and_swept_and_marked() -> None:
    async def scenario() -> None:
        store = Store()
        for stale in ("gone", "a"):
            await store.put(object_key("Pod", "x", stale), encode(pod("a")))
        for other in (f"{OBJECTS}Pod/x", f"{OBJECTS}NodeConfig/_/n", "/contivpp/ids/1"):
            await store.put(other, b"not ours")
        async with writing(store) as sink:
            await asyncio.sleep(1)
            assert sink.leading
            assert object_key("Pod", "x", "gone") in store.objects()  # nothing is listed yet
            await sink.replace(POD, records(pod("a"), pod("b")), frozenset())
            await quiet(sink)
            assert {key for key in store.objects() if "/Pod/x/" in key} == {
                object_key("Pod", "x", name) for name in "ab"
            }
            assert store.sweeps().keys() == {"Pod"}
            assert [len(batch) for batch in store.written] == [2]  # "a" was there, and equal
            assert (sink.counters["Pod"].adds, sink.counters["Pod"].deletes) == (1, 1)
            for other in (f"{OBJECTS}Pod/x", f"{OBJECTS}NodeConfig/_/n", "/contivpp/ids/1"):
                assert (await store.get(other)) is not None

    simulated(scenario)


def test_nothing_is_written_without_a_change() -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as sink:
            await sink.replace(POD, records(pod("a")), frozenset())
            await quiet(sink)
            store.written.clear()
            sink.apply(POD, [Change("x/a", pod("a"))])
            sink.apply(POD, [Change("x/a", pod("a", "node1")), Change("x/a", pod("a"))])
            await sink.replace(POD, records(pod("a")), frozenset())
            await quiet(sink)
        async with writing(store, "two") as sink:
            await sink.replace(POD, records(pod("a")), frozenset())
            await quiet(sink)
        assert store.written == []

    simulated(scenario)


def test_changes_while_the_store_is_slow_are_one_write() -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as sink:
            await sink.replace(POD, {}, frozenset())
            await quiet(sink)
            store.slow = asyncio.Event()
            for number in range(100):
                sink.apply(POD, [Change("x/a", pod("a", f"node{number}"))])
                await asyncio.sleep(0.001)
            store.slow.set()
            await quiet(sink)
        assert [len(batch) for batch in store.written] == [1, 1]
        assert decode(Pod, store.objects()[KEY]).node == "node99"

    simulated(scenario)


def test_a_malformed_object_is_not_swept() -> None:
    async def scenario() -> None:
        store = Store()
        await store.put(KEY, encode(pod("a", "node1")))
        async with writing(store) as sink:
            await sink.replace(POD, {}, {"x/a"})
            await quiet(sink)
            assert decode(Pod, store.objects()[KEY]).node == "node1"
            sink.apply(POD, [Change("x/a", None)])
            await quiet(sink)
            assert not store.objects()

    simulated(scenario)


def test_names_that_no_object_can_have_stop_nobody() -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as sink:
            odd = [pod("a/b"), pod("_complete"), pod("")]
            await sink.replace(POD, records(pod("a"), *odd), set())
            sink.apply(POD, [*(Change(each.key, each) for each in odd), Change("", None), Change("x/b", pod("b"))])
            await quiet(sink)
            assert set(store.objects()) == {KEY, object_key("Pod", "x", "b")}
            assert sink.marked == {"Pod"}

    simulated(scenario)


def test_transactions_are_small_enough_for_etcd() -> None:
    async def scenario() -> None:
        store = Store()
        large = [Pod(namespace="x", name=f"p{n}", labels=(("a", "x" * 50_000),)) for n in range(50)]
        small = [pod(f"s{n}") for n in range(250)]
        async with writing(store) as sink:
            await sink.replace(POD, records(*large, *small), frozenset())
            await quiet(sink)
        assert len(store.objects()) == 300
        for batch in store.written:
            assert len(batch) <= MOST_OPERATIONS
            assert sum(len(each.value) for each in batch if isinstance(each, PutKey)) <= MOST_BYTES

    simulated(scenario)


def test_a_value_that_the_store_does_not_take_keeps_no_other_waiting() -> None:
    """The API server takes policies that are larger, as JSON, than what etcd takes."""

    class Small(Store):
        async def transaction(self, compares: Any, success: Any, failure: Any = ()) -> TransactionResult:
            if sum(len(each.value) for each in success if isinstance(each, PutKey)) > MOST_BYTES:
                raise KVStoreError("the request is too large")
            return await super().transaction(compares, success, failure)

    def large(size: int) -> Pod:
        return Pod(namespace="x", name="large", labels=(("a", "x" * size),))

    async def scenario() -> None:
        store = Small()
        at = object_key("Pod", "x", "large")
        async with writing(store) as sink:
            found = records(pod("a"), large(MOST_BYTES), pod("z"))
            await sink.replace(POD, found, set())
            await quiet(sink)
            assert set(store.objects()) == {KEY, object_key("Pod", "x", "z")}
            assert (sink.marked, set(sink.refused)) == ({"Pod"}, {at})
            sink.apply(POD, [Change("x/large", large(10)), Change("x/b", pod("b"))])
            await quiet(sink)
            assert at in store.objects()
            assert not sink.refused
            sink.apply(POD, [Change("x/large", large(MOST_BYTES + 1))])
            await quiet(sink)
            assert store.objects()[at] == encode(large(10))  # the last that it took
            sink.apply(POD, [Change("x/large", None)])
            await quiet(sink)
            assert at not in store.objects()
            assert sink.counters["Pod"].resyncs == 1

    simulated(scenario)


def test_a_store_that_refuses_is_not_listed_all_the_time(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Store):
        lists = 0

        async def list(self, prefix: str) -> Listing:
            self.lists += 1
            return await super().list(prefix)

        async def transaction(self, compares: Any, success: Any, failure: Any = ()) -> TransactionResult:
            if compares and compares[0].key == LEADER:
                raise KVStoreError("permission denied")
            return await super().transaction(compares, success, failure)

    async def scenario() -> None:
        store = Refusing()
        async with writing(store) as sink:
            await sink.replace(POD, records(pod("a")), set())
            await asyncio.sleep(60)
        assert 10 <= store.lists <= 20

    simulated(scenario)
    assert [record.message for record in caplog.records].count("the store is not written now") == 1


def test_two_reflectors_never_write_at_once_and_the_second_takes_over() -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as one:
            await one.replace(POD, records(pod("a")), frozenset())
            await quiet(one)
            async with writing(store, "two") as two:
                await two.replace(POD, records(pod("a", "other")), frozenset())
                await quiet(one)
                assert (one.leading, two.leading) == (True, False)
                assert decode(Pod, store.objects()[KEY]).node == ""
                found = await store.get(LEADER)
                assert found is not None
                assert found.value == b"one"
        async with writing(store, "three") as three:
            await asyncio.sleep(1)
            assert three.leading  # the lock was given back: nobody had to wait for the lease's end

    simulated(scenario)


def test_who_lost_the_lease_writes_nothing_more() -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as one:
            await one.replace(POD, records(pod("a")), frozenset())
            await quiet(one)
            await store.put(LEADER, b"somebody else")  # as if the lease had ended and nobody had told
            one.apply(POD, [Change("x/a", pod("a", "node1"))])
            await asyncio.sleep(0.05)
            assert decode(Pod, store.objects()[KEY]).node == ""
            await quiet(one)
            assert decode(Pod, store.objects()[KEY]).node == "node1"  # in a new term

    simulated(scenario)


@pytest.mark.parametrize("seconds", [1.0, 30.0])
def test_a_term_begins_with_new_lists_unless_they_are_new(seconds: float) -> None:
    async def scenario() -> None:
        store = Store()
        renewed: list[str] = []
        async with writing(store) as one:
            await one.replace(POD, records(pod("a", "new")), frozenset())
            await quiet(one)
            async with writing(store, "two") as two:
                two.renew = lambda kind: renewed.append(kind) is None
                await two.replace(POD, records(pod("a", "old")), frozenset())
                await asyncio.sleep(seconds)
                await store.delete(LOCK_PREFIX + LOCK)  # two has it now; one will hear of that
                await store.delete(LEADER)
                await asyncio.sleep(0.1)
                assert two.leading
                if seconds < TTL:
                    assert renewed == []
                    return
                assert renewed == [*RESOURCES]
                two.apply(POD, [Change("x/b", pod("b"))])
                await asyncio.sleep(10)
                assert decode(Pod, store.objects()[KEY]).node == "new"
                assert store.objects().keys() == {KEY}
                store.written.clear()
                await two.replace(POD, records(pod("a", "new"), pod("b")), frozenset())
                await quiet(two)
                assert store.objects().keys() == {KEY, object_key("Pod", "x", "b")}
                assert [len(batch) for batch in store.written] == [1]
                assert two.marked == {"Pod"}

    simulated(scenario)


@pytest.mark.parametrize("whole", [True, False], ids=["wiped", "prefix deleted"])
def test_a_store_that_is_wiped_is_written_again_and_marked_anew(whole: bool) -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as sink:
            await sink.replace(POD, records(pod("a")), frozenset())
            await sink.replace(NAMESPACE, {"x": Namespace(name="x")}, frozenset())
            await quiet(sink)
            before = store.sweeps()
            if whole:
                await store.wipe()
            else:
                for item in (await store.list(OBJECTS)).items:
                    await store.delete(item.key)
            await quiet(sink)
            assert store.objects().keys() == {KEY, object_key("Namespace", "", "x")}
            assert store.sweeps().keys() == before.keys()
            assert not set(store.sweeps().values()) & set(before.values())

    simulated(scenario)


def test_what_others_change_is_put_right() -> None:
    async def scenario() -> None:
        store = Store()
        async with writing(store) as sink:
            await sink.replace(POD, records(pod("a")), frozenset())
            await quiet(sink)
            wanted = store.objects()
            await store.put(KEY, b"broken")
            await store.put(object_key("Pod", "x", "nobody's"), b"{}")
            await quiet(sink)
            assert store.objects() == wanted
            await store.delete(KEY)
            await quiet(sink)
            assert store.objects() == wanted

    simulated(scenario)


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.one_of(
    st.tuples(st.just("put"), NAMES, st.sampled_from(["node1", "node2"])),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("list")),
    st.tuples(st.sampled_from(["outage", "back", "wipe", "compact", "steal", "meddle", "restart"])),
    st.tuples(st.just("pause"), st.sampled_from([0.0, 0.01, 1.0, 10.0])),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEPS, max_size=25))
def test_the_store_ends_with_what_the_server_has(steps: list[tuple[Any, ...]]) -> None:
    async def scenario() -> None:
        store = Store()
        server: dict[str, Pod] = {}
        tasks: list[asyncio.Task[None]] = []

        async def relist(sink: StoreSink) -> None:
            await asyncio.sleep(0.5)
            await sink.replace(POD, dict(server), frozenset())

        def renew(kind: str, sink: StoreSink) -> bool:
            if kind == "Pod":
                tasks.append(asyncio.create_task(relist(sink)))
            return True

        async with writing(store) as one, writing(store, "two") as two:
            for sink in (one, two):
                sink.renew = lambda kind, sink=sink: renew(kind, sink)  # type: ignore[misc]
                await sink.replace(POD, dict(server), frozenset())
            for what, *rest in steps:
                await carry_out(what, rest, store, server, (one, two))
            store.outage(False)
            await asyncio.sleep(120)
            wanted = {object_key("Pod", "x", found.name): encode(found) for found in server.values()}
            assert store.objects() == wanted
            assert "Pod" in store.sweeps()
            assert one.leading is not two.leading
            assert not one.due
            assert not two.due
            store.written.clear()
            await asyncio.sleep(60)
            assert not store.written

    logging.disable()
    try:
        run_simulated(scenario())
    finally:
        logging.disable(logging.NOTSET)


async def carry_out(
    what: str, rest: list[Any], store: Store, server: dict[str, Pod], sinks: tuple[StoreSink, ...]
) -> None:
    match what:
        case "put":
            server[f"x/{rest[0]}"] = pod(*rest)
        case "delete":
            server.pop(f"x/{rest[0]}", None)
        case "list":
            for sink in sinks:
                await sink.replace(POD, dict(server), frozenset())
        case "outage" | "back":
            store.outage(what == "outage")
        case "compact":
            store.compact(store.revision)
        case "pause":
            await asyncio.sleep(rest[0])
        case _ if not store._outage:
            await meddle(what, store)
    if what in ("put", "delete"):
        for sink in sinks:
            sink.apply(POD, [Change(f"x/{rest[0]}", server.get(f"x/{rest[0]}"))])


async def meddle(what: str, store: Store) -> None:
    if what == "wipe":
        await store.wipe()
    elif what == "steal":
        await store.put(LEADER, b"somebody")
    elif what == "meddle":
        await store.put(object_key("Pod", "x", "a"), b"x")
        await store.put(object_key("Pod", "x", "z"), b"x")
    elif what == "restart":
        await store.delete(marker_key("Pod"))


def test_numbers_of_kinds() -> None:
    found: Mapping[str, Any] = StoreSink(MemoryKVStore(), "one").counters
    assert found.keys() == RESOURCES.keys()
