# SPDX-License-Identifier: Apache-2.0
"""The scheduler: makes the dataplanes match the items that are wanted.

It takes changed keys from the renderer engine, decides each key (`decide`), carries the operations out by
descriptors, and decides anew when they end. Operations of different keys run at the same time; connections pipeline
them. Reading back (`resync`) replaces what the graph believes by what is there.

A failing item never delays others: it is tried again after a back-off with jitter, and only who depends on it waits.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from contivpp_core.clock import gently
from contivpp_core.errors import ContivError
from contivpp_core.items import AnyDescriptor, Found, Item, Outcome, Owner, Unavailable
from contivpp_core.metrics import Histogram
from contivpp_core.scheduler import effects
from contivpp_core.scheduler.check import CheckReport, Checks
from contivpp_core.scheduler.decide import Create, Decider, Nothing, ReadBack, Remove, Update, Wait
from contivpp_core.scheduler.domains import Domains
from contivpp_core.scheduler.graph import Actual, Graph, ItemState, Node, handles_of
from contivpp_core.scheduler.notes import Notes
from contivpp_core.scheduler.operations import Operation, Operations
from contivpp_core.scheduler.pump import Pump
from contivpp_core.scheduler.resync import Resync
from contivpp_core.scheduler.retries import Retries
from contivpp_core.scheduler.status import ItemStatus, NotApplied, counts_of, not_applied_of, status_of
from contivpp_core.scheduler.waiting import Waiters

__all__ = ["ItemStatus", "Scheduler"]

log = logging.getLogger(__name__)

DECISIONS = 4000
"""So many keys are decided in one turn of the event loop at most, and so many operations begun."""


class Counters(msgspec.Struct):
    """How many operations were carried out since the start, by kind."""

    created: dict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    updated: dict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    deleted: dict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))
    failed: dict[str, int] = msgspec.field(default_factory=lambda: defaultdict(int))


class Scheduler:
    """Holds the graph and drives it towards what is wanted.

    `fact` tells whether a record exists. `complete` tells whether a renderer's tables are ready, `healthy` whether all
    its renderings succeeded. `producers` maps a kind to the renderers that may make it. `decisions` bounds how many
    keys are decided in one turn of the event loop; its time is bounded anyway.
    """

    def __init__(
        self,
        *,
        fact: Callable[[str, str], bool] = lambda table, key: True,
        complete: Callable[[str], bool] = lambda renderer: True,
        healthy: Callable[[str], bool] = lambda renderer: True,
        seed: int | None = None,
        decisions: int = DECISIONS,
    ) -> None:
        self.graph = Graph()
        self.descriptors: dict[str, AnyDescriptor] = {}
        self.producers: dict[str, set[str]] = defaultdict(set)
        self.counters = Counters()
        self.latency: dict[str, Histogram] = defaultdict(Histogram)
        """From the moment when an object was wanted, changed or given up, to the last answer, by kind; seconds."""
        self._pump = Pump(self._next_step, self._rest, most=decisions, prepare=self.graph.leaving.clear)
        self.waiters = Waiters(self.graph, undecided=self._pump.__contains__)
        self.on_failed: Callable[[Node], None] = lambda node: None
        self.on_recovered: Callable[[Node], None] = lambda node: None
        self.on_resynced: Callable[[str, str, float, Mapping[str, int]], None] = lambda *_: None
        self.on_checked: Callable[[CheckReport], None] = lambda report: None
        self._complete = complete
        self._healthy = healthy
        self._domains = Domains()
        self._decider = Decider(self.graph, fact=fact, hold=self.hold, down=self._domains.reason)
        self._waiting: dict[Any, set[str]] = defaultdict(set)
        self.notes = Notes(self.descriptors)
        self._flight = Operations(self._conclude, self._broken_off, self.notes)
        self.retries = Retries(self._retry, seed=seed)
        self._operations = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._resync = Resync(self)
        self._checks = Checks(self, self._resync)

    # --- set-up

    def register(self, descriptor: AnyDescriptor) -> None:
        """Add the descriptor of a kind."""
        if descriptor.kind in self.descriptors:
            raise ContivError(f"two descriptors are registered for kind {descriptor.kind}")
        self.descriptors[descriptor.kind] = descriptor
        self._domains.add(descriptor.domain)

    # --- what is wanted

    def submit(
        self, keys: Iterable[str], owners: Mapping[str, Mapping[Owner, Item]], *, urgent: bool = False
    ) -> None:
        """Take over the owners of changed keys; what is urgent is decided before everything else."""
        for key in keys:
            self._take_over(key, owners.get(key, {}), urgent)
        self.pump()

    async def submit_gently(
        self, keys: Iterable[str], owners: Mapping[str, Mapping[Owner, Item]], *, urgent: bool = False
    ) -> None:
        """Take over the owners of many keys, giving way to the event loop; nothing is decided before all are taken."""
        self._pump.hold(True)
        try:
            async for key in gently(keys):
                self._take_over(key, owners.get(key, {}), urgent)
        finally:
            self._pump.hold(False)
            self.pump()

    def _take_over(self, key: str, wanted: Mapping[Owner, Item], urgent: bool) -> None:
        node = self.graph.nodes.get(key)
        if node is None:
            if not wanted:
                return
            node = self._node(key, next(iter(wanted.values())).kind)
        self.relent(node)
        node.urgent = urgent
        if node.wished is None:
            node.wished = self._now(), node.touched
        try:
            self.graph.choose(node, dict(wanted))
        except Exception as error:  # a merge is foreign code; what is there stays as it is
            log.exception("the owners' values cannot be merged", extra={"key": key})
            self._refuse(node, f"{type(error).__name__}: {error}")
            return
        # Whether an object leaves or stays decides what may stand on it, near and far.
        for above in self.graph.above(node):
            self._pump.add(above, urgent=urgent)
        self._release(node)

    def _release(self, node: Node) -> None:
        """Decide again whoever waits for what a node provides."""
        self._awaken(node.actual.provides if node.actual is not None else (node.key,))

    def _awaken(self, keys: Iterable[Any]) -> None:
        for key in keys:
            for name in self._waiting.pop(key, ()):
                self._enqueue(name)

    def _enqueue(self, key: str) -> None:
        node = self.graph.nodes.get(key)
        self._pump.add(key, urgent=node is not None and node.urgent)

    def expect(self, items: Iterable[Item]) -> None:
        """Let dumps know of items that nobody wants, but that may be there (half made) from an earlier life."""
        for item in items:
            node = self.graph.nodes.get(item.key) or self._node(item.key, item.kind)
            if node.desired is None:
                node.former = item

    def _node(self, key: str, kind: str) -> Node:
        descriptor = self.descriptors.get(kind)
        if descriptor is None:
            raise ContivError(f"no descriptor is registered for kind {kind}: enable the plugin that applies it")
        return self.graph.add(Node(key, descriptor))

    def relent(self, node: Node) -> None:
        """Something changed for the node: a failed operation may be tried again, at once."""
        node.refused = False
        node.attempts = 0
        self.retries.cancel(node)

    def wake(self, *keys: Any) -> None:
        """Decide again whoever waits for keys or facts (table, key) that may have changed."""
        self._awaken(keys)
        self.pump()

    def touch_all(self) -> None:
        """Decide every key again: what holds items may have ended."""
        self._pump.update(self.graph.nodes)
        self.pump()

    def hold(self, node: Node) -> str:
        """Say why an existing object must not be changed or deleted now, or ""."""
        kind = node.descriptor.kind
        if node.desired is None:
            renderers = node.released
            if renderers is None:
                renderers = frozenset(self.producers[kind])
                for name in sorted(renderers):
                    if not self._healthy(name):
                        return f"renderer {name} failed: it may want this item"
        else:
            renderers = frozenset(owner.renderer for owner in node.owners)
        for name in sorted(renderers):
            if not self._complete(name):
                return f"the tables of renderer {name} are not complete yet"
        return ""

    # --- domains

    def domain_state(self) -> dict[str, str]:
        """Return for each domain why it cannot be used now; "" when it can."""
        return self._domains.reasons()

    async def usable(self) -> None:
        """Wait until every domain has been read and can be used."""
        await self._domains.usable()

    def domain_down(self, domain: str, reason: str) -> None:
        """The dataplane cannot be reached: nothing is sent to it; what is known stays."""
        self._domains.down(domain, reason)
        self._pump.update(n.key for n in self.graph if n.descriptor.domain == domain)
        self.pump()

    async def domain_up(self, domain: str, incarnation: str, reason: str = "start") -> None:
        """The dataplane can be reached. A new incarnation has none of the objects that the old one had."""
        if self._domains.renewed(domain, incarnation):
            self._forget(domain)
        await self.notes.begin(domain, incarnation)
        await self._resync.domain(domain, reason)

    def domain_usable(self, domain: str) -> None:
        """A domain has been read: operations may begin."""
        self._domains.up(domain)
        self._pump.update(self.graph.nodes)
        self.pump()

    def _forget(self, domain: str) -> None:
        """All objects of a domain are gone without messages, and what stands on them in other domains."""
        for node in list(self.graph):
            if node.descriptor.domain == domain and node.actual is not None:
                bound = self.graph.bound(node)
                self.graph.put(node, None)
                for key in bound:
                    self.graph.put(self.graph.nodes[key], None)
                node.unknown = False

    async def resync(self, domain: str, reason: str = "demand") -> None:
        """Read a domain back and repair what differs."""
        await self._resync.domain(domain, reason)

    async def look(self, domain: str) -> dict[str, list[Found]]:
        """Read a domain back, and neither repair nor believe anything; return what was found, by kind."""
        return await self._resync.look(domain)

    async def check(self, kind: str) -> dict[str, int]:
        """Read one kind back while work goes on, and repair drift: a difference counts if it is seen twice.

        Return how many differences are being repaired, by kind. One check runs at a time; who calls while another one
        runs waits. `on_checked` is told more of it.
        """
        report = await self._checks.kind(kind)
        self.on_checked(report)
        return {kind: report.differing} if report.differing else {}

    def domain_changes(self, domain: str) -> int:
        """Return how often a domain went down so far: what was read before the last time says nothing."""
        return self._domains.changes(domain)

    # --- driving

    def pump(self) -> None:
        """Decide every key in the queue; those for which this turn of the event loop has no time, in the next ones."""
        self._pump.run()

    def _next_step(self, key: str) -> bool:
        """Decide a key; tell whether that began an operation."""
        node = self.graph.nodes.get(key)
        if node is None or node.running:
            return False
        self._forget_waits(node)
        try:
            self._step(node)
        except Exception as error:  # a descriptor is foreign code: its failure is its item's alone
            log.exception("an item cannot be decided", extra={"key": key})
            self._refuse(node, f"{type(error).__name__}: {error}")
        return node.running and self._flight.by_task(node)

    def _rest(self) -> None:
        if self.idle():
            self._idle.set()
        else:
            self._idle.clear()

    def _forget_waits(self, node: Node) -> None:
        for wake in node.waits:
            if waiting := self._waiting.get(wake):
                waiting.discard(node.key)
                if not waiting:
                    del self._waiting[wake]
        node.waits = ()

    def _step(self, node: Node) -> None:
        decision = self._decider.decide(node)
        if isinstance(decision, Wait):
            self._wait(node, decision)
        elif isinstance(decision, Nothing):
            self._done(node)
        elif isinstance(decision, ReadBack):
            self._mark(node, ItemState.UNKNOWN, "an answer was lost; it will be read back")
            self._resync.soon(node.descriptor.kind)
        elif node.refused or (node.due is not None and node.due > self._now()):
            self._put_off(node)
        else:
            self._begin(node, decision)

    def _put_off(self, node: Node) -> None:
        """A failed operation is not tried before its time, or before what it needs has gone and come again."""
        if node.state not in (ItemState.FAILED, ItemState.CONFLICT):
            self._mark(node, ItemState.FAILED, node.error or "an answer was lost; it will be tried again")
        if node.desired is not None:
            node.waits = tuple(key for need in node.dependencies(node.desired) for key in need.keys)
            for wake in node.waits:
                self._waiting[wake].add(node.key)

    def _wait(self, node: Node, wait: Wait) -> None:
        self._mark(node, wait.state, wait.reason)
        if node.actual is None and wait.wakes:
            self.relent(node)  # what it waits for will be another one: a failure with the former one says nothing
        node.waits = wait.wakes
        for wake in wait.wakes:
            self._waiting[wake].add(node.key)
        for key in wait.first:
            self._pump.add(key, urgent=node.urgent)

    def _done(self, node: Node) -> None:
        if node.half_done:
            self._read_first(node)
            return
        if node.wished is not None:
            since, operation = node.wished
            node.wished = None
            if node.touched > operation:
                self.latency[node.descriptor.kind].observe(self._now() - since)
        if node.desired is None:
            self.retries.cancel(node)
            if node.error:
                self.on_recovered(node)
            self.graph.remove(node)
            self.waiters.gone(node.key)
            self._awaken((node.key,))
            return
        assert node.actual is not None
        if node.actual.item != node.desired:
            self._restate(node, node.actual, node.desired)
        if node.error:
            node.error = ""
            self.on_recovered(node)
        self.retries.cancel(node)
        node.attempts = 0
        node.urgent = False
        self._mark(node, ItemState.SHADOWED if node.actual.shadowed else ItemState.APPLIED, "")
        self._release(node)
        self.waiters.applied(node)

    def _restate(self, node: Node, actual: Actual, item: Item) -> None:
        """The object equals what is wanted, but stands on other keys (or was found by a dump that cannot tell)."""
        concerned = effects.stood_on(self.graph, actual)
        concerned |= effects.found(self.graph, node, item, actual.handle, shadowed=actual.shadowed)
        self.requeue(concerned - {node.key})

    def _mark(self, node: Node, state: ItemState, reason: str) -> None:
        node.state, node.reason = state, reason

    def _read_first(self, node: Node) -> None:
        """Nobody knows how much was done of what was refused: what is there is read before anything builds on it."""
        node.unknown = True
        self._enqueue(node.key)

    def _begin(self, node: Node, decision: Create | Update | Remove) -> None:
        item, actual = node.desired, node.actual
        if node.half_done and (isinstance(decision, Update) or (isinstance(decision, Create) and item != node.tried)):
            self._read_first(node)
            return
        handles: dict[str, Any] = {}
        unmarked = False
        if item is not None and not isinstance(decision, Remove):
            needs = node.dependencies(item)
            handles = handles_of(self.graph, needs)
            if node.descriptor.unmarked and isinstance(decision, Create):
                unmarked = self.graph.inside_unmarked(needs)
        self.graph.begin(node, handles)  # at once: what provides them must not be taken down before the first step
        node.running = True
        self._operations += 1
        node.touched = self._operations
        self._checks.touched(node.key)
        if not (node.attempts and node.state is ItemState.FAILED):  # who looks during a retry is told why it is one
            self._mark(node, ItemState.RUNNING, type(decision).__name__.lower())
        self._flight.begin(Operation(node, decision, item, actual, handles, unmarked))

    def _conclude(self, operation: Operation, handle: Any, failure: Exception | None) -> None:
        """An operation has ended."""
        node = operation.node
        woken: set[str] = {node.key}
        try:
            if failure is None:
                try:
                    woken |= self._effect(operation, handle)
                except Exception as error:  # what an item depends on is told by foreign code, too
                    failure = error
            if failure is not None:
                self.counters.failed[node.descriptor.kind] += 1
                if not isinstance(operation.decision, Remove):
                    node.half_done, node.tried = True, operation.item
                self._failed(node, failure)
        finally:
            self._ended(node, operation.handles, woken)
        self.pump()

    def _effect(self, operation: Operation, handle: Any) -> set[str]:
        """Believe what an operation did; return whom to decide again."""
        node, decision, item, _, handles, _ = operation
        kind = node.descriptor.kind
        if isinstance(decision, Remove):
            woken = effects.vanished(self.graph, node)
            self.counters.deleted[kind] += 1
            return woken
        assert item is not None
        woken = effects.made(self.graph, node, item, handle, handles)
        counter = self.counters.updated if isinstance(decision, Update) else self.counters.created
        counter[kind] += 1
        return woken

    def _broken_off(self, operation: Operation) -> None:
        operation.node.unknown = True
        self._ended(operation.node, operation.handles, {operation.node.key})

    def _ended(self, node: Node, handles: dict[str, Any], woken: set[str]) -> None:
        if not node.unknown:  # if its answer was lost, the object may be there, and stand on what it was made with
            self.graph.end(node, handles)
        self._operations += 1
        node.touched = self._operations
        node.running = False
        self._checks.touched(node.key)
        self._flight.end(node)
        for key in woken:
            self._enqueue(key)
        self._awaken(woken)

    # --- failures

    def _refuse(self, node: Node, error: str) -> None:
        """Show a failure that only a change can end."""
        first = not node.error
        node.error, node.refused = error, True
        self._mark(node, ItemState.FAILED, error)
        if first:
            self.on_failed(node)
        self._awaken((node.key,))
        self.waiters.failed(node, final=True)

    def _failed(self, node: Node, error: Exception) -> None:
        outcome = node.descriptor.classify(error)
        if isinstance(error, Unavailable):
            outcome = Outcome.UNKNOWN
        node.attempts += 1
        reason = str(error) or type(error).__name__
        if outcome is Outcome.UNKNOWN:
            self._mark(node, ItemState.FAILED, reason)
            node.unknown = True
            if node.attempts > 1:  # once, an answer may be lost; whoever never gets one must not ask without a pause
                self.retries.later(node)
            return
        first = not node.error
        node.error = reason
        self._mark(node, ItemState.FAILED, node.error)
        if outcome is Outcome.CONFLICT:
            self._mark(node, ItemState.CONFLICT, node.error)
        if outcome in (Outcome.CHANGE, Outcome.CONFLICT):
            node.refused = True
        else:
            self.retries.later(node)
        if first:
            log.warning("item failed", extra={"key": node.key, "error": node.error, "outcome": outcome.value})
            self.on_failed(node)
        self.waiters.failed(node, final=node.refused)

    def _retry(self, key: str) -> None:
        if key in self.graph.nodes:
            self._enqueue(key)
            self.pump()

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    # --- for the resync

    async def ended(self, node: Node) -> None:
        """Wait for the end of the operation in flight for a node, however it ends."""
        await self._flight.ended(node)

    @property
    def operations(self) -> int:
        """The number of the last beginning or end of an operation."""
        return self._operations

    def adopt(self, node: Node, item: Item, handle: Any, *, shadowed: bool = False) -> None:
        """A dump found the object: this is what is there."""
        if item == node.desired:
            item = node.desired  # one value instead of two, and it need not be compared again
        effects.found(self.graph, node, item, handle, shadowed=shadowed)
        node.unknown = node.foreign = node.half_done = False

    def requeue(self, keys: Iterable[str]) -> None:
        """Decide keys again, and who waits for them."""
        for key in keys:
            self._enqueue(key)
            if node := self.graph.nodes.get(key):
                self._release(node)
        self.pump()

    def orphan(self, key: str, kind: str) -> Node:
        """Return the node of a key, making one for an object that nobody wants."""
        return self.graph.nodes.get(key) or self._node(key, kind)

    # --- looking

    def idle(self) -> bool:
        """Tell whether nothing is in flight and nothing is due now."""
        return not (self._pump or self._flight) and not self._resync.busy and not self._checks.busy

    async def settled(self) -> None:
        """Wait until nothing is in flight and nothing is due now; failed items may wait for their next try."""
        while not self.idle():
            self._idle.clear()  # a reading may have begun since the last decision; whatever ends decides anew
            await self._idle.wait()
            await asyncio.sleep(0)

    def items(self) -> list[ItemStatus]:
        """Return how every item stands, by key."""
        now = self._now()
        return [status_of(self.graph.nodes[key], now) for key in sorted(self.graph.nodes)]

    def counts(self) -> dict[str, int]:
        """Return the number of items in each state."""
        return counts_of(self.graph)

    def not_applied(self) -> list[NotApplied]:
        """Return what is not applied, by state and kind, with a reason."""
        return not_applied_of(self.graph)

    async def stop(self) -> None:
        """End all operations; what is in the dataplanes stays."""
        self._pump.stop()
        self.retries.stop()
        await self._resync.stop()
        await self._flight.stop()
