# SPDX-License-Identifier: Apache-2.0
"""An agent's tables from the API server itself, without a store of the cluster.

Each kind is a condition of the agent's readiness, `ksr Pod` and so on. One that is lost changes nothing: the last
records stand, and the condition says since when nobody tells more.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from contivpp_core.agent import Agent
from contivpp_core.kubernetes import NODE
from contivpp_core.node import NODE_CLAIM
from contivpp_ksr.access import Access
from contivpp_ksr.annotations import Annotator, NodePublisher
from contivpp_ksr.claims import ClaimSink, KubernetesIdBook, book_resource
from contivpp_ksr.client import ApiClient
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.process import pace_of
from contivpp_ksr.reflector import Reflector
from contivpp_ksr.resources import RESOURCES
from contivpp_ksr.sink import Sink
from contivpp_ksr.status import standing_of
from contivpp_ksr.table_sink import TableSink

__all__ = ["AgentSource"]


class AgentSource:
    """Reflectors into an agent's tables, the book of node IDs, and what the node tells of itself."""

    def __init__(self, agent: Agent, config: KsrConfig, access: Access) -> None:
        self._agent = agent
        self.client = ApiClient(access)
        self.book = KubernetesIdBook(self.client, config.namespace)
        self.publisher = NodePublisher(self.client)
        # The plugin datastore tells of nodes whoever fills the table: it may be there for the local mirror alone.
        self.tables = TableSink(agent, tells="datastore" not in {entry.name for entry in agent.hooks.plugins})
        wanted: dict[str, tuple[Any, Sink]] = {kind: (resource, self.tables) for kind, resource in RESOURCES.items()}
        wanted["NodeIds"] = (book_resource(config.namespace), ClaimSink(self.tables))
        self.reflectors = {
            kind: Reflector(self.client, resource, sink, pace=pace_of(config), seed=agent.node_name, tell=self._tell)
            for kind, (resource, sink) in wanted.items()
        }
        self._annotator = Annotator(
            self.client,
            lambda: {node.name: node.node_id for node in agent.state.table(NODE.name).unordered()},
            lambda: agent.state.table(NODE_CLAIM.name).unordered(),
            mine=lambda: (agent.node_name,),
        )
        self._told: tuple[object, ...] = ()
        self._unlisten: Callable[[], None] = lambda: None

    def works(self) -> dict[str, Coroutine[Any, Any, None]]:
        """Return what is to run, by name."""
        for reflector in self.reflectors.values():
            self._tell(reflector)
        self._unlisten = self._agent.controller.listen(self._changed)
        return {
            "tables": self.tables.run(),
            "annotation": self._annotator.run(),
            **{kind: reflector.run() for kind, reflector in self.reflectors.items()},
        }

    async def close(self) -> None:
        """Close the connections."""
        self._unlisten()
        await self.client.close()

    def standing(self) -> dict[str, Any]:
        """Return how each kind stands."""
        return {kind: standing_of(reflector) for kind, reflector in self.reflectors.items()}

    def _changed(self) -> None:
        """Look after the own annotation when what it depends on is another."""
        state, name = self._agent.state, self._agent.node_name
        found = (state.get(NODE.name, name), *state.table(NODE_CLAIM.name).where("name", name))
        if found != self._told:
            self._told = found
            self._annotator.touch()

    def _tell(self, reflector: Reflector) -> None:
        standing = reflector.standing
        kept = "; what is known stays in force" if standing.listed else ""
        self._agent.set_condition(
            f"ksr {reflector.resource.kind}", standing.connected, f"is not watched: {standing.reason}{kept}"
        )
