# SPDX-License-Identifier: Apache-2.0
"""A host's namespace of the test's own, and an edge to the kernel in it."""

from __future__ import annotations

import ctypes
import os
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from contivpp_core.items import Known
from contivpp_core.namespaces import Namespace
from contivpp_linux.descriptors import all_descriptors
from contivpp_linux.edge import Edge

CLONE_NEWNET = 0x40000000


@pytest.fixture(autouse=True)
def isolated(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test, and the threads that it starts, in a network namespace of its own where that is possible.

    Autouse: it comes before the kernel is made, which holds on to the namespace that it finds itself in.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        moved = libc.unshare(CLONE_NEWNET) == 0  # where it is not, tests of the real kernel are skipped by `rig`
        yield
        if moved:
            assert libc.setns(before, CLONE_NEWNET) == 0
    finally:
        os.close(before)


class CountingKernel:
    """A kernel that notes the batches that go through it."""

    def __init__(self, kernel):
        self._kernel = kernel
        self.batches = []

    def __getattr__(self, name):
        return getattr(self._kernel, name)

    async def apply(self, namespace, operations):
        self.batches.append((namespace, tuple(operations)))
        return await self._kernel.apply(namespace, operations)


class World:
    """The descriptors over a rig's kernel."""

    def __init__(self, rig) -> None:
        self.rig = rig
        self.kernel = CountingKernel(rig.kernel)
        self.provided: set[str] = set()
        self.edge = Edge(self.provided.__contains__)
        self.edge.open(self.kernel)
        self.descriptors = {descriptor.kind: descriptor for descriptor in all_descriptors(self.edge)}

    async def namespace(self, path: str = "") -> Namespace:
        path = self.rig.namespace(path)
        return await self.identity(path)

    async def identity(self, path: str) -> Namespace:
        found = await self.rig.kernel.identify(path)
        return Namespace(path, found.device, found.inode)

    def of(self, item):
        return self.descriptors[item.kind]

    async def create(self, *items):
        for item in items:
            await self.of(item).create(item, {})
            self.provided.update(self.of(item).provides(item))

    async def update(self, old, new):
        descriptor = self.of(new)
        assert not descriptor.recreates(old, new)
        await descriptor.update(old, new, None, {})

    async def delete(self, item):
        await self.of(item).delete(item, None, {})

    async def dump(self, kind, *known):
        """Return what a dump finds, by key."""
        items = {}
        for item in known:
            items.setdefault(item.kind, []).append(item)
        return {found.key: found for found in await self.descriptors[kind].dump(Known(items))}

    async def found(self, item, *known):
        """Return the dumped item with an item's key, or None."""
        found = (await self.dump(item.kind, item, *known)).get(item.key)
        return found and found.item

    async def links(self, namespace=""):
        return {link.name: link for link in await self.rig.kernel.links(namespace)}


@pytest_asyncio.fixture
async def world(rig) -> AsyncIterator[World]:
    world = World(rig)
    yield world
    await world.edge.close()
