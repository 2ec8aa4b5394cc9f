# SPDX-License-Identifier: Apache-2.0
"""ARP: requests for next hops (ip4-arp, ip4-glean), answers for own addresses, and what is learnt.

Who is answered and learnt from follows VPP: the sender must be on a subnet attached here, or the receiving
interface must borrow its address from the one that has the target; replies are learnt only when they are
for an address of ours.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from . import reasons
from .addresses import BROADCAST_MAC
from .errors import DataplaneError
from .fib import ADJACENCY, DEFAULT_ROUTE, EntryFlag
from .forwarding import Throttle
from .interfaces import INVALID_INDEX
from .ip4_trace import forward_trace

if TYPE_CHECKING:
    from .fib import FibEntry
    from .graph import Graph, Packet
    from .interfaces import Interface
    from .reasons import Reason

HEADER = struct.Struct("!HHBBH6sI6sI")
REQUEST, REPLY = 1, 2
REQUEST_PERIOD = 1e-3  # seconds between two requests for one address


class Arp:
    """The ARP nodes."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._throttle = Throttle(REQUEST_PERIOD)
        graph.add_node("arp-input", self._input)
        self._reply_node = graph.add_node("arp-reply", self._reply)
        graph.add_node("arp-disabled", self._disabled)
        graph.add_node("ip4-arp", lambda vector: self._resolve(vector, "ip4-arp"), trace=forward_trace)
        graph.add_node("ip4-glean", lambda vector: self._resolve(vector, "ip4-glean"), trace=forward_trace)

    # -- asking -------------------------------------------------------------------------------------

    def _resolve(self, vector: list[Packet], node: str) -> None:
        for packet in vector:
            interface = packet.action.interface
            assert interface is not None
            self.graph.drop(packet, node, self.probe(interface, packet.action.next_hop))

    def probe(self, interface: Interface, address: int) -> Reason:
        """Ask who has an address, unless that was asked just now; returns what is to be counted."""
        source = self.graph.ip4.resolver.source_address(interface, address)
        if source is None:
            return reasons.NEIGHBOR_NO_SOURCE
        if self._throttle.check((interface.sw_if_index, address), self.graph.dataplane.time()):
            return reasons.NEIGHBOR_THROTTLED
        body = HEADER.pack(1, 0x0800, 6, 4, REQUEST, interface.mac, source, bytes(6), address)
        self.graph.ethernet.send(interface, BROADCAST_MAC + interface.mac + b"\x08\x06" + body)
        return reasons.NEIGHBOR_REQUEST_SENT

    # -- being asked --------------------------------------------------------------------------------

    def _input(self, vector: list[Packet]) -> None:
        for packet in vector:
            data = packet.data
            reason: Reason | None = None
            if len(data) < HEADER.size or data[:2] != b"\0\1" or data[4] != 6:
                reason = reasons.ARP_L2_TYPE
            elif data[2:4] != b"\x08\0" or data[5] != 4:
                reason = reasons.ARP_L3_TYPE
            elif not any(data[14:18]):
                reason = reasons.ARP_DST_UNSET
            if reason is not None:
                self.graph.drop(packet, "arp-input", reason)
            else:
                self.graph.start_arc("arp", packet.rx, packet, self._reply_node)

    def _disabled(self, vector: list[Packet]) -> None:
        for packet in vector:
            self.graph.drop(packet, "arp-disabled", reasons.ARP_DISABLED)

    def _reply(self, vector: list[Packet]) -> None:
        for packet in vector:
            reason = self._handle(packet)
            if reason is reasons.ARP_NOT_FOR_US:  # VPP counts it under the first of its reasons
                self.graph.count("arp-reply", reasons.ARP_REPLIES_SENT)
                self.graph.discard(packet.rx, "arp-reply", reason, packet.data)
            elif reason is not None:
                self.graph.drop(packet, "arp-reply", reason)

    def _handle(self, packet: Packet) -> Reason | None:
        """Answer or learn; returns why the packet ends here, or None if it was answered."""
        _, _, _, _, operation, mac, source, _, target = HEADER.unpack_from(packet.data)
        interface = packet.rx
        entry = interface.fib4.lookup(target, inactive=True)
        connected = _resolving_interface(entry)
        borrowed = interface.unnumbered_to is not None and interface.unnumbered_to.sw_if_index == connected
        covering = _attached_cover(interface, source)
        if isinstance(covering, tuple):
            return covering[0]
        if covering is None and not borrowed:
            return reasons.ARP_SRC_NOT_LOCAL
        if ADJACENCY in entry.contributions:
            return self._for_neighbor(interface, connected, mac, source, target)
        flags = next(
            (found.flags for found in entry.contributions.values() if found.flags & EntryFlag.CONNECTED), None
        )
        if flags is None:
            return reasons.ARP_DST_NOT_LOCAL
        if packet.ethernet[6:12] != mac:
            return reasons.ARP_MAC_MISMATCH
        if operation == REPLY:
            return (
                self._learn(interface, source, mac) if flags & EntryFlag.LOCAL else reasons.ARP_DST_NOT_LOCAL
            )
        if not flags & EntryFlag.LOCAL or operation != REQUEST:
            return reasons.ARP_NOT_FOR_US
        here = interface.sw_if_index
        if (here != connected or covering is None or here != _resolving_interface(covering)) and not borrowed:
            return reasons.ARP_UNNUMBERED
        if source == target:
            return reasons.ARP_GRATUITOUS
        self._answer(packet, mac, source, target)
        self._learn(interface, source, mac)
        return None

    def _for_neighbor(
        self, interface: Interface, connected: int, mac: bytes, source: int, target: int
    ) -> Reason:
        """About a host that we know: only its own announcement is learnt from."""
        if connected == interface.sw_if_index and source == target:
            return self._learn(interface, source, mac)
        return reasons.ARP_DST_NOT_LOCAL

    def _answer(self, packet: Packet, mac: bytes, source: int, target: int) -> None:
        own = packet.rx.mac
        body = HEADER.pack(1, 0x0800, 6, 4, REPLY, own, target, mac, source) + packet.data[HEADER.size :]
        self.graph.count("arp-reply", reasons.ARP_REPLIES_SENT)
        self.graph.ethernet.send(packet.rx, packet.ethernet[6:12] + own + b"\x08\x06" + body)

    def _learn(self, interface: Interface, address: int, mac: bytes) -> Reason:
        try:
            self.graph.dataplane.add_neighbor(interface.sw_if_index, address, mac, static=False)
        except DataplaneError:
            return reasons.ARP_DST_NOT_LOCAL  # the table is full: as if it had not been seen
        return reasons.ARP_LEARNED


def _resolving_interface(entry: FibEntry) -> int:
    """The first interface that any path of any source names."""
    for contribution in entry.contributions.values():
        for path in contribution.paths:
            if path.sw_if_index != INVALID_INDEX:
                return path.sw_if_index
    return INVALID_INDEX


def _attached_cover(interface: Interface, source: int) -> FibEntry | tuple[Reason] | None:
    """The attached prefix that covers a sender; a reason in a tuple if the sender's address is our own."""
    longest = 32
    while True:
        entry = interface.fib4.lookup(source, longest, inactive=True)
        for contribution in entry.contributions.values():
            if contribution.flags & EntryFlag.LOCAL:
                return (reasons.ARP_SRC_IS_LOCAL,)
            if contribution.flags & (EntryFlag.ATTACHED | EntryFlag.CONNECTED):
                return entry
        if entry.length == 0 or (DEFAULT_ROUTE in entry.contributions and entry.length < 32):
            return None
        longest = entry.length - 1
