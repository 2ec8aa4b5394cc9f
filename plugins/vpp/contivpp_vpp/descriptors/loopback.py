# SPDX-License-Identifier: Apache-2.0
"""Loopback interfaces, by reserved instance numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Found, Item, Known
from contivpp_vpp.descriptors.base import NO_INTERFACE
from contivpp_vpp.descriptors.interfaces import TaggedAfterwards, mac_of
from contivpp_vpp.items import Loopback, interface_key
from contivpp_vpp.messages import CreateLoopbackInstance, DeleteLoopback
from contivpp_vpp.values import mac_text

__all__ = ["LoopbackDescriptor"]

PREFIX = "loop"


class LoopbackDescriptor(TaggedAfterwards[Loopback]):
    """`create_loopback_instance`, then the tag."""

    kind: ClassVar[str] = Loopback.kind
    item: ClassVar[type[Item]] = Loopback
    exists = -31  # INVALID_REGISTRATION: the instance number is in use

    def provides(self, item: Loopback) -> Iterable[str]:
        return (interface_key(item.name),)

    def equal(self, wanted: Loopback, found: Loopback) -> bool:
        return (wanted.name, wanted.instance) == (found.name, found.instance) and wanted.mac in ("", found.mac)

    async def create(self, item: Loopback, handles: Mapping[str, Any]) -> int:
        mac = mac_of(item.name, item.mac)
        message = CreateLoopbackInstance(mac_address=mac, is_specified=True, user_instance=item.instance)

        async def place() -> list[int]:
            name = f"{PREFIX}{item.instance}"
            return [index for index, each in (await self.details()).items() if each.interface_name == name]

        return await self.make(item.name, mac, message, remove=_deletion, place=place)

    async def delete(self, item: Loopback, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(_deletion(handle), *NO_INTERFACE)

    async def dump(self, known: Known) -> list[Found]:
        found = []
        for index, (name, each) in (await self.ours()).items():
            number = each.interface_name.removeprefix(PREFIX)
            if each.interface_dev_type == "Loopback" and number.isdecimal():
                item = Loopback(name=name, instance=int(number), mac=mac_text(each.l2_address))
                found.append(Found(item.key, item, index))
        return found


def _deletion(index: int) -> DeleteLoopback:
    return DeleteLoopback(sw_if_index=index)
