# SPDX-License-Identifier: Apache-2.0
"""The rehearsal: a scheduler decides over a copy of what is there, and descriptors note what they would send.

It is the agent's own scheduler class, in simulated time, so order, waiting and taking down are the real ones. Nothing
of the running agent is reached: of a descriptor only the pure methods are called.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from contivpp_core.clock import run_simulated
from contivpp_core.engine import Engine
from contivpp_core.errors import ContivError
from contivpp_core.items import AnyDescriptor, Descriptor, Found, Item, Known, Outcome, Owner
from contivpp_core.plan.snapshot import Seed, Snapshot
from contivpp_core.scheduler import Scheduler
from contivpp_core.scheduler.graph import Node
from contivpp_core.state import State

__all__ = ["IO", "PURE", "Rehearsal"]

DECLARED = ("kind", "item", "domain", "merged", "space", "found_only", "unmarked", "dumps_after")
PURE = ("dependencies", "provides", "gate", "merge", "equal", "recreates")
"""The methods of a descriptor that are handed on."""
IO = ("create", "begin_create", "update", "delete", "dump", "fingerprint", "classify")
"""Those that are replaced."""
ANSWER_SECONDS = 0.001
MOST_OPERATIONS = 20
"""More for one key: it would never come to rest."""


class Refused(ContivError):
    """The rehearsal does not carry an operation out."""


class _Rehearsing(Descriptor[Any]):
    """A descriptor with the pure methods of another one, that sends nothing."""

    def __init__(self, real: AnyDescriptor, rehearsal: Rehearsal) -> None:
        vars(self).update({name: getattr(real, name) for name in (*DECLARED, *PURE)})
        self._rehearsal = rehearsal

    async def create(self, item: Item, handles: Mapping[str, Any]) -> Any:
        await self._rehearsal.note("create", item.key, item)
        return object()

    async def update(self, old: Item, new: Item, handle: Any, handles: Mapping[str, Any]) -> Any:
        await self._rehearsal.note("update", new.key, new)
        return handle

    async def delete(self, item: Item | None, handle: Any, handles: Mapping[str, Any]) -> None:
        key = item.key if item is not None else self._rehearsal.dangling(self, handle)
        await self._rehearsal.note("delete", key, None)

    async def dump(self, known: Known) -> list[Found]:
        return self._rehearsal.found(self)

    def begin_create(
        self, item: Item, handles: Mapping[str, Any], ended: Callable[[Any, Exception | None], None]
    ) -> bool:
        return False

    async def fingerprint(self) -> None:
        return None

    def classify(self, error: Exception) -> Outcome:
        return Outcome.CHANGE


class Rehearsal:
    """One run: `steps` has every operation in order, `nodes` how each key stands then, `before` what was there."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._seeds = snapshot.seeds()
        self._verbs: dict[str, list[str]] = defaultdict(list)
        self._scheduler = Scheduler(seed=0)
        self.steps: list[tuple[str, str]] = []
        found = [each for kinds in snapshot.dumps.values() for some in kinds.values() for each in some if each.ours]
        self._dangling = {each.key for each in found if each.item is None}
        self.before = self._there(found)

    def run(
        self, state: State, engine: Engine, descriptors: Mapping[str, AnyDescriptor], producers: Mapping[str, set[str]]
    ) -> None:
        """Bring the copy of what is there to what the engine wants."""
        scheduler = self._scheduler = Scheduler(
            fact=lambda table, key: state.get(table, key) is not None,
            complete=engine.complete,
            healthy=engine.healthy,
            seed=0,
        )
        for descriptor in descriptors.values():
            scheduler.register(_Rehearsing(descriptor, self))
        for kind, renderers in producers.items():
            scheduler.producers[kind] |= renderers
        run_simulated(self._run(engine.owners))

    @property
    def nodes(self) -> Mapping[str, Node]:
        """Every key, as it stands now."""
        return self._scheduler.graph.nodes

    def verbs(self, key: str) -> tuple[str, ...]:
        """Return what was sent for a key."""
        return tuple(self._verbs.get(key, ()))

    def drifted(self, key: str) -> bool:
        """Tell whether a key was read back otherwise than the agent believes."""
        seed, there = self._seeds.get(key), self.before.get(key)
        if key in self._dangling:
            return True
        believed = seed.actual.item if seed is not None and seed.actual is not None else None
        if believed is None or there is None:
            return believed is not there
        return not self._scheduler.descriptors[there.kind].equal(believed, there)

    def domain(self, kind: str) -> str:
        """Return the domain of a kind."""
        return self._scheduler.descriptors[kind].domain

    def usable(self, domain: str) -> bool:
        """Tell whether something can be done in a domain."""
        return not self._snapshot.domains[domain]

    def seed(self, key: str) -> Seed | None:
        """Return what the agent knew of a key."""
        return self._seeds.get(key)

    # --- running

    def _there(self, found: list[Found]) -> dict[str, Item]:
        """Return what is there: as read where it was read, else as believed."""
        dumps = self._snapshot.dumps
        there = {
            seed.key: seed.actual.item
            for seed in self._seeds.values()
            if seed.actual is not None and not any(seed.kind in kinds for kinds in dumps.values())
        }
        there.update({each.key: each.item for each in found if each.item is not None})
        return there

    async def _run(self, owners: Mapping[str, Mapping[Owner, Item]]) -> None:
        scheduler, snapshot = self._scheduler, self._snapshot
        for seed in self._seeds.values():
            self._plant(seed)
        scheduler.submit({*self._seeds, *owners}, owners)  # every domain is down yet: nothing begins
        for domain, reason in snapshot.domains.items():
            if domain in snapshot.dumps:
                await scheduler.domain_up(domain, "", "plan")
            elif reason:
                scheduler.domain_down(domain, reason)
            else:
                scheduler.domain_usable(domain)
        await scheduler.settled()
        await scheduler.stop()

    def _plant(self, seed: Seed) -> None:
        node = self._scheduler.orphan(seed.key, seed.kind)
        node.owners, node.desired, node.former, node.released = seed.owners, seed.desired, seed.former, seed.released
        node.foreign = seed.foreign
        if seed.actual is not None:
            self._scheduler.graph.put(node, seed.actual)

    # --- for the descriptors

    async def note(self, verb: str, key: str, item: Item | None) -> None:
        """Note an operation; one that failed with this value before fails again."""
        seed = self._seeds.get(key)
        if seed is not None and seed.failure and seed.desired == item:
            raise Refused(seed.failure)
        if len(self._verbs[key]) >= MOST_OPERATIONS:
            raise Refused(f"{key} does not come to rest")
        self._verbs[key].append(verb)
        self.steps.append((verb, key))
        await asyncio.sleep(ANSWER_SECONDS)  # as in life, others are sent before its answer comes

    def found(self, descriptor: AnyDescriptor) -> list[Found]:
        """Return what was read of a kind; what is believed, where it was not read."""
        kinds = self._snapshot.dumps.get(descriptor.domain)
        if kinds is not None and descriptor.kind in kinds:
            return list(kinds[descriptor.kind])
        return [
            Found(node.key, node.actual.item, node.actual.handle)
            for node in self._scheduler.graph
            if node.descriptor is descriptor and node.actual is not None
        ]

    def dangling(self, descriptor: AnyDescriptor, handle: Any) -> str:
        """Return the key of an object that cannot be expressed as an item, by its handle."""
        return next(
            (each.key for each in self.found(descriptor) if each.item is None and each.handle == handle),
            f"{descriptor.kind}/unknown",
        )
