# SPDX-License-Identifier: Apache-2.0
"""The ends of the graph: ethernet-input makes packets of frames, interface-output frames of packets.

Frames on an interface that is down, for another MAC address, with a VLAN tag that no sub-interface takes or of an
unknown type end here, and so do IPv6 packets: no interface has IPv6 enabled. Frames on an interface in a bridge
domain go to ``l2_nodes``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import reasons
from .graph import Packet
from .ports import LoopbackPort
from .sub_interfaces import is_priority_tagged, sub_interface
from .trace_text import frame_text

if TYPE_CHECKING:
    from .graph import Graph
    from .interfaces import Interface
    from .reasons import Reason

HEADER = 14
IP4, ARP, IP6 = b"\x08\x00", b"\x08\x06", b"\x86\xdd"
_VLAN = frozenset((b"\x81\x00", b"\x88\xa8", b"\x91\x00"))


class Ethernet:
    """ethernet-input and interface-output."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node = graph.add_node("ethernet-input", lambda _vector: None)
        self.output = graph.add_node("interface-output", self._output)

    def receive(self, interface: Interface, frames: list[bytes]) -> None:
        """Count and sort the frames of one interface."""
        graph = self.graph
        counters = interface.counters
        if not interface.admin_up:
            for frame in frames:
                self._drop(interface, reasons.ETHERNET_DOWN, frame)
            return
        if not isinstance(interface.port, LoopbackPort):  # VPP counts what a loopback sends itself as sent only
            counters.rx_packets += len(frames)
            counters.rx_bytes += sum(map(len, frames))
        if interface.l2 is not None:
            if interface.subs:
                frames = self._not_of_subs(interface, frames)
            graph.layer2.receive(interface, frames)
            return
        self.node.calls += 1
        self.node.packets += len(frames)
        mac, promiscuous = interface.mac, interface.promiscuous
        ip4 = graph.nodes["ip4-input"].pending
        for frame in frames:
            kind = frame[12:14]
            if kind == IP4 and (frame[:6] == mac or frame[0] & 1 or promiscuous):
                ip4.append(Packet(bytearray(frame[HEADER:]), frame[:HEADER], interface))
            else:
                self._other(interface, frame, kind)

    def _other(self, interface: Interface, frame: bytes, kind: bytes) -> None:
        if len(frame) < HEADER:
            self._drop(interface, reasons.ETHERNET_RUNT, frame)
        elif kind in _VLAN:
            self._tagged(interface, frame)
        elif frame[:6] != interface.mac and not frame[0] & 1 and not interface.promiscuous:
            self._drop(interface, reasons.ETHERNET_MAC_MISMATCH, frame)
        elif kind == ARP:
            packet = Packet(bytearray(frame[HEADER:]), frame[:HEADER], interface)
            self.graph.nodes["arp-input"].pending.append(packet)
        elif kind == IP6:
            interface.counters.ip6 += 1
            self.graph.count("null-node", reasons.BLACKHOLED)
            self.graph.discard(interface, "ip6-not-enabled", reasons.IP6_DISABLED, frame)
        else:
            interface.counters.punt += kind >= b"\x06\x00"
            self._drop(interface, reasons.ETHERNET_UNKNOWN_TYPE, frame)

    def _not_of_subs(self, interface: Interface, frames: list[bytes]) -> list[bytes]:
        """The frames that no sub-interface of a bridged interface takes; they do get theirs."""
        others = []
        for frame in frames:
            if frame[12:14] in _VLAN and sub_interface(interface, frame) is not None:
                self._tagged(interface, frame)
            else:
                others.append(frame)
        return others

    def _tagged(self, interface: Interface, frame: bytes) -> None:
        """To the sub-interface that takes exactly this tag, without the tag unless it is bridged."""
        found = sub_interface(interface, frame)
        if found is None and is_priority_tagged(frame):
            self.receive(interface, [frame[:12] + frame[16:]])
        elif found is None:
            self._drop(interface, reasons.ETHERNET_UNKNOWN_VLAN, frame)
        elif not found.admin_up:
            self._drop(found, reasons.ETHERNET_SUB_DOWN, frame)
        elif found.l2 is not None:
            self.receive(found, [frame])
        else:
            self.receive(found, [frame[:12] + frame[16:]])

    def _drop(self, interface: Interface, reason: Reason, frame: bytes) -> None:
        self.graph.count("ethernet-input", reason)
        self.graph.discard(interface, "ethernet-input", reason, frame)

    def _output(self, vector: list[Packet]) -> None:
        output = self.graph.output
        for packet in vector:
            action = packet.action
            interface = action.interface
            assert interface is not None
            if not interface.admin_up:
                self.graph.drop(packet, f"{interface.name}-output", reasons.INTERFACE_DOWN)
                continue
            frame = action.rewrite + packet.data
            if interface.l2 is not None:
                self._to_bridge(packet, interface, bytearray(frame))
                continue
            queue = output.get(interface)
            if queue is None:
                output[interface] = [frame]
            else:
                queue.append(frame)

    def _to_bridge(self, packet: Packet, interface: Interface, frame: bytearray) -> None:
        """Layer 3 sends out of an interface that is in a bridge domain, its BVI."""
        assert interface.l2 is not None
        interface.counters.tx_packets += 2  # VPP counts at loopN-output and at loopN-tx
        interface.counters.tx_bytes += 2 * len(frame)
        if self.graph.trace is not None:
            text = f"{interface.name} flags 0x00000000\n{frame_text(frame)}"
            self.graph.trace.visit(f"{interface.name}-output", text)
        packet.data, packet.ethernet, packet.rx, packet.from_bvi = frame, b"", interface, interface.l2.bvi
        self.graph.layer2.input.pending.append(packet)

    def send(self, interface: Interface, frame: bytes) -> None:
        """Send a frame that is complete (ARP)."""
        if interface.admin_up and interface.l2 is not None:
            packet = Packet(bytearray(), b"", interface)
            packet.local = True
            self._to_bridge(packet, interface, bytearray(frame))
        elif interface.admin_up:
            self.graph.output.setdefault(interface, []).append(frame)
        else:
            self.graph.count(f"{interface.name}-output", reasons.INTERFACE_DOWN)
