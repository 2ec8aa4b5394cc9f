# SPDX-License-Identifier: Apache-2.0
"""The plugin in an agent: what rigs ask, and the commands."""

from __future__ import annotations

import json

import pytest

from contivpp_core.agent import Agent
from contivpp_core.api import ApiError, Request
from contivpp_core.cluster import object_key
from contivpp_core.testing.kvstore import MemoryKVStore
from contivpp_datastore.plugin import DatastorePlugin
from contivpp_sandbox.agent_routes import DATAPLANE_PATH, SETTLED_PATH
from contivpp_sandbox.plugin import SandboxPlugin, plugin

NAMESPACE = {"kind": "Namespace", "metadata": {"name": "x"}}


@pytest.fixture
def store():
    return MemoryKVStore()


@pytest.fixture
async def agent(store):
    plugins = [DatastorePlugin(store=store), SandboxPlugin()]
    made = Agent({"nodeName": "n", "plugins": []}, plugins, ledger_path=None, serve=False)
    await made.start()
    yield made
    await made.stop()


async def settled(agent: Agent, **query: str):
    (route,) = [route for route in plugin().api_routes(agent) if route.path == SETTLED_PATH]
    return await route.handler(Request("GET", SETTLED_PATH, {}, query))


async def test_settled_has_seen_a_revision(agent, store):
    revision = await store.put(object_key("Namespace", "", "x"), json.dumps(NAMESPACE).encode())
    assert (await settled(agent, seconds="5", revision=str(revision)))["settled"]
    assert agent.state.get("Namespace", "x") is not None


async def test_a_revision_that_does_not_come(agent, store):
    answer = await settled(agent, seconds="0.1", revision=str(store.revision + 1))
    assert not answer["settled"]


@pytest.mark.parametrize("query", [{"seconds": "-1"}, {"seconds": "soon"}, {"revision": "-1"}, {"revision": "last"}])
async def test_what_cannot_be_asked(agent, query):
    with pytest.raises(ApiError, match="must be"):
        await settled(agent, **query)


def test_routes_and_commands():
    found = plugin()
    routes = {(route.method, route.path) for route in found.api_routes(agent=None)}  # type: ignore[arg-type]
    assert routes == {("GET", SETTLED_PATH), ("GET", DATAPLANE_PATH)}
    assert {command.name for command in found.commands()} == {"scenario", "sandbox"}
