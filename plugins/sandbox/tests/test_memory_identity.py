# SPDX-License-Identifier: Apache-2.0
"""Nodes' IDs, subnets and the mesh, when the cluster's store is lost, and when nodes come, go and move."""

from __future__ import annotations

import asyncio

import pytest

from contivpp_core.cluster import IDS, NODES, OBJECTS, id_key, node_key
from contivpp_core.kvstore import DeleteKey, KeyValue, PutKey
from contivpp_sandbox.rigs.base import ObjectReference
from contivpp_sandbox.rigs.memory.rig import MemoryRig

from .memory_clusters import all_pairs, on_cluster, pod

PODS = ["x/a1", "x/a2", "x/a3"]


async def content(rig: MemoryRig, prefix: str = "/") -> tuple[KeyValue, ...]:
    return (await rig.api.store.list(prefix)).items


async def wipe(rig: MemoryRig) -> None:
    """Lose everything at once."""
    await rig.api.store.transaction((), tuple(DeleteKey(item.key) for item in await content(rig)))


async def restore(rig: MemoryRig, items: tuple[KeyValue, ...]) -> None:
    """Write again what was there; so does the mirror of Kubernetes, with its objects."""
    await rig.api.store.transaction((), tuple(PutKey(item.key, item.value) for item in items))


def who_is_who(rig: MemoryRig) -> dict[str, tuple[int, str]]:
    """Return every node's ID and pod subnet."""
    found = {}
    for name, node in rig.nodes.items():
        state = node.running().state
        found[name] = state.get("NodeConfig", name).node_id, state.get("NodeSubnets", name).pod_subnet
    return found


IDENTITIES = {name: (number, f"10.1.{number}.0/24") for number, name in enumerate(("n1", "n2", "n3"), 1)}


@pytest.mark.parametrize("annotated", [True, False])
def test_a_store_that_is_wiped_while_running_changes_nothing(annotated):
    async def test(rig):
        assert who_is_who(rig) == IDENTITIES
        objects, nodes = await content(rig, OBJECTS), await content(rig, NODES)
        if not annotated:
            objects = tuple(
                KeyValue(item.key, item.value.replace(b"contivpp.io/node-id", b"x"), 1, 1) for item in objects
            )
        await wipe(rig)
        await rig.advance(0.5)
        assert [item.key for item in await content(rig, IDS)] == [id_key(number) for number in (1, 2, 3)]
        assert [item.key for item in await content(rig, NODES)] == [item.key for item in nodes]
        assert await all_pairs(rig, PODS) == []
        await restore(rig, objects)
        assert await rig.settle(60) == []
        assert [(item.key, item.value) for item in await content(rig, NODES)] == [(i.key, i.value) for i in nodes]
        assert who_is_who(rig) == IDENTITIES
        assert await all_pairs(rig, PODS) == []

    on_cluster(test)


@pytest.mark.parametrize("annotated", [True, False])
def test_a_store_that_is_wiped_while_no_agent_runs_costs_nobody_its_subnet(annotated):
    async def test(rig):
        objects = await content(rig, OBJECTS)
        if not annotated:
            objects = tuple(
                KeyValue(item.key, item.value.replace(b"contivpp.io/node-id", b"x"), 1, 1) for item in objects
            )
        await asyncio.gather(*(node.stop_agent(kill=True) for node in rig.nodes.values()))
        await wipe(rig)
        await restore(rig, objects)
        for node in reversed(rig.nodes.values()):
            await node.start_agent()
            await rig.advance(0.1)
        await rig.advance(5)
        assert await rig.settle(60) == []
        assert who_is_who(rig) == IDENTITIES
        assert await all_pairs(rig, PODS) == []

    on_cluster(test)


def test_a_store_that_is_put_back_to_an_older_state_changes_nothing():
    async def test(rig):
        older = await content(rig)
        await rig.delete([ObjectReference("Node", "", "n3")])
        await rig.apply([{"kind": "Node", "metadata": {"name": "n3"}}, pod("b3", "n3")])
        assert await rig.settle(60) == []
        newer = await content(rig, OBJECTS)
        await wipe(rig)
        await restore(rig, older)
        await rig.advance(1)
        assert who_is_who(rig) == IDENTITIES
        await restore(rig, newer)
        assert await rig.settle(60) == []
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/b3"]) == []

    on_cluster(test)


def test_the_mesh_follows_nodes_at_once():
    async def test(rig):
        others = [rig.nodes[name].running().state for name in ("n1", "n2")]
        await rig.delete([ObjectReference("Node", "", "n3")])
        await rig.advance(0.5)
        assert [state.get("Peer", "n3") for state in others] == [None, None]
        await rig.apply([{"kind": "Node", "metadata": {"name": "n3"}}, pod("b3", "n3")])
        await rig.advance(0.5)
        assert [state.get("Peer", "n3").vpp_address for state in others] == ["192.168.16.3"] * 2
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/b3"]) == []
        spec = {"mainVPPInterface": {"interfaceName": "host-uplink0", "ip": "192.168.16.103/24"}}
        await rig.apply([{"kind": "NodeConfig", "metadata": {"name": "n3"}, "spec": spec}])
        await rig.advance(0.5)
        assert [state.get("Peer", "n3").vpp_address for state in others] == ["192.168.16.103"] * 2
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/b3"]) == []

    on_cluster(test)


def test_a_node_whose_object_is_deleted_leaves_the_mesh_when_its_id_is_freed():
    async def test(rig):
        await rig.nodes["n3"].stop_agent(kill=True)
        await rig.api.delete([ObjectReference("Node", "", "n3")])
        state = rig.nodes["n1"].running().state
        await rig.advance(50)
        assert state.get("Peer", "n3") is not None
        await rig.advance(20)
        assert await rig.api.store.get(node_key("n3")) is None
        assert state.get("Peer", "n3") is None
        assert not state.get("NodeClaim", "3").held
        assert await all_pairs(rig, PODS[:2]) == []

    on_cluster(test)


def test_a_node_without_pods_whose_id_is_anothers_takes_another_and_is_connected():
    async def test(rig):
        await rig.delete([ObjectReference("Pod", "x", "a3")])
        await rig.api.put([{"kind": "Node", "metadata": {"name": "n9"}}])
        await rig.api.store.put(id_key(3), b'{"name": "n9"}')
        await rig.advance(10)
        await rig.apply([pod("b3", "n3")])
        assert await rig.settle(60) == []
        assert who_is_who(rig) == {**IDENTITIES, "n3": (4, "10.1.4.0/24")}
        (attached,) = rig.nodes["n3"].running().state.table("LocalPod").records()
        assert attached.address.startswith("10.1.4.")
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/b3"]) == []

    on_cluster(test)


def test_two_nodes_with_one_address_are_named_with_what_to_do():
    async def test(rig):
        spec = {"mainVPPInterface": {"interfaceName": "host-uplink0", "ip": "192.168.16.1/24"}}
        await rig.apply([{"kind": "NodeConfig", "metadata": {"name": "n2"}, "spec": spec}])
        await rig.advance(5)
        for name, about, holder in (("n1", "n2", "n1"), ("n2", "n1", "n2"), ("n3", "n2", "n1")):
            fault = rig.nodes[name].running().state.get("Fault", f"node {about}")
            assert f"has the VPP address 192.168.16.1, which is node {holder}'s" in fault.reason
            assert "give one of them another address" in fault.reason

    on_cluster(test)
