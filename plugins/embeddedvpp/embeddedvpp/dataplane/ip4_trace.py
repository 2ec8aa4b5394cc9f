# SPDX-License-Identifier: Apache-2.0
"""What the IPv4 nodes show of a traced packet.

Numbers of adjacencies and load balances (``dpo-idx``, ``adj``) are VPP's own business: here they are the index of the
interface that the packet goes to, and 0 without one. The flow hash is shown where it chose between paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .addresses import format_ip4
from .fib import PathType
from .load_balance import flow_hash
from .trace_text import hex_lines, ip4_text

if TYPE_CHECKING:
    from .forwarding import Action
    from .graph import Packet


def lookup_trace(packet: Packet) -> str:
    """ip4-lookup: what was chosen."""
    table = packet.rx.fib4
    found = table.cache.get(packet.destination)
    flow = flow_hash(packet.data) if found is not None and len(found.actions) > 1 else 0
    head = f"fib {table.index} dpo-idx {_index(packet.action)} flow hash: 0x{flow:08x}"
    return f"{head}\n{ip4_text(packet.data)}"


def forward_trace(packet: Packet) -> str:
    """The nodes that a look-up ends at."""
    return f"  fib:{packet.rx.fib4.index} adj:{_index(packet.action)} flow:0x00000000\n{ip4_text(packet.data)}"


def rewrite_trace(packet: Packet) -> str:
    """ip4-rewrite: adjacency and the packet's first bytes, with the new header if it goes on."""
    action, interface, data = packet.action, packet.action.interface, packet.data
    goes_on = len(data) <= action.mtu and (packet.local or data[8])
    index = interface.sw_if_index if interface is not None and goes_on else 0
    name = interface.name if interface is not None else ""
    adjacency = f"ipv4 via {format_ip4(action.next_hop)} {name}: mtu:{action.mtu} next:{_index(action)} flags:[]"
    head = f"tx_sw_if_index {index} dpo-idx {_index(action)} : {adjacency} {action.rewrite.hex()} flow hash: 0x00000000"
    return "\n".join([head, *hex_lines(action.rewrite + data if goes_on else data)])


def null_trace(packet: Packet) -> str:
    """ip4-null."""
    path = packet.action.path
    prohibited = path is not None and path.type is PathType.ICMP_PROHIBIT
    return f"ip4-null action:send-{'prohibited' if prohibited else 'unreachable'}"


def options_trace(packet: Packet) -> str:
    """ip4-options: the first four bytes."""
    return f"option:[{','.join(hex(byte) for byte in packet.data[20:24])}]"


def udp_trace(packet: Packet, *, known: bool) -> str:
    """ip4-udp-lookup: whether anybody takes the port."""
    at = (packet.data[0] & 15) * 4
    source, destination = (int.from_bytes(packet.data[place : place + 2], "big") for place in (at, at + 2))
    return f"UDP: src-port {source} dst-port {destination}{'' if known else ' (no listener)'}"


def _index(action: Action) -> int:
    return action.interface.sw_if_index if action.interface is not None else 0
