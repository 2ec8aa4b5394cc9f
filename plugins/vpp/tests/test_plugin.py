# SPDX-License-Identifier: Apache-2.0
"""The plugin in an agent: connecting, adopting, repairing, VPP's death and return."""

from __future__ import annotations

import asyncio
from pathlib import Path as FilePath

import pytest

from contivpp_core.ledger import Ledger
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.items import (
    Address,
    InterfaceVrf,
    Loopback,
    Mac,
    Path,
    Route,
    VrfTable,
)
from contivpp_vpp.probe import PROBE
from contivpp_vpp.testing import real_vpp
from contivpp_vpp.transports import unix_socket
from contivpp_vpp.values import tag_of

from .benches import BACKENDS, a_vpp
from .nodes import HAS_VHOST, READS, a_node, pods


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
    async with a_vpp("real") as connect:
        async with a_node(connect, items) as node:
            await node.applied(items)
            await node.scheduler.settled()
            sent = node.vpp.client.connection.statistics["ip_route_add_del_v2"].count
            await node.scheduler.check("vpp/route")
            await node.scheduler.settled()
            assert sent == 3
            assert node.vpp.client.connection.statistics["ip_route_add_del_v2"].count == sent
        async with a_node(connect, items) as again:
            await again.applied(items)
            await again.scheduler.settled()
            assert again.sent() <= READS
            assert again.states()["vpp/route/1/10.1.1.1/32"] == "shadowed"


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
