# SPDX-License-Identifier: Apache-2.0
"""Reading back: replace what the graph believes by what the dataplane says.

A *domain* is read as a whole when it is connected (start of the agent, a new or the same VPP) and on demand; nothing
is sent to it meanwhile. What is ours and stands on nothing (a route over an interface that is gone) is deleted before
anything is made, because VPP uses indexes again at once. Then every key is compared: equal objects cost no message,
objects of ours that nobody wants become nodes without owners, which the decider removes when that is allowed.

A *kind* is read while work goes on, because an answer was lost, or to find drift (`check`): what an operation touched
since the dump began is left alone.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from contivpp_core.clock import gently
from contivpp_core.items import AnyDescriptor, Found, Item, Known, Unavailable
from contivpp_core.scheduler.graph import Node
from contivpp_core.tasks import end

if TYPE_CHECKING:
    from contivpp_core.scheduler.scheduler import Scheduler

__all__ = ["Resync"]

log = logging.getLogger(__name__)

FIRST_RETRY_SECONDS = 0.2
LAST_RETRY_SECONDS = 30.0


class Resync:
    """Reads domains and kinds back for a scheduler."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._graph = scheduler.graph
        self._soon: dict[str, asyncio.Task[None]] = {}
        self._running = 0

    @property
    def busy(self) -> bool:
        """Tell whether something is being read back."""
        return self._running > 0 or bool(self._soon)

    async def stop(self) -> None:
        """End all reading."""
        await end(*self._soon.values())

    # --- a whole domain

    async def domain(self, domain: str, reason: str) -> None:
        """Read a domain, adopt what is there, delete what dangles, and let operations begin."""
        scheduler = self._scheduler
        scheduler.domain_down(domain, f"{domain} is being read ({reason})")
        self._running += 1
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            await self._quiet(domain)
            async for node in gently(list(self._graph)):
                if node.descriptor.domain == domain:
                    self._scheduler.relent(node)
            known = self._known()
            repaired: dict[str, int] = {}
            for descriptor in self._in_order(domain):
                found = await self._dump(descriptor, known)
                await self._delete_dangling(descriptor, found)
                repaired[descriptor.kind] = await self._take_over(descriptor, found)
            await scheduler.notes.keep(domain, self._unmarked(domain))
        finally:
            self._running -= 1
            scheduler.pump()
        scheduler.domain_usable(domain)
        scheduler.on_resynced(domain, reason, loop.time() - begin, {k: n for k, n in repaired.items() if n})

    def _unmarked(self, domain: str) -> list[Item]:
        """Return what is there of ours and does not show it."""
        kinds = [d.kind for d in self._scheduler.descriptors.values() if d.domain == domain and d.unmarked]
        nodes = (node for kind in kinds for node in self._graph.of_kind(kind))
        return [
            node.actual.item
            for node in nodes
            if node.actual is not None and self._graph.inside_unmarked(node.actual.dependencies)
        ]

    async def look(self, domain: str) -> dict[str, list[Found]]:
        """Read a domain and change nothing, neither in it nor in what is believed; return what was found, by kind."""
        known = self._known()
        return {descriptor.kind: await self._dump(descriptor, known) for descriptor in self._in_order(domain)}

    async def _quiet(self, domain: str) -> None:
        """Wait for the operations that are in flight: their answers come, or their connection is lost."""
        for node in [n for n in self._graph if n.descriptor.domain == domain and n.running]:
            await self._scheduler.ended(node)

    def _in_order(self, domain: str) -> list[AnyDescriptor]:
        kinds = {d.kind: d for d in self._scheduler.descriptors.values() if d.domain == domain}
        spaces: dict[str, set[str]] = defaultdict(set)
        for descriptor in kinds.values():
            if descriptor.space:
                spaces[descriptor.space].add(descriptor.kind)
        graph: dict[str, set[str]] = {}
        for descriptor in kinds.values():
            before: set[str] = set()
            for name in descriptor.dumps_after:
                before |= spaces.get(name, set()) | ({name} if name in kinds else set())
            graph[descriptor.kind] = before - {descriptor.kind}
        return [kinds[kind] for kind in TopologicalSorter(graph).static_order()]

    def _known(self) -> Known:
        def items(kind: str) -> list[Item]:
            found: list[Item] = []
            for node in self._graph.of_kind(kind):
                wanted = node.desired if node.desired is not None else node.former
                there = node.actual.item if node.actual is not None else None
                if wanted is not None:
                    found.append(wanted)
                if there is not None and there is not wanted and there != wanted:
                    found.append(there)
            return [*found, *(item for item in self._scheduler.notes.of_kind(kind) if self._only_noted(item))]

        return Known(items, self._scheduler.notes.of_kind)

    def _only_noted(self, item: Item) -> bool:
        node = self._graph.nodes.get(item.key)
        return node is None or (node.desired is None and node.former is None and node.actual is None)

    async def read(self, descriptor: AnyDescriptor) -> list[Found]:
        """Dump a kind while work goes on."""
        return await self._dump(descriptor, self._known_handles(descriptor))

    async def _dump(self, descriptor: AnyDescriptor, known: Known) -> list[Found]:
        found = await descriptor.dump(known)
        if descriptor.space:
            for each in found:
                if each.item is not None:
                    known.add(descriptor.space, each.handle, _space_key(descriptor, each.item))
        return found

    async def _delete_dangling(self, descriptor: AnyDescriptor, found: list[Found]) -> None:
        for each in found:
            if each.item is None and each.ours:
                log.info("deleting a dangling object", extra={"key": each.key})
                await descriptor.delete(None, each.handle, {})

    async def _take_over(self, descriptor: AnyDescriptor, found: list[Found]) -> int:
        """Replace what is believed of a kind; return how many beliefs were wrong."""
        there = {each.key: each for each in found if each.item is not None}
        wrong = 0
        async for node in gently(self._graph.of_kind(descriptor.kind)):
            if node.key not in there:
                wrong += self.absent(node)
        async for key, each in gently(there.items()):
            wrong += self.present(descriptor, key, each)
        return wrong

    def absent(self, node: Node) -> int:
        """A dump lacks the object; return whether it was believed to be there."""
        believed = node.actual
        node.unknown = node.foreign = node.half_done = False
        if believed is None:
            return 0
        vanished = {node.key, *self._graph.bound(node)}
        for key in vanished:
            left = {dependant.key for dependant, _ in self._graph.dependants(self._graph.nodes[key])} - vanished
            self._graph.dangling |= left
        for key in vanished:
            self._graph.put(self._graph.nodes[key], None)
        return 1

    def present(self, descriptor: AnyDescriptor, key: str, found: Found) -> int:
        """A dump shows an object; return whether something else was believed."""
        node = self._graph.nodes.get(key)
        if not found.ours:
            if node is None:
                return 0
            wrong = self.absent(node)  # ours is gone, and somebody else's has its place
            node.foreign = True
            return wrong
        node = node or self._scheduler.orphan(key, descriptor.kind)
        before = node.actual
        if before is not None and before.handle != found.handle:
            self.absent(node)  # another object under the same key: what lived in the former one is gone
        self._scheduler.adopt(node, found.item, found.handle, shadowed=found.shadowed)
        return int(before is not None and not descriptor.equal(before.item, found.item))

    # --- one kind, while work goes on

    def soon(self, kind: str) -> None:
        """Read a kind back in the background, because an answer was lost."""
        if kind not in self._soon:
            self._soon[kind] = asyncio.get_running_loop().create_task(self._read_back(kind))

    async def _read_back(self, kind: str) -> None:
        descriptor = self._scheduler.descriptors[kind]
        self._running += 1
        failures = 0
        try:
            while not self._scheduler.domain_state()[descriptor.domain]:
                begin = self._scheduler.operations
                try:
                    found = await self.read(descriptor)
                    # Made by the lost operation over something that vanished since: nothing knows it but this dump.
                    await self._delete_dangling(descriptor, [each for each in found if self._unbelieved(each.key)])
                    if self._settle_unknown(descriptor, found, begin):
                        await self._forget_gone(descriptor)
                        return
                except Exception as error:
                    if not isinstance(error, Unavailable):  # a domain that is lost will be read as a whole
                        log.exception("a kind could not be read back", extra={"kind": kind})
                    back_off = self._scheduler.retries.back_off
                    await asyncio.sleep(back_off(failures, FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS))
                    failures += 1
        finally:
            self._running -= 1
            del self._soon[kind]
            self._scheduler.pump()

    async def _forget_gone(self, descriptor: AnyDescriptor) -> None:
        """What was noted, but could not be made, and is not wanted any more, may become somebody else's."""
        for item in self._scheduler.notes.of_kind(descriptor.kind):
            node = self._graph.nodes.get(item.key)
            if node is None or not (node.desired or node.actual or node.running or node.unknown):
                await self._scheduler.notes.forget(item)

    def _unbelieved(self, key: str) -> bool:
        node = self._graph.nodes.get(key)
        return node is not None and node.unknown and not node.running and node.actual is None

    def _settle_unknown(self, descriptor: AnyDescriptor, found: list[Found], begin: int) -> bool:
        """Settle what no operation touched since the dump began; tell whether that is all."""
        there = {each.key: each for each in found if each.item is not None}
        dangling = _dangling(found)
        unknown = [n for n in self._graph.of_kind(descriptor.kind) if n.unknown and not n.running]
        settled = [node for node in unknown if node.touched <= begin]
        inside = {key for node in settled for key in self._graph.bound(node)}  # they may have vanished, too
        for node in settled:
            if node.key in there:
                self.present(descriptor, node.key, there[node.key])
            elif node.key in dangling and node.actual is not None:
                node.unknown = False  # it is there, over what has vanished: to be taken down by its old handle
                self._graph.dangling.add(node.key)
            else:
                self.absent(node)
        self._scheduler.requeue([*(node.key for node in settled), *inside])
        return len(settled) == len(unknown)

    def _known_handles(self, descriptor: AnyDescriptor) -> Known:
        """Return what is known from the graph, without reading the other kinds again."""
        known = self._known()
        for kind, other in self._scheduler.descriptors.items():
            if other.space and (other.space in descriptor.dumps_after or kind in descriptor.dumps_after):
                for node in self._graph.of_kind(kind):
                    if node.actual is not None:
                        known.add(other.space, node.actual.handle, _space_key(other, node.actual.item))
        return known


def _dangling(found: list[Found]) -> set[str]:
    """Return the keys of objects of ours that stand on nothing."""
    return {each.key for each in found if each.item is None and each.ours}


def _space_key(descriptor: AnyDescriptor, item: Item) -> str:
    """Return the key under which others depend on an item, in the space of its handles."""
    return next((key for key in descriptor.provides(item) if key.startswith(f"{descriptor.space}/")), item.key)
