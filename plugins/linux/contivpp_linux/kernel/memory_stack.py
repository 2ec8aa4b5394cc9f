# SPDX-License-Identifier: Apache-2.0
"""Addresses, routes and neighbours of one namespace in memory, with the effects that they have on each
other in Linux.

An address brings a local route, and on a link that is up a route to its network and one to its broadcast
address. A link that goes down loses its routes but the local ones, and its neighbours; addresses stay,
and bring their routes again. Refusals are raised as OSError with the kernel's number.

Left out: IPv6 link-local addresses and multicast routes of the kernel's own, promotion of secondary
addresses.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_interface, ip_network

from .operations import Facet
from .values import PROTOCOL_KERNEL, TABLE_LOCAL, TABLE_MAIN, Address, Neighbour, Route, RouteType, Scope

__all__ = ["MemoryStack", "refuse"]

_IPV6_CONNECTED_METRIC = 256
_MAC_PARTS = 6


def refuse(number: int, detail: str = "") -> OSError:
    """Return the error of a refused operation."""
    return OSError(number, detail)


class MemoryStack:
    """The network layer of one namespace; which links are there and up is told to it."""

    def __init__(self) -> None:
        self.addresses: list[Address] = []
        self.routes: list[Route] = []
        self.neighbours: list[Neighbour] = []
        self._up: set[str] = set()
        self._no_ipv6: set[str] = set()

    # What happens to links

    def link_up(self, link: str) -> None:
        """Bring the routes that a link's addresses stand for."""
        self._up.add(link)
        if link == "lo" and not any(address.link == "lo" for address in self.addresses):
            self.addresses.append(Address("lo", ip_interface("127.0.0.1/8"), Scope.HOST, 0))
        for address in [address for address in self.addresses if address.link == link]:
            self._connect(address)

    def link_down(self, link: str) -> None:
        """Take what does not outlive a link's being down."""
        self._up.discard(link)
        self.routes = [
            route
            for route in self.routes
            if route.link != link
            or (route.type == RouteType.LOCAL and route.scope == Scope.HOST and _is_host(route))
        ]
        self.forget_neighbours(link)

    def forget_neighbours(self, link: str) -> None:
        """Take a link's neighbours, as a new MAC does."""
        self.neighbours = [neighbour for neighbour in self.neighbours if neighbour.link != link]

    def link_gone(self, link: str) -> None:
        """Take everything that a link holds."""
        self._up.discard(link)
        self._no_ipv6.discard(link)
        self.addresses = [address for address in self.addresses if address.link != link]
        self.routes = [route for route in self.routes if route.link != link]
        self.neighbours = [neighbour for neighbour in self.neighbours if neighbour.link != link]

    def link_renamed(self, old: str, new: str) -> None:
        """Follow a link's new name."""
        self.addresses = [replace(a, link=new) if a.link == old else a for a in self.addresses]
        self.routes = [replace(r, link=new) if r.link == old else r for r in self.routes]
        self.neighbours = [replace(n, link=new) if n.link == old else n for n in self.neighbours]
        for names in (self._up, self._no_ipv6):
            if old in names:
                names.remove(old)
                names.add(new)

    def disable_ipv6(self, link: str, *, disabled: bool) -> None:
        """Follow a link's disable_ipv6."""
        if not disabled:
            self._no_ipv6.discard(link)
            return
        self._no_ipv6.add(link)
        self.addresses = [a for a in self.addresses if a.link != link or a.address.version != 6]
        self.routes = [r for r in self.routes if r.link != link or r.destination.version != 6]

    # What is asked for

    def add(self, value: Facet, *, overwrite: bool) -> None:
        """Add or replace."""
        match value:
            case Address():
                self._add_address(value, overwrite=overwrite)
            case Route():
                self._add_route(value, overwrite=overwrite)
            case Neighbour():
                self._add_neighbour(value, overwrite=overwrite)

    def delete(self, value: Facet) -> None:
        """Delete."""
        match value:
            case Address():
                self._delete_address(value)
            case Route():
                self._delete_route(value)
            case Neighbour():
                self._delete_neighbour(value)

    def _add_address(self, value: Address, *, overwrite: bool) -> None:
        if value.address.version == 6 and value.link in self._no_ipv6:
            raise refuse(errno.EACCES, "IPv6 is disabled on this device")
        for index, known in enumerate(self.addresses):
            if _same_address(known, value):
                if not overwrite:
                    raise refuse(errno.EEXIST, "Address already assigned")
                self.addresses[index] = replace(known, protocol=value.protocol)
                return
        self.addresses.append(value)
        self._connect(value)

    def _delete_address(self, value: Address) -> None:
        held = [known for known in self.addresses if _same_address(known, value)]
        if not held:
            raise refuse(errno.EADDRNOTAVAIL, "Address not found")
        self.addresses.remove(held[0])
        others = {route for address in self.addresses for route in _connected(address)}
        gone = set(_connected(held[0])) - others
        local = held[0].address.ip
        kept = any(address.address.ip == local for address in self.addresses)
        host = ip_network(local)
        self.routes = [
            r
            for r in self.routes
            if r not in gone
            and (kept or (r.source != local and (r.table, r.destination) != (TABLE_LOCAL, host)))
        ]

    def _connect(self, address: Address) -> None:
        earlier = self.addresses[: self.addresses.index(address)]
        same = [a for a in earlier if a.link == address.link and a.address.network == address.address.network]
        for route in _connected(address):
            if route.type == RouteType.LOCAL and _is_host(route):
                # A further address of a network is a secondary one: traffic to it comes from the first.
                source = same[0].address.ip if same and route.destination.version == 4 else route.source
                self._bring(replace(route, source=source))
            elif address.link in self._up and (not same or route.destination.version == 6):
                self._bring(route)

    def _bring(self, route: Route) -> None:
        if route not in self.routes:
            self.routes.append(route)

    def _add_route(self, value: Route, *, overwrite: bool) -> None:
        value = self._resolved(value)
        for index, known in enumerate(self.routes):
            if _same_route(known, value):
                if not overwrite:
                    raise refuse(errno.EEXIST)
                self.routes[index] = value
                return
        self.routes.append(value)

    def _resolved(self, value: Route) -> Route:
        """Return the route as the kernel keeps it, or refuse a next hop that cannot be."""
        if value.type in (RouteType.BLACKHOLE, RouteType.UNREACHABLE):
            return value
        if value.link is None and value.gateway is None:
            raise refuse(errno.ENODEV)
        if value.link is not None and value.link not in self._up:
            raise refuse(errno.ENETDOWN, "Device for nexthop is not up")
        if value.gateway is not None and not value.on_link:
            value = replace(value, link=self._way_to(value.gateway, value.link))
        if value.source is not None and not any(a.address.ip == value.source for a in self.addresses):
            raise refuse(errno.EINVAL, "Invalid prefsrc address")
        return value

    def _way_to(self, gateway: IPv4Address | IPv6Address, link: str | None) -> str:
        found = [
            route
            for route in self.routes
            if route.destination.version == gateway.version
            and gateway in route.destination
            and (link is None or route.link == link or route.type == RouteType.LOCAL)
        ]
        # The local table is looked up before the main one, whatever the length of the prefix.
        best = max(
            found, key=lambda r: (r.table == TABLE_LOCAL, r.destination.prefixlen, -r.metric), default=None
        )
        if best is None:
            raise refuse(
                errno.EHOSTUNREACH if gateway.version == 6 else errno.ENETUNREACH,
                "Nexthop has invalid gateway",
            )
        if best.type == RouteType.LOCAL and gateway.version == 4 and best.link is not None:
            return link or best.link  # an own address as gateway: IPv4 accepts that
        if best.type != RouteType.UNICAST:
            raise refuse(errno.EINVAL, "Nexthop has invalid gateway")
        if best.gateway is not None or best.link is None:
            raise refuse(
                errno.EHOSTUNREACH if gateway.version == 6 else errno.ENETUNREACH,
                "Nexthop has invalid gateway",
            )
        return best.link

    def _delete_route(self, value: Route) -> None:
        for known in self.routes:
            if _same_route(known, value) and _matches(known, value):
                self.routes.remove(known)
                return
        raise refuse(errno.ESRCH)

    def _add_neighbour(self, value: Neighbour, *, overwrite: bool) -> None:
        if value.mac.count(":") != _MAC_PARTS - 1:
            raise refuse(errno.EINVAL, "Invalid link address")
        for index, known in enumerate(self.neighbours):
            if (known.link, known.address) == (value.link, value.address):
                if not overwrite:
                    raise refuse(errno.EEXIST)
                self.neighbours[index] = value
                return
        self.neighbours.append(value)

    def _delete_neighbour(self, value: Neighbour) -> None:
        for known in self.neighbours:
            if (known.link, known.address) == (value.link, value.address):
                self.neighbours.remove(known)
                return
        raise refuse(errno.ENOENT)


def _same_address(one: Address, other: Address) -> bool:
    return (one.link, one.address) == (other.link, other.address)


def _same_route(one: Route, other: Route) -> bool:
    return (one.destination, one.metric, one.table) == (other.destination, other.metric, other.table)


def _matches(known: Route, wanted: Route) -> bool:
    """Tell whether a delete means this route: what it leaves out is not compared."""
    return (
        known.type == wanted.type
        and known.scope == wanted.scope
        and known.protocol == wanted.protocol
        and wanted.link in (None, known.link)
        and wanted.gateway in (None, known.gateway)
        and wanted.source in (None, known.source)
    )


def _is_host(route: Route) -> bool:
    return route.destination.prefixlen == route.destination.max_prefixlen


def _connected(address: Address) -> list[Route]:
    """Return the routes that an address brings while its link is up, the local one first."""
    value, link = address.address, address.link
    host = ip_network(value.ip)
    if value.version == 6:
        return [
            Route(host, link, table=TABLE_LOCAL, protocol=PROTOCOL_KERNEL, type=RouteType.LOCAL),
            Route(value.network, link, metric=_IPV6_CONNECTED_METRIC, protocol=PROTOCOL_KERNEL),
        ]
    local = Route(
        host, link, source=value.ip, table=TABLE_LOCAL, protocol=PROTOCOL_KERNEL, type=RouteType.LOCAL
    )
    routes = [local]
    length = value.network.prefixlen
    if length < 32:
        kind, table = (RouteType.LOCAL, TABLE_LOCAL) if value.is_loopback else (RouteType.UNICAST, TABLE_MAIN)
        network = Route(
            value.network, link, source=value.ip, table=table, protocol=PROTOCOL_KERNEL, type=kind
        )
        routes.append(network)
    if length < 31:
        broadcast = ip_network(value.network.broadcast_address)
        kind = RouteType.BROADCAST
        routes.append(replace(local, destination=broadcast, type=kind, scope=Scope.LINK))
    return routes
