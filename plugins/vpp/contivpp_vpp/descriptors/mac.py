# SPDX-License-Identifier: Apache-2.0
"""The MAC address of an interface that was made without one.

Every interface has a MAC, so a dump tells only of those that are wanted or known; the others are no item of anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import FacetDescriptor, index_of
from contivpp_vpp.items import Mac, interface_key
from contivpp_vpp.messages import SwInterfaceSetMacAddress
from contivpp_vpp.values import mac_bytes, mac_text

__all__ = ["MacDescriptor"]


class MacDescriptor(FacetDescriptor[Mac]):
    """`sw_interface_set_mac_address`."""

    kind: ClassVar[str] = Mac.kind
    item: ClassVar[type[Item]] = Mac

    def dependencies(self, item: Mac) -> Iterable[Dependency]:
        return (Dependency.inside(interface_key(item.interface)),)

    def recreates(self, old: Mac, new: Mac) -> bool:
        return False

    async def create(self, item: Mac, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        await self.vpp.request(SwInterfaceSetMacAddress(sw_if_index=index, mac_address=mac_bytes(item.mac)))
        return index

    async def update(self, old: Mac, new: Mac, handle: int, handles: Mapping[str, Any]) -> int:
        return await self.create(new, handles)

    async def delete(self, item: Mac, handle: int, handles: Mapping[str, Any]) -> None:
        """There is no interface without a MAC: it keeps this one."""

    async def dump(self, known: Known) -> list[Found]:
        concerned = {item.interface for item in known.items(self.kind)}
        if not concerned:
            return []
        found = []
        for interface in await self.interfaces(known):
            if interface.name in concerned:
                item = Mac(interface=interface.name, mac=mac_text(interface.details.l2_address))
                found.append(Found(item.key, item, interface.handle))
        return found
