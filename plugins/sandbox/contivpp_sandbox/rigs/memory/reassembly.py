# SPDX-License-Identifier: Apache-2.0
"""What a host remembers about sizes: pieces of packets until all are there, and how large packets may be on a path."""

from __future__ import annotations

from collections.abc import Callable

from contivpp_sandbox.rigs.memory.packets import Ipv4

__all__ = ["PathMtus", "Reassembly"]

_PARTIAL = 64  # packets of which fragments are kept
_SMALLEST = 68  # bytes that every link must take (RFC 791)
PATH_MTU_SECONDS = 600.0  # as in Linux: ip_rt_mtu_expires


class Reassembly:
    """Puts fragments together, in whatever order they come."""

    def __init__(self) -> None:
        self._partial: dict[tuple[int, int, int, int], list[Ipv4]] = {}

    def take(self, packet: Ipv4) -> Ipv4 | None:
        """Keep a fragment; return the packet when its last piece is here. A whole packet is returned as it is."""
        if not packet.more and not packet.offset:
            return packet
        key = (packet.source, packet.target, packet.protocol, packet.identification)
        pieces = self._partial.setdefault(key, [])
        pieces.append(packet)
        if len(self._partial) > _PARTIAL:
            del self._partial[next(iter(self._partial))]
        pieces.sort(key=lambda piece: piece.offset)
        payload = b""
        for piece in pieces:
            if piece.offset > len(payload):
                return None
            payload = payload[: piece.offset] + piece.payload
        if pieces[-1].more:
            return None
        self._partial.pop(key, None)
        return packet._replace(payload=payload, offset=0, more=False)


class PathMtus:
    """The largest packets that routers let through, by target, as they told it (RFC 1191)."""

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._known: dict[int, tuple[int, float]] = {}

    def learn(self, target: int, mtu: int) -> None:
        """A router said that the next link takes `mtu` bytes; larger than known, or impossible, is no news."""
        if _SMALLEST <= mtu < self.towards(target, 0xFFFF):
            self._known[target] = (mtu, self._time() + PATH_MTU_SECONDS)

    def towards(self, target: int, link: int) -> int:
        """Return the largest packet in bytes, on a way that begins with a link of this MTU."""
        mtu, expires = self._known.get(target, (0xFFFF, 0.0))
        if expires <= self._time():
            self._known.pop(target, None)
            return min(link, 0xFFFF)  # lo's MTU is larger than any packet
        return min(link, mtu)
