# SPDX-License-Identifier: Apache-2.0
"""`contivpp get` and `contivpp history` against a running agent: what people see is what is there."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import pytest_asyncio

from .harness import NETWORK, Node
from .processes import until

pytestmark = [pytest.mark.netns, pytest.mark.tun]


@pytest_asyncio.fixture
async def busy(running: Node) -> Node:
    """A node with the pods default/web and default/db."""
    for name in ("web", "db"):
        await running.add(f"sandbox-{name}", running.namespaces.make(name), name=name)
    return running


async def shown(rig: Node, *arguments: str) -> list[list[str]]:
    """The cells of a table, by line, without its heading."""
    code, out, error = await rig.contivpp(*arguments)
    assert (code, error) == (0, "")
    return [line.split() for line in out.splitlines()[1:]]


async def parsed(rig: Node, *arguments: str) -> Any:
    code, out, error = await rig.contivpp(*arguments, "-o", "json")
    assert (code, error) == (0, "")
    return json.loads(out)


async def test_pods_are_shown_with_address_and_state(busy: Node) -> None:
    assert await shown(busy, "get", "pods") == [
        ["default", "db", "eth0", "10.1.1.3", "applied"],
        ["default", "web", "eth0", "10.1.1.2", "applied"],
    ]
    (first, _) = await parsed(busy, "get", "pods")
    assert (first["name"], first["address"], first["state"]) == ("db", "10.1.1.3", "applied")
    assert first["netns"]["path"].endswith("/netns/db")


async def test_interfaces_and_items_are_shown_with_their_owners(busy: Node) -> None:
    interfaces = await shown(busy, "get", "interfaces")
    assert [(re.sub(r"-[0-9a-f]{16}$", "", line[0]), line[1]) for line in interfaces] == [
        ("vpp/loopback/loopbackNIC", "applied"),
        ("vpp/loopback/podGwLoop", "applied"),
        ("vpp/loopback/vxlanBVI", "applied"),
        ("vpp/tap/pod-sandbox-db", "applied"),
        ("vpp/tap/pod-sandbox-web", "applied"),
        ("vpp/tap/tap-vpp2", "applied"),
    ]
    items = await parsed(busy, "get", "items", "--kind", "vpp/route,linux/address")
    assert {(item["key"].split("/")[1], item["state"], item["owners"][0]) for item in items} == {
        *(
            (kind, "applied", f"contiv-pod:sandbox-{name}/eth0")
            for kind in ("route", "address")
            for name in ("db", "web")
        ),
        ("route", "applied", "contiv-node:node1"),
        ("address", "applied", "contiv-host-link:node1"),
    }
    wide = await shown(busy, "get", "items", "--prefix", "vpp/route/0/10.1.1.", "-o", "wide")
    assert [line[0] for line in wide] == ["vpp/route/0/10.1.1.2/32", "vpp/route/0/10.1.1.3/32"]
    assert await shown(busy, "get", "items", "--state", "failed") == []


async def test_status_tells_what_is_wrong_and_what_the_items_wait_for(busy: Node) -> None:
    lines = await shown(busy, "get", "status")
    assert ["ready", "True", "-"] in lines
    status = await parsed(busy, "get", "status")
    assert (status["node"], status["ready"], status["items"]["failed"]) == ("node1", True, 0)
    assert all(condition["ok"] for condition in status["conditions"].values())
    assert status["operations"]["created"]["vpp/tap"] == 3  # the host's, too
    await busy.vpp.kill()
    await until(lambda: not busy.get("status")["ready"], 5, "the agent sees that VPP is gone")
    status = await parsed(busy, "get", "status")
    condition = status["conditions"]["vpp"]
    assert not condition["ok"]
    assert busy.vpp.api_socket in condition["reason"]
    pods = await parsed(busy, "get", "pods")
    # Their TAPs have gone with VPP: as soon as that is seen, what is on them waits for them.
    assert {pod["state"] for pod in pods} <= {"unknown", "pending"}
    assert "VPP is not connected" in pods[0]["reason"] or "linux/link/" in pods[0]["reason"]


async def test_history_tells_causes_and_what_came_of_them(busy: Node) -> None:
    await busy.delete("sandbox-db")
    network = json.dumps({**NETWORK, "sysctl": {"net.ipv4.no_such_thing": "1"}}).encode()
    code, answer = await busy.cni("ADD", "sandbox-bad", busy.namespaces.make("bad"), stdin=network)
    assert code == 1
    entries = await parsed(busy, "history")
    causes = [entry["cause"] for entry in entries]
    assert causes[-4:-1] == ["CNI ADD default/db", "CNI DEL default/db", "CNI ADD default/sandbox-bad"]
    assert causes[-1].startswith("CNI ADD default/sandbox-bad taken back: ")
    assert "linux/sysctl/" in causes[-1]
    assert "no_such_thing" in answer["msg"]
    assert sum(entry.get("created", 0) for entry in entries) > 20
    assert entries[-4]["changed"] == ["LocalPod/sandbox-db/eth0"]
    newest = await shown(busy, "history", "--limit", "1")
    assert newest[0][0] == str(entries[-1]["revision"])
    assert await shown(busy, "history", "--since", str(entries[-1]["revision"])) == []


async def test_without_an_agent_commands_say_so(busy: Node) -> None:
    await busy.kill_agent()
    for command in (("get", "pods"), ("history",)):
        code, out, error = await busy.contivpp(*command)
        assert (code, out) == (1, "")
        assert f"the agent is not running: nobody serves the socket {busy.agent_socket}" in error
        assert "contivpp agent" in error
