# SPDX-License-Identifier: Apache-2.0
"""The agent: everything put together.

Made from a configuration and plugins, it asks the plugins for their contributions; nothing is opened and nothing
runs yet. `start` opens the ledger, starts the plugins in the order of what they require, and serves the local API.
It is ready when every condition holds. `stop` goes the way back and leaves the dataplane as it is: pods go on
talking while no agent runs.

Rigs and tests make agents in their own process: configuration as a mapping, plugins as objects, no files, no sockets.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contivpp_core import collector, loading
from contivpp_core.api import ApiServer
from contivpp_core.api_routes import core_routes, health_routes
from contivpp_core.census import Census
from contivpp_core.clock import Clock
from contivpp_core.config import Config, Source
from contivpp_core.controller import Controller, WriteReport
from contivpp_core.drift import Drift
from contivpp_core.engine import Engine
from contivpp_core.errors import ConfigError, ContivError, PluginError
from contivpp_core.events import AgentStarted, AgentStopping, ItemFailed, ItemRecovered, ResyncDone
from contivpp_core.faults import FAULT
from contivpp_core.hooks import Hooks
from contivpp_core.journal import Journal
from contivpp_core.kubernetes import TABLES as KUBERNETES_TABLES
from contivpp_core.ledger import Ledger
from contivpp_core.metrics import Metric
from contivpp_core.node import TABLES as NODE_TABLES
from contivpp_core.own_metrics import own_metrics
from contivpp_core.plugin import Plugin
from contivpp_core.records import AnyTable
from contivpp_core.renderers import Renderer
from contivpp_core.scheduler import Scheduler
from contivpp_core.state import State

__all__ = ["CORE_TABLES", "Agent", "Condition"]

log = logging.getLogger(__name__)

CORE_TABLES: tuple[AnyTable, ...] = (*KUBERNETES_TABLES, *NODE_TABLES, FAULT)
"""The tables that every agent has; plugins declare further ones."""

START_SECONDS = 60.0
STOP_SECONDS = 10.0
_IN_STATE_DIR = Path()  # the ledger is where the configuration says


@dataclass(frozen=True)
class Condition:
    """Whether something that readiness needs holds, and if not, why; a `reason` beside `ok` is a note for people."""

    ok: bool
    reason: str = ""


class Agent:
    """One node's agent.

    `plugins` None loads those that the configuration enables. `ledger_path` None keeps the ledger in memory; a
    `ledger` that is handed over stays open after `stop`, so that a rig can restart the agent with it. `serve` False
    opens no socket.
    """

    def __init__(
        self,
        config: Source | Mapping[str, Any],
        plugins: Iterable[Plugin | loading.LoadedPlugin] | None = None,
        *,
        clock: Clock | None = None,
        ledger_path: Path | None = _IN_STATE_DIR,
        ledger: Ledger | None = None,
        serve: bool = True,
    ) -> None:
        self.source = source = config if isinstance(config, Source) else Source("configuration", dict(config))
        self.clock = clock or Clock()
        self.hooks = Hooks(_load(source, plugins))
        self.config = self._check(source)
        self.state = self._declare_tables()
        self.engine = Engine(self.state, self._renderers())
        self.scheduler = Scheduler(
            fact=lambda table, key: self.state.get(table, key) is not None,
            complete=self.engine.complete,
            healthy=self.engine.healthy,
        )
        self._register_descriptors()
        self.controller = Controller(self.state, self.engine, self.scheduler)
        state_dir = self.config.settings.state_dir
        self._ledger_path = state_dir / "ledger.db" if ledger_path is _IN_STATE_DIR else ledger_path
        self._owns_ledger = ledger is None
        self._ledger = ledger
        in_memory = ledger is not None or self._ledger_path is None
        self.journal = Journal(None if in_memory else state_dir / "journal.jsonl", clock=self.clock)
        self.drift = Drift(
            self.scheduler,
            self.config.settings.drift,
            self.journal,
            clock=self.clock,
            revision=lambda: self.state.revision,
        )
        self.metrics: list[Metric] = own_metrics(self.scheduler, self.drift)
        for _, some in self.hooks.contributions("metrics", agent=self):
            self.metrics.extend(some)
        loading.one_source(self.hooks.plugins)
        self.conditions: dict[str, Condition] = {"agent": Condition(False, "is not started")}
        self.census: Census | None = None
        self._failing: dict[str, str] = {}
        self._counted = (0, 0, 0)
        self._serve = serve
        self._servers: list[ApiServer] = []
        self._started: list[loading.LoadedPlugin] = []
        self._start_time: float | None = None
        self._wire()

    # --- what others ask

    @property
    def ledger(self) -> Ledger:
        """The ledger; it is open from the start of the first plugin on."""
        if self._ledger is None:
            raise ContivError("the ledger is not open yet: read it in 'start', not in a contribution")
        return self._ledger

    @property
    def node_name(self) -> str:
        """The name of this node."""
        return self.config.settings.node_name

    def plugin(self, name: str) -> Plugin:
        """Return an enabled plugin."""
        for entry in self.hooks.plugins:
            if entry.name == name:
                return entry.plugin
        raise ContivError(f"the plugin {name} is not enabled: add it to 'plugins'")

    def sourced(self, table: str) -> bool:
        """Tell whether an enabled plugin fills a table from outside."""
        return any(table in entry.plugin.sources for entry in self.hooks.plugins)

    def set_condition(self, name: str, ok: bool, reason: str = "", *, note: str = "") -> None:
        """State whether something that readiness needs holds; a plugin's conditions begin with its name.

        `reason` is told while it does not hold, `note` while it does.
        """
        before = self.conditions.get(name)
        self.conditions[name] = Condition(ok, note if ok else reason)
        if before != self.conditions[name]:
            log.info("condition %s", name, extra={"ok": ok, "reason": self.conditions[name].reason})

    def readiness(self) -> dict[str, Condition]:
        """Return every condition, with those of the dataplanes."""
        domains = {
            f"dataplane {name}": Condition(not reason, reason)
            for name, reason in sorted(self.scheduler.domain_state().items())
        }
        return {**self.conditions, **domains}

    @property
    def ready(self) -> bool:
        """Tell whether every condition holds."""
        return all(condition.ok for condition in self.readiness().values())

    def uptime(self) -> float:
        """Return the seconds since the start; 0 before."""
        return 0.0 if self._start_time is None else self.clock.time() - self._start_time

    # --- life

    async def start(self) -> None:
        """Open the ledger, start every plugin, serve. On an error, everything is taken back."""
        self._start_time = self.clock.time()
        try:
            if self._ledger is None:
                self._ledger = await self._open_ledger()
            self.scheduler.notes.ledger = self._ledger
            self.census = Census(self.scheduler, self._ledger)
            if leftovers := self.census.leftovers():
                log.warning("items of plugins that are not enabled may still be there", extra={"kinds": leftovers})
            self.controller.start()
            for entry in self.hooks.plugins:
                self._started.append(entry)
                await _start_plugin(self, entry)
            self.drift.start()
            if self._serve:
                await self._open_sockets()
        except BaseException:
            await self._take_down()
            raise
        self.set_condition("agent", True)
        log.info(
            "agent started", extra={"node": self.node_name, "plugins": [p.name for p in self.hooks.plugins]}
        )
        self.hooks.emit("agent_started", AgentStarted(node=self.node_name))

    async def stop(self) -> None:
        """Stop plugins in reverse order and close everything; the dataplane stays as it is."""
        self.set_condition("agent", False, "is stopping")
        self.hooks.emit("agent_stopping", AgentStopping(node=self.node_name))
        with contextlib.suppress(TimeoutError):  # told by name when the queues are closed
            async with asyncio.timeout(STOP_SECONDS):
                await self.hooks.drain()
        await self._take_down()

    async def run(self) -> None:
        """Start, serve until SIGTERM or SIGINT, and stop. The process is the agent's alone."""
        collector.spare()
        loop = asyncio.get_running_loop()
        asked = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, asked.set)
        try:
            starting = asyncio.create_task(self.start(), name="start")
            waiting = asyncio.create_task(asked.wait(), name="signal")
            await asyncio.wait({starting, waiting}, return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.gather(starting, waiting, return_exceptions=True)
                return
            if starting.exception():
                waiting.cancel()
            await starting
            await waiting
            await self.stop()
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    # --- making

    def _check(self, source: Source) -> Config:
        sections = []
        owners: dict[str, str] = {}
        for plugin, section in self.hooks.contributions("config_section"):
            if section.name in owners:
                raise PluginError(
                    f"plugins {owners[section.name]} and {plugin} both have a section {section.name}"
                )
            owners[section.name] = plugin
            sections.append(section)
        return source.check(sections, installed=loading.installed())

    def _declare_tables(self) -> State:
        state = State(CORE_TABLES)
        for plugin, tables in self.hooks.contributions("tables"):
            for table in tables:
                try:
                    state.declare(table)
                except ContivError as error:
                    raise PluginError(f"plugin {plugin}: {error}") from error
        return state

    def _renderers(self) -> list[Renderer]:
        return [
            renderer for _, some in self.hooks.contributions("renderers", agent=self) for renderer in some
        ]

    def _register_descriptors(self) -> None:
        for plugin, descriptors in self.hooks.contributions("descriptors", agent=self):
            for descriptor in descriptors:
                try:
                    self.scheduler.register(descriptor)
                except ContivError as error:
                    raise PluginError(f"plugin {plugin}: {error}") from error
        for renderer in self.engine.renderers.values():
            for kind in sorted(renderer.produces):
                if kind not in self.scheduler.descriptors:
                    raise PluginError(
                        f"renderer {renderer.name} makes items of kind {kind}, which no enabled plugin can apply: "
                        "enable the plugin that has its descriptor"
                    )
                self.scheduler.producers[kind].add(renderer.name)

    def _wire(self) -> None:
        """Tell plugins and the journal what happens in controller and scheduler."""

        def failed(node: Any) -> None:
            self._failing[node.key] = node.error
            self.hooks.emit("item_failed", ItemFailed(key=node.key, error=node.error, attempts=node.attempts))

        def recovered(node: Any) -> None:
            self._failing.pop(node.key, None)
            self.hooks.emit("item_recovered", ItemRecovered(key=node.key))

        def resynced(domain: str, reason: str, seconds: float, repaired: Mapping[str, int]) -> None:
            event = ResyncDone(domain=domain, reason=reason, seconds=seconds, repaired=dict(repaired))
            self.hooks.emit("resync_done", event)
            if self.census is not None:
                self.census.count()

        self.scheduler.on_failed = failed
        self.scheduler.on_recovered = recovered
        self.scheduler.on_resynced = resynced
        self.scheduler.on_checked = self.drift.note
        self.controller.on_write = self._journalise

    def _journalise(self, report: WriteReport) -> None:
        """Note a write. The counts are operations that ended since the entry before, whatever write asked for them."""
        counters = self.scheduler.counters
        counted = (
            sum(counters.created.values()),
            sum(counters.updated.values()),
            sum(counters.deleted.values()),
        )
        created, updated, deleted = (now - then for now, then in zip(counted, self._counted, strict=True))
        self._counted = counted
        if self.census is not None:
            self.census.note_new()
        rendering = {str(owner): error for owner, error in self.engine.failures.items()}
        self.journal.record(
            revision=report.revision,
            cause=report.cause,
            changed=report.changed,
            changed_total=report.changed_total,
            created=created,
            updated=updated,
            deleted=deleted,
            failed={**self._failing, **rendering},
            durations={"render": report.render_seconds},
        )

    # --- starting and stopping

    async def _open_ledger(self) -> Ledger:
        if self._ledger_path is None:
            return Ledger.open(None)
        return await asyncio.to_thread(Ledger.open, self._ledger_path)

    async def _open_sockets(self) -> None:
        routes = core_routes(self)
        for _, some in self.hooks.contributions("api_routes", agent=self):
            routes.extend(some)
        local = ApiServer(routes)
        self._servers.append(local)
        await local.serve_unix(self.config.settings.socket_path)
        if address := self.config.settings.health_address:
            health = ApiServer(health_routes(self))
            self._servers.append(health)
            await health.serve_tcp(address)

    async def _take_down(self) -> None:
        for server in reversed(self._servers):
            await server.stop()
        self._servers.clear()
        await self.drift.stop()
        while self._started:
            await _stop_plugin(self._started.pop())
        await self.controller.stop()
        await self.scheduler.stop()
        await self.hooks.stop(STOP_SECONDS)
        await self.journal.close()
        if self.census is not None:
            await self.census.stop()
        if self._owns_ledger and self._ledger is not None:
            await self._ledger.close()
            self._ledger = None


def _load(source: Source, plugins: Iterable[Plugin | loading.LoadedPlugin] | None) -> list[loading.LoadedPlugin]:
    """Load plugins; faults in the core's settings are told together with the first plugin that does not load."""
    if plugins is not None:
        return loading.order(plugins)
    enabled = source.plugins
    try:
        return loading.load(enabled)
    except PluginError as error:
        if faults := source.faults():
            raise ConfigError([*faults, f"{source.name}: plugins: {error}"]) from error
        raise


async def _start_plugin(agent: Agent, entry: loading.LoadedPlugin) -> None:
    try:
        async with asyncio.timeout(START_SECONDS) as timeout:
            await entry.plugin.start(agent)
    except ContivError as error:
        raise PluginError(f"plugin {entry.name} ({entry.distribution}) cannot start: {error}") from error
    except Exception as error:
        why = f"not within {START_SECONDS:g} s" if timeout.expired() else f"{type(error).__name__}: {error}"
        raise PluginError(f"plugin {entry.name} ({entry.distribution}) cannot start: {why}") from error


async def _stop_plugin(entry: loading.LoadedPlugin) -> None:
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await entry.plugin.stop()
    except Exception:
        log.exception("plugin %s failed to stop", entry.name, extra={"plugin": entry.name})
