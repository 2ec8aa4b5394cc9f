# SPDX-License-Identifier: Apache-2.0
"""The rig in memory: the real agent on the embedded VPP, and what restarts and faults do to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from contivpp_core.clock import run_simulated
from contivpp_linux.kernel.errors import KernelError
from contivpp_linux.kernel.operations import SetLink
from contivpp_sandbox.rigs.base import ObjectReference, Probe, RigError
from contivpp_sandbox.rigs.memory.rig import MemoryRig

READING = ("_dump", "_get", "ping", "show_version", "want_", "sockclnt_", "cli_inband", "fib_source_add", "keepalive")
WIRINGS = [
    pytest.param({}, id="tap"),
    pytest.param({"contiv": {"podInterface": "afpacket"}}, id="afpacket"),
    pytest.param({"vpp": {"persistentTaps": True}}, id="persistent tap"),
    pytest.param({"contiv": {"podVRFID": 5}}, id="vrf"),
]


def pod(name: str, **metadata: object) -> dict:
    ports = [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}]
    return {
        "kind": "Pod",
        "metadata": {"namespace": "x", "name": name, **metadata},
        "spec": {"nodeName": "node1", "containers": [{"name": "c", "ports": ports}]},
    }


def on_rig(test: Callable[[MemoryRig], Awaitable[None]], config: dict | None = None, pods: str = "a b") -> None:
    """Run a test on a rig with pods."""

    async def main() -> None:
        rig = MemoryRig()
        try:
            await rig.start(["node1"], config or {})
            assert await rig.settle(60) == []
            await rig.apply([pod(name) for name in pods.split()])
            assert await rig.settle(60) == []
            await test(rig)
        finally:
            await rig.stop()

    run_simulated(main())


async def verdict(rig: MemoryRig, source: str = "x/b", target: str = "x/a", port: int = 80):
    return await rig.probe(Probe(source=source, target=target, port=port, expect="allowed"))


async def reaches(rig: MemoryRig, source: str = "x/b", target: str = "x/a") -> bool:
    found = await verdict(rig, source, target)
    return found.reached == (f"{target}:80",) and found.seen_source == source


@pytest.mark.parametrize("config", WIRINGS)
def test_pods_reach_each_other_through_vpp(config):
    async def test(rig):
        assert await reaches(rig)
        assert await reaches(rig, "x/a", "x/b")
        vpp = rig.node.vpp
        names = [interface.name for interface in vpp.dataplane.interfaces]
        wanted = "host-cvpp" if "podInterface" in config.get("contiv", {}) else "tap"
        used = [i for i in vpp.dataplane.interfaces if i.name.startswith(wanted) and i.host_if_name != "vpp1"]
        assert len(used) == 2, names
        assert all(interface.counters.rx_packets >= 6 for interface in used)

    on_rig(test, config)


@pytest.mark.parametrize("config", WIRINGS)
@pytest.mark.parametrize("kill", [False, True])
def test_a_restarted_agent_changes_nothing_and_only_reads(config, kill):
    async def test(rig):
        asked: list[str] = []
        rig.node.vpp.on_trace = lambda entry: asked.append(entry.name)
        before = dict(rig.kubelets.addresses)
        await rig.restart("agent", None, kill=kill)
        assert await rig.settle(60) == []
        changing = [name for name in asked if not any(part in name for part in READING)]
        assert changing == []
        assert "sw_interface_dump" in asked
        assert await reaches(rig)
        assert before == {key: sandbox.address for key, sandbox in rig.sandboxes.items()}

    on_rig(test, config)


def test_a_killed_agent_is_silent_and_pods_go_on_talking():
    async def test(rig):
        asked: list[str] = []
        rig.node.vpp.on_trace = lambda entry: asked.append(entry.name)
        stored = dict(rig.node._ledger.stored)
        await rig.node.stop_agent(kill=True)
        await rig.advance(300)
        assert asked == []
        assert rig.node._ledger.stored == stored
        assert await reaches(rig)
        await rig.node.start_agent()
        await rig.settle(60)

    on_rig(test)


@pytest.mark.parametrize("config", WIRINGS)
def test_a_new_vpp_is_filled_again(config):
    async def test(rig):
        old = rig.node.vpp
        macs = {key: rig.node.kernel.link(s.netns, "eth0").mac for key, s in rig.sandboxes.items()}
        await rig.restart("vpp", None, kill=True)
        assert await rig.settle(60) == []
        assert rig.node.vpp is not old
        assert await reaches(rig)
        assert macs == {key: rig.node.kernel.link(s.netns, "eth0").mac for key, s in rig.sandboxes.items()}

    on_rig(test, config)


def test_links_of_pods_vanish_with_vpp_unless_they_persist():
    async def vanish(rig):
        rig.node.stop_vpp()
        with pytest.raises(KernelError):
            rig.node.kernel.link(rig.sandboxes["x/a"].netns, "eth0")
        found = await verdict(rig)
        assert (found.verdict, found.why) == ("denied", "x/b: no route to 10.1.1.2")
        assert any("VPP" in line for line in await rig.settle(5))
        rig.node.start_vpp()
        assert await rig.settle(60) == []
        assert await reaches(rig)

    async def persist(rig):
        link = rig.node.kernel.link(rig.sandboxes["x/a"].netns, "eth0")
        rig.node.stop_vpp()
        assert (await verdict(rig)).verdict == "denied"
        rig.node.start_vpp()
        assert await rig.settle(60) == []
        assert rig.node.kernel.link(rig.sandboxes["x/a"].netns, "eth0") is link
        assert await reaches(rig)

    on_rig(vanish)
    on_rig(persist, {"vpp": {"persistentTaps": True}})


def test_why_names_node_interface_pod_and_reason():
    async def test(rig):
        await rig.delete([ObjectReference("Pod", "x", "a")])
        await rig.settle(60)
        found = await verdict(rig)
        assert (found.verdict, found.seen_source) == ("denied", "")
        assert found.why.startswith("node node1: VPP interface tap2 (x/b): ip4-glean: no neighbour and no route")

    on_rig(test)


def test_a_pods_link_that_is_down_drops_and_says_so():
    async def test(rig):
        await rig.node.kernel.apply(rig.sandboxes["x/a"].netns, [SetLink(link="eth0", up=False)])
        found = await verdict(rig)
        assert (found.verdict, found.why) == ("denied", "node node1: eth0 of the pod is down")

    on_rig(test)


def test_a_full_subnet_fails_the_add_and_a_freed_address_mends_it():
    async def test(rig):
        await rig.apply([pod(f"p{number}") for number in range(12)])
        unapplied = await rig.settle(60)
        failed = [line for line in unapplied if "CNI ADD failed" in line]
        assert failed
        assert len(failed) == len(unapplied)
        name = failed[0].split("pod ")[1].split(":")[0]
        found = await verdict(rig, target=name)
        assert found.verdict == "denied"
        assert f"{name} has no address: CNI ADD failed" in found.why
        running = [key for key, sandbox in rig.sandboxes.items() if sandbox.address and key not in ("x/a", "x/b")]
        await rig.delete([ObjectReference("Pod", *key.split("/")) for key in running[: len(failed)]])
        assert await rig.settle(60) == []
        assert await reaches(rig, target=name)

    subnets = {"podSubnetCIDR": "10.1.0.0/24", "podSubnetOneNodePrefixLen": 28}
    on_rig(test, {"ipam": subnets})


def test_a_pod_that_is_added_while_vpp_is_away_is_connected_later():
    async def test(rig):
        rig.node.stop_vpp()
        await rig.apply([pod("c")])
        assert any("pod x/c: CNI ADD failed: the agent is not ready" in line for line in await rig.settle(5))
        rig.node.start_vpp()
        assert await rig.settle(60) == []
        assert await reaches(rig, target="x/c")
        assert len(rig.node.kernel._namespaces) == 4  # the host's and three pods'

    on_rig(test)


def test_changed_ports_are_served_without_a_new_sandbox():
    async def test(rig):
        container = rig.sandboxes["x/a"].container
        changed = pod("a")
        changed["spec"]["containers"][0]["ports"] = [{"containerPort": 81}]
        await rig.apply([changed])
        assert (await verdict(rig)).verdict == "refused"
        assert (await verdict(rig, port=81)).reached == ("x/a:81",)
        assert rig.sandboxes["x/a"].container == container

    on_rig(test)


def test_records_of_pods_show_their_status():
    async def test(rig):
        shown = rig.node.running().state.get("Pod", "x/a")
        assert (shown.addresses, shown.ready, shown.phase) == (("10.1.1.2",), True, "Running")
        given = pod("c")
        given["status"] = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}
        await rig.apply([given])
        assert await rig.settle(60) == []
        shown = rig.node.running().state.get("Pod", "x/c")
        assert (shown.addresses, shown.ready) == (("10.1.1.4",), False)

    on_rig(test)


def test_pods_that_are_not_of_this_node_get_no_sandbox():
    async def test(rig):
        waiting = pod("waiting")
        del waiting["spec"]["nodeName"]
        on_host = pod("host")
        on_host["spec"]["hostNetwork"] = True
        await rig.apply([waiting, on_host])
        assert await rig.settle(60) == []
        assert rig.sandboxes["x/waiting"].host is rig.sandboxes["x/host"].host is None
        assert (await verdict(rig, "x/waiting")).why == "x/waiting is not connected: no address"
        await rig.delete([ObjectReference("Pod", "x", "waiting")])

    on_rig(test)


def test_what_is_not_served_is_an_error_of_the_rig():
    async def test(rig):
        with pytest.raises(RigError, match="not served yet"):
            await rig.probe(Probe(source="x/a", target="x/b", port=80, protocol="SCTP", expect="allowed"))
        with pytest.raises(RigError, match="VPP sends no probes"):
            await rig.probe(Probe(source="vpp:node1", target="x/b", port=80, expect="allowed"))
        with pytest.raises(RigError, match="not served yet"):
            await rig.restart("datastore", None, kill=False)
        with pytest.raises(RigError, match="there is no pod x/q"):
            await rig.delete([ObjectReference("Pod", "x", "q")])
        with pytest.raises(RigError, match="there is no node other"):
            await rig.restart("vpp", "other", kill=False)

    on_rig(test)
    with pytest.raises(RigError, match="the rig is not started"):
        run_simulated(MemoryRig().probe(Probe(source="x/a", target="x/b", port=80, expect="allowed")))


def test_two_runs_are_the_same():
    def run() -> list[object]:
        seen: list[object] = []

        async def test(rig):
            rig.node.vpp.on_trace = lambda entry: seen.append((entry.name, round(entry.time, 6)))
            await rig.apply([pod(f"p{number}") for number in range(5)])
            await rig.settle(60)
            seen.append(await verdict(rig, target="x/p3"))

        on_rig(test)
        return seen

    assert run() == run()
