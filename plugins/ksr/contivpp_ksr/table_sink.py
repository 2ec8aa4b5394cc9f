# SPDX-License-Identifier: Apache-2.0
"""Into an agent's tables: the sink of the mode without a store of the cluster.

What arrives while a write is being rendered is one batch afterwards, and only the newest of each key is in it. A full
list is compared with the table when the write's turn comes. A Node object is two records: `Node`, and the `ClusterNode`
that the node tells of itself on it. Claims of node IDs come from one ConfigMap (`contivpp_ksr.claims`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from contivpp_core.agent import Agent
from contivpp_core.cluster import MalformedValue
from contivpp_core.events import NodeChanged, NodeJoined, NodeLeft
from contivpp_core.kubernetes import NODE, Node
from contivpp_core.node import CLUSTER_NODE, ClusterNode
from contivpp_core.published import cluster_node
from contivpp_core.records import AnyTable, Record
from contivpp_core.state import Delete, Put, Ready, Write
from contivpp_ksr.resources import Resource
from contivpp_ksr.sink import Change

__all__ = ["TableSink"]

log = logging.getLogger(__name__)


@dataclass
class _Pending:
    """What is to be written to one table: a full list, perhaps, and changes since."""

    full: Mapping[str, Any] | None = None
    kept: AbstractSet[str] = frozenset()
    changes: dict[str, Any] = field(default_factory=dict)


class TableSink:
    """Writes to the tables of the resources' kinds, and to `ClusterNode`. `tells`: it tells plugins of nodes, because
    no other plugin does.
    """

    def __init__(self, agent: Agent, *, tells: bool = True) -> None:
        self._agent = agent
        self._tells = tells
        self._pending: dict[str, _Pending] = {}
        self._written = asyncio.Event()  # when what is pending now is in the tables
        self._wake = asyncio.Event()
        self._told: dict[str, str] = {}

    async def run(self) -> None:
        """Write for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            pending, self._pending = self._pending, {}
            written, self._written = self._written, asyncio.Event()
            try:
                await self._write(pending)
            except Exception:
                log.exception("what the API server told cannot be written: %s", ", ".join(sorted(pending)))
            written.set()

    # --- taking

    async def replace(self, resource: Resource, records: Mapping[str, Record], kept: AbstractSet[str]) -> None:
        """Take a full list, and return when the tables have it."""
        self.fill(resource.table, records, kept)
        if resource.table is NODE:
            known = self._agent.state.table(CLUSTER_NODE.name)
            nodes = {name: self._cluster_node(node, known.get(name)) for name, node in records.items()}
            self.fill(CLUSTER_NODE, {name: node for name, node in nodes.items() if node is not None}, kept)
        await self._written.wait()

    def apply(self, resource: Resource, changes: Sequence[Change]) -> None:
        """Take changes."""
        table = self._pending.setdefault(resource.table.name, _Pending())
        for key, record in changes:
            table.changes[key] = record
            if resource.table is NODE:
                self._change_node(key, record)
        self._wake.set()

    def fill(self, table: AnyTable, records: Mapping[str, Record], kept: AbstractSet[str] = frozenset()) -> None:
        """Take all records that a table is to have."""
        self._pending[table.name] = _Pending(dict(records), kept)
        self._wake.set()

    def _change_node(self, name: str, record: Any) -> None:
        pending = self._pending.setdefault(CLUSTER_NODE.name, _Pending())
        known = pending.changes.get(name) or self._agent.state.get(CLUSTER_NODE.name, name)
        pending.changes[name] = None if record is None else self._cluster_node(record, known)

    def _cluster_node(self, node: Any, known: ClusterNode | None) -> ClusterNode | None:
        """Return what a node tells of itself; what cannot be read leaves what is known."""
        assert isinstance(node, Node)
        try:
            found = cluster_node(node)
        except MalformedValue as error:
            if self._told.get(node.name) != node.published:
                log.error("a node's addresses cannot be read", extra={"reason": str(error)})
            self._told[node.name] = node.published
            return known
        self._told.pop(node.name, None)
        return found

    # --- writing

    async def _write(self, pending: Mapping[str, _Pending]) -> None:
        cause = f"Kubernetes: {', '.join(sorted(pending))}"
        tell = self._nodes(pending.get(CLUSTER_NODE.name))
        await self._agent.controller.write(cause, lambda: self._writes(pending))
        for one in tell:
            one()

    def _writes(self, pending: Mapping[str, _Pending]) -> Iterable[Write]:
        for name, wanted in pending.items():
            rows = self._agent.state.table(name)
            if wanted.full is not None:
                yield from (Put(name, record) for key, record in wanted.full.items() if rows.get(key) != record)
                gone = [key for key in rows if key not in wanted.full and key not in wanted.kept]
                yield from (Delete(name, key) for key in gone)
                yield Ready(name)
            for key, record in wanted.changes.items():
                yield Delete(name, key) if record is None else Put(name, record)

    def _nodes(self, pending: _Pending | None) -> list[Callable[[], None]]:
        """Return what tells plugins which nodes came, changed and went, once that is written."""
        if pending is None or not self._tells:
            return []
        rows = self._agent.state.table(CLUSTER_NODE.name)
        names = {*pending.changes, *(pending.full or ()), *(rows if pending.full is not None else ())}
        before: dict[str, ClusterNode | None] = {name: rows.get(name) for name in sorted(names)}

        def tell(name: str, old: ClusterNode | None) -> None:
            new: ClusterNode | None = rows.get(name)
            emit = self._agent.hooks.emit
            if old is None and new is not None:
                emit("node_joined", NodeJoined(name=name, node_id=new.node_id))
            elif old is not None and new is None:
                emit("node_left", NodeLeft(name=name, node_id=old.node_id))
            elif old is not None and new is not None and old != new:
                emit("node_changed", NodeChanged(name=name, node_id=new.node_id))

        return [lambda name=name, old=old: tell(name, old) for name, old in before.items()]  # type: ignore[misc]
