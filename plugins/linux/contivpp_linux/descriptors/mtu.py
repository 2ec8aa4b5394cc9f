# SPDX-License-Identifier: Apache-2.0
"""MTUs of links: a setting. An initial one is found as it was applied, whatever others have made of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from contivpp_core.items import Dependency, Found, Known
from contivpp_linux.batcher import Phase
from contivpp_linux.descriptors.base import LinuxDescriptor, inside, is_applied, read_all
from contivpp_linux.items import Mtu
from contivpp_linux.kernel.operations import SetLink

__all__ = ["MtuDescriptor"]


class MtuDescriptor(LinuxDescriptor[Mtu]):
    """Sets MTUs."""

    kind: ClassVar[str] = Mtu.kind
    item = Mtu

    def dependencies(self, item: Mtu) -> Iterable[Dependency]:
        """The link."""
        return inside(item.namespace, item.link)

    def recreates(self, old: Mtu, new: Mtu) -> bool:
        """Set in place."""
        return False

    async def create(self, item: Mtu, handles: Mapping[str, Any]) -> None:
        """Set it."""
        await self._set(item.namespace, SetLink(link=item.link, mtu=item.mtu), phase=Phase.SETTING)

    async def update(self, old: Mtu, new: Mtu, handle: Any, handles: Mapping[str, Any]) -> None:
        """Set the new one."""
        await self.create(new, handles)

    async def delete(self, item: Mtu, handle: Any, handles: Mapping[str, Any]) -> None:
        """Leave it as it is."""

    async def dump(self, known: Known) -> list[Found]:
        """Read the MTUs of links for which one is wanted."""
        wanted = self._wanted(known)
        namespaces = {item.namespace for item in wanted.values()}
        links = await read_all(namespaces, self._edge.listings(known).links)
        found = []
        for namespace, link in links:
            item = wanted.get(Mtu(namespace=namespace, link=link.name, mtu=0).key)
            if item is not None:
                there = item if is_applied(item, link) else msgspec.structs.replace(item, mtu=link.mtu)
                found.append(Found(item.key, there))
        return found
