# SPDX-License-Identifier: Apache-2.0
"""Static MAC entries of bridge domains of ours. A domain's BVI has one by itself, which is no item.

VPP keeps an entry when its interface goes, or leaves the domain, and the index is used again at once: so entries go
first, and one that is found over anything but a member of its domain is dangling and deleted. A deletion names the
interface: it does nothing to an entry that leads elsewhere by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

from contivpp_core.items import Dependency, Found, Item, Known
from contivpp_vpp.descriptors.base import NO_INTERFACE, SPACE, VppDescriptor, index_of, known_name
from contivpp_vpp.descriptors.bridge_domain import is_ours
from contivpp_vpp.descriptors.bridge_member import membership_key
from contivpp_vpp.items import L2FibEntry, interface_key
from contivpp_vpp.messages import BridgeDomainDump, L2fibAddDel, L2FibTableDetails, L2FibTableDump
from contivpp_vpp.values import mac_bytes, mac_text

__all__ = ["L2FibEntryDescriptor"]

_ABSENT = -6  # NO_SUCH_ENTRY: no such domain, or entry, or one over another interface


class _Place(NamedTuple):
    """What a deletion needs."""

    bridge_domain: int
    mac: str
    sw_if_index: int


class L2FibEntryDescriptor(VppDescriptor[L2FibEntry]):
    """`l2fib_add_del`; adding replaces what leads elsewhere, in one step."""

    kind: ClassVar[str] = L2FibEntry.kind
    item: ClassVar[type[Item]] = L2FibEntry
    dumps_after: ClassVar[tuple[str, ...]] = (SPACE,)

    def dependencies(self, item: L2FibEntry) -> Iterable[Dependency]:
        yield Dependency.on(membership_key(item.bridge_domain, item.interface))
        yield Dependency.on(interface_key(item.interface))

    def recreates(self, old: L2FibEntry, new: L2FibEntry) -> bool:
        return False

    async def create(self, item: L2FibEntry, handles: Mapping[str, Any]) -> _Place:
        index = index_of(handles, item.interface)
        await self.vpp.request(
            L2fibAddDel(mac=mac_bytes(item.mac), bd_id=item.bridge_domain, sw_if_index=index, static_mac=True)
        )
        return _Place(item.bridge_domain, item.mac, index)

    async def update(self, old: L2FibEntry, new: L2FibEntry, handle: _Place, handles: Mapping[str, Any]) -> _Place:
        return await self.create(new, handles)

    async def delete(self, item: L2FibEntry | None, handle: _Place, handles: Mapping[str, Any]) -> None:
        message = L2fibAddDel(
            is_add=False, mac=mac_bytes(handle.mac), bd_id=handle.bridge_domain, sw_if_index=handle.sw_if_index
        )
        await self.vpp.ensure(message, *NO_INTERFACE, _ABSENT)

    async def dump(self, known: Known) -> list[Found]:
        """Entries are read before members: what is read of them while work goes on then dangles only if it does."""
        entries = await self.vpp.dump(L2FibTableDump())
        if not entries:
            return []
        members = {
            each.bd_id: {member.sw_if_index for member in each.sw_if_details}
            for each in await self.vpp.dump(BridgeDomainDump())
            if is_ours(each)
        }
        return [
            _found(each, members[each.bd_id], known)
            for each in entries
            if each.static_mac and not each.bvi_mac and not each.filter_mac and each.bd_id in members
        ]


def _found(entry: L2FibTableDetails, members: set[int], known: Known) -> Found:
    mac = mac_text(entry.mac)
    place = _Place(entry.bd_id, mac, entry.sw_if_index)
    name = known_name(known, entry.sw_if_index)
    item = L2FibEntry(bridge_domain=entry.bd_id, mac=mac, interface=name or f"interface {entry.sw_if_index}")
    if entry.sw_if_index not in members:
        return Found(item.key, None, place)
    return Found(item.key, item, place, ours=name is not None)
