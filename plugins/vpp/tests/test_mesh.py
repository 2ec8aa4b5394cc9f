# SPDX-License-Identifier: Apache-2.0
"""An overlay to other nodes, by the scheduler: building, re-addressing, repair, taking down in any order."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from contivpp_core.items import Item
from contivpp_vpp import messages as m
from contivpp_vpp.connection import Connection
from contivpp_vpp.items import (
    Address,
    BridgeDomain,
    BridgeMember,
    L2FibEntry,
    LinkUp,
    Loopback,
    Mtu,
    Neighbour,
    Path,
    Route,
    VxlanTunnel,
)
from contivpp_vpp.values import address_bytes, mac_bytes, tag_of

from .benches import BACKENDS, a_vpp
from .nodes import READS, Node, a_node

OWN = "192.168.16.1"
BVI = "vxlanBVI"
backends = pytest.mark.parametrize("backend", BACKENDS)


def base() -> list[Item]:
    return [
        Loopback(name="nic", instance=1),
        Address(interface="nic", address=f"{OWN}/24"),
        LinkUp(interface="nic"),
        BridgeDomain(bd_id=1, name="vxlan"),
        Loopback(name=BVI, instance=2, mac="12:2b:00:00:00:01"),
        Mtu(interface=BVI, mtu=1450),
        Address(interface=BVI, address="10.250.0.1/16"),
        BridgeMember(bridge_domain=1, interface=BVI, bvi=True),
        LinkUp(interface=BVI, requires=(f"vpp/bridge-member/{BVI}",)),
        Route(prefix="10.1.0.0/16", paths=(Path(kind="drop"),)),
    ]


def peer(number: int, *, address: str = "", link_up: bool = True) -> list[Item]:
    high, low = divmod(number, 256)
    tunnel = VxlanTunnel(source=OWN, destination=address or f"192.168.{16 + high}.{low}", vni=10)
    mac, bvi = f"12:2b:00:00:{high:02x}:{low:02x}", f"10.250.{high}.{low}"
    via = (Path(interface=BVI, next_hop=bvi),)
    return [
        tunnel,
        *([LinkUp(interface=tunnel.name)] if link_up else []),
        BridgeMember(bridge_domain=1, interface=tunnel.name, split_horizon_group=1),
        L2FibEntry(bridge_domain=1, mac=mac, interface=tunnel.name),
        Neighbour(interface=BVI, address=bvi, mac=mac),
        Route(prefix=f"10.{1 + high}.{low}.0/24", paths=via),
        Route(prefix=f"172.{30 + high}.{low}.0/24", paths=via),
        Route(prefix=f"10.{200 + high}.0.{low}/32", paths=via),
    ]


def mesh(*numbers: int) -> list[Item]:
    return base() + [item for number in numbers for item in peer(number)]


async def right(node: Node, wanted: Iterable[Item]) -> None:
    """Check that everything is as wanted, by VPP's word."""
    await node.applied(wanted)
    await node.scheduler.settled()
    for kind in sorted({item.kind for item in wanted}):
        assert await node.scheduler.check(kind) == {}, kind
    assert set(node.states()) == {item.key for item in wanted}


@backends
async def test_a_mesh_is_built_and_a_restart_sends_nothing(backend: str) -> None:
    wanted = mesh(2, 3, 4)
    async with a_vpp(backend) as connect:
        async with a_node(connect, wanted) as node:
            await right(node, wanted)
            assert node.scheduler.counters.failed == {}
        async with a_node(connect, wanted) as again:
            await again.applied(wanted)
            await again.scheduler.settled()
            assert again.sent() <= READS


@backends
async def test_without_items_for_links_tunnels_stay_up(backend: str) -> None:
    wanted = base() + peer(2, link_up=False)
    async with a_vpp(backend) as connect:
        async with a_node(connect, wanted) as node:
            await right(node, wanted)
        async with a_node(connect, wanted) as again:
            await right(again, wanted)
            details = await again.vpp.client.connection.dump(m.SwInterfaceDump())
            flags = {each.tag: each.flags for each in details}
            assert flags[tag_of(peer(2)[0].name)] & m.IfStatusFlags.ADMIN_UP  # type: ignore[attr-defined]


@backends
async def test_a_re_addressed_peer_is_never_without_an_entry(backend: str) -> None:
    before, after = mesh(2, 3), base() + peer(2) + peer(3, address="192.168.16.77")
    async with a_vpp(backend) as connect, a_node(connect, before) as node:
        await right(node, before)
        order: list[str] = []
        real = node.vpp.client.connection.request

        async def noted(message: m.L2fibAddDel) -> object:
            if isinstance(message, m.L2fibAddDel | m.VxlanAddDelTunnelV3 | m.SwInterfaceSetL2Bridge):
                adds = message.enable if isinstance(message, m.SwInterfaceSetL2Bridge) else message.is_add
                order.append(f"{'add' if adds else 'del'} {message.MESSAGE}")
            return await real(message)

        node.vpp.client.connection.request = noted  # type: ignore[method-assign,assignment]
        await node.want(*after)
        await right(node, after)
        assert order == [
            "add vxlan_add_del_tunnel_v3",
            "add sw_interface_set_l2_bridge",
            "add l2fib_add_del",
            "del vxlan_add_del_tunnel_v3",
        ]
        assert node.scheduler.counters.updated["vpp/l2fib"] == 1
        assert node.scheduler.counters.deleted.get("vpp/l2fib", 0) == 0


@backends
@pytest.mark.parametrize("seed", range(5))
async def test_what_is_no_longer_wanted_goes_in_any_order(backend: str, seed: int) -> None:
    chance = random.Random(seed)
    full = mesh(2, 3, 4)
    async with a_vpp(backend) as connect, a_node(connect, full) as node:
        await right(node, full)
        for _ in range(4):
            some = chance.sample(full, chance.randrange(len(full)))
            await node.want(*some)
            await node.until(node.scheduler.idle)
            await node.want(*full)
            await right(node, full)
        await node.want()
        await node.until(lambda: node.states() == {})
        assert node.scheduler.counters.failed == {}
        connection = node.vpp.client.connection
        assert await connection.dump(m.BridgeDomainDump()) == []
        assert await connection.dump(m.L2FibTableDump()) == []
        assert {each.interface_name for each in await connection.dump(m.SwInterfaceDump())} == {"local0"}


@backends
async def test_a_tunnel_deleted_by_hand_comes_back_and_nothing_dangles(backend: str) -> None:
    wanted = mesh(2, 3)
    async with a_vpp(backend) as connect, a_node(connect, wanted) as node:
        await right(node, wanted)
        operator = await Connection.open(connect, name="operator")
        await operator.request(
            m.VxlanAddDelTunnelV3(
                is_add=False,
                src_address=address_bytes(OWN),
                dst_address=address_bytes("192.168.16.2"),
                vni=10,
            )
        )
        await node.until(lambda: node.listener.told.count("resynced") == 2)
        await right(node, wanted)
        details = {each.tag: each.sw_if_index for each in await operator.dump(m.SwInterfaceDump())}
        entries = {each.mac: each.sw_if_index for each in await operator.dump(m.L2FibTableDump())}
        tunnel = peer(2)[0]
        assert isinstance(tunnel, VxlanTunnel)
        assert entries[mac_bytes("12:2b:00:00:00:02")] == details[tag_of(tunnel.name)]
        operator.close()


@backends
async def test_dangling_entries_of_an_earlier_life_go_first(backend: str) -> None:
    """An agent died, its tunnel was deleted: its entry would lead to whatever gets the index."""
    async with a_vpp(backend) as connect:
        async with a_node(connect, mesh(2)) as node:
            await right(node, mesh(2))
        operator = await Connection.open(connect, name="operator")
        await operator.request(
            m.VxlanAddDelTunnelV3(
                is_add=False,
                src_address=address_bytes(OWN),
                dst_address=address_bytes("192.168.16.2"),
                vni=10,
            )
        )
        wanted = mesh(3)
        async with a_node(connect, wanted) as again:
            await right(again, wanted)
            entries = {each.mac for each in await operator.dump(m.L2FibTableDump()) if not each.bvi_mac}
            assert entries == {mac_bytes("12:2b:00:00:00:03")}
        operator.close()


@backends
async def test_a_foreign_tunnel_is_left_alone_and_the_rest_works(backend: str) -> None:
    wanted = mesh(2, 3)
    async with a_vpp(backend) as connect:
        operator = await Connection.open(connect, name="operator")
        theirs = m.VxlanAddDelTunnelV3(
            src_address=address_bytes(OWN), dst_address=address_bytes("192.168.16.2"), vni=10
        )
        index = (await operator.request(theirs)).sw_if_index
        async with a_node(connect, wanted) as node:
            await node.applied(mesh(3))
            await node.scheduler.settled()
            states = node.states()
            assert states[peer(2)[0].key] == "conflict"
            assert states[peer(2)[3].key] == "pending"
            assert [each.tag for each in await operator.dump(m.SwInterfaceDump(sw_if_index=index))] == [""]
            await node.want(*mesh(3))
            await right(node, mesh(3))
            tunnels = {each.sw_if_index for each in await operator.dump(m.VxlanTunnelV2Dump())}
            assert index in tunnels
            await node.want(*wanted)
            await node.until(lambda: node.states().get(peer(2)[0].key) == "conflict")
            gone = m.VxlanAddDelTunnelV3(
                is_add=False, src_address=address_bytes(OWN), dst_address=address_bytes("192.168.16.2"), vni=10
            )
            await operator.request(gone)
            await node.until(lambda: set(node.states().values()) == {"applied"})
            await right(node, wanted)
        operator.close()


@backends
async def test_flags_of_a_domain_change_in_place(backend: str) -> None:
    wanted = mesh(2)
    changed = [
        BridgeDomain(bd_id=1, name="vxlan", arp_termination=True) if i.kind == "vpp/bridge-domain" else i
        for i in wanted
    ]
    async with a_vpp(backend) as connect, a_node(connect, wanted) as node:
        await right(node, wanted)
        created = dict(node.scheduler.counters.created)
        await node.want(*changed)
        await right(node, changed)
        assert dict(node.scheduler.counters.created) == created


@backends
async def test_no_message_is_sent_in_vain(backend: str) -> None:
    number = 100
    wanted = mesh(*range(2, 2 + number))
    async with a_vpp(backend) as connect, a_node(connect, base()) as node:
        await right(node, base())
        statistics = node.vpp.client.connection.statistics
        before = {name: each.count for name, each in statistics.items()}
        await node.want(*wanted)
        await node.applied(wanted)
        sent = {name: each.count - before.get(name, 0) for name, each in statistics.items()}
        assert {name: count for name, count in sent.items() if count and name != "control_ping"} == {
            "vxlan_add_del_tunnel_v3": number,
            "sw_interface_tag_add_del": number,
            "sw_interface_set_flags": number,
            "sw_interface_set_l2_bridge": number,
            "l2fib_add_del": number,
            "ip_neighbor_add_del": number,
            "ip_route_add_del_v2": 3 * number,
        }
