# SPDX-License-Identifier: Apache-2.0
"""Fragmentation on the way out, reassembly of what is for VPP itself, and the ICMP errors between."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddedvpp.dataplane import Path, add_memory_interface, ip4
from embeddedvpp.dataplane.forwarding import checksum
from embeddedvpp.dataplane.ip4_frag import fragments
from embeddedvpp.dataplane.reassembly import Assembly, Range

from .test_overlay import cluster, pod_mac, vxlan_frames
from .test_packets import Rig, host_mac, icmp_of, own_mac, packet

DF, MF = 0x4000, 0x2000


def with_header(data, *, flags=None, ident=None, options=b""):
    """The packet with another header and a right checksum."""
    data = data[:20] + bytearray(options) + data[20:]
    size = 20 + len(options)
    data[0] = 0x40 | size // 4
    data[2:4] = len(data).to_bytes(2, "big")
    if flags is not None:
        data[6:8] = flags.to_bytes(2, "big")
    if ident is not None:
        data[4:6] = ident.to_bytes(2, "big")
    data[10:12] = b"\0\0"
    data[10:12] = checksum(data[:size]).to_bytes(2, "big")
    return data


def fields(data):
    """Length, identification, more fragments, offset in bytes."""
    flags = int.from_bytes(data[6:8], "big")
    length, ident = (int.from_bytes(data[at : at + 2], "big") for at in (2, 4))
    return length, ident, bool(flags & MF), (flags & 0x1FFF) * 8


def echo(size, source="10.0.1.2", destination="10.0.1.1", ident=77):
    message = bytearray(bytes((8, 0, 0, 0, 0, 7, 0, 9)) + bytes(number % 251 for number in range(size)))
    message[2:4] = checksum(message).to_bytes(2, "big")
    return with_header(packet(source, destination, protocol=1, payload=bytes(message)), ident=ident)


def reassembled(pieces):
    assembly = Assembly(0.0)
    for piece in pieces:
        length, _, more, first = fields(piece)
        last = first + length - (piece[0] & 15) * 4 - 1
        if not more:
            assembly.last = last
        assembly.add(Range(_Holder(piece), first, first, last))
        if assembly.complete:
            return assembly.finish().data
    return None


class _Holder:
    def __init__(self, data):
        self.data = data


# -- cutting -----------------------------------------------------------------------------------------


def test_a_packet_is_cut_at_multiples_of_eight_bytes_and_gets_an_identification():
    whole = with_header(packet(payload=bytes(range(256)) * 12), ident=0x1234)
    pieces = fragments(whole, 1500, 9)
    assert [fields(piece) for piece in pieces] == [
        (1500, 9, True, 0), (1500, 9, True, 1480), (132, 9, False, 2960)
    ]  # fmt: skip
    assert b"".join(piece[20:] for piece in pieces) == whole[20:]


def test_a_fragment_is_cut_again_and_keeps_identification_offset_and_flag():
    middle = with_header(packet(payload=bytes(100)), flags=MF | 50, ident=7)
    assert [fields(piece)[1:] for piece in fragments(middle, 68, 9)] == [
        (7, True, 400), (7, True, 448), (7, True, 496)
    ]  # fmt: skip
    last = with_header(packet(payload=bytes(100)), flags=50, ident=7)
    assert [fields(piece)[2] for piece in fragments(last, 68, 9)] == [True, True, False]


def test_later_fragments_have_the_options_with_the_copied_flag_only():
    router_alert, timestamp = bytes((0x94, 4, 0, 0)), bytes((0x44, 4, 5, 0))
    whole = with_header(packet(payload=bytes(200)), options=b"\x01" + timestamp + router_alert + bytes(3))
    first, *later = fragments(whole, 100, 1)
    assert first[:2] == b"\x48\0"
    assert first[20:32] == whole[20:32]
    assert all(piece[0] == 0x46 and piece[20:24] == router_alert for piece in later)
    assert all(not checksum(piece[: (piece[0] & 15) * 4]) for piece in (first, *later))


def test_without_room_for_eight_bytes_nothing_is_sent():
    assert fragments(packet(payload=bytes(50)), 27, 1) == []
    rig = Rig()
    rig.dataplane.set_mtu(2, [27, 0, 0, 0])
    rig.send(packet())
    assert rig.drops == [("ip4-frag", "cant_fragment_header")]


options = st.sampled_from([b"", b"\x94\4\0\0", b"\x01\x44\4\5\0\x94\4\0\0\0\0\0", b"\x83\x02\x01\x07", bytes(4)])


@settings(max_examples=200)
@given(
    st.binary(max_size=600),
    options,
    st.integers(68, 400),
    st.integers(68, 400),
    st.randoms(use_true_random=False),
)
def test_fragments_of_fragments_in_any_order_and_twice_are_the_packet_again(payload, option, mtu, second, order):
    whole = with_header(packet(payload=payload), options=option, ident=5)
    cut = [again for piece in fragments(whole, mtu, 5) for again in fragments(piece, second, 5)]
    for piece in cut:
        size = (piece[0] & 15) * 4
        assert int.from_bytes(piece[2:4], "big") == len(piece) <= second
        assert not checksum(piece[:size])
    received = cut + [piece for piece in cut if order.random() < 0.3]
    order.shuffle(received)
    assert reassembled(received) == (whole if payload else None)


@settings(max_examples=200)
@given(st.binary(min_size=9, max_size=200), st.lists(st.tuples(st.integers(0, 24), st.integers(1, 12)), max_size=12))
def test_overlapping_fragments_of_one_packet_give_its_bytes(payload, cuts):
    pieces = []
    for first, blocks in [*cuts, (0, 26)]:
        part = payload[first * 8 : first * 8 + blocks * 8]
        if part:
            more = MF if first * 8 + len(part) < len(payload) else 0
            pieces.append(with_header(packet(payload=part), flags=more | first, ident=1))
    assert reassembled(pieces) == with_header(packet(payload=payload), ident=1, flags=0)


# -- forwarding --------------------------------------------------------------------------------------


def test_a_packet_larger_than_the_way_out_leaves_in_fragments():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    for _ in range(2):
        rig.send(packet(payload=bytes(200)))
    frames = rig.out(1)
    assert [fields(frame[14:]) for frame in frames] == [
        (100, ident, True, 0) if part == 0 else (100, ident, True, 80) if part == 1 else (60, ident, False, 160)
        for ident in range(2) for part in range(3)
    ]  # fmt: skip
    assert all(frame[:14] == host_mac(2) + own_mac(2) + b"\x08\0" and frame[22] == 63 for frame in frames)
    assert rig.errors() == {("ip4-frag", "fragment_sent"): 6}
    assert rig.drops == []
    assert rig.ports[1].interface.counters.tx_packets == 6


def test_what_fits_exactly_is_not_cut():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    rig.send(packet(payload=bytes(80)))
    assert len(rig.out(1)[0]) == 114


def test_the_ip4_mtu_counts_before_the_one_of_the_interface():
    rig = Rig()
    rig.dataplane.set_mtu(2, [9000, 100, 0, 0])
    rig.send(packet(payload=bytes(100)))
    assert len(rig.out(1)) == 2


@settings(max_examples=100)
@given(st.integers(1, 1400), st.integers(68, 1500), st.booleans())
def test_whatever_the_mtu_all_bytes_arrive_or_the_sender_hears_of_it(size, mtu, may_not_fragment):
    rig = Rig()
    rig.dataplane.set_mtu(2, [mtu, 0, 0, 0])
    data = with_header(packet(payload=bytes(number % 251 for number in range(size))), flags=DF * may_not_fragment)
    rig.send(data)
    sent, answers = [frame[14:] for frame in rig.out(1)], [frame[14:] for frame in rig.out(0)]
    assert all(len(piece) <= mtu and not checksum(piece[:20]) for piece in sent)
    if len(data) <= mtu or not may_not_fragment:
        assert b"".join(piece[20:] for piece in sent) == data[20:]
        assert not answers
        return
    assert not sent
    (answer,) = answers
    assert not checksum(answer[:20])
    assert not checksum(answer[20:])
    assert answer[20:28] == bytes((3, 4)) + answer[22:24] + mtu.to_bytes(4, "big")
    assert answer[28:] == data[:548]


# -- for VPP itself ----------------------------------------------------------------------------------


def test_an_echo_request_in_fragments_is_answered_in_fragments():
    rig = Rig()
    rig.dataplane.set_mtu(1, [1500, 0, 0, 0])
    for piece in fragments(echo(4000), 1500, 77):
        rig.send(piece)
    answer = [frame[14:] for frame in rig.out(0)]
    assert [fields(piece) for piece in answer] == [
        (1500, 0, True, 0), (1500, 0, True, 1480), (1068, 0, False, 2960)
    ]  # fmt: skip
    assert {piece[8] for piece in answer} == {63}  # fragments are not marked as local
    whole = reassembled([bytearray(piece) for piece in answer])
    assert whole[20] == 0
    assert not checksum(whole[20:])
    assert whole[28:] == echo(4000)[28:]
    assert rig.errors() == {
        ("ip4-local-full-reassembly", "reass_fragments_rcvd"): 3,
        ("ip4-local-full-reassembly", "reass_success"): 1,
        ("ip4-local-full-reassembly", "reass_fragments_reassembled"): 3,
        ("ip4-icmp-input", "echo_replies_sent"): 1,
        ("ip4-frag", "fragment_sent"): 3,
    }


def test_fragments_that_are_forwarded_are_not_put_together():
    rig = Rig()
    for piece in fragments(packet(payload=bytes(200)), 100, 3):
        rig.send(piece)
    assert len(rig.out(1)) == 3
    assert not rig.dataplane.graph.reassembly.waiting


def test_what_lacks_a_fragment_is_given_up_after_200_milliseconds():
    rig = Rig()
    first, last = fragments(echo(100), 100, 1)
    rig.send(first)
    rig.now = 0.21
    rig.send(last)
    assert rig.out(0) == []
    assert rig.errors()["ip4-full-reassembly-expire-walk", "reass_timeout"] == 1
    rig.now = 0.4
    rig.send(first)
    assert len(rig.out(0)) == 1


def test_a_fragment_that_comes_again_is_a_duplicate():
    rig = Rig()
    first, _ = fragments(echo(100), 100, 1)
    rig.send(first)
    rig.send(first)
    assert rig.drops == [("ip4-local-full-reassembly", "reass_duplicate_fragment")]


def test_four_fragments_are_too_many_unless_they_are_all():
    rig = Rig()
    for piece in fragments(echo(4 * 80 - 8), 100, 1):
        rig.send(piece)
    assert len(rig.out(0)) == 1
    for piece in fragments(echo(5 * 80 - 8), 100, 1):
        rig.send(piece)
    assert rig.out(0) == []
    assert rig.errors()["ip4-local-full-reassembly", "reass_fragment_chain_too_long"] == 1


def test_1024_packets_may_wait():
    rig = Rig()
    for ident in range(1025):
        rig.send(with_header(packet(destination="10.0.1.1", payload=bytes(80)), flags=MF, ident=ident))
    assert rig.drops == [("ip4-local-full-reassembly", "reass_limit_reached")]


@pytest.mark.parametrize(
    ("flags", "size"),
    [
        pytest.param(MF | 2, 7, id="shorter than eight bytes"),
        pytest.param(2, 0, id="empty"),
        pytest.param(0x1FFF, 100, id="beyond the longest packet"),
    ],
)
def test_malformed_fragments_are_dropped(flags, size):
    rig = Rig()
    rig.send(with_header(packet(destination="10.0.1.1", payload=bytes(size)), flags=flags))
    assert rig.drops == [("ip4-local-full-reassembly", "reass_malformed_packet")]


def test_fragments_of_different_senders_tables_and_protocols_do_not_mix():
    rig = Rig()
    rig.dataplane.add_neighbor(1, ip4("10.0.1.3"), host_mac(1))
    first, _ = fragments(echo(100, source="10.0.1.2"), 100, 1)
    _, last = fragments(echo(100, source="10.0.1.3"), 100, 1)
    rig.send(first)
    rig.send(last)
    rig.send(with_header(packet("10.0.1.2", "10.0.1.1", payload=bytes(28)), flags=10, ident=1))
    assert rig.out(0) == []
    assert len(rig.dataplane.graph.reassembly.waiting) == 3


# -- errors ------------------------------------------------------------------------------------------


def big(**arguments):
    return with_header(packet(payload=bytes(200), **arguments), flags=DF)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(with_header(packet(payload=bytes(200)), flags=DF | 40), id="later fragment"),
        pytest.param(big(source="255.255.255.255"), id="from the broadcast address"),
        pytest.param(big(source="224.0.0.5"), id="from a multicast address"),
        pytest.param(
            with_header(packet(protocol=1, payload=bytes((3, 1)) + bytes(200)), flags=DF), id="ICMP error"
        ),
    ],
)
def test_no_error_is_sent_about(data):
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    rig.send(data)
    assert rig.drops == [("ip4-rewrite", "mtu_exceeded")]
    assert rig.out(0) == []


def test_no_error_is_sent_about_a_frame_that_was_broadcast():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    rig.send(big(), destination=b"\xff" * 6)
    assert rig.drops == [("ip4-rewrite", "mtu_exceeded")]
    assert rig.out(0) == []


def test_the_error_comes_from_the_receiving_interface_also_when_its_address_is_borrowed():
    rig = Rig()
    pod = add_memory_interface(rig.dataplane, "tap0", mac=own_mac(3))
    index = pod.interface.sw_if_index
    rig.dataplane.set_admin_state(index, up=True)
    rig.dataplane.set_unnumbered(index, 1)
    rig.dataplane.route_update(ip4("10.1.1.5"), 32, [Path(next_hop=ip4("10.1.1.5"), sw_if_index=index)])
    rig.dataplane.add_neighbor(index, ip4("10.1.1.5"), host_mac(3))
    rig.dataplane.set_mtu(2, [1400, 0, 0, 0])
    data = with_header(packet("10.1.1.5", payload=bytes(1400)), flags=DF)
    pod.inject(own_mac(3) + host_mac(3) + b"\x08\0" + bytes(data))
    (frame,) = pod.sent
    assert icmp_of(frame) == (3, 4, bytes((10, 0, 1, 1)), bytes((10, 1, 1, 5)))
    assert frame[38:42] == (1400).to_bytes(4, "big")
    assert rig.errors() == {("ip4-input", "mtu_exceeded"): 1, ("ip4-icmp-error", "dest_unreach_sent"): 1}


def test_idents_go_up_for_each_whole_packet():
    rig = Rig()
    rig.dataplane.set_mtu(2, [100, 0, 0, 0])
    rig.send(packet(payload=bytes(100)))
    rig.send(with_header(packet(payload=bytes(100)), flags=MF, ident=99))
    rig.send(packet(payload=bytes(100)))
    idents = [fields(frame[14:])[1] for frame in rig.out(1)]
    assert idents == [0, 0, 99, 99, 1, 1]


# -- through an overlay ------------------------------------------------------------------------------


def test_the_outer_packet_of_a_tunnel_is_cut_and_put_together_at_its_end():
    (one, two), wire = cluster(2)
    one.send("10.1.2.2")
    one.plane.set_mtu(one.nic.interface.sw_if_index, [1400, 0, 0, 0])
    wire.clear()
    payload = bytes(number % 251 for number in range(1400))
    one.send("10.1.2.2", payload=payload)
    outer = [frame[14:] for frame in wire]
    assert [fields(piece) for piece in outer] == [(1396, 0, True, 0), (94, 0, False, 1376)]
    assert {piece[8] for piece in outer} == {253}
    assert two.pod.sent[-1][34:] == payload
    assert two.errors()["ip4-local-full-reassembly", "reass_success"] == 1
    assert len(vxlan_frames(wire)) == 1  # the other one has no UDP header


def test_a_pod_hears_of_the_overlays_mtu():
    (one, _two), wire = cluster(2)
    one.send("10.1.2.2")
    one.plane.set_mtu(one.bvi.sw_if_index, [1450, 0, 0, 0])
    wire.clear()
    data = with_header(packet("10.1.1.2", "10.1.2.2", payload=bytes(1440)), flags=DF)
    one.pod.inject(one.pod.interface.mac + pod_mac(1) + b"\x08\0" + bytes(data))
    (frame,) = one.pod.sent
    assert icmp_of(frame) == (3, 4, bytes((192, 168, 30, 1)), bytes((10, 1, 1, 2)))
    assert frame[38:42] == (1450).to_bytes(4, "big")
    assert wire == []
