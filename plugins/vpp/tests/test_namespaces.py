# SPDX-License-Identifier: Apache-2.0
"""TAP and AF_PACKET interfaces with Linux ends in namespaces of the test's own."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from contivpp_core.items import Item
from contivpp_core.ledger import Ledger
from contivpp_core.namespaces import Namespace
from contivpp_vpp import messages as m
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors.tap import TapDescriptor
from contivpp_vpp.items import (
    Address,
    AfPacket,
    LinkUp,
    Mac,
    Mtu,
    PhysicalInterface,
    SubInterface,
    Tap,
)
from contivpp_vpp.probe import PROBE
from contivpp_vpp.short_paths import ShortPaths
from contivpp_vpp.testing import RealVpp, real_vpp
from contivpp_vpp.transports import unix_socket
from contivpp_vpp.values import address_text

from .benches import Bench, a_bench, a_vpp
from .nodes import PodLink, a_node, pods
from .test_nics import table


@pytest.fixture
async def own_network() -> AsyncIterator[str]:
    """A network namespace of its own; its path."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a network namespace")
    keeper = await asyncio.create_subprocess_exec(
        "unshare", "--net", "sh", "-c", "echo ready; exec sleep 60", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert keeper.stdout is not None
        assert await asyncio.wait_for(keeper.stdout.readline(), 5) == b"ready\n"
        yield f"/proc/{keeper.pid}/ns/net"
    finally:
        keeper.kill()
        await keeper.wait()


async def run(namespace: str, *command: str) -> None:
    process = await asyncio.create_subprocess_exec("nsenter", f"--net={namespace}", *command)
    assert await process.wait() == 0


@pytest.mark.netns
@pytest.mark.tun
async def test_a_tap_in_a_pods_namespace(own_network: str) -> None:
    status = os.stat(own_network)
    namespace = Namespace(own_network, status.st_dev, status.st_ino)
    item = Tap(name="pod3", host_name="eth0", namespace=namespace, host_mac="02:FE:00:00:00:03", host_mtu=1400)
    async with a_bench("embedded") as bench:
        await bench.create(item)
        found = (await bench.dump(item.kind))[item.key]
        assert bench.descriptors[item.kind].equal(item, found.item)
        assert found.handle == bench.handles[item.key]
        assert found.item.namespace == namespace
        await run(own_network, "ip", "link", "show", "eth0")
        await bench.delete(item)
        await bench.delete(item)
        assert await bench.dump(item.kind) == {}


@pytest.mark.netns
@pytest.mark.tun
async def test_a_namespace_with_a_long_path_has_a_short_name_for_vpp(own_network: str, tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 60)
    deep.symlink_to(own_network)
    status = os.stat(own_network)
    namespace = Namespace(str(deep), status.st_dev, status.st_ino)
    item = Tap(name="pod3", host_name="eth0", namespace=namespace)
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="v") as folder:
        async with a_bench("embedded") as bench:
            access = VppAccess()
            access.client = bench.connection
            bench.descriptors[item.kind] = TapDescriptor(access, paths=ShortPaths(Path(folder) / "ns"))
            await bench.create(item)
            found = (await bench.dump(item.kind))[item.key]
            assert found.item.namespace == namespace
            assert bench.descriptors[item.kind].equal(item, found.item)
            await bench.delete(item)
        assert os.listdir(folder) == []


@pytest.mark.netns
@pytest.mark.tun
async def test_what_an_interrupted_probe_leaves_is_deleted(own_network: str) -> None:
    async with a_vpp("embedded") as connect:
        operator = await Connection.open(connect, name="the agent before")
        await Bench(operator).create(Tap(name=PROBE.name, host_name="left", namespace=Namespace(own_network, 1, 1)))
        async with a_node(connect) as node:

            async def gone() -> bool:
                return not await operator.dump(m.SwInterfaceTapV2Dump())

            await node.until(gone)
        operator.close()


@pytest.mark.netns
@pytest.mark.realvpp
async def test_a_pod_over_af_packet_outlives_vpp(own_network: str) -> None:
    await run(own_network, "ip", "link", "add", "pod2", "type", "veth", "peer", "name", "eth0")
    link = PodLink(name="pod2")
    items: list[Item] = [
        link,
        AfPacket(name="pod2", host_name="pod2", mac="02:fe:00:00:00:02"),
        *(item for item in pods(1) if not isinstance(item, Mac) and item.key != "vpp/loopback/pod2"),
    ]
    async with real_vpp(netns=own_network) as vpp, a_node(unix_socket(vpp.api_socket), items) as node:
        await node.applied(items)
        await vpp.kill()
        await node.until(lambda: node.scheduler.domain_state()["vpp"] != "")
        await vpp.start()
        await node.until(lambda: node.listener.told.count("resynced") == 2)
        await node.applied(items)
        await node.scheduler.settled()
        assert await node.scheduler.check("vpp/afpacket") == {}
        assert len(await node.vpp.client.connection.dump(m.AfPacketDump())) == 1


@pytest.mark.netns
@pytest.mark.realvpp
async def test_af_packet_over_a_veth(own_network: str) -> None:
    await run(own_network, "ip", "link", "add", "pod2", "type", "veth", "peer", "name", "eth0")
    item = AfPacket(name="pod2", host_name="pod2", mac="02:FE:00:00:00:02")
    async with real_vpp(netns=own_network) as vpp:
        connection = await Connection.open(unix_socket(vpp.api_socket))
        bench = Bench(connection)
        await bench.create(item)
        assert (await bench.dump(item.kind))[item.key].item == item
        await bench.create(LinkUp(interface="pod2"))
        handle = bench.handles[item.key]
        await bench.create(item)  # its answer was lost: what is there is ours, and replaced
        assert list(await bench.dump(item.kind)) == [item.key]
        await bench.delete(item)
        await bench.delete(item)
        assert await bench.dump(item.kind) == {}
        foreign = await connection.request(m.AfPacketCreateV3(host_if_name="pod2"))
        with pytest.raises(Exception, match="in VPP already"):
            await bench.create(item)
        assert foreign.sw_if_index == handle
        with pytest.raises(Exception, match="INVALID_INTERFACE"):
            await bench.create(AfPacket(name="nothing", host_name="nothing"))
        connection.close()


@pytest.mark.netns
@pytest.mark.realvpp
async def test_a_nic_of_vpps_start_goes_and_comes(own_network: str) -> None:
    """VPP's start-up configuration makes the uplink of a rig; its items follow it."""
    await run(own_network, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", "wire")
    uplink = PhysicalInterface(name="uplink", device="host-eth0")
    items: list[Item] = [
        uplink,
        Address(interface="uplink", address="192.168.16.1/24"),
        Mtu(interface="uplink", mtu=1400),
        LinkUp(interface="uplink"),
        SubInterface(name="vlan", parent="uplink", vlan=100),
        Address(interface="vlan", address="192.168.17.1/24"),
    ]
    commands = tempfile.NamedTemporaryFile("w", suffix=".vpp")  # noqa: SIM115 VPP reads it when it starts
    commands.write("create host-interface name eth0\nset interface mtu packet 1450 host-eth0\n")
    commands.flush()
    start = f"unix {{ exec {commands.name} }}"
    with commands:
        async with real_vpp(netns=own_network, extra=start) as vpp, a_node(unix_socket(vpp.api_socket), items) as node:
            await node.until(lambda: set(node.states().values()) == {"applied"})  # VPP may answer before it is through
            [nic] = table(node).values()
            assert (nic.name, nic.kind, nic.mtu) == ("host-eth0", "af-packet", 1450)
            operator = await Connection.open(unix_socket(vpp.api_socket), name="operator")
            await operator.request(m.AfPacketDelete(host_if_name="eth0"))
            await node.until(lambda: node.states()[uplink.key] == "failed" and table(node) == {})
            await operator.request(m.AfPacketCreateV3(host_if_name="eth0"))
            await node.until(lambda: set(node.states().values()) == {"applied"})
            assert list(table(node)) == ["host-eth0"]
            for kind in sorted({item.kind for item in items}):
                assert await node.scheduler.check(kind) == {}
            await node.want()
            await node.until(lambda: node.states() == {})
            [index] = [each.sw_if_index for each in await operator.dump(m.AfPacketDump())]
            assert await operator.dump(m.IpAddressDump(sw_if_index=index)) == []
            names = {each.interface_name for each in await operator.dump(m.SwInterfaceDump())}
            assert names == {"local0", "host-eth0"}
            operator.close()


@pytest.mark.netns
@pytest.mark.realvpp
async def test_an_agent_that_starts_with_another_nic_or_address(own_network: str) -> None:
    """What the former agent set goes, what VPP's start-up commands set stays; a new VPP has nothing of ours."""
    start, ledger = "", Ledger.open(None)
    for number in (0, 1):
        await run(own_network, "ip", "link", "add", f"eth{number}", "type", "veth", "peer", "name", f"wire{number}")
        start += f"create host-interface name eth{number}\n"
        start += f"set interface ip address host-eth{number} 10.9.{number}.1/24\n"

    def uplink(nic: int, address: str, mtu: int) -> list[Item]:
        return [
            PhysicalInterface(name="uplink", device=f"host-eth{nic}"),
            Address(interface="uplink", address=address),
            Mtu(interface="uplink", mtu=mtu),
            LinkUp(interface="uplink"),
        ]

    async def life(vpp: RealVpp, nic: int, address: str, mtu: int) -> dict[str, tuple[set[str], int, bool]]:
        """An agent starts and ends; return addresses and MTU of the NICs, and which of them are up."""
        items = uplink(nic, address, mtu)
        async with a_node(unix_socket(vpp.api_socket), items, ledger=ledger) as node:
            await node.until(lambda: set(node.states().values()) == {"applied"} and len(node.states()) == len(items))
            await node.scheduler.settled()
        operator = await Connection.open(unix_socket(vpp.api_socket), name="operator")
        found = {}
        for each in await operator.dump(m.SwInterfaceDump()):
            addresses = await operator.dump(m.IpAddressDump(sw_if_index=each.sw_if_index))
            texts = {f"{address_text(one.prefix.address)}/{one.prefix.len}" for one in addresses}
            found[each.interface_name] = texts, each.mtu[0], bool(each.flags & m.IfStatusFlags.ADMIN_UP)
        operator.close()
        return {name: found[name] for name in ("host-eth0", "host-eth1")}

    first, second, third = "192.168.16.1/24", "192.168.16.2/24", "10.9.0.1/24"
    with tempfile.NamedTemporaryFile("w", suffix=".vpp") as commands:
        commands.write(start)
        commands.flush()
        async with real_vpp(netns=own_network, extra=f"unix {{ exec {commands.name} }}") as vpp:
            there = await life(vpp, 0, first, 1400)
            assert there == {"host-eth0": ({first, third}, 1400, True), "host-eth1": ({"10.9.1.1/24"}, 9000, False)}
            there = await life(vpp, 1, first, 1500)
            assert there == {"host-eth0": ({third}, 1400, False), "host-eth1": ({first, "10.9.1.1/24"}, 1500, True)}
            there = await life(vpp, 1, second, 1450)
            assert there["host-eth1"] == ({second, "10.9.1.1/24"}, 1450, True)
            there = await life(vpp, 0, third, 1400)  # it was there already: ours from now on
            assert there == {"host-eth0": ({third}, 1400, True), "host-eth1": ({"10.9.1.1/24"}, 1450, False)}
            await vpp.restart()
            there = await life(vpp, 0, first, 1400)  # its own start-up commands have set it again
            assert there["host-eth0"] == ({first, third}, 1400, True)
