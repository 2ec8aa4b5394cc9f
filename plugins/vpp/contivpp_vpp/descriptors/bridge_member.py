# SPDX-License-Identifier: Apache-2.0
"""Members of bridge domains. An interface is in one domain at most, and leaves it when it goes.

A member provides a key for its domain, `vpp/bridge-domain/ID/member/INTERFACE`: what is sent to it by MAC address
stands on that, not on the member's other settings, which can change in place.

A refused second BVI (-152) is half in the domain afterwards; it is taken out again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of, known_name
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import BridgeDomain, BridgeMember, interface_key
from contivpp_vpp.messages import BridgeDomainDump, L2PortType, SwInterfaceSetL2Bridge

__all__ = ["BridgeMemberDescriptor", "membership_key"]


def membership_key(bridge_domain: int, interface: str) -> str:
    """Return the key that exists while an interface is in a bridge domain."""
    return f"{BridgeDomain.kind}/{bridge_domain}/member/{interface}"


class BridgeMemberDescriptor(FacetDescriptor[BridgeMember]):
    """`sw_interface_set_l2_bridge`."""

    kind: ClassVar[str] = BridgeMember.kind
    item: ClassVar[type[Item]] = BridgeMember

    def dependencies(self, item: BridgeMember) -> Iterable[Dependency]:
        yield Dependency.inside(interface_key(item.interface))
        yield Dependency.on(f"{BridgeDomain.kind}/{item.bridge_domain}")

    def provides(self, item: BridgeMember) -> Iterable[str]:
        return (membership_key(item.bridge_domain, item.interface),)

    def recreates(self, old: BridgeMember, new: BridgeMember) -> bool:
        return old.bridge_domain != new.bridge_domain

    async def create(self, item: BridgeMember, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        try:
            await self._set(item, index)
        except VppError:
            await self._unset(index)
            raise
        return index

    async def update(self, old: BridgeMember, new: BridgeMember, handle: int, handles: Mapping[str, Any]) -> int:
        """Put it in again: VPP takes it out before."""
        await self._set(new, handle)
        return handle

    async def _set(self, item: BridgeMember, index: int) -> None:
        port = L2PortType.BVI if item.bvi else L2PortType.NORMAL
        await self.vpp.request(
            SwInterfaceSetL2Bridge(
                rx_sw_if_index=index, bd_id=item.bridge_domain, port_type=port, shg=item.split_horizon_group
            )
        )

    async def _unset(self, index: int) -> None:
        await self.vpp.ensure(SwInterfaceSetL2Bridge(rx_sw_if_index=index, enable=False), *NO_INTERFACE)

    async def delete(self, item: BridgeMember, handle: int, handles: Mapping[str, Any]) -> None:
        await self._unset(handle)

    async def dump(self, known: Known) -> list[Found]:
        found = []
        for domain in await self.vpp.dump(BridgeDomainDump()):
            for each in domain.sw_if_details:
                name = known_name(known, each.sw_if_index)
                if name is None:
                    continue
                item = BridgeMember(
                    bridge_domain=domain.bd_id,
                    interface=name,
                    bvi=each.sw_if_index == domain.bvi_sw_if_index,
                    split_horizon_group=each.shg,
                )
                found.append(Found(item.key, item, each.sw_if_index, self.ours(name, item, known)))
        return found
