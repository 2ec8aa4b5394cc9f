# SPDX-License-Identifier: Apache-2.0
"""Tags of interfaces that we did not make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import NO_INTERFACE, FacetDescriptor, index_of
from contivpp_vpp.items import Tag, interface_key
from contivpp_vpp.messages import SwInterfaceTagAddDel
from contivpp_vpp.values import name_of_tag

__all__ = ["TagDescriptor"]


class TagDescriptor(FacetDescriptor[Tag]):
    """`sw_interface_tag_add_del`."""

    kind: ClassVar[str] = Tag.kind
    item: ClassVar[type[Item]] = Tag

    def dependencies(self, item: Tag) -> Iterable[Dependency]:
        return (Dependency.inside(interface_key(item.interface)),)

    def recreates(self, old: Tag, new: Tag) -> bool:
        return False

    async def create(self, item: Tag, handles: Mapping[str, Any]) -> int:
        index = index_of(handles, item.interface)
        await self.vpp.request(SwInterfaceTagAddDel(sw_if_index=index, tag=item.tag))
        return index

    async def update(self, old: Tag, new: Tag, handle: int, handles: Mapping[str, Any]) -> int:
        return await self.create(new, handles)

    async def delete(self, item: Tag, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(SwInterfaceTagAddDel(is_add=False, sw_if_index=handle), *NO_INTERFACE)

    async def dump(self, known: Known) -> list[Found]:
        found = []
        for interface in await self.interfaces(known):
            tag = interface.details.tag
            if tag and name_of_tag(tag) is None:
                item = Tag(interface=interface.name, tag=tag)
                found.append(Found(item.key, item, interface.handle, self.ours(interface.name, item, known)))
        return found
