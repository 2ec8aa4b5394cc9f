# SPDX-License-Identifier: Apache-2.0
"""Frames in bridge domains: l2-input, l2-learn, l2-fwd, l2-flood, l2-output, and the way to layer 3 by the BVI.

What a frame may do is the features that its interface and its domain have in common; each node hands it on to the
next of them. As in VPP a unicast frame to an unknown address is dropped in l2-fwd unless unknown unicast is flooded,
one to the BVI's address goes to layer 3, and no frame leaves in the split horizon group that it came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import reasons
from .bridge import Feature, L2Port
from .ethernet import ARP, HEADER, IP4, IP6
from .graph import Packet
from .interfaces import FloodClass
from .l2_fib import L2FibEntry
from .l2_trace import flood_trace, forward_trace, input_trace, learn_trace, output_trace

if TYPE_CHECKING:
    from .graph import Graph
    from .interfaces import Interface
    from .reasons import Reason

ARP_REQUEST = b"\0\1"
_FWD, _LEARN = int(Feature.FWD), int(Feature.LEARN)
_UNKNOWN_UNICAST = int(Feature.UU_FLOOD | Feature.UU_FWD)
_NOT_FOR_MULTICAST = ~int(Feature.FWD | Feature.UU_FLOOD | Feature.UU_FWD)
_NOT_WITHOUT_ARP = ~int(Feature.ARP_UFWD)


class Layer2:
    """The layer 2 nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.input = graph.add_node("l2-input", self._input, trace=input_trace)
        self.learn = graph.add_node("l2-learn", self._learn, trace=learn_trace)
        self.forward = graph.add_node("l2-fwd", self._forward, trace=self._forward_trace)
        self.unknown = graph.add_node("l2-uu-fwd", self._unknown)
        self.flood = graph.add_node("l2-flood", self._flood, trace=flood_trace)
        self.output = graph.add_node("l2-output", self._output, trace=output_trace)

    def receive(self, interface: Interface, frames: list[bytes]) -> None:
        """Frames that came in at an interface in a bridge domain."""
        for frame in frames:
            packet = Packet(bytearray(frame), b"", interface)
            packet.from_bvi = False
            self.input.pending.append(packet)

    # -- input --------------------------------------------------------------------------------------

    def _input(self, vector: list[Packet]) -> None:
        self.graph.count("l2-input", reasons.L2_INPUT, len(vector))
        for packet in vector:
            port, data = packet.rx.l2, packet.data
            if len(data) < HEADER:
                self.graph.drop(packet, "l2-input", reasons.ETHERNET_RUNT)
                continue
            if port is None:
                self.graph.blackhole(packet, "l2-input", reasons.L2_NOT_BRIDGED)
                continue
            features = port.features & port.domain.features
            packet.shg = port.shg
            if data[0] & 1:
                features &= _NOT_FOR_MULTICAST
                if data[12:14] != ARP:
                    features &= _NOT_WITHOUT_ARP
                elif packet.from_bvi and data[20:22] == ARP_REQUEST:
                    packet.shg = 0  # what the BVI asks may go to ports of its own group
            elif packet.from_bvi:
                packet.shg = 0
            packet.features = features
            if features & _LEARN:
                self.learn.pending.append(packet)
            else:
                self._next(packet)

    def _next(self, packet: Packet) -> None:
        """To the next of its features after learning."""
        features = packet.features
        if features & _FWD:
            self.forward.pending.append(packet)
        else:
            self._after_forward(packet)

    def _after_forward(self, packet: Packet) -> None:
        features = packet.features
        if features & Feature.UU_FWD:
            self.unknown.pending.append(packet)
        elif features & Feature.UU_FLOOD:
            self.flood.pending.append(packet)
        elif features & Feature.ARP_UFWD:
            self.unknown.pending.append(packet)
        elif features & Feature.FLOOD:
            self.flood.pending.append(packet)
        else:
            self.graph.drop(packet, "feature-bitmap-drop", reasons.L2_FEATURE_DISABLED)

    # -- learning -----------------------------------------------------------------------------------

    def _learn(self, vector: list[Packet]) -> None:
        self.graph.count("l2-learn", reasons.L2_LEARN, len(vector))
        now = self.graph.dataplane.time()
        for packet in vector:
            reason = self._learn_one(packet, now)
            if reason is None:
                self._next(packet)
            else:
                self.graph.drop(packet, "l2-learn", reason)

    def _learn_one(self, packet: Packet, now: float) -> Reason | None:
        bridges = self.graph.dataplane.bridges
        port = packet.rx.l2
        assert port is not None
        index, mac = packet.rx.sw_if_index, bytes(packet.data[6:12])
        entry = bridges.fib.entries.get((port.domain.index, mac))
        if entry is not None and entry.sw_if_index == index:
            if entry.learnt:
                entry.updated = now
            return None
        if entry is None:
            self.graph.count("l2-learn", reasons.L2_LEARN_MISS)
            limit = port.domain.learn_limit
            if len(bridges.fib) >= limit and bridges.fib.learnt(port.domain.index) >= limit:
                self.graph.count("l2-learn", reasons.L2_LEARN_LIMIT)
                return None
            if not any(mac):
                return None
        elif entry.filter:
            return reasons.L2_SOURCE_FILTERED
        elif entry.static:
            return reasons.L2_MAC_MOVE_VIOLATION
        else:
            self.graph.count("l2-learn", reasons.L2_MAC_MOVE)
        sequence = bridges.sequence(port, index)
        bridges.fib.add(
            L2FibEntry(port.domain.index, mac, index, learnt=True, sequence=sequence, updated=now)
        )
        return None

    # -- forwarding ---------------------------------------------------------------------------------

    def _forward(self, vector: list[Packet]) -> None:
        entries = self.graph.dataplane.bridges.fib.entries
        for packet in vector:
            port = packet.rx.l2
            assert port is not None
            entry = entries.get((port.domain.index, bytes(packet.data[:6])))
            if entry is None:
                if packet.features & _UNKNOWN_UNICAST:
                    self._after_forward(packet)
                else:
                    self.graph.drop(packet, "l2-fwd", reasons.L2_FORWARD_MISS)
            elif entry.sw_if_index == packet.rx.sw_if_index:
                self.graph.drop(packet, "l2-fwd", reasons.L2_REFLECTED)
            elif entry.filter:
                self.graph.drop(packet, "l2-fwd", reasons.L2_FILTERED)
            elif entry.bvi:
                self._to_layer3(packet, entry.sw_if_index, "l2-fwd", reasons.L2_BVI_BAD_MAC)
            else:
                packet.tx = self.graph.dataplane.interfaces.find(entry.sw_if_index)
                self.output.pending.append(packet)

    def _forward_trace(self, packet: Packet) -> str:
        return forward_trace(packet, self.graph.dataplane.bridges.fib)

    def _unknown(self, vector: list[Packet]) -> None:
        self.graph.count("l2-uu-fwd", reasons.L2_UNKNOWN, len(vector))
        for packet in vector:
            port = packet.rx.l2
            assert port is not None
            packet.tx = port.domain.uu_fwd
            self.output.pending.append(packet)

    def _flood(self, vector: list[Packet]) -> None:
        self.graph.count("l2-flood", reasons.L2_FLOOD, len(vector))
        for packet in vector:
            port = packet.rx.l2
            assert port is not None
            targets = [found for found in reversed(port.domain.flooded) if _may_leave(packet, found)]
            if not targets:
                self.graph.drop(packet, "l2-flood", reasons.L2_NO_MEMBERS)
                continue
            for target in targets[:-1]:
                self._send(self._clone(packet), target)
            if targets[-1].flood_class is FloodClass.BVI:  # always the last: layer 3 changes the packet
                index = targets[-1].sw_if_index
                self._to_layer3(packet, index, "l2-flood", reasons.L2_FLOOD_BVI_BAD_MAC)
            else:
                self._send(packet, targets[-1])

    @staticmethod
    def _clone(packet: Packet) -> Packet:
        clone = Packet(bytearray(packet.data), packet.ethernet, packet.rx)
        clone.shg, clone.features, clone.from_bvi = packet.shg, packet.features, packet.from_bvi
        return clone

    def _send(self, packet: Packet, target: Interface) -> None:
        packet.tx = target
        self.output.pending.append(packet)

    def _to_layer3(self, packet: Packet, sw_if_index: int, node: str, mismatch: Reason) -> None:
        """Out of the bridge by the BVI; the frame must be for its MAC address, or for all."""
        interface = self.graph.dataplane.interfaces.find(sw_if_index)
        data = packet.data
        if interface is None or (not data[0] & 1 and data[:6] != interface.mac):
            self.graph.drop(packet, node, mismatch)
            return
        kind = bytes(data[12:14])
        target = {IP4: "ip4-input", ARP: "arp-input"}.get(kind)
        if target is None and kind != IP6:
            self.graph.drop(packet, node, reasons.L2_BVI_ETHERTYPE)
            return
        packet.ethernet = bytes(data[:HEADER])
        del data[:HEADER]
        packet.rx = interface
        interface.counters.rx_packets += 1
        interface.counters.rx_bytes += len(data)
        if target is not None:
            self.graph.nodes[target].pending.append(packet)
        else:
            interface.counters.ip6 += 1
            self.graph.blackhole(packet, "ip6-not-enabled", reasons.IP6_DISABLED)

    # -- output -------------------------------------------------------------------------------------

    def _output(self, vector: list[Packet]) -> None:
        graph = self.graph
        graph.count("l2-output", reasons.L2_OUTPUT, len(vector))
        for packet in vector:
            interface = packet.tx
            port = interface.l2 if interface is not None else None
            if interface is None or port is None:
                graph.drop(packet, "l2-output-bad-intf", reasons.L2_BAD_INTERFACE)
            elif port.shg and port.shg == packet.shg:
                graph.drop(packet, "l2-output", reasons.L2_SPLIT_HORIZON)
            elif interface.output_node is not None:
                interface.output_node.pending.append(packet)
            elif not interface.admin_up:
                graph.drop(packet, f"{interface.name}-output", reasons.INTERFACE_DOWN)
            else:
                graph.output.setdefault(interface, []).append(bytes(packet.data))


def _may_leave(packet: Packet, target: Interface) -> bool:
    port: L2Port | None = target.l2
    return target is not packet.rx and not (packet.shg and port is not None and port.shg == packet.shg)
