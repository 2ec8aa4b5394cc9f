# SPDX-License-Identifier: Apache-2.0
"""The administrative state of an interface: up, once everything that must come before the first packet is applied.

What is required is not in VPP. A dump gives back what was wanted or known, so that after a restart of the agent the
link still stands on its requirements, and is taken down before they are.

VPP makes VXLAN tunnels up: there, the state is an item only where one is wanted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known, Owner
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of
from contivpp_vpp.items import LinkUp, interface_key
from contivpp_vpp.messages import IfStatusFlags, SwInterfaceSetFlags

__all__ = ["LinkUpDescriptor"]

UP_BY_ITSELF = "VXLAN"
"""The device type of interfaces that VPP sets up when it makes them."""


class LinkUpDescriptor(FacetDescriptor[LinkUp]):
    """`sw_interface_set_flags`."""

    kind: ClassVar[str] = LinkUp.kind
    item: ClassVar[type[Item]] = LinkUp
    merged: ClassVar[bool] = True

    def dependencies(self, item: LinkUp) -> Iterable[Dependency]:
        yield Dependency.inside(interface_key(item.interface))
        for key in item.requires:
            yield Dependency.on_applied(key)

    def merge(self, parts: Sequence[tuple[Owner, LinkUp]]) -> LinkUp:
        interface = parts[0][1].interface
        return LinkUp(interface=interface, requires=tuple(key for _, part in parts for key in part.requires))

    def recreates(self, old: LinkUp, new: LinkUp) -> bool:
        return False

    async def create(self, item: LinkUp, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        await self.vpp.request(SwInterfaceSetFlags(sw_if_index=index, flags=IfStatusFlags.ADMIN_UP))
        return index

    async def update(self, old: LinkUp, new: LinkUp, handle: int, handles: Mapping[str, Any]) -> int:
        """Other requirements: the link is up already, and VPP has nothing to change."""
        return handle

    async def delete(self, item: LinkUp, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(SwInterfaceSetFlags(sw_if_index=handle), *NO_INTERFACE)

    async def dump(self, known: Known) -> list[Found]:
        believed: dict[str, LinkUp] = {}
        for item in sorted(known.items(self.kind), key=lambda each: each.requires):
            believed[item.interface] = item
        found = []
        for interface in await self.interfaces(known):
            if interface.details.interface_dev_type == UP_BY_ITSELF and interface.name not in believed:
                continue
            if interface.details.flags & IfStatusFlags.ADMIN_UP:
                item = believed.get(interface.name) or LinkUp(interface=interface.name)
                found.append(Found(item.key, item, interface.handle, self.ours(interface.name, item, known)))
        return found
