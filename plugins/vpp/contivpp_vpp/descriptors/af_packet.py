# SPDX-License-Identifier: Apache-2.0
"""AF_PACKET interfaces: VPP on top of a Linux interface, usually its end of a pod's veth.

VPP keeps such an interface when the Linux one goes, but it is dead then; so it is deleted before, and made again
with it. Setting up the rings takes VPP's main thread about 250 ms for each.

VPP 26.06 must not have 16 or more of them: while 16 sockets have frames at once, its main thread asks for ready files
again and again (`vlib_file_poll`) and never reads these frames, nor its API. A pause of VPP under traffic is enough.

One without a tag, on a Linux interface and with a MAC address of an item that is known, was left half made. It is
found as that item with a MAC address that none can have: not what is wanted, whatever that is, so it is deleted, and
made again if somebody wants it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import NO_INTERFACE
from contivpp_vpp.descriptors.interfaces import TaggedAfterwards, mac_of
from contivpp_vpp.items import AfPacket, interface_key
from contivpp_vpp.messages import AfPacketCreateV3, AfPacketDelete, AfPacketDump, AfPacketFlags
from contivpp_vpp.values import mac_text, name_of_tag

_HALF_MADE = "00:00:00:00:00:00"
_NOT_THERE = -11  # SYSCALL_ERROR_1: what VPP says when there is nothing on the Linux interface

__all__ = ["AfPacketDescriptor"]


class AfPacketDescriptor(TaggedAfterwards[AfPacket]):
    """`af_packet_create_v3`, then the tag."""

    kind: ClassVar[str] = AfPacket.kind
    item: ClassVar[type[Item]] = AfPacket
    exists = -79  # IF_ALREADY_EXISTS: the Linux interface has one

    def dependencies(self, item: AfPacket) -> Iterable[Dependency]:
        return (Dependency.on(f"linux/link/host/{item.host_name}"),)

    def provides(self, item: AfPacket) -> Iterable[str]:
        return (interface_key(item.name),)

    def equal(self, wanted: AfPacket, found: AfPacket) -> bool:
        if wanted == found:
            return True
        same = (wanted.name, wanted.host_name) == (found.name, found.host_name)
        return same and found.mac not in ("", _HALF_MADE) and wanted.mac in ("", found.mac)

    async def create(self, item: AfPacket, handles: Mapping[str, Any]) -> int:
        mac = mac_of(item.name, item.mac)
        message = AfPacketCreateV3(
            host_if_name=item.host_name, hw_addr=mac, use_random_hw_addr=False, flags=AfPacketFlags.QDISC_BYPASS
        )

        async def place() -> list[int]:
            details = await self.vpp.dump(AfPacketDump())
            return [each.sw_if_index for each in details if each.host_if_name == item.host_name]

        def remove(_: int) -> AfPacketDelete:
            return AfPacketDelete(host_if_name=item.host_name)

        return await self.make(item.name, mac, message, remove=remove, place=place)

    async def delete(self, item: AfPacket, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(AfPacketDelete(host_if_name=item.host_name), *NO_INTERFACE, _NOT_THERE)

    async def dump(self, known: Known) -> list[Found]:
        hosts = {each.sw_if_index: each.host_if_name for each in await self.vpp.dump(AfPacketDump())}
        if not hosts:
            return []
        half_made = {
            (item.host_name, mac_text(mac_of(item.name, item.mac))): item for item in known.items(AfPacket.kind)
        }
        found = []
        for index, each in (await self.details()).items():
            if index not in hosts:
                continue
            mac = mac_text(each.l2_address)
            name = name_of_tag(each.tag)
            if name is not None:
                item = AfPacket(name=name, host_name=hosts[index], mac=mac)
                found.append(Found(item.key, item, index))
            elif not each.tag and (wanted := half_made.get((hosts[index], mac))):
                item = AfPacket(name=wanted.name, host_name=wanted.host_name, mac=_HALF_MADE)
                found.append(Found(item.key, item, index))
        return found
