# SPDX-License-Identifier: Apache-2.0
"""An agent over the fake dataplane, whose items follow from pods and from a section of the configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from contivpp_core.agent import Agent
from contivpp_core.config import ConfigSection, Section
from contivpp_core.items import AnyDescriptor, Item
from contivpp_core.kubernetes import POD, Pod, decode
from contivpp_core.ledger import Ledger
from contivpp_core.plan import Plan, Planner
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record
from contivpp_core.renderers import Renderer, View
from contivpp_core.state import Delete, Put, Ready, State, Write
from contivpp_core.testing.dataplane import (
    FakeAddress,
    FakeDataplane,
    FakeFilter,
    FakeLink,
    FakePort,
    FakeRoute,
    FakeVrf,
)


class Settings(Section):
    """What the items depend on besides the pods."""

    model: str = "a"
    vrf: int = 1
    rules: int | None = None
    sticky: bool = False
    socket: str = "/run/fake.sock"


class Ports:
    """Pod -> a port with VRF, addresses and link."""

    name = "ports"
    table = POD.name
    reads: frozenset[str] = frozenset()
    produces = frozenset({"fake/port", "fake/vrf", "fake/address", "fake/link"})
    derives: frozenset[str] = frozenset()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        pod: Pod = view.get(POD.name, key)
        labels, name, settings = dict(pod.labels), pod.name, self._settings
        if labels.get("broken"):
            raise ValueError("on purpose")
        vrf = int(labels.get("vrf", settings.vrf))
        yield FakePort(name=name, model=labels.get("model", settings.model))
        yield FakeVrf(port=name, vrf=vrf)
        for address in pod.addresses:
            yield FakeAddress(port=name, address=int(address), vrf=vrf)
        if "down" not in labels:
            yield FakeLink(port=name, requires=(f"fake/vrf/{name}",))


class Routes:
    """Pod -> its routes, and its filter."""

    name = "routes"
    table = POD.name
    reads: frozenset[str] = frozenset()
    produces = frozenset({"fake/route", "fake/filter"})
    derives: frozenset[str] = frozenset()

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def render(self, view: View, key: str) -> Iterable[Item | Record]:
        pod: Pod = view.get(POD.name, key)
        over = dict(pod.labels).get("over", pod.name)
        yield from (FakeRoute(prefix=number, port=over) for number in _routes(pod))
        if self._settings.rules is not None:
            yield FakeFilter(port=pod.name, rules=self._settings.rules)


def _routes(pod: Pod) -> tuple[int, ...]:
    return tuple(int(number) for number in dict(pod.labels).get("routes", ""))


class Fake(Plugin):
    """The fake dataplane as a plugin."""

    name = "fake"

    def __init__(self, world: FakeDataplane) -> None:
        self.world = world

    @hookimpl
    def config_section(self) -> ConfigSection:
        return ConfigSection("fake", Settings, unplanned=("socket",))

    @hookimpl
    def renderers(self, agent: Agent) -> list[Renderer]:
        settings = agent.config.section("fake", Settings)
        return [Ports(settings), Routes(settings)]

    @hookimpl
    def descriptors(self) -> list[AnyDescriptor]:
        return self.world.descriptors()

    @hookimpl
    def planned_start(self, agent: Agent, state: State) -> list[Write]:
        return list(remade(state.table(POD.name).records(), agent.config.section("fake", Settings)))

    async def start(self, agent: Agent) -> None:
        await agent.scheduler.domain_up("fake", "1")


def remade(pods: Iterable[Pod], settings: Settings) -> Iterable[Write]:
    """What a start does with pods: by a setting, all have the address 3 or none has."""
    for pod in pods:
        addresses = tuple(each for each in pod.addresses if each != "3")
        yield Put(POD.name, msgspec.structs.replace(pod, addresses=(*addresses, "3") if settings.sticky else addresses))


def manifest(name: str, *, addresses: Iterable[str] = (), **labels: str) -> dict[str, Any]:
    """A Pod as the API has it."""
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "status": {"podIPs": [{"ip": each} for each in addresses]},
    }


class Rig:
    """An agent over a world; both can be looked at as a whole."""

    def __init__(self, world: FakeDataplane | None = None, *, plugin: type[Fake] = Fake, **settings: Any) -> None:
        self.world = world or FakeDataplane()
        self.ledger = Ledger.open(None)
        self.config = {"nodeName": "n1", "fake": settings}
        self.agent = Agent(self.config, [plugin(self.world)], ledger=self.ledger, ledger_path=None, serve=False)
        self.planner = Planner(self.agent)

    async def start(self, *manifests: Mapping[str, Any]) -> None:
        """Start with these pods; nothing is done to the world before all of them are known."""
        await self.agent.start()
        await self.replace(*manifests)

    async def replace(self, *manifests: Mapping[str, Any]) -> None:
        """Let these be all pods."""
        pods = [decode(Pod, each) for each in manifests]
        settings, known = self.agent.config.section("fake", Settings), self.agent.state.table(POD.name)
        gone = [Delete(POD.name, key) for key in known if key not in {pod.key for pod in pods}]
        writes: list[Write] = [*gone, *(Put(POD.name, pod) for pod in pods), *remade(pods, settings), Ready(POD.name)]
        await self.agent.controller.write("pods", writes)
        await self.agent.controller.settled()

    async def plan(self, *manifests: Any, **request: Any) -> Plan:
        """Ask for a plan; `settings` are those of the section in another configuration."""
        if (settings := request.pop("settings", None)) is not None:
            text = msgspec.json.encode({**self.config, "fake": settings}).decode()
            request["config"] = {"name": "new.yaml", "text": text}
        request["manifests"] = [{"place": f"document {n}", "object": each} for n, each in enumerate(manifests, 1)]
        return await self.planner.plan(msgspec.json.encode(request))

    def everything(self) -> Any:
        """All that a plan must leave as it is."""
        agent = self.agent
        return {
            "world": (self.world.dump(), [call for call in self.world.calls if call[0] != "dump"]),
            "tables": {t.table.name: (t.ready, t.records()) for t in agent.state.tables()},
            "revision": agent.state.revision,
            "owners": {key: dict(owners) for key, owners in agent.engine.owners.items()},
            "failures": dict(agent.engine.failures),
            "journal": agent.journal.entries(),
            "ledger": {space: self.ledger.items(space) for space in ("core.kinds", "fake")},
            "items": agent.scheduler.items(),
            "there": {node.key: node.actual for node in agent.scheduler.graph},
            "operations": agent.scheduler.operations,
            "counters": msgspec.to_builtins(agent.scheduler.counters),
            "domains": agent.scheduler.domain_state(),
            "conditions": dict(agent.conditions),
        }
