# SPDX-License-Identifier: Apache-2.0
"""MAC addresses of links: a setting.

With a new MAC the kernel forgets all neighbours of the link, permanent ones too. So they are told anew, also when the
item comes later than they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Known
from contivpp_linux.batcher import reference
from contivpp_linux.descriptors.base import LinuxDescriptor, check_mac, inside, read_all
from contivpp_linux.items import Mac
from contivpp_linux.kernel.operations import Replace, SetLink
from contivpp_linux.kernel.protocol import raise_errors

__all__ = ["MacDescriptor"]


class MacDescriptor(LinuxDescriptor[Mac]):
    """Sets MAC addresses."""

    kind: ClassVar[str] = Mac.kind
    item = Mac

    def dependencies(self, item: Mac) -> Iterable[Dependency]:
        """The link."""
        return inside(item.namespace, item.link)

    def recreates(self, old: Mac, new: Mac) -> bool:
        """Set in place."""
        return False

    async def create(self, item: Mac, handles: Mapping[str, Any]) -> None:
        """Set it, and keep the neighbours: those before it in the same turn, too."""
        check_mac(item.mac)
        await self._edge.alone(item.namespace, lambda: self._change(item))

    async def update(self, old: Mac, new: Mac, handle: Any, handles: Mapping[str, Any]) -> None:
        """Set the new one."""
        await self.create(new, handles)

    async def _change(self, item: Mac) -> None:
        kernel, namespace = self._edge.kernel, reference(item.namespace)
        neighbours = [n for n in await kernel.neighbours(namespace) if n.link == item.link]
        change = SetLink(link=item.link, mac=item.mac)
        raise_errors(await kernel.apply(namespace, [change, *map(Replace, neighbours)]))

    async def delete(self, item: Mac, handle: Any, handles: Mapping[str, Any]) -> None:
        """Leave it as it is."""

    async def dump(self, known: Known) -> list[Found]:
        """Read the MACs of links for which one is wanted."""
        wanted = self._wanted(known)
        namespaces = {item.namespace for item in wanted.values()}
        links = await read_all(namespaces, self._edge.listings(known).links)
        found = (Mac(namespace=namespace, link=link.name, mac=link.mac) for namespace, link in links)
        return [Found(item.key, item) for item in found if item.key in wanted]
