# SPDX-License-Identifier: Apache-2.0
"""IPv4 fragmentation: the node ip4-frag, and the function that cuts a packet.

A packet that is longer than the MTU of its way out and may be fragmented goes from ip4-rewrite to ip4-frag and comes
back in pieces. Two things are VPP's own: a packet that was whole gets an identification that VPP counts, whatever
it had, and pieces of what VPP sends itself lose one from their TTL, for only the whole was marked as local.

Options are handled as RFC 791 says (VPP 26.06 takes them for payload).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import reasons
from .forwarding import checksum
from .graph import Packet

if TYPE_CHECKING:
    from .graph import Graph
    from .reasons import Reason

BUFFER_SIZE = 2048  # bytes; a fragment is never longer than one of VPP's buffers
_MORE, _OFFSET = 0x2000, 0x1FFF
_END, _NO_OPERATION, _COPIED = 0, 1, 0x80


def fragments(data: bytes | bytearray, mtu: int, ident: int) -> list[bytearray]:
    """Cut a packet into fragments of at most ``mtu`` bytes, header included; ``ident`` is for a whole packet.

    An empty list: the MTU has no room for eight bytes of payload. ``data`` has a correct header and length.
    """
    size = (data[0] & 15) * 4
    flags = int.from_bytes(data[6:8], "big")
    offset = flags & _OFFSET
    if flags & (_MORE | _OFFSET):
        ident = int.from_bytes(data[4:6], "big")
    first = bytes(data[:size])
    later = first if size == 20 else _later_header(first)
    result: list[bytearray] = []
    start, end = size, len(data)
    while start < end:
        header = bytearray(later if result else first)
        length = end - start
        room = min(mtu, BUFFER_SIZE) - len(header)
        if length > room:
            length = room & ~7
            if length <= 0:
                return []
        more = flags & _MORE or start + length < end
        header[2:4] = (len(header) + length).to_bytes(2, "big")
        header[4:6] = ident.to_bytes(2, "big")
        header[6:8] = (offset + (start - size) // 8 | (_MORE if more else 0)).to_bytes(2, "big")
        header[10:12] = b"\0\0"
        header[10:12] = checksum(header).to_bytes(2, "big")
        result.append(header + data[start : start + length])
        start += length
    return result


def _later_header(header: bytes) -> bytes:
    """The header of all fragments but the first: options with the copied flag stay."""
    kept, position = b"", 20
    while position < len(header) and header[position] != _END:
        kind = header[position]
        if kind == _NO_OPERATION:
            position += 1
            continue
        length = header[position + 1] if position + 1 < len(header) else 0
        if length < 2 or position + length > len(header):
            break  # malformed: nothing that follows can be told apart
        if kind & _COPIED:
            kept += header[position : position + length]
        position += length
    kept += bytes(-len(kept) % 4)
    return bytes((0x40 | (5 + len(kept) // 4),)) + header[1:20] + kept


class Fragmentation:
    """The node ip4-frag."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.node = graph.add_node("ip4-frag", self._fragment, trace=_trace)
        self._ident = 0

    def _fragment(self, vector: list[Packet]) -> None:
        sent = 0
        for packet in vector:
            pieces = fragments(packet.data, packet.action.mtu, self._ident)
            if not pieces:
                self._refuse(packet, reasons.FRAG_CANT_FRAGMENT)
                continue
            if not int.from_bytes(packet.data[6:8], "big") & (_MORE | _OFFSET):
                self._ident = (self._ident + 1) & 0xFFFF
            sent += len(pieces)
            back = packet.action.node.pending
            for data in pieces:
                piece = Packet(data, packet.ethernet, packet.rx)
                piece.source, piece.destination = packet.source, packet.destination
                piece.action = packet.action
                back.append(piece)
        if sent:
            self.graph.count("ip4-frag", reasons.FRAG_SENT, sent)

    def _refuse(self, packet: Packet, reason: Reason) -> None:
        self.graph.drop(packet, "ip4-frag", reason)


def _trace(packet: Packet) -> str:
    number = len(fragments(packet.data, packet.action.mtu, 0))
    return f"mtu: {packet.action.mtu} pkt-size: {len(packet.data)} fragments: {number} next: 0"
