# SPDX-License-Identifier: Apache-2.0
"""Interfaces that VPP has by itself (NICs): looked up by VPP's name for them, never made, changed or deleted.

They exist here so that addresses, routes and link states can be put on them by a logical name. Which device a name
stands for is noted in the ledger: an agent that starts with another one wanted finds what stands on the former one, and
takes it down before the name stands for the new one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Found, Item, Known
from contivpp_vpp.access import Refused
from contivpp_vpp.descriptors.base import InterfaceDescriptor
from contivpp_vpp.items import PhysicalInterface, interface_key

__all__ = ["PhysicalInterfaceDescriptor"]


class PhysicalInterfaceDescriptor(InterfaceDescriptor[PhysicalInterface]):
    """Sends nothing but dumps."""

    kind: ClassVar[str] = PhysicalInterface.kind
    item: ClassVar[type[Item]] = PhysicalInterface
    found_only: ClassVar[bool] = True
    unmarked: ClassVar[bool] = True

    def provides(self, item: PhysicalInterface) -> Iterable[str]:
        return (interface_key(item.name),)

    async def create(self, item: PhysicalInterface, handles: Mapping[str, Any]) -> int:
        details = await self.details()
        for index, each in details.items():
            if each.interface_name == item.device:
                return index
        names = ", ".join(sorted(each.interface_name for each in details.values()))
        raise Refused(f"VPP has no interface {item.device} (it has {names}): name one of these, or give VPP the device")

    async def delete(self, item: PhysicalInterface, handle: int, handles: Mapping[str, Any]) -> None:
        """Nothing was made, so nothing is removed."""

    async def dump(self, known: Known) -> list[Found]:
        noted: dict[str, PhysicalInterface] = {item.name: item for item in known.noted(self.kind)}
        taken = {item.device for item in noted.values()}
        others = (item for item in known.items(self.kind) if item.name not in noted and item.device not in taken)
        items = [*noted.values(), *others]
        if not items:
            return []
        names = {each.interface_name: index for index, each in (await self.details()).items()}
        return [Found(item.key, item, names[item.device]) for item in items if item.device in names]
