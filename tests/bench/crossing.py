# SPDX-License-Identifier: Apache-2.0
"""From pod to pod across two nodes: what our agents configured, against the same objects typed into VPP by hand.

Both stand on real VPPs with the same start-up configuration, on AF_PACKET, and are measured in turns, each made anew.
What differs is only who configured VPP, so the ratio should be 1 within what two runs of the same thing differ.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import socket
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import NamedTuple

from contivpp_sandbox.rigs.netns.rig import NetnsRig
from contivpp_sandbox.sandbox.vpp import cli
from contivpp_vpp.testing import RealVpp, executable, real_vpp
from tests.bench.result import Goal, Measured, Skipped
from tests.system.processes import Namespaces, in_namespace, run
from tests.system.rounds import pod

__all__ = ["crossing"]

PORT = 5201
PINGS = 200
SECONDS = 3.0
ROUNDS = 3


class Pair(NamedTuple):
    """Two pods: the paths of their namespaces, and the address of the second."""

    here: str
    there: str
    address: str


# --- by hand


def _commands(node: int, peer: int, mac: str) -> list[str]:
    """Return what an operator would type for node 1 or 2: the objects that contiv makes."""
    return [
        "create host-interface name uplink0 cksum-gso-disable",
        f"set interface mac address host-uplink0 12:2d:c0:a8:10:0{node}",
        "set interface mtu packet 1500 host-uplink0",
        f"set interface ip address host-uplink0 192.168.16.{node}/24",
        "set interface state host-uplink0 up",
        "create loopback interface instance 16000",
        f"set interface ip address loop16000 10.1.{node}.1/24",
        "set interface state loop16000 up",
        f"create loopback interface mac 12:2b:00:00:00:0{node} instance 16002",
        "create bridge-domain 1 learn 0 forward 1 uu-flood 0 flood 0 arp-term 0",
        "set interface l2 bridge loop16002 1 bvi",
        "set interface mtu packet 1450 loop16002",
        f"set interface ip address loop16002 192.168.30.{node}/24",
        "set interface state loop16002 up",
        f"create vxlan tunnel src 192.168.16.{node} dst 192.168.16.{peer} vni 10 instance 1",
        "set interface l2 bridge vxlan_tunnel1 1 1",
        f"l2fib add 12:2b:00:00:00:0{peer} 1 vxlan_tunnel1 static",
        f"set ip neighbor loop16002 192.168.30.{peer} 12:2b:00:00:00:0{peer} static",
        f"ip route add 10.1.{peer}.0/24 via 192.168.30.{peer} loop16002",
        "ip route add 10.1.0.0/16 via drop",
        "ip route add 172.30.0.0/16 via drop",
        "create host-interface name pod cksum-gso-disable",
        "set interface mtu packet 1450 host-pod",
        "set interface unnumbered host-pod use loop16000",
        f"set ip neighbor host-pod 10.1.{node}.2 {mac} static",
        f"ip route add 10.1.{node}.2/32 via 10.1.{node}.2 host-pod",
        "set interface state host-pod up",
    ]


async def _ip(*arguments: str, netns: str) -> str:
    code, out, error = await run("ip", *arguments, netns=netns)
    if code:
        raise RuntimeError(f"ip {' '.join(arguments)}: {error}")
    return out


async def _veth(netns: str, name: str, peer_netns: str, peer: str) -> None:
    """Make a veth pair; both ends up, checksums filled in by the kernel."""
    await _ip("link", "add", name, "type", "veth", "peer", "name", peer, "netns", peer_netns, netns=netns)
    for place, link in ((netns, name), (peer_netns, peer)):
        await _ip("link", "set", link, "up", netns=place)
        await run("ethtool", "-K", link, "tx", "off", netns=place)


@contextlib.asynccontextmanager
async def by_hand() -> AsyncIterator[Pair]:
    """Two VPPs, each with a pod, configured by commands."""
    folder = Path(tempfile.mkdtemp(prefix="contivpp-bench-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        namespaces = Namespaces(folder / "netns")
        stack.callback(namespaces.clear)
        wire, pods = namespaces.make("wire"), []
        await _ip("link", "add", "br0", "type", "bridge", netns=wire)
        await _ip("link", "set", "br0", "up", netns=wire)
        for node, peer in ((1, 2), (2, 1)):
            host, place = namespaces.make(f"host{node}"), namespaces.make(f"pod{node}")
            await _veth(wire, f"port{node}", host, "uplink0")
            await _ip("link", "set", f"port{node}", "master", "br0", netns=wire)
            await _veth(host, "pod", place, "eth0")
            mac = re.search(r"link/ether (\S+)", await _ip("link", "show", "eth0", netns=place))
            assert mac is not None
            vpp = await stack.enter_async_context(real_vpp(netns=host))
            for command in _commands(node, peer, mac[1]):
                await _type(vpp, command)
            shown = await _type(vpp, "show hardware-interfaces host-pod")
            own = re.search(r"Ethernet address (\S+)", shown)
            assert own is not None, shown
            await _ip("link", "set", "eth0", "mtu", "1450", netns=place)
            await _ip("addr", "add", f"10.1.{node}.2/32", "dev", "eth0", netns=place)
            await _ip("route", "add", f"10.1.{node}.1", "dev", "eth0", netns=place)
            await _ip("route", "add", "default", "via", f"10.1.{node}.1", netns=place)
            gateway = (f"10.1.{node}.1", "lladdr", own[1], "dev", "eth0", "nud", "permanent")
            await _ip("neigh", "add", *gateway, netns=place)
            pods.append(place)
        yield Pair(pods[0], pods[1], "10.1.2.2")


async def _type(vpp: RealVpp, command: str) -> str:
    answer = await cli(vpp.cli_socket, command)
    if re.search(r"unknown input|error|failed|invalid", answer, re.IGNORECASE) and not command.startswith("show"):
        raise RuntimeError(f"{command}: {answer}")
    return answer


# --- by agents


@contextlib.asynccontextmanager
async def by_agents() -> AsyncIterator[Pair]:
    """Two nodes of the sandbox, each with a pod."""
    rig = NetnsRig("vpp", "vpp")
    try:
        await rig.start(["n1", "n2"], {})
        await rig.apply([pod("n1"), pod("n2")])
        if late := await rig.settle(60):
            raise RuntimeError("; ".join(late))
        here, there = (rig.cluster.pods[f"x/{node}"] for node in ("n1", "n2"))
        yield Pair(*(f"/proc/{each.process.pid}/ns/net" for each in (here, there)), there.address)
    finally:
        await rig.stop()


# --- measuring


async def _round_trip_ms(pair: Pair) -> float:
    command = ("ping", "-q", "-i", "0.01", "-c", str(PINGS), pair.address)
    code, out, error = await run(*command, netns=pair.here)
    lines = re.search(r"= [\d.]+/([\d.]+)/", out)
    if code or lines is None:
        raise RuntimeError(f"{' '.join(command)}: {out}{error}")
    return float(lines[1])


def _listener() -> socket.socket:
    made = socket.create_server(("0.0.0.0", PORT))
    made.settimeout(30)
    return made


def _pour(address: str) -> Callable[[], None]:
    def work() -> None:
        with socket.create_connection((address, PORT), timeout=10) as sender:
            data, end = bytes(1 << 20), time.monotonic() + SECONDS
            while time.monotonic() < end:
                sender.sendall(data)

    return work


def _gigabits(listener: socket.socket) -> float:
    connection, _ = listener.accept()
    total, begin, buffer = 0, time.monotonic(), bytearray(1 << 20)
    with connection:
        while count := connection.recv_into(buffer):
            total += count
    return total * 8 / (time.monotonic() - begin) / 1e9


async def _throughput(pair: Pair) -> float:
    listener = in_namespace(pair.there, _listener)
    with listener:
        receiving = asyncio.ensure_future(asyncio.to_thread(_gigabits, listener))
        await asyncio.to_thread(in_namespace, pair.here, _pour(pair.address))
        return await receiving


async def _measure(make: Callable[[], contextlib.AbstractAsyncContextManager[Pair]]) -> tuple[float, float]:
    async with make() as pair:
        await _round_trip_ms(pair)  # neighbours are found, caches are warm
        return await _round_trip_ms(pair), await _throughput(pair)


async def _in_turns(rounds: int) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(await _measure(by_agents))
        theirs.append(await _measure(by_hand))
    return ours, theirs


def crossing(runs: int) -> list[Measured]:
    """Round trip and throughput between pods of two nodes."""
    if executable() is None:
        raise Skipped("needs a real VPP: name its executable by CONTIVPP_VPP")
    missing = [program for program in ("ip", "ping", "nsenter", "ethtool") if shutil.which(program) is None]
    if missing:
        raise Skipped(f"needs the commands {', '.join(missing)}")
    ours, theirs = asyncio.run(_in_turns(ROUNDS))
    details = {"ours": ours, "by_hand": theirs}
    trips = [statistics.median(each[0] for each in some) for some in (ours, theirs)]
    rates = [statistics.median(each[1] for each in some) for some in (ours, theirs)]
    hand = "VPP configured by hand"
    return [
        Measured("crossing", "ping between pods of two nodes", "ms", *trips, hand, Goal(1.1), details),
        Measured(
            "crossing", "TCP between pods of two nodes", "Gbit/s", *rates, hand, Goal(0.9, more_is_better=True), details
        ),
    ]
