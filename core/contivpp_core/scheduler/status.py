# SPDX-License-Identifier: Apache-2.0
"""How items stand, for people and for those who count."""

from __future__ import annotations

from typing import Any

import msgspec

from contivpp_core.scheduler.graph import Graph, ItemState, Node

__all__ = ["ItemStatus", "NotApplied", "counts_of", "not_applied_of", "status_of"]


class ItemStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How one item stands, for people."""

    key: str
    kind: str
    state: str
    reason: str = ""
    owners: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    attempts: int = 0
    retry_seconds: float | None = None
    """When a failed operation is tried again; None: not before something changes, or nothing failed."""
    value: Any = None


def status_of(node: Node, now: float) -> ItemStatus:
    """Return how the item of a node stands."""
    item = node.desired if node.desired is not None else node.actual.item if node.actual else None
    return ItemStatus(
        key=node.key,
        kind=node.descriptor.kind,
        state=node.state.value,
        reason=node.reason or (f"also wanted otherwise by {node.conflicts[0]}" if node.conflicts else ""),
        owners=tuple(sorted(map(str, node.owners))),
        conflicts=tuple(map(str, node.conflicts)),
        attempts=node.attempts,
        retry_seconds=None if node.due is None else max(0.0, node.due - now),
        value=item,
    )


def counts_of(graph: Graph) -> dict[str, int]:
    """Return the number of items in each state."""
    counts = {state.value: 0 for state in ItemState}
    for node in graph:
        counts[node.state.value] += 1
    return counts


class NotApplied(msgspec.Struct, kw_only=True):
    """The items of one kind that are in one state other than applied; `key` and `reason` are those of one of them."""

    kind: str
    state: str
    count: int = 0
    key: str = ""
    reason: str = ""
    retried: int = 0
    """How many of them will be tried again without any change."""


def not_applied_of(graph: Graph) -> list[NotApplied]:
    """Return what is not applied, by state and kind, the largest groups first."""
    groups: dict[tuple[str, str], NotApplied] = {}
    for node in graph:
        if node.state not in (ItemState.APPLIED, ItemState.SHADOWED):
            kind, state = node.descriptor.kind, node.state.value
            group = groups.get((kind, state)) or groups.setdefault(
                (kind, state), NotApplied(kind=kind, state=state, key=node.key, reason=node.reason)
            )
            group.count += 1
            group.retried += node.due is not None
    return sorted(groups.values(), key=lambda group: (-group.count, group.kind, group.state))
