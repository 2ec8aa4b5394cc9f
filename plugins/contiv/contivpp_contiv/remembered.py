# SPDX-License-Identifier: Apache-2.0
"""The operator's settings of this node as they were known last: who starts without its store goes on as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from contivpp_contiv.records import REMEMBERED
from contivpp_contiv.repeat import whenever
from contivpp_core.agent import Agent
from contivpp_core.kubernetes import NODE_SETTINGS, NodeSettings
from contivpp_core.ledger import LedgerWrite
from contivpp_core.state import Put, Ready, Write
from contivpp_core.tasks import end

__all__ = ["RememberedSettings"]

SPACE, SETTINGS = "contiv.node", "settings"
CONDITION = "contiv settings"


class RememberedSettings:
    """Keeps this node's settings in the ledger."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._stored: bytes | None = None
        self._wake = asyncio.Event()
        self._unlisten: Callable[[], None] = lambda: None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what the ledger knows, and begin to watch."""
        self._stored = self._agent.ledger.get(SPACE, SETTINGS)
        writes: list[Write] = [Ready(REMEMBERED.name)]
        if self._stored is not None:
            writes.append(Put(REMEMBERED.name, msgspec.json.decode(self._stored, type=NodeSettings)))
        await self._agent.controller.write("settings of the ledger", writes)
        self._unlisten = self._agent.controller.listen(self._wake.set)
        keeping = whenever(self._agent, self._wake, self._remember, CONDITION)
        self._task = asyncio.get_running_loop().create_task(keeping, name=CONDITION)

    async def stop(self) -> None:
        """End."""
        self._unlisten()
        await end(self._task)

    async def _remember(self) -> None:
        name, table = self._agent.node_name, self._agent.state.table(NODE_SETTINGS.name)
        settings = table.get(name) or NodeSettings(name=name)
        value = msgspec.json.encode(settings)
        if table.ready and not table.stale and value != self._stored:
            await self._agent.ledger.commit(LedgerWrite(SPACE, SETTINGS, value))
            self._stored = value
