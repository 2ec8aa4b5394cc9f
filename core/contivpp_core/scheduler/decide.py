# SPDX-License-Identifier: Apache-2.0
"""What to do next for one key: a pure decision over the graph.

There are no transactions. For each key, what is wanted is compared with what is there, and at most one operation
results; when it ends, the key is decided anew. Building waits for what the wanted value depends on. Taking down
(deletion, or the first half of a re-creation) waits for everything that stands on the object:

- who no longer wants to stand there is updated, or deleted, first;
- who still does is taken down, and comes back later with the new handle;
- who lives inside the object (a bound dependant) vanishes with it, without a message;
- a filter is never taken off a live interface: its gate (the link) goes down first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from contivpp_core.items import Dependency, Item
from contivpp_core.scheduler.graph import Graph, ItemState, Node

__all__ = ["Create", "Decider", "Decision", "Nothing", "ReadBack", "Remove", "Update", "Wait"]


@dataclass(frozen=True)
class Nothing:
    """The key is as wanted (or gone)."""


@dataclass(frozen=True)
class Create:
    """Make the object."""


@dataclass(frozen=True)
class Update:
    """Change the object in place."""


@dataclass(frozen=True)
class Remove:
    """Delete the object; when it is still wanted, it will be made again."""


@dataclass(frozen=True)
class ReadBack:
    """Nobody knows what is there: read it first."""


@dataclass(frozen=True)
class Wait:
    """Nothing can be done now. A change of `wakes` (keys or facts) wakes the node; `first` are keys to decide first."""

    state: ItemState
    reason: str
    wakes: tuple[Any, ...] = ()
    first: tuple[str, ...] = ()


Standing = Sequence[tuple[Node, Dependency]]
"""What an object stands on."""

Decision = Nothing | Create | Update | Remove | ReadBack | Wait


_NOTHING, _CREATE, _READ_BACK = Nothing(), Create(), ReadBack()


class Decider:
    """Decides over a graph. `fact` tells whether a record exists, `may` whether an existing object may be touched."""

    def __init__(
        self,
        graph: Graph,
        *,
        fact: Callable[[str, str], bool],
        hold: Callable[[Node], str],
        down: Callable[[str], str],
    ) -> None:
        self.graph = graph
        self._fact = fact
        self._hold = hold
        self._down = down

    def decide(self, node: Node) -> Decision:
        """Return the next step for a node that has no operation in flight."""
        if reason := self._down(node.descriptor.domain):
            return Wait(ItemState.PENDING if node.actual is None else ItemState.UNKNOWN, reason)
        if node.unknown:
            return _READ_BACK
        if node.actual is None:
            return self._build(node) if node.desired is not None else _NOTHING
        standing = self.graph.standing_on(node)
        down = self._pulled_down(node, standing)
        if down is None and (blocking := self._doomed_bound(standing)):
            return Wait(ItemState.PENDING, f"goes down with {blocking}", (blocking,), (blocking,))
        if node.desired is None or self._stale(node):
            return self._remove(node)
        same = _equal(node, node.desired, node.actual.item)
        if down and self._stays_on(node, down):
            return self._remove(node)
        if same:
            return _NOTHING
        if reason := self._hold(node):
            return Wait(ItemState.HELD, reason)
        if node.descriptor.recreates(node.actual.item, node.desired):
            return self._remove(node)
        return self._change(node)

    # --- building

    def _build(self, node: Node) -> Decision:
        if node.foreign:
            return Wait(ItemState.CONFLICT, "somebody else's object has this key; it is left alone")
        if missing := self._missing(node):
            return self._pending(missing)
        # What still stands on a former object of this key would find itself on the new one, by its handle.
        if leftovers := self.graph.leftovers(node):
            return Wait(ItemState.PENDING, f"waits for {leftovers[0]} to be taken down", leftovers, leftovers)
        # A handle that is free is used again at once, by an object of another key, too.
        if node.descriptor.space and (dangling := self._dangling(node.descriptor.domain)):
            return Wait(ItemState.PENDING, f"waits for {dangling[0]}, which dangles", dangling, dangling)
        return _CREATE

    def _dangling(self, domain: str) -> tuple[str, ...]:
        if not self.graph.dangling:
            return ()
        nodes = (self.graph.nodes[key] for key in sorted(self.graph.dangling))
        return tuple(node.key for node in nodes if node.descriptor.domain == domain and self._stale(node))

    def _missing(self, node: Node) -> list[Dependency]:
        assert node.desired is not None
        return [need for need in node.dependencies(node.desired) if not self._satisfied(need)]

    def _pending(self, missing: list[Dependency]) -> Wait:
        wakes: list[Any] = []
        for dependency in missing:
            wakes.extend(dependency.keys)
            if dependency.fact:
                wakes.append(dependency.fact)
            if dependency.without:
                wakes.append(dependency.without)
        return Wait(ItemState.PENDING, "waits for " + ", ".join(map(str, missing)), tuple(wakes))

    def _satisfied(self, dependency: Dependency) -> bool:
        if dependency.fact is not None:
            return self._fact(*dependency.fact)
        if dependency.without:
            return self._is_free(dependency.without)
        return any(self._stands(key, dependency) for key in dependency.keys)

    def _is_free(self, key: str) -> bool:
        """Tell whether nothing is there at an item's key, and nothing can come of what was begun."""
        node = self.graph.nodes.get(key)
        return node is None or not (node.actual or node.running or node.unknown or node.half_done)

    def _stands(self, key: str, dependency: Dependency) -> bool:
        provider = self.graph.provider(key)
        if provider is None or provider.actual is None or provider.unknown or provider.running:
            return False
        if self._down(provider.descriptor.domain):  # what it has made in another domain may have gone with it
            return False
        if dependency.value is not None and provider.actual.item != dependency.value:
            return False
        if dependency.as_wanted and not self._as_wanted(provider):
            return False
        return not self.leaving(provider)

    def _as_wanted(self, node: Node) -> bool:
        """Tell whether an object is as it is to be; one that nobody wants says nothing of how."""
        assert node.actual is not None
        return node.desired is None or _equal(node, node.desired, node.actual.item)

    # --- changing

    def _change(self, node: Node) -> Decision:
        if missing := self._missing(node):
            wait = self._pending(missing)
            if not self._pulled_down(node, self.graph.standing_on(node)):
                return wait
            # It would keep what it stands on from being taken down: only for something that is on its way.
            seen: dict[str, bool] = {}
            if not self._all_come(missing, seen):
                return self._remove(node)
            return replace(wait, wakes=(*wait.wakes, *sorted(seen)))
        blockers = [
            dependant.key
            for dependant, dependency in self.graph.dependants(node)
            if self._changing(node, dependency)
        ]
        blockers += sorted(self.graph.users(node))  # they may rely on the value that is about to change
        if blockers:
            reason = f"waits for {blockers[0]} to be taken down"
            return Wait(ItemState.PENDING, reason, tuple(blockers), tuple(blockers))
        return Update()

    def _all_come(self, missing: Iterable[Dependency], seen: dict[str, bool]) -> bool:
        coming = [self._coming(need, seen) for need in missing]  # all, as each of those seen may fail later
        return all(coming)

    def _coming(self, dependency: Dependency, seen: dict[str, bool]) -> bool:
        """Tell whether a dependency will be satisfied without a change from outside; `seen` gets who was looked at."""
        if dependency.fact is not None:
            return self._fact(*dependency.fact)
        if dependency.without:
            other = self.graph.nodes.get(dependency.without)
            return other is None or other.desired is None
        makers = [maker for key in dependency.keys for maker in self.graph.makers(key)]
        coming = [self._on_its_way(maker, seen) for maker in makers]
        return self._satisfied(dependency) or any(coming)

    def _on_its_way(self, node: Node, seen: dict[str, bool]) -> bool:
        if node.key not in seen:
            seen[node.key] = False  # should it wait for itself
            seen[node.key] = self._nothing_in_its_way(node, seen)
        return seen[node.key]

    def _nothing_in_its_way(self, node: Node, seen: dict[str, bool]) -> bool:
        if node.desired is None:
            return False
        if node.attempts or node.refused or node.foreign or self._down(node.descriptor.domain):
            return False
        # Two that are made again, whose dependants change places, would wait for each other for ever.
        if node.actual is not None and (self.leaving(node) or self._hold(node)):
            return False
        return self._all_come(node.dependencies(node.desired), seen)

    # --- taking down

    def leaving(self, node: Node) -> bool:
        """Tell whether the object at a node is to be taken down (for good, or to be made again)."""
        if node.actual is None:
            return False
        known = self.graph.leaving.get(node.key)
        if known is None:
            self.graph.leaving[node.key] = True  # should it depend on itself
            known = self.graph.leaving[node.key] = self._leaving(node)
        return known

    def _leaving(self, node: Node) -> bool:
        assert node.actual is not None
        if node.desired is None:
            return not self._hold(node)
        if self._stale(node):
            return True
        standing = self.graph.standing_on(node)
        down = self._pulled_down(node, standing)
        if (down is not None and self._stays_on(node, down)) or self._doomed_bound(standing):
            return True
        if _equal(node, node.desired, node.actual.item) or self._hold(node):
            return False
        if node.descriptor.recreates(node.actual.item, node.desired):
            return True
        # It moves to what is there or comes, and stays itself; else it goes, as it is in the way.
        return down is not None and not self._all_come(self._missing(node), {})

    def _stale(self, node: Node) -> bool:
        """Tell whether the object was made with a handle that is no longer in force: something vanished under it."""
        assert node.actual is not None
        for key, handle in node.actual.handles.items():
            provider = self.graph.provider(key)
            if provider is None or provider.actual is None or provider.actual.handle != handle:
                return True
        return False

    def _changing(self, node: Node, dependency: Dependency) -> bool:
        """Tell whether the value that a dependant relies on is about to change, or to be put right under it."""
        if dependency.value is None or node.desired is None:
            return False
        return node.desired != dependency.value or not self._as_wanted(node)

    def _pulled_down(self, node: Node, standing: Standing) -> Node | None:
        """Return an object that this one stands on (or guards) and that cannot go before it does."""
        for provider, dependency in standing:
            if not _vanishes(provider, dependency) and self.leaving(provider):
                return provider
            if self._changing(provider, dependency):
                return provider
        for guarded in self.graph.guarded(node.key):
            if guarded.desired is not None and self.leaving(guarded):
                return guarded
        return None

    def _doomed_bound(self, standing: Standing) -> str | None:
        """Return the key of a leaving object that one vanishes with that stands so."""
        for provider, dependency in standing:
            if _vanishes(provider, dependency) and self.leaving(provider):
                return provider.key
        return None

    def _stays_on(self, node: Node, provider: Node) -> bool:
        """Tell whether the wanted value still needs an object that is leaving."""
        assert node.desired is not None
        assert provider.actual is not None
        provided = set(provider.actual.provides)
        if any(guarded is provider for guarded in self.graph.guarded(node.key)):
            return True
        return any(provided.intersection(need.keys) for need in node.dependencies(node.desired))

    def _remove(self, node: Node) -> Decision:
        if node.desired is None and (reason := self._hold(node)):
            return Wait(ItemState.HELD, reason)
        blockers = sorted(self._blockers(node))
        if blockers:
            reason = f"waits for {blockers[0]} to be taken down"
            return Wait(ItemState.REMOVING, reason, tuple(blockers), tuple(blockers))
        return Remove()

    def _blockers(self, node: Node) -> set[str]:
        """Return the keys that must go, or move elsewhere, before the object can be deleted."""
        bound = set() if node.descriptor.found_only else self.graph.bound(node)
        blockers: set[str] = set()
        for key in (node.key, *bound):
            for dependant, _ in self.graph.dependants(self.graph.nodes[key]):
                if dependant.key not in bound:
                    blockers.add(dependant.key)
        if node.desired is not None and node.actual is not None:
            gate = node.descriptor.gate(node.actual.item)
            if gate is not None and self.graph.provider(gate) is not None:
                blockers.add(gate)
        # What is just being made with this object's handle would stand on nothing.
        blockers |= set().union(*(self.graph.users(self.graph.nodes[key]) for key in (node.key, *bound)))
        # What lives inside may be busy with a message of its own: wait for its answer.
        blockers.update(key for key in bound if self.graph.nodes[key].running)
        return blockers


def _equal(node: Node, wanted: Item, found: Item) -> bool:
    """Tell whether an object is as wanted."""
    return wanted is found or node.descriptor.equal(wanted, found)


def _vanishes(provider: Node, dependency: Dependency) -> bool:
    """Tell whether a dependant goes with its provider, without a message."""
    return dependency.bound and not provider.descriptor.found_only
