# SPDX-License-Identifier: Apache-2.0
"""Time. All time of the agent is the event loop's time, so that a test or a scenario can simulate it.

Nothing else asks the system for the time. On a normal loop, `Clock` is the system's clock. On a
`SimulatedLoop` time stands still while there is work, and jumps to the next timer when there is none: three
hours cost nothing, and every run is the same. It stands still, too, while a thread does what the loop handed to
one. Real file descriptors are looked at, but never waited for while a timer is pending.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, TypeVar, TypeVarTuple

from contivpp_core.errors import ContivError

__all__ = ["SIMULATION_START", "SLICE_SECONDS", "Clock", "Deadlock", "SimulatedLoop", "gently", "run_simulated"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

SLICE_SECONDS = 0.005
"""So long work may keep the event loop before it gives way to others."""
LONGEST_SLICE = 1000
"""So many pieces of work are in one slice at most; it makes slices in simulated time, too, where work takes none."""

SIMULATION_START = datetime(2030, 1, 1, tzinfo=UTC)
"""The wall clock's value at the loop time 0 of every simulation."""


class Deadlock(ContivError):
    """A simulated loop has tasks that wait, and nothing that could ever wake them."""


class Clock:
    """The agent's clock; use it inside the event loop that it serves."""

    def time(self) -> float:
        """Return monotonic seconds: the running loop's time."""
        return asyncio.get_running_loop().time()

    def now(self) -> float:
        """Return the wall clock in seconds since 1970; in a simulation it moves with the loop's time."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, SimulatedLoop):
            return SIMULATION_START.timestamp() + loop.time()
        return time.time()

    def date(self) -> datetime:
        """Return the wall clock as a date in UTC."""
        return datetime.fromtimestamp(self.now(), UTC)

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        await asyncio.sleep(seconds)


async def gently(pieces: Iterable[T]) -> AsyncIterator[T]:
    """Yield pieces of long work, giving way to the event loop every few milliseconds.

    `pieces` must not be changed meanwhile: hand a copy over.
    """
    time = asyncio.get_running_loop().time
    end, left = time() + SLICE_SECONDS, LONGEST_SLICE
    for piece in pieces:
        if left <= 0 or time() >= end:
            await asyncio.sleep(0)
            end, left = time() + SLICE_SECONDS, LONGEST_SLICE
        left -= 1
        yield piece


class _JumpingSelector(selectors.EpollSelector):
    """A selector that lets the simulated time pass instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is not None:
            self.elapsed += max(timeout, 0)
            return ready
        # The loop's own wake-up socket is always registered.
        if len(self.get_map()) > 1:
            return super().select(None)
        raise Deadlock(f"nothing can happen any more: no timer, no file descriptor; {_waiting_tasks()}")


def _waiting_tasks() -> str:
    tasks = [task for task in asyncio.all_tasks(asyncio.get_running_loop()) if not task.done()]
    shown = sorted(f"{task.get_name()} ({_place(task)})" for task in tasks)
    more = f" and {len(shown) - 8} more" if len(shown) > 8 else ""
    return f"{len(shown)} tasks wait: {', '.join(shown[:8])}{more}"


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    if not stack:
        return "not started"
    return f"{stack[-1].f_code.co_qualname} line {stack[-1].f_lineno}"


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual and starts at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Return the simulated seconds since the loop was made."""
        return self._jumping.elapsed

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Have a thread carry out `func`, and wait for it: time that went on meanwhile would be another in each run."""
        done: asyncio.Future[T] = self.create_future()
        with ThreadPoolExecutor(1) if executor is None else contextlib.nullcontext(executor) as threads:
            try:
                done.set_result(threads.submit(func, *args).result())
            except Exception as error:
                done.set_exception(error)
        return done


def run_simulated(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end in simulated time; raise `Deadlock` where it could only hang."""
    with asyncio.Runner(loop_factory=SimulatedLoop) as runner:
        return runner.run(main)
