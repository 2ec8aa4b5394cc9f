# SPDX-License-Identifier: Apache-2.0
"""The graph of items: for each key what is wanted, what is there, and who stands on whom.

Edges come from what is there: an object made with the handle of another stands on it, whatever is wanted now. The
order of taking down follows these edges; the order of building follows the dependencies of what is wanted.
"""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from contivpp_core.items import AnyDescriptor, Dependency, Item, Owner

__all__ = ["Actual", "Graph", "ItemState", "Node"]


class ItemState(enum.Enum):
    """How an item stands."""

    APPLIED = "applied"
    PENDING = "pending"
    SHADOWED = "shadowed"
    CONFLICT = "conflict"
    FAILED = "failed"
    HELD = "held"
    RUNNING = "in progress"
    UNKNOWN = "unknown"
    REMOVING = "removing"


class Actual:
    """An object that is there: its value, its handle, and the objects that it was made with (key -> handle)."""

    __slots__ = ("dependencies", "handle", "handles", "item", "provides", "shadowed")

    def __init__(
        self,
        node: Node,
        item: Item,
        handle: Any,
        handles: dict[str, Any],
        dependencies: tuple[Dependency, ...],
    ) -> None:
        self.item = item
        self.handle = handle
        self.handles = handles
        self.dependencies = dependencies
        self.provides: tuple[str, ...] = (node.key, *node.descriptor.provides(item))
        self.shadowed = False


class Node:
    """One key."""

    __slots__ = (
        "actual",
        "attempts",
        "conflicts",
        "descriptor",
        "desired",
        "due",
        "error",
        "foreign",
        "former",
        "half_done",
        "key",
        "needed_by",
        "needs",
        "owners",
        "reason",
        "refused",
        "released",
        "running",
        "state",
        "touched",
        "tried",
        "unknown",
        "urgent",
        "waits",
        "wished",
    )

    def __init__(self, key: str, descriptor: AnyDescriptor) -> None:
        self.key = key
        self.descriptor = descriptor
        self.owners: Mapping[Owner, Item] = {}
        self.desired: Item | None = None
        self.needs: tuple[Dependency, ...] = ()  # what an item depends on, the last one that was asked for
        self.needed_by: Item | None = None  # that item
        self.former: Item | None = None  # what was wanted last, or may be there from an earlier life
        self.conflicts: tuple[Owner, ...] = ()  # owners whose value is not the one in force
        self.actual: Actual | None = None
        self.unknown = False  # an answer was lost: read back before anything else
        self.half_done = False  # an operation was refused, maybe after a part of it was done
        self.tried: Item | None = None  # what that was an attempt at
        self.foreign = False  # somebody else's object has the key
        self.running = False
        self.released: frozenset[str] | None = None  # renderers that gave the item up; None: it never had an owner
        self.state = ItemState.PENDING
        self.reason = ""
        self.error = ""
        self.attempts = 0
        self.due: float | None = None  # when a failed operation is tried again
        self.refused = False  # no retry before a change
        self.touched = 0  # the number of the last operation on the key
        self.urgent = False  # a request waits for it
        self.waits: tuple[Any, ...] = ()  # what wakes a pending node
        self.wished: tuple[float, int] | None = None  # when the present wish came, and the last operation before it

    def dependencies(self, item: Item) -> tuple[Dependency, ...]:
        """Return what an item of this key depends on."""
        if item is not self.needed_by:
            self.needs = tuple(self.descriptor.dependencies(item))
            self.needed_by = item
        return self.needs

    def choose(self, owners: Mapping[Owner, Item]) -> None:
        """Take over a set of owners, and choose the value that is in force among theirs."""
        if self.owners and not owners:
            self.released = frozenset(owner.renderer for owner in self.owners)
        self.owners = owners
        self.conflicts = ()
        if not owners:
            self.former, self.desired = self.desired or self.former, None
        elif len(owners) == 1 and not self.descriptor.merged:
            (self.desired,) = owners.values()
        elif self.descriptor.merged:
            self.desired = self.descriptor.merge(sorted(owners.items()))
        else:
            winner = min(owners)
            self.desired = owners[winner]
            self.conflicts = tuple(sorted(owner for owner, item in owners.items() if item != self.desired))


class Graph:
    """All nodes, and the edges between what is there."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._kinds: dict[str, dict[str, Node]] = defaultdict(dict)
        self._providers: dict[str, str] = {}  # key that is provided -> node key
        self._rivals: dict[str, set[str]] = defaultdict(set)  # the same key -> keys of further nodes that provide it
        self._makers: dict[str, set[str]] = defaultdict(set)  # key -> keys of other nodes that are wanted to provide it
        self._dependants: dict[str, set[str]] = defaultdict(set)  # provided key -> keys of nodes standing on it
        self._users: dict[str, set[str]] = defaultdict(set)  # provided key -> keys of nodes that are just made with it
        self.dangling: set[str] = set()  # keys of nodes whose object outlived what it was made with
        self._gates: dict[str, set[str]] = defaultdict(set)  # key of a gate -> keys of nodes that it guards
        self.leaving: dict[str, bool] = {}
        """Which objects are to be taken down, as far as that was asked since anything changed that it depends on."""

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    def add(self, node: Node) -> Node:
        """Add a node."""
        self.nodes[node.key] = self._kinds[node.descriptor.kind][node.key] = node
        return node

    def remove(self, node: Node) -> None:
        """Forget a node at which nothing is there and nothing is wanted."""
        del self.nodes[node.key]
        del self._kinds[node.descriptor.kind][node.key]

    def of_kind(self, kind: str) -> list[Node]:
        """Return the nodes of a kind."""
        return list(self._kinds.get(kind, {}).values())

    def provider(self, key: str) -> Node | None:
        """Return the node whose object provides the key, if it is there."""
        node = self._providers.get(key)
        return self.nodes[node] if node is not None else None

    def choose(self, node: Node, owners: Mapping[Owner, Item]) -> None:
        """Take over the owners of a node's item."""
        for key in self._promised(node):
            _discard(self._makers, key, node.key)
        try:
            node.choose(owners)
        finally:
            for key in self._promised(node):
                self._makers[key].add(node.key)

    def _promised(self, node: Node) -> Iterable[str]:
        return () if node.desired is None else node.descriptor.provides(node.desired)

    def makers(self, key: str) -> list[Node]:
        """Return the nodes whose wanted objects are, or will be, what provides a key."""
        names = {key} & self.nodes.keys() | self._makers.get(key, set())
        return [self.nodes[name] for name in sorted(names)]

    def put(self, node: Node, actual: Actual | None) -> list[str]:
        """Replace what is there at a node; return the keys that came into being or changed."""
        self._disturb(node, actual)
        if node.actual is not None:
            self._unlink(node, node.actual)
        if self.dangling:
            self.dangling.discard(node.key)
        node.actual = actual
        if actual is None:
            return []
        for key in actual.provides:
            if (other := self._providers.get(key)) is not None:  # it is going, or was made before it could be
                self._rivals[key].add(other)
            self._providers[key] = node.key
        for dependency in actual.dependencies:
            for key in dependency.keys:
                self._dependants[key].add(node.key)
        if gate := node.descriptor.gate(actual.item):
            self._gates[gate].add(node.key)
        return list(actual.provides)

    def _disturb(self, node: Node, new: Actual | None) -> None:
        """Forget who is leaving, unless what is about to change at a node concerns nobody but the node."""
        if not self.leaving:
            return
        for actual in (node.actual, new):
            if actual is not None and (
                node.descriptor.gate(actual.item) or any(key in self._dependants for key in actual.provides)
            ):
                self.leaving.clear()
                return
        self.leaving.pop(node.key, None)

    def _unlink(self, node: Node, actual: Actual) -> None:
        for key in actual.provides:
            if self._providers.get(key) != node.key:
                _discard(self._rivals, key, node.key)
            elif rivals := self._rivals.get(key):
                self._providers[key] = min(rivals)
                _discard(self._rivals, key, self._providers[key])
            else:
                del self._providers[key]
        for dependency in actual.dependencies:
            for key in dependency.keys:
                _discard(self._dependants, key, node.key)
        if gate := node.descriptor.gate(actual.item):
            _discard(self._gates, gate, node.key)

    def dependants(self, node: Node) -> Iterator[tuple[Node, Dependency]]:
        """Return the nodes whose objects stand on what this node's object provides, with the dependency."""
        if node.actual is None:
            return
        for key in node.actual.provides:
            for name in sorted(self._dependants.get(key, ())):
                dependant = self.nodes[name]
                if dependant.actual is None:
                    continue
                for dependency in dependant.actual.dependencies:
                    if key in dependency.keys and self._stands_on(dependant, dependency, key):
                        yield dependant, dependency

    def _stands_on(self, dependant: Node, dependency: Dependency, key: str) -> bool:
        """Of several alternatives, an object stands on the one whose handle it was made with."""
        if len(dependency.keys) == 1 or dependant.actual is None:
            return True
        return key in dependant.actual.handles

    def standing_on(self, node: Node) -> Sequence[tuple[Node, Dependency]]:
        """Return the nodes that this node's object stands on."""
        if node.actual is None or not node.actual.dependencies:
            return ()
        found = []
        for dependency in node.actual.dependencies:
            for key in dependency.keys:
                name = self._providers.get(key)
                if name is not None and name != node.key and self._stands_on(node, dependency, key):
                    found.append((self.nodes[name], dependency))
        return found

    def inside_unmarked(self, dependencies: Iterable[Dependency]) -> bool:
        """Tell whether nothing that an object with these dependencies is inside of shows a mark of ours."""
        for need in dependencies:
            if need.bound:
                host = self._providers.get(need.keys[0])
                if host is None or not self.nodes[host].descriptor.unmarked:
                    return False
        return True

    def guarded(self, gate: str) -> Sequence[Node]:
        """Return the nodes that may only be taken down while the gate is down."""
        names = self._gates.get(gate)
        return [self.nodes[name] for name in sorted(names)] if names else ()

    def begin(self, node: Node, handles: Iterable[str]) -> None:
        """An operation begins that uses these keys: what provides them must stay until it ends."""
        for key in handles:
            self._users[key].add(node.key)

    def end(self, node: Node, handles: Iterable[str]) -> None:
        """The operation has ended."""
        for key in handles:
            _discard(self._users, key, node.key)

    def users(self, node: Node) -> set[str]:
        """Return the keys whose operations use what this node's object provides: in flight, or with a lost answer."""
        if node.actual is None:
            return set()
        found: set[str] = set()
        for key in node.actual.provides:
            for name in tuple(self._users.get(key, ())):
                user = self.nodes.get(name)
                if user is not None and (user.running or user.unknown):
                    found.add(name)
                else:
                    _discard(self._users, key, name)  # it has been read back
        return found

    def leftovers(self, node: Node) -> tuple[str, ...]:
        """Return the keys of objects that stand on what the wanted object would provide, from a former one."""
        assert node.desired is not None
        found = []
        for key in (node.key, *node.descriptor.provides(node.desired)):
            for name in sorted(self._dependants.get(key, ())):
                actual = self.nodes[name].actual
                if actual is not None and key in actual.handles:
                    found.append(name)
        return tuple(found)

    def above(self, node: Node) -> set[str]:
        """Return the keys of a node and of everything that stands on it, directly or not."""
        found = {node.key}
        if node.actual is None:
            return found
        pending = [node]
        while pending:
            for dependant, _ in self.dependants(pending.pop()):
                if dependant.key not in found:
                    found.add(dependant.key)
                    pending.append(dependant)
        return found

    def bound(self, node: Node) -> set[str]:
        """Return the keys of everything that vanishes together with this node's object."""
        found: set[str] = set()
        pending = [node]
        while pending:
            for dependant, dependency in self.dependants(pending.pop()):
                if dependency.bound and dependant.key not in found:
                    found.add(dependant.key)
                    pending.append(dependant)
        return found


def _discard(index: dict[str, set[str]], key: str, value: str) -> None:
    if values := index.get(key):
        values.discard(value)
        if not values:
            del index[key]


def handles_of(graph: Graph, dependencies: Iterable[Dependency]) -> dict[str, Any]:
    """Return the handle of the first provider there for each dependency."""
    handles: dict[str, Any] = {}
    for dependency in dependencies:
        for key in dependency.keys:
            provider = graph.provider(key)
            if provider is not None and provider.actual is not None:
                handles[key] = provider.actual.handle
                break
    return handles
