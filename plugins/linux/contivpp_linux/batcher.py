# SPDX-License-Identifier: Apache-2.0
"""Micro-batches: what is asked of one namespace at the same time goes to the kernel in one call.

The scheduler begins the operations of many items in one turn of the event loop; a pod has about ten in its namespace.
Entering a namespace and changing threads costs more than most operations, so they are collected and sent together at
the end of the turn; each still has its own result. While a namespace's call runs, the next operations for it gather:
calls for one namespace never overtake each other. Work that reads and then writes has the namespace for itself.

Within a batch, operations stand in the order in which the kernel wants them: see `Phase`.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from contivpp_core.namespaces import Namespace
from contivpp_linux.errors import NamespaceVanished
from contivpp_linux.kernel.errors import KernelError, NamespaceGone, NotANamespace
from contivpp_linux.kernel.operations import Operation
from contivpp_linux.kernel.protocol import Kernel
from contivpp_linux.kernel.values import NetworkNamespace

__all__ = ["Batcher", "Phase", "Results", "reference"]

Results = list[KernelError | None]
Result = TypeVar("Result")


class Phase(enum.IntEnum):
    """Where in a batch an operation stands."""

    DELETE = 0  # a new address must not become a secondary one of an old one that goes
    SYSCTL = 1  # links inherit them
    CREATE = 2
    SETTING = 3  # a new MAC makes the kernel forget the neighbours
    ADDRESS = 4
    UP = 5
    ROUTE = 6  # routes and neighbours need a link that is up
    OFFLOAD = 7
    MARK = 8  # that all else is done


class _Request(NamedTuple):
    phase: Phase
    operations: tuple[Operation, ...]
    done: asyncio.Future[Results]


def reference(namespace: Namespace) -> NetworkNamespace | str:
    """Return the namespace in the kernel edge's terms, which refuses another one at the same path."""
    if not namespace.path:
        return ""
    return NetworkNamespace(namespace.path, namespace.device, namespace.inode)


class Batcher:
    """Sends operations to a kernel in batches."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._waiting: dict[Namespace, list[_Request]] = {}
        self._busy: dict[Namespace, asyncio.Task[Any]] = {}
        self._scheduled = False

    async def apply(self, namespace: Namespace, operations: Sequence[Operation], *, phase: Phase) -> Results:
        """Run the operations, next to each other and in this order; return each one's result.

        Raises NamespaceVanished when the namespace is not there any more.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Results] = loop.create_future()
        self._waiting.setdefault(namespace, []).append(_Request(phase, tuple(operations), done))
        if not self._scheduled:
            self._scheduled = True
            loop.call_soon(self._flush)
        return await done

    async def alone(self, namespace: Namespace, work: Callable[[], Awaitable[Result]]) -> Result:
        """Do work while no batch goes to the namespace; the work asks the kernel itself."""
        while running := self._busy.get(namespace):
            await asyncio.wait((running,))
        task = self._busy[namespace] = asyncio.get_running_loop().create_task(self._work(namespace, work))
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait for the calls that run; what still waits is never sent."""
        for requests in self._waiting.values():
            for request in requests:
                request.done.cancel()
        self._waiting.clear()
        await asyncio.gather(*self._busy.values(), return_exceptions=True)

    def _flush(self) -> None:
        self._scheduled = False
        for namespace in [namespace for namespace in self._waiting if namespace not in self._busy]:
            self._send(namespace)

    def _send(self, namespace: Namespace) -> None:
        requests = self._waiting.pop(namespace)
        task = asyncio.get_running_loop().create_task(self._call(namespace, requests))
        self._busy[namespace] = task

    async def _call(self, namespace: Namespace, requests: list[_Request]) -> None:
        requests = sorted((r for r in requests if not r.done.cancelled()), key=lambda request: request.phase)
        operations = [operation for request in requests for operation in request.operations]
        try:
            results = await self._kernel.apply(reference(namespace), operations) if operations else []
        except (NamespaceGone, NotANamespace) as error:
            self._refuse(requests, NamespaceVanished(namespace, str(error)))
        except Exception as error:  # each item's own descriptor judges it
            self._refuse(requests, error)
        else:
            begin = 0
            for request in requests:
                end = begin + len(request.operations)
                if not request.done.done():
                    request.done.set_result(results[begin:end])
                begin = end
        finally:
            self._next(namespace)

    async def _work(self, namespace: Namespace, work: Callable[[], Awaitable[Result]]) -> Result:
        try:
            return await work()
        except (NamespaceGone, NotANamespace) as error:
            raise NamespaceVanished(namespace, str(error)) from None
        finally:
            self._next(namespace)

    def _next(self, namespace: Namespace) -> None:
        del self._busy[namespace]
        if namespace in self._waiting:
            self._send(namespace)

    def _refuse(self, requests: list[_Request], error: Exception) -> None:
        for request in requests:
            if not request.done.done():
                request.done.set_exception(error)
