# SPDX-License-Identifier: Apache-2.0
"""A world for trials of Linux' descriptors: a kernel in memory, pods' namespaces, and links that VPP makes there.

Faults strike between the operations of a batch, as well as between those of the scheduler.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from contivpp_core.items import AnyDescriptor, Descriptor, Found, Item, Known
from contivpp_core.namespaces import Namespace
from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.faults import Fault, Faults
from contivpp_core.testing.worlds import World
from contivpp_linux.descriptors import all_descriptors
from contivpp_linux.edge import Edge
from contivpp_linux.items import link_key
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.memory import MemoryKernel
from contivpp_linux.kernel.memory_links import MemoryLink
from contivpp_linux.kernel.operations import Operation, Replace, SetLink

PODS = ("/netns/a", "/netns/b")


class VppLink(Item, frozen=True, kw_only=True):
    """A TAP."""

    kind: ClassVar[str] = "vpp/tap"
    namespace: Namespace
    name: str

    @property
    def key(self) -> str:
        return f"vpp/tap/{self.namespace}/{self.name}"


class VppLinkDescriptor(Descriptor[VppLink]):
    """VPP's part, as far as Linux' items depend on it."""

    kind: ClassVar[str] = VppLink.kind
    item: ClassVar[type[Item]] = VppLink
    domain: ClassVar[str] = "a-vpp"  # it is read first: whose a link is decides whose an address is

    def __init__(self, kernel: MemoryKernel, made: dict[VppLink, MemoryLink]) -> None:
        self._kernel, self._made = kernel, made

    def provides(self, item: VppLink) -> Iterable[str]:
        return (link_key(item.namespace, item.name),)

    async def create(self, item: VppLink, handles: Any) -> int:
        mac = f"02:aa:00:00:00:{len(self._made):02x}"
        link = self._kernel.plug(item.namespace.path, item.name, mac, 1500, lambda frame: None)
        self._made[item] = link
        return link.index

    async def delete(self, item: VppLink, handle: Any, handles: Any) -> None:
        if item in self._made:
            self._kernel.unplug(self._made.pop(item))

    async def dump(self, known: Known) -> list[Found]:
        return [Found(item.key, item, link.index) for item, link in self._made.items()]


class Gate:
    """A kernel as one agent reaches it: with faults, and no more when the agent is dead."""

    def __init__(self, kernel: MemoryKernel, faults: Faults) -> None:
        self.shut = False
        self._kernel = kernel
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._kernel, name)

    async def apply(self, namespace: Any, operations: Sequence[Operation]) -> list[KernelError | None]:
        results = []
        told_again = any(isinstance(each, SetLink) and each.mac for each in operations)
        for operation in operations:
            if told_again and isinstance(operation, Replace):  # what was there a moment ago is not refused
                results += await self._kernel.apply(namespace, [operation])
            else:
                results += await self._one(namespace, operation)
        return results

    async def _one(self, namespace: Any, operation: Operation) -> list[KernelError | None]:
        if self.shut:
            await asyncio.Event().wait()
        rule = self._faults.strike(f"> {type(operation).__name__}")
        if rule is None:
            return await self._kernel.apply(namespace, [operation])
        match rule.fault:
            case Fault.SLOW:
                await asyncio.sleep(rule.seconds)
                if self.shut:
                    await asyncio.Event().wait()
                return await self._kernel.apply(namespace, [operation])
            case Fault.CALL | Fault.CALL_AFTER:
                if rule.fault is Fault.CALL_AFTER:
                    await self._kernel.apply(namespace, [operation])
                asyncio.get_running_loop().call_soon(rule.call)
                self.shut = True
                return await asyncio.Event().wait()  # type: ignore[return-value]
        return [KernelError(errno.EBUSY, str(operation), str(namespace), detail="by plan")]


class LinuxWorld(World):
    """The machine."""

    messages = True

    def __init__(self) -> None:
        self.kernel = MemoryKernel()
        found = [self.kernel.create_namespace(path) for path in PODS]
        self.pods = [Namespace(each.path, each.device, each.inode) for each in found]
        self._taps: dict[VppLink, MemoryLink] = {}
        self._gate: Gate | None = None

    def descriptors(self) -> list[AnyDescriptor]:
        """Return the descriptors of an agent that begins."""
        edge = Edge(lambda key: self._scheduler.graph.provider(key) is not None)
        if self._gate is not None:
            self._gate.shut = True
        self._gate = Gate(self.kernel, self.faults)
        edge.open(self._gate)  # type: ignore[arg-type]
        return [VppLinkDescriptor(self.kernel, self._taps), *all_descriptors(edge)]

    def begin(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def restart(self, domain: str) -> None:
        """A new VPP has none of the old one's links."""
        if domain == "a-vpp":
            for link in self._taps.values():
                self.kernel.unplug(link)
            self._taps.clear()

    def plan(self, faults: Faults, chance: random.Random) -> None:
        nth = chance.randint(1, 30)
        if chance.random() < 0.6:
            faults.plan(Fault.REFUSE, "^> ", nth=nth, times=chance.randint(1, 5))
        else:
            faults.plan(Fault.SLOW, "^> ", nth=nth, times=3, seconds=0.02)
