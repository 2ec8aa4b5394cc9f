# SPDX-License-Identifier: Apache-2.0
"""IPv4 from ip4-input to ip4-rewrite: header checks, look-up, TTL, MTU, and packets for ourselves."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from . import reasons
from .fib import PathType
from .forwarding import Resolver, Throttle, checksum
from .icmp import FRAGMENTATION_NEEDED, HOST_PROHIBITED, HOST_UNREACHABLE, PORT_UNREACHABLE, TTL_EXCEEDED
from .ip4_trace import forward_trace, lookup_trace, null_trace, options_trace, rewrite_trace, udp_trace

if TYPE_CHECKING:
    from .graph import Graph, Packet
    from .reasons import Reason

_FIELDS = struct.Struct("!2xH2xHB3xII")  # total length, flags and offset, TTL, source, destination
DF, MORE_FRAGMENTS, OFFSET = 0x4000, 0x2000, 0x1FFF
ICMP, TCP, UDP = 1, 6, 17
NULL_PERIOD = 0.1  # seconds between two ICMP answers of ip4-null to one sender


class Ip4:
    """The IPv4 nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.resolver = Resolver(graph.dataplane)
        self._null_throttle = Throttle(NULL_PERIOD)
        self.input = graph.add_node("ip4-input", self._input)
        self.options = graph.add_node("ip4-options", self._options, trace=options_trace)
        graph.add_node("ip4-not-enabled", self._not_enabled)
        self.lookup = graph.add_node("ip4-lookup", self._lookup, trace=lookup_trace, trace_late=True)
        graph.add_node("ip4-load-balance", self._lookup, trace=lookup_trace, trace_late=True)
        graph.add_node("ip4-rewrite", self._rewrite, trace=rewrite_trace, trace_late=True)
        graph.add_node("ip4-receive", self._receive, trace=forward_trace)
        graph.add_node("ip4-drop", self._drop, trace=forward_trace)
        graph.add_node("ip4-null", self._null, trace=null_trace)

    # -- input --------------------------------------------------------------------------------------

    def _input(self, vector: list[Packet]) -> None:
        lookup = self.lookup.pending
        for packet in vector:
            data = packet.data
            rx = packet.rx
            rx.counters.ip4 += 1
            plain = len(data) >= 20 and data[0] == 0x45 and not int.from_bytes(data[:20], "big") % 0xFFFF
            if not plain and not self._header_is_valid(packet):
                continue
            length, fragment, ttl, packet.source, packet.destination = _FIELDS.unpack_from(data)
            if length != len(data):
                if length > len(data) or length < 20:
                    reason = reasons.IP4_TOO_SHORT if length < 20 else reasons.IP4_BAD_LENGTH
                    self.graph.drop(packet, "ip4-input", reason)
                    continue
                del data[length:]  # Ethernet's padding
            if fragment & OFFSET == 1:
                self.graph.drop(packet, "ip4-input", reasons.IP4_FRAGMENT_OFFSET_ONE)
            elif not ttl:
                self.graph.icmp.error(packet, "ip4-input", reasons.IP4_TIME_EXPIRED, TTL_EXCEEDED)
            elif not plain:
                self.options.pending.append(packet)
            elif packet.destination >> 28 == 14:  # multicast
                self.graph.drop(
                    packet, "ip4-mfib-forward-rpf", reasons.IP4_RPF_FAILURE, counted_at="ip4-input"
                )
            elif "ip4-unicast" in rx.arcs:
                self.graph.start_arc("ip4-unicast", rx, packet, self.lookup)
            else:
                lookup.append(packet)

    def _header_is_valid(self, packet: Packet) -> bool:
        """The slow half of the header's checks, for what is not a plain correct header."""
        data = packet.data
        reason: Reason | None = None
        if len(data) < 20:
            reason = reasons.IP4_TOO_SHORT
        elif data[0] >> 4 != 4:
            reason = reasons.IP4_VERSION
        else:
            size = (data[0] & 15) * 4
            if size < 20:
                reason = reasons.IP4_HEADER_TOO_SHORT
            elif size > len(data) or size > int.from_bytes(data[2:4], "big"):
                reason = reasons.IP4_BAD_LENGTH
            elif int.from_bytes(data[:size], "big") % 0xFFFF:
                reason = reasons.IP4_BAD_CHECKSUM
        if reason is not None:
            self.graph.drop(packet, "ip4-input", reason)
        return reason is None

    def _options(self, vector: list[Packet]) -> None:
        """Packets with options go nowhere; VPP lets only IGMP with a router alert in, which nobody here takes."""
        for packet in vector:
            self.graph.punt(packet, "ip4-options", reasons.IP4_OPTIONS, counted_at="ip4-input")

    def _not_enabled(self, vector: list[Packet]) -> None:
        for packet in vector:
            self.graph.blackhole(packet, "ip4-not-enabled", reasons.IP4_DISABLED)

    # -- forwarding ---------------------------------------------------------------------------------

    def _lookup(self, vector: list[Packet]) -> None:
        resolve = self.resolver.resolve
        for packet in vector:
            table = packet.rx.fib4
            balance = table.cache.get(packet.destination) or resolve(table, packet.destination)
            entry = balance.entry
            entry.packets += 1
            entry.bytes += len(packet.data)
            actions = balance.actions
            packet.action = action = actions[0] if len(actions) == 1 else balance.choose(packet)
            action.node.pending.append(packet)

    def _rewrite(self, vector: list[Packet]) -> None:
        graph = self.graph
        output = graph.ethernet.output.pending
        for packet in vector:
            data = packet.data
            action = packet.action
            if not packet.local:
                data[8] = ttl = data[8] - 1
                total = (data[10] << 8) + data[11] + 0x100
                total = (total & 0xFFFF) + (total >> 16)
                data[10], data[11] = total >> 8, total & 255
                if not ttl:  # the sender gets back what its packet has become
                    graph.icmp.error(packet, "ip4-rewrite", reasons.IP4_TIME_EXPIRED, TTL_EXCEEDED)
                    continue
            if len(data) > action.mtu:
                self._too_big(packet)
            elif action.interface is not None and "ip4-output" in action.interface.arcs:
                graph.start_arc("ip4-output", action.interface, packet, graph.ethernet.output)
            else:
                output.append(packet)

    def _too_big(self, packet: Packet) -> None:
        data = packet.data
        if not packet.local:  # the sender gets back what it sent, and fragments come here again
            data[8] += 1
            data[10:12] = b"\0\0"
            data[10:12] = checksum(data[: (data[0] & 15) * 4]).to_bytes(2, "big")
        if not data[6] & 0x40:
            self.graph.fragmentation.node.pending.append(packet)
            return
        self.graph.icmp.error(
            packet, "ip4-rewrite", reasons.IP4_MTU_EXCEEDED, FRAGMENTATION_NEEDED, packet.action.mtu
        )

    def _drop(self, vector: list[Packet]) -> None:
        for packet in vector:
            path = packet.action.path
            why = reasons.NO_ROUTE if path is None or path.type is not PathType.DROP else reasons.DROP_ROUTE
            self.graph.blackhole(packet, "ip4-drop", why)

    def _null(self, vector: list[Packet]) -> None:
        now = self.graph.dataplane.time()
        for packet in vector:
            path = packet.action.path
            prohibited = path is not None and path.type is PathType.ICMP_PROHIBIT
            if self._null_throttle.check((packet.source, prohibited), now):
                self.graph.blackhole(packet, "ip4-null", reasons.DROP_ROUTE)
                continue
            kind = HOST_PROHIBITED if prohibited else HOST_UNREACHABLE
            self.graph.icmp.error(packet, "ip4-null", reasons.DROP_ROUTE, kind)

    # -- for ourselves ------------------------------------------------------------------------------

    def _receive(self, vector: list[Packet]) -> None:
        graph = self.graph
        for packet in vector:
            data = packet.data
            if int.from_bytes(data[6:8], "big") & (MORE_FRAGMENTS | OFFSET):
                graph.reassembly.node.pending.append(packet)
                continue
            reason = self._local_check(packet)
            if reason is not None:
                graph.drop(packet, "ip4-receive", reason, counted_at="ip4-local")
            elif data[9] == ICMP:
                graph.icmp.input.pending.append(packet)
            elif data[9] == UDP:
                self._udp(packet)
            else:
                graph.punt(packet, "ip4-receive", reasons.IP4_UNKNOWN_PROTOCOL, counted_at="ip4-local")

    def _udp(self, packet: Packet) -> None:
        """Whoever has the destination port gets the packet."""
        start = (packet.data[0] & 15) * 4
        node = self.graph.udp_ports.get(int.from_bytes(packet.data[start + 2 : start + 4], "big"))
        if self.graph.trace is not None:
            self.graph.trace.visit("ip4-udp-lookup", udp_trace(packet, known=node is not None))
        if node is None:
            self.graph.icmp.error(packet, "ip4-udp-lookup", reasons.NO_LISTENER, PORT_UNREACHABLE)
        else:
            node.pending.append(packet)

    def _local_check(self, packet: Packet) -> Reason | None:
        """Reject bad transport checksums, our own addresses as source, and sources that no route leads to."""
        data, table = packet.data, packet.rx.fib4
        if data[9] in (TCP, UDP):
            reason = _transport_error(packet)
            if reason is not None:
                return reason
        if self.resolver.is_local(table, packet.source):
            return reasons.IP4_SPOOFED
        if self.resolver.is_drop(table, packet.source) and packet.destination != 0xFFFFFFFF:
            return reasons.IP4_SRC_LOOKUP_MISS
        return None


def _transport_error(packet: Packet) -> Reason | None:
    data = packet.data
    segment = data[(data[0] & 15) * 4 :]
    udp = data[9] == UDP
    if udp:
        if len(segment) < 8 or int.from_bytes(segment[4:6], "big") > len(segment):
            return reasons.IP4_UDP_LENGTH
        if segment[6:8] == b"\0\0":
            return None
    pseudo = data[12:20] + bytes((0, data[9])) + len(segment).to_bytes(2, "big")
    if checksum(pseudo + segment) not in (0, 0xFFFF):
        return reasons.IP4_UDP_CHECKSUM if udp else reasons.IP4_TCP_CHECKSUM
    return None
