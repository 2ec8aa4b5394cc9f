# SPDX-License-Identifier: Apache-2.0
"""Permanent neighbours. The kernel drops them when the link goes down; what ARP learns is no item."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any, ClassVar

import msgspec

from contivpp_core.items import Dependency, Found, Known
from contivpp_core.namespaces import HOST
from contivpp_linux.batcher import Phase
from contivpp_linux.descriptors.base import LinuxDescriptor, check_mac, inside_up, read_all
from contivpp_linux.items import Neighbour
from contivpp_linux.kernel import values
from contivpp_linux.kernel.operations import Delete, Replace

__all__ = ["NeighbourDescriptor"]


class NeighbourDescriptor(LinuxDescriptor[Neighbour]):
    """Adds, replaces and removes permanent neighbours."""

    kind: ClassVar[str] = Neighbour.kind
    item = Neighbour

    def dependencies(self, item: Neighbour) -> Iterable[Dependency]:
        """The link, and its being up."""
        return inside_up(item.namespace, item.link)

    def recreates(self, old: Neighbour, new: Neighbour) -> bool:
        """The MAC is replaced in place."""
        return False

    async def create(self, item: Neighbour, handles: Mapping[str, Any]) -> None:
        """Add the neighbour; what was learnt gives way."""
        await self._set(item.namespace, Replace(_value(item)), phase=Phase.ROUTE)

    async def update(self, old: Neighbour, new: Neighbour, handle: Any, handles: Mapping[str, Any]) -> None:
        """Replace the MAC."""
        await self.create(new, handles)

    async def delete(self, item: Neighbour, handle: Any, handles: Mapping[str, Any]) -> None:
        """Remove the neighbour."""
        await self._unset(item.namespace, Delete(_value(item)))

    async def dump(self, known: Known) -> list[Found]:
        """Find the wanted neighbours, and in the host's namespace all permanent ones of links of ours.

        One that is there was told at the MAC that its link has.
        """
        wanted = self._wanted(known)
        namespaces = {HOST, *(item.namespace for item in wanted.values())}
        found: list[Found] = []
        for namespace, there in await read_all(namespaces, self._edge.listings(known).neighbours):
            item = Neighbour(namespace=namespace, link=there.link, address=str(there.address), mac=there.mac)
            if (known_as := wanted.get(item.key)) is not None:
                found.append(Found(item.key, msgspec.structs.replace(known_as, mac=there.mac)))
            elif namespace == HOST and self._edge.ours(namespace, there.link):
                found.append(Found(item.key, item))
        return found


def _value(item: Neighbour) -> values.Neighbour:
    check_mac(item.mac)
    address = ip_address(item.address)
    if str(address) != item.address:
        raise ValueError(f"write the neighbour's address {item.address!r} as {address}")
    return values.Neighbour(item.link, address, item.mac)
