# SPDX-License-Identifier: Apache-2.0
"""Packets injected into memory ports, and what comes out, is counted and is traced."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddedvpp.dataplane import Dataplane, Path, PathType, add_memory_interface, ip4, link
from embeddedvpp.dataplane.forwarding import checksum, ip4_packet


class Rig:
    """Two interfaces host-p1 (10.0.1.1/24) and host-p2 (10.0.2.1/24) with a known host .2 on each."""

    def __init__(self, *, neighbors=True):
        self.now = 0.0
        self.dataplane = Dataplane(time=lambda: self.now)
        self.drops = []
        self.dataplane.graph.tracer = lambda node, rx, reason, data: self.drops.append((node, reason.name))
        self.ports = []
        for number in (1, 2):
            port = add_memory_interface(self.dataplane, f"host-p{number}", mac=own_mac(number))
            index = port.interface.sw_if_index
            self.dataplane.set_admin_state(index, up=True)
            self.dataplane.add_address(index, ip4(f"10.0.{number}.1"), 24)
            if neighbors:
                self.dataplane.add_neighbor(index, ip4(f"10.0.{number}.2"), host_mac(number))
            self.ports.append(port)

    def send(self, packet, port=0, destination=None):
        self.ports[port].inject(
            (destination or own_mac(port + 1)) + host_mac(port + 1) + b"\x08\0" + bytes(packet)
        )

    def out(self, port):
        sent, self.ports[port].sent = self.ports[port].sent, []
        return sent

    def errors(self):
        return {(found.node, found.reason.name): found.count for found in self.dataplane.graph.error_counts()}


def own_mac(number):
    return bytes((2, 0, 0, 0, 0, number))


def host_mac(number):
    return bytes((2, 0, 0, 0, 1, number))


def packet(source="10.0.1.2", destination="10.0.2.2", ttl=64, payload=b"\0" * 26, protocol=17):
    return ip4_packet(ip4(source), ip4(destination), protocol, payload, ttl=ttl)


def arp(operation, mac, source, target, *, frame_mac=None, target_mac=bytes(6), to=b"\xff" * 6):
    body = struct.pack("!HHBBH6sI6sI", 1, 0x0800, 6, 4, operation, mac, ip4(source), target_mac, ip4(target))
    return to + (frame_mac or mac) + b"\x08\x06" + body


def icmp_of(frame):
    return frame[34], frame[35], frame[26:30], frame[30:34]


def test_a_packet_is_forwarded_with_new_macs_ttl_and_checksum():
    rig = Rig()
    rig.send(packet())
    (frame,) = rig.out(1)
    assert frame[:14] == host_mac(2) + own_mac(2) + b"\x08\0"
    assert frame[22] == 63
    assert frame[14:34] == packet(ttl=63)[:20]
    one, two = (port.interface.counters for port in rig.ports)
    assert (one.rx_packets, one.ip4, two.tx_packets, two.tx_bytes) == (1, 1, 1, 60)
    entry = rig.dataplane.fibs.get(0).lookup(ip4("10.0.2.2"))
    assert (entry.packets, entry.bytes) == (1, 46)


@given(st.binary(min_size=20, max_size=20).map(lambda data: b"\x45" + data[1:10] + b"\0\0" + data[12:]))
def test_checksums_are_those_of_rfc_1071(header):
    total = sum(struct.unpack("!10H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    assert checksum(header) == ~total & 0xFFFF


def test_ethernet_padding_is_cut_off():
    rig = Rig()
    rig.send(bytes(packet(payload=b"1234")) + bytes(22))
    assert len(rig.out(1)[0]) == 14 + 24


def test_expired_ttl_is_answered_from_the_receiving_interface():
    rig = Rig()
    rig.send(packet(ttl=1))
    (frame,) = rig.out(0)
    assert icmp_of(frame) == (11, 0, bytes((10, 0, 1, 1)), bytes((10, 0, 1, 2)))
    assert frame[42:62] == packet(ttl=0)[:20]
    assert rig.errors()[("ip4-icmp-error", "ttl_expire_sent")] == 1
    assert rig.drops == [("ip4-rewrite", "time_expired")]
    rig.send(packet(ttl=1))
    assert rig.out(0) == []
    assert rig.errors()[("ip4-icmp-error", "drop")] == 1
    rig.now += 0.001
    rig.send(packet(ttl=1))
    assert len(rig.out(0)) == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        pytest.param(lambda data: data[:10], "too_short", id="shorter than a header"),
        pytest.param(lambda data: b"\x65" + data[1:], "version", id="version 6"),
        pytest.param(lambda data: b"\x44" + data[1:], "hdr_too_short", id="header length 16"),
        pytest.param(lambda data: data[:8] + b"\x07" + data[9:], "bad_checksum", id="TTL changed"),
        pytest.param(lambda data: data[:-1], "bad_length", id="truncated"),
    ],
)
def test_malformed_headers_are_dropped_for_their_reason(damage, reason):
    rig = Rig()
    rig.send(damage(bytes(packet())))
    assert rig.drops == [("ip4-input", reason)]
    assert rig.errors() == {("ip4-input", reason): 1}
    assert rig.ports[0].interface.counters.drops == 1


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        pytest.param(b"", "runt", id="empty"),
        pytest.param(bytes(13), "runt", id="runt"),
        pytest.param(own_mac(9) + bytes(6) + b"\x08\0" + bytes(packet()), "l3 mac mismatch", id="other MAC"),
        pytest.param(own_mac(1) + bytes(6) + b"\x81\0\0\1" + bytes(60), "unknown vlan", id="VLAN"),
        pytest.param(own_mac(1) + bytes(6) + b"\x88\xcc" + bytes(60), "unknown ethernet type", id="LLDP"),
    ],
)
def test_frames_that_are_not_for_ip4_are_dropped_at_ethernet_input(frame, reason):
    rig = Rig()
    rig.ports[0].inject(frame)
    assert rig.drops == [("ethernet-input", reason)]


def test_ip6_packets_are_dropped_and_counted():
    rig = Rig()
    rig.ports[0].inject(b"\x33\x33" + bytes(10) + b"\x86\xdd" + bytes(60))
    assert rig.drops == [("ip6-not-enabled", "ip6_not_enabled")]
    assert rig.ports[0].interface.counters.ip6 == 1


def test_an_interface_without_address_or_down_takes_nothing():
    rig = Rig()
    rig.dataplane.del_all_addresses(1)
    rig.send(packet())
    rig.dataplane.set_admin_state(1, up=False)
    rig.send(packet())
    assert rig.drops == [("ip4-not-enabled", "ip4_not_enabled"), ("ethernet-input", "subinterface down")]


def test_without_a_route_the_drop_says_so_and_vpp_counts_a_blackhole():
    rig = Rig()
    rig.send(packet(destination="8.8.8.8"))
    assert rig.drops == [("ip4-drop", "drop_route")]
    assert rig.errors() == {("ethernet-input", "no error"): 1}


@pytest.mark.parametrize(("kind", "code"), [(PathType.ICMP_UNREACH, 1), (PathType.ICMP_PROHIBIT, 10)])
def test_unreachable_routes_answer_the_sender_ten_times_a_second(kind, code):
    rig = Rig()
    rig.dataplane.route_update(ip4("8.8.8.0"), 24, [Path(type=kind)])
    rig.send(packet(destination="8.8.8.8"))
    rig.now += 0.05
    rig.send(packet(destination="8.8.8.8"))
    (frame,) = rig.out(0)
    assert icmp_of(frame)[:2] == (3, code)
    rig.now += 0.06
    rig.send(packet(destination="8.8.8.8"))
    assert len(rig.out(0)) == 1


def test_too_big_with_df_is_answered_with_the_mtu():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    big = packet(payload=bytes(100))
    big[6] |= 0x40
    big[10:12] = b"\0\0"
    big[10:12] = checksum(big[:20]).to_bytes(2, "big")
    rig.send(big)
    (frame,) = rig.out(0)
    assert icmp_of(frame)[:2] == (3, 4)
    assert frame[40:42] == (100).to_bytes(2, "big")
    assert frame[42:62] == big[:20]


def test_no_icmp_error_about_an_icmp_error():
    rig = Rig()
    rig.send(packet(ttl=1, protocol=1, payload=bytes((3, 1)) + bytes(30)))
    assert rig.out(0) == []
    rig.send(packet(ttl=1, protocol=1, payload=bytes((8, 0)) + bytes(30)))
    assert len(rig.out(0)) == 1


def test_echo_requests_to_own_addresses_are_answered():
    rig = Rig()
    message = bytearray(bytes((8, 0, 0, 0, 0, 7, 0, 9)) + b"payload!")
    message[2:4] = checksum(message).to_bytes(2, "big")
    for address in ("10.0.1.1", "10.0.2.1"):
        rig.send(packet(destination=address, protocol=1, payload=bytes(message)))
        (frame,) = rig.out(0)
        assert (
            frame[14:34] == packet(source=address, destination="10.0.1.2", protocol=1, payload=message)[:20]
        )
        assert frame[34] == 0
        assert checksum(frame[34:]) in (0, 0xFFFF)
    assert rig.errors()[("ip4-icmp-input", "echo_replies_sent")] == 2


def test_udp_to_an_own_address_has_no_listener():
    rig = Rig()
    rig.send(packet(destination="10.0.1.1", payload=struct.pack("!HHHH", 5, 9, 8, 0)))
    assert icmp_of(rig.out(0)[0])[:2] == (3, 3)
    rig.send(packet(destination="10.0.1.1", payload=struct.pack("!HHHH", 5, 9, 8, 77)))
    assert rig.drops[-1] == ("ip4-receive", "udp_checksum")


def test_own_addresses_as_source_and_unknown_sources_are_refused():
    rig = Rig()
    rig.send(packet(source="10.0.2.1", destination="10.0.1.1", protocol=1))
    rig.send(packet(source="9.9.9.9", destination="10.0.1.1", protocol=1))
    assert [reason for _, reason in rig.drops] == ["spoofed_local_packets", "src_lookup_miss"]


def test_glean_asks_once_a_millisecond_and_the_answer_opens_the_way():
    rig = Rig(neighbors=False)
    rig.send(packet())
    (request,) = rig.out(1)
    assert request == arp(1, own_mac(2), "10.0.2.1", "10.0.2.2")
    rig.send(packet())
    assert rig.drops == [("ip4-glean", "request_sent"), ("ip4-glean", "throttled")]
    rig.ports[1].inject(arp(2, host_mac(2), "10.0.2.2", "10.0.2.1", target_mac=own_mac(2), to=own_mac(2)))
    assert rig.drops[-1] == ("arp-reply", "l3_src_address_learned")
    rig.send(packet())
    assert rig.out(1)[0][:6] == host_mac(2)


def test_arp_requests_for_own_addresses_are_answered_and_the_sender_is_learnt():
    rig = Rig(neighbors=False)
    rig.ports[0].inject(arp(1, host_mac(1), "10.0.1.2", "10.0.1.1"))
    (reply,) = rig.out(0)
    assert reply == arp(2, own_mac(1), "10.0.1.1", "10.0.1.2", target_mac=host_mac(1), to=host_mac(1))
    assert rig.dataplane.neighbors.get(1, ip4("10.0.1.2")).mac == host_mac(1)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        pytest.param(arp(1, host_mac(1), "10.7.1.2", "10.0.1.1"), "l3_src_address_not_local", id="foreign"),
        pytest.param(
            arp(1, host_mac(1), "10.0.1.1", "10.0.1.1"), "l3_src_address_is_local", id="our address"
        ),
        pytest.param(arp(1, host_mac(1), "10.0.1.2", "10.0.2.1"), "unnumbered_mismatch", id="other subnet"),
        pytest.param(
            arp(2, host_mac(1), "10.0.1.2", "10.0.1.9"), "l3_dst_address_not_local", id="not for us"
        ),
        pytest.param(
            arp(1, host_mac(1), "10.0.1.2", "10.0.1.1", frame_mac=host_mac(9)),
            "l2_address_mismatch",
            id="MACs differ",
        ),
    ],
)
def test_arp_that_is_neither_answered_nor_learnt(frame, reason):
    rig = Rig(neighbors=False)
    rig.ports[0].inject(frame)
    assert rig.drops == [("arp-reply", reason)]
    assert rig.out(0) == []
    assert not len(rig.dataplane.neighbors)


def test_a_request_for_another_host_is_counted_as_vpp_counts_it():
    rig = Rig(neighbors=False)
    rig.ports[0].inject(arp(1, host_mac(1), "10.0.1.2", "10.0.1.50"))
    assert rig.drops == [("arp-reply", "not_for_us")]
    assert rig.errors() == {("arp-reply", "replies_sent"): 1}


@pytest.mark.parametrize(
    ("arguments", "counted"),
    [
        pytest.param({"ttl": 1}, ("ip4-input", "time_expired"), id="TTL at ip4-rewrite"),
        pytest.param({"destination": "224.0.0.5"}, ("ip4-input", "rpf_failure"), id="multicast"),
        pytest.param(
            {"source": "10.0.1.1", "destination": "10.0.1.1"},
            ("ip4-local", "spoofed_local_packets"),
            id="own",
        ),
        pytest.param(
            {"destination": "10.0.1.1", "protocol": 99}, ("ip4-local", "unknown_protocol"), id="protocol 99"
        ),
        pytest.param({"destination": "10.0.2.255"}, ("ethernet-input", "no error"), id="subnet broadcast"),
    ],
)
def test_reasons_are_counted_at_the_node_where_vpp_counts_them(arguments, counted):
    rig = Rig()
    rig.send(packet(**arguments))
    assert rig.errors()[counted] == 1
    assert len(rig.drops) == 1


def test_an_announcement_changes_only_a_neighbour_that_is_known():
    rig = Rig(neighbors=False)
    rig.ports[0].inject(arp(1, host_mac(1), "10.0.1.2", "10.0.1.2"))
    assert not len(rig.dataplane.neighbors)
    rig.dataplane.add_neighbor(1, ip4("10.0.1.2"), host_mac(1), static=False)
    rig.ports[0].inject(arp(1, host_mac(8), "10.0.1.2", "10.0.1.2"))
    assert rig.dataplane.neighbors.get(1, ip4("10.0.1.2")).mac == host_mac(8)


def test_an_unnumbered_interface_answers_for_the_address_it_borrows():
    rig = Rig()
    pod = add_memory_interface(rig.dataplane, "tap0", mac=own_mac(3))
    index = pod.interface.sw_if_index
    loop = rig.dataplane.create_loopback()
    rig.dataplane.set_admin_state(loop.sw_if_index, up=True)
    rig.dataplane.add_address(loop.sw_if_index, ip4("10.1.1.1"), 32)
    rig.dataplane.set_admin_state(index, up=True)
    pod.inject(arp(1, host_mac(3), "10.1.1.5", "10.1.1.1"))
    assert rig.drops == [("arp-disabled", "disabled")]
    rig.dataplane.set_unnumbered(index, loop.sw_if_index)
    pod.inject(arp(1, host_mac(3), "10.1.1.5", "10.1.1.1"))
    assert pod.sent == [arp(2, own_mac(3), "10.1.1.1", "10.1.1.5", target_mac=host_mac(3), to=host_mac(3))]
    rig.dataplane.route_update(ip4("10.1.1.5"), 32, [Path(next_hop=ip4("10.1.1.5"), sw_if_index=index)])
    rig.send(packet(destination="10.1.1.5"))
    assert pod.sent[1][:6] == host_mac(3)


def test_routes_by_next_hop_and_into_other_tables_are_followed():
    rig = Rig()
    rig.dataplane.fibs.add(7)
    rig.dataplane.route_update(ip4("20.0.0.0"), 8, [Path(next_hop=ip4("10.0.2.2"))])
    rig.dataplane.route_update(ip4("30.0.0.0"), 8, [Path(table_id=7)])
    rig.dataplane.route_update(ip4("30.1.0.0"), 16, [Path(table_id=0, next_hop=ip4("20.1.1.1"))], table_id=7)
    for destination in ("20.9.9.9", "30.1.2.3", "30.2.0.0"):
        rig.send(packet(destination=destination))
    assert [frame[:6] for frame in rig.out(1)] == [host_mac(2)] * 2
    assert rig.drops == [("ip4-drop", "drop_route")]


def test_routes_in_a_circle_end_in_a_drop():
    rig = Rig()
    rig.dataplane.fibs.add(7)
    rig.dataplane.route_update(ip4("30.0.0.0"), 8, [Path(table_id=7)])
    rig.dataplane.route_update(ip4("30.0.0.0"), 8, [Path(table_id=0)], table_id=7)
    rig.dataplane.route_update(ip4("40.0.0.0"), 8, [Path(next_hop=ip4("40.0.0.1"))])
    for destination in ("30.1.1.1", "40.1.1.1"):
        rig.send(packet(destination=destination))
    assert rig.drops == [("ip4-drop", "no_route")] * 2


def test_equal_paths_share_flows_by_weight_and_keep_each_flow():
    rig = Rig()
    rig.dataplane.add_neighbor(2, ip4("10.0.2.3"), host_mac(3))
    paths = [
        Path(next_hop=ip4(f"10.0.2.{host}"), sw_if_index=2, weight=weight)
        for host, weight in ((2, 1), (3, 3))
    ]
    rig.dataplane.route_update(ip4("20.0.0.0"), 8, paths)
    for port in range(1000):
        for _ in range(2):
            rig.send(packet(destination="20.0.0.1", payload=struct.pack("!HHHH", port, 80, 8, 0)))
    macs = [frame[:6] for frame in rig.out(1)]
    assert macs[::2] == macs[1::2]
    assert 1300 < macs.count(host_mac(3)) < 1700


def test_a_path_over_an_interface_that_is_down_is_left_out():
    rig = Rig()
    paths = [Path(next_hop=ip4(f"10.0.{host}.2"), sw_if_index=host) for host in (1, 2)]
    rig.dataplane.route_update(ip4("20.0.0.0"), 8, paths)
    rig.dataplane.add_neighbor(2, ip4("10.0.2.2"), host_mac(2))
    port = add_memory_interface(rig.dataplane, "host-p3", mac=own_mac(3))
    rig.dataplane.add_address(port.interface.sw_if_index, ip4("10.0.3.1"), 24)
    rig.dataplane.set_admin_state(port.interface.sw_if_index, up=True)
    rig.dataplane.set_admin_state(1, up=False)
    for number in range(20):
        data = packet(source="10.0.3.2", destination=f"20.0.0.{number}")
        port.inject(own_mac(3) + host_mac(3) + b"\x08\0" + bytes(data))
    assert len(rig.out(1)) == 20


def test_two_dataplanes_linked_by_a_cable_talk_and_ping():
    times = iter(range(1000))
    one, two = (Dataplane(time=lambda: float(next(times))) for _ in range(2))
    ports = [add_memory_interface(one, "host-a"), add_memory_interface(two, "host-b")]
    link(*ports)
    for number, port in enumerate(ports, 1):
        port.dataplane.set_admin_state(1, up=True)
        port.dataplane.add_address(1, ip4(f"10.0.0.{number}"), 24)
    replies = []
    for sequence in (1, 2):
        one.graph.icmp.send_echo(ip4("10.0.0.2"), replies.append, identifier=1, sequence=sequence)
    assert [(reply.sequence, reply.source, reply.ttl) for reply in replies] == [(2, ip4("10.0.0.2"), 64)]
    ports[1].close()
    assert not ports[0].interface.link_up


async def test_ping_times_out_and_answers():
    rig = Rig()
    assert await rig.dataplane.graph.icmp.ping(ip4("10.0.1.2"), timeout=0.01) is None
    (request,) = rig.out(0)

    def answer(frame):
        data = bytearray(frame[14:])
        data[12:16], data[16:20] = data[16:20], data[12:16]
        data[20] = 0
        data[22:24] = b"\0\0"
        data[22:24] = checksum(data[20:]).to_bytes(2, "big")
        rig.ports[0].inject(own_mac(1) + host_mac(1) + b"\x08\0" + bytes(data))

    answer(request)
    assert rig.drops[-1] == ("ip4-icmp-input", "unknown_type")
    rig.ports[0].on_transmit = answer
    reply = await rig.dataplane.graph.icmp.ping(ip4("10.0.1.2"), sequence=5, timeout=1)
    assert (reply.sequence, reply.size) == (5, 64)


def test_a_loopback_sends_to_itself():
    rig = Rig()
    loop = rig.dataplane.create_loopback()
    rig.dataplane.set_admin_state(loop.sw_if_index, up=True)
    rig.dataplane.add_address(loop.sw_if_index, ip4("10.3.0.1"), 24)
    rig.send(packet(destination="10.3.0.9"))
    assert rig.drops == [("ip4-glean", "request_sent"), ("arp-reply", "l3_src_address_is_local")]
    rig.dataplane.add_neighbor(loop.sw_if_index, ip4("10.3.0.9"), loop.mac)
    rig.send(packet(destination="10.3.0.9"))  # goes round until its TTL ends
    assert rig.drops[-1] == ("ip4-rewrite", "time_expired")
    counters = loop.counters
    assert (counters.rx_packets, counters.ip4, counters.tx_packets) == (0, 63, 128)  # with the ARP request


def test_features_run_in_their_order_before_the_end_of_their_arc(monkeypatch):
    rig = Rig()
    graph = rig.dataplane.graph
    seen = []
    monkeypatch.setitem(
        __import__("embeddedvpp.dataplane.graph", fromlist=["x"]).ARC_ORDER, "ip4-output", ["b", "a"]
    )

    def feature(name):
        def process(vector):
            for found in vector:
                seen.append(name)
                graph.next_feature(found)

        graph.add_node(name, process)
        graph.enable_feature("ip4-output", name, rig.ports[1].interface)

    feature("a")
    feature("b")
    rig.send(packet())
    assert seen == ["b", "a"]
    assert len(rig.out(1)) == 1
    graph.enable_feature("ip4-output", "a", rig.ports[1].interface, on=False)
    graph.enable_feature("ip4-output", "b", rig.ports[1].interface, on=False)
    rig.send(packet())
    assert seen == ["b", "a"]


KINDS = st.sampled_from([b"\x08\0", b"\x08\x06", b"\x86\xdd", b"\x81\0", b"\0\x10"])


@settings(max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=80), st.tuples(KINDS, st.binary(max_size=80))), max_size=8))
def test_no_frame_raises(frames):
    rig = Rig()
    for frame in frames:
        data = frame if isinstance(frame, bytes) else own_mac(1) + host_mac(1) + frame[0] + frame[1]
        rig.ports[0].inject(data)
    counters = rig.ports[0].interface.counters
    assert counters.rx_packets == len(frames)


@settings(max_examples=300)
@given(
    st.sampled_from(
        ["10.0.1.1", "10.0.2.2", "10.0.2.9", "8.8.8.8", "255.255.255.255", "224.0.0.5", "10.0.1.255"]
    ),
    st.sampled_from(["10.0.1.2", "10.0.1.1", "0.0.0.0", "255.255.255.255", "9.9.9.9"]),
    st.integers(0, 255),
    st.integers(0, 0xFFFF),
    st.sampled_from([1, 6, 17, 50]),
    st.binary(max_size=40),
    st.binary(max_size=10).map(lambda data: data + bytes(-len(data) % 4)),
)
def test_no_packet_with_a_correct_header_raises_or_vanishes(  # noqa: PLR0917
    to, source, ttl, fragment, protocol, payload, options
):
    rig = Rig()
    data = packet(source, to, ttl, options + payload, protocol)
    data[0] += len(options) // 4
    data[6:8] = fragment.to_bytes(2, "big")
    data[10:12] = b"\0\0"
    data[10:12] = checksum(data[: 20 + len(options)]).to_bytes(2, "big")
    rig.send(data)
    answered = rig.errors().get(("ip4-icmp-input", "echo_replies_sent"), 0)
    forwarded, waiting = len(rig.out(1)), len(rig.dataplane.graph.reassembly.waiting)
    assert forwarded + answered + waiting + len(rig.drops) >= 1
