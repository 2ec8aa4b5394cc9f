# SPDX-License-Identifier: Apache-2.0
"""Nodes: telling plugins who joined, changed and left; and the records of nodes whose keys the store has lost."""

from __future__ import annotations

from contivpp_core.agent import Agent
from contivpp_core.events import NodeChanged, NodeJoined, NodeLeft
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, ClusterNode
from contivpp_core.state import Change, Delete, State, Write

__all__ = ["NODE_TABLES", "Absent", "NodeEvents"]

Places = set[tuple[str, str]]
NODE_TABLES = (CLUSTER_NODE.name, NODE_CLAIM.name)


class NodeEvents:
    """Tells what happens to nodes, whoever fills the table of them."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.stop = agent.controller.follow(self._follow)
        """Ends it."""

    def _follow(self, changes: list[Change], flips: list[str]) -> None:
        emit = self._agent.hooks.emit
        nodes = [change for change in changes if change.table == CLUSTER_NODE.name]
        for change in sorted(nodes, key=lambda change: change.key):
            old: ClusterNode | None = change.old
            new: ClusterNode | None = change.new
            if new is None and old is not None:
                emit("node_left", NodeLeft(name=change.key, node_id=old.node_id))
            elif new is not None and old is None:
                emit("node_joined", NodeJoined(name=change.key, node_id=new.node_id))
            elif new is not None:
                emit("node_changed", NodeChanged(name=change.key, node_id=new.node_id))


class Absent:
    """Records of nodes whose key is not in the store, and which stand: see `contivpp_datastore.trust`.

    Those of the agent's own node `own` never do: the agent must learn that they are gone, to write them again.
    """

    def __init__(self, state: State, own: str) -> None:
        self._state = state
        self._own = own
        self._places: Places = set()

    def __bool__(self) -> bool:
        return bool(self._places)

    def may_be_absent(self, table: str) -> bool:
        """Tell whether nodes write a table's keys themselves."""
        return table in NODE_TABLES

    def is_own(self, place: tuple[str, str]) -> bool:
        """Tell whether a record is of this agent's own node."""
        table, key = place
        return table in NODE_TABLES and (record := self._state.get(table, key)) is not None and record.name == self._own

    def add(self, place: tuple[str, str]) -> None:
        """A key is gone, and nobody vouches for that."""
        if place[0] in NODE_TABLES:
            self._places.add(place)

    def discard(self, place: tuple[str, str]) -> None:
        """A key is back, or gone for good."""
        self._places.discard(place)

    def listed(self, missing: Places) -> None:
        """Take the places that a listing has not."""
        self._places = {place for place in missing if place[0] in NODE_TABLES}

    def gone(self, nodes: set[str]) -> list[Write]:
        """Return the deletions of records whose node is not one of `nodes`, or has claimed another ID."""
        writes: list[Write] = []
        for table, key in sorted(self._places):
            record = self._state.get(table, key)
            if record is None or record.name not in nodes or self._superseded(table, key, record.name):
                writes.append(Delete(table, key))
                self._places.discard((table, key))
        return writes

    def _superseded(self, table: str, key: str, node: str) -> bool:
        if table != NODE_CLAIM.name:
            return False
        claims = self._state.table(table).where("name", node)
        return any((table, str(claim.node_id)) not in self._places for claim in claims)
