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
from collections.abc import Awaitable, Callable

import msgspec

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.records import HOST_LINK, OWN_NODE, REMEMBERED, HostLink
from contivpp_core.agent import Agent
from contivpp_core.cluster import HasStore, encode_node, node_key
from contivpp_core.errors import ContivError
from contivpp_core.faults import FAULT, Fault
from contivpp_core.kubernetes import NODE, NODE_SETTINGS, NodeSettings
from contivpp_core.ledger import LedgerWrite
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, NODE_CONFIG, ClusterNode, NodeClaim, NodeConfig
from contivpp_core.state import Put, Ready, Write

__all__ = ["Registry", "first_id", "first_link", "planned_records"]

log = logging.getLogger(__name__)

SPACE = "contiv.node"
NODE_ID, LINK_KIND, SETTINGS = "id", "host-link", "settings"
_OF_OTHERS = (NODE.name, NODE_SETTINGS.name, CLUSTER_NODE.name, NODE_CLAIM.name)
"""Tables that another plugin fills; where none does, they are complete as they are."""
MIRROR_SECONDS = 5.0
"""How long the store's mirror may take to tell what was published, before it is published again."""
FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS = 0.2, 10.0


def first_id(agent: Agent, config: ContivConfig) -> int | None:
    """Return the node's ID at a start; None where only the cluster's store can give one."""
    stored = agent.ledger.get(SPACE, NODE_ID)
    alone = None if _in_cluster(agent) else 1  # nobody could give another
    return config.node_id or (int(stored) if stored else alone)


def first_link(agent: Agent, config: ContivConfig) -> str:
    """Return how VPP and the host are linked at a start; "" where that is not known before VPP answers."""
    if config.host_interconnect != "auto":
        return config.host_interconnect
    return (agent.ledger.get(SPACE, LINK_KIND) or b"").decode()


def planned_records(agent: Agent, config: ContivConfig) -> list[Write]:
    """Return what a start with a configuration would write of the node; what it could not know stays as it is."""
    writes: list[Write] = []
    if node_id := first_id(agent, config):
        writes.append(Put(NODE_CONFIG.name, NodeConfig(name=agent.node_name, node_id=node_id)))
    if kind := first_link(agent, config):
        writes.append(Put(HOST_LINK.name, _host_link(agent, kind)))
    return writes


def _host_link(agent: Agent, kind: str) -> HostLink:
    return HostLink(name=agent.node_name, kind="tap" if kind == "tap" else "veth")


def _in_cluster(agent: Agent) -> bool:
    try:
        agent.plugin("datastore")
    except ContivError:  # a node by itself
        return False
    return True


HOST_LINK_CONDITION = "contiv host link"


class Registry:
    """Watches the state after each write, for the ID and for what is to be published."""

    def __init__(self, agent: Agent, config: ContivConfig) -> None:
        self._agent = agent
        self._config = config
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._unlisten: Callable[[], None] = lambda: None
        self._told: dict[str, str] = {}  # faults that were logged
        self._vpp_changed = asyncio.Event()
        self._remembered: bytes | None = None

    # --- life

    async def start(self) -> None:
        """Take over what is known, and begin to watch."""
        agent = self._agent
        unsourced = [table for table in _OF_OTHERS if not agent.sourced(table)]
        await agent.controller.write("nobody tells", [Ready(table) for table in unsourced])
        await self._recall()
        await self._become(first_id(agent, self._config))
        if kind := first_link(agent, self._config):
            await self._link(kind)
        else:
            agent.set_condition(HOST_LINK_CONDITION, False, "is not chosen yet: VPP has to show what it can make")
        self._unlisten = agent.controller.listen(self._wake.set)
        self._spawn(self._whenever(self._wake, self._follow, "contiv registry"), "contiv registry")
        self._spawn(self._whenever(self._vpp_changed, self._choose, HOST_LINK_CONDITION), HOST_LINK_CONDITION)
        if _in_cluster(agent):
            self._spawn(self._publish(), "contiv publisher")

    async def stop(self) -> None:
        """End; what was published stays."""
        self._unlisten()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _spawn(self, work: asyncio._CoroutineLike[None], name: str) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work, name=name))

    async def _whenever(self, event: asyncio.Event, work: Callable[[], Awaitable[None]], condition: str) -> None:
        """Do some work after each event, again and again until it succeeds; the condition says why it does not."""
        attempt = 0
        while True:
            await event.wait()
            event.clear()
            try:
                await work()
            except Exception as error:  # VPP went again, or the disk is full: whatever it is, it may pass
                self._agent.set_condition(condition, False, f"is tried again: {str(error) or type(error).__name__}")
                await self._pause(attempt)
                attempt += 1
                event.set()
                continue
            self._agent.set_condition(condition, True)
            attempt = 0

    async def _pause(self, attempt: int) -> None:
        delay = min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(attempt, 10))
        await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _put(self, own: ClusterNode) -> None:
        """Store this node; the plugin that has the store may have started after this one."""
        plugin = self._agent.plugin("datastore")
        assert isinstance(plugin, HasStore)
        await plugin.store.put(node_key(own.name), encode_node(own))

    # --- who this node is

    async def _become(self, node_id: int | None) -> None:
        writes: list[Put | Ready] = []
        if node_id is not None:
            writes.append(Put(NODE_CONFIG.name, NodeConfig(name=self._agent.node_name, node_id=node_id)))
        self._agent.set_condition("contiv node ID", node_id is not None, "the cluster's store has not given one yet")
        await self._agent.controller.write("node ID", [*writes, Ready(NODE_CONFIG.name)])

    async def _recall(self) -> None:
        """Take the operator's settings as they were known last: who starts without its store goes on as it was."""
        self._remembered = self._agent.ledger.get(SPACE, SETTINGS)
        writes: list[Write] = [Ready(REMEMBERED.name)]
        if self._remembered is not None:
            writes.append(Put(REMEMBERED.name, msgspec.json.decode(self._remembered, type=NodeSettings)))
        await self._agent.controller.write("settings of the ledger", writes)

    async def _remember(self) -> None:
        name, table = self._agent.node_name, self._agent.state.table(NODE_SETTINGS.name)
        settings = table.get(name) or NodeSettings(name=name)
        value = msgspec.json.encode(settings)
        if table.ready and value != self._remembered:
            await self._agent.ledger.commit(LedgerWrite(SPACE, SETTINGS, value))
            self._remembered = value

    async def _follow(self) -> None:
        """Take note of what a write has changed."""
        self._tell_faults()
        await self._claimed()
        await self._remember()

    async def _claimed(self) -> None:
        """Take the ID that the node has claimed. An ID that is in use is kept: pods' addresses follow from it."""
        agent = self._agent
        known: NodeConfig | None = agent.state.get(NODE_CONFIG.name, agent.node_name)
        if known is None:
            claims: tuple[NodeClaim, ...] = agent.state.table(NODE_CLAIM.name).where("name", agent.node_name)
            if claims:
                node_id = min(claim.node_id for claim in claims)
                await agent.ledger.commit(LedgerWrite(SPACE, NODE_ID, str(node_id).encode()))
                await self._become(node_id)
            return
        holder = self._holder(known)
        reason = f"this node has ID {known.node_id}, which the cluster's store says is node {holder}'s: give the ID "
        reason += "back there, or drain this node, remove its state folder and restart the agent"
        agent.set_condition("contiv node ID", not holder, reason)

    def _holder(self, known: NodeConfig) -> str:
        """Return who else has claimed this node's ID, or ""."""
        claim: NodeClaim | None = self._agent.state.get(NODE_CLAIM.name, str(known.node_id))
        return "" if claim is None or claim.name == self._agent.node_name else claim.name

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

    def choose_host_link(self) -> None:
        """VPP may be another one: choose how it and the host are linked; until it answers, that stays as it was."""
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
        link = _host_link(self._agent, kind)
        await self._agent.controller.write("link to the host", [Put(HOST_LINK.name, link), Ready(HOST_LINK.name)])

    # --- what the others are told

    async def _publish(self) -> None:
        """Keep this node's key in the store as the node is; the store's mirror tells what it holds."""
        changed = asyncio.Event()
        changed.set()
        unlisten = self._agent.controller.listen(changed.set)
        attempt = 0
        try:
            while True:
                await changed.wait()
                changed.clear()
                own = self._unpublished()
                if own is None:
                    continue
                try:
                    await self._put(own)
                except ContivError as error:
                    if not attempt:
                        log.warning("the node's addresses cannot be published yet", extra={"error": str(error)})
                    await self._pause(attempt)
                    attempt += 1
                    changed.set()
                    continue
                attempt = 0
                log.info("this node's addresses are published", extra={"addresses": own.vpp_addresses})
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(MIRROR_SECONDS):
                        while self._unpublished() == own:
                            await changed.wait()
                            changed.clear()
                changed.set()
        finally:
            unlisten()

    def _unpublished(self) -> ClusterNode | None:
        """Return this node as it is to be published, or None where nothing is to be done."""
        state, name = self._agent.state, self._agent.node_name
        own: ClusterNode | None = state.get(OWN_NODE.name, name)
        config: NodeConfig | None = state.get(NODE_CONFIG.name, name)
        if own is None or config is None or self._holder(config) or not self._agent.engine.table_ready(OWN_NODE.name):
            return None
        return None if state.get(CLUSTER_NODE.name, name) == own else own
