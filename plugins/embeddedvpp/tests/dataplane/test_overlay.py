# SPDX-License-Identifier: Apache-2.0
"""Nodes with pods behind a VXLAN overlay, as a Kubernetes network makes them, connected in memory by a switch."""

import asyncio
import itertools
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddedvpp.dataplane import (
    Dataplane,
    Feature,
    Path,
    PortType,
    VxlanTunnel,
    add_memory_interface,
    format_ip4,
    ip4,
)
from embeddedvpp.dataplane.forwarding import checksum, ip4_packet
from embeddedvpp.dataplane.l2_fib import L2FibEntry
from embeddedvpp.dataplane.vxlan import encapsulate, inner_hash

VNI = 10
DOMAIN = 1


def bvi_mac(node):
    return b"\x12\x2b" + node.to_bytes(4, "big")


def pod_mac(node):
    return bytes((2, 0, 0, 0, 9, node))


def nic_mac(node):
    return bytes((2, 0, 0, 0, 0, node))


class Node:
    """A node: NIC 192.168.16.N, one pod 10.1.N.2 behind host-pod, vxlanBVI 192.168.30.N in a bridge domain."""

    def __init__(self, number, *, features=Feature.FWD):
        self.number, self.now = number, 0.0
        self.plane = plane = Dataplane(time=lambda: self.now)
        self.drops = []
        plane.graph.tracer = lambda node, rx, reason, data: self.drops.append((node, reason.name))
        self.nic = add_memory_interface(plane, "host-nic", mac=nic_mac(number))
        self.pod = add_memory_interface(plane, "host-pod", mac=bytes((2, 0, 0, 0, 8, number)))
        self.bvi = plane.create_loopback(mac=bvi_mac(number))
        pool = ((self.nic.interface, "192.168.16", 24), (self.bvi, "192.168.30", 24))
        for interface, subnet, length in pool:
            plane.set_admin_state(interface.sw_if_index, up=True)
            plane.add_address(interface.sw_if_index, ip4(f"{subnet}.{number}"), length)
        index = self.pod.interface.sw_if_index
        plane.set_admin_state(index, up=True)
        plane.set_unnumbered(index, self.bvi.sw_if_index)
        plane.add_neighbor(index, ip4(f"10.1.{number}.2"), pod_mac(number))
        plane.route_update(ip4(f"10.1.{number}.2"), 32, [Path(next_hop=ip4(f"10.1.{number}.2"), sw_if_index=index)])
        plane.bridges.add(DOMAIN, features=features)
        plane.bridges.join(self.bvi, DOMAIN, PortType.BVI)
        self.tunnels = {}

    def know(self, peer, *, neighbor=True):
        """A tunnel to a peer, and everything that leads into it."""
        plane = self.plane
        tunnel = VxlanTunnel(
            ip4(f"192.168.16.{self.number}"), ip4(f"192.168.16.{peer}"), VNI, plane.fibs.get(0)
        )
        interface = plane.graph.vxlan.add(tunnel)
        self.tunnels[peer] = tunnel
        plane.bridges.join(interface, DOMAIN, shg=1)
        domain = plane.bridges.get(DOMAIN).index
        plane.bridges.add_entry(L2FibEntry(domain, bvi_mac(peer), interface.sw_if_index, static=True))
        if neighbor:
            plane.add_neighbor(self.bvi.sw_if_index, ip4(f"192.168.30.{peer}"), bvi_mac(peer))
        path = Path(next_hop=ip4(f"192.168.30.{peer}"), sw_if_index=self.bvi.sw_if_index)
        plane.route_update(ip4(f"10.1.{peer}.0"), 24, [path])

    def send(self, target, *, ttl=64, payload=b"\0" * 26, protocol=17):
        packet = ip4_packet(ip4(f"10.1.{self.number}.2"), ip4(target), protocol, payload, ttl=ttl)
        self.pod.inject(self.pod.interface.mac + pod_mac(self.number) + b"\x08\0" + bytes(packet))

    def errors(self):
        return {(found.node, found.reason.name): found.count for found in self.plane.graph.error_counts()}


def cluster(count, **options):
    """Nodes on one switch that floods everything; returns them with what was on the wire."""
    nodes = [Node(number, **options) for number in range(1, count + 1)]
    wire = []

    def attach(node):
        def transmit(frame):
            wire.append(frame)
            for other in nodes:
                if other is not node:
                    other.nic.inject(frame)

        node.nic.on_transmit = transmit

    for node in nodes:
        attach(node)
        for peer in nodes:
            if peer is not node:
                node.know(peer.number)
    return nodes, wire


def vxlan_frames(wire):
    return [frame for frame in wire if frame[12:14] == b"\x08\0" and frame[23] == 17 and frame[36:38] == b"\x12\xb5"]


def test_a_pod_reaches_a_pod_of_another_node_through_the_overlay():
    (one, two, three), _wire = cluster(3)
    one.send("10.1.2.2")  # glean: the NIC asks for its peer
    one.send("10.1.2.2")
    (frame,) = two.pod.sent
    assert frame[:14] == pod_mac(2) + two.pod.interface.mac + b"\x08\0"
    assert (frame[22], format_ip4(int.from_bytes(frame[26:30], "big"))) == (62, "10.1.1.2")
    assert three.pod.sent == []
    tunnel = one.tunnels[2].interface.counters
    other = two.tunnels[1].interface.counters
    assert (tunnel.tx_packets, tunnel.tx_bytes) == (2, 2 * (60 + 36))
    assert (other.rx_packets, other.rx_bytes) == (1, 60)
    assert (two.bvi.counters.rx_packets, two.bvi.counters.rx_bytes) == (1, 46)
    assert one.errors()[("vxlan4-encap", "good packets encapsulated")] == 2
    assert two.errors()[("vxlan4-input", "good packets decapsulated")] == 1


def test_the_outer_headers_are_those_of_vxlan():
    (one, _two), wire = cluster(2)
    one.send("10.1.2.2")
    one.send("10.1.2.2")
    (frame,) = vxlan_frames(wire)
    ip, udp, vxlan, inner = frame[14:34], frame[34:42], frame[42:50], frame[50:]
    fields = struct.unpack("!BBHHHBBHII", ip)
    assert fields[:4] == (0x45, 0, len(frame) - 14, 0)
    assert fields[4:7] == (0, 253, 17)  # no DF; ip4-rewrite has taken one off the 254
    assert fields[8:] == (ip4("192.168.16.1"), ip4("192.168.16.2"))
    assert checksum(ip[:10] + b"\0\0" + ip[12:]) == fields[7]
    assert struct.unpack("!HHHH", udp) == (inner_hash(inner), 4789, len(frame) - 34, 0)
    assert vxlan == bytes((8, 0, 0, 0)) + VNI.to_bytes(3, "big") + b"\0"
    assert inner[:14] == bvi_mac(2) + bvi_mac(1) + b"\x08\0"


def test_two_nodes_ping_through_their_overlay():
    (one, two), _ = cluster(2)

    async def ping():
        await one.plane.graph.icmp.ping(ip4("192.168.30.2"), timeout=0.01)
        return await one.plane.graph.icmp.ping(ip4("192.168.30.2"), timeout=0.01)

    reply = asyncio.run(ping())
    assert reply is not None
    assert reply.ttl == 64
    assert two.bvi.counters.rx_packets == 1


def test_an_unknown_mac_is_dropped_and_never_flooded():
    (one, two), wire = cluster(2)
    one.plane.bridges.delete_entry(1, bvi_mac(2))
    one.send("10.1.2.2")
    one.send("10.1.2.2")
    assert vxlan_frames(wire) == []
    assert one.drops == [("l2-fwd", "L2 forward misses")] * 2
    assert two.pod.sent == []


def test_broadcasts_do_not_enter_an_overlay_that_does_not_flood():
    (one, _two), wire = cluster(2)
    one.plane.del_neighbor(one.bvi.sw_if_index, ip4("192.168.30.2"))
    one.send("10.1.2.2")  # the BVI asks for its peer
    assert wire == []
    assert ("feature-bitmap-drop", "L2 feature forwarding disabled") in one.drops


def test_with_flooding_the_bvi_finds_its_peer_by_arp():
    (one, two), _wire = cluster(2, features=Feature.FWD | Feature.FLOOD | Feature.LEARN)
    for node, peer in ((one, 2), (two, 1)):
        node.plane.del_neighbor(node.bvi.sw_if_index, ip4(f"192.168.30.{peer}"))
        node.plane.add_neighbor(node.nic.interface.sw_if_index, ip4(f"192.168.16.{peer}"), nic_mac(peer))
    one.send("10.1.2.2")
    one.send("10.1.2.2")
    assert len(two.pod.sent) == 1
    assert one.plane.neighbors.get(one.bvi.sw_if_index, ip4("192.168.30.2")).mac == bvi_mac(2)


def flooded_from(node, peer, mac):
    """What a broadcast from a peer's tunnel does at a node."""
    frame = b"\xff" * 6 + mac + b"\x08\x06" + bytes(46)
    outer = encapsulate(
        VxlanTunnel(ip4(f"192.168.16.{peer}"), ip4(f"192.168.16.{node.number}"), VNI, None), frame
    )
    node.nic.inject(nic_mac(node.number) + nic_mac(peer) + b"\x08\0" + bytes(outer))


@pytest.mark.parametrize(("shg", "sent"), [(1, 0), (0, 1)], ids=["same group", "no group"])
def test_frames_never_go_from_tunnel_to_tunnel_of_the_same_group(shg, sent):
    (one, _two, three), wire = cluster(3, features=Feature.FWD | Feature.FLOOD | Feature.UU_FLOOD)
    for peer in (2, 3):
        one.plane.add_neighbor(one.nic.interface.sw_if_index, ip4(f"192.168.16.{peer}"), nic_mac(peer))
        one.plane.bridges.join(one.tunnels[peer].interface, DOMAIN, shg=shg)
    flooded_from(one, 2, bvi_mac(2))
    assert len(vxlan_frames(wire)) == sent
    unicast = bvi_mac(3) + bvi_mac(2) + b"\x08\0" + bytes(ip4_packet(1, 2, 17, b"", ttl=9))
    outer = encapsulate(one.tunnels[2], unicast)
    outer[12:20] = outer[16:20] + outer[12:16]
    one.nic.inject(nic_mac(1) + nic_mac(2) + b"\x08\0" + bytes(outer))
    assert len(vxlan_frames(wire)) == 2 * sent
    assert (("l2-output", "L2 split horizon drops") in one.drops) == (not sent)
    assert three.pod.sent == []


def test_a_tunnel_that_moves_to_a_new_address_of_its_peer_loses_no_packet():
    (one, two), _ = cluster(2)
    one.send("10.1.2.2")
    one.send("10.1.2.2")
    two.plane.add_address(two.nic.interface.sw_if_index, ip4("192.168.16.22"), 24)
    new = VxlanTunnel(ip4("192.168.16.22"), ip4("192.168.16.1"), VNI, two.plane.fibs.get(0))
    two.plane.bridges.join(two.plane.graph.vxlan.add(new), DOMAIN, shg=1)
    moved = VxlanTunnel(ip4("192.168.16.1"), ip4("192.168.16.22"), VNI, one.plane.fibs.get(0))
    interface = one.plane.graph.vxlan.add(moved)
    one.plane.add_neighbor(one.nic.interface.sw_if_index, ip4("192.168.16.22"), nic_mac(2))
    one.plane.bridges.join(interface, DOMAIN, shg=1)
    one.send("10.1.2.2")
    one.plane.bridges.add_entry(L2FibEntry(1, bvi_mac(2), interface.sw_if_index, static=True))
    one.send("10.1.2.2")
    one.plane.graph.vxlan.delete(one.tunnels[2])
    one.send("10.1.2.2")
    assert len(two.pod.sent) == 4
    assert new.interface.counters.rx_packets == 2


def test_an_entry_of_a_dead_tunnel_drops_until_the_index_is_used_again():
    (one, _two), wire = cluster(2)
    one.plane.graph.vxlan.delete(one.tunnels[2])
    one.send("10.1.2.2")
    assert one.drops[-1] == ("l2-output-bad-intf", "L2 output to interface not in L2 mode or deleted")
    one.plane.graph.vxlan.add(one.tunnels[2])
    one.send("10.1.2.2")
    assert one.drops[-1] == ("l2-output-bad-intf", "L2 output to interface not in L2 mode or deleted")
    one.plane.bridges.join(one.tunnels[2].interface, DOMAIN, shg=1)
    one.send("10.1.2.2")
    one.send("10.1.2.2")
    assert len(vxlan_frames(wire)) == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ({42: 0}, "packets with bad flags field in vxlan header"),
        ({42: 0x0C}, "packets with bad flags field in vxlan header"),
        ({48: 11}, "no such tunnel packets"),
        ({49: 1}, "no such tunnel packets"),  # VPP compares the reserved byte, too
        ({29: 77}, "no such tunnel packets"),
    ],
)
def test_what_is_for_no_tunnel_is_dropped_for_its_reason(damage, reason):
    (one, two), wire = cluster(2)
    one.send("10.1.2.2")
    one.send("10.1.2.2")
    frame = bytearray(vxlan_frames(wire)[0])
    two.pod.sent.clear()
    for at, value in damage.items():
        frame[at] = value
    frame[24:26] = b"\0\0"
    frame[24:26] = checksum(frame[14:34]).to_bytes(2, "big")
    two.nic.inject(bytes(frame))
    assert two.pod.sent == []
    assert two.drops[-1] == ("vxlan4-input", reason)
    assert two.errors()[("vxlan4-input", reason)] == 1


def test_the_port_answers_for_as_long_as_vpp_keeps_it():
    node = Node(1)
    node.plane.add_neighbor(node.nic.interface.sw_if_index, ip4("192.168.16.2"), nic_mac(2))
    flooded_from(node, 2, bvi_mac(2))
    assert node.drops == [("ip4-udp-lookup", "no_listener")]
    node.know(2)
    node.plane.graph.vxlan.delete(node.tunnels[2])
    flooded_from(node, 2, bvi_mac(2))
    assert node.drops[-1] == ("vxlan4-input", "no such tunnel packets")


def test_a_far_end_that_is_routed_into_its_own_tunnel_does_not_go_round():
    node = Node(1)
    node.know(2)
    path = Path(next_hop=ip4("192.168.30.2"), sw_if_index=node.bvi.sw_if_index)
    node.plane.route_update(ip4("192.168.16.2"), 32, [path])
    node.send("10.1.2.2")
    assert node.drops == [("vxlan4-encap", "loop")]


def test_a_tunnel_without_route_or_to_ourselves_drops():
    node = Node(1)
    node.know(2)
    node.plane.del_address(node.nic.interface.sw_if_index, ip4("192.168.16.1"), 24)
    node.send("10.1.2.2")
    assert node.drops == [("ip4-drop", "drop_route")]
    node.plane.add_address(node.nic.interface.sw_if_index, ip4("192.168.16.2"), 24)
    node.send("10.1.2.2")
    assert node.drops[-1] == ("vxlan4-encap", "loop")


def test_too_long_for_the_bvi_is_said_to_the_sender():
    (one, _two), wire = cluster(2)
    one.plane.set_mtu(one.bvi.sw_if_index, [1450, 0, 0, 0])
    packet = ip4_packet(ip4("10.1.1.2"), ip4("10.1.2.2"), 17, bytes(1431), ttl=64)
    packet[6] = 0x40
    packet[10:12] = b"\0\0"
    packet[10:12] = checksum(packet[:20]).to_bytes(2, "big")
    one.pod.inject(one.pod.interface.mac + pod_mac(1) + b"\x08\0" + bytes(packet))
    (frame,) = one.pod.sent
    assert (frame[34:36], frame[40:42]) == (bytes((3, 4)), (1450).to_bytes(2, "big"))
    assert wire == []


def test_no_interface_that_is_in_a_bridge_domain_takes_packets_in_layer_3():
    node = Node(1)
    node.plane.bridges.join(node.pod.interface, DOMAIN)
    node.send("192.168.16.1")
    assert node.drops == [("l2-fwd", "L2 forward misses")]  # its MAC address is not the BVI's
    node.plane.bridges.leave(node.pod.interface)
    node.send("192.168.16.1")
    assert node.drops[-1][0] == "ip4-udp-lookup"


FRAMES = st.binary(min_size=14, max_size=200)
ADDRESSES = st.integers(0, 0xFFFFFFFF)
PORTS = st.integers(1, 0xFFFF)


@given(FRAMES, ADDRESSES, ADDRESSES, st.integers(0, 0xFFFFFF), PORTS)
def test_what_is_encapsulated_is_a_valid_packet_with_the_frame_in_it(
    frame, source, destination, vni, port
):
    tunnel = VxlanTunnel(source, destination, vni, None, destination_port=port)
    packet = encapsulate(tunnel, frame)
    assert int.from_bytes(packet[:20], "big") % 0xFFFF == 0
    assert int.from_bytes(packet[2:4], "big") == len(packet) == len(frame) + 36
    assert int.from_bytes(packet[24:26], "big") == len(frame) + 16
    assert int.from_bytes(packet[22:24], "big") == port
    assert packet[36:] == frame


@given(st.lists(st.binary(min_size=0, max_size=120), min_size=1, max_size=5), st.integers(0, 0xFFFFFF))
def test_frames_go_in_at_one_end_and_come_out_at_the_other(bodies, vni):
    planes, ports, inside = [], [], []
    for number in (1, 2):
        plane = Dataplane(time=lambda: 0.0)
        port = add_memory_interface(plane, "host-nic", mac=nic_mac(number))
        plane.set_admin_state(port.interface.sw_if_index, up=True)
        plane.add_address(port.interface.sw_if_index, ip4(f"192.168.16.{number}"), 24)
        plane.add_neighbor(port.interface.sw_if_index, ip4(f"192.168.16.{3 - number}"), nic_mac(3 - number))
        guest = add_memory_interface(plane, "host-guest")
        plane.set_admin_state(guest.interface.sw_if_index, up=True)
        tunnel = VxlanTunnel(
            ip4(f"192.168.16.{number}"), ip4(f"192.168.16.{3 - number}"), vni, plane.fibs.get(0)
        )
        plane.bridges.add(7, features=Feature.FWD | Feature.FLOOD | Feature.UU_FLOOD | Feature.LEARN)
        plane.bridges.join(guest.interface, 7)
        plane.bridges.join(plane.graph.vxlan.add(tunnel), 7, shg=1)
        planes.append(plane)
        ports.append(port)
        inside.append(guest)
    ports[0].peer, ports[1].peer = ports[1], ports[0]
    frames = [b"\x02\0\0\0\0\x07\x02\0\0\0\0\x08\x88\xb5" + body for body in bodies]
    inside[0].inject(frames)
    assert inside[1].sent == frames
    back = [frame[6:12] + frame[:6] + frame[12:] for frame in frames]
    inside[1].inject(back)
    assert inside[0].sent == back
    assert planes[0].bridges.fib.learnt(1) == 2  # one on each side


def frames_with(kinds):
    macs = st.sampled_from([bvi_mac(1), bvi_mac(2), b"\xff" * 6, b"\x01\0\x5e\0\0\1", bytes(6), pod_mac(1)])
    return st.tuples(macs, macs, kinds, st.binary(max_size=60)).map(b"".join)


KINDS = st.sampled_from([b"\x08\0", b"\x08\x06", b"\x86\xdd", b"\x81\0", b"\0\x10"])
BITS = st.sets(st.sampled_from([Feature.FWD, Feature.FLOOD, Feature.UU_FLOOD, Feature.LEARN])).map(sum)


@given(st.lists(frames_with(KINDS), max_size=6), BITS)
def test_no_frame_raises_or_leaves_by_the_port_it_came_from(frames, features):
    (one, two), _ = cluster(2, features=features)
    one.plane.bridges.join(one.pod.interface, DOMAIN)
    for frame in frames:
        outer = encapsulate(two.tunnels[1], frame)
        one.nic.inject(nic_mac(1) + nic_mac(2) + b"\x08\0" + bytes(outer))
    before = len(one.pod.sent)
    one.pod.inject(frames)
    assert len(one.pod.sent) == before


def test_flooding_reaches_each_member_once_and_the_bvi():
    node = Node(1, features=Feature.FWD | Feature.FLOOD)
    others = [add_memory_interface(node.plane, f"host-x{number}") for number in range(3)]
    for port in (node.pod, *others):
        node.plane.set_admin_state(port.interface.sw_if_index, up=True)
        node.plane.bridges.join(port.interface, DOMAIN)
    node.plane.set_admin_state(others[2].interface.sw_if_index, up=False)
    asker, asked = ip4("192.168.30.9"), ip4("192.168.30.1")
    who = struct.pack("!HHBBH6sI6sI", 1, 0x0800, 6, 4, 1, pod_mac(1), asker, bytes(6), asked)
    node.pod.inject(b"\xff" * 6 + pod_mac(1) + b"\x08\x06" + who)
    assert [len(port.sent) for port in others] == [1, 1, 0]
    assert ("host-x2-output", "interface is down") in node.drops
    assert node.drops.count(("l2-fwd", "L2 forward misses")) == 1  # the BVI's answer goes to nobody who is known
    node.plane.bridges.set_features(DOMAIN, Feature.LEARN, on=True)
    node.pod.inject(b"\xff" * 6 + pod_mac(1) + b"\x08\x06" + who)
    (reply,) = node.pod.sent
    assert reply[:12] == pod_mac(1) + bvi_mac(1)


def test_learning_follows_a_mac_address_that_moves_but_not_a_static_one():
    node = Node(1, features=Feature.FWD | Feature.LEARN | Feature.FLOOD | Feature.UU_FLOOD)
    ports = [add_memory_interface(node.plane, f"host-x{number}") for number in range(2)]
    for port in ports:
        node.plane.set_admin_state(port.interface.sw_if_index, up=True)
        node.plane.bridges.join(port.interface, DOMAIN)
    mac = bytes((2, 0, 0, 0, 7, 7))
    for port in itertools.chain(ports, ports[:1]):
        port.inject(bvi_mac(9) + mac + b"\x88\xb5" + bytes(46))
        entry = node.plane.bridges.fib.entries[(1, mac)]
        assert (entry.sw_if_index, entry.learnt) == (port.interface.sw_if_index, True)
    node.plane.bridges.fib.flush(sw_if_index=ports[0].interface.sw_if_index)
    assert (1, mac) not in node.plane.bridges.fib.entries
    node.plane.bridges.add_entry(L2FibEntry(1, mac, ports[1].interface.sw_if_index, static=True))
    ports[0].inject(bvi_mac(9) + mac + b"\x88\xb5" + bytes(46))
    assert node.drops[-1] == ("l2-learn", "L2 mac move violations")
    node.plane.bridges.fib.add_filter(1, mac)
    ports[0].inject(bvi_mac(9) + mac + b"\x88\xb5" + bytes(46))
    assert node.drops[-1] == ("l2-learn", "L2 filter mac drops")
    ports[0].inject(mac + bvi_mac(8) + b"\x88\xb5" + bytes(46))
    assert node.drops[-1] == ("l2-fwd", "Filter Mac Drop")
