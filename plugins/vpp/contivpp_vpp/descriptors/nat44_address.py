# SPDX-License-Identifier: Apache-2.0
"""Addresses of NAT44's two pools. They have no owner in VPP: ours are those that are wanted, or that we made.

They serve every VRF; one that was put there for a single VRF is somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Item, Known, Outcome
from contivpp_vpp.descriptors.base import VppDescriptor
from contivpp_vpp.descriptors.nat44_base import ABSENT, EXISTS, IN_NAT44, all_of, outcome_in_nat44
from contivpp_vpp.items import Nat44Address
from contivpp_vpp.messages import Nat44AddDelAddressRange, Nat44AddressDump, NatConfigFlags
from contivpp_vpp.values import address_bytes

__all__ = ["Nat44AddressDescriptor"]

_ANY_VRF = 0xFFFFFFFF


class Nat44AddressDescriptor(VppDescriptor[Nat44Address]):
    """`nat44_add_del_address_range`."""

    kind: ClassVar[str] = Nat44Address.kind
    item: ClassVar[type[Item]] = Nat44Address
    unmarked: ClassVar[bool] = True

    def classify(self, error: Exception) -> Outcome:
        return outcome_in_nat44(error)

    def dependencies(self, item: Nat44Address) -> Iterable[Dependency]:
        return (IN_NAT44,)

    async def create(self, item: Nat44Address, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(_message(item, is_add=True), EXISTS)

    async def delete(self, item: Nat44Address, handle: None, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(_message(item, is_add=False), *ABSENT)

    async def dump(self, known: Known) -> list[Found]:
        wanted = {(address_bytes(item.address), item.twice_nat): item for item in known.items(self.kind)}
        if not wanted:
            return []
        found = []
        for each in await all_of(self.vpp, Nat44AddressDump()):
            if item := wanted.get((each.ip_address, bool(each.flags & NatConfigFlags.TWICE_NAT))):
                found.append(Found(item.key, item, ours=each.vrf_id == _ANY_VRF))
        return found


def _message(item: Nat44Address, *, is_add: bool) -> Nat44AddDelAddressRange:
    address = address_bytes(item.address)
    return Nat44AddDelAddressRange(
        is_add=is_add,
        first_ip_address=address,
        last_ip_address=address,
        vrf_id=_ANY_VRF,
        flags=NatConfigFlags.TWICE_NAT if item.twice_nat else NatConfigFlags.NONE,
    )
