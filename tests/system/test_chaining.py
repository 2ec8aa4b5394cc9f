# SPDX-License-Identifier: Apache-2.0
"""Plugins of containernetworking in one chain with ours: what they set stays where the kernel's link stays.

CONTIVPP_CNI_PLUGINS names their folder (`outside.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from contivpp_vpp.testing import VARIABLE, executable

from .chain import OURS, Chain, ChainError
from .harness import Node, node
from .outside import cni_plugins, program
from .processes import in_namespace, run, until

pytestmark = [pytest.mark.netns, pytest.mark.tun]

MAC = "02:00:00:00:00:77"
SYSCTL = "net.ipv4.conf.eth0.arp_filter"
TUNED = {"mtu": 1400, "mac": MAC, "promisc": True, "sysctl": {SYSCTL: "1"}}
REAL = pytest.param(("real", "afpacket"), marks=pytest.mark.realvpp, id="real-afpacket")


@pytest_asyncio.fixture(
    params=[pytest.param(("embedded", kind), id=f"embedded-{kind}") for kind in ("tap", "afpacket")] + [REAL]
)
async def rig(able: None, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    """A node whose agent runs, with each VPP and wiring."""
    kind, wiring = request.param
    if kind == "real" and executable() is None:
        pytest.skip(f"{VARIABLE} does not name a VPP executable")
    async with node(kind, settings={"contiv": {"podInterface": wiring}}) as made:
        await made.start_agent()
        await until(lambda: made.get("tables", "HostLink")["records"], 10, "the link to the host is chosen")
        await made.settled()
        yield made


class Pod:
    """A pod behind a chain, and another one that it talks with."""

    def __init__(self, rig: Node, chain: Chain, netns: str, result: Any, other: tuple[str, str]) -> None:
        self.rig, self.chain, self.netns, self.result, self.other = rig, chain, netns, result, other
        self.address = result["ips"][0]["address"].partition("/")[0]
        self.loses = rig.config["contiv"]["podInterface"] == "tap"  # the link goes with VPP

    async def link(self) -> dict[str, Any]:
        _, out, _ = await run("ip", "-j", "-d", "link", "show", "eth0", netns=self.netns)
        found: dict[str, Any] = json.loads(out)[0]
        return found

    async def talks(self) -> None:
        """Assert that packets of both directions arrive."""
        for netns, source, target in (
            (self.netns, self.address, self.other[1]),
            (self.other[0], self.other[1], self.address),
        ):
            command = ("ping", "-n", "-c", "2", "-i", "0.05", "-W", "1", "-I", source, target)
            for attempt in range(5):
                code, out, error = await run(*command, netns=netns)
                if code == 0:
                    break
                assert attempt < 4, out + error  # VPP's first packets after its start
                await asyncio.sleep(0.2)

    async def check(self) -> None:
        await self.chain.check("pod", self.netns)

    async def check_fails(self) -> tuple[str, Any]:
        with pytest.raises(ChainError) as failure:
            await self.check()
        return failure.value.plugin, failure.value.answer

    def altered(self) -> list[dict[str, Any]]:
        records: list[dict[str, Any]] = self.rig.get("tables", "AlteredLink")["records"]
        return records

    def faults(self) -> list[str]:
        return [each["reason"] for each in self.rig.get("tables", "Fault")["records"]]

    async def restart_agent(self) -> None:
        await self.rig.kill_agent()
        await self.rig.start_agent()
        await self.rig.settled()
        assert self.rig.get("status")["operations"] == {"created": {}, "updated": {}, "deleted": {}, "failed": {}}

    async def restart_vpp(self) -> None:
        await self.rig.vpp.kill()
        await until(lambda: not self.rig.get("status")["ready"], 10, "the agent has noticed")
        await self.rig.vpp.start()
        await until(self.rig.ready, 30, "the agent is ready again")
        await self.rig.settled()


@contextlib.asynccontextmanager
async def chained(rig: Node, *plugins: dict[str, Any], **options: Any) -> AsyncIterator[Pod]:
    """A pod that went through the chain; everything is deleted in the end, and leaves nothing."""
    names = [each["type"] for each in plugins if each["type"] != OURS["type"]]
    folder = cni_plugins(*names)
    before = await rig.footprint()
    ((other_netns, other),) = (await rig.pods(1, prefix="other")).items()
    netns = rig.namespaces.make("pod")
    await run("ip", "link", "set", "lo", "up", netns=netns)
    chain = Chain(rig, folder, *plugins, **options)
    pod = Pod(rig, chain, netns, await chain.add("pod", netns), (other_netns, other))
    yield pod
    await chain.delete("pod", netns)
    await rig.delete("pod", netns)  # others refuse when the link is gone
    await rig.delete("other0", other_netns)
    await until(lambda: not pod.altered() and not pod.faults(), 5, "nothing is known of the pod's link")
    await until(lambda: "contiv.altered" not in rig.ledger() or not rig.ledger()["contiv.altered"], 5, "nor stored")
    await rig.nothing_left(before)
    assert await rig.linux_links(netns) == ["lo"]


def tuning(rig: Node, **settings: Any) -> dict[str, Any]:
    return {"type": "tuning", "dataDir": str(rig.folder / "tuning"), **settings}


async def test_what_tuning_sets_stays_and_is_told_when_it_is_lost(rig: Node) -> None:
    async with chained(rig, OURS, tuning(rig, **TUNED)) as pod:
        assert pod.result["interfaces"][-1]["mac"] == MAC
        await pod.talks()  # VPP knows the new MAC
        await until(lambda: [each["mac"] for each in pod.altered()] == [MAC], 5, "the agent knows the new MAC")
        await pod.check()
        if pod.loses:
            await until(lambda: pod.altered()[0]["sysctls"], 10, "the agent knows the sysctl")
        before = await pod.link()
        assert (before["mtu"], before["address"], before["promiscuity"]) == (1400, MAC, 1)
        await pod.restart_agent()
        await pod.talks()
        await pod.check()
        assert await pod.link() == before
        assert pod.faults() == []
        await pod.restart_vpp()
        await pod.talks()
        if not pod.loses:
            await pod.check()
            assert await pod.link() == before
            assert pod.faults() == []
        else:
            await _told_as_lost(pod)
        await pod.restart_agent()
        await pod.talks()
        assert (pod.faults() != []) == pod.loses
        if not pod.loses:
            await pod.check()


async def test_a_persistent_tap_keeps_what_tuning_sets(able: None) -> None:
    settings = {"contiv": {"podInterface": "tap"}, "vpp": {"persistentTaps": True}}
    async with node("embedded", settings=settings) as rig:
        await rig.start_agent()
        ((other_netns, other),) = (await rig.pods(1, prefix="other")).items()
        netns = rig.namespaces.make("pod")
        chain = Chain(rig, cni_plugins("tuning"), OURS, tuning(rig, **TUNED))
        pod = Pod(rig, chain, netns, await chain.add("pod", netns), (other_netns, other))
        await until(pod.altered, 5, "the agent knows")
        await pod.restart_vpp()
        await pod.talks()
        await pod.check()
        now = await pod.link()
        assert (now["mtu"], now["address"], now["promiscuity"]) == (1400, MAC, 1)
        assert pod.faults() == []


async def _told_as_lost(pod: Pod) -> None:
    await until(pod.faults, 5, "what was lost is told")
    (fault,) = pod.faults()
    for lost in ("MTU 1400", "promiscuous mode", "sysctl net/ipv4/conf/eth0/arp_filter=1", "delete the pod"):
        assert lost in fault
    assert MAC not in fault  # the new link has it
    now = await pod.link()
    assert (now["mtu"], now["address"], now["promiscuity"]) == (1450, MAC, 0)
    plugin, answer = await pod.check_fails()
    assert (plugin, answer["code"]) == ("contivpp", 101)
    assert "MTU 1400" in answer["msg"]
    code, out, _ = await pod.rig.contivpp("get", "faults")
    assert code == 0
    assert "pod default/pod interface eth0" in out


async def test_no_fault_where_nobody_had_changed_anything(rig: Node) -> None:
    async with chained(rig, OURS, tuning(rig)) as pod:
        await pod.talks()
        await pod.check()
        await pod.restart_vpp()
        await pod.talks()
        await pod.check()
        await asyncio.sleep(0.5)
        assert pod.altered() == []
        assert pod.faults() == []


async def test_routes_that_sbr_moved_stay_where_they_are(rig: Node) -> None:
    async def tables() -> tuple[list[str], list[str]]:
        found = []
        for table in ("main", "100"):
            _, out, _ = await run("ip", "-4", "-j", "route", "show", "table", table, netns=pod.netns)
            found.append(sorted(route["dst"] for route in json.loads(out or "[]")))
        return found[0], found[1]

    async with chained(rig, OURS, {"type": "sbr"}) as pod:
        moved = ([], sorted(["default", pod.result["ips"][0]["gateway"]]))
        assert await tables() == moved
        await pod.talks()
        await until(lambda: pod.altered() and len(pod.altered()[0]["routes"]) == 2, 5, "the agent knows")
        await pod.check()
        await pod.restart_agent()
        assert await tables() == moved
        await pod.talks()
        await pod.check()
        await pod.restart_vpp()
        await pod.talks()
        if pod.loses:
            await until(pod.faults, 5, "what was lost is told")
            assert "the route to 0.0.0.0/0 was not in the main table" in pod.faults()[0]
        else:
            assert await tables() == moved
            await pod.check()


async def rules(rig: Node) -> list[str]:
    """The rules of iptables in the node's namespace."""
    _, out, _ = await run("iptables-save", netns=rig.netns)
    return [line for line in out.splitlines() if line.startswith("-A")]


async def test_firewall_has_its_rules_as_long_as_the_pod_is_there(rig: Node) -> None:
    program("iptables", "iptables")
    async with chained(rig, OURS, {"type": "firewall", "backend": "iptables"}) as pod:
        accepted = [rule for rule in await rules(rig) if f"{pod.address}/32" in rule]
        assert len(accepted) == 2
        await pod.talks()
        await pod.check()
        await pod.restart_agent()
        await pod.restart_vpp()
        await pod.talks()
        await pod.check()
        assert [rule for rule in await rules(rig) if f"{pod.address}/32" in rule] == accepted
        address = pod.address
    assert [rule for rule in await rules(rig) if f"{address}/32" in rule] == []


async def test_a_port_of_the_host_reaches_the_pod_by_portmap(rig: Node) -> None:
    program("iptables", "iptables")
    mapping = {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}
    runtime = {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}
    await run("ping", "-c", "1", "-W", "1", "172.30.1.1", netns=rig.netns)  # VPP keeps a route to whom it knows
    async with chained(rig, OURS, mapping, runtime=runtime) as pod:
        server = await served(pod.netns, 80)
        try:
            await reached(rig, 8080)
            await pod.restart_agent()
            await reached(rig, 8080)
            await pod.restart_vpp()
            await pod.talks()
            await reached(rig, 8080)
        finally:
            server.close()
        mine = [rule for rule in await rules(rig) if pod.address in rule]
        assert mine
        address = pod.address
    assert [rule for rule in await rules(rig) if address in rule or "8080" in rule or "CNI-DN" in rule] == []


async def served(netns: str, port: int) -> asyncio.Server:
    """A server in a pod that answers with a greeting."""

    def listen() -> socket.socket:
        return socket.create_server(("0.0.0.0", port))

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    return await asyncio.start_server(greet, sock=in_namespace(netns, listen))


async def reached(rig: Node, port: int) -> None:
    """Connect from the node's namespace to a port of the node, at its own address and not at the loopback."""

    def connect() -> bytes:
        with socket.create_connection(("172.30.1.2", port), timeout=2) as connection:
            return connection.recv(5)

    for attempt in range(5):
        try:
            assert await asyncio.to_thread(in_namespace, rig.netns, connect) == b"hello"
        except OSError:
            assert attempt < 4
            await asyncio.sleep(0.2)
        else:
            return


async def test_plugins_before_ours_keep_their_part_of_the_result(rig: Node) -> None:
    async with chained(rig, {"type": "loopback"}, OURS, tuning(rig, mtu=1400)) as pod:
        names = [each["name"] for each in pod.result["interfaces"]]
        assert names[0] == "lo"
        assert names[-1] == "eth0"
        addresses = [each["address"] for each in pod.result["ips"]]
        assert "127.0.0.1/8" in addresses
        (record,) = (each for each in rig.get("tables", "LocalPod")["records"] if each["container_id"] == "pod")
        mine = pod.result["ips"][addresses.index(f"{record['address']}/32")]
        assert pod.result["interfaces"][mine["interface"]]["name"] == "eth0"
        await pod.restart_agent()
        assert (await pod.link())["mtu"] == 1400


async def test_bandwidth_needs_a_veth_and_is_kept_there_but_sees_no_packet_of_vpp(rig: Node) -> None:
    program("tc", "iproute2")
    rates = {"ingressRate": 10**6, "ingressBurst": 10**5, "egressRate": 10**6, "egressBurst": 10**5}
    limits = {"type": "bandwidth", **rates}
    if rig.config["contiv"]["podInterface"] == "tap":
        chain, netns = Chain(rig, cni_plugins("bandwidth"), OURS, limits), rig.namespaces.make("pod")
        with pytest.raises(ChainError, match="no veth peer"):
            await chain.add("pod", netns)
        await chain.delete("pod", netns)
        return
    async with chained(rig, OURS, limits) as pod:
        outer = pod.result["interfaces"][0]["name"]
        before = await qdiscs(rig, outer)
        assert before == ["ingress", "tbf"]
        sent, received = await asyncio.to_thread(flow, pod.other[0], pod.netns, pod.address)
        assert received > 4 * 10**6 * FLOW_SECONDS / 8, (sent, received)  # the README says that nothing is limited
        await pod.restart_agent()
        await pod.restart_vpp()
        await pod.talks()
        await pod.check()
        assert await qdiscs(rig, outer) == before
    assert not [link for link in await rig.linux_links() if link.startswith("bwp")]


FLOW_SECONDS = 2.0


async def qdiscs(rig: Node, link: str) -> list[str]:
    _, out, _ = await run("tc", "-j", "qdisc", "show", "dev", link, netns=rig.netns)
    return sorted(each["kind"] for each in json.loads(out))


def flow(source: str, target: str, address: str) -> tuple[int, int]:
    """Offer 8 Mbit/s for two seconds; return the bytes sent and received."""

    def end() -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        made.bind(("0.0.0.0", 0))
        made.setblocking(False)
        return made

    sent = received = 0
    with in_namespace(source, end) as sender, in_namespace(target, end) as receiver:
        port, begin = receiver.getsockname()[1], time.monotonic()
        while (passed := time.monotonic() - begin) < FLOW_SECONDS + 0.2:
            while sent < min(passed, FLOW_SECONDS) * 10**6:
                with contextlib.suppress(BlockingIOError):
                    sender.sendto(bytes(1000), (address, port))
                sent += 1000
            with contextlib.suppress(BlockingIOError):
                while True:
                    received += len(receiver.recv(2000))
            time.sleep(0.001)
    return sent, received
