# SPDX-License-Identifier: Apache-2.0
"""The plugin in an agent: connecting, adopting, repairing, VPP's death and return."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path as FilePath
from typing import Any, ClassVar

import pytest

from contivpp_core.agent import Agent
from contivpp_core.items import Descriptor, Found, Item, Known
from contivpp_core.ledger import Ledger
from contivpp_core.namespaces import Namespace
from contivpp_core.plugin import Plugin, hookimpl
from contivpp_core.records import Record, Table
from contivpp_core.state import Put, Ready
from contivpp_vpp import messages as m
from contivpp_vpp.access import VppAccess
from contivpp_vpp.connection import Connection
from contivpp_vpp.descriptors import all_descriptors
from contivpp_vpp.items import (
    Address,
    AfPacket,
    InterfaceVrf,
    LinkUp,
    Loopback,
    Mac,
    Mtu,
    Neighbour,
    Path,
    Route,
    Tap,
    Unnumbered,
    VrfTable,
)
from contivpp_vpp.plugin import VppPlugin
from contivpp_vpp.probe import PROBE
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import Connect, unix_socket
from contivpp_vpp.values import tag_of

_spec = importlib.util.spec_from_file_location("vpp_benches", FilePath(__file__).with_name("benches.py"))
assert _spec is not None
assert _spec.loader is not None
benches = sys.modules.setdefault("vpp_benches", importlib.util.module_from_spec(_spec))
_spec.loader.exec_module(benches)
BACKENDS, a_vpp = benches.BACKENDS, benches.a_vpp

HAS_VHOST = FilePath("/dev/vhost-net").exists()
KINDS = [each.kind for each in all_descriptors(VppAccess())]
READS = {
    "control_ping", "show_version", "cli_inband", "want_interface_events", "sw_interface_dump",
    "sw_interface_get_table",
    "sw_interface_tap_v2_dump", "af_packet_dump", "ip_table_dump", "ip_route_v2_dump", "ip_address_dump",
    "ip_unnumbered_dump", "fib_source_dump", "ip_neighbor_dump",
}  # fmt: skip


class PodLink(Item, frozen=True, kw_only=True):
    """A Linux interface that is there."""

    kind: ClassVar[str] = "linux/veth"
    name: str

    @property
    def key(self) -> str:
        return f"linux/veth/host/{self.name}"


class PodLinkDescriptor(Descriptor[PodLink]):
    """The Linux plugin's part, as far as VPP's items depend on it."""

    kind: ClassVar[str] = PodLink.kind
    item: ClassVar[type[Item]] = PodLink
    domain: ClassVar[str] = "linux"

    def provides(self, item: PodLink) -> Iterable[str]:
        return (f"linux/link/host/{item.name}",)

    async def dump(self, known: Known) -> list[Found]:
        return [Found(item.key, item, 1) for item in known.items(self.kind)]

    async def create(self, item: PodLink, handles: Any) -> int:
        return 1

    async def delete(self, item: PodLink, handle: Any, handles: Any) -> None:
        """It stays."""


class Wanted(Record, frozen=True, kw_only=True):
    """Everything that is wanted."""

    items: tuple[Any, ...]


WANTED = Table("Wanted", Wanted, key=lambda record: "all")


class WantedRenderer:
    """What is written is what is wanted."""

    name = "test"
    table = WANTED.name
    reads: frozenset[str] = frozenset()
    produces = frozenset([*KINDS, PodLink.kind])
    derives: frozenset[str] = frozenset()

    def render(self, view: Any, key: str) -> Iterable[Item | Record]:
        record: Wanted = view.get(WANTED.name, key)
        return record.items


class Listener(Plugin):
    """Notes what happens, and wants what it is told to."""

    name = "listener"
    requires = ("vpp",)

    def __init__(self) -> None:
        self.told: list[str] = []

    @hookimpl
    def tables(self) -> Iterable[Any]:
        return [WANTED]

    @hookimpl
    def descriptors(self, agent: Agent) -> Iterable[Any]:
        return [PodLinkDescriptor()]

    async def start(self, agent: Agent) -> None:
        await agent.scheduler.domain_up("linux", "boot")

    @hookimpl
    def renderers(self, agent: Agent) -> Iterable[Any]:
        return [WantedRenderer()]

    @hookimpl
    def vpp_connected(self, event: Any) -> None:
        self.told.append("connected")

    @hookimpl
    def vpp_lost(self, event: Any) -> None:
        self.told.append("lost")

    @hookimpl
    def resync_done(self, event: Any) -> None:
        if event.domain == "vpp":
            self.told.append("resynced")


class Node:
    """An agent with the plugin, and items submitted as a renderer's."""

    def __init__(self, connect: Connect, ledger: Ledger) -> None:
        self.vpp = VppPlugin(connect=connect)
        self.listener = Listener()
        self.agent = Agent(
            {"plugins": ["vpp", "listener"]}, [self.vpp, self.listener], ledger=ledger, serve=False
        )
        self.scheduler = self.agent.scheduler

    async def want(self, *items: Item) -> None:
        """Replace all that is wanted."""
        await self.agent.controller.write("test", [Put(WANTED.name, Wanted(items=items)), Ready(WANTED.name)])

    def states(self) -> dict[str, str]:
        return {each.key: each.state for each in self.scheduler.items()}

    async def applied(self, items: Iterable[Item], *, seconds: float = 20.0) -> None:
        """Wait until all items are applied, in VPP as well."""
        await self.scheduler.waiters.until_applied([item.key for item in items], seconds)

    async def until(self, holds: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20.0) -> None:
        async with asyncio.timeout(seconds):
            while True:
                answer = holds()
                if answer if isinstance(answer, bool) else await answer:
                    return
                await asyncio.sleep(0.02)

    def sent(self) -> set[str]:
        statistics = self.vpp.client.connection.statistics
        return {name for name, each in statistics.items() if each.count}


@asynccontextmanager
async def a_node(connect: Connect, items: Iterable[Item] = (), ledger: Ledger | None = None) -> AsyncIterator[Node]:
    node = Node(connect, ledger or Ledger.open(None))
    await node.agent.start()
    try:
        await node.want(*items)
        yield node
    finally:
        await node.agent.stop()


def pods(count: int = 1) -> list[Item]:
    """What a node with pods wants, with loopbacks in place of the pods' interfaces."""
    items: list[Item] = [
        Loopback(name="gateway", instance=100),
        Address(interface="gateway", address="10.1.1.1/24", vrf=1),
        InterfaceVrf(interface="gateway", vrf=1),
        LinkUp(interface="gateway"),
        VrfTable(vrf=1, label="pods"),
        Route(vrf=1, prefix="0.0.0.0/0", paths=(Path(kind="lookup", via_vrf=0),)),
    ]
    for number in range(2, 2 + count):
        name, address = f"pod{number}", f"10.1.1.{number}"
        items += [
            Loopback(name=name, instance=number, mac=f"02:FE:00:00:00:{number:02x}"),
            InterfaceVrf(interface=name, vrf=1),
            Unnumbered(interface=name, donor="gateway", vrf=1),
            Mtu(interface=name, mtu=1450),
            Mac(interface=name, mac=f"02:fe:00:00:00:{number:02X}"),
            LinkUp(interface=name, requires=("vpp/vrf/1",)),
            Route(vrf=1, prefix=f"{address}/32", paths=(Path(interface=name, next_hop=address),)),
            Neighbour(interface=name, address=address, mac=f"02:00:00:00:01:{number:02x}"),
        ]
    return items


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_restart_of_the_agent_only_reads(backend: str) -> None:
    items = pods(3)
    async with a_vpp(backend) as connect:
        async with a_node(connect, items) as node:
            await node.applied(items)
            await node.scheduler.settled()
            assert not node.sent() <= READS
        async with a_node(connect, items) as again:
            await again.applied(items)
            await again.scheduler.settled()
            assert again.sent() <= READS
            assert again.agent.readiness()["vpp"].ok
            await again.until(lambda: "resynced" in again.listener.told)


@pytest.mark.parametrize("backend", BACKENDS)
async def test_what_nobody_wants_any_more_is_deleted_after_a_restart(backend: str) -> None:
    async with a_vpp(backend) as connect:
        async with a_node(connect, pods(2)) as node:
            await node.applied(pods(2))
        async with a_node(connect, pods(1)) as again:
            await again.applied(pods(1))
            await again.until(lambda: set(again.states()) == {item.key for item in pods(1)})
            tags = {each.tag for each in await again.vpp.client.connection.dump(m.SwInterfaceDump())}
            assert tags - {""} == {tag_of("gateway"), tag_of("pod2")}


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_interface_deleted_by_hand_comes_back(backend: str) -> None:
    items = pods(2)
    async with a_vpp(backend) as connect, a_node(connect, items) as node:
        await node.applied(items)
        await node.scheduler.settled()
        operator = await Connection.open(connect, name="operator")
        victim = next(e for e in await operator.dump(m.SwInterfaceDump()) if e.tag == tag_of("pod2"))
        await operator.request(m.DeleteLoopback(sw_if_index=victim.sw_if_index))

        async def back() -> bool:
            tags = {each.tag for each in await operator.dump(m.SwInterfaceDump())}
            return tag_of("pod2") in tags

        await node.until(back)
        await node.applied(items)
        await node.scheduler.settled()
        assert await node.scheduler.check("vpp/route") == {}
        operator.close()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_a_link_set_down_by_hand_comes_up(backend: str) -> None:
    items = pods(1)
    async with a_vpp(backend) as connect, a_node(connect, items) as node:
        await node.applied(items)
        await node.scheduler.settled()
        operator = await Connection.open(connect, name="operator")

        async def up() -> bool:
            details = {each.tag: each for each in await operator.dump(m.SwInterfaceDump())}
            return bool(details[tag_of("pod2")].flags & m.IfStatusFlags.ADMIN_UP)

        index = next(e.sw_if_index for e in await operator.dump(m.SwInterfaceDump()) if e.tag == tag_of("pod2"))
        await operator.request(m.SwInterfaceSetFlags(sw_if_index=index))
        assert not await up()
        await node.until(up)
        operator.close()


@pytest.mark.parametrize("backend", BACKENDS)
async def test_an_interface_with_fifty_routes_is_made_again(backend: str) -> None:
    items = pods(1)
    routes = [
        Route(vrf=1, prefix=f"10.20.{n}.0/24", paths=(Path(interface="pod2", next_hop="10.1.1.2"),)) for n in range(50)
    ]
    async with a_vpp(backend) as connect, a_node(connect, [*items, *routes]) as node:
        await node.applied([*items, *routes])
        changed = Loopback(name="pod2", instance=77)
        wanted = [item for item in (*items, *routes) if item.kind not in (changed.kind, Mac.kind)]
        wanted += [items[0], changed]
        await node.want(*wanted)
        await node.applied(wanted)
        await node.scheduler.settled()
        for kind in ("vpp/route", "vpp/neighbour", "vpp/unnumbered", "vpp/interface-vrf", "vpp/loopback"):
            assert await node.scheduler.check(kind) == {}
        index = node.scheduler.graph.nodes[changed.key].actual.handle
        source = next(
            e.src.id for e in await node.vpp.client.connection.dump(m.FibSourceDump()) if e.src.name == "contivpp"
        )
        dump = m.IpRouteV2Dump(src=source, table=m.IpTable(table_id=1))
        details = await node.vpp.client.connection.dump(dump)
        over = [path.sw_if_index for each in details for path in each.route.paths if path.sw_if_index != 0xFFFFFFFF]
        assert over == [index] * 51


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_pod_moves_to_another_vrf(backend: str) -> None:
    """VPP refuses to move an interface that has an address, or borrows one (-114): those go first, and come back."""
    before = [
        Loopback(name="x", instance=5), VrfTable(vrf=1), VrfTable(vrf=2), InterfaceVrf(interface="x", vrf=1),
        Address(interface="x", address="10.5.0.1/24", vrf=1),
    ]  # fmt: skip
    after = [InterfaceVrf(interface="x", vrf=2), Address(interface="x", address="10.5.0.1/24", vrf=2)]
    async with a_vpp(backend) as connect, a_node(connect, before) as node:
        await node.applied(before)
        await node.want(*before[:3], *after)
        await node.until(lambda: node.scheduler.idle() and set(node.states().values()) == {"applied"})
        assert node.scheduler.counters.failed == {}
        assert await node.scheduler.check("vpp/address") == {}


@pytest.mark.realvpp
async def test_a_shadowed_route_is_not_sent_again() -> None:
    items = [*pods(1), Route(vrf=1, prefix="10.1.1.1/32", paths=(Path(kind="drop"),))]
    async with a_vpp("real") as connect, a_node(connect, items) as node:
        await node.applied(items)
        await node.scheduler.settled()
        sent = node.vpp.client.connection.statistics["ip_route_add_del_v2"].count
        await node.scheduler.check("vpp/route")
        await node.scheduler.settled()
        assert sent == 3
        assert node.vpp.client.connection.statistics["ip_route_add_del_v2"].count == sent


@pytest.mark.realvpp
async def test_vpp_dies_and_everything_comes_back() -> None:
    items = pods(10)
    async with real_vpp() as vpp, a_node(unix_socket(vpp.api_socket), items) as node:
        await node.applied(items)
        await vpp.kill()
        await node.until(lambda: not node.agent.readiness()["vpp"].ok)
        assert "VPP is not connected" in node.scheduler.domain_state()["vpp"]
        await vpp.start()
        await node.until(lambda: node.listener.told.count("resynced") == 2)
        await node.applied(items)
        await node.scheduler.settled()
        for kind in sorted({item.kind for item in items}):
            assert await node.scheduler.check(kind) == {}
        tags = {each.tag for each in await node.vpp.client.connection.dump(m.SwInterfaceDump())}
        assert len(tags - {""}) == 11
        assert node.listener.told == ["connected", "resynced", "lost", "connected", "resynced"]


@pytest.mark.parametrize("backend", BACKENDS)
async def test_the_connection_breaks_while_vpp_is_read(backend: str) -> None:
    items = pods(2)
    async with a_vpp(backend) as connect, a_node(connect, items) as node:
        await node.applied(items)
        for delay in (0.0, 0.001, 0.003, 0.01):
            node.vpp.client.connection.close("cut by the test")
            await node.until(lambda: not node.agent.readiness()["vpp"].ok)
            await node.vpp.client.wait_connected()
            await asyncio.sleep(delay)
            node.vpp.client.connection.close("cut again, in the middle of reading")
            await node.until(lambda: node.scheduler.domain_state()["vpp"] == "")
            await node.applied(items)
        await node.scheduler.settled()
        assert set(node.states().values()) == {"applied"}


async def test_without_vpp_the_agent_starts_and_says_why_it_is_not_ready(tmp_path: FilePath) -> None:
    async with a_node(unix_socket(str(tmp_path / "no.sock"))) as node:
        await node.until(lambda: "No such file" in node.agent.readiness()["vpp"].reason)
        assert not node.agent.ready


@pytest.mark.realvpp
async def test_the_tap_probe_is_done_once_and_leaves_nothing() -> None:
    ledger = Ledger.open(None)
    async with real_vpp() as vpp:
        connect = unix_socket(vpp.api_socket)
        async with a_node(connect, ledger=ledger) as node:
            await node.vpp.client.wait_connected()
            first, second = await asyncio.gather(node.vpp.tap_support(), node.vpp.tap_support())
            assert first == second
            if not HAS_VHOST:
                assert not first.usable
                assert "use AF_PACKET" in first.reason
            assert node.vpp.client.connection.statistics["tap_create_v3"].count == 1
            tags = {each.tag for each in await node.vpp.client.connection.dump(m.SwInterfaceDump())}
            assert tag_of(PROBE.name) not in tags
        async with a_node(connect, ledger=ledger) as again:
            await again.vpp.client.wait_connected()
            assert await again.vpp.tap_support() == first
            assert "tap_create_v3" not in again.sent()


@pytest.fixture
async def own_network() -> AsyncIterator[str]:
    """A network namespace of its own; its path."""
    if os.geteuid() != 0:
        pytest.skip("needs root, for a network namespace")
    keeper = await asyncio.create_subprocess_exec("unshare", "--net", "sleep", "60")
    path = f"/proc/{keeper.pid}/ns/net"
    try:
        async with asyncio.timeout(5):
            while FilePath(path).stat().st_ino == FilePath("/proc/self/ns/net").stat().st_ino:
                await asyncio.sleep(0.01)
        yield path
    finally:
        keeper.kill()
        await keeper.wait()


async def run(namespace: str, *command: str) -> None:
    process = await asyncio.create_subprocess_exec("nsenter", f"--net={namespace}", *command)
    assert await process.wait() == 0


@pytest.mark.netns
async def test_a_tap_in_a_pods_namespace(own_network: str) -> None:
    if not FilePath("/dev/net/tun").exists():
        pytest.skip("needs /dev/net/tun")
    status = FilePath(own_network).stat()
    namespace = Namespace(own_network, status.st_dev, status.st_ino)
    item = Tap(name="pod3", host_name="eth0", namespace=namespace, host_mac="02:FE:00:00:00:03", host_mtu=1400)
    async with benches.a_bench("embedded") as bench:
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
        bench = benches.Bench(connection)
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

