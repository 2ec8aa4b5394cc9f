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

from contivpp_core.clock import SLICE_SECONDS, gently
from contivpp_core.engine import Engine
from contivpp_core.journal import SHOWN_KEYS
from contivpp_core.scheduler import Scheduler
from contivpp_core.state import Change, State, Write

__all__ = ["Controller", "WriteReport", "Writes"]

log = logging.getLogger(__name__)

Writes = Iterable[Write] | Callable[[], Iterable[Write]]
"""Writes, or a function that makes them when their turn comes: it sees the state that they are applied to."""

FEW_KEYS = 100
"""So many writes, or changed keys, are taken over at once; more of them in slices."""


class WriteReport(NamedTuple):
    """What one batch did, for the journal."""

    revision: int
    cause: str
    changed: tuple[str, ...]  # table/key, of the first SHOWN_KEYS
    changed_total: int
    items: int  # how many items' owners or values changed
    failures: int
    render_seconds: float


class _Batch(NamedTuple):
    cause: str
    writes: tuple[Write, ...] | Callable[[], Iterable[Write]]
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
        self._followers: list[Callable[[list[Change], list[str]], None]] = []

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

    async def write(self, cause: str, writes: Writes, *, urgent: bool = False) -> int:
        """Write a batch; return its revision when everything that it touches is rendered and scheduled."""
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        taken = writes if callable(writes) else tuple(writes)
        (self._urgent if urgent else self._ordinary).append(_Batch(cause, taken, urgent, done))
        self._idle.clear()
        self._wakeup.set()
        return await done

    def listen(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each batch that changed something, rendered; return how to end that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def follow(self, follower: Callable[[list[Change], list[str]], None]) -> Callable[[], None]:
        """Call a function with each batch's changes and the tables whose readiness changed; return how to end that.

        It is called before anything is rendered, and must neither block nor raise.
        """
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

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
            del batch  # its records may be replaced long before the next one comes

    async def _carry_out(self, batch: _Batch) -> int:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        writes = tuple(batch.writes()) if callable(batch.writes) else batch.writes
        if len(writes) <= FEW_KEYS:
            changes, flips = self._state.apply(writes)
            self._engine.note(changes, flips)
        else:
            changes, flips = await self._state.apply_gently(writes)
            async for few in gently(_parts(changes)):
                self._engine.note(few)
            self._engine.note((), flips)
        if not changes and not flips:
            return self._state.revision
        for follower in self._followers:
            follower(changes, flips)
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
        async for few in gently(_parts(changes)):
            self._scheduler.wake(*[(change.table, change.key) for change in few])
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
                tuple([f"{change.table}/{change.key}" for change in changes[:SHOWN_KEYS]]),
                len(changes),
                len(keys),
                len(self._engine.failures),
                seconds,
            )
        )


def _parts(changes: list[Change]) -> list[list[Change]]:
    return [changes[first : first + FEW_KEYS] for first in range(0, len(changes), FEW_KEYS)]
