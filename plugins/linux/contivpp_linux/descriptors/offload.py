# SPDX-License-Identifier: Apache-2.0
"""Offloads of links: a setting. What one feature implies for another is the kernel's affair, and not compared."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from contivpp_core.items import Dependency, Found, Known
from contivpp_linux.batcher import Phase, reference
from contivpp_linux.descriptors.base import LinuxDescriptor, inside
from contivpp_linux.items import Offload
from contivpp_linux.kernel import values
from contivpp_linux.kernel.errors import KernelError, NamespaceDenied
from contivpp_linux.kernel.operations import SetOffloads

__all__ = ["OffloadDescriptor"]


class OffloadDescriptor(LinuxDescriptor[Offload]):
    """Switches offloads."""

    kind: ClassVar[str] = Offload.kind
    item = Offload

    def dependencies(self, item: Offload) -> Iterable[Dependency]:
        """The link."""
        return inside(item.namespace, item.link)

    def recreates(self, old: Offload, new: Offload) -> bool:
        """Switched in place."""
        return False

    async def create(self, item: Offload, handles: Mapping[str, Any]) -> None:
        """Switch them."""
        settings = tuple((_feature(name), on) for name, on in item.features)
        await self._set(item.namespace, SetOffloads(item.link, settings), phase=Phase.OFFLOAD)

    async def update(self, old: Offload, new: Offload, handle: Any, handles: Mapping[str, Any]) -> None:
        """Switch all that are wanted now."""
        await self.create(new, handles)

    async def delete(self, item: Offload, handle: Any, handles: Mapping[str, Any]) -> None:
        """Leave them as they are."""

    async def dump(self, known: Known) -> list[Found]:
        """Read the wanted features, in the order in which they are wanted."""
        items = list(self._wanted(known).values())
        found = await asyncio.gather(*map(self._read, items))
        return [Found(item.key, item) for item in found if item is not None]

    async def _read(self, item: Offload) -> Offload | None:
        try:
            there = await self._edge.kernel.offloads(reference(item.namespace), item.link)
        except NamespaceDenied:
            raise
        except KernelError as error:  # no such namespace, or link
            if error.absent:
                return None
            raise
        by_name = {feature.value: on for feature, on in there.items()}
        features = tuple((name, by_name[name]) for name, _ in item.features if name in by_name)
        return Offload(namespace=item.namespace, link=item.link, features=features)


def _feature(name: str) -> values.Offload:
    try:
        return values.Offload(name)
    except ValueError:
        names = ", ".join(feature.value for feature in values.Offload)
        raise ValueError(f"no offload is called {name!r}; there are {names}") from None
