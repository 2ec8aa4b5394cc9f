# SPDX-License-Identifier: Apache-2.0
"""Operations in flight: by a task each, or, where the descriptor can, by one message and a callback for its answer.

A cold start makes ten thousand objects; a task and a future for each would take as long as everything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from contivpp_core.items import Item
from contivpp_core.scheduler.decide import Create, Decision, Remove, Update
from contivpp_core.scheduler.graph import Actual, Node
from contivpp_core.scheduler.notes import Notes
from contivpp_core.tasks import end

__all__ = ["Operation", "Operations"]

log = logging.getLogger(__name__)


class Operation(NamedTuple):
    """What is done at a node; `item` is wanted, `actual` was there before, `handles` are those to make it with.

    What shows no mark of ours (`unmarked`) is noted before it is made.
    """

    node: Node
    decision: Decision
    item: Item | None
    actual: Actual | None
    handles: dict[str, Any]
    unmarked: bool = False


class Operations:
    """Carries operations out, at most one for a key. `concluded(operation, handle, failure)` is called at its end.

    `broken_off(operation)` is called instead for one that is cancelled: how far it came is unknown.
    """

    def __init__(
        self,
        concluded: Callable[[Operation, Any, Exception | None], None],
        broken_off: Callable[[Operation], None],
        notes: Notes,
    ) -> None:
        self._concluded = concluded
        self._broken_off = broken_off
        self._notes = notes
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._posted: dict[str, Operation] = {}
        self._ends: dict[str, asyncio.Event] = {}  # of those that are posted, if somebody waits

    def __bool__(self) -> bool:
        return bool(self._tasks or self._posted)

    def begin(self, operation: Operation) -> None:
        """Begin an operation."""
        if operation.unmarked or not (isinstance(operation.decision, Create) and self._post(operation)):
            self._tasks[operation.node.key] = asyncio.get_running_loop().create_task(self._carry_out(operation))

    def by_task(self, node: Node) -> bool:
        """Tell whether a task carries the operation of a node out; its first step comes in the next turn."""
        return node.key in self._tasks

    def end(self, node: Node) -> None:
        """The operation of a node has ended, whoever carried it out."""
        self._tasks.pop(node.key, None)

    async def ended(self, node: Node) -> None:
        """Wait until the operation of a node has ended, however it ends."""
        if task := self._tasks.get(node.key):
            await asyncio.wait((task,))
        if node.key in self._posted:
            await self._ends.setdefault(node.key, asyncio.Event()).wait()

    async def stop(self) -> None:
        """End all; nobody learns of answers that are still to come."""
        posted, self._posted = self._posted, {}
        for event in self._ends.values():
            event.set()
        self._ends.clear()
        for operation in posted.values():
            operation.node.unknown, operation.node.running = True, False
        await end(*self._tasks.values())

    def _post(self, operation: Operation) -> bool:
        """Have the descriptor send what makes the object; tell whether it did."""
        node = operation.node
        self._posted[node.key] = operation
        try:
            if node.descriptor.begin_create(operation.item, operation.handles, partial(self._answered, operation)):
                return True
        except Exception:  # foreign code: it will tell the same when it is asked the long way
            log.debug("begin_create failed", extra={"key": node.key}, exc_info=True)
        self._posted.pop(node.key, None)
        return False

    def _answered(self, operation: Operation, handle: Any, error: Exception | None) -> None:
        key = operation.node.key
        if self._posted.get(key) is not operation:
            log.warning("a second answer, or one that nobody waits for", extra={"key": key})
            return
        del self._posted[key]
        if event := self._ends.pop(key, None):
            event.set()
        self._concluded(operation, handle, error)

    async def _carry_out(self, operation: Operation) -> None:
        node, decision, item, actual, handles, unmarked = operation
        handle: Any = None
        failure: Exception | None = None
        try:
            match decision:
                case Create():
                    if unmarked:
                        assert item is not None
                        await self._notes.note(item)
                    handle = await node.descriptor.create(item, handles)
                case Update():
                    assert actual is not None
                    handle = await node.descriptor.update(actual.item, item, actual.handle, handles)
                case Remove():
                    assert actual is not None
                    await node.descriptor.delete(actual.item, actual.handle, actual.handles)
                    if node.descriptor.unmarked:
                        await self._notes.forget(actual.item)
        except asyncio.CancelledError:
            self._broken_off(operation)
            raise
        except Exception as error:  # foreign code and foreign dataplanes: each failure belongs to its item alone
            failure = error
        self._concluded(operation, handle, failure)
