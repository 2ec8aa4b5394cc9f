# SPDX-License-Identifier: Apache-2.0
"""Addresses of interfaces. An address belongs to the VRF that the interface is in when it is added."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.access import together
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of, vrf_value
from contivpp_vpp.descriptors.interface_vrf import vrfs_of
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import Address, interface_key
from contivpp_vpp.messages import IpAddressDump, Prefix, SwInterfaceAddDelAddress
from contivpp_vpp.values import address_text, is_ipv6, prefix_parts

__all__ = ["AddressDescriptor"]

_IN_USE = -105  # ADDRESS_IN_USE
_ABSENT = (
    -6,  # NO_SUCH_ENTRY
    -60,  # ADDRESS_NOT_FOUND_FOR_INTERFACE
    -61,  # ADDRESS_NOT_DELETABLE
    -106,  # ADDRESS_NOT_IN_USE
)


class AddressDescriptor(FacetDescriptor[Address]):
    """`sw_interface_add_del_address`."""

    kind: ClassVar[str] = Address.kind
    item: ClassVar[type[Item]] = Address

    def dependencies(self, item: Address) -> Iterable[Dependency]:
        yield Dependency.inside(interface_key(item.interface))
        yield from vrf_value(item.interface, item.vrf)

    async def create(self, item: Address, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        try:
            await self.vpp.request(SwInterfaceAddDelAddress(sw_if_index=index, prefix=_prefix(item.address)))
        except VppError as error:
            if error.retval != _IN_USE or not await self._has(index, item.address):
                raise
        return index

    async def _has(self, index: int, address: str) -> bool:
        """Tell whether it is the interface itself that has the address.

        Then it is ours from now on, whoever gave it to a NIC, and goes when it is not wanted any more.
        """
        found = await self.vpp.dump(IpAddressDump(sw_if_index=index, is_ipv6=is_ipv6(address)))
        return _prefix(address) in [each.prefix for each in found]

    async def delete(self, item: Address, handle: int, handles: Mapping[str, Any]) -> None:
        message = SwInterfaceAddDelAddress(is_add=False, sw_if_index=handle, prefix=_prefix(item.address))
        await self.vpp.ensure(message, *NO_INTERFACE, *_ABSENT)

    async def dump(self, known: Known) -> list[Found]:
        interfaces = {interface.handle: interface.name for interface in await self.interfaces(known)}
        messages = [IpAddressDump(sw_if_index=index, is_ipv6=ipv6) for index in interfaces for ipv6 in (False, True)]
        details = [one for some in await together(*map(self.vpp.dump, messages)) for one in some]
        tables = await vrfs_of(self.vpp, sorted({each.sw_if_index for each in details}))
        found = []
        for each in details:
            if each.sw_if_index not in tables:
                continue
            name = interfaces[each.sw_if_index]
            text = f"{address_text(each.prefix.address)}/{each.prefix.len}"
            item = Address(interface=name, address=text, vrf=tables[each.sw_if_index])
            found.append(Found(item.key, item, each.sw_if_index, self.ours(name, item, known)))
        return found


def _prefix(address: str) -> Prefix:
    packed, length = prefix_parts(address)
    return Prefix(address=packed, len=length)
