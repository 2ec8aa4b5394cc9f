# SPDX-License-Identifier: Apache-2.0
"""The command with several nodes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from .sandboxes import Sandboxes, sandboxes

pytestmark = pytest.mark.netns


@pytest.fixture(scope="module", params=["root", "user"])
def box(request: pytest.FixtureRequest) -> Iterator[Sandboxes]:
    made = sandboxes(request.param)
    try:
        made.run("up", "--nodes", "2", "--mtu", "1600")
        made.run("apply", "-f", str(made.manifest))
        yield made
    finally:
        made.clear()


def reached(box: Sandboxes) -> dict[tuple[str, str], bool]:
    out, _ = box.run("matrix", "-o", "json")
    return {(cell["from"], cell["to"]): cell["ok"] for cell in json.loads(out) if cell["protocol"] == "ICMP"}


def test_pods_are_on_both_nodes_and_reach_each_other(box: Sandboxes) -> None:
    out, _ = box.run("status", "-o", "json")
    status = json.loads(out)
    assert [(node["name"], node["id"]) for node in status["nodes"]] == [("node1", 1), ("node2", 2)]
    assert status["underlay"] == {"mtu": 1600, "broken": {}}
    assert {pod["pod"]: pod["node"] for pod in status["pods"]} == {"default/a": "node1", "x/b": "node2"}
    assert reached(box) == {("default/a", "x/b"): True, ("x/b", "default/a"): True}
    out, _ = box.run("exec", "--node", "node2", "--", "cat", "/proc/net/dev", "/proc/sys/kernel/hostname")
    assert all(link in out for link in ("uplink0:", "mgmt0:", "node2"))
    out, _ = box.run("exec", "a", "--", "cat", "/sys/class/net/eth0/mtu")
    assert int(out) == 1550


def test_a_node_is_cut_off_and_healed(box: Sandboxes) -> None:
    out, _ = box.run("break", "node2")
    assert "node2 is cut off" in out
    assert set(reached(box).values()) == {False}
    out, _ = box.run("status")
    assert "underlay    MTU 1600, node2 is cut off" in out
    out, _ = box.run("break", "--heal")
    assert "node1 has its link again\nnode2 has its link again" in out
    assert set(reached(box).values()) == {True}


def test_loss_is_had_or_said_to_be_impossible(box: Sandboxes) -> None:
    process = box.start("break", "node2", "--loss", "10")
    out, errors = process.communicate(timeout=30)
    assert (process.returncode == 0 and "node2 loses 10 %" in out) or "it lacks sch_netem" in errors
    box.run("break", "node2", "--heal")


def test_nodes_join_and_leave(box: Sandboxes) -> None:
    node = "kind: Node\nmetadata: {name: late}\n---\nkind: Pod\nmetadata: {name: c}\nspec: {nodeName: late}\n"
    out, _ = box.run("apply", "-f", "-", stdin=node)
    assert "agent of late: node ID 3" in out
    assert "pod default/c: 10.1.3." in out
    assert reached(box)["x/b", "default/c"]
    pids = [pid for name, pid in box.processes().items() if name.endswith(":late")]
    assert len(pids) == 3
    out, _ = box.run("delete", "-f", "-", stdin="kind: Node\nmetadata: {name: late}\n")
    assert "Node late is deleted" in out
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    out, _ = box.run("status", "-o", "json")
    status = json.loads(out)
    assert [node["name"] for node in status["nodes"]] == ["node1", "node2"]
    assert "default/c" not in {pod["pod"] for pod in status["pods"]}
