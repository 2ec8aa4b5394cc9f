# SPDX-License-Identifier: Apache-2.0
"""Links that are up.

Only wanted ones are read: who makes a link may set it up without an item, as VPP does with a TAP. `lo` stays up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Known
from contivpp_linux.batcher import Phase
from contivpp_linux.descriptors.base import LOOPBACK, LinuxDescriptor, inside, read_all
from contivpp_linux.items import LinkUp
from contivpp_linux.kernel.operations import SetLink

__all__ = ["LinkUpDescriptor"]


class LinkUpDescriptor(LinuxDescriptor[LinkUp]):
    """Sets links up and down."""

    kind: ClassVar[str] = LinkUp.kind
    item = LinkUp

    def dependencies(self, item: LinkUp) -> Iterable[Dependency]:
        """The link."""
        return inside(item.namespace, item.name)

    async def create(self, item: LinkUp, handles: Mapping[str, Any]) -> None:
        """Set the link up."""
        await self._set(item.namespace, SetLink(link=item.name, up=True), phase=Phase.UP)

    async def delete(self, item: LinkUp, handle: Any, handles: Mapping[str, Any]) -> None:
        """Set the link down."""
        if item.name != LOOPBACK:
            await self._unset(item.namespace, SetLink(link=item.name, up=False))

    async def dump(self, known: Known) -> list[Found]:
        """Find the wanted links that are up."""
        wanted = self._wanted(known)
        namespaces = {item.namespace for item in wanted.values()}
        links = await read_all(namespaces, self._edge.listings(known).links)
        up = (LinkUp(namespace=namespace, name=link.name) for namespace, link in links if link.up)
        return [Found(item.key, item) for item in up if item.key in wanted]
