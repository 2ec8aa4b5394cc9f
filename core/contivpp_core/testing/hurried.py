# SPDX-License-Identifier: Apache-2.0
"""Simulated time beside a real process: what the process answers is waited for, timers are not.

    check_descriptors(..., run=run_hurried)

When nothing is left to do, the process gets a moment; if it says nothing, time jumps to the next timer. So a time-out
for the process's answers may pass at any moment: it must be set to a time that nothing else comes near.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["run_hurried"]

T = TypeVar("T")

_MOMENT_SECONDS = 0.004


class _Hurrying(selectors.EpollSelector):
    """Waits a moment, and lets the rest of the time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            return super().select(None)
        ready = super().select(min(max(timeout, 0.0), _MOMENT_SECONDS))
        if not ready:
            self.elapsed += max(timeout, 0.0)
        return ready


class _HurriedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual and starts at 0."""

    def __init__(self) -> None:
        self._hurrying = _Hurrying()
        super().__init__(self._hurrying)

    def time(self) -> float:
        """Return the seconds that have passed."""
        return self._hurrying.elapsed


def run_hurried(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end."""
    with asyncio.Runner(loop_factory=_HurriedLoop) as runner:
        return runner.run(main)
