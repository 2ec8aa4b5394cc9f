# SPDX-License-Identifier: Apache-2.0
"""Checking one kind for drift while work goes on: what is there is compared with what is believed, and repaired.

A difference counts only if no operation touched the key since the first reading began, and a second reading shows it
again. What counts is taken over by the graph; the scheduler then does what it does with any difference between what
is there and what is wanted. Objects of others are looked at only where they are in the place of an item.

A check reads for as long as the dataplane takes, and compares in slices of a few milliseconds. A kind that has a
fingerprint is read only when that has changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

import msgspec

from contivpp_core.clock import gently
from contivpp_core.items import AnyDescriptor, Found, Item
from contivpp_core.scheduler.graph import ItemState, Node
from contivpp_core.scheduler.resync import Resync

if TYPE_CHECKING:
    from contivpp_core.scheduler.scheduler import Scheduler

__all__ = ["CheckReport", "Checks", "Difference"]

TOLD_DIFFERENCES = 32
"""So many differences of one check are told one by one."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """What was there instead of what was believed. `foreign`: somebody else's object, which is left alone."""

    key: str
    wanted: Item | None
    believed: Item | None
    found: Item | None
    foreign: bool = False


class CheckReport(msgspec.Struct, kw_only=True):
    """What a check of one kind did. Seconds are the loop's; `dump_seconds` is its longest dump."""

    kind: str
    seconds: float = 0.0
    dump_seconds: float = 0.0
    compared: int = 0
    foreign: int = 0
    """Objects of others that the dump told of."""
    unchanged: bool = False
    """The kind's fingerprint was that of the last clean check: nothing was read."""
    broken_off: str = ""
    """Why nothing could be concluded: the domain went down."""
    differing: int = 0
    keys: tuple[str, ...] = ()
    """The keys that differed, all of them."""
    differences: tuple[Difference, ...] = ()
    """The first of them."""


class _Dump:
    """A reading of a kind, by key."""

    def __init__(self) -> None:
        self.there: dict[str, Found] = {}  # whatever can be expressed as an item
        self.dangling: set[str] = set()  # whatever they stood on is missed by the check of its own kind
        self.foreign: set[str] = set()

    def ours(self, key: str) -> Found | None:
        """Return our object of a key, if it is there."""
        found = self.there.get(key)
        return found if found is not None and found.ours else None


class Checks:
    """Checks kinds for a scheduler, one at a time."""

    def __init__(self, scheduler: Scheduler, resync: Resync) -> None:
        self._scheduler = scheduler
        self._graph = scheduler.graph
        self._resync = resync
        self._lock = asyncio.Lock()
        self._touched: set[str] = set()  # keys that operations touched since the check began
        self._clean: dict[str, tuple[int, Hashable]] = {}  # kind -> domain's changes and fingerprint when it was clean
        self.busy = False

    def touched(self, key: str) -> None:
        """An operation begins or ends."""
        if self.busy:
            self._touched.add(key)

    async def kind(self, kind: str) -> CheckReport:
        """Check a kind."""
        async with self._lock:
            loop = asyncio.get_running_loop()
            begin = loop.time()
            report = CheckReport(kind=kind)
            self._touched.clear()
            self.busy = True
            try:
                await self._check(self._scheduler.descriptors[kind], report)
            finally:
                self.busy = False
                report.seconds = loop.time() - begin
                self._scheduler.pump()
            return report

    async def _check(self, descriptor: AnyDescriptor, report: CheckReport) -> None:
        changes = self._scheduler.domain_changes(descriptor.domain)
        if self._broken_off(descriptor, changes, report):
            return
        fingerprint = await descriptor.fingerprint()
        if fingerprint is not None and self._clean.get(descriptor.kind) == (changes, fingerprint):
            report.unchanged = True
            return
        self._clean.pop(descriptor.kind, None)
        dump = await self._read(descriptor, report)
        if self._broken_off(descriptor, changes, report):
            return
        self._let_go(descriptor, dump)
        first = await self._differences(descriptor, dump, report)
        if not first:
            if fingerprint is not None:
                self._clean[descriptor.kind] = changes, fingerprint
            return
        dump = await self._read(descriptor, report)
        second = await self._differences(descriptor, dump, report)
        if not self._broken_off(descriptor, changes, report):
            self._repair(descriptor, dump, [key for key, seen in first.items() if second.get(key, 0) == seen], report)

    def _broken_off(self, descriptor: AnyDescriptor, changes: int, report: CheckReport) -> bool:
        """Tell whether the domain is down, or was: it is read as a whole, and what a dump showed says nothing."""
        if self._scheduler.domain_changes(descriptor.domain) != changes:
            report.broken_off = f"{descriptor.domain} was lost meanwhile"
        elif reason := self._scheduler.domain_state()[descriptor.domain]:
            report.broken_off = reason
        return bool(report.broken_off)

    async def _read(self, descriptor: AnyDescriptor, report: CheckReport) -> _Dump:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        found = await self._resync.read(descriptor)
        report.dump_seconds = max(report.dump_seconds, loop.time() - begin)
        dump = _Dump()
        async for each in gently(found):
            if each.item is not None:
                dump.there[each.key] = each
            elif each.ours:
                dump.dangling.add(each.key)
            if not each.ours:
                dump.foreign.add(each.key)
        report.foreign = len(dump.foreign)
        return dump

    def _let_go(self, descriptor: AnyDescriptor, dump: _Dump) -> None:
        """Conflicts whose foreign object has gone may be tried again."""
        freed = []
        for node in self._graph.of_kind(descriptor.kind):
            if node.state is ItemState.CONFLICT and node.key not in dump.foreign:
                node.foreign = False
                self._scheduler.relent(node)
                freed.append(node.key)
        self._scheduler.requeue(freed)

    # --- comparing

    async def _differences(self, descriptor: AnyDescriptor, dump: _Dump, report: CheckReport) -> dict[str, Any]:
        """Return the keys whose object is not as believed, with what is there: value, handle, whether it is ours."""
        differences: dict[str, Any] = {}
        nodes = self._graph.of_kind(descriptor.kind)
        report.compared = len(nodes)
        async for node in gently(nodes):
            if self._graph.nodes.get(node.key) is node and not self._busy(node):
                found = dump.ours(node.key)
                if self._differs(descriptor, node, found, dump):
                    differences[node.key] = _seen(dump.there.get(node.key))
        async for key in gently(dump.there):
            if key not in self._graph.nodes and key not in self._touched and dump.ours(key) is not None:
                differences[key] = _seen(dump.there[key])
        return differences

    def _busy(self, node: Node) -> bool:
        """Tell whether a dump says nothing about a node."""
        return node.running or node.unknown or node.key in self._touched

    def _differs(self, descriptor: AnyDescriptor, node: Node, found: Found | None, dump: _Dump) -> bool:
        actual = node.actual
        if actual is None or found is None:
            if actual is not None and node.key in dump.dangling:
                return False
            return (found is None) != (actual is None)
        if descriptor.space and found.handle != actual.handle:
            return True  # somebody has made it again: what stood on ours is gone, or stands on nothing
        if not descriptor.equal(actual.item, found.item):
            return True
        if found.shadowed != actual.shadowed:  # not ours to repair, but to be told
            self._scheduler.adopt(node, actual.item, actual.handle, shadowed=found.shadowed)
            self._scheduler.requeue((node.key,))
        return False

    # --- repairing

    def _repair(self, descriptor: AnyDescriptor, dump: _Dump, keys: list[str], report: CheckReport) -> None:
        """Take over what is there, and have everything decided that this concerns."""
        concerned: dict[str, None] = {}
        told: list[Difference] = []
        drifted: list[str] = []
        for key in keys:
            node, found = self._graph.nodes.get(key), dump.there.get(key)
            if key in self._touched or (node is not None and self._busy(node)) or (node is None and found is None):
                continue
            if not _expected(descriptor, node, found):
                drifted.append(key)
                if len(told) < TOLD_DIFFERENCES:
                    told.append(_difference(key, node, found))
            if node is not None:
                concerned |= dict.fromkeys(self._around(node))
            if found is not None:
                self._resync.present(descriptor, key, found)
            elif node is not None:
                self._resync.absent(node)
            if (node := self._graph.nodes.get(key)) is not None:
                concerned |= dict.fromkeys(self._around(node))
        self._scheduler.requeue(concerned)
        report.keys, report.differing, report.differences = tuple(drifted), len(drifted), tuple(told)

    def _around(self, node: Node) -> list[str]:
        """Return the keys whose next step may depend on what is at a node: it, what stands on it, what it stands on."""
        below = [provider.key for provider, _ in self._graph.standing_on(node)]
        provided = node.actual.provides if node.actual is not None else ()
        guarded = [each.key for each in self._graph.guarded(node.key)]
        return [node.key, *provided, *sorted(self._graph.above(node)), *below, *guarded]


def _seen(found: Found | None) -> Any:
    return None if found is None else (found.item, found.handle, found.ours)


def _expected(descriptor: AnyDescriptor, node: Node | None, found: Found | None) -> bool:
    """Tell whether an object that was to be made is there already, as it is wanted: that is nobody's change."""
    if node is None or node.actual is not None or node.desired is None or found is None or not found.ours:
        return False
    return descriptor.equal(node.desired, found.item)


def _difference(key: str, node: Node | None, found: Found | None) -> Difference:
    return Difference(
        key=key,
        wanted=None if node is None else node.desired,
        believed=None if node is None or node.actual is None else node.actual.item,
        found=None if found is None else found.item,
        foreign=found is not None and not found.ours,
    )
