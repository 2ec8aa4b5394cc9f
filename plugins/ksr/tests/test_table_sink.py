# SPDX-License-Identifier: Apache-2.0
"""An agent's tables from an API server: what is known stays, what changed is written, and nodes tell of themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contivpp_core.agent import Agent
from contivpp_core.events import NodeChanged, NodeJoined, NodeLeft
from contivpp_core.identity import HasIdentity
from contivpp_core.kubernetes import POD
from contivpp_core.node import CLUSTER_NODE, NODE_CLAIM, ClusterNode
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.published import published
from contivpp_core.state import Put, Ready
from contivpp_ksr.access import FileAccess
from contivpp_ksr.plugin import KsrPlugin
from contivpp_ksr.resources import RESOURCES
from contivpp_ksr.sink import Change
from contivpp_ksr.table_sink import TableSink
from contivpp_ksr.testing import FakeApiServer

from .objects import node, pod, readable, until

PODS = RESOURCES["Pod"]


class Told(Plugin):
    """Keeps what is told of nodes."""

    name = "told"

    def __init__(self) -> None:
        self.events: list[Any] = []

    @hookimpl
    def node_joined(self, event: NodeJoined) -> None:
        self.events.append(event)

    @hookimpl
    def node_changed(self, event: NodeChanged) -> None:
        self.events.append(event)

    @hookimpl
    def node_left(self, event: NodeLeft) -> None:
        self.events.append(event)


@asynccontextmanager
async def agent_of(*plugins: Plugin, **section: Any) -> AsyncIterator[Agent]:
    config = {"nodeName": "node1", "ksr": section} if section else {"nodeName": "node1"}
    agent = Agent(config, plugins, ledger_path=None, serve=False)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


@asynccontextmanager
async def watching(server: FakeApiServer, *plugins: Plugin) -> AsyncIterator[Agent]:
    async with server.serving(), agent_of(KsrPlugin(FileAccess(server.url)), *plugins, quietSeconds=2) as agent:
        yield agent


async def test_tables_are_ready_when_the_condition_says_so() -> None:
    server = FakeApiServer()
    server.put("Pod", pod("a"))
    async with watching(server) as agent:
        await until(lambda: agent.ready)
        assert dict.fromkeys(agent.state.table(POD.name)) == {"x/a": None}
        assert all(agent.state.ready(resource.table.name) for resource in RESOURCES.values())
        assert agent.state.ready(CLUSTER_NODE.name)
        assert agent.state.ready(NODE_CLAIM.name)
        plugin = agent.plugin("ksr")
        assert isinstance(plugin, HasIdentity)


async def test_a_lost_server_changes_nothing_and_is_told() -> None:
    server = FakeApiServer()
    server.put("Pod", pod("a"))
    async with watching(server) as agent:
        await until(lambda: agent.ready)
        revision = agent.state.revision
        server.freeze(True)
        await until(lambda: not agent.conditions["ksr Pod"].ok)
        assert "what is known stays in force" in agent.conditions["ksr Pod"].reason
        assert agent.state.ready(POD.name)
        server.freeze(False)
        server.cut()
        await until(lambda: agent.ready)
        assert agent.state.revision == revision


async def test_a_list_is_compared_and_equal_records_are_no_change() -> None:
    server = FakeApiServer()
    for name in "abc":
        server.put("Pod", pod(name))
    async with watching(server) as agent:
        await until(lambda: agent.ready)
        changed: list[str] = []
        agent.controller.follow(lambda changes, flips: changed.extend(change.key for change in changes))
        server.put("Pod", pod("a", "node1"))
        server.error(410)
        await until(lambda: agent.state.get(POD.name, "x/a").node == "node1")
        await asyncio.sleep(0.2)
        assert changed == ["x/a"]


async def test_what_the_local_mirror_filled_in_is_compared_with_the_first_list() -> None:
    async with agent_of() as agent:
        sink = TableSink(agent)
        known = {key: readable_pod(key) for key in "ab"}
        writes = [Put(POD.name, record) for record in known.values()]
        await agent.controller.write("mirror", [*writes, Ready(POD.name, stale=True)])
        changed: list[Any] = []
        agent.controller.follow(lambda changes, flips: changed.extend(changes))
        task = asyncio.create_task(sink.run())
        await sink.replace(PODS, {"x/a": known["a"], "x/c": readable_pod("c")}, frozenset())
        task.cancel()
        assert {(change.key, change.new is None) for change in changed} == {("x/b", True), ("x/c", False)}
        assert not agent.state.table(POD.name).stale


def readable_pod(name: str) -> Any:
    server = FakeApiServer()
    server.put("Pod", pod(name))
    return readable(server, "Pod")[f"x/{name}"]


async def test_nodes_come_change_and_go() -> None:
    server, told = FakeApiServer(), Told()
    own = ClusterNode(name="n", node_id=7, vpp_addresses=("10.0.0.7/24",), management_addresses=("10.9.0.7",))
    server.put("Node", node("other"))
    async with watching(server, told) as agent:
        await until(lambda: agent.ready)
        server.put("Node", node("n", node_id="7", addresses=published(own)))
        await until(lambda: agent.state.get(CLUSTER_NODE.name, "n") == own)
        server.put("Node", node("n", node_id="7", addresses="[]"))  # cannot be read: what is known stays
        server.put("Node", node("n", node_id="7", addresses='{"vpp": ["10.0.0.8/24"]}'))
        await until(lambda: agent.state.get(CLUSTER_NODE.name, "n") != own)
        server.delete("Node", "n")
        await until(lambda: agent.state.get(CLUSTER_NODE.name, "n") is None)
        await agent.hooks.drain()
        assert [type(event) for event in told.events] == [NodeJoined, NodeChanged, NodeLeft]


async def test_addresses_that_cannot_be_read_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    server = FakeApiServer()
    server.put("Node", node("n", node_id="7", addresses="{"))
    async with watching(server) as agent:
        await until(lambda: agent.ready)
        server.error(410)
        await asyncio.sleep(0.5)
        assert agent.state.get(CLUSTER_NODE.name, "n") is None
        told = [record for record in caplog.records if "addresses cannot be read" in record.getMessage()]
        assert len(told) == 1
        assert told[0].levelno == logging.ERROR


NAMES = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "delete", "replace", "wait"]), NAMES, st.sampled_from(["node1", "node2"])),
    max_size=30,
)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(STEPS)
def test_tables_end_as_the_changes_say(steps: list[tuple[str, str, str]]) -> None:
    async def scenario() -> None:
        async with agent_of() as agent:
            sink = TableSink(agent)
            task = asyncio.create_task(sink.run())
            server = FakeApiServer()
            waits = []
            for what, name, where in steps:
                if what == "put":
                    server.put("Pod", pod(name, where))
                elif what == "delete":
                    server.delete("Pod", f"x/{name}")
                elif what == "wait":
                    await asyncio.sleep(0)
                else:
                    work = sink.replace(PODS, readable(server, "Pod"), frozenset())
                    waits.append(asyncio.create_task(work))
                    await asyncio.sleep(0)
                if what in ("put", "delete"):
                    sink.apply(PODS, [Change(f"x/{name}", readable(server, "Pod").get(f"x/{name}"))])
            await sink.replace(PODS, readable(server, "Pod"), frozenset())
            await asyncio.gather(*waits)
            rows = agent.state.table(POD.name)
            assert {key: rows.get(key) for key in rows} == readable(server, "Pod")
            task.cancel()

    asyncio.run(scenario())
