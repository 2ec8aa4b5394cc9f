# SPDX-License-Identifier: Apache-2.0
"""Packets whose fate in real VPP is recorded: see ``packets``."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address

Route = str | list[tuple[str, str, int]]  # "drop", "unreachable" …, or next hops with interface and weight
VETHS = ("p1", "p2")
DF, MF = 0x4000, 0x2000
ICMP, TCP, UDP = 1, 6, 17
VNI, BVI = 10, "192.168.30.1"


@dataclass
class Case:
    """What is set up besides the two interfaces and their hosts, and what is sent where."""

    frames: Sequence[tuple[str, bytes]]
    mtu: dict[str, int] = field(default_factory=dict)
    routes: dict[str, Route] = field(default_factory=dict)
    overlay: bool = False  # a VXLAN tunnel to TWO with a BVI, and 30.0.0.0/8 behind it
    patience: float = 0.3  # seconds to wait for the first frame that a frame gives; fragments wait 0.2 for each other
    trace: bool = True  # is ``show trace`` the same?


def own_mac(number: int) -> bytes:
    """Of VPP's interface."""
    return bytes((2, 0, 0, 0, 0, number))


def host_mac(number: int, host: int = 2) -> bytes:
    """Of a host on the interface."""
    return bytes((2, 0, 0, 0, number, host))


def bvi_mac(node: int) -> bytes:
    """Of the BVI of VPP (1) and of the tunnel's other end (2)."""
    return b"\x12\x2b" + node.to_bytes(4, "big")


def internet_sum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def packet(
    source: str, destination: str, protocol: int, payload: bytes, *,
    flags: int = 0, ident: int = 1, ttl: int = 64, tos: int = 0,
) -> bytes:  # fmt: skip
    """An IPv4 packet."""
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    head = struct.pack("!BBHHHBB", 0x45, tos, 20 + len(payload), ident, flags, ttl, protocol)
    return head + internet_sum(head + b"\0\0" + ends).to_bytes(2, "big") + ends + payload


def vxlan(data: bytes, *, vni: int = VNI) -> bytes:
    """What a tunnel carries to VPP: UDP without checksum, VXLAN, and a frame from the other BVI to VPP's."""
    frame = bytes((8, 0, 0, 0, 0, 0, vni, 0)) + bvi_mac(1) + bvi_mac(2) + b"\x08\0" + data
    return struct.pack("!HHHH", 4789, 4789, 8 + len(frame), 0) + frame


def with_options(data: bytes, options: bytes) -> bytes:
    """The packet with options."""
    size = 20 + len(options)
    head = bytes((0x40 | size // 4, data[1])) + (len(data) + len(options)).to_bytes(2, "big") + data[4:10] + b"\0\0"
    head += data[12:20] + options
    return head[:10] + internet_sum(head).to_bytes(2, "big") + head[12:] + data[20:]


def frame(port: int, data: bytes, *, destination: bytes | None = None) -> tuple[str, bytes]:
    """What the host on an interface sends."""
    return f"p{port}", (destination or own_mac(port)) + host_mac(port) + b"\x08\0" + data


def udp(size: int, source_port: int = 1000, port: int = 53) -> bytes:
    """A datagram without checksum."""
    return struct.pack("!HHHH", source_port, port, 8 + size, 0) + bytes(number % 251 for number in range(size))


def echo(size: int, kind: int = 8, code: int = 0) -> bytes:
    """An ICMP message."""
    message = bytes((kind, code, 0, 0, 0, 7, 0, 9)) + bytes(number % 251 for number in range(size))
    return message[:2] + internet_sum(message).to_bytes(2, "big") + message[4:]


def pieces(  # noqa: PLR0917 - as above
    source: str, destination: str, protocol: int, payload: bytes, size: int, ident: int = 3
) -> list[bytes]:
    """A packet in fragments with ``size`` bytes of payload each."""
    return [
        packet(source, destination, protocol, payload[at : at + size], ident=ident,
               flags=at // 8 | (MF if at + size < len(payload) else 0))
        for at in range(0, len(payload), size)
    ]  # fmt: skip


ONE, TWO, SELF, OTHER = "10.0.1.2", "10.0.2.2", "10.0.1.1", "20.0.0.1"
BIG, SMALL = udp(3000), udp(18)

CASES = {
    "fragmentation": Case(
        trace=False,  # VPP notes the last fragment of a packet at one that was sent before
        mtu={"p1": 9000, "p2": 1400},
        frames=[
            frame(1, packet(ONE, TWO, UDP, BIG, ident=0x1234)),
            frame(1, packet(ONE, TWO, UDP, BIG, tos=0x28)),
            frame(1, packet(ONE, TWO, UDP, udp(1372))),
            frame(1, packet(ONE, TWO, UDP, udp(1373))),
            *[frame(1, piece) for piece in pieces(ONE, TWO, UDP, BIG, 1480)],
            frame(1, packet(ONE, TWO, UDP, BIG, ttl=2)),
            frame(1, packet(ONE, TWO, UDP, BIG, ident=0x1234)),
        ],
    ),
    "fragmentation-in-large-pieces": Case(
        mtu={"p2": 4000}, frames=[frame(1, packet(ONE, TWO, UDP, udp(size))) for size in (6000, 3500)]
    ),
    "fragmentation-needed": Case(
        mtu={"p2": 1400},
        frames=[
            frame(1, packet(ONE, TWO, UDP, BIG, flags=DF, ident=5)),
            frame(1, packet(ONE, TWO, UDP, udp(1373), flags=DF)),
            frame(1, packet(ONE, TWO, UDP, udp(1372), flags=DF)),
            frame(1, packet(ONE, TWO, TCP, bytes(1400), flags=DF, ttl=9)),
            frame(1, packet(ONE, TWO, ICMP, echo(1400), flags=DF)),
            frame(1, packet("9.9.9.9", TWO, UDP, BIG, flags=DF)),
        ],
    ),
    "ttl-exceeded": Case(
        frames=[
            frame(1, packet(ONE, TWO, UDP, SMALL, ttl=1, ident=6)),
            frame(1, packet(ONE, TWO, UDP, udp(1000), ttl=1)),
            frame(1, packet(ONE, TWO, ICMP, echo(30), ttl=1)),
            frame(1, packet(ONE, TWO, UDP, SMALL, ttl=0)),
            frame(1, packet(ONE, SELF, ICMP, echo(30), ttl=1)),
        ]
    ),
    "no-route": Case(
        routes={"30.1.0.0/16": "drop", "30.2.0.0/16": "null-send-unreach"},
        frames=[
            frame(1, packet(ONE, OTHER, UDP, SMALL)),
            frame(1, packet(ONE, "30.1.0.1", UDP, SMALL)),
            frame(1, packet(ONE, "30.2.0.1", UDP, SMALL)),
            frame(1, packet(ONE, "10.0.2.255", UDP, SMALL)),
            frame(1, packet(ONE, "224.0.0.9", UDP, SMALL)),
            frame(1, packet(ONE, "255.255.255.255", UDP, SMALL)),
        ],
    ),
    "prohibited-route": Case(  # alone: VPP's throttle sometimes takes one sender for another
        routes={"30.3.0.0/16": "null-send-prohibit"}, frames=[frame(1, packet(ONE, "30.3.0.1", UDP, SMALL))]
    ),
    "options": Case(
        frames=[
            frame(1, with_options(packet(ONE, TWO, UDP, SMALL), b"\x94\4\0\0")),
            frame(1, with_options(packet(ONE, SELF, ICMP, echo(20)), b"\x01\x01\x01\x00")),
        ]
    ),
    "small-mtu": Case(mtu={"p2": 68}, frames=[frame(1, packet(ONE, TWO, UDP, udp(100)))]),
    "for-vpp": Case(
        frames=[
            frame(1, packet(ONE, SELF, ICMP, echo(56), ident=8)),
            frame(1, packet(ONE, "10.0.2.1", ICMP, echo(57))),
            frame(1, packet(ONE, SELF, ICMP, echo(20, kind=13))),
            frame(1, packet(ONE, SELF, ICMP, echo(20, kind=3, code=1))),
            frame(1, packet(ONE, SELF, UDP, udp(20))),
            frame(1, packet(ONE, SELF, TCP, struct.pack("!HHIIHHHH", 99, 80, 1, 0, 0x5002, 100, 0, 0))),
            frame(1, packet(ONE, SELF, 99, bytes(20))),
            frame(1, packet("10.0.2.1", SELF, UDP, udp(20))),
            frame(1, packet("9.9.9.9", SELF, UDP, udp(20))),
        ]
    ),
    "reassembly": Case(
        patience=0.1,
        frames=[
            *[frame(1, piece) for piece in pieces(ONE, SELF, ICMP, echo(2000), 1480)],
            *[frame(1, piece) for piece in reversed(pieces(ONE, SELF, ICMP, echo(2000), 1000))],
            *[frame(1, piece) for piece in pieces(ONE, SELF, ICMP, echo(3200), 808, ident=4)],
            *[frame(1, piece) for piece in pieces(ONE, SELF, ICMP, echo(3200), 648, ident=5)],
            *[frame(1, pieces(ONE, SELF, ICMP, echo(100), 80, ident=6)[at]) for at in (0, 0, 1)],
            *[frame(1, piece) for piece in pieces(ONE, SELF, UDP, udp(100), 80, ident=7)],
            frame(1, packet(ONE, SELF, ICMP, bytes(7), flags=MF | 2)),
        ]
    ),
    "echo-larger-than-the-way-back": Case(
        patience=0.1,
        trace=False,  # as above
        mtu={"p1": 1400},
        frames=[
            frame(1, packet(ONE, SELF, ICMP, echo(2500))),
            *[frame(1, piece) for piece in pieces(ONE, SELF, ICMP, echo(4000), 1480)],
        ],
    ),
    "equal-paths": Case(
        trace=False,  # which would be long
        routes={
            "20.0.0.0/8": [(TWO, "p2", 1), ("10.0.2.3", "p2", 1)],
            "21.0.0.0/8": [(TWO, "p2", 1), ("10.0.2.3", "p2", 3)],
            "22.0.0.0/8": [(TWO, "p2", 1), ("10.0.2.3", "p2", 1), ("10.0.1.3", "p1", 1)],
        },
        frames=[
            frame(1, packet(ONE, f"{net}.0.0.{host}", protocol, udp(4, source_port=1000 * host + net)))
            for net in (20, 21, 22)
            for host in range(1, 13)
            for protocol in (UDP, 50)
        ],
    ),
    "paths-behind-next-hops": Case(
        trace=False,  # VPP goes through ip4-load-balance for each choice after the first
        routes={
            "20.0.0.0/8": [(TWO, "p2", 1), ("10.0.2.3", "p2", 2), ("10.0.1.3", "p1", 7)],
            "21.0.0.0/8": "20.0.0.9",
            "22.0.0.0/8": "20.0.0.9 via 10.0.1.3 host-p1",
            "23.0.0.0/8": "10.0.2.3",
        },
        frames=[
            frame(1, packet(ONE, f"{net}.0.0.{host}", TCP, bytes((host, net, host, 80)) + bytes(16)))
            for net in (20, 21, 22, 23)
            for host in range(1, 17)
        ]
        + [frame(1, piece) for piece in pieces(ONE, "20.0.0.1", UDP, udp(200), 80)],
    ),
    "overlay": Case(
        overlay=True,
        patience=0.1,
        mtu={"p2": 1400, "loop0": 1450},
        frames=[
            frame(1, packet(ONE, "30.0.0.1", UDP, SMALL)),
            frame(1, packet(ONE, "30.0.0.1", UDP, udp(1000), flags=DF)),
            frame(1, packet(ONE, "30.0.0.1", UDP, udp(1400))),
            frame(1, packet(ONE, "30.0.0.1", UDP, udp(1423), flags=DF)),
            frame(1, packet(ONE, "30.0.0.1", UDP, udp(1500))),
            frame(2, packet(TWO, "10.0.2.1", UDP, vxlan(packet("30.0.0.1", ONE, UDP, SMALL)))),
            *[
                frame(2, piece)
                for piece in pieces(TWO, "10.0.2.1", UDP, vxlan(packet("30.0.0.1", ONE, UDP, udp(1400))), 1376)
            ],
            frame(2, packet(TWO, "10.0.2.1", UDP, vxlan(packet("30.0.0.1", ONE, UDP, SMALL), vni=11))),
        ],
    ),
}
