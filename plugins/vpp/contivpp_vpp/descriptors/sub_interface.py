# SPDX-License-Identifier: Apache-2.0
"""VLAN sub-interfaces (exactly one 802.1Q tag), then the tag that marks them as ours.

VPP knows one by its parent and a number, which people choose like the VLAN; ours are 1000000 and the VLAN. So one of
that number that has no tag was left half made, and is deleted and made again; any other is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.errors import ContivError
from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.access import ForeignObject
from contivpp_vpp.descriptors.base import NO_INTERFACE, InterfaceDescriptor, index_of
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import PhysicalInterface, SubInterface, interface_key
from contivpp_vpp.messages import (
    CreateSubif,
    DeleteSubif,
    IfType,
    SubIfFlags,
    SwInterfaceDetails,
    SwInterfaceTagAddDel,
)
from contivpp_vpp.values import name_of_tag, tag_of

__all__ = ["FIRST_NUMBER", "SubInterfaceDescriptor"]

FIRST_NUMBER = 1_000_000

_EXISTS = (-1, -31, -56)  # UNSPECIFIED (the VLAN is in use), INVALID_REGISTRATION, VLAN_ALREADY_EXISTS
_ABSENT = (*NO_INTERFACE, -98)  # INVALID_SUB_SW_IF_INDEX


class SubInterfaceDescriptor(InterfaceDescriptor[SubInterface]):
    """`create_subif`, then the tag."""

    kind: ClassVar[str] = SubInterface.kind
    item: ClassVar[type[Item]] = SubInterface

    def dependencies(self, item: SubInterface) -> Iterable[Dependency]:
        return (Dependency.inside(interface_key(item.parent)),)

    def provides(self, item: SubInterface) -> Iterable[str]:
        return (interface_key(item.name),)

    async def create(self, item: SubInterface, handles: Mapping[str, Any]) -> int:
        parent = index_of(handles, item.parent)
        message = CreateSubif(
            sw_if_index=parent,
            sub_id=FIRST_NUMBER + item.vlan,
            sub_if_flags=SubIfFlags.ONE_TAG | SubIfFlags.EXACT_MATCH,
            outer_vlan_id=item.vlan,
        )
        try:
            index = (await self.vpp.request(message)).sw_if_index
        except VppError as error:
            if error.retval not in _EXISTS or not await self._clear(item, parent):
                raise
            index = (await self.vpp.request(message)).sw_if_index
        try:
            await self.vpp.request(SwInterfaceTagAddDel(sw_if_index=index, tag=tag_of(item.name)))
        except VppError:
            await self.vpp.ensure(DeleteSubif(sw_if_index=index), *_ABSENT)
            raise
        return index

    async def _clear(self, item: SubInterface, parent: int) -> bool:
        """Remove what has the VLAN, if it is ours; tell whether there was something."""
        there = [each for each in (await self.details()).values() if _has(each, parent, item.vlan)]
        for each in there:
            if (other := name_of_tag(each.tag)) and other != item.name:  # it may be on its way to another VLAN
                raise ContivError(f"{other} has VLAN {item.vlan} of {item.parent}: it is tried again")
            if each.tag != tag_of(item.name) and not _half_made(each):
                raise ForeignObject(
                    f"{each.interface_name} has VLAN {item.vlan} of {item.parent} already, with tag {each.tag!r}: "
                    "delete it in VPP, or choose another VLAN"
                )
            await self.vpp.ensure(DeleteSubif(sw_if_index=each.sw_if_index), *_ABSENT)
        return bool(there)

    async def delete(self, item: SubInterface | None, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(DeleteSubif(sw_if_index=handle), *_ABSENT)

    async def dump(self, known: Known) -> list[Found]:
        """The parent's name comes from its tag, or from the interfaces that are wanted or known by VPP's name."""
        details = await self.details()
        parents = {index: name for index, each in details.items() if (name := name_of_tag(each.tag))}
        devices = {item.device: item.name for item in known.items(PhysicalInterface.kind)}
        parents |= {i: devices[each.interface_name] for i, each in details.items() if each.interface_name in devices}
        found = []
        for index, each in details.items():
            if each.type != IfType.SUB:
                continue
            parent = parents.get(each.sup_sw_if_index) or f"interface {each.sup_sw_if_index}"
            if name := name_of_tag(each.tag):
                exact = each.sub_number_of_tags == 1 and 1 <= each.sub_outer_vlan_id <= 4094
                item = SubInterface(name=name, parent=parent, vlan=each.sub_outer_vlan_id) if exact else None
                found.append(Found(f"{self.kind}/{name}", item, index))
            elif _half_made(each):
                found.append(Found(f"{self.kind}/{each.interface_name}", None, index))
        return found


def _half_made(each: SwInterfaceDetails) -> bool:
    return not each.tag and each.sub_id == FIRST_NUMBER + each.sub_outer_vlan_id


def _has(each: SwInterfaceDetails, parent: int, vlan: int) -> bool:
    return each.type == IfType.SUB and each.sup_sw_if_index == parent and each.sub_outer_vlan_id == vlan
