# SPDX-License-Identifier: Apache-2.0
"""What the nodes of layer 2 and of VXLAN show of a traced packet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .addresses import format_mac
from .bridge import Feature

if TYPE_CHECKING:
    from .graph import Packet
    from .l2_fib import L2Fib

_FLAGS = ("static", "age-not", "bvi", "filter", "learn-event", "learn-move")
_NODES = {
    Feature.LEARN: "l2-learn",
    Feature.FWD: "l2-fwd",
    Feature.UU_FWD: "l2-uu-fwd",
    Feature.UU_FLOOD: "l2-flood",
    Feature.ARP_TERM: "arp-term-l2bd",
    Feature.ARP_UFWD: "l2-uu-fwd",
    Feature.FLOOD: "l2-flood",
}


def _ends(packet: Packet) -> str:
    data = bytes(packet.data[:12])
    return f"sw_if_index {packet.rx.sw_if_index} dst {format_mac(data[:6])} src {format_mac(data[6:])}"


def _domain(packet: Packet) -> int:
    port = packet.rx.l2
    return port.domain.index if port is not None else 0


def input_trace(packet: Packet) -> str:
    """l2-input: the features that the frame's interface and domain have in common."""
    port = packet.rx.l2
    features = port.features & port.domain.features if port is not None else 0
    names = "".join(f"{name} " for bit, name in _NODES.items() if features & bit)
    return f"l2-input: {_ends(packet)} [{names}]"


def learn_trace(packet: Packet) -> str:
    """l2-learn."""
    return f"l2-learn: {_ends(packet)} bd_index {_domain(packet)}"


def forward_trace(packet: Packet, fib: L2Fib) -> str:
    """l2-fwd: what the L2 FIB says, as VPP's word of it, interface, and flags; VPP's numbers of age are left out."""
    key = (_domain(packet), bytes(packet.data[:6]))
    entry = fib.entries.get(key)
    head = f"l2-fwd:   {_ends(packet)} bd_index {key[0]} result"
    if entry is None:
        return f"{head} [0x{2**64 - 1:x}, -1] {' '.join(_FLAGS)}"
    values = (entry.static, entry.static, entry.bvi, entry.filter, False, False)
    bits = sum(1 << place for place, value in enumerate(values) if value)
    names = " ".join(name for name, value in zip(_FLAGS, values, strict=True) if value)
    return f"{head} [0x{bits << 32 | entry.sw_if_index:x}, {entry.sw_if_index}] {names or 'none'}"


def flood_trace(packet: Packet) -> str:
    """l2-flood."""
    return f"l2-flood: {_ends(packet)} bd_index {_domain(packet)}"


def output_trace(packet: Packet) -> str:
    """l2-output: the interface that the frame goes to, and what follows its MAC addresses."""
    data = bytes(packet.data[:24])
    index = packet.tx.sw_if_index if packet.tx is not None else -1
    ends = f"dst {format_mac(data[:6])} src {format_mac(data[6:12])}"
    return f"l2-output: sw_if_index {index} {ends} data {data[12:24].hex(' ')}"


def encapsulation_trace(packet: Packet) -> str:
    """vxlan4-encap: the tunnel."""
    tunnel = packet.tx.details if packet.tx is not None else None
    return f"VXLAN encap to {packet.tx.name if packet.tx else ''} vni {getattr(tunnel, 'vni', 0)}"


def decapsulation_trace(packet: Packet) -> str:
    """vxlan4-input, after it: the tunnel, if there is one."""
    tunnel = packet.rx.details
    number = getattr(tunnel, "vni", None)
    if number is not None:
        return f"VXLAN decap from {packet.rx.name} vni {number} next 1 error 0"
    start = (packet.data[0] & 15) * 4 + 12
    return f"VXLAN decap error - tunnel for vni {int.from_bytes(packet.data[start : start + 3], 'big')} does not exist"
