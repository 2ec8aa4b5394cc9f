# SPDX-License-Identifier: Apache-2.0
"""What pods notice when the agent, or VPP, is killed and started again."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import time
from pathlib import Path

import pytest

from .harness import Node, node
from .mesh import Mesh
from .processes import accepts, run, until

pytestmark = [pytest.mark.netns, pytest.mark.tun]

READS = re.compile(
    r".*_dump|.*_get|.*_get_table|want_.*|show_.*|control_ping|sockclnt_(create|delete)|get_first_msg_id|api_versions|"
    r"memclnt_keepalive(_reply)?|cli_inband"
)


async def monitor(netns: str) -> asyncio.subprocess.Process:
    """Print every change of a namespace that the kernel tells of."""
    command = ("nsenter", f"--net={netns}", "ip", "-4", "-o", "monitor", "link", "address", "route")
    return await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)


async def test_killing_the_agent_loses_no_packet_and_its_restart_only_reads(both: Node) -> None:
    first, second = (await both.pods(2)).items()
    address = second[1]
    ping = await asyncio.create_subprocess_exec(
        "nsenter", f"--net={first[0]}", "ping", "-n", "-i", "0.004", address, stdout=asyncio.subprocess.PIPE
    )
    started = time.monotonic()
    monitors = [await monitor(path) for path in (both.netns, first[0], second[0])]
    try:
        await asyncio.sleep(0.5)
        await both.vpp.trace_on()
        await both.kill_agent()
        await asyncio.sleep(0.5)
        begin = time.monotonic()
        await both.start_agent()
        restart = time.monotonic() - begin
        await both.settled()
        await asyncio.sleep(1.0)
    finally:
        seconds = time.monotonic() - started
        ping.send_signal(signal.SIGINT)
        out = (await ping.communicate())[0].decode()
        for each in monitors:
            each.terminate()
        changes = [(await each.communicate())[0].decode() for each in monitors]
    found = re.search(r"(\d+) packets transmitted, (\d+) received", out)
    assert found, out
    sent, received = map(int, found.groups())
    requests = await both.vpp.trace()
    status = both.get("status")
    print(f"{sent} sent in {seconds:.1f} s, {received} received")
    print(f"agent ready again after {restart:.2f} s, {len(requests)} requests to VPP")
    assert sent >= 100 * seconds
    assert received >= sent - 1, out[-500:]  # the last one may be on its way when ping is stopped
    missed = set(range(1, sent)) - {int(number) for number in re.findall(r"icmp_seq=(\d+)", out)}
    assert not missed
    assert requests
    assert [name for name in requests if not READS.fullmatch(name)] == []
    assert changes == ["", "", ""]
    assert status["operations"] == {"created": {}, "updated": {}, "deleted": {}, "failed": {}}
    assert status["items"]["applied"] > 0


async def test_after_a_restart_of_vpp_pods_keep_address_and_mac_and_reach_each_other(dataplane: str) -> None:
    count = 20 if dataplane == "embedded" else 4  # TAPs there, AF_PACKET here, where VPP needs 250 ms for each
    async with node(dataplane) as rig:
        await rig.start_agent()
        pods = await rig.pods(count)
        links = {path: await link(path) for path in pods}
        mesh = Mesh(pods)
        try:
            before = await mesh.connected(5)
            await rig.vpp.kill()
            returned = asyncio.ensure_future(socket_is_back(rig))
            await asyncio.gather(rig.vpp.start(), returned)
            await mesh.connected(30)
            seconds = time.monotonic() - returned.result()
            print(f"{dataplane}: {count} pods connected in {seconds:.2f} s (when nothing is wrong: {before:.2f} s)")
        finally:
            mesh.close()
        assert {path: await link(path) for path in pods} == links
        await rig.settled()
        assert seconds < 2.0


async def socket_is_back(rig: Node) -> float:
    """Return when VPP's API socket was served again."""
    await until(lambda: not accepts(rig.vpp.api_socket), 1, "VPP is gone")
    await until(lambda: accepts(rig.vpp.api_socket), 60, "VPP is back", every=0.005)
    return time.monotonic()


async def link(netns: str) -> tuple[str, list[str]]:
    """MAC and addresses of a pod."""
    _, out, _ = await run("ip", "-j", "address", "show", "eth0", netns=netns)
    found = json.loads(out)[0]
    addresses = [each for each in found["addr_info"] if each["family"] == "inet"]
    return found["address"], [f"{each['local']}/{each['prefixlen']}" for each in addresses]


async def test_a_new_agent_on_a_new_vpp_connects_the_pods_again(dataplane: str) -> None:
    async with node(dataplane) as rig:
        await rig.start_agent()
        pods = await rig.pods(6 if dataplane == "embedded" else 3)
        mesh = Mesh(pods)
        try:
            await asyncio.gather(rig.kill_agent(), rig.vpp.kill())
            await asyncio.gather(rig.start_agent(), rig.vpp.start())
            seconds = await mesh.connected(5)
            print(f"{dataplane}: connected {seconds:.2f} s after agent and VPP were there")
        finally:
            mesh.close()
        for path, address in pods.items():
            assert await rig.add(Path(path).name, path) == address


async def test_what_a_killed_agent_had_asked_of_a_slow_vpp_is_not_left_behind(dataplane: str) -> None:
    async with node(dataplane) as rig:
        await rig.start_agent()
        await rig.settled()
        before = await rig.footprint()
        assert rig.vpp.process is not None
        paths = [rig.namespaces.make(f"pod{number}") for number in range(6)]
        rig.vpp.process.send_signal(signal.SIGSTOP)
        calls = [asyncio.ensure_future(rig.cni("ADD", Path(path).name, path)) for path in paths]
        await asyncio.sleep(0.5)  # the messages wait in VPP's socket
        await rig.kill_agent()
        await asyncio.gather(*calls, return_exceptions=True)
        await rig.launch()
        await until(lambda: accepts(rig.cni_socket), 10, "the new agent serves CNI")
        deleting = [asyncio.ensure_future(rig.delete(Path(path).name, path)) for path in paths]
        await asyncio.sleep(0.5)
        rig.vpp.process.send_signal(signal.SIGCONT)
        await asyncio.gather(*deleting)
        await until(rig.ready, 20, "the agent is ready")
        await rig.nothing_left(before)
        for path in paths:
            assert await rig.linux_links(path) == ["lo"]
