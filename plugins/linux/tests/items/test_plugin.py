# SPDX-License-Identifier: Apache-2.0
"""The plugin in an agent: what it reads and when, and what it does about links that others touch."""

from __future__ import annotations

import asyncio
from typing import Any

from contivpp_core.agent import Agent
from contivpp_core.events import VppConnected
from contivpp_core.namespaces import HOST
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record, Table
from contivpp_core.state import Put, Ready
from contivpp_linux.items import Address, LinkUp, Mtu, Neighbour, Route, Veth
from contivpp_linux.kernel.operations import DeleteLink, SetLink
from contivpp_linux.kernel.protocol import raise_errors
from contivpp_linux.plugin import LinuxPlugin, plugin


class Wanted(Record):
    """Items that are wanted."""

    items: tuple[Any, ...] = ()


class PodsRenderer:
    """Renders what is wanted."""

    name, table = "pods", "Wanted"
    reads = derives = frozenset()
    produces = frozenset({Veth.kind, LinkUp.kind, Mtu.kind, Address.kind, Route.kind, Neighbour.kind})

    def render(self, view, key):
        return view.get("Wanted", key).items


class Watcher(Plugin):
    """Notes resyncs, and wants items."""

    name = "watcher"
    requires = ("linux",)

    def __init__(self):
        self.resyncs = []

    @hookimpl
    def tables(self):
        return [Table("Wanted", Wanted, lambda record: "all")]

    @hookimpl
    def renderers(self, agent):
        return [PodsRenderer()]

    async def start(self, agent):
        await agent.controller.write("test", [Ready("Wanted")])

    @hookimpl
    def resync_done(self, event):
        self.resyncs.append((event.domain, event.reason))


async def started(world):
    watcher = Watcher()
    agent = Agent(
        {"nodeName": "node1"}, [LinuxPlugin(kernel=world.kernel), watcher], ledger_path=None, serve=False
    )
    await agent.start()
    await until(lambda: watcher.resyncs)
    return agent, watcher


async def until(condition):
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def settled(agent):
    async with asyncio.timeout(5):
        await agent.controller.settled()


async def want(agent, *items):
    await agent.controller.write("test", [Put("Wanted", Wanted(items=items))])
    await settled(agent)


def host_items(namespace):
    return [
        Veth(namespace=namespace, name="eth0", peer_namespace=HOST, peer_name="pod1"),
        LinkUp(namespace=HOST, name="pod1"),
        Mtu(namespace=HOST, link="pod1", mtu=1450),
        Address(namespace=HOST, link="pod1", address="10.2.0.1/24"),
        Route(namespace=HOST, destination="10.1.1.1/32", link="pod1", scope="link", source="10.2.0.1"),
        Neighbour(namespace=HOST, link="pod1", address="10.1.1.1", mac="02:00:00:00:00:01"),
    ]


async def test_domain_is_read_when_all_have_started_and_with_each_new_vpp(world):
    agent, watcher = await started(world)
    assert watcher.resyncs == [("linux", "start")]
    assert agent.ready, agent.readiness()
    for incarnation in ("1", "1", "2"):
        agent.hooks.emit("vpp_connected", VppConnected(version="26.06", incarnation=incarnation))
        await asyncio.sleep(0.1)
    assert watcher.resyncs[1:] == [("linux", "VPP is connected")] * 2
    await agent.stop()


async def test_a_vpp_that_is_there_first_has_nothing_read_before_all_have_started(world):
    watcher = Watcher()
    linux = LinuxPlugin(kernel=world.kernel)

    class Early(Plugin):
        name = "early"
        requires = ("linux",)

        async def start(self, agent):
            linux.vpp_connected(VppConnected(version="26.06", incarnation="1"))
            await asyncio.sleep(0.1)
            assert watcher.resyncs == []

    agent = Agent({"nodeName": "node1"}, [linux, watcher, Early()], ledger_path=None, serve=False)
    await agent.start()
    await until(lambda: agent.ready)
    await asyncio.sleep(0.1)
    assert watcher.resyncs == [("linux", "start")]
    await agent.stop()


async def test_own_work_asks_for_no_check(world):
    agent, _ = await started(world)
    items = host_items(await world.namespace())
    checks = []
    check = agent.scheduler.check
    agent.scheduler.check = lambda kind: (checks.append(kind), check(kind))[1]
    await want(agent, *items)
    await asyncio.sleep(0.2)
    await want(agent)
    await asyncio.sleep(0.2)
    assert checks == []
    assert agent.scheduler.graph.nodes == {}
    await agent.stop()


async def test_link_that_somebody_deletes_comes_back_with_all_its_facets(world):
    agent, _ = await started(world)
    items = host_items(await world.namespace())
    await want(agent, *items)
    before = (await world.links())["pod1"].index
    raise_errors(await world.rig.kernel.apply("", [DeleteLink("pod1")]))
    created = agent.scheduler.counters.created
    # A setting may be found with the kernel's own value before it is made again: then it is changed.
    objects = {item.kind for item in items} - {Mtu.kind}
    await until(lambda: all(created[kind] == 2 for kind in objects))
    await settled(agent)
    link = (await world.links())["pod1"]
    assert link.index != before
    assert (link.up, link.mtu) == (True, 1450)
    for kind in agent.scheduler.descriptors:
        assert await agent.scheduler.check(kind) == {}
    assert {status.state for status in agent.scheduler.items()} == {"applied"}
    await agent.stop()


async def test_link_that_somebody_sets_down_or_changes_is_repaired(world):
    agent, _ = await started(world)
    items = host_items(await world.namespace())
    await want(agent, *items)
    raise_errors(await world.rig.kernel.apply("", [SetLink(link="pod1", up=False, mtu=1300)]))
    counters = agent.scheduler.counters
    await until(lambda: counters.created["linux/neighbour"] == 2 and counters.created["linux/route"] == 2)
    await settled(agent)
    await until(lambda: counters.updated[Mtu.kind] == 1)
    await settled(agent)
    link = (await world.links())["pod1"]
    assert (link.up, link.mtu) == (True, 1450)
    assert {status.state for status in agent.scheduler.items()} == {"applied"}
    for kind in agent.scheduler.descriptors:
        assert await agent.scheduler.check(kind) == {}
    await agent.stop()


async def test_unreadable_kernel_is_a_condition_and_tried_again(world, monkeypatch):
    links = world.kernel.links
    failures = [PermissionError("not today")] * 2  # for the tables of the host, and for the domain

    async def broken(namespace):
        if failures:
            raise failures.pop()
        return await links(namespace)

    monkeypatch.setattr(world.kernel, "links", broken, raising=False)
    watcher = Watcher()
    agent = Agent(
        {"nodeName": "node1"}, [LinuxPlugin(kernel=world.kernel), watcher], ledger_path=None, serve=False
    )
    await agent.start()
    await until(lambda: not agent.readiness().get("linux", agent.readiness()["agent"]).ok)
    assert "not today" in agent.readiness()["linux"].reason
    await until(lambda: agent.ready)
    await agent.stop()


def test_entry_point_makes_a_new_object_each_time():
    assert plugin() is not plugin()
    assert plugin.name == "linux"
