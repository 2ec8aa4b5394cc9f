# SPDX-License-Identifier: Apache-2.0
"""The operator's settings, over a restart without the store."""

from __future__ import annotations

from contivpp_contiv.records import TABLES
from contivpp_contiv.remembered import RememberedSettings
from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.kubernetes import NODE_SETTINGS, NodeSettings
from contivpp_core.ledger import Ledger
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import AnyTable
from contivpp_core.state import Delete, Put, Ready, Write


class Settings(Plugin):
    """An agent with nothing but its settings."""

    name = "settings"

    @hookimpl
    def tables(self) -> list[AnyTable]:
        return list(TABLES)

    async def start(self, agent: Agent) -> None:
        self.remembered = RememberedSettings(agent)
        await self.remembered.start()

    async def stop(self) -> None:
        await self.remembered.stop()


async def life(ledger: Ledger, *writes: Write) -> NodeSettings | None:
    """Start an agent, let the store tell something, and stop; return what it remembered at its start."""
    config = {"nodeName": "n1", "plugins": ["settings"]}
    agent = Agent(config, [Settings()], ledger=ledger, ledger_path=None, serve=False)
    await agent.start()
    found: NodeSettings | None = agent.state.get("RememberedSettings", "n1")
    await agent.controller.write("store", writes)
    await agent.clock.sleep(1)
    await agent.stop()
    return found


def test_settings_are_remembered_when_they_are_known_for_certain():
    async def main() -> None:
        ledger = Ledger.open(None)
        ready = Ready(NODE_SETTINGS.name)
        given = NodeSettings(name="n1", gateway="192.168.16.100")
        assert await life(ledger, Put(NODE_SETTINGS.name, given)) is None
        assert await life(ledger, Put(NODE_SETTINGS.name, given), Ready(NODE_SETTINGS.name, stale=True)) is None
        assert await life(ledger, Put(NODE_SETTINGS.name, given), ready) is None
        assert await life(ledger) == given
        assert await life(ledger, Delete(NODE_SETTINGS.name, "n1"), ready) == given
        assert await life(ledger) == NodeSettings(name="n1")  # known to have none

    run_simulated(main())
