# SPDX-License-Identifier: Apache-2.0
"""Sysctls below `net`: settings of a namespace, or of a link in it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import msgspec

from contivpp_core.items import Dependency, Found, Known
from contivpp_core.namespaces import Namespace
from contivpp_linux.batcher import Phase, reference
from contivpp_linux.descriptors.base import LinuxDescriptor, inside, is_applied, read_all
from contivpp_linux.edge import or_gone
from contivpp_linux.items import Sysctl
from contivpp_linux.kernel.operations import SetSysctl, sysctl_path

__all__ = ["SysctlDescriptor"]

_OF_ALL_LINKS = ("all", "default")


class SysctlDescriptor(LinuxDescriptor[Sysctl]):
    """Writes sysctls."""

    kind: ClassVar[str] = Sysctl.kind
    item = Sysctl

    def dependencies(self, item: Sysctl) -> Iterable[Dependency]:
        """The link whose sysctl it is, if it is one's."""
        link = _link_of(item)
        return inside(item.namespace, link) if link else ()

    def equal(self, wanted: Sysctl, found: Sysctl) -> bool:
        """The kernel puts tabs between numbers."""
        return wanted == found or (wanted.key == found.key and wanted.value.split() == found.value.split())

    def recreates(self, old: Sysctl, new: Sysctl) -> bool:
        """Written in place."""
        return False

    async def create(self, item: Sysctl, handles: Mapping[str, Any]) -> None:
        """Write the value."""
        await self._set(item.namespace, SetSysctl(item.name, item.value), phase=Phase.SYSCTL)

    async def update(self, old: Sysctl, new: Sysctl, handle: Any, handles: Mapping[str, Any]) -> None:
        """Write the new value."""
        await self.create(new, handles)

    async def delete(self, item: Sysctl, handle: Any, handles: Mapping[str, Any]) -> None:
        """Leave it as it is: what was there before is nobody's knowledge."""

    async def dump(self, known: Known) -> list[Found]:
        """Read the wanted sysctls."""
        wanted = self._wanted(known)
        names: dict[Namespace, list[str]] = defaultdict(list)
        for item in wanted.values():
            names[item.namespace].append(item.name)
        initial = {item.namespace for item in wanted.values() if item.initial}
        listed = await read_all(initial, self._edge.listings(known).links)
        links = {(namespace, link.name): link for namespace, link in listed}
        read = (or_gone(self._edge.kernel.read_sysctls(reference(where), names[where]), []) for where in names)
        found: list[Found] = []
        for namespace, texts in zip(names, await asyncio.gather(*read), strict=True):
            for name, text in zip(names[namespace], texts, strict=False):  # none, where the namespace is gone
                item = wanted[Sysctl(namespace=namespace, name=name, value="").key]
                if isinstance(text, str):
                    applied = is_applied(item, links.get((namespace, _link_of(item))))
                    there = item if applied else msgspec.structs.replace(item, value=text)
                    found.append(Found(item.key, there))
        return found


def _link_of(item: Sysctl) -> str:
    """Return the link whose sysctl it is (net/ipv4/conf/LINK/…, net/ipv6/neigh/LINK/…), or with which it is set."""
    parts = (sysctl_path(item.name) or "").split("/")
    if len(parts) < 5 or parts[2] not in ("conf", "neigh") or parts[3] in _OF_ALL_LINKS:
        return item.link
    return parts[3]
