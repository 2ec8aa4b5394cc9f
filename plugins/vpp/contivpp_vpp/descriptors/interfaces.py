# SPDX-License-Identifier: Apache-2.0
"""Making interfaces that VPP cannot tag in the message that creates them: create, tag, and undo what is half done.

The agent can die between the two messages. What it leaves has no tag, but it stands in the wanted place (loopback
instance, Linux interface) and has the MAC address that only we give: the wanted one, or one derived from the name.
Such a leftover is removed when the interface is made again. Anything else in that place is somebody else's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar

from contivpp_core.items import Item
from contivpp_vpp.access import ForeignObject
from contivpp_vpp.descriptors.base import NO_INTERFACE, InterfaceDescriptor
from contivpp_vpp.errors import VppError
from contivpp_vpp.messages import SwInterfaceTagAddDel
from contivpp_vpp.values import mac_bytes, tag_of
from contivpp_vpp.wire.base import Request

__all__ = ["TaggedAfterwards", "mac_of"]

I = TypeVar("I", bound=Item)  # noqa: E741 (the contract's letter for an item type)


def mac_of(name: str, mac: str) -> bytes:
    """Return the MAC address to make an interface with: the wanted one, or a local one derived from the name."""
    return mac_bytes(mac) if mac else b"\x02" + hashlib.blake2s(tag_of(name).encode(), digest_size=5).digest()


class TaggedAfterwards(InterfaceDescriptor[I]):
    """Base of descriptors whose interfaces are tagged by a second message."""

    exists: int
    """The error number by which VPP says that something is in the wanted place."""

    async def make(
        self,
        name: str,
        mac: bytes,
        create: Request[Any],
        *,
        remove: Callable[[int], Request[Any]],
        place: Callable[[], Awaitable[Collection[int]]],
    ) -> int:
        """Create and tag; `place` finds the indexes of what is in the way."""
        try:
            reply = await self.vpp.request(create)
        except VppError as error:
            if error.retval != self.exists:
                raise
            await self._clear(name, mac, remove, await place())
            reply = await self.vpp.request(create)
        index: int = reply.sw_if_index
        try:
            await self.vpp.request(SwInterfaceTagAddDel(sw_if_index=index, tag=tag_of(name)))
        except VppError:
            await self.vpp.ensure(remove(index), *NO_INTERFACE)
            raise
        return index

    async def _clear(
        self, name: str, mac: bytes, remove: Callable[[int], Request[Any]], place: Collection[int]
    ) -> None:
        details = await self.details()
        for index in sorted(place):
            if (each := details.get(index)) is None:
                continue
            if each.tag != tag_of(name) and (each.tag or each.l2_address != mac):
                raise ForeignObject(
                    f"{each.interface_name} is in VPP already, with tag {each.tag!r}: delete it there, or choose "
                    f"another instance or Linux interface for {name}"
                )
            await self.vpp.ensure(remove(index), *NO_INTERFACE)
