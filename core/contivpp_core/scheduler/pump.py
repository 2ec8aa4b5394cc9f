# SPDX-License-Identifier: Apache-2.0
"""The keys that are to be decided, and when: a cold start decides tens of thousands, and must not stop everything else.

In each turn of the event loop, keys are decided for a bounded time; what is left goes on in the next turn. Urgent keys
(those of a request of the container runtime) come first. The operations that are begun take their first steps in the
next turn, and encode their messages there; how long that takes is measured, and bounds how many are begun in a turn.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable

__all__ = ["Pump"]

PART_SECONDS = 0.002
"""So much of a turn goes to decisions, and as much to first steps; about as much goes to the ends of operations."""
FEWEST_OPERATIONS = 16
"""So many operations may be begun in a turn, however long their first steps take."""


class Pump:
    """The queue of keys. `decide` takes the next step for one, and tells whether that began an operation."""

    def __init__(self, decide: Callable[[str], bool], rest: Callable[[], None], *, most: int) -> None:
        self._decide = decide
        self._rest = rest
        self._most = most
        # A plain dict takes O(n) to give its first key.
        self._urgent: OrderedDict[str, None] = OrderedDict()
        self._ordinary: OrderedDict[str, None] = OrderedDict()
        self._running = False
        self._held = self._stopped = False
        self._end: float | None = None  # until when keys are decided in this turn; None: none was yet
        self._decisions = self._operations = 0  # how many are left in this turn
        self._allowed = most  # how many operations may be begun in a turn
        self._begun = 0  # how many were begun in the last slice
        self._steps = 0.0  # when their first steps began

    def __bool__(self) -> bool:
        return bool(self._urgent or self._ordinary)

    def __contains__(self, key: str) -> bool:
        return key in self._urgent or key in self._ordinary

    def add(self, key: str, *, urgent: bool = False) -> None:
        """Have a key decided."""
        if urgent:
            self._ordinary.pop(key, None)
            self._urgent[key] = None
        elif key not in self._urgent:
            self._ordinary[key] = None

    def update(self, keys: Iterable[str]) -> None:
        """Have keys decided that are not urgent."""
        if self._urgent:
            for key in keys:
                self.add(key)
        else:
            self._ordinary.update(dict.fromkeys(keys))

    def hold(self, held: bool) -> None:
        """Decide nothing while a change of what is wanted is being taken over."""
        self._held = held

    def stop(self) -> None:
        """Decide nothing any more."""
        self._stopped = True
        self._urgent.clear()
        self._ordinary.clear()

    def run(self) -> None:
        """Decide keys, now and in the next turns."""
        if self._running:
            return
        if self and not (self._held or self._stopped):
            self._running = True
            try:
                self._slice()
            finally:
                self._running = False
        self._rest()

    def _slice(self) -> None:
        loop = asyncio.get_running_loop()
        first = self._end is None
        if first:
            self._end = loop.time() + PART_SECONDS
            self._decisions, self._operations, self._begun = self._most, self._allowed, 0
            loop.call_soon(self._steps_begin)
        try:
            self._decide_some(loop)
        finally:
            if first:
                loop.call_soon(self._turn)

    def _decide_some(self, loop: asyncio.AbstractEventLoop) -> None:
        assert self._end is not None
        while self and self._decisions > 0 and self._operations > 0:
            key, _ = (self._urgent or self._ordinary).popitem(last=False)
            self._decisions -= 1
            if self._decide(key):
                self._operations -= 1
                self._begun += 1
            if loop.time() >= self._end:
                self._decisions = 0

    def _steps_begin(self) -> None:
        """The first steps of the operations that were begun come next."""
        self._steps = asyncio.get_running_loop().time()

    def _turn(self) -> None:
        """The first steps of those operations are done, and another turn has begun."""
        if self._begun >= FEWEST_OPERATIONS:
            each = (asyncio.get_running_loop().time() - self._steps) / self._begun
            allowed = int(PART_SECONDS / each) if each > 0 else self._most
            self._allowed = min(self._most, max(FEWEST_OPERATIONS, (self._allowed + allowed) // 2))
        self._end = None
        if self:
            self.run()
