# SPDX-License-Identifier: Apache-2.0
"""The packet formats that a pod's stack speaks: Ethernet, ARP, IPv4, ICMP, UDP and TCP. Addresses are numbers.

Checksums are made and checked in full: a dataplane that rewrites a header and forgets one must fail here.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

__all__ = [
    "ACK", "ARP", "ARP_REPLY", "ARP_REQUEST", "BROADCAST", "ECHO_REPLY", "ECHO_REQUEST", "FIN", "ICMP", "IPV4", "PSH",
    "RST", "SYN", "TCP", "TIME_EXCEEDED", "TOO_LARGE", "UDP", "UNREACHABLE", "Arp", "Ipv4", "Segment", "arp",
    "checksum", "datagram", "dotted", "fragments", "frame_ends", "icmp", "ipv4", "mac_bytes", "packet_ends",
    "parse_arp", "parse_ipv4", "parse_tcp", "segment", "valid_transport",
]  # fmt: skip

BROADCAST = b"\xff" * 6
IPV4, ARP = 0x0800, 0x0806
ICMP, TCP, UDP = 1, 6, 17
ARP_REQUEST, ARP_REPLY = 1, 2
ECHO_REPLY, UNREACHABLE, ECHO_REQUEST, TIME_EXCEEDED = 0, 3, 8, 11
TOO_LARGE = 4  # code of "unreachable": fragmentation needed, and "do not fragment" set
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

_DO_NOT_FRAGMENT, _MORE, _OFFSET = 0x4000, 0x2000, 0x1FFF
_TTL = 64
_ETHERNET, _TYPE_IPV4 = 14, b"\x08\x00"
_VXLAN_PORT, _VXLAN_HEADERS = (4789).to_bytes(2, "big"), 16  # UDP's and its own
_WINDOW = 65535
_LARGEST_SEGMENT = 2  # the kind of the option, which our stacks write first
_LARGEST_OPTION = bytes((_LARGEST_SEGMENT, 4))
_ARP = struct.Struct("!HHBBH6sI6sI")
_IPV4 = struct.Struct("!BBHHHBBHII")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_PSEUDO = struct.Struct("!IIHH")


class Arp(NamedTuple):
    """An ARP packet for IPv4 over Ethernet."""

    operation: int
    sender_mac: bytes
    sender: int
    target: int


class Ipv4(NamedTuple):
    """An IPv4 packet."""

    source: int
    target: int
    protocol: int
    payload: bytes
    identification: int = 0
    offset: int = 0  # bytes
    more: bool = False


class Segment(NamedTuple):
    """A TCP segment."""

    source_port: int
    target_port: int
    sequence: int
    acknowledged: int
    flags: int
    payload: bytes = b""
    largest: int = 0  # the option "maximum segment size", bytes; 0: none


def checksum(data: bytes) -> int:
    """Return the Internet checksum; 0 for data that holds a right one."""
    if len(data) & 1:
        data += b"\0"
    # 65536 is 1 modulo 65535: the sum of all 16-bit words with end-around carry is one remainder.
    number = int.from_bytes(data, "big")
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


def dotted(address: int) -> str:
    """Return an address as text."""
    return ".".join(str(byte) for byte in address.to_bytes(4, "big"))


def mac_bytes(text: str) -> bytes:
    """Return a MAC address from its text."""
    return bytes.fromhex(text.replace(":", ""))


def arp(packet: Arp, target_mac: bytes) -> bytes:
    """Return an ARP packet."""
    return _ARP.pack(1, IPV4, 6, 4, packet.operation, packet.sender_mac, packet.sender, target_mac, packet.target)


def parse_arp(data: bytes) -> Arp | None:
    """Return an ARP packet, or None for one that is malformed or not for IPv4."""
    if len(data) < _ARP.size:
        return None
    hardware, protocol, hardware_size, size, operation, mac, sender, _, target = _ARP.unpack_from(data)
    if (hardware, protocol, hardware_size, size) != (1, IPV4, 6, 4):
        return None
    return Arp(operation, mac, sender, target)


def ipv4(packet: Ipv4, *, do_not_fragment: bool = False) -> bytes:
    """Return an IPv4 packet with its header's checksum."""
    fragment = (
        (_DO_NOT_FRAGMENT if do_not_fragment else 0) | (_MORE if packet.more else 0) | packet.offset // 8
    )
    fields = [
        0x45, 0, 20 + len(packet.payload), packet.identification & 0xFFFF, fragment, _TTL, packet.protocol, 0,
        packet.source, packet.target,
    ]  # fmt: skip
    fields[7] = checksum(_IPV4.pack(*fields))
    return _IPV4.pack(*fields) + packet.payload


def parse_ipv4(data: bytes) -> Ipv4 | None:
    """Return an IPv4 packet, or None for one that is malformed or has a wrong checksum."""
    if len(data) < 20 or data[0] >> 4 != 4:
        return None
    header = (data[0] & 15) * 4
    _, _, length, identification, fragment, _, protocol, _, source, target = _IPV4.unpack_from(data)
    if header < 20 or not header <= length <= len(data) or checksum(data[:header]):
        return None
    offset = (fragment & _OFFSET) * 8
    return Ipv4(
        source, target, protocol, data[header:length], identification, offset, bool(fragment & _MORE)
    )


def frame_ends(frame: bytes) -> tuple[int, int]:
    """Return source and target of the IPv4 packet in a frame, of the inner one in VXLAN; 0 and 0 if there is none."""
    return packet_ends(frame[_ETHERNET:]) if frame[12:14] == _TYPE_IPV4 else (0, 0)


def packet_ends(data: bytes) -> tuple[int, int]:
    """Return source and target of an IPv4 packet, of the inner one in VXLAN (RFC 7348); 0 and 0 for anything else."""
    packet = parse_ipv4(data)
    if packet is None:
        return 0, 0
    if packet.protocol == UDP and packet.payload[2:4] == _VXLAN_PORT and not packet.offset:
        inner = packet.payload[_VXLAN_HEADERS:]
        if inner[12:14] == _TYPE_IPV4 and len(inner) >= _ETHERNET + 20:
            return int.from_bytes(inner[26:30], "big"), int.from_bytes(inner[30:34], "big")
    return packet.source, packet.target


def fragments(packet: Ipv4, mtu: int) -> list[Ipv4]:
    """Return what a host sends for a packet over a link: itself, or fragments of it."""
    room = mtu - 20
    if len(packet.payload) <= room:
        return [packet]
    room &= ~7
    starts = range(0, len(packet.payload), room)
    return [
        packet._replace(
            payload=packet.payload[start : start + room],
            offset=packet.offset + start,
            more=packet.more or start + room < len(packet.payload),
        )
        for start in starts
    ]


def icmp(kind: int, code: int, rest: bytes, data: bytes) -> bytes:
    """Return an ICMP message; `rest` are the four bytes behind the checksum."""
    message = bytes((kind, code, 0, 0)) + rest + data
    return message[:2] + checksum(message).to_bytes(2, "big") + message[4:]


def datagram(source: int, target: int, source_port: int, target_port: int, data: bytes) -> bytes:
    """Return a UDP datagram."""
    length = 8 + len(data)
    pseudo = _PSEUDO.pack(source, target, UDP, length)
    # A checksum of 0 would mean that there is none (RFC 768).
    value = checksum(pseudo + _UDP.pack(source_port, target_port, length, 0) + data) or 0xFFFF
    return _UDP.pack(source_port, target_port, length, value) + data


def segment(source: int, target: int, part: Segment) -> bytes:
    """Return a TCP segment."""
    options = struct.pack("!BBH", _LARGEST_SEGMENT, 4, part.largest) if part.largest else b""
    fields = [
        part.source_port, part.target_port, part.sequence & 0xFFFFFFFF, part.acknowledged & 0xFFFFFFFF,
        (5 + len(options) // 4) << 4, part.flags, _WINDOW, 0, 0,
    ]  # fmt: skip
    rest = options + part.payload
    pseudo = _PSEUDO.pack(source, target, TCP, 20 + len(rest))
    fields[7] = checksum(pseudo + _TCP.pack(*fields) + rest)
    return _TCP.pack(*fields) + rest


def parse_tcp(data: bytes) -> Segment | None:
    """Return a TCP segment; its checksum is checked by `valid_transport`."""
    if len(data) < 20:
        return None
    source_port, target_port, sequence, acknowledged, offset, flags, _, _, _ = _TCP.unpack_from(data)
    header = (offset >> 4) * 4
    if not 20 <= header <= len(data):
        return None
    largest = int.from_bytes(data[22:24], "big") if data[20:22] == _LARGEST_OPTION and header > 20 else 0
    return Segment(source_port, target_port, sequence, acknowledged, flags, data[header:], largest)


def valid_transport(packet: Ipv4) -> bool:
    """Tell whether the checksum of an ICMP, UDP or TCP packet is right, and it has a whole header."""
    data = packet.payload
    if packet.protocol == ICMP:
        return len(data) >= 8 and not checksum(data)
    if packet.protocol == UDP:
        if len(data) < 8 or int.from_bytes(data[4:6], "big") != len(data):
            return False
        if data[6:8] == b"\0\0":
            return True
    elif packet.protocol != TCP or len(data) < 20:
        return False
    return not checksum(_PSEUDO.pack(packet.source, packet.target, packet.protocol, len(data)) + data)
