# SPDX-License-Identifier: Apache-2.0
"""The rigs of processes do what `rigs.base` says, with the embedded VPP and with a real one."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contivpp_sandbox.rigs.base import ObjectReference, Probe, RigError, Transport, Verdict
from contivpp_sandbox.rigs.netns import NetnsRig, sandbox_rig, vpp_rig
from contivpp_sandbox.sandbox.errors import SandboxError
from contivpp_sandbox.sandbox.vpp import check_limits

from .sandboxes import sandboxes

pytestmark = pytest.mark.netns


def pod(name: str, *ports: tuple[str, int]) -> dict[str, Any]:
    container = {"ports": [{"protocol": protocol, "containerPort": number} for protocol, number in ports]}
    metadata = {"namespace": "x", "name": name}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n1", "containers": [container]}}


@pytest.fixture(params=["sandbox", pytest.param("vpp", marks=pytest.mark.realvpp)])
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[NetnsRig]:
    if request.param == "vpp" and not os.environ.get("CONTIVPP_VPP"):
        pytest.skip("CONTIVPP_VPP does not name a VPP executable")
    try:
        sandboxes("root").clear()
    except pytest.skip.Exception:
        if request.param == "vpp":
            raise
        sandboxes("user").clear()
    if request.param == "vpp":
        try:
            check_limits("vpp")
        except SandboxError as error:
            pytest.skip(str(error))
    made = sandbox_rig() if request.param == "sandbox" else vpp_rig()
    try:
        await made.start(["n1"], {"ipam": {"podSubnetCIDR": "10.7.0.0/16"}})
        await made.apply([pod("a", ("TCP", 80), ("UDP", 53)), pod("b")])
        assert await made.settle(30) == []
        yield made
    finally:
        await made.stop()


async def ask(
    rig: NetnsRig, source: str, target: str, protocol: Transport = "TCP", port: int = 0, **more: Any
) -> Verdict:
    return await rig.probe(Probe(source=source, target=target, protocol=protocol, port=port, expect="allowed", **more))


async def test_probes(rig: NetnsRig) -> None:
    answer = await ask(rig, "x/b", "x/a", "TCP", 80, repeat=20)
    assert (answer.verdict, answer.reached, answer.seen_source) == ("allowed", ("x/a:80",), "x/b")
    assert answer.source_address.startswith("10.7.")
    answer = await ask(rig, "x/b", "x/a", "TCP", 80, source_port=4711, repeat=2, size=5000)
    assert answer.reached == ("x/a:80",)
    answer = await ask(rig, "x/b", "x/a", "UDP", 53, size=1200, do_not_fragment=True)
    assert (answer.verdict, answer.reached, answer.seen_source) == ("allowed", ("x/a:53",), "x/b")
    answer = await ask(rig, "x/b", "x/a", "ICMP")
    assert (answer.verdict, answer.reached, answer.seen_source) == ("allowed", ("x/a",), "x/b")
    assert (await ask(rig, "x/b", "x/a", "TCP", 81)).verdict == "refused"
    assert (await ask(rig, "x/b", "x/a", "UDP", 81)).verdict == "refused"
    answer = await ask(rig, "x/b", "x/a", "UDP", 53, size=2000, do_not_fragment=True)
    assert answer.verdict == "refused"
    assert "larger than the MTU" in answer.why


async def test_packets_of_no_flow(rig: NetnsRig) -> None:
    for protocol, port, reached in (("TCP", 80, "x/a:80"), ("UDP", 99, "x/a:99"), ("ICMP", 0, "x/a")):
        answer = await ask(rig, "x/b", "x/a", protocol, port, one_way=True)  # type: ignore[arg-type]
        assert (answer.verdict, answer.reached, answer.seen_source) == ("allowed", (reached,), "x/b"), protocol


async def test_restarts_and_a_pod_that_goes(rig: NetnsRig) -> None:
    before = rig.cluster.directory.read("keeper.json")["processes"]
    await rig.restart("agent", "n1", kill=True)
    await rig.restart("vpp", None, kill=True)
    assert await rig.settle(30) == []
    after = rig.cluster.directory.read("keeper.json")["processes"]
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"agent:n1", "vpp:n1"}
    assert (await ask(rig, "x/b", "x/a", "TCP", 80)).reached == ("x/a:80",)
    await rig.apply([pod("a", ("TCP", 81))])  # the same pod, with another port
    assert (await ask(rig, "x/b", "x/a", "TCP", 81)).reached == ("x/a:81",)
    assert (await ask(rig, "x/b", "x/a", "TCP", 80)).verdict == "refused"
    await rig.delete([ObjectReference("Pod", "x", "a")])
    assert await rig.settle(30) == []
    answer = await ask(rig, "x/b", "x/a", "ICMP")
    assert answer.verdict == "denied"
    with pytest.raises(RigError, match="there is no pod x/a that runs"):
        await ask(rig, "x/a", "x/b", "ICMP")


async def test_settings_that_are_wrong_end_the_start_with_the_agents_words(any_box: object) -> None:
    rig = sandbox_rig()
    try:
        with pytest.raises(RigError, match=r"(?s)agent ended with exit code 2.*ipam\.podSubnetCIDR"):
            await rig.start(["n1"], {"ipam": {"podSubnetCIDR": "nonsense"}})
    finally:
        await rig.stop()
