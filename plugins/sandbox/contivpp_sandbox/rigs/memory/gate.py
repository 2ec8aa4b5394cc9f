# SPDX-License-Identifier: Apache-2.0
"""The kernel and the store as one agent sees them: the same for all, until the agent is dead."""

from __future__ import annotations

import errno
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager

from contivpp_core.kvstore import (
    Compare,
    DeleteKey,
    KeyValue,
    KVStore,
    Listing,
    PutKey,
    StoreUnavailable,
    TransactionResult,
    WatchBatch,
)
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.operations import Operation
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.kernel.values import (
    Address,
    FollowedEvent,
    Link,
    LinkEvent,
    Namespace,
    Neighbour,
    NetworkNamespace,
    Offload,
    Route,
)

__all__ = ["KernelGate", "StoreGate"]


class KernelGate:
    """Passes everything on; after `shut` nothing reaches the kernel any more."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._stops: list[Callable[[], None]] = []
        self._closed = False

    async def identify(self, namespace: Namespace) -> NetworkNamespace:
        """Return which namespace is at this path now."""
        return await self._open().identify(namespace)

    async def apply(self, namespace: Namespace, operations: Sequence[Operation]) -> list[KernelError | None]:
        """Run the operations in order."""
        return await self._open().apply(namespace, operations)

    async def links(self, namespace: Namespace) -> list[Link]:
        """List all links."""
        return await self._open().links(namespace)

    async def addresses(self, namespace: Namespace) -> list[Address]:
        """List all addresses."""
        return await self._open().addresses(namespace)

    async def routes(self, namespace: Namespace) -> list[Route]:
        """List all routes."""
        return await self._open().routes(namespace)

    async def neighbours(self, namespace: Namespace) -> list[Neighbour]:
        """List permanent neighbours."""
        return await self._open().neighbours(namespace)

    async def read_sysctls(self, namespace: Namespace, names: Sequence[str]) -> list[str | KernelError]:
        """Return each sysctl's value."""
        return await self._open().read_sysctls(namespace, names)

    async def link_sysctls(self, namespace: Namespace, link: str) -> Mapping[str, str]:
        """Return the sysctls of a link that have another value than new links get there, by path."""
        return await self._open().link_sysctls(namespace, link)

    async def offloads(self, namespace: Namespace, link: str) -> Mapping[Offload, bool]:
        """Return which offloads of a link are on."""
        return await self._open().offloads(namespace, link)

    def watch_links(self, callback: Callable[[LinkEvent], None]) -> Callable[[], None]:
        """Call back for every change of a link of the host."""
        stop = self._open().watch_links(callback)
        self._stops.append(stop)
        return stop

    def watch_network(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when links, addresses or routes of the host may have changed."""
        stop = self._open().watch_network(callback)
        self._stops.append(stop)
        return stop

    def watch_followed(self, callback: Callable[[FollowedEvent], None]) -> Callable[[], None]:
        """Call back for changes in the namespaces that are followed."""
        stop = self._open().watch_followed(callback)
        self._stops.append(stop)
        return stop

    async def close(self) -> None:
        """Nothing: the kernel is the rig's."""

    def shut(self) -> None:
        """The agent is dead."""
        self._closed = True
        for stop in self._stops:
            stop()

    def _open(self) -> Kernel:
        if self._closed:
            raise KernelError(errno.EBADF, "reach the kernel", "a dead agent")
        return self._kernel


class StoreGate:
    """The same for the cluster's store: for a dead agent it is not there."""

    def __init__(self, store: KVStore) -> None:
        self._store = store
        self._closed = False

    async def get(self, key: str) -> KeyValue | None:
        """Return a key's value, or None."""
        return await self._open().get(key)

    async def list(self, prefix: str) -> Listing:
        """Return all keys that begin with the prefix."""
        return await self._open().list(prefix)

    async def put(self, key: str, value: bytes, *, lease: int = 0) -> int:
        """Store a value."""
        return await self._open().put(key, value, lease=lease)

    async def delete(self, key: str) -> bool:
        """Delete a key."""
        return await self._open().delete(key)

    async def transaction(
        self,
        compares: tuple[Compare, ...],
        success: tuple[PutKey | DeleteKey, ...],
        failure: tuple[PutKey | DeleteKey, ...] = (),
    ) -> TransactionResult:
        """Do one or the other."""
        return await self._open().transaction(compares, success, failure)

    def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Yield every change of the prefix."""
        return self._open().watch(prefix, from_revision)

    async def grant(self, ttl: float) -> int:
        """Make a lease."""
        return await self._open().grant(ttl)

    async def keep_alive(self, lease: int) -> None:
        """Give a lease its full time again."""
        await self._open().keep_alive(lease)

    async def revoke(self, lease: int) -> None:
        """End a lease."""
        await self._open().revoke(lease)

    def lock(self, name: str, *, ttl: float = 10.0) -> AbstractAsyncContextManager[int]:
        """Hold a lock of the cluster."""
        return self._open().lock(name, ttl=ttl)

    def shut(self) -> None:
        """The agent is dead."""
        self._closed = True

    def _open(self) -> KVStore:
        if self._closed:
            raise StoreUnavailable("a dead agent reaches no store")
        return self._store
