# SPDX-License-Identifier: Apache-2.0
"""Nodes that are nothing but agents with an ID: for tests of clusters of many."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from contivpp_contiv.config import ContivConfig
from contivpp_contiv.contest import ContestRenderer
from contivpp_contiv.identity import CONDITION, Identity
from contivpp_contiv.records import PODS, TABLES
from contivpp_core.agent import Agent
from contivpp_core.cluster import node_key, object_key
from contivpp_core.kvstore import KVStore
from contivpp_core.ledger import Ledger, LedgerWrite
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import AnyTable
from contivpp_core.renderers import Renderer
from contivpp_datastore.plugin import DatastorePlugin

PATIENCE = 60.0


class MemberPlugin(Plugin):
    """The part of the contiv plugin that claims the ID."""

    name = "contiv"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.config = ContivConfig.model_validate(dict(settings))
        self.identity: Identity

    @hookimpl
    def tables(self) -> list[AnyTable]:
        return list(TABLES)

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        return [ContestRenderer(configured=self.config.node_id is not None)]

    async def start(self, agent: Agent) -> None:
        self.identity = Identity(agent, self.config, changed=lambda: None)
        await self.identity.start()

    async def stop(self) -> None:
        await self.identity.stop()


class Member:
    """A node; its ledger outlives its agents."""

    def __init__(self, name: str, store: KVStore, *, reflected: bool = False, **settings: Any) -> None:
        self.name = name
        self.reflected = reflected
        self.ledger = Ledger.open(None)
        self.settings = settings
        self._store = store
        self.agent: Agent | None = None
        self.plugin = MemberPlugin({})

    async def start(self) -> None:
        self.plugin = MemberPlugin(self.settings)
        config = {
            "nodeName": self.name,
            "plugins": ["datastore", "contiv"],
            "datastore": {"reflected": self.reflected, "localMirror": False},
        }
        plugins = [DatastorePlugin(self._store), self.plugin]
        self.agent = Agent(config, plugins, ledger=self.ledger, ledger_path=None, serve=False)
        await self.agent.start()

    async def stop(self) -> None:
        if self.agent is not None:
            await self.agent.stop()
            self.agent = None

    async def register(self, node_id: int = 0) -> None:
        """Write the Node object, as kubelet and mirror do; with the annotation, if there is one."""
        annotations = {"contivpp.io/node-id": str(node_id)} if node_id else {}
        found = {"metadata": {"name": self.name, "annotations": annotations}}
        await self._store.put(object_key("Node", "", self.name), json.dumps(found).encode())

    async def unregister(self) -> None:
        await self._store.delete(object_key("Node", "", self.name))

    async def add_pod(self) -> None:
        await self.ledger.commit(LedgerWrite(PODS, "c/eth0", b"{}"))

    async def end_pod(self) -> None:
        await self.ledger.commit(LedgerWrite(PODS, "c/eth0", None))

    async def has_published(self) -> bool:
        return await self._store.get(node_key(self.name)) is not None

    @property
    def node_id(self) -> int:
        """The ID in use; 0: none."""
        assert self.agent is not None
        found = self.agent.state.get("NodeConfig", self.name)
        return found.node_id if found is not None else 0

    @property
    def reason(self) -> str:
        """What is wrong with the ID, or ""."""
        assert self.agent is not None
        return self.agent.conditions[CONDITION].reason

    @property
    def held(self) -> bool:
        return self.plugin.identity.held


async def until(true: Callable[[], bool] | Callable[[], Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if found if isinstance(found, bool) else await found:
                return
            await asyncio.sleep(0.05)


async def all_hold(members: list[Member], seconds: float = PATIENCE) -> list[int]:
    """Wait until all have an ID for certain; return them."""
    await until(lambda: all(member.held for member in members), seconds)
    return [member.node_id for member in members]
