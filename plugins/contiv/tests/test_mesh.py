# SPDX-License-Identifier: Apache-2.0
"""What a node asks for to reach the others."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from contivpp_core.kubernetes import NODE_SETTINGS, NodeSettings
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, NODE_CONFIG, ClusterNode, NodeClaim
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_core.testing.laws import check_renderers
from contivpp_vpp.items import BridgeMember, L2FibEntry, Path

from .clusters import ALL_TABLES, OWN, Outcome, node, own, renderers

NAMES = ("n1", "n2", "n3")
cluster_nodes = st.builds(
    ClusterNode,
    name=st.sampled_from(NAMES),
    node_id=st.sampled_from((1, 2, 3, 900)),
    vpp_addresses=st.sampled_from((("192.168.16.2/24",), ("192.168.16.3/24",), ("10.9.9.9/24",), ("nonsense",), ())),
    management_addresses=st.sampled_from(((), ("10.200.0.2",))),
)
claims = st.builds(
    NodeClaim, node_id=st.sampled_from((1, 2, 3)), name=st.sampled_from(NAMES), freed=st.sampled_from((0.0, 5.0))
)
writes = st.one_of(
    st.sampled_from((1, 2, 900)).map(own),
    cluster_nodes.map(lambda record: Put(CLUSTER_NODE.name, record)),
    st.sampled_from(NAMES).map(lambda name: Delete(CLUSTER_NODE.name, name)),
    claims.map(lambda record: Put(NODE_CLAIM.name, record)),
    st.sampled_from(("1", "2", "3")).map(lambda key: Delete(NODE_CLAIM.name, key)),
    st.just(Delete(NODE_CONFIG.name, OWN)),
    st.booleans().map(lambda ready: Ready(NODE_SETTINGS.name, ready)),
)


@given(st.lists(st.lists(writes, max_size=4), max_size=6), st.sampled_from(("vxlan", "nooverlay")))
def test_meshes_keep_the_laws(batches: list[list[Write]], transport: str) -> None:
    # A node whose own ID is out of range raises, and then keeps its last good output: those are not compared here.
    valid = [[w for w in batch if not (isinstance(w, Put) and w == own(900))] for batch in batches]
    check_renderers(ALL_TABLES, lambda: renderers(nodeToNodeTransport=transport), valid)


def claim(node_id: int, name: str) -> Put:
    return Put(NODE_CLAIM.name, NodeClaim(node_id=node_id, name=name))


def test_a_peer_is_behind_a_tunnel_that_learns_nothing() -> None:
    found = Outcome([own(), node("n1", 1), node("n2", 2, management=("10.200.0.2",))])
    tunnel = "vxlan-192.168.16.1-192.168.16.2-10"
    assert found.keys("vpp/vxlan") == {"0/192.168.16.1/192.168.16.2/10"}
    domain = found.items["vpp/bridge-domain/1"]
    assert (domain.learn, domain.flood, domain.unknown_unicast_flood, domain.forward) == (False, False, False, True)
    member = BridgeMember(bridge_domain=1, interface=tunnel, split_horizon_group=1)
    assert found.items[member.key] == member
    entry = L2FibEntry(bridge_domain=1, mac="12:2b:00:00:00:02", interface=tunnel)
    assert found.items[entry.key] == entry
    hop = (Path(interface="vxlanBVI", next_hop="192.168.30.2"),)
    for prefix in ("10.1.2.0/24", "172.30.2.0/24", "10.200.0.2/32"):
        assert found.items[f"vpp/route/0/{prefix}"].paths == hop


def test_without_the_overlay_peers_are_on_the_link() -> None:
    found = Outcome([own(), node("n2", 2)], nodeToNodeTransport="nooverlay")
    assert found.items["vpp/route/0/10.1.2.0/24"].paths == (Path(interface="loopbackNIC", next_hop="192.168.16.2"),)
    assert not found.keys("vpp/vxlan") | found.keys("vpp/bridge-domain") | found.keys("vpp/l2fib")
    far = Outcome([own(), node("n2", 2, "10.9.9.9/24")], nodeToNodeTransport="nooverlay")
    assert "one link" in far.faults()["node n2"]


def test_two_vrfs_have_the_peers_in_that_of_pods() -> None:
    found = Outcome([own(), node("n2", 2, management=("10.200.0.2",))], podVRFID=7)
    assert {"7/10.1.2.0/24", "7/172.30.2.0/24", "7/10.200.0.2/32", "0/10.200.0.2/32"} <= found.keys("vpp/route")
    assert found.items["vpp/route/0/10.200.0.2/32"].paths == (Path(kind="lookup", via_vrf=7),)


def test_another_address_is_another_tunnel_under_the_same_entry() -> None:
    before = Outcome([own(), node("n2", 2), node("n3", 3)])
    after = Outcome([own(), node("n2", 2, "192.168.16.77/24"), node("n3", 3)])
    assert before.keys("vpp/l2fib") == after.keys("vpp/l2fib")
    assert before.items["vpp/l2fib/1/12:2b:00:00:00:02"] != after.items["vpp/l2fib/1/12:2b:00:00:00:02"]
    assert before.keys("vpp/vxlan") ^ after.keys("vpp/vxlan") == {
        "0/192.168.16.1/192.168.16.2/10",
        "0/192.168.16.1/192.168.16.77/10",
    }
    unchanged = {key for key in before.items if before.owners[key] == after.owners.get(key)}
    assert {key for key in before.items.keys() - unchanged if "192.168.16.3" in key} == set()


def test_an_id_belongs_to_the_node_that_claimed_it() -> None:
    nodes = [own(), node("n3", 2, "192.168.16.3/24"), node("n2", 2)]
    found = Outcome([*nodes, claim(2, "n3")])
    assert "node n3's" in found.faults()["node n2"]
    assert [peer.name for peer in found.derived["Peer"]] == ["n3"]
    unclaimed = Outcome(nodes)
    assert [peer.name for peer in unclaimed.derived["Peer"]] == ["n2"]


def test_nobody_else_with_this_nodes_id_is_connected() -> None:
    for claims, holder in (([], "n1"), ([claim(1, "n1")], "n1"), ([claim(1, "n0")], "n0")):
        found = Outcome([own(), node("n0", 1), *claims])
        assert f"as this node has, and the ID is node {holder}'s" in found.faults()["node n0"]
        assert not found.derived["Peer"]


def test_a_management_address_takes_nothing_that_is_the_clusters() -> None:
    wrong = ("10.1.1.2", "172.30.3.2", "192.168.16.3", "192.168.30.1", "192.168.16.1", "224.0.0.1", "::1", "nonsense")
    found = Outcome([own(), node("n2", 2, management=(*wrong, "10.200.0.2")), node("n3", 3)])
    assert [peer.management_addresses for peer in found.derived["Peer"] if peer.name == "n2"] == [("10.200.0.2",)]
    assert all(address in found.faults()["node n2"] for address in wrong)
    same = Outcome([own(), node("n2", 2, management=("192.168.16.2",))])
    assert not same.faults()  # a node whose host has VPP's address is usual


def test_an_address_that_no_host_can_have_is_named() -> None:
    for address in ("224.0.0.2/24", "0.0.0.0/0", "fd00::5/64", "nonsense"):
        found = Outcome([own(), node("n2", 2, address), node("n3", 3)])
        assert address in found.faults()["node n2"]
        assert [peer.name for peer in found.derived["Peer"]] == ["n3"]


def test_a_vpp_address_belongs_to_one_node() -> None:
    found = Outcome([own(), node("n2", 2), node("n3", 3, "192.168.16.2/24"), node("n4", 4, "192.168.16.1/24")])
    assert "which is node n2's" in found.faults()["node n3"]
    assert "which is node n1's" in found.faults()["node n4"]
    assert [peer.name for peer in found.derived["Peer"]] == ["n2"]


def test_a_node_outside_the_networks_is_named_and_the_rest_is_connected() -> None:
    writes = [own(), node("n2", 2), node("n8", 900), node("n9", 9, "10.9.9.9/24"), node("n7", 7, "nonsense")]
    found = Outcome(writes)
    assert set(found.faults()) == {"node n7", "node n8", "node n9"}
    assert "no gateway" in found.faults()["node n9"]
    assert [peer.name for peer in found.derived["Peer"]] == ["n2"]
    gateway = Put(NODE_SETTINGS.name, NodeSettings(name=OWN, gateway="192.168.16.254"))
    routed = Outcome([*writes, gateway])
    assert [peer.name for peer in routed.derived["Peer"]] == ["n2", "n9"]


def test_a_node_without_an_address_is_no_peer_yet() -> None:
    record = ClusterNode(name="n2", node_id=2)
    found = Outcome([own(), Put(CLUSTER_NODE.name, record)])
    assert not found.faults()
    assert not found.derived["Peer"]


def test_a_node_whose_id_was_freed_is_no_peer_whatever_is_left_of_it() -> None:
    freed = Put(NODE_CLAIM.name, NodeClaim(node_id=2, name="n2", freed=5.0))
    found = Outcome([own(), node("n2", 2), freed])
    assert not found.faults()
    assert not found.derived["Peer"]
    other = Outcome([own(), node("n3", 2), freed])
    assert [peer.name for peer in other.derived["Peer"]] == ["n3"]
