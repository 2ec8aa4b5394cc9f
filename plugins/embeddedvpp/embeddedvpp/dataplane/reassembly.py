# SPDX-License-Identifier: Apache-2.0
"""Fragments for VPP itself become packets again: the node ip4-local-full-reassembly, with VPP's limits.

Fragments wait by table, addresses, protocol and identification. Like VPP: 200 ms after the last fragment they are
given up, 1024 packets may wait, and a packet that still lacks something after more than three fragments is given up,
too. What is complete goes to ip4-input again, with the header of its first fragment. Of bytes that came twice those
that VPP takes are taken: the older ones at a fragment's beginning, the newer ones at its end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from . import reasons
from .forwarding import checksum

if TYPE_CHECKING:
    from .graph import Graph, Packet
    from .reasons import Reason

TIMEOUT = 0.2  # seconds after the last fragment
EXPIRE_INTERVAL = 0.05  # seconds between two searches for what is overdue
MOST_PACKETS = 1024
MOST_FRAGMENTS = 3  # of a packet that is not complete
LONGEST = 0xFFFF - 20  # bytes that fragments may reach
NODE, EXPIRE_NODE = "ip4-local-full-reassembly", "ip4-full-reassembly-expire-walk"

Key = tuple[int, int, int, int, int]


@dataclass(slots=True, eq=False)
class Range:
    """The bytes of a fragment that count: of the whole packet's payload from ``first`` to ``last``."""

    packet: Packet
    start: int  # of the fragment itself
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def payload(self) -> bytes:
        """The bytes."""
        data = self.packet.data
        begin = (data[0] & 15) * 4 + self.first - self.start
        return bytes(data[begin : begin + len(self)])


@dataclass(slots=True, eq=False)
class Assembly:
    """What is there of one packet; ranges are sorted and do not overlap."""

    heard: float
    ranges: list[Range] = field(default_factory=list)
    fragments: int = 0
    last: int = -1  # last byte of the packet, -1: not known yet

    def add(self, new: Range) -> bool:
        """Take a fragment in; False if all its bytes are there already."""
        ranges, index = self.ranges, 0
        begin = new.first
        while index < len(ranges):
            old = ranges[index]
            if begin > old.last:
                index += 1
                continue
            if new.last < old.first:
                break
            if begin >= old.first and new.last <= old.last:
                return False
            if begin < old.first and new.last - old.first + 1 < len(old):
                old.first = new.last + 1
                break
            if begin >= old.first and old.last - begin + 1 < len(old):
                new.first = old.last + 1
                index += 1
                continue
            del ranges[index]
        ranges.insert(index, new)
        self.fragments += 1
        return True

    @property
    def complete(self) -> bool:
        """True if no byte is missing."""
        if self.last < 0 or self.ranges[0].first or self.ranges[-1].last != self.last:
            return False
        return sum(map(len, self.ranges)) == self.last + 1

    def finish(self) -> Packet:
        """The whole packet."""
        packet = self.ranges[0].packet
        header = packet.data[: (packet.data[0] & 15) * 4]
        payload = b"".join(each.payload() for each in self.ranges)
        header[2:4] = (len(header) + len(payload)).to_bytes(2, "big")
        header[6:8] = header[10:12] = b"\0\0"
        header[10:12] = checksum(header).to_bytes(2, "big")
        packet.data = header + payload
        return packet


class Reassembly:
    """The node, and what waits in it."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node = graph.add_node(NODE, self._reassemble, trace=_trace)
        self.waiting: dict[Key, Assembly] = {}
        self._searched = 0.0

    def _reassemble(self, vector: list[Packet]) -> None:
        now = self.graph.dataplane.time()
        self._expire(now)
        self.graph.count(NODE, reasons.REASS_RECEIVED, len(vector))
        for packet in vector:
            reason = self._fragment(packet, now)
            if reason is not None:
                self.graph.drop(packet, NODE, reason)

    def _fragment(self, packet: Packet, now: float) -> Reason | None:
        """Add a fragment to its packet; returns why it is dropped, if it is."""
        data = packet.data
        flags = int.from_bytes(data[6:8], "big")
        more, first = flags & 0x2000, (flags & 0x1FFF) * 8
        length = len(data) - (data[0] & 15) * 4
        if length <= 0 or first + length > LONGEST or (more and length < 8):
            return reasons.REASS_MALFORMED
        ident = int.from_bytes(data[4:6], "big")
        key = (packet.rx.fib4.index, packet.source, packet.destination, ident, data[9])
        assembly = self.waiting.get(key)
        if assembly is not None and now > assembly.heard + TIMEOUT:
            self.graph.count(NODE, reasons.REASS_TIMEOUT)
            del self.waiting[key]
            assembly = None
        if assembly is None:
            if len(self.waiting) >= MOST_PACKETS:
                return reasons.REASS_LIMIT
            assembly = self.waiting[key] = Assembly(now)
        assembly.heard = now
        last = first + length - 1
        if not more:
            assembly.last = last
        new = assembly.add(Range(packet, first, first, last))
        if assembly.complete:
            del self.waiting[key]
            self.graph.count(NODE, reasons.REASS_SUCCESS)
            self.graph.count(NODE, reasons.REASS_REASSEMBLED, assembly.fragments)
            self.graph.ip4.input.pending.append(assembly.finish())
        elif new and assembly.fragments > MOST_FRAGMENTS:
            del self.waiting[key]
            self.graph.count(NODE, reasons.REASS_TOO_LONG)
        return None if new else reasons.REASS_DUPLICATE

    def _expire(self, now: float) -> None:
        if 0 <= now - self._searched < EXPIRE_INTERVAL:
            return
        self._searched = now
        overdue = [key for key, found in self.waiting.items() if now > found.heard + TIMEOUT]
        for key in overdue:
            del self.waiting[key]
        if overdue:
            self.graph.count(EXPIRE_NODE, reasons.REASS_TIMEOUT, len(overdue))


def _trace(packet: Packet) -> str:
    data = packet.data
    first, length = (int.from_bytes(data[6:8], "big") & 0x1FFF) * 8, len(data) - (data[0] & 15) * 4
    return f"ip/fragment[{first}, {first + length - 1}], off 0, len {length}"
