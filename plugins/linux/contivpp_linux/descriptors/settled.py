# SPDX-License-Identifier: Apache-2.0
"""The mark of a link whose initial values are all applied (`contivpp_linux.settled`).

It is written when the last of them is applied, so a link that an agent left half done has none. Together with it, the
link's namespace begins to be followed; a dump tells what is on each link that carries a mark.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from contivpp_core.items import Dependency, Found, Known
from contivpp_core.namespaces import Namespace
from contivpp_linux.batcher import Phase, reference
from contivpp_linux.descriptors.base import LinuxDescriptor, inside, read_all
from contivpp_linux.edge import or_gone
from contivpp_linux.items import Settled
from contivpp_linux.kernel.operations import Follow, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.settled import alias_of, applied_of
from contivpp_linux.sightings import sighting_of

__all__ = ["SettledDescriptor"]


class SettledDescriptor(LinuxDescriptor[Settled]):
    """Writes marks, and follows."""

    kind: ClassVar[str] = Settled.kind
    item = Settled

    def dependencies(self, item: Settled) -> Iterable[Dependency]:
        """The link, and every initial value as it is wanted; like them, the mark goes with the link."""
        values = (Dependency(keys=(each.key,), bound=True, as_wanted=True) for each in item.initial)
        return [*inside(item.namespace, item.link), *values]

    def recreates(self, old: Settled, new: Settled) -> bool:
        """Written over."""
        return False

    async def create(self, item: Settled, handles: Mapping[str, Any]) -> None:
        """Write the mark. The namespace is followed before that, so that nothing later can be missed."""
        mark = SetLink(link=item.link, alias=alias_of(item))
        _, marked = await self._edge.apply(item.namespace, Follow(), mark, phase=Phase.MARK)
        raise_errors([marked])

    async def update(self, old: Settled, new: Settled, handle: Any, handles: Mapping[str, Any]) -> None:
        """Write the new one."""
        await self.create(new, handles)

    async def delete(self, item: Settled, handle: Any, handles: Mapping[str, Any]) -> None:
        """Leave it: the values were applied."""

    async def dump(self, known: Known) -> list[Found]:
        """Read the marks of the links for which one is wanted."""
        wanted = self._wanted(known)
        namespaces = {item.namespace for item in wanted.values()}
        await asyncio.gather(*map(self._follow, namespaces))
        links = await read_all(namespaces, self._edge.listings(known).links)
        found = []
        for namespace, link in links:
            item = wanted.get(Settled(namespace=namespace, link=link.name, initial=()).key)
            applied = applied_of(link.alias)
            if item is None or applied is None:
                continue
            there = item if applied.are(item.initial) else msgspec.structs.replace(item, initial=())
            found.append(Found(item.key, there))
            self._edge.sighted(sighting_of(item, link, await self._edge.listings(known).routes(namespace)))
        return found

    async def _follow(self, namespace: Namespace) -> None:
        await or_gone(self._edge.kernel.apply(reference(namespace), [Follow()]), [])
