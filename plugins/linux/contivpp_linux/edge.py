# SPDX-License-Identifier: Apache-2.0
"""What all descriptors share: the kernel, its batches, and the listings of a resync.

A domain's resync asks each kind for its dump, one after the other, with the same `Known`, and nothing is sent
meanwhile. So each listing of a namespace is read once for all of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from contivpp_core.errors import ContivError
from contivpp_core.items import Known
from contivpp_core.namespaces import Namespace
from contivpp_linux.batcher import Batcher, Phase, Results, reference
from contivpp_linux.items import link_key
from contivpp_linux.kernel.errors import NamespaceGone, NotANamespace
from contivpp_linux.kernel.operations import Operation
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.kernel.values import Address, Link, Neighbour, Route
from contivpp_linux.sightings import Sighting

__all__ = ["Edge", "Listings", "or_gone"]

Result = TypeVar("Result")

_NOT_STARTED = "the linux plugin is not started: nothing can be asked of the kernel"


async def or_gone(listing: Awaitable[Result], default: Result) -> Result:
    """Return what a namespace holds, or the default if it is gone."""
    try:
        return await listing
    except (NamespaceGone, NotANamespace):
        return default


class Listings:
    """Listings of namespaces, each read at most once; a namespace that is gone holds nothing."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._read: dict[tuple[str, Namespace], asyncio.Future[Any]] = {}

    async def links(self, namespace: Namespace) -> list[Link]:
        """Return the links."""
        return await self._once("links", self._kernel.links, namespace)

    async def addresses(self, namespace: Namespace) -> list[Address]:
        """Return the addresses."""
        return await self._once("addresses", self._kernel.addresses, namespace)

    async def routes(self, namespace: Namespace) -> list[Route]:
        """Return the routes."""
        return await self._once("routes", self._kernel.routes, namespace)

    async def neighbours(self, namespace: Namespace) -> list[Neighbour]:
        """Return the permanent neighbours."""
        return await self._once("neighbours", self._kernel.neighbours, namespace)

    async def _once(self, what: str, read: Callable[[Any], Awaitable[list[Result]]], where: Namespace) -> list[Result]:
        listing = self._read.get((what, where))
        if listing is None:
            listing = self._read[what, where] = asyncio.ensure_future(_listing(read, where))
        found: list[Result] = await listing
        return found


async def _listing(read: Callable[[Any], Awaitable[list[Result]]], where: Namespace) -> list[Result]:
    """Read, in a coroutine of its own: cancelled before it begins, it leaves nothing that was never awaited."""
    return await or_gone(read(reference(where)), [])


class Edge:
    """The way to the kernel. `provided` tells whether an item that is there provides a key, `sighted` is told of
    settled links that a dump has found.
    """

    def __init__(
        self,
        provided: Callable[[str], bool] = lambda key: False,
        sighted: Callable[[Sighting], None] = lambda sighting: None,
    ) -> None:
        self.sighted = sighted
        self._kernel: Kernel | None = None
        self._batcher: Batcher | None = None
        self._provided = provided
        self._listings: WeakKeyDictionary[Known, Listings] = WeakKeyDictionary()

    def open(self, kernel: Kernel) -> None:
        """Use a kernel from now on."""
        self._kernel = kernel
        self._batcher = Batcher(kernel)

    async def close(self) -> None:
        """Wait for running calls; the kernel's owner closes it."""
        batcher, self._kernel, self._batcher = self._batcher, None, None
        if batcher is not None:
            await batcher.close()

    @property
    def kernel(self) -> Kernel:
        """The kernel; only between `open` and `close`."""
        if self._kernel is None:
            raise ContivError(_NOT_STARTED)
        return self._kernel

    async def apply(self, namespace: Namespace, *operations: Operation, phase: Phase) -> Results:
        """Run operations together with what else is asked of the namespace now; return each one's result."""
        return await self._open_batcher().apply(namespace, operations, phase=phase)

    async def alone(self, namespace: Namespace, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do work on the kernel while nothing else is sent to the namespace."""
        return await self._open_batcher().alone(namespace, work)

    def _open_batcher(self) -> Batcher:
        if self._batcher is None:
            raise ContivError(_NOT_STARTED)
        return self._batcher

    def listings(self, known: Known) -> Listings:
        """Return the listings of the resync that `known` belongs to."""
        listings = self._listings.get(known)
        if listings is None:
            listings = self._listings[known] = Listings(self.kernel)
        return listings

    def ours(self, namespace: Namespace, link: str) -> bool:
        """Tell whether a link is there because an item wants it, so that everything on it is ours."""
        return self._provided(link_key(namespace, link))
