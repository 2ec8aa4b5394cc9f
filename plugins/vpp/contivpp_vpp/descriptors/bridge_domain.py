# SPDX-License-Identifier: Apache-2.0
"""Bridge domains, whose name in VPP says that they are ours.

VPP refuses to delete one that has members (-120), and to add one again (-119); flags change by a message of their own,
also while there are members. Who uses a domain depends on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from contivpp_core.items import Found, Item, Known
from contivpp_vpp.access import ForeignObject
from contivpp_vpp.descriptors.base import VppDescriptor
from contivpp_vpp.errors import VppError
from contivpp_vpp.items import BridgeDomain
from contivpp_vpp.messages import (
    BdFlags,
    BridgeDomainAddDelV2,
    BridgeDomainDetails,
    BridgeDomainDump,
    BridgeFlags,
)
from contivpp_vpp.values import TAG_PREFIX

__all__ = ["BridgeDomainDescriptor", "is_ours"]

_EXISTS = -119  # BD_ALREADY_EXISTS
_ABSENT = -6  # NO_SUCH_ENTRY
_LONGEST_LABEL = 63 - len(TAG_PREFIX)


class BridgeDomainDescriptor(VppDescriptor[BridgeDomain]):
    """`bridge_domain_add_del_v2`, and `bridge_flags` for changes."""

    kind: ClassVar[str] = BridgeDomain.kind
    item: ClassVar[type[Item]] = BridgeDomain

    def recreates(self, old: BridgeDomain, new: BridgeDomain) -> bool:
        return old.name != new.name

    async def create(self, item: BridgeDomain, handles: Mapping[str, Any]) -> int:
        message = BridgeDomainAddDelV2(
            bd_id=item.bd_id,
            flood=item.flood,
            uu_flood=item.unknown_unicast_flood,
            forward=item.forward,
            learn=item.learn,
            arp_term=item.arp_termination,
            bd_tag=TAG_PREFIX + item.name,
        )
        try:
            await self.vpp.request(message)
        except VppError as error:
            if error.retval == _EXISTS:  # ours would have been found
                raise ForeignObject(
                    f"VPP has a bridge domain {item.bd_id} that is not ours: delete it there"
                ) from error
            raise
        return item.bd_id

    async def update(self, old: BridgeDomain, new: BridgeDomain, handle: int, handles: Mapping[str, Any]) -> int:
        before, after = _flags(old), _flags(new)
        for flags, is_set in ((before & ~after, False), (after & ~before, True)):
            if flags:
                await self.vpp.request(BridgeFlags(bd_id=handle, is_set=is_set, flags=flags))
        return handle

    async def delete(self, item: BridgeDomain, handle: int, handles: Mapping[str, Any]) -> None:
        await self.vpp.ensure(BridgeDomainAddDelV2(is_add=False, bd_id=handle), _ABSENT)

    async def dump(self, known: Known) -> list[Found]:
        return [_found(each) for each in await self.vpp.dump(BridgeDomainDump())]


def is_ours(domain: BridgeDomainDetails) -> bool:
    """Tell whether a bridge domain is ours."""
    return domain.bd_tag.startswith(TAG_PREFIX)


def _flags(item: BridgeDomain) -> BdFlags:
    chosen = {
        BdFlags.LEARN: item.learn,
        BdFlags.FWD: item.forward,
        BdFlags.FLOOD: item.flood,
        BdFlags.UU_FLOOD: item.unknown_unicast_flood,
        BdFlags.ARP_TERM: item.arp_termination,
    }
    return BdFlags(sum(flag for flag, on in chosen.items() if on))


def _found(domain: BridgeDomainDetails) -> Found:
    item = BridgeDomain(
        bd_id=domain.bd_id,
        name=domain.bd_tag.removeprefix(TAG_PREFIX).encode()[:_LONGEST_LABEL].decode(errors="ignore"),
        learn=domain.learn,
        flood=domain.flood,
        unknown_unicast_flood=domain.uu_flood,
        forward=domain.forward,
        arp_termination=domain.arp_term,
    )
    return Found(item.key, item, domain.bd_id, is_ours(domain))
