# SPDX-License-Identifier: Apache-2.0
"""What VPP does with learned neighbours: one setting for each address family.

There always is one, so a dump tells only of those that are wanted or known.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from contivpp_core.items import Found, Item, Known
from contivpp_vpp.access import together
from contivpp_vpp.descriptors.base import VppDescriptor
from contivpp_vpp.items import NeighbourSettings
from contivpp_vpp.messages import AddressFamily, IpNeighborConfig, IpNeighborConfigGet

__all__ = ["NeighbourSettingsDescriptor"]

_FAMILIES = {"ip4": AddressFamily.IP4, "ip6": AddressFamily.IP6}


class NeighbourSettingsDescriptor(VppDescriptor[NeighbourSettings]):
    """`ip_neighbor_config`."""

    kind: ClassVar[str] = NeighbourSettings.kind
    item: ClassVar[type[Item]] = NeighbourSettings

    def recreates(self, old: NeighbourSettings, new: NeighbourSettings) -> bool:
        return False

    async def create(self, item: NeighbourSettings, handles: Mapping[str, Any]) -> AddressFamily:
        family = _FAMILIES[item.family]
        await self.vpp.request(
            IpNeighborConfig(af=family, max_number=item.max_number, max_age=item.max_age_seconds, recycle=item.recycle)
        )
        return family

    async def update(
        self, old: NeighbourSettings, new: NeighbourSettings, handle: AddressFamily, handles: Mapping[str, Any]
    ) -> AddressFamily:
        return await self.create(new, handles)

    async def delete(self, item: NeighbourSettings, handle: AddressFamily, handles: Mapping[str, Any]) -> None:
        """Restore what VPP begins with."""
        await self.create(NeighbourSettings(family=item.family), handles)

    async def dump(self, known: Known) -> list[Found]:
        families = sorted({item.family for item in known.items(self.kind)})
        replies = await together(*(self.vpp.request(IpNeighborConfigGet(af=_FAMILIES[family])) for family in families))
        found = []
        for family, reply in zip(families, replies, strict=True):
            item = NeighbourSettings(
                family=family,
                max_number=reply.max_number,
                max_age_seconds=reply.max_age,
                recycle=reply.recycle,
            )
            found.append(Found(item.key, item, _FAMILIES[family]))
        return found
