# SPDX-License-Identifier: Apache-2.0
"""Routes of our own FIB source.

VPP keeps a route when an interface of its paths goes, with the index, and uses the index again at once: so routes are
taken down first, and one that is found over an index without a name is dangling and deleted.

A route that VPP accepted may be shadowed: a stronger source (an interface's own address, an operator) holds the
prefix, and no dump shows ours until that one goes. Only the text of `show ip fib` lists every source of an entry,
so for wanted routes that the dump lacks it is asked; otherwise they would be sent again at each resync.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar, Literal, NamedTuple

from contivpp_core.clock import gently
from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.access import VppAccess, together
from contivpp_vpp.descriptors.base import SPACE, VppDescriptor, index_of, known_name
from contivpp_vpp.errors import VppError
from contivpp_vpp.fib_source import FIB_SOURCE_NAME, FibSourceNumber
from contivpp_vpp.items import Path, Route, VrfTable, interface_key
from contivpp_vpp.messages import (
    CliInband,
    FibPath,
    FibPathNhProto,
    FibPathType,
    IpRouteAddDelV2,
    IpRouteV2,
    IpRouteV2Dump,
    IpTableDump,
    Prefix,
)
from contivpp_vpp.values import address_bytes, address_text, is_ipv6, prefix_parts

__all__ = ["RouteDescriptor", "addition", "removal"]

_NO_INDEX = 0xFFFFFFFF
_PROTO = {4: FibPathNhProto.IP4, 16: FibPathNhProto.IP6}  # by the size of the address
_NOTHING = {4: bytes(4), 16: bytes(16)}
_NO_TABLE = (-3, -6, -65)  # NO_SUCH_FIB, NO_SUCH_ENTRY, NO_SUCH_TABLE


class _Place(NamedTuple):
    """Where a route is: what a deletion needs."""

    vrf: int
    prefix: str


class RouteDescriptor(VppDescriptor[Route]):
    """`ip_route_add_del_v2` with our source; adding replaces all paths."""

    kind: ClassVar[str] = Route.kind
    item: ClassVar[type[Item]] = Route
    dumps_after: ClassVar[tuple[str, ...]] = (SPACE,)

    def __init__(self, vpp: VppAccess, source: FibSourceNumber) -> None:
        super().__init__(vpp)
        self._source = source

    def dependencies(self, item: Route) -> Iterable[Dependency]:
        if not item.vrf and len(item.paths) == 1 and item.paths[0].via_vrf is None:  # of these there are thousands
            if interface := item.paths[0].interface:
                yield Dependency.on(interface_key(interface))
            return
        tables = {item.vrf, *(path.via_vrf for path in item.paths if path.via_vrf is not None)} - {0}
        yield from (Dependency.on(f"{VrfTable.kind}/{vrf}") for vrf in sorted(tables))
        for interface in sorted({path.interface for path in item.paths if path.interface}):
            yield Dependency.on(interface_key(interface))

    def recreates(self, old: Route, new: Route) -> bool:
        return False

    async def create(self, item: Route, handles: Mapping[str, Any]) -> _Place:
        await self.vpp.request(addition(item, handles, await self._source.get()))
        return _Place(item.vrf, item.prefix)

    def begin_create(
        self, item: Route, handles: Mapping[str, Any], ended: Callable[[Any, Exception | None], None]
    ) -> bool:
        source = self._source.known()
        if source is None:
            return False
        place = _Place(item.vrf, item.prefix)
        return self.vpp.submit(addition(item, handles, source), lambda reply, error: ended(place, error))

    async def update(self, old: Route, new: Route, handle: _Place, handles: Mapping[str, Any]) -> _Place:
        return await self.create(new, handles)

    async def delete(self, item: Route | None, handle: _Place, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(removal(handle.vrf, handle.prefix, await self._source.get()), *_NO_TABLE)

    async def dump(self, known: Known) -> list[Found]:
        source = await self._source.find()
        if source is None:
            return []
        tables = [each.table for each in await self.vpp.dump(IpTableDump())]
        details = await together(*(self.vpp.dump(IpRouteV2Dump(src=source, table=table)) for table in tables))
        found: dict[str, Found] = {}
        async for one in gently(chain.from_iterable(details)):  # there are thousands
            each = _found(one.route, known)
            found[each.key] = each
        for item in await self._shadowed(item for item in known.items(self.kind) if item.key not in found):
            found[item.key] = Found(item.key, item, _Place(item.vrf, item.prefix), shadowed=True)
        return list(found.values())

    async def _shadowed(self, missing: Iterable[Route]) -> list[Route]:
        """Return the routes that VPP has from us below those of a stronger source."""
        by_key = {item.key: item for item in missing}
        texts = await together(*map(self._entry, by_key.values()))
        return [item for item, text in zip(by_key.values(), texts, strict=True) if _mentions(text, item.prefix)]

    async def _entry(self, item: Route) -> str:
        """Return VPP's text about the prefix; a VPP that does not know the command says nothing."""
        try:
            return (await self.vpp.request(CliInband(cmd=_question(item)))).reply
        except VppError:
            return ""


def _question(item: Route) -> str:
    return f"show {'ip6' if is_ipv6(item.prefix) else 'ip'} fib table {item.vrf} {item.prefix}"


def _mentions(text: str, prefix: str) -> bool:
    """Tell whether the answer, which may be about a shorter prefix, is about this one and names our source."""
    entry = ""
    for line in text.splitlines():
        if line and not line.startswith(" "):
            entry = line.split(" ", 1)[0]
        elif entry == prefix and line.startswith(f"  {FIB_SOURCE_NAME} refs:"):
            return True
    return False


def addition(item: Route, handles: Mapping[str, Any], source: int) -> IpRouteAddDelV2:
    """Return the message that makes a route, or replaces its paths."""
    packed, length = prefix_parts(item.prefix)
    paths = tuple([_to_vpp(path, item.vrf, packed, handles) for path in item.paths])
    prefix = Prefix(address=packed, len=length)
    return IpRouteAddDelV2(route=IpRouteV2(table_id=item.vrf, prefix=prefix, src=source, paths=paths))


def removal(vrf: int, prefix: str, source: int) -> IpRouteAddDelV2:
    """Return the message that takes a route away."""
    packed, length = prefix_parts(prefix)
    there = IpRouteV2(table_id=vrf, prefix=Prefix(address=packed, len=length), src=source)
    return IpRouteAddDelV2(is_add=False, route=there)


def _to_vpp(path: Path, vrf: int, packed: bytes, handles: Mapping[str, Any]) -> FibPath:
    address = (path.next_hop and address_bytes(path.next_hop)) or _NOTHING[len(packed)]
    proto = _PROTO[len(address)]
    if path.kind == "drop":
        return FibPath(type=FibPathType.DROP, proto=proto, address=address, weight=path.weight)
    if path.interface:
        index = index_of(handles, path.interface)
        return FibPath(sw_if_index=index, proto=proto, address=address, weight=path.weight)
    table = vrf if path.via_vrf is None else path.via_vrf
    return FibPath(table_id=table, proto=proto, address=address, weight=path.weight)


def _found(route: IpRouteV2, known: Known) -> Found:
    prefix = f"{address_text(route.prefix.address)}/{route.prefix.len}"
    place = _Place(route.table_id, prefix)
    key = f"{Route.kind}/{route.table_id}/{prefix}"
    paths = [_from_vpp(path, known) for path in route.paths]
    if not paths or None in paths:
        return Found(key, None, place)
    item = Route(vrf=route.table_id, prefix=prefix, paths=tuple(path for path in paths if path is not None))
    return Found(key, item, place)


def _from_vpp(path: FibPath, known: Known) -> Path | None:
    """Return a path of a dump, or None for one that leads nowhere or that no item can say."""
    weight = max(path.weight, 1)
    if path.type == FibPathType.DROP:
        return Path(kind="drop", weight=weight)
    if path.type != FibPathType.NORMAL:
        return None
    next_hop = address_text(path.address) if any(path.address) else ""
    if path.sw_if_index == _NO_INDEX:
        kind: Literal["forward", "lookup"] = "forward" if next_hop else "lookup"
        return Path(kind=kind, next_hop=next_hop, via_vrf=path.table_id, weight=weight)
    name = known_name(known, path.sw_if_index)
    return None if name is None else Path(interface=name, next_hop=next_hop, weight=weight)
