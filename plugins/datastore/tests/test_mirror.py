# SPDX-License-Identifier: Apache-2.0
"""The mirror: whatever happens to the store, the tables end equal to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.cluster import HasStore, claim_value, encode_node, id_key, node_key, object_key
from contivpp_core.kubernetes import ENDPOINT_SLICE, NAMESPACE, NETWORK_POLICY, NODE, NODE_SETTINGS, POD, SERVICE
from contivpp_core.kvstore import WatchBatch, WatchEvent
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, ClusterNode
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_core.testing.simulated import simulated
from contivpp_datastore.objects import TABLES, place
from contivpp_datastore.plugin import DatastorePlugin

Parts = tuple[MemoryKVStore, Agent, DatastorePlugin]


class Listener(Plugin):
    name = "listener"

    def __init__(self) -> None:
        self.told: list[tuple[str, str, int]] = []

    @hookimpl
    def node_joined(self, event: Any) -> None:
        self.told.append(("joined", event.name, event.node_id))

    @hookimpl
    def node_changed(self, event: Any) -> None:
        self.told.append(("changed", event.name, event.node_id))

    @hookimpl
    def node_left(self, event: Any) -> None:
        self.told.append(("left", event.name, event.node_id))


@asynccontextmanager
async def mirrored(store: MemoryKVStore, *others: Plugin) -> Any:
    plugin = DatastorePlugin(store)
    agent = Agent({"nodeName": "node1"}, [plugin, *others], ledger_path=None, serve=False)
    await agent.start()
    try:
        yield agent, plugin
    finally:
        await agent.stop()
        store.close()


def pod(name: str, namespace: str = "default", **labels: str) -> bytes:
    return json.dumps({"metadata": {"name": name, "namespace": namespace, "labels": labels}}).encode()


def named(name: str) -> bytes:
    return json.dumps({"metadata": {"name": name}}).encode()


def node(name: str, node_id: int = 1, *addresses: str) -> bytes:
    return encode_node(ClusterNode(name=name, node_id=node_id, vpp_addresses=addresses))


async def put_pod(store: MemoryKVStore, name: str, **labels: str) -> int:
    return await store.put(object_key("Pod", "default", name), pod(name, **labels))


@simulated
async def test_objects_and_nodes_are_in_their_tables() -> None:
    store = MemoryKVStore()
    await put_pod(store, "a")
    await store.put(object_key("Namespace", "", "default"), named("default"))
    await store.put(object_key("Node", "", "node1"), named("node1"))
    await store.put(object_key("NodeConfig", "", "node1"), named("node1"))
    service = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.0.7"}}
    await store.put(object_key("Service", "default", "web"), json.dumps(service).encode())
    await store.put(object_key("Secret", "default", "x"), b"of a kind that nobody reads")
    async with mirrored(store) as (agent, plugin):
        assert isinstance(plugin, HasStore)
        await store.put(id_key(2), claim_value("node2"))
        last = await store.put(node_key("node2"), node("node2", 2, "192.168.16.2/24"))
        await plugin.caught_up(last)
        found = {table.name: list(agent.state.table(table.name)) for table in TABLES}
        assert found == {
            POD.name: ["default/a"],
            NAMESPACE.name: ["default"],
            NODE.name: ["node1"],
            NODE_SETTINGS.name: ["node1"],
            SERVICE.name: ["default/web"],
            ENDPOINT_SLICE.name: [],
            NETWORK_POLICY.name: [],
            CLUSTER_NODE.name: ["node2"],
            NODE_CLAIM.name: ["2"],
        }
        assert all(agent.state.ready(table.name) and agent.sourced(table.name) for table in TABLES)
        assert plugin.malformed() == []
        assert agent.conditions["datastore"].ok


@simulated
async def test_caught_up_does_not_wait_for_changes_that_concern_nobody() -> None:
    store = MemoryKVStore()
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(await store.put(id_key(1), b"{}"))
        await plugin.caught_up(await store.put("/elsewhere", b"x"))
        last = await put_pod(store, "a")
        await store.put("/elsewhere", b"y")
        await plugin.caught_up(last)
        assert agent.state.get(POD.name, "default/a") is not None
        store.compact(store.revision)
        last = await store.put("/elsewhere", b"z")
        store.compact(last + 1)
        await plugin.caught_up(last)


@simulated
async def test_an_outage_keeps_the_records_and_is_told() -> None:
    store = MemoryKVStore()
    await put_pod(store, "a")
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(store.revision)
        store.outage(True)
        await asyncio.sleep(100)
        assert "does not answer" in agent.conditions["datastore"].reason
        assert "what is known stays in force" in agent.conditions["datastore"].reason
        assert not agent.ready
        assert agent.state.get(POD.name, "default/a") is not None
        assert agent.state.ready(POD.name)
        store.outage(False)
        await plugin.caught_up(await put_pod(store, "b"))
        await asyncio.sleep(10)
        assert agent.ready


@simulated
async def test_a_store_that_does_not_answer_at_first_does_not_keep_the_agent_from_starting() -> None:
    store = MemoryKVStore()
    await put_pod(store, "a")
    store.outage(True)
    async with mirrored(store) as (agent, plugin):
        await asyncio.sleep(30)
        assert not agent.state.ready(POD.name)
        store.outage(False)
        await plugin.caught_up(store.revision)
        assert agent.state.ready(POD.name)


@simulated
async def test_after_compaction_only_the_difference_is_written() -> None:
    store = MemoryKVStore()
    for name in ("a", "b", "c"):
        await put_pod(store, name)
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(store.revision)
        store.outage(True)
        await asyncio.sleep(1)
        store._outage = False  # the store itself works: the agent just cannot reach it
        await store.delete(object_key("Pod", "default", "a"))
        await put_pod(store, "b", app="web")
        last = await put_pod(store, "d")
        store.compact(last)
        before = agent.state.revision
        await plugin.caught_up(last)
        assert agent.state.revision == before + 1
        changed = set(agent.journal.entries()[-1].changed)
        assert changed == {"Pod/default/a", "Pod/default/b", "Pod/default/d"}
        assert list(agent.state.table(POD.name)) == ["default/b", "default/c", "default/d"]


@simulated
async def test_a_store_that_was_put_back_to_an_older_state_is_listed_again() -> None:
    store = MemoryKVStore()
    for name in ("a", "b"):
        await put_pod(store, name)
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(store.revision)
        store.outage(True)
        await asyncio.sleep(1)
        older = MemoryKVStore()
        await put_pod(older, "a", app="older")
        store.__dict__.update({**older.__dict__, "_watchers": store._watchers})
        await asyncio.sleep(20)
        assert [record.labels for record in agent.state.table(POD.name).records()] == [(("app", "older"),)]
        await plugin.caught_up(await put_pod(store, "c"))
        assert list(agent.state.table(POD.name)) == ["default/a", "default/c"]


@simulated
async def test_what_a_listing_has_told_is_not_told_again() -> None:
    """A watch may still deliver what was overtaken by a listing, which `caught_up` asks for, too."""
    store = MemoryKVStore()
    async with mirrored(store) as (agent, plugin):
        old = await put_pod(store, "a")
        await store.delete(object_key("Pod", "default", "a"))
        await plugin.caught_up(store.revision)
        late = WatchEvent(object_key("Pod", "default", "a"), pod("a"), old)
        await plugin._mirror._apply(WatchBatch(old, (late,)))
        assert list(agent.state.table(POD.name)) == []
        assert plugin._mirror.revision == store.revision


@simulated
async def test_an_unreadable_value_of_a_key_that_was_made_anew_has_no_last_good_record() -> None:
    store = MemoryKVStore()
    keys = [object_key("Pod", "default", name) for name in ("a", "b")]
    for name in ("a", "b"):
        await put_pod(store, name)
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(store.revision)
        store.outage(True)
        await asyncio.sleep(1)
        store._outage = False
        await store.delete(keys[0])
        for key in keys:
            last = await store.put(key, b"{}")
        store.compact(last + 1)
        await plugin.caught_up(last)
        assert list(agent.state.table(POD.name)) == ["default/b"]


@simulated
async def test_pauses_between_tries_grow_and_differ() -> None:
    store = MemoryKVStore()
    tries: list[float] = []
    list_ = store.list

    async def noted(prefix: str) -> Any:
        tries.append(asyncio.get_running_loop().time())
        return await list_(prefix)

    store.list = noted  # type: ignore[method-assign]
    store.outage(True)
    async with mirrored(store):
        await asyncio.sleep(600)
    pauses = [after - before for before, after in pairwise(tries)]
    assert pauses[0] <= 0.2
    assert all(0.5 <= pause <= 1 for pause in pauses[8:])
    assert len(set(pauses[8:])) > 10


@simulated
async def test_a_burst_of_changes_is_one_write() -> None:
    store = MemoryKVStore()
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(store.revision)
        before = agent.state.revision
        for number in range(50):
            last = await put_pod(store, f"p{number}")
        await plugin.caught_up(last)
        assert agent.state.revision - before <= 2


@simulated
async def test_values_that_cannot_be_read_are_told_and_stop_nobody() -> None:
    store = MemoryKVStore()
    await put_pod(store, "good")
    await store.put(object_key("Pod", "default", "bad"), b"\xff{")
    await store.put("/contivpp/k8s/Pod/x", b"{}")
    await store.put(object_key("Node", "default", "n"), named("n"))
    async with mirrored(store) as (agent, plugin):
        await plugin.caught_up(store.revision)
        await store.put(object_key("Pod", "default", "good"), pod("other"))
        await plugin.caught_up(await put_pod(store, "late"))
        assert list(agent.state.table(POD.name)) == ["default/good", "default/late"]
        assert [entry.key for entry in plugin.malformed()] == [
            "/contivpp/k8s/Node/default/n",
            object_key("Pod", "default", "bad"),
            object_key("Pod", "default", "good"),
            "/contivpp/k8s/Pod/x",
        ]
        assert all(entry.key in entry.error for entry in plugin.malformed())
        await put_pod(store, "good")
        await store.delete("/contivpp/k8s/Pod/x")
        await plugin.caught_up(await put_pod(store, "bad"))
        assert [entry.key for entry in plugin.malformed()] == ["/contivpp/k8s/Node/default/n"]


@simulated
async def test_hook_node_joined_node_changed_node_left() -> None:
    store, listener = MemoryKVStore(), Listener()
    await store.put(node_key("node1"), node("node1", 1))
    async with mirrored(store, listener) as (agent, plugin):
        await store.put(node_key("node2"), node("node2", 2))
        await plugin.caught_up(store.revision)
        await store.put(node_key("node2"), node("node2", 2, "192.168.16.2/24"))
        await plugin.caught_up(store.revision)
        await store.put(node_key("node2"), node("node2", 2, "192.168.16.2/24"))  # equal: nothing to tell
        await store.delete(node_key("node2"))
        await plugin.caught_up(store.revision)
        await agent.hooks.drain()
        assert listener.told == [
            ("joined", "node1", 1),
            ("joined", "node2", 2),
            ("changed", "node2", 2),
            ("left", "node2", 2),
        ]


def test_a_value_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        store = MemoryKVStore()
        await store.put(object_key("Pod", "default", "bad"), b"{")
        async with mirrored(store) as (_, plugin):
            await plugin.caught_up(store.revision)
            for _ in range(3):  # listed again and again
                store.outage(True)
                await asyncio.sleep(1)
                store._outage = False
                store.compact(await put_pod(store, "x") + 1)
                await plugin.caught_up(store.revision)

    run_simulated(scenario())
    assert [r.getMessage() for r in caplog.records].count("a value of the store cannot be read") == 1


# --- the property

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.sampled_from(["1", "2"])),
        st.tuples(st.just("node"), NAMES, st.sampled_from(["1", "2"])),
        st.tuples(st.just("bad"), NAMES, st.sampled_from(["pod", "node"])),
        st.tuples(st.just("delete"), NAMES, st.sampled_from(["pod", "node"])),
        st.tuples(st.sampled_from(["outage", "back", "compact", "sleep", "yield"]), st.just(""), st.just("")),
    ),
    max_size=25,
)


async def _step(store: MemoryKVStore, kind: str, name: str, detail: str) -> None:
    keys = {"pod": object_key("Pod", "default", name), "node": node_key(name)}
    cut = store._outage
    store._outage = False  # the agent cannot reach the store; others can
    match kind:
        case "put":
            await store.put(keys["pod"], pod(name, v=detail))
        case "node":
            await store.put(keys["node"], node(name, int(detail)))
        case "bad":
            await store.put(keys[detail], b"{}")
        case "delete":
            await store.delete(keys[detail])
        case "compact":
            store.compact(store.revision + 1)
    store._outage = cut
    match kind:
        case "outage":
            store.outage(True)
        case "back":
            store.outage(False)
        case "sleep":
            await asyncio.sleep(3)
        case "yield":
            await asyncio.sleep(0)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_the_tables_end_equal_to_the_store(steps: list[tuple[str, str, str]]) -> None:
    async def scenario() -> None:
        store = MemoryKVStore()
        good: dict[str, set[bytes]] = {}  # the values that each key had since it was made
        async with mirrored(store) as (agent, plugin):
            for kind, name, detail in steps:
                await _step(store, kind, name, detail)
                if kind in ("put", "node"):
                    key = object_key("Pod", "default", name) if kind == "put" else node_key(name)
                    good.setdefault(key, set()).add(store._data[key].value)
                if kind == "delete":
                    good.pop(object_key("Pod", "default", name) if detail == "pod" else node_key(name), None)
            store.outage(False)
            await plugin.caught_up(store.revision)
            fresh = MemoryKVStore()
            async with mirrored(fresh) as (scratch, other):
                bad = set()
                for item in (await store.list("")).items:
                    if item.value == b"{}":
                        bad.add(item.key)
                    else:
                        await fresh.put(item.key, item.value)
                await other.caught_up(fresh.revision)
                _compare(agent, scratch, bad, good)
            assert {entry.key for entry in plugin.malformed()} == bad

    run_simulated(scenario())


def _compare(agent: Agent, scratch: Agent, bad: set[str], good: dict[str, set[bytes]]) -> None:
    """Equal, but for keys whose value cannot be read: there the record is one of its former values, or none."""
    places = {}
    for key in bad:
        where = place(key)
        assert where is not None
        places[where.table.name, where.key] = key
    for table in TABLES:
        mine, theirs = agent.state.table(table.name), scratch.state.table(table.name)
        assert mine.ready
        assert [k for k in sorted(mine) if (table.name, k) not in places] == sorted(theirs)
        for key in mine:
            if (table.name, key) not in places:
                assert mine.get(key) == theirs.get(key)
            else:
                assert good.get(places[table.name, key]), f"{key} was never readable since it was made"
