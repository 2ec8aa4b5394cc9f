# SPDX-License-Identifier: Apache-2.0
"""The plugin in an agent: Kubernetes objects over the local API."""

from __future__ import annotations

import json

import pytest

from contivpp_core.agent import Agent
from contivpp_core.api import ApiError
from contivpp_sandbox.agent_routes import DATAPLANE_PATH, SETTLED_PATH
from contivpp_sandbox.plugin import OBJECTS_PATH, SandboxPlugin, plugin, write_objects

POD = {"kind": "Pod", "metadata": {"namespace": "x", "name": "a", "labels": {"app": "a"}}}
NODE = {"kind": "Node", "metadata": {"name": "n"}}


@pytest.fixture
async def agent():
    agent = Agent({"nodeName": "n", "plugins": []}, [SandboxPlugin()], ledger_path=None, serve=False)
    await agent.start()
    yield agent
    await agent.stop()


def body(**content: object) -> bytes:
    return json.dumps(content).encode()


async def test_tables_are_ready_with_the_first_request(agent):
    assert agent.sourced("Pod")
    assert not agent.state.ready("Pod")
    await write_objects(agent, body())
    assert all(agent.state.ready(table) for table in ("Pod", "Namespace", "Node"))


async def test_objects_are_written_and_deleted(agent):
    first = await write_objects(agent, body(apply=[POD, NODE]))
    assert agent.state.get("Pod", "x/a").labels == (("app", "a"),)
    assert agent.state.get("Node", "n") is not None
    gone = {"kind": "Pod", "namespace": "x", "name": "a"}
    assert await write_objects(agent, body(delete=[gone])) > first
    assert agent.state.get("Pod", "x/a") is None
    assert agent.state.get("Node", "n") is not None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"nonsense", "JSON is malformed"),
        (body(aply=[]), "unknown field `aply`"),
        (body(apply=[POD, {"kind": "Service", "metadata": {"name": "s"}}]), "kind Service are not served yet"),
        (body(apply=[POD, {"metadata": {"name": "s"}}]), "must say its kind"),
        (body(apply=[POD, {"kind": "Pod", "metadata": {"name": "s"}}]), "Pod s: Object missing required field"),
        (body(delete=[{"kind": "Job", "name": "s"}]), "kind Job are not served yet"),
    ],
)
async def test_a_request_that_is_wrong_changes_nothing(agent, content, message):
    with pytest.raises(ApiError, match=message):
        await write_objects(agent, content)
    assert agent.state.get("Pod", "x/a") is None
    assert not agent.state.ready("Pod")


def test_routes_and_commands():
    found = plugin()
    routes = {(route.method, route.path) for route in found.api_routes(agent=None)}  # type: ignore[arg-type]
    assert routes == {("POST", OBJECTS_PATH), ("GET", SETTLED_PATH), ("GET", DATAPLANE_PATH)}
    assert {command.name for command in found.commands()} == {"scenario", "sandbox"}
