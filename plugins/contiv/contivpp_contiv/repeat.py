# SPDX-License-Identifier: Apache-2.0
"""Work that is tried again until it succeeds, and a condition that says why it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from contivpp_core import repeat
from contivpp_core.agent import Agent
from contivpp_core.backoff import Backoff

__all__ = ["backoff", "whenever"]

LONGEST_SECONDS = 10.0


def backoff(agent: Agent, what: str) -> Backoff:
    """Return the pauses of a node's work."""
    return Backoff(f"{agent.node_name} {what}", longest=LONGEST_SECONDS)


async def whenever(agent: Agent, event: asyncio.Event, work: Callable[[], Awaitable[None]], condition: str) -> None:
    """Do some work after each event, again and again until it succeeds; the condition says why it does not."""

    def tell(reason: str) -> None:
        agent.set_condition(condition, not reason, f"is tried again: {reason}")

    await repeat.whenever(event, work, tell, backoff(agent, condition))
