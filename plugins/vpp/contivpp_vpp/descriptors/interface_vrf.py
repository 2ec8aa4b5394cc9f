# SPDX-License-Identifier: Apache-2.0
"""The VRF of an interface: the same table number for both address families.

VPP refuses to move an interface that has, or borrows, an address: those items depend on this one's value and are
taken down before it changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.access import VppAccess, together
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import InterfaceVrf, VrfTable, interface_key
from contivpp_vpp.messages import SwInterfaceGetTable, SwInterfaceSetTable

__all__ = ["MIXED", "InterfaceVrfDescriptor", "vrfs_of"]

MIXED = -1
"""Found where the families are in different tables: equal to nothing that can be wanted."""


class InterfaceVrfDescriptor(FacetDescriptor[InterfaceVrf]):
    """`sw_interface_set_table`, for both families."""

    kind: ClassVar[str] = InterfaceVrf.kind
    item: ClassVar[type[Item]] = InterfaceVrf

    def dependencies(self, item: InterfaceVrf) -> Iterable[Dependency]:
        yield Dependency.inside(interface_key(item.interface))
        if item.vrf != MIXED:
            yield Dependency.on(f"{VrfTable.kind}/{item.vrf}")

    async def create(self, item: InterfaceVrf, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        try:
            await self._set(index, item.vrf)
        except Exception:
            await self._set(index, 0, *NO_INTERFACE, _HAS_ADDRESS)
            raise
        return index

    async def delete(self, item: InterfaceVrf, handle: int, handles: Mapping[str, Any]) -> None:
        await self._set(handle, 0, *NO_INTERFACE)

    async def _set(self, index: int, vrf: int, *accepted: int) -> None:
        messages = (SwInterfaceSetTable(sw_if_index=index, is_ipv6=ipv6, vrf_id=vrf) for ipv6 in (False, True))
        await together(*(self.vpp.ensure(message, *accepted) for message in messages))

    async def dump(self, known: Known) -> list[Found]:
        interfaces = await self.interfaces(known)
        found = []
        tables = await vrfs_of(self.vpp, [interface.handle for interface in interfaces])
        for interface in interfaces:
            if vrf := tables.get(interface.handle):
                item = InterfaceVrf(interface=interface.name, vrf=vrf)
                found.append(Found(item.key, item, interface.handle, self.ours(interface.name, item, known)))
        return found


_HAS_ADDRESS = -114  # ADDRESS_FOUND_FOR_INTERFACE


async def vrfs_of(vpp: VppAccess, indexes: Iterable[int]) -> dict[int, int]:
    """Return the VRF of each interface, MIXED where the families differ. One that vanishes meanwhile has none."""
    indexes = list(indexes)
    tables = await together(*(_table(vpp, index, ipv6=ipv6) for index in indexes for ipv6 in (False, True)))
    pairs = zip(tables[::2], tables[1::2], strict=True)
    found = {index: v4 if v4 == v6 else MIXED for index, (v4, v6) in zip(indexes, pairs, strict=True)}
    return {index: vrf for index, vrf in found.items() if vrf is not None}


async def _table(vpp: VppAccess, index: int, *, ipv6: bool) -> int | None:
    try:
        return (await vpp.request(SwInterfaceGetTable(sw_if_index=index, is_ipv6=ipv6))).vrf_id
    except VppError as error:
        if error.retval in NO_INTERFACE:
            return None
        raise
