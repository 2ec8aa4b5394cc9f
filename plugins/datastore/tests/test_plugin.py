# SPDX-License-Identifier: Apache-2.0
"""The plugin as the agent runs it: from its entry point, over a socket, with the command that shows nodes."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from contivpp_core.agent import Agent
from contivpp_core.cli.client import Client
from contivpp_core.cluster import encode_node, node_key, object_key
from contivpp_core.errors import ConfigError, ContivError
from contivpp_core.kubernetes import NAMESPACE
from contivpp_core.node import CLUSTER_NODE, ClusterNode
from contivpp_datastore.embedded.engine import SqliteStore
from contivpp_datastore.embedded.server import StoreServer
from contivpp_datastore.plugin import DatastorePlugin

DEADLINE = 20.0


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[SqliteStore]:
    engine = await SqliteStore.open()
    server = StoreServer(engine, path)
    await server.start()
    try:
        yield engine
    finally:
        await server.stop()
        await engine.close()


@asynccontextmanager
async def agent_at(path: Path) -> AsyncIterator[Agent]:
    """Run an agent that finds the plugin by its entry point."""
    settings = {
        "nodeName": "node1",
        "plugins": ["datastore"],
        "runDir": str(path),
        "stateDir": str(path),
        "datastore": {"socket": str(path / "store.sock")},
    }
    agent = Agent(settings)
    await agent.start()
    try:
        yield agent
    finally:
        await agent.stop()


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():
            await asyncio.sleep(0.02)


async def printed(path: Path, *arguments: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "contivpp_core.cli", *arguments, "--socket", str(path / "agent.sock")),
        stdout=asyncio.subprocess.PIPE,
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def test_nodes_are_shown(tmp_path: Path) -> None:
    second = ClusterNode(
        name="node2",
        node_id=2,
        vpp_addresses=("192.168.16.2/24", "192.168.30.2/24"),
        management_addresses=("10.200.0.2",),
    )
    async with serving(tmp_path / "store.sock") as store, agent_at(tmp_path) as agent:
        plugin = agent.plugin("datastore")
        assert isinstance(plugin, DatastorePlugin)
        await store.put(node_key("node10"), encode_node(ClusterNode(name="node10", node_id=10)))
        await plugin.caught_up(await plugin.store.put(node_key("node2"), encode_node(second)))
        lines = (await printed(tmp_path, "get", "nodes")).splitlines()
        assert [line.split() for line in lines] == [
            ["NAME", "ID", "VPP", "ADDRESSES", "MANAGEMENT", "ADDRESSES", "FAULT"],
            ["node2", "2", "192.168.16.2/24,", "192.168.30.2/24", "10.200.0.2", "-"],
            ["node10", "10", "-", "-", "-"],
        ]
        records = json.loads(await printed(tmp_path, "get", "nodes", "-o", "json"))
        assert {record["name"]: record["vpp_addresses"] for record in records} == {
            "node2": list(second.vpp_addresses),
            "node10": [],
        }


async def test_the_local_api_tells_how_the_mirror_stands(tmp_path: Path) -> None:
    client = Client(str(tmp_path / "agent.sock"))
    async with agent_at(tmp_path) as agent:
        plugin = agent.plugin("datastore")
        assert isinstance(plugin, DatastorePlugin)
        told = await asyncio.to_thread(client.get, "v1", "datastore")
        assert (told["revision"], told["connected"], told["malformed"]) == (0, False, [])
        async with serving(tmp_path / "store.sock") as store:
            bad = await store.put(object_key("Pod", "default", "bad"), b"{}")
            await plugin.caught_up(bad)
            await until(lambda: agent.ready)
            told = await asyncio.to_thread(client.get, "v1", "datastore")
            assert (told["revision"], told["connected"], told["reason"]) == (bad, True, "")
            entries = [(entry["key"], entry["revision"]) for entry in told["malformed"]]
            assert entries == [(object_key("Pod", "default", "bad"), bad)]
        await until(lambda: not agent.ready)
        assert str(tmp_path / "store.sock") in agent.conditions["datastore"].reason


async def test_a_store_that_lost_everything_is_mirrored_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.sock"
    async with agent_at(tmp_path) as agent:
        plugin = agent.plugin("datastore")
        assert isinstance(plugin, DatastorePlugin)
        async with serving(path) as store:
            await store.put(object_key("Namespace", "", "old"), b'{"metadata": {"name": "old"}}')
            await plugin.caught_up(
                await store.put(object_key("Namespace", "", "kept"), b'{"metadata": {"name": "kept"}}')
            )
        assert sorted(agent.state.table(NAMESPACE.name)) == ["kept", "old"]
        async with serving(path) as store:  # another store, empty
            last = await store.put(object_key("Namespace", "", "kept"), b'{"metadata": {"name": "kept"}}')
            async with asyncio.timeout(DEADLINE):
                await plugin.caught_up(last)
            assert list(agent.state.table(NAMESPACE.name)) == ["kept"]
            assert agent.state.ready(CLUSTER_NODE.name)


async def test_the_section_is_checked_and_the_store_is_not_there_before_the_start() -> None:
    with pytest.raises(ConfigError, match=r"datastore\.driver"):
        Agent({"datastore": {"driver": "paper"}}, [DatastorePlugin()], ledger_path=None)
    with pytest.raises(ContivError, match="no open store"):
        _ = DatastorePlugin().store
