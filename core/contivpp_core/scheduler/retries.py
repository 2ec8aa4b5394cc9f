# SPDX-License-Identifier: Apache-2.0
"""When failed operations are tried again: after a back-off with jitter."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from contivpp_core.scheduler.graph import Node

__all__ = ["Retries"]

FIRST_RETRY_SECONDS = 0.1
LAST_RETRY_SECONDS = 30.0


class Retries:
    """The timers of failed operations; `due(key)` is called when the time of one has come."""

    def __init__(self, due: Callable[[str], None], *, seed: int | None) -> None:
        self._due = due
        self._random = random.Random(seed)
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def later(self, node: Node) -> None:
        """Try a node's operation again, the later the more attempts there were."""
        loop = asyncio.get_running_loop()
        delay = self.back_off(node.attempts - 1, FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS)
        node.due = loop.time() + delay
        self._timers[node.key] = loop.call_later(delay, self._now, node)

    def _now(self, node: Node) -> None:
        self._timers.pop(node.key, None)
        node.due = None
        self._due(node.key)

    def cancel(self, node: Node) -> None:
        """There is nothing to try again, or it may be tried at once."""
        node.due = None
        if timer := self._timers.pop(node.key, None):
            timer.cancel()

    def stop(self) -> None:
        """Try nothing again."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def back_off(self, failures: int, first: float, last: float) -> float:
        """Return how long to wait after so many earlier failures: twice as long each time up to `last`, with jitter."""
        return min(last, first * float(1 << min(failures, 12))) * self._random.uniform(0.5, 1.0)
