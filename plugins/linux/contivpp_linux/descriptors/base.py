# SPDX-License-Identifier: Apache-2.0
"""What the descriptors of Linux have in common: errors, and facets of links.

In a dump, an object that is wanted is looked up; one that nobody wants is ours if its link is there because of an item
(`Edge.ours`), or by a mark of its own kind. Settings (MTU, sysctl, …) always have some value: only those that are
wanted are read, and what is no longer wanted stays as it is. An initial value that was applied to its link is found as
it is wanted, whatever is there now.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Awaitable, Callable, Iterable
from typing import ClassVar, TypeVar

from contivpp_core.items import Dependency, Descriptor, Item, Known, Outcome
from contivpp_core.namespaces import Namespace
from contivpp_linux.batcher import Phase
from contivpp_linux.edge import Edge
from contivpp_linux.errors import ForeignObject, NamespaceVanished, StillThere
from contivpp_linux.items import Mtu, Route, Sysctl, link_key, link_up_key
from contivpp_linux.kernel.errors import KernelError, NamespaceDenied, NamespaceError
from contivpp_linux.kernel.operations import Operation
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.kernel.values import Link
from contivpp_linux.settled import applied_of

__all__ = ["LOOPBACK", "LinuxDescriptor", "check_mac", "inside", "inside_up", "is_applied", "read_all"]

LOOPBACK = "lo"

I = TypeVar("I", bound=Item)  # noqa: E741 (the contract's letter for an item type)
Result = TypeVar("Result")

_REFUSED = frozenset(
    {
        errno.EACCES,  # IPv6 is disabled on the link
        errno.EADDRNOTAVAIL,  # a MAC that no link can have
        errno.EAFNOSUPPORT,
        errno.EINVAL,
        errno.ENAMETOOLONG,
        errno.ENOENT,  # no such sysctl in this kernel
        errno.EOPNOTSUPP,
        errno.EPROTONOSUPPORT,
        errno.ERANGE,
        errno.EROFS,
    }
)


class LinuxDescriptor(Descriptor[I]):
    """Base of the descriptors of Linux."""

    domain: ClassVar[str] = "linux"
    dumps_after: ClassVar[tuple[str, ...]] = ("linux/veth",)

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def classify(self, error: Exception) -> Outcome:
        """A link that is missing or down comes back; a value that the kernel refuses does not get better."""
        match error:
            case ForeignObject():
                return Outcome.CONFLICT
            case StillThere() | NamespaceDenied():
                return Outcome.RETRY
            case NamespaceVanished() | NamespaceError() | ValueError():
                return Outcome.CHANGE
            case KernelError(exists=True):
                return Outcome.CONFLICT
            case KernelError(errno=number):
                return Outcome.CHANGE if number in _REFUSED else Outcome.RETRY
        return super().classify(error)

    async def _set(self, namespace: Namespace, *operations: Operation, phase: Phase) -> None:
        raise_errors(await self._edge.apply(namespace, *operations, phase=phase))

    async def _unset(self, namespace: Namespace, *operations: Operation) -> None:
        """Delete; what is gone, with or without its namespace, is done."""
        try:
            results = await self._edge.apply(namespace, *operations, phase=Phase.DELETE)
        except NamespaceVanished:
            return
        raise_errors(results, absent_is_done=True)

    def _wanted(self, known: Known) -> dict[str, I]:
        return {item.key: item for item in known.items(self.kind)}


def inside(namespace: Namespace, link: str) -> list[Dependency]:
    """Return the dependency of what lives in a link."""
    return [] if link == LOOPBACK else [Dependency.inside(link_key(namespace, link))]


def inside_up(namespace: Namespace, link: str) -> list[Dependency]:
    """Return the dependencies of what the kernel drops when the link goes down."""
    return [*inside(namespace, link), Dependency.inside(link_up_key(namespace, link))]


def is_applied(item: Mtu | Route | Sysctl, link: Link | None) -> bool:
    """Tell whether an initial value was applied to the link that is there: then it counts as found as it is wanted."""
    if not item.initial or link is None:
        return False
    applied = applied_of(link.alias)
    return applied is not None and applied.has(item)


async def read_all(
    namespaces: Iterable[Namespace], read: Callable[[Namespace], Awaitable[list[Result]]]
) -> list[tuple[Namespace, Result]]:
    """Read several namespaces at the same time; return what was found, each with its namespace."""
    ordered = sorted(set(namespaces))
    listings = await asyncio.gather(*map(read, ordered))
    return [(namespace, value) for namespace, values in zip(ordered, listings, strict=True) for value in values]


def check_mac(mac: str) -> None:
    """Refuse a MAC that no dump could be equal to."""
    parts = mac.split(":")
    if len(parts) != 6 or mac != mac.lower() or any(len(part) != 2 for part in parts):
        raise ValueError(f"{mac!r} is no MAC address as the kernel prints it (six pairs of lower-case digits)")
    bytes.fromhex("".join(parts))
