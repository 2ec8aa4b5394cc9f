# SPDX-License-Identifier: Apache-2.0
"""Makes plans for a running agent, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import gc
import logging
import os
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from contivpp_core import loading
from contivpp_core.config import CORE_FIELDS, Source
from contivpp_core.engine import Engine
from contivpp_core.errors import ConfigError, NotReady, PluginError
from contivpp_core.items import Unavailable
from contivpp_core.loading import LoadedPlugin
from contivpp_core.plan.comparison import compared
from contivpp_core.plan.rehearsal import Rehearsal
from contivpp_core.plan.request import PlanRequest, object_writes, parse
from contivpp_core.plan.result import Plan, Setting
from contivpp_core.plan.snapshot import Dumps, Snapshot, take
from contivpp_core.state import Write

if TYPE_CHECKING:
    from contivpp_core.agent import Agent

__all__ = ["Planner"]


QUIET_SECONDS = 1.0
"""How long to wait for operations that are under way."""
READINGS = 3
"""How often to read the dataplanes, when operations come in between."""
SWITCH_SECONDS = 0.0005
"""How long the event loop waits for the thread to give way; Python's own 5 ms would be felt by each CNI call."""


class Planner:
    """Makes plans. Reads the agent in its event loop; everything else is done in a thread, on copies."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._one = asyncio.Lock()

    async def plan(self, body: bytes) -> Plan:
        """Return the plan that a request's body asks for. Raises ConfigError with every fault of what is given."""
        async with self._one:
            request = await asyncio.to_thread(parse, body)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._agent.scheduler.settled()
            snapshot = await self._read() if request.live else self._take({})
            plugins = [_copied(entry) for entry in self._agent.hooks.plugins]
            return await asyncio.to_thread(_Rehearsed(self._agent, plugins, request, snapshot).plan)

    def _take(self, dumps: Dumps) -> Snapshot:
        return take(self._agent.state, self._agent.scheduler, dumps)

    async def _read(self) -> Snapshot:
        """Read every dataplane that can be read, and copy what the agent knows at the same moment."""
        scheduler = self._agent.scheduler
        for _ in range(READINGS):
            begin = scheduler.operations
            usable = [domain for domain, reason in scheduler.domain_state().items() if not reason]
            try:
                snapshot = self._take({domain: await scheduler.look(domain) for domain in usable})
            except Unavailable as error:
                raise NotReady(f"the dataplane cannot be read: {error}") from error
            if scheduler.operations == begin:
                return snapshot
        raise NotReady("the dataplanes change while they are read: try again, or plan without reading them (--live)")


class _Rehearsed:
    """One plan in the making, in a thread."""

    def __init__(
        self, agent: Agent, plugins: Sequence[LoadedPlugin], request: PlanRequest, snapshot: Snapshot
    ) -> None:
        self._agent = agent
        self._plugins = plugins
        self._request = request
        self._snapshot = snapshot

    def plan(self) -> Plan:
        """Make the other agent, render, rehearse, compare."""
        with _unheard(), _yielding():
            return self._plan()

    def _plan(self) -> Plan:
        other, settings = self._other()
        state, engine = other.state, other.engine
        engine.note(*state.apply(self._snapshot.writes()))
        written, notes = object_writes(self._request, state)
        engine.note(*state.apply(written))
        engine.note(*state.apply(_at_start(other)))
        for _ in engine.run():
            pass
        rehearsal = Rehearsal(self._snapshot)
        rehearsal.run(state, engine, other.scheduler.descriptors, other.scheduler.producers)
        changed, blocked = compared(rehearsal)
        return Plan(
            revision=self._snapshot.revision,
            live=self._request.live,
            changes=changed,
            blocked=blocked,
            steps=tuple(rehearsal.steps),
            operations=_counted(rehearsal),
            failures={str(owner): error for owner, error in sorted(engine.failures.items())},
            settings=settings,
            notes=(*self._circumstances(), *notes, *_without_effect(written, engine)),
        )

    def _circumstances(self) -> Iterator[str]:
        for domain, reason in self._snapshot.domains.items():
            if reason:
                yield f"{domain}: {reason}: nothing can be done there now"
        if count := self._snapshot.under_way:
            yield f"{count} operations are under way: they are shown as still to be done"

    # --- the other agent

    def _other(self) -> tuple[Agent, tuple[Setting, ...]]:
        """Return an agent of the other configuration, never to be started, and the settings that cannot be planned."""
        if self._request.config is None:
            return self._made(self._agent.source, self._plugins), ()
        source = Source.parse(self._request.config.name, self._request.config.text, environment=os.environ)
        given = self._checked(source)
        settings = tuple(_unplanned(self._agent, given, source, rigged=self._rigged))
        if not any(setting.setting in CORE_FIELDS for setting in settings):
            return given, settings
        return self._made(self._as_running(source), self._plugins), settings

    @property
    def _rigged(self) -> bool:
        """Tell whether the agent got its plugins as objects, whatever its configuration says."""
        return all(entry.distribution == loading.IN_PROCESS for entry in self._plugins)

    def _made(self, source: Source, plugins: Sequence[LoadedPlugin]) -> Agent:
        return type(self._agent)(source, plugins, ledger=self._agent.ledger, ledger_path=None, serve=False)

    def _checked(self, source: Source) -> Agent:
        """Return an agent of all that the configuration says, with the faults that a start would tell."""
        running = {entry.name: entry for entry in self._plugins}
        try:
            names = tuple(running) if self._rigged else source.plugins
            loaded = {entry.name: entry for entry in loading.load([name for name in names if name not in running])}
            return self._made(source, [running.get(name) or loaded[name] for name in names])
        except PluginError as error:
            raise ConfigError([*source.faults(), f"{source.name}: plugins: {error}"]) from error

    def _as_running(self, source: Source) -> Source:
        """Return the configuration with what only a restart can change as it is now."""
        now = self._agent.source.data
        sections = [section.name for _, section in self._agent.hooks.contributions("config_section")]
        data = {key: now[key] for key in CORE_FIELDS if key in now}
        for name in sections:
            chosen = source.data if self._rigged or name in {*source.plugins} else now
            if name in chosen:
                data[name] = chosen[name]
        return Source(source.name, data)


def _copied(entry: LoadedPlugin) -> LoadedPlugin:
    """Return a plugin whose contributions can be asked for again without the running one's taking notice."""
    return LoadedPlugin(copy.copy(entry.plugin), entry.distribution, entry.version)


def _at_start(agent: Agent) -> Iterator[Write]:
    for _, writes in agent.hooks.contributions("planned_start", agent=agent, state=agent.state):
        yield from writes


def _unplanned(agent: Agent, other: Agent, source: Source, *, rigged: bool) -> Iterator[Setting]:
    """Yield the settings that differ and whose effect only a restart can show."""
    now, then = (each.config.settings.model_dump(mode="json", by_alias=True) for each in (agent, other))
    for name in sorted(CORE_FIELDS):
        if now[name] != then[name] and not (rigged and name == "plugins"):
            yield Setting(setting=name, old=now[name], new=then[name])
    sections = {section.name: section for _, section in other.hooks.contributions("config_section")}
    known = {section.name for _, section in agent.hooks.contributions("config_section")}
    for name, section in sections.items():
        if name not in known:
            continue
        now, then = (each.config.section(name).model_dump(mode="json", by_alias=True) for each in (agent, other))
        for field in section.unplanned:
            if now[field] != then[field]:
                yield Setting(setting=f"{name}.{field}", old=now[field], new=then[field])


def _counted(rehearsal: Rehearsal) -> Mapping[str, Mapping[str, int]]:
    counts: dict[str, dict[str, int]] = {verb: defaultdict(int) for verb in ("created", "updated", "deleted")}
    for verb, key in rehearsal.steps:
        counts[f"{verb}d"]["/".join(key.split("/", 2)[:2])] += 1
    return counts


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Keep what this thread logs out of the agent's log: nothing of it happens, and failures are in the plan."""
    own = threading.get_ident()

    def heard(record: logging.LogRecord) -> bool:
        return record.thread != own

    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(heard)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(heard)


@contextlib.contextmanager
def _yielding() -> Iterator[None]:
    """Let the event loop have its turn soon whenever it wants it, and no collection of garbage hold it up."""
    interval, collecting = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.disable()  # a thread that makes many objects at once has all of the agent's looked through again and again
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if collecting:
            gc.enable()


def _without_effect(written: list[Write], engine: Engine) -> Iterator[str]:
    """Say which objects no renderer looks at."""
    read = {table for each in engine.renderers.values() for table in each.reads | {each.table}}
    for table in sorted({write.table for write in written} - read):
        yield f"{table}: no enabled plugin makes anything of objects of this kind"
