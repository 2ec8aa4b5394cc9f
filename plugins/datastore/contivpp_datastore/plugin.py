# SPDX-License-Identifier: Apache-2.0
"""The datastore plugin: gives access to the cluster's store, and mirrors it into the agent's tables."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

from contivpp_core.agent import Agent
from contivpp_core.api import ApiRoute, Request
from contivpp_core.config import Config, ConfigSection
from contivpp_core.errors import ContivError
from contivpp_core.kvstore import KVStore
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_datastore.config import DatastoreConfig
from contivpp_datastore.embedded.client import EmbeddedStore
from contivpp_datastore.mirror import CONDITION, MalformedEntry, Mirror
from contivpp_datastore.objects import TABLES

__all__ = ["DatastorePlugin", "plugin"]


class DatastorePlugin(Plugin):
    """The cluster's store. A `store` that is handed over is used instead of the configured one, and stays open."""

    name: ClassVar[str] = "datastore"
    sources: ClassVar[tuple[str, ...]] = tuple(table.name for table in TABLES)

    def __init__(self, store: KVStore | None = None) -> None:
        self._store = store
        self._own: EmbeddedStore | None = None
        self._agent: Agent | None = None
        self._mirror: Mirror | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def store(self) -> KVStore:
        """The store, from the plugin's start on."""
        if (store := self._store or self._own) is None:
            raise ContivError("the store is not open yet: use it in 'start', and name 'datastore' in 'requires'")
        return store

    # --- contributions

    @hookimpl
    def config_section(self) -> ConfigSection:
        """Contribute the section `datastore`."""
        return ConfigSection("datastore", DatastoreConfig, unplanned=("driver", "socket"))

    @hookimpl
    def api_routes(self) -> list[ApiRoute]:
        """Contribute a route that tells how far the mirror is, and what it could not read."""
        return [ApiRoute("GET", "/v1/datastore", self._describe, "The store's mirror, and values it cannot read.")]

    @hookimpl
    def cluster_store(self, config: Config) -> AbstractAsyncContextManager[KVStore]:
        """Contribute the store for processes without an agent."""
        return _opened(config.section("datastore", DatastoreConfig))

    # --- life

    async def start(self, agent: Agent) -> None:
        """Begin to mirror; a store that does not answer yet delays nobody's start."""
        if self._store is None:
            self._own = EmbeddedStore(agent.config.section("datastore", DatastoreConfig).socket)
        self._agent = agent
        self._mirror = Mirror(agent, self.store)
        self._task = asyncio.create_task(self._mirror.run(), name="mirror of the store")

    async def stop(self) -> None:
        """Stop mirroring and close the store; the tables stay as they are."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        if self._own is not None:
            await self._own.close()
            self._own = None

    # --- what others ask

    async def caught_up(self, revision: int) -> None:
        """Wait until the tables hold everything of the store up to a revision."""
        await self._running().caught_up(revision)

    def malformed(self) -> list[MalformedEntry]:
        """Return the values of the store that cannot be read, by key."""
        return self._running().malformed()

    def _running(self) -> Mirror:
        if self._mirror is None:
            raise ContivError("the store is not mirrored yet: the plugin datastore has not started")
        return self._mirror

    def _describe(self, request: Request) -> dict[str, object]:
        mirror = self._running()
        assert self._agent is not None
        condition = self._agent.conditions[CONDITION]
        return {
            "revision": mirror.revision,
            "connected": condition.ok,
            "reason": condition.reason,
            "malformed": mirror.malformed(),
        }


@asynccontextmanager
async def _opened(config: DatastoreConfig) -> AsyncIterator[KVStore]:
    store = EmbeddedStore(config.socket)
    try:
        yield store
    finally:
        await store.close()


def plugin() -> DatastorePlugin:
    """Return the plugin; its entry point calls this."""
    return DatastorePlugin()
