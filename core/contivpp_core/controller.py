# SPDX-License-Identifier: Apache-2.0
"""The controller loop: the one writer of the state.

Writes are batches with a cause. After each batch everything that it touches is rendered before the next batch is
taken, so a renderer always sees one revision; rendering gives way to the event loop every few milliseconds. Urgent
batches (requests of the container runtime) overtake the others. What the renderers then want goes to the scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import NamedTuple

from contivpp_core.clock import SLICE_SECONDS
from contivpp_core.engine import Engine
from contivpp_core.scheduler import Scheduler
from contivpp_core.state import Change, State, Write

__all__ = ["Controller", "WriteReport"]

log = logging.getLogger(__name__)

FEW_KEYS = 100
"""So many changed keys go to the scheduler at once; more of them in slices."""


class WriteReport(NamedTuple):
    """What one batch did, for the journal."""

    revision: int
    cause: str
    changed: tuple[str, ...]  # table/key
    items: tuple[str, ...]  # keys of items whose owners or values changed
    failures: int
    render_seconds: float


class _Batch(NamedTuple):
    cause: str
    writes: tuple[Write, ...]
    urgent: bool
    done: asyncio.Future[int]


class Controller:
    """Takes writes, renders, and hands the result to the scheduler."""

    def __init__(self, state: State, engine: Engine, scheduler: Scheduler) -> None:
        self._state = state
        self._engine = engine
        self._scheduler = scheduler
        self._urgent: deque[_Batch] = deque()
        self._ordinary: deque[_Batch] = deque()
        self._wakeup = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None
        self.on_write: Callable[[WriteReport], None] = lambda report: None
        self._listeners: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin to take writes."""
        self._task = asyncio.get_running_loop().create_task(self._run(), name="controller")

    async def stop(self) -> None:
        """Stop after the batch in hand; batches that wait are cancelled."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for batch in (*self._urgent, *self._ordinary):
            batch.done.cancel()

    async def write(self, cause: str, writes: Iterable[Write], *, urgent: bool = False) -> int:
        """Write a batch; return its revision when everything that it touches is rendered and scheduled."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        (self._urgent if urgent else self._ordinary).append(_Batch(cause, tuple(writes), urgent, done))
        self._idle.clear()
        self._wakeup.set()
        return await done

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each batch that changed something, rendered; return how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def settled(self) -> None:
        """Wait until the newest revision is rendered, nothing is in flight and nothing is due now."""
        while True:
            await self._idle.wait()
            await self._scheduler.settled()
            if self._idle.is_set() and self._scheduler.idle():
                return

    async def _run(self) -> None:
        while True:
            while not (self._urgent or self._ordinary):
                self._idle.set()
                self._wakeup.clear()
                await self._wakeup.wait()
            batch = (self._urgent or self._ordinary).popleft()
            try:
                revision = await self._carry_out(batch)
            except asyncio.CancelledError:
                batch.done.cancel()
                raise
            except Exception as error:  # a bad write is its writer's problem, never the loop's
                if not batch.done.done():
                    batch.done.set_exception(error)
                continue
            if not batch.done.done():
                batch.done.set_result(revision)

    async def _carry_out(self, batch: _Batch) -> int:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        changes, flips = self._state.apply(batch.writes)
        if not changes and not flips:
            return self._state.revision
        self._engine.note(changes, flips)
        slice_end = loop.time() + SLICE_SECONDS
        for _ in self._engine.run():
            if loop.time() >= slice_end:
                await asyncio.sleep(0)
                slice_end = loop.time() + SLICE_SECONDS
        keys = self._engine.take()
        if len(keys) <= FEW_KEYS:
            self._scheduler.submit(keys, self._engine.owners, urgent=batch.urgent)
        else:
            await self._scheduler.submit_gently(keys, self._engine.owners, urgent=batch.urgent)
        self._scheduler.wake(*((change.table, change.key) for change in changes))
        if flips:
            self._scheduler.touch_all()  # what was held may go now
        self._report(batch.cause, changes, keys, loop.time() - begin)
        for listener in tuple(self._listeners):
            listener()
        return self._state.revision

    def _report(self, cause: str, changes: list[Change], keys: set[str], seconds: float) -> None:
        self.on_write(
            WriteReport(
                self._state.revision,
                cause,
                tuple(f"{change.table}/{change.key}" for change in changes),
                tuple(sorted(keys)),
                len(self._engine.failures),
                seconds,
            )
        )
