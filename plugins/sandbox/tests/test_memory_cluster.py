# SPDX-License-Identifier: Apache-2.0
"""Clusters in memory: what is on the underlay, what faults do, and nodes that come and go in any order."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contivpp_core.cluster import IDS, NODES, OBJECTS
from contivpp_sandbox.rigs.base import ObjectReference, Probe, RigError, Underlay
from contivpp_sandbox.rigs.memory.rig import MemoryRig
from contivpp_vpp.errors import NotConnected

from .memory_clusters import NODES_OF_RIG, all_pairs, on_cluster, pod, verdict


def watched(rig: MemoryRig) -> list[bytes]:
    """Return a list that all frames on the underlay come to from now on."""
    frames: list[bytes] = []
    for name, link in rig.underlay._links.items():
        inner = link.outside

        def receive(frame: bytes, inner=inner) -> None:
            frames.append(frame)
            inner(frame)

        assert name in rig.nodes
        link.outside = receive
    return frames


@pytest.mark.parametrize("overlay", [True, False])
def test_what_goes_between_nodes_is_vxlan_with_the_overlay_and_plain_without(overlay):
    async def test(rig):
        frames = watched(rig)
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []
        packets = [frame for frame in frames if frame[12:14] == b"\x08\x00"]
        vxlan = [frame for frame in packets if frame[23] == 17 and frame[36:38] == (4789).to_bytes(2, "big")]
        assert len(vxlan) == (len(packets) if overlay else 0)
        assert len(packets) >= 6 * 6  # a TCP connection has six packets or more
        sources = {frame[26:28] for frame in packets}
        assert sources == {bytes((192, 168)) if overlay else bytes((10, 1))}
        # No inner frame goes to all: the overlay floods nothing.
        assert all(frame[50:51] == b"\x12" for frame in vxlan)

    on_cluster(test, {} if overlay else {"contiv": {"nodeToNodeTransport": "nooverlay"}})


@pytest.mark.parametrize("mtu", [1000, 1500, 9000])
def test_full_packets_fit_the_underlay_exactly(mtu):
    async def test(rig):
        frames = watched(rig)
        size = mtu - 50 - 28
        probe = {"protocol": "UDP", "do_not_fragment": True}
        found = await rig.probe(Probe(source="x/a1", target="x/a2", port=53, size=size, expect="allowed", **probe))
        assert found.verdict == "allowed"
        assert max(len(frame) for frame in frames) == mtu + 14
        found = await rig.probe(Probe(source="x/a1", target="x/a2", port=53, size=size + 1, expect="refused", **probe))
        reason = f"x/a1: {mtu - 49} bytes do not fit the MTU of eth0, {mtu - 50}"
        assert (found.verdict, found.why) == ("refused", reason)

    on_cluster(test, underlay=Underlay(mtu))


def test_an_underlay_that_takes_less_than_the_agents_think_is_named():
    async def test(rig):
        assert (await verdict(rig, "x/a1", "x/a2")).verdict == "allowed"
        probe = Probe(source="x/a1", target="x/a2", port=53, protocol="UDP", size=1422, expect="allowed")
        found = await rig.probe(probe)
        assert (found.verdict, found.why) == (
            "denied", "underlay: a packet of 1500 bytes from n1 is larger than the MTU, 1400"
        )  # fmt: skip

    on_cluster(test, {"contiv": {"underlayMTU": 1500}}, Underlay(1400))


def test_a_cut_off_node_is_named_and_comes_back():
    async def test(rig):
        rig.underlay.partition("n2")
        for source, target in (("x/a1", "x/a2"), ("x/a2", "x/a3")):
            found = await verdict(rig, source, target)
            assert found.verdict == "denied"
            assert found.why.startswith("underlay: ")
            assert "are cut off from each other" in found.why
        assert await all_pairs(rig, ["x/a1", "x/a3"]) == []
        assert await rig.settle(60) == []  # agents meet in the store, not on the underlay
        rig.underlay.heal()
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []

    on_cluster(test)


def test_a_lossy_underlay_settles_and_carries_what_is_sent_again():
    async def test(rig):
        found = [await verdict(rig, "x/a1", "x/a2") for _ in range(20)]
        assert sum(each.verdict == "allowed" for each in found) >= 15

    on_cluster(test, underlay=Underlay(1500, 0.05))


def test_why_names_the_node_where_a_packet_ended():
    async def test(rig):
        await rig.delete([ObjectReference("Pod", "x", "a2")])
        await rig.settle(60)
        found = await verdict(rig, "x/a1", "x/a2")
        assert found.verdict == "denied"
        assert found.why.startswith("node n2: VPP interface ")
        rig.nodes["n3"].stop_vpp()
        found = await verdict(rig, "x/a1", "x/a3")
        assert (found.verdict, found.source_address) == ("denied", "")
        rig.nodes["n3"].start_vpp()
        assert await rig.settle(60) == []
        assert await all_pairs(rig, ["x/a1", "x/a3"]) == []

    on_cluster(test)


def test_the_path_mtu_of_an_outside_host_is_told_by_vpp():
    async def test(rig):
        probe = Probe(
            source="192.168.16.200", via="n1", target="x/a2", port=53, protocol="UDP", size=1423, do_not_fragment=True,
            expect="refused",
        )  # fmt: skip
        found = await rig.probe(probe)
        reason = "1451 bytes do not fit the next hop's MTU, 1450"
        assert (found.verdict, found.why.partition(": ")[2]) == ("refused", reason)

    on_cluster(test)


def test_a_node_that_leaves_takes_everything_with_it():
    async def test(rig):
        await rig.delete([ObjectReference("Node", "", "n2")])
        assert await rig.settle(60) == []
        keys = [item.key for prefix in (IDS, NODES, OBJECTS) for item in (await rig.api.store.list(prefix)).items]
        assert keys == [
            "/contivpp/ids/1", "/contivpp/ids/3", "/contivpp/nodes/n1", "/contivpp/nodes/n3",
            "/contivpp/k8s/Node/_/n1", "/contivpp/k8s/Node/_/n3", "/contivpp/k8s/Pod/x/a1", "/contivpp/k8s/Pod/x/a3",
        ]  # fmt: skip
        assert "x/a2" not in rig.sandboxes
        assert (await verdict(rig, "x/a1", "x/a2")).verdict == "denied"
        for node in rig.nodes.values():
            tunnels = [i.name for i in node.vpp.dataplane.interfaces if i.name.startswith("vxlan_tunnel")]
            assert len(tunnels) == 1
        for wrong in (rig.restart("vpp", "n2", kill=False), rig.delete([ObjectReference("Node", "", "n2")])):
            with pytest.raises(RigError, match="node n2 has left"):
                await wrong

    on_cluster(test)


def test_objects_of_nodes_can_be_changed_while_they_are_there():
    async def test(rig):
        await rig.apply([{"kind": "Node", "metadata": {"name": "n2", "labels": {"zone": "a"}}}])
        assert await rig.settle(60) == []
        shown = rig.nodes["n1"].running().state.get("Node", "n2")
        assert (shown.labels, [each.address for each in shown.addresses]) == ((("zone", "a"),), ["10.200.0.2"])
        with pytest.raises(RigError, match="there is no node n9"):
            await rig.apply([{"kind": "Node", "metadata": {"name": "n9"}}])

    on_cluster(test)


@pytest.mark.parametrize("transport", ["vxlan", "nooverlay"])
@pytest.mark.parametrize("vrf", [0, 7])
@pytest.mark.parametrize("wiring", ["tap", "veth"])
def test_every_wiring_connects_pods_nodes_and_outside_hosts(wiring, vrf, transport):
    contiv = {"nodeToNodeTransport": transport, "podVRFID": vrf, "hostInterconnect": wiring}
    contiv["podInterface"] = "tap" if wiring == "tap" else "afpacket"

    async def test(rig):
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []
        for source, target, reached in (
            ("x/a1", "node:n1", "node:n1:80"),
            ("x/a1", "node:n2", "node:n2:80"),
            ("x/a1", "172.30.2.2", "node:n2:80"),
            ("node:n1", "x/a1", "x/a1:80"),
            ("node:n1", "x/a2", "x/a2:80"),
            ("node:n1", "172.30.3.2", "node:n3:80"),
            ("192.168.16.200", "x/a1", "x/a1:80"),
            ("192.168.16.200", "x/a3", "x/a3:80"),
            ("x/a2", "192.168.16.201", "192.168.16.201:80"),
        ):
            found = await verdict(rig, source, target)
            assert (source, target, found.reached, found.seen_source) == (source, target, (reached,), source), found

    on_cluster(test, {"contiv": contiv})


def test_without_the_store_the_network_goes_on_and_changes_come_later():
    async def test(rig):
        store = rig.api.store
        await rig.delete([ObjectReference("Node", "", "n3")])
        assert await rig.settle(60) == []
        store.outage(True)
        await rig.advance(100)
        assert await all_pairs(rig, ["x/a1", "x/a2"]) == []
        await rig.nodes["n1"].stop_agent(kill=True)
        await rig.nodes["n1"].start_agent()
        await rig.advance(100)
        rig.nodes["n2"].stop_vpp()
        rig.nodes["n2"].start_vpp()
        await rig.advance(100)
        assert await all_pairs(rig, ["x/a2"]) == []
        store.outage(False)
        await rig.apply([{"kind": "Node", "metadata": {"name": "n3"}}])
        assert await rig.settle(60) == []
        await rig.apply([pod("b3", "n3")])
        assert await rig.settle(60) == []
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/b3"]) == []

    on_cluster(test)


def test_an_agent_that_starts_without_the_store_changes_nothing():
    async def test(rig):
        spec = {"mainVPPInterface": {"ip": "192.168.16.77/24"}, "gateway": "192.168.16.254"}
        await rig.apply([{"kind": "NodeConfig", "metadata": {"name": "n1"}, "spec": spec}])
        assert await rig.settle(60) == []
        rig.api.store.outage(True)
        await rig.restart("agent", "n1", kill=True)
        await rig.advance(100)
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []
        rig.api.store.outage(False)
        assert await rig.settle(60) == []
        counters = rig.nodes["n1"].running().scheduler.counters
        # VPP has tunnels up by itself, so nobody can tell whether an agent set them up before.
        assert counters.created.keys() <= {"vpp/link-up"}
        assert (dict(counters.updated), dict(counters.deleted)) == ({}, {})
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []

    on_cluster(test)


def test_a_killed_agent_publishes_nothing_more():
    async def test(rig):
        await rig.nodes["n2"].stop_agent(kill=True)
        revision = rig.api.store.revision
        key = "/contivpp/nodes/n2"
        await rig.api.store.delete(key)
        await rig.advance(300)
        assert (await rig.api.store.get(key), rig.api.store.revision) == (None, revision + 1)
        await rig.nodes["n2"].start_agent()
        assert await rig.settle(60) == []
        assert await rig.api.store.get(key) is not None
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []

    on_cluster(test)


EVENTS = st.sampled_from(
    [
        *(("leave", name) for name in NODES_OF_RIG),
        *(("join", name) for name in NODES_OF_RIG),
        *(("agent", name) for name in NODES_OF_RIG),
        *(("vpp", name) for name in NODES_OF_RIG),
        *(("address", name) for name in NODES_OF_RIG),
        ("cut", "n1"),
        ("heal", ""),
        ("settle", ""),
    ]
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(EVENTS, min_size=1, max_size=10))
def test_whatever_happens_to_nodes_those_that_are_there_are_connected_in_the_end(events):
    async def test(rig):
        for number, (what, name) in enumerate(events):
            await _happen(rig, what, name, number)
        rig.underlay.heal()
        assert await rig.settle(60) == []
        there = [key for key, sandbox in rig.sandboxes.items() if sandbox.address]
        assert {rig.sandboxes[key].found["spec"]["nodeName"] for key in there} == set(rig.nodes)
        assert await all_pairs(rig, there) == []

    on_cluster(test)


async def _happen(rig: MemoryRig, what: str, name: str, number: int) -> None:
    match what:
        case "leave" if name in rig.nodes and len(rig.nodes) > 1:
            await rig.delete([ObjectReference("Node", "", name)])
        case "join" if name not in rig.nodes:
            await rig.apply([{"kind": "Node", "metadata": {"name": name}}])
            await rig.settle(60)
            await rig.apply([pod(f"b{number}", name)])
        case "agent" | "vpp" if name in rig.nodes:
            await rig.restart(what, name, kill=True)  # type: ignore[arg-type]
        case "address" if name in rig.nodes:
            interface = {"interfaceName": "host-uplink0", "ip": f"192.168.16.{100 + number}/24"}
            spec = {"mainVPPInterface": interface}
            await rig.apply([{"kind": "NodeConfig", "metadata": {"name": name}, "spec": spec}])
        case "cut":
            rig.underlay.partition(name)
        case "heal":
            rig.underlay.heal()
        case "settle":
            await rig.settle(60)


def test_a_node_whose_key_is_lost_publishes_itself_again():
    async def test(rig):
        await rig.api.store.delete("/contivpp/nodes/n2")
        await rig.advance(30)
        assert await rig.settle(60) == []
        assert await rig.api.store.get("/contivpp/nodes/n2") is not None
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []

    on_cluster(test)


def test_settings_that_changed_while_an_agent_was_dead_count():
    def config(octet):
        spec = {"mainVPPInterface": {"ip": f"192.168.16.{octet}/24"}}
        return [{"kind": "NodeConfig", "metadata": {"name": "n2"}, "spec": spec}]

    async def test(rig):
        await rig.apply(config(77))
        assert await rig.settle(60) == []
        await rig.nodes["n2"].stop_agent(kill=True)
        await rig.api.put(config(78))
        await rig.nodes["n2"].start_agent()
        await rig.advance(10)
        assert await rig.settle(60) == []
        (uplink,) = rig.nodes["n2"].running().state.table("Uplink").records()
        assert uplink.address == "192.168.16.78/24"
        assert await all_pairs(rig, ["x/a1", "x/a2", "x/a3"]) == []

    on_cluster(test)


def test_a_node_whose_id_is_given_to_another_says_so_and_publishes_no_more():
    async def test(rig):
        store, key = rig.api.store, "/contivpp/nodes/n2"
        await store.put("/contivpp/ids/2", b'{"name": "n9"}')
        await store.delete(key)
        await rig.advance(60)
        agent = rig.nodes["n2"].running()
        condition = agent.conditions["contiv node ID"]
        assert not condition.ok
        assert "node n9's" in condition.reason
        assert await store.get(key) is None
        await store.put("/contivpp/ids/2", b'{"name": "n2"}')
        assert await rig.settle(60) == []
        assert agent.conditions["contiv node ID"].ok
        assert await store.get(key) is not None

    on_cluster(test)


def test_a_vpp_that_does_not_tell_how_it_can_be_linked_is_asked_again():
    async def test(rig):
        agent = rig.nodes["n1"].running()
        vpp = agent.plugin("vpp")
        asked, answers = [], vpp.tap_support

        async def tap_support():
            asked.append(1)
            if len(asked) < 4:
                raise NotConnected("not now")
            return await answers()

        vpp.tap_support = tap_support
        await rig.restart("vpp", "n1", kill=True)
        await rig.advance(30)
        assert await rig.settle(60) == []
        assert len(asked) == 4
        assert await all_pairs(rig, ["x/a1", "x/a2"]) == []

    on_cluster(test)
