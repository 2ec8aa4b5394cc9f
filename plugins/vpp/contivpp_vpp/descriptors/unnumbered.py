# SPDX-License-Identifier: Apache-2.0
"""Unnumbered interfaces: those that borrow the addresses of another one.

In VPP's message the two fields have each other's names: `sw_if_index` is the donor. VPP refuses two that are in
different VRFs (-74).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of, known_name, vrf_value
from contivpp_vpp.descriptors.interface_vrf import vrfs_of
from contivpp_vpp.items import Unnumbered, interface_key
from contivpp_vpp.messages import IpUnnumberedDump, SwInterfaceSetUnnumbered

__all__ = ["UnnumberedDescriptor"]


class UnnumberedDescriptor(FacetDescriptor[Unnumbered]):
    """`sw_interface_set_unnumbered`."""

    kind: ClassVar[str] = Unnumbered.kind
    item: ClassVar[type[Item]] = Unnumbered

    def dependencies(self, item: Unnumbered) -> Iterable[Dependency]:
        yield Dependency.inside(interface_key(item.interface))
        yield Dependency.on(interface_key(item.donor))
        for each in (item.interface, item.donor):
            yield from vrf_value(each, item.vrf)

    async def create(self, item: Unnumbered, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        donor = index_of(handles, item.donor)
        await self.vpp.request(SwInterfaceSetUnnumbered(sw_if_index=donor, unnumbered_sw_if_index=index))
        return index

    async def delete(self, item: Unnumbered | None, handle: int, handles: Mapping[str, Any]) -> None:
        message = SwInterfaceSetUnnumbered(is_add=False, sw_if_index=handle, unnumbered_sw_if_index=handle)
        await self.vpp.ensure(message, *NO_INTERFACE)

    async def dump(self, known: Known) -> list[Found]:
        details = await self.vpp.dump(IpUnnumberedDump())
        tables = await vrfs_of(self.vpp, sorted({each.sw_if_index for each in details}))
        found = []
        for each in details:
            name, donor = known_name(known, each.sw_if_index), known_name(known, each.ip_sw_if_index)
            if name is None or each.sw_if_index not in tables:
                continue
            item = donor and Unnumbered(interface=name, donor=donor, vrf=tables[each.sw_if_index])
            key = f"{self.kind}/{name}"
            probe = item or Unnumbered(interface=name, donor="")
            found.append(Found(key, item or None, each.sw_if_index, self.ours(name, probe, known)))
        return found
