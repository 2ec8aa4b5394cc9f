# SPDX-License-Identifier: Apache-2.0
"""VXLAN tunnels (RFC 7348) over IPv4: Ethernet frames in UDP packets between two addresses, with a network number.

A tunnel is an interface ``vxlan_tunnelN`` that is up from the start. vxlan4-encap puts the outer headers before a
frame (the UDP source port is a hash of the flow inside, the checksum is 0) and hands it to what the FIB says about
the far end; vxlan4-input finds the tunnel by addresses, number and the port that the packet was sent to, which as in
VPP is the tunnel's *source* port. An outer packet that is too long is fragmented or dropped by ip4-rewrite.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import reasons
from .addresses import random_mac
from .errors import DataplaneError, Retval
from .ethernet import IP4
from .fib import RECURSIVE_RESOLUTION
from .graph import Packet
from .interfaces import INVALID_INDEX, FloodClass
from .l2_trace import decapsulation_trace, encapsulation_trace
from .load_balance import flow_hash, mix

if TYPE_CHECKING:
    from .fib import FibTable
    from .forwarding import Action
    from .graph import Graph
    from .interfaces import Interface

DEVICE_CLASS = "VXLAN"
PORT = 4789
TTL = 254  # of the outer header; ip4-rewrite takes one off unless VPP made what is inside
FLAG_I = 0x08
OVERHEAD = 36  # outer IPv4, UDP and VXLAN headers
DECAP_DROP, DECAP_L2 = 0, 1
_HEADERS = struct.Struct("!BBHHHBBHIIHHHHII")
_MACS = struct.Struct("<2xI2xI")
SHORTEST_IP4 = 34  # a frame with an IPv4 header
Key = tuple[int, int, int, int, "FibTable"]


@dataclass(slots=True, eq=False)
class VxlanTunnel:
    """One tunnel; addresses are from this end."""

    source: int
    destination: int
    vni: int
    table: FibTable
    source_port: int = PORT
    destination_port: int = PORT
    instance: int = INVALID_INDEX  # of the name; free ones are chosen
    decap_next: int = DECAP_L2
    mcast_sw_if_index: int = 0
    index: int = field(default=0, init=False)
    interface: Interface = field(init=False)

    @property
    def key(self) -> Key:
        """What packets for this tunnel have: from, to, VNI with VPP's reserved byte, port, table."""
        number = (self.vni << 8) & 0xFFFFFFFF
        return (self.destination, self.source, number, self.source_port, self.table)


class Vxlan:
    """All tunnels, and their nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._slots: list[VxlanTunnel | None] = []
        self._free: list[int] = []
        self._by_key: dict[Key, VxlanTunnel] = {}
        self.encap_node = graph.add_node("vxlan4-encap", self._encap, trace=encapsulation_trace)
        self.input = graph.add_node("vxlan4-input", self._input, trace=decapsulation_trace, trace_late=True)

    # -- tunnels ------------------------------------------------------------------------------------

    def add(self, tunnel: VxlanTunnel) -> Interface:
        """Create a tunnel with its interface, which is up."""
        if tunnel.key in self._by_key:
            raise DataplaneError(Retval.TUNNEL_EXIST, "there is such a tunnel already")
        if tunnel.decap_next not in (DECAP_DROP, DECAP_L2):
            raise DataplaneError(Retval.INVALID_DECAP_NEXT, f"there is no next node {tunnel.decap_next}")
        index = self._free[-1] if self._free else len(self._slots)
        instance = index if tunnel.instance == INVALID_INDEX else tunnel.instance
        if any(found.instance == instance for found in self.tunnels()):
            raise DataplaneError(Retval.INSTANCE_IN_USE, f"vxlan_tunnel{instance} exists already")
        dataplane = self.graph.dataplane
        interface = dataplane.add_interface(
            f"vxlan_tunnel{instance}", device_class=DEVICE_CLASS, instance=index, mac=random_mac()
        )
        tunnel.index, tunnel.instance, tunnel.interface = index, instance, interface
        interface.details = tunnel
        interface.flood_class = FloodClass.TUNNEL
        interface.output_node = self.encap_node
        interface.port = VxlanPort(self, interface)
        if self._free:
            self._slots[self._free.pop()] = tunnel
        else:
            self._slots.append(tunnel)
        self._by_key[tunnel.key] = tunnel
        self._track(tunnel)
        self.graph.udp_ports.setdefault(tunnel.source_port, self.input)  # stays, as in VPP
        dataplane.set_admin_state(interface.sw_if_index, up=True)
        return interface

    def delete(self, like: VxlanTunnel) -> int:
        """Remove the tunnel with the same key; returns the sw_if_index that it had."""
        tunnel = self._by_key.pop(like.key, None)
        if tunnel is None:
            raise DataplaneError(Retval.NO_SUCH_ENTRY, "there is no such tunnel")
        self._slots[tunnel.index] = None
        self._free.append(tunnel.index)
        self._untrack(tunnel)
        self.graph.dataplane.delete_interface(tunnel.interface.sw_if_index)
        return tunnel.interface.sw_if_index

    def tunnels(self) -> list[VxlanTunnel]:
        """All tunnels by index."""
        return [found for found in self._slots if found is not None]

    @staticmethod
    def _track(tunnel: VxlanTunnel) -> None:
        """The far end gets an entry in the FIB, and the table lives as long as the tunnel."""
        locks = tunnel.table.locks
        locks[RECURSIVE_RESOLUTION] = locks.get(RECURSIVE_RESOLUTION, 0) + 1
        tunnel.table.track(tunnel.destination)

    def _untrack(self, tunnel: VxlanTunnel) -> None:
        ends = {(found.table, found.destination) for found in self.tunnels()}
        if (tunnel.table, tunnel.destination) not in ends:
            tunnel.table.delete(tunnel.destination, 32, RECURSIVE_RESOLUTION)
        self.graph.dataplane.fibs.unlock(tunnel.table, RECURSIVE_RESOLUTION)

    # -- packets ------------------------------------------------------------------------------------

    def _encap(self, vector: list[Packet]) -> None:
        self.graph.count("vxlan4-encap", reasons.VXLAN_ENCAPSULATED, len(vector))
        resolver = self.graph.ip4.resolver
        for packet in vector:
            assert packet.tx is not None
            tunnel = packet.tx.details
            assert isinstance(tunnel, VxlanTunnel)
            packet.data = encapsulate(tunnel, packet.data)
            packet.source, packet.destination = tunnel.source, tunnel.destination
            counters = tunnel.interface.counters
            counters.tx_packets += 1
            counters.tx_bytes += len(packet.data)
            table = tunnel.table
            balance = table.cache.get(tunnel.destination) or resolver.resolve(table, tunnel.destination)
            actions = balance.actions
            packet.action = action = actions[0] if len(actions) == 1 else balance.choose(packet)
            if self._goes_round(tunnel, action):
                self.graph.drop(packet, "vxlan4-encap", reasons.VXLAN_LOOP)
            else:
                action.node.pending.append(packet)

    def _goes_round(self, tunnel: VxlanTunnel, action: Action) -> bool:
        """True if the far end is here, or behind the BVI of the tunnel's domain, where packets would never leave."""
        if action.node.name == "ip4-receive":
            return True
        other = action.interface.l2 if action.interface is not None else None
        own = tunnel.interface.l2
        return other is not None and own is not None and other.bvi and other.domain is own.domain

    def _input(self, vector: list[Packet]) -> None:
        good = 0
        for packet in vector:
            data = packet.data
            start = (data[0] & 15) * 4 + 8
            if len(data) < start + 8 or data[start] != FLAG_I:
                self.graph.drop(packet, "vxlan4-input", reasons.VXLAN_BAD_FLAGS)
                continue
            number = int.from_bytes(data[start + 4 : start + 8], "big")
            port = int.from_bytes(data[start - 6 : start - 4], "big")
            tunnel = self._by_key.get((packet.source, packet.destination, number, port, packet.rx.fib4))
            if tunnel is None:
                self.graph.drop(packet, "vxlan4-input", reasons.VXLAN_NO_SUCH_TUNNEL)
                continue
            good += 1
            del data[: start + 8]
            packet.ethernet, packet.rx, packet.from_bvi = b"", tunnel.interface, False
            counters = tunnel.interface.counters
            counters.rx_packets += 1
            counters.rx_bytes += len(data)
            if tunnel.decap_next == DECAP_L2:
                self.graph.layer2.input.pending.append(packet)
            else:
                self.graph.blackhole(packet, "vxlan4-input", reasons.VXLAN_DROP)
        if good:
            self.graph.count("vxlan4-input", reasons.VXLAN_DECAPSULATED, good)


class VxlanPort:
    """The port of a tunnel, for what layer 3 sends out of it."""

    input_node = "vxlan4-input"

    def __init__(self, vxlan: Vxlan, interface: Interface) -> None:
        self.vxlan = vxlan
        self.interface = interface

    def send(self, frames: list[bytes]) -> int:
        """To vxlan4-encap."""
        for frame in frames:
            packet = Packet(bytearray(frame), b"", self.interface)
            packet.tx = self.interface
            self.vxlan.encap_node.pending.append(packet)
        return len(frames)

    def close(self, *, keep: bool = False) -> None:
        """Nothing to release."""


def encapsulate(tunnel: VxlanTunnel, frame: bytes | bytearray) -> bytearray:
    """The outer IPv4 packet with a frame in it."""
    length = len(frame) + OVERHEAD
    source, destination = tunnel.source, tunnel.destination
    total = 0x4500 + length + (TTL << 8 | 17)
    total += (source >> 16) + (source & 0xFFFF) + (destination >> 16) + (destination & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    packet = bytearray(
        _HEADERS.pack(
            0x45, 0, length & 0xFFFF, 0, 0, TTL, 17, ~total & 0xFFFF, source, destination, inner_hash(frame),
            tunnel.destination_port, (length - 20) & 0xFFFF, 0, FLAG_I << 24, (tunnel.vni << 8) & 0xFFFFFFFF,
        )
    )  # fmt: skip
    packet += frame
    return packet


def inner_hash(frame: bytes | bytearray) -> int:
    """The UDP source port for a frame: half of VPP's hash of the flow in it, in the byte order of a PC.

    The flow is that of an IPv4 packet, or else MAC addresses and type (for IPv6 VPP has a hash of its own).
    """
    if frame[12:14] == IP4 and len(frame) >= SHORTEST_IP4:
        value = flow_hash(frame[14:38])
    else:
        destination, source = _MACS.unpack_from(frame)
        value = mix(destination, source, int.from_bytes(frame[12:14], "big"))
    return (value & 0xFF) << 8 | value >> 8 & 0xFF
