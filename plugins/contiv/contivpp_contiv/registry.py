# SPDX-License-Identifier: Apache-2.0
"""Who this node is, how it is linked with its host, and what it tells the others: the parts, put together."""

from __future__ import annotations

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.fault_log import FaultLog
from contivpp_contiv.host_link import HostLinkChoice, first_link, host_link
from contivpp_contiv.identity import Identity, first_id
from contivpp_contiv.publication import Publication
from contivpp_contiv.records import HOST_LINK
from contivpp_contiv.remembered import RememberedSettings
from contivpp_core.agent import Agent
from contivpp_core.kubernetes import NODE, NODE_SETTINGS
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, NODE_CONFIG, NodeConfig
from contivpp_core.state import Put, Ready, Write

__all__ = ["Registry", "planned_records"]

_OF_OTHERS = (NODE.name, NODE_SETTINGS.name, CLUSTER_NODE.name, NODE_CLAIM.name)
"""Tables that another plugin fills; where none does, they are complete as they are."""


def planned_records(agent: Agent, config: ContivConfig) -> list[Write]:
    """Return what a start with a configuration would write of the node; what it could not know stays as it is."""
    writes: list[Write] = []
    if node_id := first_id(agent, config):
        writes.append(Put(NODE_CONFIG.name, NodeConfig(name=agent.node_name, node_id=node_id)))
    if kind := first_link(agent, config):
        writes.append(Put(HOST_LINK.name, host_link(agent, kind)))
    return writes


class Registry:
    """What the agent knows and says of its own node, from the plugin's start to its stop."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._faults = FaultLog(agent)
        self._settings = RememberedSettings(agent)
        self._publication = Publication(agent, allowed=lambda: self._identity.held)
        self._identity = Identity(agent, config, changed=self._publication.look)
        self._link = HostLinkChoice(agent, config)

    async def start(self) -> None:
        """Take over what is known, and begin to watch."""
        agent = self._agent
        unsourced = [table for table in _OF_OTHERS if not agent.sourced(table)]
        await agent.controller.write("nobody tells", [Ready(table) for table in unsourced])
        self._faults.start()
        await self._settings.start()
        await self._identity.start()
        await self._link.start()
        await self._publication.start()

    async def stop(self) -> None:
        """End; what was claimed and published stays."""
        for part in (self._publication, self._link, self._identity, self._settings):
            await part.stop()
        self._faults.stop()

    def choose_host_link(self) -> None:
        """VPP may be another one: choose how it and the host are linked; until it answers, that stays as it was."""
        self._link.choose()
