# SPDX-License-Identifier: Apache-2.0
"""Traces as ``show trace`` has them. What real VPP shows of the same packets is in ``test_packets_of_real_vpp``."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddedvpp.api import Vpp
from embeddedvpp.cli import Failure, execute
from embeddedvpp.dataplane import Path, PathType, add_memory_interface, ip4, link
from embeddedvpp.dataplane.reasons import DROP_ROUTE
from embeddedvpp.dataplane.trace_text import arp_text, frame_text, ip4_text

from .test_fragments import echo, fragments, with_header
from .test_overlay import Node, pod_mac
from .test_packets import Rig, arp, host_mac, own_mac, packet


def cli(rig, line):
    plane = getattr(rig, "dataplane", None) or rig.plane
    return execute(Vpp(plane, time=lambda: 0.0), line)


def nodes(rig):
    """The nodes of each traced packet."""
    text = cli(rig, "show trace max 1000")
    return [re.findall(r"^\d\d:\d\d:\d\d:\d{6}: (.*)$", part, re.M) for part in text.split("\nPacket ")[1:]]


def test_a_forwarded_packet_has_vpps_text():
    rig = Rig()
    cli(rig, "trace add af-packet-input 1")
    rig.now = 3723.5
    rig.send(packet())
    assert cli(rig, "show trace") == (
        "------------------- Start of thread 0 vpp_main -------------------\n"
        "Packet 1\n"
        "\n"
        "01:02:03:500000: af-packet-input\n"
        "  af_packet: hw_if_index 1 rx-queue 0 len 60\n"
        "01:02:03:500000: ethernet-input\n"
        "  IP4: 02:00:00:00:01:01 -> 02:00:00:00:00:01\n"
        "01:02:03:500000: ip4-input\n"
        "  UDP: 10.0.1.2 -> 10.0.2.2\n"
        "    tos 0x00, ttl 64, length 46, checksum 0x63bc dscp CS0 ecn NON_ECN\n"
        "    fragment id 0x0000\n"
        "  UDP: 0 -> 0\n"
        "    length 0, checksum 0x0000\n"
        "01:02:03:500000: ip4-lookup\n"
        "  fib 0 dpo-idx 2 flow hash: 0x00000000\n"
        "  UDP: 10.0.1.2 -> 10.0.2.2\n"
        "    tos 0x00, ttl 64, length 46, checksum 0x63bc dscp CS0 ecn NON_ECN\n"
        "    fragment id 0x0000\n"
        "  UDP: 0 -> 0\n"
        "    length 0, checksum 0x0000\n"
        "01:02:03:500000: ip4-rewrite\n"
        "  tx_sw_if_index 2 dpo-idx 2 : ipv4 via 10.0.2.2 host-p2: mtu:9000 next:2 flags:[]"
        " 0200000001020200000000020800 flow hash: 0x00000000\n"
        "  00000000: 0200000001020200000000020800" + "4500002e000000003f1164bc0a0001020a00\n"
        "  00000020: 02020000000000000000000000000000000000000000000000000000\n"
        "01:02:03:500000: host-p2-output\n"
        "  host-p2 flags 0x00000000\n"
        "  IP4: 02:00:00:00:00:02 -> 02:00:00:00:01:02\n"
        "  UDP: 10.0.1.2 -> 10.0.2.2\n"
        "    tos 0x00, ttl 63, length 46, checksum 0x64bc dscp CS0 ecn NON_ECN\n"
        "    fragment id 0x0000\n"
        "  UDP: 0 -> 0\n"
        "    length 0, checksum 0x0000\n"
        "01:02:03:500000: host-p2-tx\n"
        "  af_packet: hw_if_index 2 tx-queue 0 len 60\n"
        "    IP4: 02:00:00:00:00:02 -> 02:00:00:00:01:02\n"
        "    UDP: 10.0.1.2 -> 10.0.2.2\n"
        "      tos 0x00, ttl 63, length 46, checksum 0x64bc dscp CS0 ecn NON_ECN\n"
        "      fragment id 0x0000\n"
        "    UDP: 0 -> 0\n"
        "      length 0, checksum 0x0000\n"
        "\n"
        "\n"
    )


def test_only_as_many_packets_as_asked_for_are_traced_and_then_no_more():
    rig = Rig()
    assert rig.dataplane.graph.trace is None
    cli(rig, "trace add af-packet-input 2")
    cli(rig, "trace add af-packet-input 1")
    for _ in range(5):
        rig.send(packet())
    assert len(nodes(rig)) == 3
    assert rig.dataplane.graph.trace is None
    assert len(rig.out(1)) == 5
    cli(rig, "trace add af-packet-input 9")
    cli(rig, "trace add af-packet-input 0")
    rig.send(packet())
    assert len(nodes(rig)) == 3
    cli(rig, "trace add af-packet-input 5")
    cli(rig, "clear trace")
    rig.send(packet())
    assert "No packets in trace buffer" in cli(rig, "show trace")


def test_only_the_node_that_was_asked_for_starts_traces():
    rig = Rig()
    cli(rig, "trace add virtio-input 5")
    rig.send(packet())
    assert nodes(rig) == []


def test_show_trace_shows_fifty_packets_unless_told_otherwise():
    rig = Rig()
    cli(rig, "trace add af-packet-input 60")
    for _ in range(60):
        rig.send(packet())
    assert cli(rig, "show trace").endswith("Limiting display to 50 packets. To display more specify max.\n")
    assert len(nodes(rig)) == 60


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        ("trace add ip4-input 3", "node 'ip4-input' doesn't support per-node tracing. "
         "There may be another way to initiate trace on this node."),
        ("trace add nonsense 3", "expected NODE COUNT, got `nonsense 3'"),
        ("trace add af-packet-input", "expected NODE COUNT, got `af-packet-input'"),
        ("trace add", "expected NODE COUNT, got `'"),
        ("show trace max x", "expected 'max COUNT', got `max x'"),
    ],
)  # fmt: skip
def test_what_vpp_refuses_is_refused_in_its_words(line, answer):
    found = cli(Rig(), line)
    assert isinstance(found, Failure)
    assert found == f"{' '.join(line.split()[:2])}: {answer}\n"


def test_fragments_are_in_the_trace_of_their_packet():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    cli(rig, "trace add af-packet-input 1")
    rig.send(packet(payload=bytes(200)))
    assert nodes(rig) == [
        ["af-packet-input", "ethernet-input", "ip4-input", "ip4-lookup", "ip4-rewrite", "ip4-frag", "ip4-rewrite",
         "host-p2-output", "host-p2-tx"]
    ]  # fmt: skip
    text = cli(rig, "show trace")
    assert "mtu: 100 pkt-size: 220 fragments: 3 next: 0" in text
    assert text.count("host-p2 flags") == 3


def test_a_drop_says_which_node_counted_what_and_what_is_known():
    rig = Rig()
    cli(rig, "trace add af-packet-input 9")
    rig.send(packet(destination="10.0.1.1", protocol=99))
    rig.send(packet(destination="8.8.8.8"))
    rig.ports[0].inject(own_mac(9) + bytes(8))
    text = cli(rig, "show trace")
    assert "error-punt\n  rx:host-p1\n" in text
    assert "punt\n  ip4-local: unknown ip protocol\n" in text
    assert f"drop\n  ethernet-input: no error ({DROP_ROUTE.description})\n" in text
    assert nodes(rig)[2] == ["af-packet-input", "ethernet-input", "error-drop", "drop"]


def test_errors_and_answers_are_in_the_trace_of_what_they_answer():
    rig = Rig()
    rig.dataplane.route_update(ip4("30.0.0.0"), 8, [Path(type=PathType.ICMP_UNREACH)])
    cli(rig, "trace add af-packet-input 9")
    rig.send(packet(destination="30.0.0.1"))
    rig.ports[0].inject(arp(1, host_mac(1), "10.0.1.2", "10.0.1.1"))
    error, answer = nodes(rig)
    assert [node for node in error if node in ("ip4-null", "ip4-icmp-error", "host-p1-tx")] == [
        "ip4-null", "ip4-icmp-error", "host-p1-tx"
    ]  # fmt: skip
    assert answer == ["af-packet-input", "ethernet-input", "arp-input", "arp-reply", "host-p1-output", "host-p1-tx"]
    assert "ip4-null action:send-unreachable" in cli(rig, "show trace")


def test_a_packet_put_together_goes_on_in_the_trace_of_its_first_fragment():
    rig = Rig()
    cli(rig, "trace add af-packet-input 2")
    for piece in reversed(fragments(echo(100), 100, 1)):
        rig.send(piece)
    last, first = nodes(rig)
    assert last[-1] == "ip4-local-full-reassembly"
    assert first[-3:] == ["ip4-rewrite", "host-p1-output", "host-p1-tx"]


def test_a_frame_that_a_loopback_sends_to_itself_keeps_its_trace():
    rig = Rig()
    loop = rig.dataplane.create_loopback()
    rig.dataplane.set_admin_state(loop.sw_if_index, up=True)
    rig.dataplane.add_address(loop.sw_if_index, ip4("10.3.0.1"), 24)
    rig.dataplane.add_neighbor(loop.sw_if_index, ip4("10.3.0.9"), loop.mac)
    cli(rig, "trace add af-packet-input 1")
    rig.send(packet(destination="10.3.0.9", ttl=3))
    (found,) = nodes(rig)
    assert found.count("loop0-tx") == 2
    assert found[-1] == "host-p1-tx"


def test_a_node_of_others_is_in_the_trace_with_the_text_that_it_gives(monkeypatch):
    rig = Rig()
    graph = rig.dataplane.graph
    order = __import__("embeddedvpp.dataplane.graph", fromlist=["x"]).ARC_ORDER
    monkeypatch.setitem(order, "ip4-output", ["mine"])
    graph.add_node(
        "mine", lambda vector: [graph.next_feature(each) for each in vector], trace=lambda each: f"ttl {each.data[8]}"
    )
    graph.enable_feature("ip4-output", "mine", rig.ports[1].interface)
    cli(rig, "trace add af-packet-input 1")
    rig.send(packet())
    assert ": mine\n  ttl 63\n" in cli(rig, "show trace")


def test_through_an_overlay():
    one, two = Node(1), Node(2)
    for node, peer in ((one, 2), (two, 1)):
        node.know(peer)
        node.plane.add_neighbor(node.nic.interface.sw_if_index, ip4(f"192.168.16.{peer}"), bytes((2, 0, 0, 0, 0, peer)))
    link(one.nic, two.nic)
    for node in (one, two):
        cli(node, "trace add af-packet-input 1")
    data = packet("10.1.1.2", "10.1.2.2")
    one.pod.inject(one.pod.interface.mac + pod_mac(1) + b"\x08\0" + bytes(data))
    assert nodes(one) == [
        ["af-packet-input", "ethernet-input", "ip4-input", "ip4-lookup", "ip4-rewrite", "loop0-output", "l2-input",
         "l2-fwd", "l2-output", "vxlan4-encap", "ip4-rewrite", "host-nic-output", "host-nic-tx"]
    ]  # fmt: skip
    assert nodes(two) == [
        ["af-packet-input", "ethernet-input", "ip4-input", "ip4-lookup", "ip4-receive", "ip4-udp-lookup",
         "vxlan4-input", "l2-input", "l2-fwd", "ip4-input", "ip4-lookup", "ip4-rewrite", "host-pod-output",
         "host-pod-tx"]
    ]  # fmt: skip
    assert "VXLAN encap to vxlan_tunnel0 vni 10" in cli(one, "show trace")
    assert "VXLAN decap from vxlan_tunnel0 vni 10 next 1 error 0" in cli(two, "show trace")


@settings(max_examples=300)
@given(st.binary(max_size=100))
def test_every_frame_has_a_text(data):
    for text in (frame_text(data), ip4_text(data), arp_text(data)):
        assert text


@settings(max_examples=100)
@given(st.lists(st.binary(max_size=80), max_size=6), st.integers(0, 3))
def test_tracing_changes_nothing(payloads, number):
    plain, traced = Rig(), Rig()
    cli(traced, f"trace add af-packet-input {number}")
    other = add_memory_interface(traced.dataplane, "host-p9")
    assert other.interface.sw_if_index == 3
    for rig in (plain, traced):
        rig.dataplane.set_mtu(2, [68, 0, 0, 0])
        kinds = ("10.0.2.2", "10.0.1.1", "8.8.8.8", "10.0.2.9")
        frames = [
            own_mac(1) + host_mac(1) + b"\x08\0" + bytes(with_header(packet(destination=kinds[at % 4], payload=data)))
            for at, data in enumerate(payloads)
        ]
        rig.ports[0].inject(frames + payloads)
    assert plain.out(0) == traced.out(0)
    assert plain.out(1) == traced.out(1)
    assert plain.errors() == traced.errors()
    assert plain.drops == traced.drops


def test_show_node_counters_is_show_errors():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    rig.send(packet(payload=bytes(200)))
    assert cli(rig, "show node counters") == cli(rig, "show errors")
    assert re.search(r"\b3 +ip4-frag +number of sent fragments +info", cli(rig, "show errors"))
