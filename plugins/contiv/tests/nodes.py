# SPDX-License-Identifier: Apache-2.0
"""A node whose dataplanes are dictionaries, for tests of attachments.

The descriptors are the real ones in what they depend on and provide; what they send goes to a dictionary.
"""

from __future__ import annotations

import asyncio
import errno
import json
import re
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_interface, ip_network
from types import SimpleNamespace
from typing import Any

from contivpp_contiv.plugin import ContivPlugin
from contivpp_contiv.runtime.watch import Connect
from contivpp_core.agent import Agent
from contivpp_core.clock import run_simulated
from contivpp_core.events import VppConnected
from contivpp_core.items import AnyDescriptor, Found, Known, Outcome
from contivpp_core.kubernetes import POD, Pod
from contivpp_core.ledger import Ledger
from contivpp_core.namespaces import HOST, Namespace
from contivpp_core.node import HOST_ADDRESS, HOST_ROUTE, NETWORK_INTERFACE
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.state import Put, Ready
from contivpp_ipam.plugin import IpamPlugin
from contivpp_linux import items as linux
from contivpp_linux.descriptors import all_descriptors as linux_descriptors
from contivpp_linux.edge import Edge
from contivpp_linux.kernel import values as kernel
from contivpp_linux.kernel.errors import NamespaceGone, NamespaceHidden
from contivpp_vpp import items as vpp
from contivpp_vpp.access import VppAccess
from contivpp_vpp.descriptors import all_descriptors as vpp_descriptors

CONFIG: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "contivpp"}


class Refused(Exception):
    """The dataplane refuses for good."""


class World:
    """Both dataplanes: what is there, what is refused, what is slow."""

    def __init__(self) -> None:
        self.there: dict[str, Any] = {}
        self.namespaces: dict[str, int] = {f"/netns/{n}": n for n in range(1, 400)}
        self.refuse = ""
        self.block = ""
        self.taps = True
        self.hidden = False
        self.foreign_links: list[str] = []
        self.writes = 0
        self.sighted: Callable[[Any], None] = lambda sighting: None
        self.keen: Callable[[Namespace, str], bool] = lambda namespace, link: False
        self.sysctls: dict[str, str] = {}
        self.looks: list[tuple[str, str]] = []

    async def operate(self, key: str) -> None:
        self.writes += 1
        await asyncio.sleep(0.001)
        if self.block and re.search(self.block, key):
            await asyncio.sleep(3600)
        if self.refuse and re.search(self.refuse, key):
            raise Refused(f"{key} is refused")


def tame(descriptor: AnyDescriptor, world: World) -> AnyDescriptor:
    """Return the descriptor with its I/O replaced."""

    async def create(item: Any, handles: Mapping[str, Any]) -> Any:
        await world.operate(item.key)
        world.there[item.key] = item
        return item.key

    async def update(old: Any, new: Any, handle: Any, handles: Mapping[str, Any]) -> Any:
        return await create(new, handles)

    async def delete(item: Any, handle: Any, handles: Mapping[str, Any]) -> None:
        world.writes += 1
        await asyncio.sleep(0.001)
        world.there.pop(item.key, None)
        gone = set(descriptor.provides(item))
        for key, other in list(world.there.items()):  # what lives in an interface goes with it
            found = known_descriptors[other.kind]
            if any(d.bound and gone.intersection(d.keys) for d in found.dependencies(other)):
                del world.there[key]

    async def dump(known: Known) -> list[Found]:
        return [Found(key, item, key) for key, item in world.there.items() if item.kind == descriptor.kind]

    known_descriptors[descriptor.kind] = descriptor
    for name, function in {"create": create, "update": update, "delete": delete, "dump": dump}.items():
        setattr(descriptor, name, function)
    vars(descriptor)["classify"] = lambda error: Outcome.CHANGE if isinstance(error, Refused) else Outcome.RETRY
    return descriptor


known_descriptors: dict[str, AnyDescriptor] = {}


class FakePlugin(Plugin):
    """Stands for `vpp` or `linux`."""

    def __init__(self, world: World, name: str, *, up: bool = True) -> None:
        vars(self)["name"] = name
        vars(self)["sources"] = ("Pod",) if name == "vpp" else ()
        self.world = world
        self.up = up
        self.kernel = self

    async def identify(self, path: str) -> Any:
        if path and path not in self.world.namespaces:
            kind = NamespaceHidden if self.world.hidden else NamespaceGone
            raise kind(errno.ENOENT, "open network namespace", path)
        return SimpleNamespace(device=4, inode=self.world.namespaces[path] if path else 1000)

    async def links(self, where: Any) -> list[kernel.Link]:
        there = self._items(where)
        macs = {i.host_name: i.host_mac for i in there if isinstance(i, vpp.Tap)}
        macs |= {i.name: i.mac for i in there if isinstance(i, linux.Veth)}
        mtus = {i.link: i.mtu for i in there if isinstance(i, linux.Mtu)}
        up = {i.name for i in there if isinstance(i, linux.LinkUp)}
        ours = [
            kernel.Link(index=index, name=name, mac=mac, mtu=mtus.get(name, 1500), up=name in up)
            for index, (name, mac) in enumerate(macs.items())
        ]
        return ours + [kernel.Link(index=99, name=name) for name in self.world.foreign_links]

    async def addresses(self, where: Any) -> list[kernel.Address]:
        there = self._items(where)
        return [kernel.Address(i.link, ip_interface(i.address)) for i in there if isinstance(i, linux.Address)]

    async def routes(self, where: Any) -> list[kernel.Route]:
        there = self._items(where)
        return [kernel.Route(ip_network(i.destination), i.link) for i in there if isinstance(i, linux.Route)]

    def _items(self, where: Any) -> list[Any]:
        return [i for i in self.world.there.values() if getattr(i, "namespace", HOST).inode == where.inode]

    def watch_settled(self, callback: Any, keen: Any) -> None:
        self.world.sighted, self.world.keen = callback, keen

    async def link_sysctls(self, namespace: Any, link: str) -> dict[str, str]:
        return self.world.sysctls

    def look(self, namespace: Namespace, link: str) -> None:
        self.world.looks.append((str(namespace), link))

    async def tap_support(self) -> Any:
        return SimpleNamespace(usable=self.world.taps, reason="")

    @hookimpl
    def descriptors(self, agent: Agent) -> Iterable[AnyDescriptor]:
        if self.name == "vpp":
            some = vpp_descriptors(VppAccess(), persistent_taps=False)
        else:
            some = linux_descriptors(Edge(lambda key: False))
        return [tame(descriptor, self.world) for descriptor in some]

    async def start(self, agent: Agent) -> None:
        tables = (NETWORK_INTERFACE,) if self.name == "vpp" else (HOST_ADDRESS, HOST_ROUTE)
        if self.up:
            await agent.controller.write("read", [Ready(table.name) for table in tables])
            await agent.scheduler.domain_up(self.name, "1")
            if self.name == "vpp":
                agent.hooks.emit("vpp_connected", VppConnected(version="26.06", incarnation="1"))


class Node:
    """An agent that can be killed; its ledger and the world outlive it."""

    def __init__(
        self, *, vpp_up: bool = True, prefix: int = 24, runtime: Connect | None = None, **settings: Any
    ) -> None:
        self.world = World()
        self.runtime, self.settings = runtime, settings
        self.ledger = Ledger.open(None)
        self.vpp_up = vpp_up
        self.prefix = prefix
        self.agent: Agent

    async def start(self) -> None:
        self.contiv = ContivPlugin(serve=False, runtime=self.runtime)
        vpp = FakePlugin(self.world, "vpp", up=self.vpp_up)
        plugins = [vpp, FakePlugin(self.world, "linux"), IpamPlugin(), self.contiv]
        config = {
            "nodeName": "node1",
            "plugins": ["vpp", "linux", "ipam", "contiv"],
            "ipam": {"podSubnetOneNodePrefixLen": self.prefix},
            "contiv": {"addDeadlineSeconds": 20, "hostInterconnect": "tap", **self.settings},
        }
        self.agent = Agent(config, plugins, ledger=self.ledger, ledger_path=None, serve=False)
        await self.agent.start()
        pods = [Put(POD.name, Pod(namespace="default", name=f"p{n}")) for n in range(300)]
        await self.agent.controller.write("test", [*pods, Ready(POD.name)])

    async def kill(self) -> None:
        """End the agent without letting it finish anything."""
        await self.agent.stop()

    async def cni(
        self, command: str, number: int, *, container: str = "", netns: str = "", args: str = "",
        interface: str = "eth0", override: str = "", **config: Any,
    ) -> dict[str, Any]:  # fmt: skip
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container or f"c{number}",
            "CNI_IFNAME": interface,
            "CNI_NETNS": netns or f"/netns/{number}",
            "CNI_NETNS_OVERRIDE": override,
            "CNI_ARGS": f"K8S_POD_NAMESPACE=default;K8S_POD_NAME=p{number};{args}",
        }
        code, answer = await self.contiv.serve_cni(environment, json.dumps(CONFIG | config).encode())
        result: dict[str, Any] = json.loads(answer) if answer else {}
        assert (code != 0) == ("code" in result)
        return result

    def pod_keys(self) -> list[str]:
        """What is there besides the node's own."""
        owners = self.agent.engine.owners
        nodes = {key for key, some in owners.items() if any(owner.renderer != "contiv-pod" for owner in some)}
        return sorted(self.world.there.keys() - nodes)

    def assert_nothing_left(self) -> None:
        assert self.pod_keys() == []
        assert self.ledger.items("contiv.pod") == {}
        assert self.ledger.items("contiv.tombstone") == {}
        assert set(self.ledger.items("ipam")) <= {"last"}
        assert self.agent.state.table("LocalPod").records() == []


def address(result: dict[str, Any]) -> str:
    text: str = result["ips"][0]["address"]
    return text


def simulated(test: Any) -> Any:
    """Run a test in simulated time."""

    def run(*args: Any, **kwargs: Any) -> None:
        run_simulated(test(*args, **kwargs))

    run.__name__ = test.__name__
    return run
