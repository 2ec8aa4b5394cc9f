# SPDX-License-Identifier: Apache-2.0
"""What an operation that ended changes in the graph: each function returns the keys that are to be decided again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from contivpp_core.items import Item
from contivpp_core.scheduler.graph import Actual, Graph, Node, handles_of

__all__ = ["found", "made", "stood_on", "vanished"]


def made(graph: Graph, node: Node, item: Item, handle: Any, handles: dict[str, Any]) -> set[str]:
    """An object was made, or changed in place."""
    former = node.actual
    actual = Actual(node, item, handle, handles, node.dependencies(item))
    for dependency in actual.dependencies:
        if dependency.bound and not any(graph.provider(key) for key in dependency.keys):
            node.unknown = True  # what it was put into has vanished meanwhile
    node.half_done = False
    concerned = {*graph.put(node, actual), *_guarded_by(graph, node)}
    return concerned if former is None else concerned | stood_on(graph, former)


def found(graph: Graph, node: Node, item: Item, handle: Any, *, shadowed: bool) -> set[str]:
    """An object is there, as a dump, or the comparison with what is wanted, says."""
    needs = node.dependencies(item)
    actual = Actual(node, item, handle, handles_of(graph, needs), needs)
    actual.shadowed = shadowed
    return set(graph.put(node, actual))


def vanished(graph: Graph, node: Node) -> set[str]:
    """An object is gone, and what lived in it."""
    woken: set[str] = set()
    for key in (node.key, *graph.bound(node)):
        gone = graph.nodes[key]
        if gone.actual is not None:
            woken |= {key, *gone.actual.provides, *stood_on(graph, gone.actual), *_guarded_by(graph, gone)}
            graph.put(gone, None)
            gone.half_done = False
    return woken


def stood_on(graph: Graph, actual: Actual) -> set[str]:
    """Return the keys of what an object stands on, or stood on."""
    keys = {key for dependency in actual.dependencies for key in dependency.keys}
    return {provider.key for key in keys if (provider := graph.provider(key))}


def _guarded_by(graph: Graph, node: Node) -> Iterable[str]:
    return (guarded.key for guarded in graph.guarded(node.key))
