# SPDX-License-Identifier: Apache-2.0
"""The contract of the kernel's edge, which the real kernel and the one in memory both keep.

Whoever wants something done in a network namespace says so in one call: which namespace, and a list of
operations (`operations.py`). The operations run in order, each has its own result, and a refused one does
not stop the next. Calls are independent: two calls at once, even for one namespace, may run in either
order.

A cancelled call may still take effect: its outcome is unknown until the namespace is listed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from .errors import KernelError
from .operations import Operation
from .values import Address, FollowedEvent, Link, LinkEvent, Namespace, Neighbour, NetworkNamespace, Offload, Route

__all__ = ["Kernel", "raise_errors"]


class Kernel(Protocol):
    """Links, addresses, routes, neighbours, sysctls and offloads of any network namespace."""

    async def identify(self, namespace: Namespace) -> NetworkNamespace:
        """Return which namespace is at this path now; raise NamespaceError if none is."""
        ...

    async def apply(self, namespace: Namespace, operations: Sequence[Operation]) -> list[KernelError | None]:
        """Run the operations in order; return each one's result: None, or why the kernel refused."""
        ...

    async def links(self, namespace: Namespace) -> list[Link]:
        """List all links, by index."""
        ...

    async def addresses(self, namespace: Namespace) -> list[Address]:
        """List all addresses of all links, those of the kernel's own making too."""
        ...

    async def routes(self, namespace: Namespace) -> list[Route]:
        """List all routes of one path in all tables, those of the kernel's own making too."""
        ...

    async def neighbours(self, namespace: Namespace) -> list[Neighbour]:
        """List permanent neighbours."""
        ...

    async def read_sysctls(self, namespace: Namespace, names: Sequence[str]) -> list[str | KernelError]:
        """Return each sysctl's value, or why it cannot be read."""
        ...

    async def link_sysctls(self, namespace: Namespace, link: str) -> Mapping[str, str]:
        """Return the IPv4 and IPv6 sysctls of a link that have another value than new links get there, by path."""
        ...

    async def offloads(self, namespace: Namespace, link: str) -> Mapping[Offload, bool]:
        """Return which offloads of a link are on."""
        ...

    def watch_links(self, callback: Callable[[LinkEvent], None]) -> Callable[[], None]:
        """Call back for every change of a link in the agent's own namespace; returns how to stop."""
        ...

    def watch_network(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when links, addresses or routes of the agent's own namespace may have changed, several changes
        together; returns how to stop.
        """
        ...

    def watch_followed(self, callback: Callable[[FollowedEvent], None]) -> Callable[[], None]:
        """Call back for changes of links, and of our routes, in namespaces for which `Follow` was done; returns how to
        stop.
        """
        ...

    async def close(self) -> None:
        """Wait for running calls and give everything back."""
        ...


def raise_errors(results: Iterable[KernelError | None], *, absent_is_done: bool = False) -> None:
    """Raise the first error of a batch; `absent_is_done` for deletes."""
    for error in results:
        if error is not None and not (absent_is_done and error.absent):
            raise error
