# SPDX-License-Identifier: Apache-2.0
"""Work that follows events, and is tried again until it succeeds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from contivpp_core.agent import Agent

__all__ = ["pause", "whenever"]

FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 10.0


async def pause(attempt: int) -> None:
    """Wait before a further attempt, longer each time; `attempt` counts from 0."""
    delay = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(attempt, 10))
    await asyncio.sleep(delay * random.uniform(0.5, 1.0))


async def whenever(agent: Agent, event: asyncio.Event, work: Callable[[], Awaitable[None]], condition: str) -> None:
    """Do some work after each event, again and again until it succeeds; the condition says why it does not."""
    attempt = 0
    while True:
        await event.wait()
        event.clear()
        try:
            await work()
        except Exception as error:  # VPP went again, or the disk is full: whatever it is, it may pass
            agent.set_condition(condition, False, f"is tried again: {str(error) or type(error).__name__}")
            await pause(attempt)
            attempt += 1
            event.set()
            continue
        agent.set_condition(condition, True)
        attempt = 0
