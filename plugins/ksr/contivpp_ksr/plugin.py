# SPDX-License-Identifier: Apache-2.0
"""The plugin ksr: the command `contivpp ksr`; in an agent, the source of its tables instead of a store."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, ClassVar

from contivpp_core.agent import Agent
from contivpp_core.api import ApiRoute, Request
from contivpp_core.cli.command import Command
from contivpp_core.config import ConfigSection
from contivpp_core.errors import ContivError
from contivpp_core.identity import IdBook, Publisher
from contivpp_core.metrics import Metric
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.tasks import end
from contivpp_ksr.access import Access
from contivpp_ksr.command import KSR
from contivpp_ksr.config import KsrConfig
from contivpp_ksr.resources import RESOURCES

if TYPE_CHECKING:
    from contivpp_ksr.source import AgentSource

__all__ = ["KsrPlugin", "plugin"]


class KsrPlugin(Plugin):
    """Watches the API server. An `access` that is handed over is used instead of the configured one."""

    name: ClassVar[str] = "ksr"
    sources: ClassVar[tuple[str, ...]] = (
        *(resource.table.name for resource in RESOURCES.values()),
        CLUSTER_NODE.name,
        NODE_CLAIM.name,
    )

    def __init__(self, access: Access | None = None) -> None:
        self._source: AgentSource | None = None
        self._access = access
        self._tasks: list[asyncio.Task[None]] = []

    # --- contributions

    @hookimpl
    def config_section(self) -> ConfigSection:
        """Contribute the section `ksr`."""
        return ConfigSection("ksr", KsrConfig, unplanned=tuple(KsrConfig.model_fields))

    @hookimpl
    def commands(self) -> list[Command]:
        """Contribute `contivpp ksr`."""
        return [KSR]

    @hookimpl
    def metrics(self, agent: Agent) -> list[Metric]:
        """Contribute how each kind stands."""
        from contivpp_ksr.metrics import source_metrics  # noqa: PLC0415

        return source_metrics(lambda: self._source.reflectors.values() if self._source else ())

    @hookimpl
    def api_routes(self) -> list[ApiRoute]:
        """Contribute a route that tells how each kind stands."""
        return [ApiRoute("GET", "/v1/ksr", self._describe, "How each kind of the API server is watched.")]

    # --- what others ask

    @property
    def id_book(self) -> IdBook:
        """The book of node IDs, from the plugin's start on."""
        return self._running().book

    @property
    def publisher(self) -> Publisher:
        """Where this node tells of itself, from the plugin's start on."""
        return self._running().publisher

    # --- life

    async def start(self, agent: Agent) -> None:
        """Begin to watch; an API server that does not answer yet delays nobody's start."""
        from contivpp_ksr.access import access_for  # noqa: PLC0415
        from contivpp_ksr.source import AgentSource  # noqa: PLC0415 (the command needs no HTTP client)

        config = agent.config.section("ksr", KsrConfig)
        self._source = AgentSource(agent, config, self._access or access_for(config))
        for name, work in self._source.works().items():
            self._spawn(name, work)

    async def stop(self) -> None:
        """Stop watching; the tables stay as they are."""
        await end(*self._tasks)
        self._tasks.clear()
        if self._source is not None:
            await self._source.close()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=f"ksr {name}"))

    def _running(self) -> AgentSource:
        if self._source is None:
            raise ContivError("the API server is not watched yet: use this in 'start', and name 'ksr' in 'requires'")
        return self._source

    def _describe(self, request: Request) -> dict[str, object]:
        return dict(self._running().standing())


def plugin() -> KsrPlugin:
    """Return the plugin; its entry point calls this."""
    return KsrPlugin()
