# SPDX-License-Identifier: Apache-2.0
"""How VPP and the host are linked: chosen once VPP answers, and kept in the ledger."""

from __future__ import annotations

import asyncio

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import HOST_LINK, HostLink
from contivpp_contiv.repeat import whenever
from contivpp_core.agent import Agent
from contivpp_core.ledger import LedgerWrite
from contivpp_core.state import Put, Ready
from contivpp_core.tasks import end

__all__ = ["CONDITION", "HostLinkChoice", "first_link", "host_link"]

SPACE, LINK_KIND = "contiv.node", "host-link"
CONDITION = "contiv host link"


def first_link(agent: Agent, config: ContivConfig) -> str:
    """Return how VPP and the host are linked at a start; "" where that is not known before VPP answers."""
    if config.host_interconnect != "auto":
        return config.host_interconnect
    return (agent.ledger.get(SPACE, LINK_KIND) or b"").decode()


def host_link(agent: Agent, kind: str) -> HostLink:
    """Return the record of a kind of link."""
    return HostLink(name=agent.node_name, kind="tap" if kind == "tap" else "veth")


class HostLinkChoice:
    """Makes the choice, again for each VPP."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._config = config
        self._vpp_changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Take over what is known."""
        if kind := first_link(self._agent, self._config):
            await self._link(kind)
        else:
            self._agent.set_condition(CONDITION, False, "is not chosen yet: VPP has to show what it can make")
        choosing = whenever(self._agent, self._vpp_changed, self._choose, CONDITION)
        self._task = asyncio.get_running_loop().create_task(choosing, name=CONDITION)

    async def stop(self) -> None:
        """End; the link stays."""
        await end(self._task)

    def choose(self) -> None:
        """VPP may be another one: choose anew; until it answers, the link stays as it was."""
        self._vpp_changed.set()

    async def _choose(self) -> None:
        kind = self._config.host_interconnect
        if kind == "auto":
            support = await self._agent.plugin("vpp").tap_support()  # type: ignore[attr-defined]
            kind = "tap" if support.usable else "veth"
        if self._agent.ledger.get(SPACE, LINK_KIND) != kind.encode():
            await self._agent.ledger.commit(LedgerWrite(SPACE, LINK_KIND, kind.encode()))
        await self._link(kind)

    async def _link(self, kind: str) -> None:
        link = host_link(self._agent, kind)
        await self._agent.controller.write("link to the host", [Put(HOST_LINK.name, link), Ready(HOST_LINK.name)])
