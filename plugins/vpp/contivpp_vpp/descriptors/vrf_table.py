# SPDX-License-Identifier: Apache-2.0
"""VRFs: a pair of tables, IPv4 and IPv6, whose name says that they are ours.

VPP keeps a table as long as something uses it, also after it answered that it is deleted; that is no drift. NAT44 never
gives an IPv4 table back in which a deleted backend was: so one that is left alone is found only where it is wanted, and
the name of one that was kept may be an earlier one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from contivpp_core.items import Found, Item, Known
from contivpp_vpp.access import together
from contivpp_vpp.descriptors.base import VppDescriptor
from contivpp_vpp.items import VrfTable
from contivpp_vpp.messages import IpTable, IpTableAddDel, IpTableDump
from contivpp_vpp.values import TAG_PREFIX

__all__ = ["VrfTableDescriptor"]

_ABSENT = (-3, -6, -65)  # NO_SUCH_FIB, NO_SUCH_ENTRY, NO_SUCH_TABLE
_FAMILIES = (False, True)  # is it IPv6?


class VrfTableDescriptor(VppDescriptor[VrfTable]):
    """`ip_table_add_del`, for both families; adding again does no harm."""

    kind: ClassVar[str] = VrfTable.kind
    item: ClassVar[type[Item]] = VrfTable

    async def create(self, item: VrfTable, handles: Mapping[str, Any]) -> int:
        name = TAG_PREFIX + item.label
        await together(
            *(
                self.vpp.request(IpTableAddDel(table=IpTable(table_id=item.vrf, is_ip6=ipv6, name=name)))
                for ipv6 in _FAMILIES
            )
        )
        return item.vrf

    async def delete(self, item: VrfTable | None, handle: int, handles: Mapping[str, Any]) -> None:
        await together(
            *(
                self.vpp.ensure(IpTableAddDel(is_add=False, table=IpTable(table_id=handle, is_ip6=ipv6)), *_ABSENT)
                for ipv6 in _FAMILIES
            )
        )

    async def dump(self, known: Known) -> list[Found]:
        names: dict[int, dict[bool, str]] = defaultdict(dict)
        for each in await self.vpp.dump(IpTableDump()):
            if each.table.table_id:
                names[each.table.table_id][each.table.is_ip6] = each.table.name
        labels = {item.vrf: item.label for item in known.items(self.kind)}
        found = (_found(vrf, by_family, labels.get(vrf)) for vrf, by_family in sorted(names.items()))
        return [each for each in found if each is not None]


def _found(vrf: int, names: Mapping[bool, str], wanted: str | None) -> Found | None:
    """One of the two tables missing, or both with other names than one that is wanted: not a VRF as we make it."""
    key = f"{VrfTable.kind}/{vrf}"
    ours = {name.startswith(TAG_PREFIX) for name in names.values()}
    if ours == {True}:
        labels = {name.removeprefix(TAG_PREFIX) for name in names.values()}
        if wanted is None and set(names) == {False}:
            return None
        if len(names) == len(_FAMILIES) and (len(labels) == 1 or wanted in labels):
            label = wanted if wanted is not None and wanted in labels else min(labels)
            return Found(key, VrfTable(vrf=vrf, label=label), vrf)
        return Found(key, None, vrf)
    label = next(iter(names.values())).encode()[:52].decode(errors="ignore")
    return Found(key, VrfTable(vrf=vrf, label=label), vrf, ours=False)
