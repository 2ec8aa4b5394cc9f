# SPDX-License-Identifier: Apache-2.0
"""Who this node is, and what it tells the others.

The node's ID is the configuration's, or the one that the cluster's store says the node has claimed; it is kept in the
ledger, so that a node without its store goes on as who it was. Its addresses follow (`contivpp_contiv.node`); the
registry publishes them in the store, again and again until the store has them, and never when it has them already.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable

import msgspec

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import HOST_LINK, OWN_NODE, HostLink
from contivpp_core.agent import Agent
from contivpp_core.cluster import HasStore, encode_node, node_key
from contivpp_core.errors import ContivError
from contivpp_core.faults import FAULT, Fault
from contivpp_core.kubernetes import NODE, NODE_SETTINGS, NodeSettings
from contivpp_core.kvstore import KVStore, KVStoreError
from contivpp_core.ledger import LedgerWrite
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, NODE_CONFIG, ClusterNode, NodeClaim, NodeConfig
from contivpp_core.state import Put, Ready, Write

__all__ = ["Registry"]

log = logging.getLogger(__name__)

SPACE = "contiv.node"
NODE_ID, LINK_KIND, SETTINGS = "id", "host-link", "settings"
_OF_OTHERS = (NODE.name, NODE_SETTINGS.name, CLUSTER_NODE.name, NODE_CLAIM.name)
"""Tables that another plugin fills; where none does, they are complete as they are."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 10.0


class Registry:
    """Watches the state after each write, for the ID and for what is to be published."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._config = config
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unlisten: Callable[[], None] = lambda: None
        self._told: dict[str, str] = {}  # faults that were logged
        self._published: bytes | None = None
        self._remembered: bytes | None = None

    # --- life

    async def start(self) -> None:
        """Take over what is known, and begin to watch."""
        ledger = self._agent.ledger
        unsourced = [table for table in _OF_OTHERS if not self._agent.sourced(table)]
        await self._agent.controller.write("nobody tells", [Ready(table) for table in unsourced])
        store, stored = self._store(), ledger.get(SPACE, NODE_ID)
        alone = 1 if store is None else None  # nobody could give another
        await self._recall()
        await self._become(self._config.node_id or (int(stored) if stored else alone))
        if kind := ledger.get(SPACE, LINK_KIND):
            await self._link(kind.decode())
        self._unlisten = self._agent.controller.listen(self._wake.set)
        self._spawn(self._follow(), "contiv registry")
        if store is not None:
            self._spawn(self._publish(store), "contiv publisher")

    async def stop(self) -> None:
        """End; what was published stays."""
        self._unlisten()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: asyncio._CoroutineLike[None], name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    def _store(self) -> KVStore | None:
        try:
            plugin = self._agent.plugin("datastore")
        except ContivError:  # a node by itself
            return None
        return plugin.store if isinstance(plugin, HasStore) else None

    # --- who this node is

    async def _become(self, node_id: int | None) -> None:
        writes: list[Put | Ready] = []
        if node_id is not None:
            writes.append(Put(NODE_CONFIG.name, NodeConfig(name=self._agent.node_name, node_id=node_id)))
        self._agent.set_condition("contiv node ID", node_id is not None, "the cluster's store has not given one yet")
        await self._agent.controller.write("node ID", [*writes, Ready(NODE_CONFIG.name)])

    async def _recall(self) -> None:
        """Take the operator's settings as they were known last: who starts without its store goes on as it was."""
        table = self._agent.state.table(NODE_SETTINGS.name)
        self._remembered = self._agent.ledger.get(SPACE, SETTINGS)
        if self._remembered is not None and not table.ready:
            settings = msgspec.json.decode(self._remembered, type=NodeSettings)
            writes: list[Write] = [Put(NODE_SETTINGS.name, settings), Ready(NODE_SETTINGS.name)]
            await self._agent.controller.write("settings of the ledger", writes)

    async def _remember(self) -> None:
        name, table = self._agent.node_name, self._agent.state.table(NODE_SETTINGS.name)
        value = msgspec.json.encode(table.get(name) or NodeSettings(name=name))
        if table.ready and value != self._remembered:
            await self._agent.ledger.commit(LedgerWrite(SPACE, SETTINGS, value))
            self._remembered = value

    async def _follow(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._tell_faults()
            await self._remember()
            await self._claimed()

    async def _claimed(self) -> None:
        """Take the ID that the node has claimed. An ID that is in use is kept: pods' addresses follow from it."""
        agent = self._agent
        claims: tuple[NodeClaim, ...] = agent.state.table(NODE_CLAIM.name).where("name", agent.node_name)
        known: NodeConfig | None = agent.state.get(NODE_CONFIG.name, agent.node_name)
        if not claims or self._config.node_id is not None:
            return
        node_id = min(claim.node_id for claim in claims)
        if known is None:
            await agent.ledger.commit(LedgerWrite(SPACE, NODE_ID, str(node_id).encode()))
            await self._become(node_id)
        elif all(claim.node_id != known.node_id for claim in claims):
            reason = f"this node has ID {known.node_id}, and the cluster's store says {node_id}: drain the node, then"
            agent.set_condition("contiv node ID", False, f"{reason} remove its state folder and restart the agent")

    def _tell_faults(self) -> None:
        faults: list[Fault] = self._agent.state.table(FAULT.name).records()
        now = {fault.subject: fault.reason for fault in faults}
        for subject, reason in now.items():
            if self._told.get(subject) != reason:
                log.warning("%s %s", subject, reason)
        for subject in self._told.keys() - now.keys():
            log.info("%s is as it should be", subject)
        self._told = now

    # --- the link to the host

    async def choose_host_link(self) -> None:
        """Choose how VPP and the host are linked, by what this VPP can make; until VPP answers, it stays as it was."""
        kind = self._config.host_interconnect
        if kind == "auto":
            support = await self._agent.plugin("vpp").tap_support()  # type: ignore[attr-defined]
            kind = "tap" if support.usable else "veth"
        await self._agent.ledger.commit(LedgerWrite(SPACE, LINK_KIND, kind.encode()))
        await self._link(kind)

    async def _link(self, kind: str) -> None:
        link = HostLink(name=self._agent.node_name, kind="tap" if kind == "tap" else "veth")
        await self._agent.controller.write("link to the host", [Put(HOST_LINK.name, link), Ready(HOST_LINK.name)])

    # --- what the others are told

    async def _publish(self, store: KVStore) -> None:
        """Keep this node's key in the store as the node is."""
        changed = asyncio.Event()
        changed.set()
        unlisten = self._agent.controller.listen(changed.set)
        try:
            while True:
                await changed.wait()
                changed.clear()
                own: ClusterNode | None = self._agent.state.get(OWN_NODE.name, self._agent.node_name)
                known = self._agent.engine.table_ready(OWN_NODE.name)
                if known and own is not None and encode_node(own) != self._published:
                    await self._put(store, own)
        finally:
            unlisten()

    async def _put(self, store: KVStore, own: ClusterNode) -> None:
        value, attempt = encode_node(own), 0
        while True:
            try:
                found = await store.get(node_key(own.name))
                if found is None or found.value != value:
                    await store.put(node_key(own.name), value)
                break
            except KVStoreError as error:
                if not attempt:
                    log.warning("the node's addresses cannot be published yet", extra={"error": str(error)})
                delay = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2**attempt)
                attempt = min(attempt + 1, 10)
                with contextlib.suppress(TimeoutError):
                    await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                if self._agent.state.get(OWN_NODE.name, own.name) != own:
                    return  # there is something newer to tell
        self._published = value
        log.info("this node's addresses are published", extra={"addresses": own.vpp_addresses})
