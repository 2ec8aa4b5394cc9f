# SPDX-License-Identifier: Apache-2.0
"""Operations, and those in flight without a task of their own: one message each, and a callback for its answer.

A cold start makes ten thousand objects; a task and a future for each would take as long as everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from contivpp_core.items import Item
from contivpp_core.scheduler.decide import Decision
from contivpp_core.scheduler.graph import Actual, Node

__all__ = ["Operation", "Posted"]

log = logging.getLogger(__name__)


class Operation(NamedTuple):
    """What is done at a node; `item` is wanted, `actual` was there before, `handles` are those to make it with."""

    node: Node
    decision: Decision
    item: Item | None
    actual: Actual | None
    handles: dict[str, Any]


class Posted:
    """The nodes whose object is being made so."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}
        self._ends: dict[str, asyncio.Event] = {}

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def create(
        self, operation: Operation, answered: Callable[[Any, Exception | None], None]
    ) -> bool:
        """Have the descriptor send what makes the object; tell whether it did. `answered` is called once, later."""
        node = operation.node
        number = node.touched

        def ended(handle: Any, error: Exception | None) -> None:
            if node.touched != number or self._nodes.pop(node.key, None) is None:
                log.warning("a second answer, or one that nobody waits for", extra={"key": node.key})
                return
            if event := self._ends.pop(node.key, None):
                event.set()
            answered(handle, error)

        self._nodes[node.key] = node
        try:
            if node.descriptor.begin_create(operation.item, operation.handles, ended):
                return True
        except Exception:  # foreign code: it will tell the same when it is asked the long way
            log.debug("begin_create failed", extra={"key": node.key}, exc_info=True)
        self._nodes.pop(node.key, None)
        return False

    async def ended(self, node: Node) -> None:
        """Wait until the operation of a node has ended, however it ends."""
        if node.key in self._nodes:
            await self._ends.setdefault(node.key, asyncio.Event()).wait()

    def stop(self) -> Iterator[Node]:
        """Wait for no answer any more; yield the nodes that waited for one."""
        nodes, self._nodes = self._nodes, {}
        for event in self._ends.values():
            event.set()
        self._ends.clear()
        yield from nodes.values()
