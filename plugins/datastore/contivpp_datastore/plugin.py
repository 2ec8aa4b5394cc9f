# SPDX-License-Identifier: Apache-2.0
"""The datastore plugin: gives access to the cluster's store, mirrors it into the agent's tables, and remembers these.

With driver `none` there is no store: other plugins fill the tables, and only the local mirror is at work.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

from contivpp_core.agent import Agent
from contivpp_core.api import ApiRoute, Request
from contivpp_core.config import Config, ConfigSection
from contivpp_core.errors import ContivError
from contivpp_core.kvstore import KVStore
from contivpp_core.metrics import Metric
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.tasks import end
from contivpp_datastore.config import DatastoreConfig
from contivpp_datastore.drivers import OwnStore, open_store
from contivpp_datastore.local import LocalMirror
from contivpp_datastore.mirror import CONDITION, MalformedEntry, Mirror
from contivpp_datastore.nodes import NodeEvents
from contivpp_datastore.objects import TABLES

__all__ = ["DatastorePlugin", "plugin"]

FILE = "mirror.db"


@runtime_checkable
class _HasEndpoint(Protocol):
    @property
    def endpoint(self) -> str: ...


class DatastorePlugin(Plugin):
    """The cluster's store. A `store` that is handed over is used instead of the configured one, and stays open.

    `reflected` says of such a store whether the reflector fills it (None: as configured). `local` is the local mirror's
    file; without it, it is in the folder of the ledger, and nowhere if the ledger is in memory.
    """

    name: ClassVar[str] = "datastore"
    sources: ClassVar[tuple[str, ...]] = tuple(table.name for table in TABLES)

    def __init__(
        self, store: KVStore | None = None, *, reflected: bool | None = None, local: Path | None = None
    ) -> None:
        self._store = store
        self._reflected = reflected
        self._local_path = local
        self._own: OwnStore | None = None
        self._agent: Agent | None = None
        self._mirror: Mirror | None = None
        self._local: LocalMirror | None = None
        self._task: asyncio.Task[None] | None = None
        self._untell: Callable[[], None] = lambda: None

    @property
    def store(self) -> KVStore:
        """The store, from the plugin's start on."""
        if (store := self._store or self._own) is None:
            raise ContivError(
                "there is no open store: use it from 'start' on, name 'datastore' in 'requires', and set another "
                "datastore.driver than none"
            )
        return store

    # --- contributions

    @hookimpl
    def config_section(self) -> ConfigSection:
        """Contribute the section `datastore`."""
        settings = DatastoreConfig.model_fields.items()
        return ConfigSection(
            "datastore", DatastoreConfig, unplanned=tuple(field.alias or name for name, field in settings)
        )

    @hookimpl
    def api_routes(self) -> list[ApiRoute]:
        """Contribute a route that tells how far the mirror is, and what it could not read."""
        return [ApiRoute("GET", "/v1/datastore", self._describe, "The store's mirror, and values it cannot read.")]

    @hookimpl
    def cluster_store(self, config: Config) -> AbstractAsyncContextManager[KVStore] | None:
        """Contribute the store for processes without an agent."""
        store = open_store(config.section("datastore", DatastoreConfig))
        return None if store is None else _opened(store)

    @hookimpl
    def metrics(self, agent: Agent) -> list[Metric]:
        """Contribute how the store and the tables stand."""
        if self._driver(agent) == "none":  # the first hook that knows the configuration, and before any start
            self.sources = ()  # type: ignore[misc]

        def stale() -> list[tuple[Mapping[str, str], float]]:
            names = set(agent.state.stale())
            return [({"table": table.name}, float(table.name in names)) for table in TABLES]

        def of_mirror(value: Callable[[Mirror], float]) -> Callable[[], list[tuple[Mapping[str, str], float]]]:
            # Without a store there is no sample: that is not a store that is away.
            return lambda: [] if self._mirror is None else [({}, value(self._mirror))]

        def connected(mirror: Mirror) -> float:
            return float(mirror.connected)

        return [
            Metric("contivpp_table_stale", "Tables that are as an earlier life remembers them.", "gauge", stale),
            Metric("contivpp_datastore_connected", "Whether the store answers.", "gauge", of_mirror(connected)),
            Metric(
                "contivpp_datastore_revision",
                "The store's revision in the tables.",
                "gauge",
                of_mirror(lambda mirror: mirror.revision),
            ),
            Metric(
                "contivpp_datastore_malformed_values",
                "Values of the store that cannot be read.",
                "gauge",
                of_mirror(lambda mirror: len(mirror.malformed())),
            ),
        ]

    def _driver(self, agent: Agent) -> str:
        return "given" if self._store else agent.config.section("datastore", DatastoreConfig).driver

    # --- life

    async def start(self, agent: Agent) -> None:
        """Begin to mirror; a store that does not answer yet delays nobody's start."""
        config = agent.config.section("datastore", DatastoreConfig)
        self._agent = agent
        self._untell = NodeEvents(agent).stop
        path = self._local_path or (agent.ledger.path and agent.ledger.path.with_name(FILE))
        path = path if config.local_mirror else None
        self._local = LocalMirror(agent, TABLES, path, wait=config.source_wait_seconds)
        self._local.start()
        if self._store is None:
            self._own = open_store(config)
        if store := self._store or self._own:
            given = self._store is not None and config.reflected is None
            reflected = bool(self._reflected) if given else config.is_reflected
            self._mirror = Mirror(agent, store, self._local, reflected=reflected)
            self._task = asyncio.create_task(self._mirror.run(), name="mirror of the store")

    async def stop(self) -> None:
        """Stop mirroring and close the store; the tables stay as they are."""
        await end(self._task)
        self._task = None
        self._untell()
        if self._local is not None:
            await self._local.stop()
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
            raise ContivError("the store is not mirrored: the plugin datastore has not started, or its driver is none")
        return self._mirror

    def _describe(self, request: Request) -> dict[str, object]:
        assert self._agent is not None
        assert self._local is not None
        agent, mirror = self._agent, self._mirror
        told: dict[str, object] = {
            "driver": self._driver(agent),
            "stale": agent.state.stale(),
            "localMirror": self._local.error or "ok",
        }
        if mirror is None:
            return told
        condition = agent.conditions[CONDITION]
        if isinstance(self.store, _HasEndpoint):
            told["endpoint"] = self.store.endpoint
        return {
            **told,
            "revision": mirror.revision,
            "connected": mirror.connected,
            "reason": condition.reason,
            "unvouched": mirror.trust.doubted(),
            "malformed": mirror.malformed(),
        }


@asynccontextmanager
async def _opened(store: OwnStore) -> AsyncIterator[KVStore]:
    try:
        yield store
    finally:
        await store.close()


def plugin() -> DatastorePlugin:
    """Return the plugin; its entry point calls this."""
    return DatastorePlugin()
