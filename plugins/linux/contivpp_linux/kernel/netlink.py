# SPDX-License-Identifier: Apache-2.0
"""The kernel of this machine.

Each call is one job of a worker thread: enter the namespace, do everything, leave, close. The event loop
only waits. Few threads are enough: the kernel itself changes interfaces one at a time.

pyroute2 is imported with the first job, in its thread: it takes a tenth of a second that a start does not
wait for.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from .errors import KernelError
from .namespaces import NamespaceFiles
from .numbers import NamespaceNumbers
from .operations import Operation
from .values import Address, FollowedEvent, Link, LinkEvent, Namespace, Neighbour, NetworkNamespace, Offload, Route

if TYPE_CHECKING:
    from .events import Watch
    from .session import Session

__all__ = ["NetlinkKernel"]

Result = TypeVar("Result")
_THREADS = 4


class NetlinkKernel:
    """The real kernel; needs CAP_NET_ADMIN, and CAP_SYS_ADMIN for other namespaces than its own."""

    def __init__(self) -> None:
        self._files = NamespaceFiles()
        self._numbers = NamespaceNumbers()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="netns")
        self._import_lock = threading.Lock()
        self._watches: set[Watch] = set()

    async def identify(self, namespace: Namespace) -> NetworkNamespace:
        """Return which namespace is at this path now."""
        return await self._submit(lambda: self._files.identify(namespace))

    async def apply(self, namespace: Namespace, operations: Sequence[Operation]) -> list[KernelError | None]:
        """Run the operations in order."""
        frozen = tuple(operations)
        return await self._run(namespace, lambda session: session.apply(frozen))

    async def links(self, namespace: Namespace) -> list[Link]:
        """List all links, by index."""
        return await self._run(namespace, lambda session: session.links())

    async def addresses(self, namespace: Namespace) -> list[Address]:
        """List all addresses of all links."""
        return await self._run(namespace, lambda session: session.addresses())

    async def routes(self, namespace: Namespace) -> list[Route]:
        """List all routes of one path in all tables."""
        return await self._run(namespace, lambda session: session.routes())

    async def neighbours(self, namespace: Namespace) -> list[Neighbour]:
        """List permanent neighbours."""
        return await self._run(namespace, lambda session: session.neighbours())

    async def read_sysctls(self, namespace: Namespace, names: Sequence[str]) -> list[str | KernelError]:
        """Return each sysctl's value, or why it cannot be read."""
        frozen = tuple(names)
        return await self._run(namespace, lambda session: session.read_sysctls(frozen))

    async def link_sysctls(self, namespace: Namespace, link: str) -> Mapping[str, str]:
        """Return the sysctls of a link that have another value than new links get there, by path."""
        return await self._run(namespace, lambda session: session.link_sysctls(link))

    async def offloads(self, namespace: Namespace, link: str) -> Mapping[Offload, bool]:
        """Return which offloads of a link are on."""
        return await self._run(namespace, lambda session: session.offloads(link))

    def watch_links(self, callback: Callable[[LinkEvent], None]) -> Callable[[], None]:
        """Call back for every change of a link in the namespace of the calling thread, the event loop's."""
        from .events import LinkWatch  # noqa: PLC0415 late, see above

        return self._watching(LinkWatch(asyncio.get_running_loop(), callback))

    def watch_network(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when links, addresses or routes of that namespace may have changed."""
        from .events import NetworkWatch  # noqa: PLC0415 late, see above

        return self._watching(NetworkWatch(asyncio.get_running_loop(), callback))

    def watch_followed(self, callback: Callable[[FollowedEvent], None]) -> Callable[[], None]:
        """Call back for changes in the namespaces that are followed."""
        from .followed import FollowedWatch  # noqa: PLC0415 late, see above

        return self._watching(FollowedWatch(asyncio.get_running_loop(), self._numbers.namespace, callback))

    def _watching(self, watch: Watch) -> Callable[[], None]:
        self._watches.add(watch)

        def stop() -> None:
            self._watches.discard(watch)
            watch.close()

        return stop

    async def close(self) -> None:
        """Wait for running calls and give everything back."""
        for watch in self._watches:
            watch.close()
        self._watches.clear()
        await asyncio.to_thread(self._pool.shutdown)
        self._numbers.close()
        self._files.close()

    async def _run(self, namespace: Namespace, job: Callable[[Session], Result]) -> Result:
        return await self._submit(lambda: self._inside(namespace, job))

    async def _submit(self, job: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._pool, job)

    def _inside(self, namespace: Namespace, job: Callable[[Session], Result]) -> Result:
        with self._import_lock:
            from .session import Session  # noqa: PLC0415 late, see above
        with self._files.entered(namespace):
            session = Session(self._files, self._numbers, namespace)
            try:
                return job(session)
            finally:
                session.close()
