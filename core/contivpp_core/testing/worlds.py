# SPDX-License-Identifier: Apache-2.0
"""What a trial's agent lives in: how it reaches its dataplanes, and what its plugins do beside their descriptors.

A dataplane in memory that is always reached needs none of this. One that is reached by messages does: an operation
may be several of them, so faults must strike between them, and what a dead agent has asked must not be answered to
its successor.
"""

from __future__ import annotations

import random
from typing import Protocol

from contivpp_core.scheduler import Scheduler
from contivpp_core.testing.faults import Faults

__all__ = ["Lost", "World"]


class Lost(Protocol):
    """Tells a trial that a connection was lost; with `new`, the dataplane will be another one, and empty."""

    def __call__(self, domain: str, *, new: bool = False) -> None: ...


class World:
    """Nothing but dataplanes; subclass it, and change what is not so. It outlives agents."""

    faults: Faults
    """Those of the trial, for what is between an agent and its dataplanes."""
    lost: Lost
    """To be called when a connection was lost."""

    def begin(self, scheduler: Scheduler) -> None:
        """An agent has begun, with descriptors that were just made; nothing is sent before `connect`."""

    async def connect(self, domain: str) -> None:
        """Connect to a dataplane; an error means that it is tried again soon."""

    def disconnect(self, domain: str) -> None:
        """The agent is dead, or the connection is lost: nothing that was asked over it is answered any more."""

    messages = False
    """Whether there is something to plan."""

    all_found = False
    """Whether an agent that starts with other wishes finds what its predecessor made: dumps need not be told of it."""

    def plan(self, faults: Faults, chance: random.Random) -> None:
        """Plan a fault of the messages."""
