# SPDX-License-Identifier: Apache-2.0
"""Static neighbours. VPP learns others by itself; those are nobody's items."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar

from contivpp_core.clock import gently
from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.access import together
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of, known_name
from contivpp_vpp.items import Neighbour, interface_key
from contivpp_vpp.messages import AddressFamily, IpNeighbor, IpNeighborAddDel, IpNeighborDump, IpNeighborFlags
from contivpp_vpp.values import address_bytes, address_text, mac_bytes, mac_text

__all__ = ["NeighbourDescriptor"]

_NO_SUCH_ENTRY = -6


class NeighbourDescriptor(FacetDescriptor[Neighbour]):
    """`ip_neighbor_add_del`; a static entry may be overwritten by a static one."""

    kind: ClassVar[str] = Neighbour.kind
    item: ClassVar[type[Item]] = Neighbour

    def dependencies(self, item: Neighbour) -> Iterable[Dependency]:
        return (Dependency.inside(interface_key(item.interface)),)

    def recreates(self, old: Neighbour, new: Neighbour) -> bool:
        return False

    async def create(self, item: Neighbour, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        await self.vpp.request(IpNeighborAddDel(neighbor=_neighbour(item, index)))
        return index

    async def update(self, old: Neighbour, new: Neighbour, handle: int, handles: Mapping[str, Any]) -> int:
        return await self.create(new, handles)

    async def delete(self, item: Neighbour, handle: int, handles: Mapping[str, Any]) -> None:
        message = IpNeighborAddDel(is_add=False, neighbor=_neighbour(item, handle))
        await self.vpp.ensure(message, *NO_INTERFACE, _NO_SUCH_ENTRY)

    async def dump(self, known: Known) -> list[Found]:
        families = (self.vpp.dump(IpNeighborDump(af=family)) for family in AddressFamily)
        found = []
        async for each in gently(chain.from_iterable(await together(*families))):
            neighbour = each.neighbor
            name = known_name(known, neighbour.sw_if_index)
            if name is None or not neighbour.flags & IpNeighborFlags.STATIC:
                continue
            item = Neighbour(
                interface=name, address=address_text(neighbour.ip_address), mac=mac_text(neighbour.mac_address)
            )
            found.append(Found(item.key, item, neighbour.sw_if_index, self.ours(name, item, known)))
        return found


def _neighbour(item: Neighbour, index: int) -> IpNeighbor:
    return IpNeighbor(
        sw_if_index=index,
        flags=IpNeighborFlags.STATIC,
        mac_address=mac_bytes(item.mac),
        ip_address=address_bytes(item.address),
    )
