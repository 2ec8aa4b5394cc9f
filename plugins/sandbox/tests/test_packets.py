# SPDX-License-Identifier: Apache-2.0
"""Formats of packets: checksums against the definition, and fragments that come together again."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from contivpp_sandbox.rigs.memory.packets import (
    ICMP,
    TCP,
    UDP,
    Ipv4,
    Segment,
    checksum,
    datagram,
    fragments,
    icmp,
    ipv4,
    parse_ipv4,
    parse_tcp,
    segment,
    valid_transport,
)

addresses = st.integers(1, 0xFFFFFFFE)
ports = st.integers(1, 65535)


def by_definition(data: bytes) -> int:
    """RFC 1071, word by word."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=80))
def test_checksum_is_that_of_rfc_1071(data):
    assert checksum(data) == by_definition(data)


def test_checksum_of_zeros_and_of_ones():
    assert checksum(bytes(20)) == 0xFFFF
    assert checksum(b"\xff" * 20) == 0


@given(st.tuples(addresses, addresses), st.tuples(ports, ports), st.binary(max_size=200), st.integers(0, 2**32 - 1))
def test_what_is_made_is_valid_and_read_back(ends, both_ports, data, sequence):
    (source, target), (source_port, port) = ends, both_ports
    part = Segment(source_port, port, sequence, sequence ^ 7, 0x18, data)
    payload = segment(source, target, part)
    packet = parse_ipv4(ipv4(Ipv4(source, target, TCP, payload)) + b"padding of the frame")
    assert packet is not None
    assert (packet.source, packet.target, packet.payload) == (source, target, payload)
    assert valid_transport(packet)
    assert parse_tcp(packet.payload) == part
    assert valid_transport(Ipv4(source, target, UDP, datagram(source, target, source_port, port, data)))
    assert valid_transport(Ipv4(source, target, ICMP, icmp(8, 0, b"\0\1\0\1", data)))


@given(addresses, addresses, st.binary(min_size=1, max_size=60), st.data())
def test_one_flipped_bit_is_found(source, target, data, draw):
    payload = bytearray(datagram(source, target, 1000, 53, data))
    at = draw.draw(st.integers(0, len(payload) * 8 - 1))
    payload[at // 8] ^= 1 << at % 8
    if payload[6:8] != b"\0\0":  # a checksum of 0 says that there is none
        assert not valid_transport(Ipv4(source, target, UDP, bytes(payload)))


@given(st.binary(max_size=60))
def test_no_bytes_at_all_break_parsing(data):
    parse_ipv4(data)
    parse_tcp(data)
    for protocol in (ICMP, UDP, TCP, 99):
        valid_transport(Ipv4(1, 2, protocol, data))


@given(st.integers(0, 5000), st.integers(68, 1500))
def test_fragments_hold_everything_once_and_fit(size, mtu):
    packet = Ipv4(1, 2, UDP, bytes(index % 251 for index in range(size)), identification=7)
    parts = fragments(packet, mtu)
    assert b"".join(part.payload for part in parts) == packet.payload
    assert all(len(ipv4(part)) <= mtu for part in parts)
    assert [part.more for part in parts] == [True] * (len(parts) - 1) + [False]
    found = [parse_ipv4(ipv4(part)) for part in parts]
    assert found == parts
