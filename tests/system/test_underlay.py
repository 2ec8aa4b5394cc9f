# SPDX-License-Identifier: Apache-2.0
"""What is on the wire between two nodes, as tcpdump sees it: the VXLAN headers that the configuration asks for."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator

import pytest

from contivpp_sandbox.rigs.base import Probe
from contivpp_sandbox.rigs.netns.rig import NetnsRig
from contivpp_sandbox.sandbox.teardown import remains

from .rounds import SETTLE_SECONDS, pod

pytestmark = [pytest.mark.netns]


@contextlib.asynccontextmanager
async def cluster(dataplane: str, **contiv: object) -> AsyncIterator[NetnsRig]:
    """Two nodes, each with a pod."""
    rig = NetnsRig("vpp" if dataplane == "real" else "sandbox", "vpp" if dataplane == "real" else "embedded")
    try:
        await rig.start(["n1", "n2"], {"contiv": contiv} if contiv else {})
        await rig.apply([pod("n1"), pod("n2")])
        assert await rig.settle(SETTLE_SECONDS) == []
        yield rig
    finally:
        await rig.stop()


async def captured(rig: NetnsRig, probe: Probe, expression: str) -> tuple[str, list[str]]:
    """Return the probe's verdict, and what tcpdump says of each packet that was on the underlay meanwhile."""
    keeper = remains(rig.cluster.directory).keeper
    assert keeper is not None
    inside = ("nsenter", f"--net=/proc/{keeper.pid}/ns/net")
    command = (*inside, "tcpdump", "-i", "any", "-nn", "-e", "-v", "-l", expression)
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        assert process.stderr is not None
        async with asyncio.timeout(20):
            while b"listening on" not in (line := await process.stderr.readline()):
                assert line, "tcpdump ended"
        verdict = await rig.probe(probe)
        await asyncio.sleep(1)
    finally:
        process.terminate()
        out, _ = await process.communicate()
    packets = re.split(r"^(?=\d\d:\d\d:\d\d\.)", out.decode(errors="replace"), flags=re.MULTILINE)
    return verdict.verdict, [" ".join(packet.split()) for packet in packets]


@pytest.fixture(autouse=True)
def tcpdump() -> None:
    if shutil.which("tcpdump") is None:
        pytest.skip("needs the command tcpdump")


PING = Probe(source="x/n1", target="x/n2", expect="allowed", protocol="ICMP")


@pytest.mark.parametrize("vni", [10, 77_000])
async def test_packets_between_nodes_have_the_headers_that_are_asked_for(dataplane: str, vni: int) -> None:
    async with cluster(dataplane, vxlanVNI=vni) as rig:
        verdict, lines = await captured(rig, PING, "udp port 4789")
    assert verdict == "allowed"
    there = [line for line in lines if "192.168.16.1" in line and "echo request" in line]
    back = [line for line in lines if "192.168.16.2" in line and "echo reply" in line]
    for some, ends, macs in (
        (there, r"192\.168\.16\.1\.\d+ > 192\.168\.16\.2\.4789", "12:2b:00:00:00:01 > 12:2b:00:00:00:02"),
        (back, r"192\.168\.16\.2\.\d+ > 192\.168\.16\.1\.4789", "12:2b:00:00:00:02 > 12:2b:00:00:00:01"),
    ):
        assert some, "\n".join(lines)
        for line in some:
            assert re.search(ends, line), line
            assert re.search(rf"VXLAN, flags \[I\] \(0x08\), vni {vni}\b", line), line
            assert macs in line, line
            assert "ttl 25" in line.partition("VXLAN")[0], line  # 254, less the hop through VPP
    assert any("10.1.1.2 > 10.1.2.2" in line for line in there)


async def test_a_packet_to_a_dead_pod_does_not_come_back(dataplane: str) -> None:
    async with cluster(dataplane) as rig:
        dead = Probe(source="x/n1", target="10.1.2.99", expect="denied", protocol="ICMP", one_way=False)
        verdict, lines = await captured(rig, dead, "udp port 4789")
        nowhere = Probe(source="x/n1", target="10.1.99.9", expect="denied", protocol="ICMP")
        gone, elsewhere = await captured(rig, nowhere, "udp port 4789")
    assert verdict == "denied"
    requests = [line for line in lines if "10.1.1.2 > 10.1.2.99" in line]
    assert requests
    assert len(requests) <= 2 * 4 * 2  # each of 4 attempts once, seen at both ports of the bridge and on it
    assert not [line for line in lines if "192.168.16.2." in line.partition(">")[0] and "10.1.2.99" in line]
    assert gone == "denied"
    assert not [line for line in elsewhere if "10.1.99.9" in line]  # a node that there is not: dropped at once


async def test_without_the_overlay_packets_travel_as_they_are(dataplane: str) -> None:
    async with cluster(dataplane, nodeToNodeTransport="nooverlay") as rig:
        verdict, lines = await captured(rig, PING, "udp port 4789 or icmp")
    assert verdict == "allowed"
    assert not [line for line in lines if "VXLAN" in line]
    assert [line for line in lines if "10.1.1.2 > 10.1.2.2" in line and "echo request" in line]
