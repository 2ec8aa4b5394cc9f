# SPDX-License-Identifier: Apache-2.0
"""Neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from ..wire.codec import types
from . import values
from .errors import INVALID_ADDRESS_FAMILY, UNIMPLEMENTED, Refusal

if TYPE_CHECKING:
    from .session import ApiSession
    from .vpp import Vpp

Fields = dict[str, Any]
UNSET = 0xFFFFFFFF
STATIC, NO_FIB_ENTRY = 1, 2
STATIC_IN_FORCE = -2  # what VPP answers when a learnt entry would replace a static one


def ip_neighbor_add_del(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """Add, change or remove a neighbour."""
    wanted, plane = request.neighbor, vpp.dataplane
    plane.interfaces.get(wanted.sw_if_index)
    if wanted.ip_address.af == values.IP6:
        raise Refusal(UNIMPLEMENTED, "the dataplane has no IPv6 neighbours")
    address = values.integer(wanted.ip_address)
    if not request.is_add:
        plane.del_neighbor(wanted.sw_if_index, address)
        return {"stats_index": UNSET}
    static = bool(wanted.flags & STATIC)
    old = plane.neighbors.get(wanted.sw_if_index, address)
    if old is not None and old.static and not static and old.mac != wanted.mac_address:
        raise Refusal(STATIC_IN_FORCE, "a static neighbour is in force")
    plane.add_neighbor(
        wanted.sw_if_index, address, wanted.mac_address, static=static,
        no_adj_fib=bool(wanted.flags & NO_FIB_ENTRY),
    )  # fmt: skip
    return {"stats_index": UNSET}  # adjacencies have no counters here


def ip_neighbor_dump(vpp: Vpp, request: Any, session: ApiSession) -> Iterator[Fields]:
    """Neighbours of one interface, or of all."""
    index = None if request.sw_if_index == UNSET else request.sw_if_index
    now, make = vpp.dataplane.time(), types()["ip_neighbor"]
    for found in vpp.dataplane.neighbors.on_interface(index) if request.af == values.IP4 else []:
        flags = (STATIC if found.static else 0) | (NO_FIB_ENTRY if found.no_adj_fib else 0)
        neighbor = make(found.sw_if_index, flags, found.mac, values.address(found.address))
        yield {"age": found.age(now), "neighbor": neighbor}


def ip_neighbor_flush(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Remove all, static ones, too."""
    index = None if request.sw_if_index == UNSET else request.sw_if_index
    if index is not None:
        vpp.dataplane.interfaces.get(index)
    _family(request.af)
    if request.af == values.IP4:
        vpp.dataplane.flush_neighbors(sw_if_index=index, also_static=True)


def ip_neighbor_config(vpp: Vpp, request: Any, session: ApiSession) -> None:
    """Limits of the neighbour table."""
    _family(request.af)
    vpp.neighbor_config[request.af] = (request.max_number, request.max_age, request.recycle)
    if request.af == values.IP4:
        vpp.dataplane.neighbors.max_number = request.max_number
        vpp.dataplane.neighbors.max_age = request.max_age
        vpp.dataplane.neighbors.recycle = request.recycle


def ip_neighbor_config_get(vpp: Vpp, request: Any, session: ApiSession) -> Fields:
    """The limits in force."""
    _family(request.af)
    number, age, recycle = vpp.neighbor_config[request.af]
    return {"af": request.af, "max_number": number, "max_age": age, "recycle": recycle}


def _family(family: int) -> None:
    if family not in (values.IP4, values.IP6):
        raise Refusal(INVALID_ADDRESS_FAMILY, f"there is no address family {family}")


HANDLERS = {
    found.__name__: found
    for found in (
        ip_neighbor_add_del, ip_neighbor_dump, ip_neighbor_flush, ip_neighbor_config, ip_neighbor_config_get
    )
}  # fmt: skip
