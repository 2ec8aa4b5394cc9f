# SPDX-License-Identifier: Apache-2.0
"""Growing pauses with jitter, so that many who lost the same server do not come back in one moment."""

from __future__ import annotations

import asyncio
import random

__all__ = ["Backoff"]

FIRST_SECONDS, LONGEST_SECONDS = 0.2, 30.0


class Backoff:
    """Pauses of `first` to `longest` seconds; `tries` counts those since the last success."""

    def __init__(self, seed: str, *, first: float = FIRST_SECONDS, longest: float = LONGEST_SECONDS) -> None:
        self._random = random.Random(seed)  # each its own, and the same in every simulation
        self._first, self._longest = first, longest
        self.tries = 0

    async def pause(self, at_least: float = 0.0) -> None:
        """Wait; longer than the time before. What a server asks for (`at_least`, seconds) is a lower bound."""
        seconds = min(self._first * 2**self.tries, self._longest) * self._random.uniform(0.5, 1.0)
        self.tries = min(self.tries + 1, 16)
        if at_least > 0:
            seconds = max(seconds, min(at_least, 10 * self._longest) * self._random.uniform(1.0, 1.25))
        await asyncio.sleep(seconds)

    def reset(self) -> None:
        """It worked."""
        self.tries = 0
