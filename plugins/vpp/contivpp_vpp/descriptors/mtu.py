# SPDX-License-Identifier: Apache-2.0
"""The L3 MTU of an interface.

Every interface has one, so a dump tells only of those that are wanted or known; the others are no item of anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import FacetDescriptor, index_of
from contivpp_vpp.items import Mtu, interface_key
from contivpp_vpp.messages import SwInterfaceSetMtu

__all__ = ["MtuDescriptor"]


class MtuDescriptor(FacetDescriptor[Mtu]):
    """`sw_interface_set_mtu`: the first of four numbers is that of L3, 0 in the others means the same."""

    kind: ClassVar[str] = Mtu.kind
    item: ClassVar[type[Item]] = Mtu

    def dependencies(self, item: Mtu) -> Iterable[Dependency]:
        return (Dependency.inside(interface_key(item.interface)),)

    def recreates(self, old: Mtu, new: Mtu) -> bool:
        return False

    async def create(self, item: Mtu, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        await self.vpp.request(SwInterfaceSetMtu(sw_if_index=index, mtu=(item.mtu, 0, 0, 0)))
        return index

    async def update(self, old: Mtu, new: Mtu, handle: int, handles: Mapping[str, Any]) -> int:
        return await self.create(new, handles)

    async def delete(self, item: Mtu, handle: int, handles: Mapping[str, Any]) -> None:
        """There is no interface without an MTU: it keeps this one."""

    async def dump(self, known: Known) -> list[Found]:
        concerned = {item.interface for item in known.items(self.kind)}
        if not concerned:
            return []
        found = []
        for interface in await self.interfaces(known):
            mtu = interface.details.mtu[0]
            if interface.name in concerned and mtu:
                item = Mtu(interface=interface.name, mtu=mtu)
                found.append(Found(item.key, item, interface.handle))
        return found
