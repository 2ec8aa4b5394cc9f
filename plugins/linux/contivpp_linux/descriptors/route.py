# SPDX-License-Identifier: Apache-2.0
"""Routes of the main table, ours by their protocol number (`OWN_PROTOCOL`, 86).

A gateway is declared to be on the link, so no order between routes has to be kept. The kernel drops a route when its
link goes down, and an IPv4 route when its source address goes. A route of somebody else for the same destination and
metric is never replaced.

An initial route that was applied to its link is found as it is wanted: whoever moved or removed it meant it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar, Literal

import msgspec

from contivpp_core.items import Dependency, Found, Known
from contivpp_core.namespaces import HOST, Namespace
from contivpp_linux.batcher import Phase, reference
from contivpp_linux.descriptors.base import LinuxDescriptor, inside_up, is_applied, read_all
from contivpp_linux.errors import ForeignObject
from contivpp_linux.items import Route, source_key
from contivpp_linux.kernel import values
from contivpp_linux.kernel.operations import Add, Delete, Replace

__all__ = ["RouteDescriptor", "is_ours"]

_IPV6_METRIC = 1024  # what the kernel takes for 0


class RouteDescriptor(LinuxDescriptor[Route]):
    """Adds, replaces and removes routes."""

    kind: ClassVar[str] = Route.kind
    item = Route

    def dependencies(self, item: Route) -> Iterable[Dependency]:
        """The link and its being up, and the source address."""
        needs = inside_up(item.namespace, item.link)
        if item.source:
            needs.append(Dependency((source_key(item.namespace, item.source),), None, ":" not in item.source))
        return needs

    def equal(self, wanted: Route, found: Route) -> bool:
        """IPv6 knows no scope."""
        return wanted == found or (":" in wanted.destination and _without_scope(wanted) == _without_scope(found))

    def recreates(self, old: Route, new: Route) -> bool:
        """The kernel replaces a route at once."""
        return False

    async def create(self, item: Route, handles: Mapping[str, Any]) -> None:
        """Add the route; one of ours that is there already is replaced, one of somebody else is not."""
        value = _value(item)
        (error,) = await self._edge.apply(item.namespace, Add(value), phase=Phase.ROUTE)
        if error is None:
            return
        if not error.exists:
            raise error
        for there in await self._edge.kernel.routes(reference(item.namespace)):
            if _same_place(there, value) and not is_ours(there):
                raise ForeignObject(
                    f"a route to {item.destination} that is not of this agent (protocol {there.protocol}, "
                    f"link {there.link}) is there already; it is left alone"
                )
        await self._set(item.namespace, Replace(value), phase=Phase.ROUTE)

    async def update(self, old: Route, new: Route, handle: Any, handles: Mapping[str, Any]) -> None:
        """Replace the route."""
        await self._set(new.namespace, Replace(_value(new)), phase=Phase.ROUTE)

    async def delete(self, item: Route, handle: Any, handles: Mapping[str, Any]) -> None:
        """Remove the route; the kernel compares the protocol, too."""
        await self._unset(item.namespace, Delete(_value(item)))

    async def dump(self, known: Known) -> list[Found]:
        """Find our routes, and those of others that are in the place of a wanted one."""
        wanted = self._wanted(known)
        namespaces = {HOST, *(item.namespace for item in wanted.values())}
        found: dict[str, Found] = {}
        for namespace, route in await read_all(namespaces, self._edge.listings(known).routes):
            if route.link is None or route.table != values.TABLE_MAIN or route.type != values.RouteType.UNICAST:
                continue
            item = _item(namespace, route, wanted)
            ours = is_ours(route)
            if ours or (item.key in wanted and item.key not in found):
                found[item.key] = Found(item.key, item, ours=ours)
        for item in await self._applied(known, wanted.values()):
            found[item.key] = Found(item.key, item)
        return list(found.values())

    async def _applied(self, known: Known, wanted: Iterable[Route]) -> list[Route]:
        """Return the initial routes that were applied to their links. One that is down has lost them."""
        initial = [item for item in wanted if item.initial]
        links = await read_all({item.namespace for item in initial}, self._edge.listings(known).links)
        up = {(namespace, link.name): link for namespace, link in links if link.up}
        return [item for item in initial if is_applied(item, up.get((item.namespace, item.link)))]


def _value(item: Route) -> values.Route:
    destination = ip_network(item.destination)
    if str(destination) != item.destination:
        raise ValueError(f"write the destination {item.destination!r} as {destination}")
    return values.Route(
        destination,
        item.link,
        ip_address(item.gateway) if item.gateway else None,
        metric=item.metric,
        source=ip_address(item.source) if item.source else None,
        on_link=bool(item.gateway),
        scope=values.Scope.LINK if item.scope == "link" else values.Scope.UNIVERSE,
    )


def _item(namespace: Namespace, route: values.Route, wanted: Mapping[str, Route]) -> Route:
    scope: Literal["global", "link"] = "link" if route.scope == values.Scope.LINK else "global"
    item = Route(
        namespace=namespace,
        destination=str(route.destination),
        link=route.link or "",
        gateway=str(route.gateway) if route.gateway is not None else "",
        scope=scope,
        source=str(route.source) if route.source is not None else "",
        metric=route.metric,
    )
    if route.destination.version == 6 and route.metric == _IPV6_METRIC and item.key not in wanted:
        item = msgspec.structs.replace(item, metric=0)
    return msgspec.structs.replace(item, initial=item.key in wanted and wanted[item.key].initial)


def _without_scope(item: Route) -> tuple[object, ...]:
    return tuple(getattr(item, name) for name in item.__struct_fields__ if name != "scope")


def is_ours(route: values.Route) -> bool:
    """Tell whether this agent made a route."""
    return route.protocol == values.OWN_PROTOCOL


def _same_place(one: values.Route, other: values.Route) -> bool:
    return (one.destination, one.metric, one.table) == (other.destination, other.metric, other.table)
