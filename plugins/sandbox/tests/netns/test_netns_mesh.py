# SPDX-License-Identifier: Apache-2.0
"""Rigs of several nodes: who reaches whom, what packets may measure, and nodes that leave, join and move."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contivpp_sandbox.rigs.base import ObjectReference, Probe, Transport, Underlay, Verdict
from contivpp_sandbox.rigs.netns import NetnsRig, sandbox_rig, vpp_rig
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.vpp import check_limits

from .sandboxes import sandboxes

pytestmark = pytest.mark.netns

OUTSIDE = "192.168.16.200"


def pod(name: str, node: str) -> dict[str, Any]:
    ports = [{"protocol": "TCP", "containerPort": 80}, {"protocol": "UDP", "containerPort": 53}]
    metadata = {"namespace": "x", "name": name}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [{"ports": ports}]}}


@pytest.fixture(scope="module", params=["sandbox", pytest.param("vpp", marks=pytest.mark.realvpp)])
def kind(request: pytest.FixtureRequest) -> str:
    chosen: str = request.param
    if chosen == "vpp" and not os.environ.get("CONTIVPP_VPP"):
        pytest.skip("CONTIVPP_VPP does not name a VPP executable")
    try:
        sandboxes("root").clear()
    except pytest.skip.Exception:
        if chosen == "vpp":
            raise
        sandboxes("user").clear()
    if chosen == "vpp":
        try:
            check_limits("vpp")
        except SandboxError as error:
            pytest.skip(str(error))
    return chosen


@pytest.fixture
async def rig(kind: str) -> AsyncIterator[NetnsRig]:
    made = sandbox_rig() if kind == "sandbox" else vpp_rig()
    try:
        await made.start(["n1", "n2"], {}, Underlay(mtu=1500))
        await made.apply([pod("a", "n1"), pod("b", "n2")])
        assert await made.settle(30) == []
        yield made
    finally:
        await made.stop()


async def ask(
    rig: NetnsRig, source: str, target: str, protocol: Transport = "ICMP", port: int = 0, **more: Any
) -> Verdict:
    return await rig.probe(Probe(source=source, target=target, protocol=protocol, port=port, expect="allowed", **more))


async def test_who_reaches_whom(rig: NetnsRig) -> None:
    for source, target, protocol, port, reached, seen in (
        ("x/a", "x/b", "TCP", 80, "x/b:80", "x/a"),
        ("x/b", "x/a", "UDP", 53, "x/a:53", "x/b"),
        ("x/a", "x/b", "ICMP", 0, "x/b", "x/a"),
        ("node:n1", "x/a", "TCP", 80, "x/a:80", "node:n1"),
        ("node:n1", "x/b", "ICMP", 0, "x/b", "node:n1"),
        ("x/a", "node:n1", "TCP", 999, "node:n1:999", "x/a"),
        ("x/b", "node:n1", "UDP", 999, "node:n1:999", "x/b"),
        ("x/b", "node:n1", "ICMP", 0, "node:n1", "x/b"),
        ("x/a", "172.30.2.2", "TCP", 999, "node:n2:999", "x/a"),
        ("x/a", "vpp:n2", "ICMP", 0, "vpp:n2", ""),
        ("x/a", OUTSIDE, "TCP", 80, f"{OUTSIDE}:80", "x/a"),
        (OUTSIDE, "x/b", "TCP", 80, "x/b:80", OUTSIDE),
        (OUTSIDE, "vpp:n1", "ICMP", 0, "vpp:n1", ""),
    ):
        answer = await ask(rig, source, target, protocol, port)  # type: ignore[arg-type]
        found = (answer.verdict, answer.reached, answer.seen_source)
        assert found == ("allowed", (reached,), seen), f"{source} to {target} {protocol}: {answer}"
    assert (await ask(rig, OUTSIDE, "x/b", "TCP", 80, via="n2")).seen_source == OUTSIDE
    assert (await ask(rig, "x/a", "x/b", "TCP", 81)).verdict == "refused"


async def test_management_networks_are_apart(rig: NetnsRig) -> None:
    answer = await ask(rig, "node:n1", "node:n2", "TCP", 80)
    assert answer.verdict == "denied"
    assert "ARP" in answer.why


async def test_large_packets(rig: NetnsRig) -> None:
    for source, smaller, larger in (("x/a", 1422, 1423), (OUTSIDE, 1422, 1460)):
        for protocol, port, target in (("ICMP", 0, "x/b"), ("UDP", 53, "x/b")):
            ends: Any = (source, target, protocol, port)
            assert (await ask(rig, *ends, size=smaller, do_not_fragment=True)).verdict == "allowed", ends
            answer = await ask(rig, *ends, size=larger, do_not_fragment=True)
            assert answer.verdict == "refused", ends
            assert re.search(r"\b1450 bytes", answer.why), answer.why
            assert (await ask(rig, *ends, size=larger)).verdict == "allowed", ends
        assert (await ask(rig, source, "x/b", "TCP", 80, size=100_000)).verdict == "allowed"


async def test_a_node_that_leaves_and_one_that_joins(rig: NetnsRig) -> None:
    inside = rig.cluster.nodes["n2"].folder.path
    await rig.delete([ObjectReference("Node", "", "n2")])
    assert await rig.settle(30) == []
    assert (await ask(rig, "x/a", "x/b")).verdict == "denied"
    assert not inside.exists()
    processes = await rig.cluster.keeper.processes()
    assert not [name for name in processes if name.endswith(":n2")]
    await rig.apply([{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n2"}}, pod("b", "n2")])
    assert await rig.settle(30) == []
    assert rig.cluster.nodes["n2"].place.node_id == 2
    assert (await ask(rig, "x/a", "x/b", "TCP", 80)).reached == ("x/b:80",)


async def test_a_node_with_another_address(rig: NetnsRig) -> None:
    interface = {"interfaceName": "host-uplink0", "ip": "192.168.16.77/24"}
    await rig.apply([{"kind": "NodeConfig", "metadata": {"name": "n2"}, "spec": {"mainVPPInterface": interface}}])
    assert await rig.settle(30) == []
    assert (await ask(rig, "x/a", "x/b", "TCP", 80)).reached == ("x/b:80",)
    assert (await rig.cluster.store.vpp_addresses())["n2"] == "192.168.16.77"
    assert (await ask(rig, "x/a", "vpp:n2")).verdict == "allowed"


async def test_restarts_of_one_node(rig: NetnsRig) -> None:
    before = rig.cluster.directory.read("keeper.json")["processes"]
    await rig.restart("vpp", "n2", kill=True)
    await rig.restart("agent", "n2", kill=False)
    assert await rig.settle(30) == []
    after = rig.cluster.directory.read("keeper.json")["processes"]
    assert {name for name in before if before[name] != after[name]} == {"agent:n2", "vpp:n2"}
    assert (await ask(rig, "x/a", "x/b", "TCP", 80)).reached == ("x/b:80",)


async def test_a_node_that_is_cut_off(rig: NetnsRig) -> None:
    place = rig.cluster.inventory.member("n2")
    assert (await ask(rig, "x/a", "x/b")).verdict == "allowed"
    await rig.cluster.underlay.cut([place])
    assert (await ask(rig, "x/a", "x/b")).verdict == "denied"
    await rig.cluster.underlay.heal([place])
    assert (await ask(rig, "x/a", "x/b")).verdict == "allowed"
