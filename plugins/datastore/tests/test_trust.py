# SPDX-License-Identifier: Apache-2.0
"""A store that is wiped, put back or half filled: what is known stands until it is written again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.cluster import OBJECTS, claim_value, encode_node, id_key, node_key, object_key
from contivpp_core.kubernetes import KINDS, NAMESPACE, NODE, POD
from contivpp_core.markers import MARKER, marked_kind, marker_key, marker_value
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, ClusterNode
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_core.testing.simulated import simulated
from contivpp_datastore.plugin import DatastorePlugin

NODES = ("node1", "node2", "node3")


class World:
    """The API server, the store, the reflector and the nodes, as far as they matter to an agent."""

    def __init__(self) -> None:
        self.pods: dict[str, str] = {}  # name -> a label
        self.nodes: set[str] = set(NODES)
        self.store = MemoryKVStore()
        self.saved: dict[str, Any] = {}

    async def sweep(self) -> None:
        """What the reflector does at its start, and when the store is another one."""
        store = self.store
        wanted = {object_key("Pod", "default", name): self.pod(name) for name in self.pods}
        wanted |= {object_key("Node", "", name): named(name) for name in self.nodes}
        listing = await store.list(OBJECTS)
        for item in listing.items:
            if item.key not in wanted and not marked_kind(item.key):
                await store.delete(item.key)
        known = {item.key: item.value for item in listing.items}
        for key, value in wanted.items():
            if known.get(key) != value:
                await store.put(key, value)
        for kind in KINDS:
            await store.put(marker_key(kind), marker_value())

    async def publish(self, name: str) -> None:
        """What a node does when its key is missing."""
        number = int(name.removeprefix("node"))
        if await self.store.get(node_key(name)) is None:
            await self.store.put(node_key(name), encode_node(ClusterNode(name=name, node_id=number)))
            await self.store.put(id_key(number), claim_value(name))

    async def wipe(self) -> None:
        await self._become({**MemoryKVStore().__dict__})

    def save(self) -> None:
        self.saved = _copy(self.store)

    async def restore(self) -> None:
        if self.saved:
            await self._become({**self.saved, "_history": list(self.saved["_history"])})

    async def _become(self, content: dict[str, Any]) -> None:
        cut = self.store._outage
        self.store.outage(True)
        await asyncio.sleep(0.5)  # every connection ends
        self.store.__dict__.update({**_own(content), "_watchers": self.store._watchers, "_outage": True})
        self.store.outage(cut)

    def pod(self, name: str) -> bytes:
        return json.dumps(
            {"metadata": {"name": name, "namespace": "default", "labels": {"v": self.pods[name]}}}
        ).encode()


def _own(content: dict[str, Any]) -> dict[str, Any]:
    return {name: value.copy() if isinstance(value, dict | list | set) else value for name, value in content.items()}


def _copy(store: MemoryKVStore) -> dict[str, Any]:
    return _own(store.__dict__)


def named(name: str) -> bytes:
    return json.dumps({"metadata": {"name": name}}).encode()


@asynccontextmanager
async def agent_of(
    world: World, folder: Path | None = None, *, name: str = "observer"
) -> AsyncIterator[tuple[Agent, DatastorePlugin]]:
    plugin = DatastorePlugin(world.store, reflected=True, local=folder and folder / "mirror.db")
    agent = Agent({"nodeName": name, "plugins": ["datastore"]}, [plugin], ledger_path=None, serve=False)
    await agent.start()
    try:
        yield agent, plugin
    finally:
        await agent.stop()


async def filled() -> World:
    world = World()
    world.pods = {"a": "1", "b": "1"}
    await world.sweep()
    for name in NODES:
        await world.publish(name)
    return world


def keys(agent: Agent, table: Any) -> list[str]:
    return sorted(agent.state.table(table.name))


@simulated
async def test_a_kind_is_ready_with_its_marker() -> None:
    world = World()
    world.pods = {"a": "1"}
    await world.store.put(object_key("Pod", "default", "a"), world.pod("a"))
    async with agent_of(world) as (agent, plugin):
        await asyncio.sleep(5)
        assert keys(agent, POD) == ["default/a"]
        assert not agent.state.ready(POD.name)
        assert not agent.state.ready(CLUSTER_NODE.name)
        assert "contivpp ksr" in agent.conditions["datastore"].reason
        await world.store.put(marker_key("Pod"), marker_value())
        await asyncio.sleep(5)
        assert agent.state.ready(POD.name)
        assert not agent.state.ready(NAMESPACE.name)
        assert "Pod" not in agent.conditions["datastore"].reason
        await world.sweep()
        await asyncio.sleep(5)
        assert agent.state.ready(CLUSTER_NODE.name)
        assert agent.conditions["datastore"].ok
        assert plugin.malformed() == []


@simulated
async def test_a_wiped_store_changes_nothing_until_it_is_written_again() -> None:
    world = await filled()
    async with agent_of(world) as (agent, _):
        await asyncio.sleep(5)
        before = {table: keys(agent, table) for table in (POD, NODE, CLUSTER_NODE, NODE_CLAIM)}
        assert all(before.values())
        await world.wipe()
        await asyncio.sleep(60)
        assert {table: keys(agent, table) for table in before} == before
        assert all(agent.state.ready(table.name) for table in before)
        assert not agent.conditions["datastore"].ok
        del world.pods["b"]  # while the store was away
        world.nodes.discard("node3")
        world.pods["c"] = "1"
        await world.sweep()
        await asyncio.sleep(60)
        assert keys(agent, POD) == ["default/a", "default/c"]
        assert keys(agent, CLUSTER_NODE) == ["node1", "node2"]  # node2 has not written yet; node3 is gone for good
        assert keys(agent, NODE_CLAIM) == ["1", "2"]
        assert agent.conditions["datastore"].ok
        world.nodes.discard("node2")
        await world.store.delete(object_key("Node", "", "node2"))
        await asyncio.sleep(5)
        assert keys(agent, CLUSTER_NODE) == ["node1"]


@simulated
async def test_a_node_whose_object_cannot_be_read_is_not_gone() -> None:
    world = await filled()
    async with agent_of(world) as (agent, _):
        await asyncio.sleep(5)
        await world.wipe()
        await world.sweep()
        await world.store.put(object_key("Node", "", "node3"), b"{")
        await asyncio.sleep(60)
        assert keys(agent, CLUSTER_NODE) == list(NODES)
        await world.store.delete(object_key("Node", "", "node3"))
        await asyncio.sleep(5)
        assert keys(agent, CLUSTER_NODE) == ["node1", "node2"]


@simulated
async def test_keys_that_are_deleted_with_their_markers_are_not_gone() -> None:
    """`etcdctl del --prefix /contivpp/` by mistake."""
    world = await filled()
    async with agent_of(world) as (agent, _):
        await asyncio.sleep(5)
        before = {table: keys(agent, table) for table in (POD, NODE, CLUSTER_NODE, NODE_CLAIM)}
        for item in (await world.store.list("/contivpp/")).items:
            if item.key.endswith(MARKER):
                await world.store.delete(item.key)
        for item in (await world.store.list("/contivpp/")).items:
            await world.store.delete(item.key)
        await asyncio.sleep(60)
        assert {table: keys(agent, table) for table in before} == before
        await world.sweep()
        await asyncio.sleep(5)
        assert {table: keys(agent, table) for table in before} == before


@simulated
async def test_a_store_that_was_filled_again_before_anybody_looked_is_recognised() -> None:
    """Its revision has passed the known one: what tells is the marker's value, and nothing of it is missed."""
    world = await filled()
    async with agent_of(world) as (agent, _):
        await asyncio.sleep(5)
        world.store.outage(True)
        await asyncio.sleep(1)
        await world.wipe()
        world.store._outage = False
        world.pods = {"b": "2", "d": "1"}
        while world.store.revision < 100:
            await world.sweep()
        await asyncio.sleep(20)
        assert keys(agent, POD) == ["default/b", "default/d"]
        assert dict(agent.state.get(POD.name, "default/b").labels) == {"v": "2"}
        assert keys(agent, CLUSTER_NODE) == list(NODES)


@simulated
async def test_a_restored_backup_vouches_for_nothing() -> None:
    world = await filled()
    world.save()
    world.pods["late"] = "1"
    await world.store.put(object_key("Pod", "default", "late"), world.pod("late"))
    async with agent_of(world) as (agent, _):
        await asyncio.sleep(5)
        await world.restore()
        await asyncio.sleep(60)
        assert "default/late" in keys(agent, POD)
        assert not agent.conditions["datastore"].ok
        await world.sweep()
        await asyncio.sleep(5)
        assert keys(agent, POD) == ["default/a", "default/b", "default/late"]
        assert agent.conditions["datastore"].ok


@simulated
async def test_a_deletion_counts_in_a_store_that_is_vouched_for() -> None:
    world = await filled()
    async with agent_of(world) as (agent, plugin):
        await asyncio.sleep(5)
        await world.store.delete(object_key("Pod", "default", "a"))
        await world.store.delete(node_key("node3"))
        await plugin.caught_up(world.store.revision)
        assert keys(agent, POD) == ["default/b"]
        assert keys(agent, CLUSTER_NODE) == ["node1", "node2"]


@simulated
async def test_a_node_that_claims_another_id_loses_the_lost_claim() -> None:
    world = await filled()
    async with agent_of(world) as (agent, _):
        await asyncio.sleep(5)
        await world.wipe()
        await world.sweep()
        await world.store.put(id_key(7), claim_value("node2"))
        await asyncio.sleep(30)
        assert keys(agent, NODE_CLAIM) == ["1", "3", "7"]


@simulated
async def test_an_agent_learns_at_once_that_its_own_node_is_lost() -> None:
    for lose in (World.wipe, World.restore):
        world = World()
        await world.sweep()
        world.save()
        for name in NODES:
            await world.publish(name)
        async with agent_of(world, name="node2") as (agent, _):
            await asyncio.sleep(5)
            assert keys(agent, CLUSTER_NODE) == list(NODES)
            await lose(world)
            await asyncio.sleep(30)
            assert keys(agent, CLUSTER_NODE) == ["node1", "node3"]
            assert keys(agent, NODE_CLAIM) == ["1", "3"]


def test_a_store_that_was_wiped_while_the_agent_was_down() -> None:
    async def scenario(folder: Path) -> None:
        world = await filled()
        async with agent_of(world, folder):
            await asyncio.sleep(5)
        await world.wipe()
        async with agent_of(world, folder) as (agent, _):
            await asyncio.sleep(5)  # the store answers, and is empty
            assert keys(agent, POD) == ["default/a", "default/b"]
            assert keys(agent, CLUSTER_NODE) == list(NODES)
            assert agent.state.ready(POD.name)
            assert POD.name in agent.state.stale()
            await world.sweep()
            await world.publish("node1")
            await asyncio.sleep(5)
            assert agent.state.stale() == []
            assert keys(agent, CLUSTER_NODE) == list(NODES)
        await world.wipe()
        world.nodes.discard("node3")
        await world.sweep()
        async with agent_of(world, folder) as (agent, _):  # filled before the agent started: nodes have not written
            await asyncio.sleep(1)
            assert agent.state.ready(CLUSTER_NODE.name)
            assert keys(agent, CLUSTER_NODE) == ["node1", "node2"]
            assert keys(agent, NODE_CLAIM) == ["1", "2"]

    with TemporaryDirectory() as folder:
        run_simulated(scenario(Path(folder)))


# --- the property

NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put1", "put2", "delete"]), NAMES),
        st.tuples(st.sampled_from(["publish", "drain", "join"]), st.sampled_from(NODES)),
        st.tuples(
            st.sampled_from(["wipe", "wipe", "save", "restore", "sweep", "cut", "back", "sleep", "restart", "compact"]),
            st.just(""),
        ),
    ),
    max_size=30,
)


async def _written(world: World, kind: str, name: str) -> None:
    """Carry out a step that concerns what is in the store; the reflector tells each change at once."""
    match kind:
        case "put1" | "put2":
            world.pods[name] = kind[-1]
            await world.store.put(object_key("Pod", "default", name), world.pod(name))
        case "delete":
            world.pods.pop(name, None)
            await world.store.delete(object_key("Pod", "default", name))
        case "publish" if name in world.nodes:
            await world.publish(name)
        case "drain":
            world.nodes.discard(name)
            await world.store.delete(object_key("Node", "", name))
            await world.store.delete(node_key(name))
            await world.store.delete(id_key(int(name[-1])))
        case "join":
            world.nodes.add(name)
            await world.store.put(object_key("Node", "", name), named(name))
        case "sweep":
            await world.sweep()


async def _step(world: World, kind: str, name: str) -> None:
    cut, world.store._outage = world.store._outage, False  # the agent cannot reach the store; others can
    await _written(world, kind, name)
    if kind == "compact":
        world.store.compact(world.store.revision + 1)
    world.store._outage = cut
    match kind:
        case "save":
            world.save()
        case "wipe":
            await world.wipe()
        case "restore":
            await world.restore()
        case "cut" | "back":
            world.store.outage(kind == "cut")
        case "sleep":
            await asyncio.sleep(15)
    await asyncio.sleep(0)


class Memory:
    """What an agent has known in its life, of what exists without a break since."""

    def __init__(self, world: World, agent: Agent) -> None:
        self._world, self._agent = world, agent
        self._known: dict[str, set[str]] = {POD.name: set(), CLUSTER_NODE.name: set()}
        self._dead: set[str] = set()  # was deleted; that may not have been heard of yet

    def check(self, kind: str, name: str) -> None:
        if kind in ("delete", "drain"):
            self._dead.add(name if kind == "drain" else f"default/{name}")
        pods = {f"default/{name}" for name in self._world.pods}
        for table, existing in ((POD.name, pods), (CLUSTER_NODE.name, self._world.nodes)):
            now = set(self._agent.state.table(table))
            self._dead -= {name for name in self._dead if name not in now and ("/" in name) == (table == POD.name)}
            known = (self._known[table] & existing) - self._dead
            assert known <= now, f"{kind} {name}: {known - now} of {table} was forgotten"
            self._known[table] = known | (now & existing)


@settings(max_examples=300, deadline=None)
@given(STEPS)
@example([("publish", "node1"), ("sweep", ""), ("sleep", ""), ("wipe", ""), ("restart", ""), ("sleep", "")])
def test_nothing_that_exists_is_ever_forgotten(steps: list[tuple[str, str]]) -> None:
    """And in the end, when reflector and nodes have written, the tables are what the API server has."""

    async def life(world: World, rest: list[tuple[str, str]], folder: Path) -> None:
        async with agent_of(world, folder) as (agent, _):
            memory = Memory(world, agent)
            while rest and rest[0][0] != "restart":
                kind, name = rest.pop(0)
                await _step(world, kind, name)
                memory.check(kind, name)
            if rest:
                rest.pop(0)
                return
            world.store.outage(False)
            await world.sweep()
            for name in sorted(world.nodes):
                await world.publish(name)
            await asyncio.sleep(40)
            assert keys(agent, POD) == sorted(f"default/{name}" for name in world.pods)
            assert {p.name: dict(p.labels)["v"] for p in agent.state.table(POD.name).records()} == world.pods
            assert keys(agent, NODE) == sorted(world.nodes)
            assert set(keys(agent, CLUSTER_NODE)) == world.nodes
            assert set(keys(agent, NODE_CLAIM)) == {name[-1] for name in world.nodes}
            assert agent.state.stale() == []
            assert agent.conditions["datastore"].ok

    async def scenario(folder: Path) -> None:
        world, rest = World(), list(steps)
        while True:
            last = not any(kind == "restart" for kind, _ in rest)
            await life(world, rest, folder)
            if last:
                return

    with TemporaryDirectory() as folder:
        run_simulated(scenario(Path(folder)))
