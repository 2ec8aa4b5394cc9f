# SPDX-License-Identifier: Apache-2.0
"""An example of a plugin: drops traffic to the prefixes that the configuration lists.

It has all that most plugins need: a section of the configuration, a table, a renderer that turns a record into
items of VPP, and a hook that hears of an event. The scheduler does the rest: order, retry, repair, clean-up.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from pydantic import IPvAnyNetwork

from contivpp_core.agent import Agent
from contivpp_core.config import ConfigSection, Section
from contivpp_core.events import PodWired
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record, Table
from contivpp_core.renderers import View
from contivpp_core.state import Put, Ready
from contivpp_vpp.items import Path, Route

log = logging.getLogger(__name__)


class Settings(Section):
    prefixes: tuple[IPvAnyNetwork, ...] = ()


class Blackhole(Record, frozen=True, kw_only=True):
    prefix: str


BLACKHOLE = Table("Blackhole", Blackhole, key=lambda record: record.prefix)


class Renderer:
    name = "blackhole"
    table = BLACKHOLE.name
    reads: frozenset[str] = frozenset()
    produces = frozenset({"vpp/route"})
    derives: frozenset[str] = frozenset()

    def render(self, view: View, key: str) -> Iterable[Route]:
        yield Route(prefix=view.get(self.table, key).prefix, paths=(Path(kind="drop"),))


class BlackholePlugin(Plugin):
    name = "blackhole"
    requires = ("vpp",)

    @hookimpl
    def config_section(self) -> ConfigSection:
        return ConfigSection("blackhole", Settings)

    @hookimpl
    def tables(self) -> list[Table[Blackhole]]:
        return [BLACKHOLE]

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        return [Renderer()]

    async def start(self, agent: Agent) -> None:
        prefixes = agent.config.section("blackhole", Settings).prefixes
        records = [Put(BLACKHOLE.name, Blackhole(prefix=str(prefix))) for prefix in prefixes]
        await agent.controller.write("configuration", [*records, Ready(BLACKHOLE.name)])

    @hookimpl
    def pod_wired(self, event: PodWired) -> None:
        log.info("a pod arrived", extra={"pod": f"{event.namespace}/{event.name}", "address": event.address})
