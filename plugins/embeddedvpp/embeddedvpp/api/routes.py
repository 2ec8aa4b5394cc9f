# SPDX-License-Identifier: Apache-2.0
"""Routes: add, delete, dump, look up, in the messages with and without a source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..dataplane import API, FibEntry, FibTable, Path, PathType
from ..wire.codec import types
from . import values
from .errors import (
    INVALID_PREFIX_LENGTH,
    NO_MATCHING_INTERFACE,
    NO_PATHS_IN_ROUTE,
    NO_SUCH_ENTRY,
    UNIMPLEMENTED,
    UNSPECIFIED,
    Refusal,
)

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF
INTERFACE_SOURCE = 4
VIA_ATTACHED, VIA_HOST = 1, 2


def ip_route_add_del(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Add or delete a route of the API's source."""
    return _change(vpp, request, API)


def ip_route_add_del_v2(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Add or delete a route of any source; 0 means the API's."""
    return _change(vpp, request, request.route.src or API)


def _change(vpp: Vpp, request: Any, source: int) -> Fields:
    route, plane = request.route, vpp.dataplane
    version = values.version(route.prefix.address.af)
    table = plane.fibs.get(route.table_id, version)
    paths = [_path(vpp, found) for found in route.paths]
    if route.prefix.len > table.bits:
        raise Refusal(INVALID_PREFIX_LENGTH, f"prefix length {route.prefix.len} is larger than {table.bits}")
    if not paths and (request.is_add or request.is_multipath):
        raise Refusal(NO_PATHS_IN_ROUTE, "the route has no paths")
    prefix = values.integer(route.prefix.address), route.prefix.len
    where: Fields = {"table_id": table.table_id, "source": source, "version": version}
    if not request.is_add:
        plane.route_delete(*prefix, paths, multipath=request.is_multipath, **where)
        return {"stats_index": UNSET}
    entry = plane.route_update(*prefix, paths, multipath=request.is_multipath, **where)
    return {"stats_index": entry.stats_index}


def _path(vpp: Vpp, found: Any) -> Path:
    """Check a path in VPP's order; what would kill VPP, or this dataplane does not know, is refused with -9."""
    if found.proto > 4:
        raise Refusal(UNSPECIFIED, f"there is no protocol {found.proto}")
    if found.type not in tuple(PathType) or found.proto > 1:
        raise Refusal(
            UNIMPLEMENTED, f"paths of type {found.type} and protocol {found.proto} do not exist here"
        )
    version = 6 if found.proto == 1 else 4
    kind = PathType(found.type)
    index, hop = UNSET, 0
    if kind is PathType.LOCAL:
        index = found.sw_if_index
    if kind is PathType.NORMAL:
        index = found.sw_if_index
        hop = int.from_bytes(found.nh.address[: 16 if version == 6 else 4], "big")
        if index == UNSET:
            vpp.dataplane.fibs.get(found.table_id, version)
        elif vpp.dataplane.interfaces.find(index) is None:
            raise Refusal(NO_MATCHING_INTERFACE, f"no interface has sw_if_index {index}")
    table = found.table_id if kind is PathType.NORMAL and index == UNSET else 0
    flags = found.flags & (VIA_ATTACHED | VIA_HOST)
    return Path(kind, hop, index, table, found.weight or 1, found.preference, flags)


def _encode_path(path: Path, version: int) -> Any:
    fields = types()
    return fields["fib_path"](
        sw_if_index=path.sw_if_index, table_id=path.table_id,
        weight=path.weight, preference=path.preference, type=int(path.type), flags=path.flags,
        proto=1 if version == 6 else 0, nh=fields["fib_path_nh"](address=values.union(path.next_hop, version)),
    )  # fmt: skip


def _shown_address(vpp: Vpp, table: FibTable, entry: FibEntry) -> int:
    """VPP shows a connected prefix with the first interface address that made it, host bits and all."""
    if entry.source == INTERFACE_SOURCE and entry.length < table.bits and table.version == 4:
        interface = vpp.dataplane.interfaces.find(entry.paths[0].sw_if_index)
        for address, length in interface.addresses if interface else ():
            if length == entry.length and address & table.mask(length) == entry.address:
                return address
    return entry.address


def _route(vpp: Vpp, table: FibTable, entry: FibEntry, *, with_source: bool) -> Any:
    fields: Fields = {
        "table_id": table.table_id, "stats_index": entry.stats_index,
        "prefix": values.prefix(_shown_address(vpp, table, entry), entry.length, table.version),
        "paths": [_encode_path(path, table.version) for path in table.shown_paths(entry)],
    }  # fmt: skip
    if with_source:
        return types()["ip_route_v2"](src=entry.source, **fields)
    return types()["ip_route"](**fields)


def _dump(vpp: Vpp, request: Any, *, source: int, with_source: bool) -> Iterator[Fields]:
    table = vpp.dataplane.fibs.find(request.table.table_id, 6 if request.table.is_ip6 else 4)
    entries = [] if table is None else [found for found in table if not source or found.source == source]
    for entry in entries:
        if entry.contributions and table is not None:  # it may have gone since the dump began
            yield {"route": _route(vpp, table, entry, with_source=with_source)}


def ip_route_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """Every prefix of a table; nothing at all for a table that does not exist."""
    return _dump(vpp, request, source=0, with_source=False)


def ip_route_v2_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """The same, optionally only where one source is in force."""
    return _dump(vpp, request, source=request.src, with_source=True)


def _lookup(vpp: Vpp, request: Any, *, with_source: bool) -> Fields:
    table = vpp.dataplane.fibs.get(request.table_id, values.version(request.prefix.address.af))
    address, length = values.integer(request.prefix.address), request.prefix.len
    entry = table.get(address, length) if request.exact else table.lookup(address, length)
    if entry is None:
        raise Refusal(NO_SUCH_ENTRY, "no such prefix")
    return {"route": _route(vpp, table, entry, with_source=with_source)}


def ip_route_lookup(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """One prefix, exactly or the longest that covers it."""
    return _lookup(vpp, request, with_source=False)


def ip_route_lookup_v2(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The same with its source."""
    return _lookup(vpp, request, with_source=True)


HANDLERS = {
    found.__name__: found
    for found in (
        ip_route_add_del, ip_route_add_del_v2, ip_route_dump, ip_route_v2_dump, ip_route_lookup, ip_route_lookup_v2
    )
}  # fmt: skip
