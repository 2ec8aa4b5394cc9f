# SPDX-License-Identifier: Apache-2.0
"""What a namespace of the kernel in memory knows, ready for looking up packets.

The kernel's lists are the truth. They are compiled into numbers when a packet finds that they have changed, so that
a missing address, route or neighbour makes the very next packet fail, and a packet costs little when nothing has
changed.
"""

from __future__ import annotations

from typing import NamedTuple

from contivpp_linux.kernel.memory_links import MemoryLink, MemoryNamespace
from contivpp_linux.kernel.values import TABLE_LOCAL, TABLE_MAIN, Address, Neighbour, Route, RouteType, Scope
from contivpp_sandbox.rigs.memory.packets import dotted, mac_bytes

__all__ = ["Hop", "Tables", "TooLarge", "Unreachable"]


class Unreachable(Exception):
    """The stack cannot send there; the text says why, as seen in the namespace."""


class TooLarge(Unreachable):
    """The packet does not fit the way, whose largest packet has `mtu` bytes, and must not be fragmented."""

    def __init__(self, text: str, mtu: int) -> None:
        super().__init__(text)
        self.mtu = mtu


class Hop(NamedTuple):
    """How to send: out of which link, to whom next, and from which address by default."""

    link: MemoryLink
    next_hop: int
    source: int


class Tables:
    """Lookups in one namespace."""

    def __init__(self, namespace: MemoryNamespace) -> None:
        self._namespace = namespace
        self._addresses: list[Address] = []
        self._routes: list[Route] = []
        self._neighbours: list[Neighbour] = []
        self._links: dict[str, MemoryLink] = {}
        self._hops: dict[int, Hop] = {}
        self._own: set[int] = set()
        self._macs: dict[tuple[str, int], bytes] = {}

    def _refresh(self) -> None:
        found = self._namespace.stack
        if (
            found.routes == self._routes
            and found.addresses == self._addresses
            and found.neighbours == self._neighbours
            and self._namespace.links == self._links
        ):
            return
        self._routes, self._addresses = list(found.routes), list(found.addresses)
        self._neighbours, self._links = list(found.neighbours), dict(self._namespace.links)
        self._hops.clear()
        # The local table says what is ours; it has an entry for each address (of a link that has been up).
        self._own = {
            int(route.destination.network_address)
            for route in self._routes
            if route.type == RouteType.LOCAL and route.destination.version == 4 and route.destination.prefixlen == 32
        }
        self._macs = {
            (entry.link, int(entry.address)): mac_bytes(entry.mac)
            for entry in self._neighbours
            if entry.address.version == 4
        }

    def is_own(self, address: int) -> bool:
        """Tell whether packets to this address are for this host."""
        self._refresh()
        return address in self._own

    def mac(self, link: str, address: int) -> bytes | None:
        """Return the MAC address of a permanent neighbour."""
        self._refresh()
        return self._macs.get((link, address))

    def hop(self, target: int) -> Hop:
        """Return the way to an address, or raise Unreachable."""
        self._refresh()
        found = self._hops.get(target)
        if found is None:
            found = self._hops[target] = self._look_up(target)
        return found

    def _look_up(self, target: int) -> Hop:
        best: Route | None = None
        for route in self._routes:
            network = route.destination
            if network.version != 4 or route.table not in (TABLE_MAIN, TABLE_LOCAL):
                continue
            if target & int(network.netmask) == int(network.network_address) and (
                best is None or _rank(route) > _rank(best)
            ):
                best = route
        text = dotted(target)
        if best is None or best.type in (RouteType.UNREACHABLE, RouteType.BLACKHOLE):
            raise Unreachable(f"no route to {text}" if best is None else f"the route {best.destination} refuses {text}")
        if best.type == RouteType.LOCAL:
            return Hop(self._namespace.links["lo"], target, target)
        if best.type == RouteType.BROADCAST or best.link is None:
            raise Unreachable(f"{text} is a broadcast address")
        link = self._links[best.link]
        gateway = target if best.gateway is None else int(best.gateway)
        return Hop(link, gateway, int(best.source) if best.source is not None else self._source(best.link, target))

    def _source(self, link: str, target: int) -> int:
        """Choose a source address: one of the link, else of any other link that is not for the host alone."""
        usable = [a for a in self._addresses if a.address.version == 4 and a.scope != Scope.HOST]
        for address in (*(a for a in usable if a.link == link), *usable):
            return int(address.address.ip)
        raise Unreachable(f"no address to reach {dotted(target)} from")


def _rank(route: Route) -> tuple[bool, int, int]:
    """The local table comes first; then the longer prefix, then the smaller metric."""
    return (route.table == TABLE_LOCAL, route.destination.prefixlen, -route.metric)

